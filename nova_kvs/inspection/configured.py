# SPDX-License-Identifier: Apache-2.0
"""Finds the databases that nova.conf, placement.conf and cell mappings name.

Nothing of Nova is imported: what uses this runs between two releases of it,
too.
"""

import typing
from urllib import parse

from oslo_config import cfg

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.store import registry
from nova_kvs.store import url as store_url

#: Groups of nova.conf and placement.conf that name databases.
MAIN_GROUP = "database"
API_GROUP = "api_database"
PLACEMENT_GROUP = "placement_database"
GROUPS = (MAIN_GROUP, API_GROUP, PLACEMENT_GROUP)
OPTIONS = ("connection", "slave_connection")
#: Names of databases, for people and their commands.
API, MAIN, CELL0, PLACEMENT = "api", "main", "cell0", "placement"
CELL = "cell:"
_GROUP_OF = {API: API_GROUP, MAIN: MAIN_GROUP, PLACEMENT: PLACEMENT_GROUP}
#: UUID of the mapping of cell0.
_CELL0_UUID = "00000000-0000-0000-0000-000000000000"
#: Options of [nova_kvs] as they apply to Placement, which keeps its file from
#: a driver: it has nothing but what its URL says.
_DEFAULTS = {opt.dest: opt.default for opt in conf.OPTS
             if not opt.deprecated_for_removal}


class Named(typing.NamedTuple):
    """A database and what operators call it."""

    name: str
    #: nova_kvs.store.url.StoreURL, with all options of Placement's.
    url: store_url.StoreURL
    #: The URL as it was written, without its password, for people.
    text: str


def configuration():
    """Return an object for the command line that knows the connections.

    Not the process's own one: there Nova and Placement register the same
    options in their own way.
    """
    options = cfg.ConfigOpts()
    for group in GROUPS:
        options.register_opts(
            [cfg.StrOpt(name, secret=True) for name in OPTIONS], group=group)
    return options


def load(files=()):
    """Read the files of the services, and [nova_kvs] for this process.

    :param files: paths; without any, where Nova's and Placement's programs
        look: ``~/.nova``, ``~``, ``/etc/nova`` and ``/etc``, and likewise
        for Placement.
    :returns: what ``configuration`` returns, filled.
    :raises nova_kvs.exceptions.ConfigurationError: if there is no such file
        or one is not valid.
    """
    nova, placement = list(files), []
    nova_dirs, placement_dirs = [], []
    if not files:
        nova, placement = (cfg.find_config_files(name, name)
                           for name in ("nova", "placement"))
        nova_dirs, placement_dirs = (cfg.find_config_dirs(name, name)
                                     for name in ("nova", "placement"))
        if not nova + placement + nova_dirs + placement_dirs:
            raise exceptions.ConfigurationError(
                "there is no nova.conf in ~/.nova, ~, /etc/nova or /etc: "
                "name it with --config-file, or give the database's URL")
    options = configuration()
    try:
        # As the services read it, for the group [nova_kvs].
        conf.CONF([], project="nova", default_config_files=nova,
                  default_config_dirs=nova_dirs)
        options([], project="nova", default_config_files=nova + placement,
                default_config_dirs=nova_dirs + placement_dirs)
    except (cfg.Error, OSError, UnicodeError) as error:
        raise exceptions.ConfigurationError(
            "the configuration file is not valid: %s"
            % " ".join(str(error).split())) from error
    return options


def find(options, name):
    """Return one database by its name.

    :param options: what ``load`` returned.
    :param name: api, main, cell0, cell:NAME (or its UUID) or placement.
    :returns: Named.
    :raises nova_kvs.exceptions.KVSError: if there is none, nova-kvs does not
        keep it, or the cell mappings cannot be read.
    """
    group = _GROUP_OF.get(name)
    if group is not None:
        url = options[group].connection
        if not is_ours(url):
            raise exceptions.ConfigurationError(
                "%s names no database of nova-kvs: the connection of [%s] "
                "does not begin with kvs+" % (_files(options), group))
        return _named(name, url)
    if name != CELL0 and not name.startswith(CELL):
        raise exceptions.ConfigurationError(
            "there is no such database: say api, main, cell0, cell:NAME or "
            "placement", database=name)
    cells = list(_named_cells(options))
    for label, uuid, template in cells:
        if name in (label, CELL + uuid):
            return _named(label, _url_of_cell(options, label, template))
    raise exceptions.ConfigurationError(
        "there is no such cell mapping", database=name,
        known=", ".join(label for label, *_ in cells))


