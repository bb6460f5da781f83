# SPDX-License-Identifier: Apache-2.0
"""The checks of ``nova-kvs-status upgrade check``.

Nothing of Nova is imported: it has to run between two releases of it.
"""

from urllib import parse

from oslo_upgradecheck import upgradecheck
from sqlalchemy.engine import url as sqlalchemy_url
from sqlalchemy import exc as sqlalchemy_exc

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.inspection import condition
from nova_kvs.inspection import configured
from nova_kvs.store import registry

Code = upgradecheck.Code

_CODES = {
    condition.Status.OK: Code.SUCCESS,
    condition.Status.WARNING: Code.WARNING,
    condition.Status.ERROR: Code.FAILURE,
}


class Commands(upgradecheck.UpgradeCommands):
    """One check for each database, and one for the list of cells.

    :param options: what ``configured.configuration`` returned; parsed when
        ``check`` is called.
    """

    def __init__(self, options):
        super().__init__()
        self._options = options
        #: (database's URL, whether it is Placement's) -> where it was found.
        self._places = {}
        #: Checks of what keeps a database from being on that list.
        self._faults = []

    def check(self):
        """Print the results; return the worst Code."""
        # As the services read it, for the group [nova_kvs].
        conf.CONF([], project="nova",
                  default_config_files=self._options.config_file,
                  default_config_dirs=self._options.config_dir)
        for group in configured.GROUPS:
            for name in configured.OPTIONS:
                self._add("[%s] %s" % (group, name),
                          getattr(self._options[group], name),
                          group == configured.PLACEMENT_GROUP)
        self._add_cells(self._options[configured.API_GROUP].connection)
        if not self._places and not self._faults:
            self._note("Databases", Code.FAILURE, "no kvs+...:// URL in the "
                       "groups %s of %s: nothing was checked" % (
                           ", ".join(configured.GROUPS), ", ".join(
                               self._options.config_file) or "any file"))
        self._compare_passwords()
        self._upgrade_checks = (*self._faults, *(
            ("Database %s (%s)" % (
                registry.parse_url(url).database, ", ".join(found_at)),
             (_examine, {"url": url, "is_placement": is_placement}))
            for (url, is_placement), found_at in self._places.items()))
        return super().check()

    def _note(self, name, code, details):
        self._faults.append((name, (_tell, {
            "code": code, "details": " ".join(details.split())})))

    def _add(self, where, url, is_placement=False):
        """Put a database on the list, if it is one of ours."""
        if not configured.is_ours(url):
            return
        try:
            registry.parse_url(url)
        except exceptions.ConfigurationError as error:
            self._note("Database of %s" % where, Code.FAILURE, str(error))
        else:
            self._places.setdefault((url, is_placement), []).append(where)

    def _compare_passwords(self):
        """Tell of a user who logs in with two passwords at one store.

        Redis takes both while one is changed for the other, and then locks
        out whoever was forgotten.
        """
        seen = []
        for (text, is_placement), places in self._places.items():
            try:
                url = configured.parsed(text, is_placement)
                settings = url.settings()
            except exceptions.ConfigurationError:
                # The check of this database says so.
                continue
            for other, its_settings, its_places in seen:
                if (url.driver == other.driver
                        and not set(url.nodes).isdisjoint(other.nodes)
                        and settings.username == its_settings.username
                        and settings.password != its_settings.password):
                    self._note(
                        "Password of %s" % ", ".join(places), Code.WARNING,
                        "it is not that of %s, of the same user at the same "
                        "servers: correct the old one (of a cell with "
                        "nova-manage cell_v2 update_cell) before the servers "
                        "forget it" % ", ".join(its_places))
                    break
            else:
                seen.append((url, settings, places))

    def _add_cells(self, url):
        """Put the cells' databases on the list."""
        if (url, False) not in self._places:
            return
        try:
            cells = configured.cells(registry.parse_url(url))
        except exceptions.KVSError as error:
            self._note("Cell mappings", Code.FAILURE, "cannot be read, so "
                       "the cells' databases were not checked: %s" % error)
            return
        connection = self._options.database.connection
        for uuid, name, template in cells:
            where = "cell %s" % (name or uuid)
            try:
                found = configured.filled_in(template, connection)
                if _is_spoiled(template, found, connection):
                    self._note(
                        "URL of %s" % where, Code.FAILURE,
                        "Nova has changed the password: map_cell0 and "
                        "simple_cell_setup undo percent escapes where they "
                        "derive cell0's URL from [database] connection, and "
                        "every service reads {{ as {. Write the URL with "
                        "nova-manage cell_v2 update_cell "
                        "--database_connection, and { as %7B there")
                self._add(where, found)
            except (AttributeError, LookupError, ValueError):
                # What they say may quote the template.
                self._note("Database of %s" % where, Code.FAILURE,
                           "database_connection is not a template that "
                           "[database] connection fills in: correct it with "
                           "nova-manage cell_v2 update_cell")


def _tell(_commands, code, details):
    return upgradecheck.Result(code, details)


def _examine(_commands, url, is_placement):
    """Return the Result of one database: what ``nova-kvs check`` says."""
    url = configured.parsed(url, is_placement)
    try:
        lines = sorted(condition.examine(url),
                       key=lambda line: -line.status)
    except exceptions.KVSError as error:
        return upgradecheck.Result(
            Code.FAILURE, " ".join(str(error).split()))
    return upgradecheck.Result(_CODES[lines[0].status], "; ".join(
        "%s %s: %s" % (line.status.name, line.name, line.text)
        for line in lines if line.status) or None)


def _is_spoiled(template, found, connection):
    """Tell whether a cell has another password than was meant.

    :param found: what ``configured.filled_in`` made of the template.
    """
    if not connection or not configured.is_ours(found):
        return False
    if found != template and ("{{" in template or "}}" in template):
        return True
    try:
        url = sqlalchemy_url.make_url(connection)
        derived = parse.unquote(url.set(
            database="%s_cell0" % url.database).render_as_string(
                hide_password=False))
        return template == derived and (
            registry.parse_url(found).password
            != registry.parse_url(url).password)
    except (sqlalchemy_exc.ArgumentError, exceptions.ConfigurationError):
        # The checks of the URLs say what is wrong with them.
        return False
