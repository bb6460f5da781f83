# SPDX-License-Identifier: Apache-2.0
"""The checks of ``nova-kvs-status upgrade check``.

Nothing of Nova is imported: it has to run between two releases of it.
"""

from urllib import parse

from oslo_config import cfg
from oslo_upgradecheck import upgradecheck
from sqlalchemy.engine import url as sqlalchemy_url
from sqlalchemy import exc as sqlalchemy_exc

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.inspection import condition
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.store import registry
from nova_kvs.store import url as store_url

Code = upgradecheck.Code

#: Groups of nova.conf and placement.conf that name databases.
API_GROUP = "api_database"
PLACEMENT_GROUP = "placement_database"
GROUPS = ("database", API_GROUP, PLACEMENT_GROUP)
_OPTIONS = ("connection", "slave_connection")
#: What applies to Placement, which keeps its file from a driver: of
#: [nova_kvs] it has nothing but what its URL says.
_DEFAULTS = {opt.dest: opt.default for opt in conf.OPTS
             if not opt.deprecated_for_removal}
_CODES = {
    condition.Status.OK: Code.SUCCESS,
    condition.Status.WARNING: Code.WARNING,
    condition.Status.ERROR: Code.FAILURE,
}


def configuration():
    """Return an object for the command line that knows the connections.

    Not the process's own one: there Nova and Placement register the same
    options in their own way.
    """
    options = cfg.ConfigOpts()
    for group in GROUPS:
        options.register_opts(
            [cfg.StrOpt(name, secret=True) for name in _OPTIONS], group=group)
    return options


class Commands(upgradecheck.UpgradeCommands):
    """One check for each database, and one for the list of cells.

    :param options: what ``configuration`` returned; parsed when ``check``
        is called.
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
        for group in GROUPS:
            for name in _OPTIONS:
                self._add("[%s] %s" % (group, name),
                          getattr(self._options[group], name),
                          group == PLACEMENT_GROUP)
        self._add_cells(self._options[API_GROUP].connection)
        if not self._places and not self._faults:
            self._note("Databases", Code.FAILURE, "no kvs+...:// URL in the "
                       "groups %s of %s: nothing was checked" % (
                           ", ".join(GROUPS), ", ".join(
                               self._options.config_file) or "any file"))
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
        if not _is_ours(url):
            return
        try:
            registry.parse_url(url)
        except exceptions.ConfigurationError as error:
            self._note("Database of %s" % where, Code.FAILURE, str(error))
        else:
            self._places.setdefault((url, is_placement), []).append(where)

    def _add_cells(self, url):
        """Put the cells' databases on the list."""
        if (url, False) not in self._places:
            return
        try:
            cells = _cells(registry.parse_url(url))
        except exceptions.KVSError as error:
            self._note("Cell mappings", Code.FAILURE, "cannot be read, so "
                       "the cells' databases were not checked: %s" % error)
            return
        connection = self._options.database.connection
        for name, template in cells:
            where = "cell %s" % name
            try:
                found = _filled_in(template, connection)
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
    url = registry.parse_url(url)
    if is_placement:
        url = url._replace(query={**_DEFAULTS, **url.query})
    try:
        lines = sorted(condition.examine(url),
                       key=lambda line: -line.status)
    except exceptions.KVSError as error:
        return upgradecheck.Result(
            Code.FAILURE, " ".join(str(error).split()))
    return upgradecheck.Result(_CODES[lines[0].status], "; ".join(
        "%s %s: %s" % (line.status.name, line.name, line.text)
        for line in lines if line.status) or None)


def _is_ours(url):
    return (url or "").partition(":")[0].partition("+")[0] == (
        store_url.SCHEME)


def _cells(url):
    """Return name and stored connection of each cell.

    :param url: StoreURL of the API database.
    """
    database = record_database.Database(
        registry.get_store(url), url.database, url.settings())
    if "cell_mappings" not in database.refresh_schema().tables:
        return []
    rows, = database.begin().load([access.FullScan("cell_mappings")])
    return sorted(
        (row.values.get("name") or row.values["uuid"],
         row.values["database_connection"]) for row in rows)


def _filled_in(template, connection):
    """Return a cell's connection URL.

    :param template: as it is stored: parts in braces come from
        ``connection``.
    :raises AttributeError, LookupError, ValueError: if it is no template,
        and no URL of ours.
    :source: nova.objects.cell_mapping.CellMapping.format_db_url
    """
    if not connection:
        return template
    try:
        parts = parse.urlsplit(connection)
        return template.format(
            username=parts.username, password=parts.password,
            hostname=parts.hostname, port=parts.port, scheme=parts.scheme,
            query=parts.query, fragment=parts.fragment,
            path=parts.path.lstrip("/"))
    except (AttributeError, LookupError, ValueError):
        # Braces of a password: Nova logs it, and takes the text as it is.
        if _is_ours(template):
            return template
        raise


def _is_spoiled(template, found, connection):
    """Tell whether a cell has another password than was meant.

    :param found: what ``_filled_in`` made of the template.
    """
    if not connection or not _is_ours(found):
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