def find_all(options):
    """Return every database that nova-kvs keeps, each once.

    :param options: what ``load`` returned.
    :returns: list of Named, and of texts of what keeps one from being there.
    :raises nova_kvs.exceptions.ConfigurationError: if there is none.
    """
    found, faults = [], []

    def add(name, make):
        try:
            named = make()
        except exceptions.KVSError as error:
            faults.append("%s: %s" % (name, " ".join(str(error).split())))
        else:
            if not any(is_same(named.url, other.url) for other in found):
                found.append(named)

    for name, group in _GROUP_OF.items():
        if is_ours(options[group].connection):
            add(name, lambda: find(options, name))
    if is_ours(options[API_GROUP].connection):
        try:
            for label, _, template in _named_cells(options):
                if _is_known_elsewhere(options, template):
                    continue
                add(label, lambda: _named(
                    label, _url_of_cell(options, label, template)))
        except exceptions.KVSError as error:
            faults.append("cell mappings: %s" % " ".join(str(error).split()))
    if not found and not faults:
        raise exceptions.ConfigurationError(
            "%s names no database of nova-kvs: no connection of the groups "
            "%s begins with kvs+" % (_files(options), ", ".join(GROUPS)))
    return found, faults


def is_same(url, other):
    """Tell whether two StoreURLs name one database.

    Each may name some of a cluster's nodes: one that both name is enough.
    """
    return (url.driver, url.database) == (other.driver, other.database) and (
        url.nodes == other.nodes or not set(url.nodes).isdisjoint(
            other.nodes))


def _files(options):
    return ", ".join(options.config_file or options.default_config_files
                     or ["the configuration"])


def is_ours(url):
    """Tell whether a connection URL names a database of nova-kvs."""
    return (url or "").partition(":")[0].partition("+")[0] == (
        store_url.SCHEME)


def parsed(url, is_placement=False):
    """Return the StoreURL of a connection.

    :raises nova_kvs.exceptions.ConfigurationError: if it is not valid.
    """
    url = registry.parse_url(url)
    if is_placement:
        url = url._replace(query={**_DEFAULTS, **url.query})
    return url


def _named(name, url):
    """Return the Named of a connection.

    :raises nova_kvs.exceptions.ConfigurationError: if it is not valid.
    """
    return Named(name, parsed(url, name == PLACEMENT),
                 str(registry.parse_url(url)))


def _named_cells(options):
    """Yield name, UUID and stored connection of each cell."""
    api = find(options, API)
    for uuid, name, template in cells(api.url):
        yield cell_label(uuid, name), uuid, template


def cell_label(uuid, name):
    """Return what operators call the database of a cell.

    :param name: of the cell, or None.
    """
    return CELL0 if uuid == _CELL0_UUID else CELL + (name or uuid)


def _is_known_elsewhere(options, template):
    """Tell whether a cell's database is kept by SQL."""
    try:
        return not is_ours(filled_in(
            template, options[MAIN_GROUP].connection))
    except (AttributeError, LookupError, ValueError):
        return False


def _url_of_cell(options, name, template):
    try:
        url = filled_in(template, options[MAIN_GROUP].connection)
    except (AttributeError, LookupError, ValueError):
        # What they say may quote the template.
        raise exceptions.ConfigurationError(
            "database_connection of the cell mapping is not a template that "
            "[database] connection fills in: correct it with nova-manage "
            "cell_v2 update_cell", cell=name) from None
    if not is_ours(url):
        raise exceptions.ConfigurationError(
            "nova-kvs does not keep the database of this cell", cell=name)
    return url


def cells(url):
    """Return UUID, name (or None) and stored connection of each cell.

    :param url: StoreURL of the API database.
    :raises nova_kvs.exceptions.KVSError: if they cannot be read.
    """
    database = record_database.Database(
        registry.get_store(url), url.database, url.settings())
    if "cell_mappings" not in database.refresh_schema().tables:
        return []
    rows, = database.begin().load([access.FullScan("cell_mappings")])
    return sorted(
        ((row.values["uuid"], row.values.get("name"),
          row.values["database_connection"]) for row in rows),
        key=lambda cell: cell[1] or cell[0])


def filled_in(template, connection):
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
        if is_ours(template):
            return template
        raise
