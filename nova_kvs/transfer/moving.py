# SPDX-License-Identifier: Apache-2.0
"""Moves all SQL databases of a cloud into the store.

The API database comes last: its cell mappings are made to name the databases
in the store, and by then all of these are there.
"""

import contextlib
import os
import shutil
import subprocess  # nosec B404
import sys
import tempfile
import typing

import sqlalchemy
from sqlalchemy import exc

from nova_kvs import exceptions
from nova_kvs.inspection import configured
from nova_kvs import record
from nova_kvs.record import access
from nova_kvs.store import registry
from nova_kvs.transfer import agreement
from nova_kvs.transfer import importing
from nova_kvs.transfer import sql
from nova_kvs.transfer import state

#: The target's URL has this in the place of a database's name.
PLACE = "{name}"
_MAPPINGS = "cell_mappings"
_COMMANDS = {
    configured.API: ("nova-manage", ("api_db", "sync")),
    configured.PLACEMENT: ("placement-manage", ("db", "sync"))}
_CELL_COMMAND = ("nova-manage", ("db", "sync", "--local_cell"))


class Move(typing.NamedTuple):
    """One database that is moved."""

    #: As nova.conf calls it: api, cell0, cell:NAME, placement.
    name: str
    #: UUID of its cell mapping, or None.
    uuid: str | None
    #: SQLAlchemy URLs, as text, with passwords.
    source: str
    target: str

    def open(self):
        """Return the target's Database."""
        database = record.open_database(configured.parsed(
            self.target, self.name == configured.PLACEMENT))
        # Another process makes it.
        database.refresh_schema()
        return database


def find(options, template):
    """Return the Moves of all databases, in the order to do them.

    :param options: what ``configured.load`` returned of the files with the
        URLs of SQL.
    :param template: the target's URL, with PLACE for the SQL database's name.
    :raises nova_kvs.exceptions.KVSError: if one cannot be found.
    """
    if PLACE not in template:
        raise exceptions.ConfigurationError(
            "with --all the target's URL has %s where the name of each SQL "
            "database goes, as kvs+cluster://10.0.0.1:7000/%s" % (
                PLACE, PLACE))
    api = options[configured.API_GROUP].connection
    if not api or configured.is_ours(api):
        raise exceptions.ConfigurationError(
            "connection of [api_database] names no SQL database: name the "
            "nova.conf from before with --config-file")
    found = []
    for name, uuid, url in _cells(options, sql.Database(api)):
        if not configured.is_ours(url):
            found.append(_move(name, uuid, url, template))
    placement = options[configured.PLACEMENT_GROUP].connection
    if placement and not configured.is_ours(placement):
        found.append(_move(configured.PLACEMENT, None, placement, template))
    found.append(_move(configured.API, None, api, template))
    taken = {}
    for one in found:
        other = taken.setdefault(one.target, one)
        if other is not one:
            raise exceptions.ConfigurationError(
                "two SQL databases have the same name: import them one by "
                "one", databases="%s, %s" % (other.name, one.name))
    return found


def _cells(options, database):
    """Yield name, UUID and URL of the cells of an API database in SQL."""
    table = database.tables.get(_MAPPINGS)
    if table is None:
        raise exceptions.ConfigurationError(
            "connection of [api_database] is not Nova's API database",
            database=database.name)
    with database.reading() as connection:
        rows = connection.execute(sqlalchemy.select(
            table.c.uuid, table.c.name, table.c.database_connection).order_by(
                table.c.id)).all()
    for uuid, name, template in rows:
        label = configured.cell_label(uuid, name)
        try:
            yield label, uuid, configured.filled_in(
                template, options[configured.MAIN_GROUP].connection)
        except (AttributeError, LookupError, ValueError):
            raise exceptions.ConfigurationError(
                "database_connection of the cell mapping is not a template "
                "that [database] connection fills in", cell=label) from None


def _move(name, uuid, source, template):
    try:
        database = sqlalchemy.make_url(source).database or ""
    except (exc.SQLAlchemyError, ValueError):
        raise exceptions.ConfigurationError(
            "the SQL database's URL is not valid", database=name) from None
    # SQLite's is a path.
    database = os.path.splitext(os.path.basename(database))[0]
    target = template.replace(PLACE, database)
    registry.parse_url(target)
    return Move(name, uuid, source, target)


@contextlib.contextmanager
def naming(move):
    """Let errors say which database they are about."""
    try:
        yield
    except exceptions.KVSError as error:
        error.args = ("%s: %s" % (move.name, error.args[0]),)
        raise


def reach(move):
    """Find out whether a target can be used, before anything is copied.

    :raises nova_kvs.exceptions.KVSError: if not.
    """
    try:
        move.open()
    except exceptions.KVSError as error:
        if move.name == configured.PLACEMENT:
            error.args = (
                "%s; [nova_kvs] does not apply to Placement: write its "
                "options, as those of TLS, into the query of --to"
                % error.args[0],)
        raise


def has_schema(move):
    """Tell whether a target has a schema with a revision."""
    return agreement.stored_revision(move.open()) is not None


def make_schema(move, files, report):
    """Have Nova or Placement make a target's schema, if it has none.

    :param files: configuration files that apply, too.
    :param report: called with a text before that begins.
    :raises nova_kvs.exceptions.KVSError: with what the command said.
    """
    if has_schema(move):
        return
    program, command = _COMMANDS.get(move.name, _CELL_COMMAND)
    here = os.path.join(os.path.dirname(sys.executable), program)
    path = here if os.path.exists(here) else shutil.which(program)
    if path is None:
        raise exceptions.ConfigurationError(
            "%s is not installed beside nova-kvs, to make the schema with"
            % program)
    report("%s: %s %s makes the schema" % (
        move.name, program, " ".join(command)))
    with tempfile.TemporaryDirectory(prefix="nova-kvs-") as directory:
        config = os.path.join(directory, "target.conf")
        with open(config, "w") as stream:
            # nova-manage wants to know of an API database.
            stream.write("".join(
                "[%s]\nconnection = %s\n" % (
                    group, move.target.replace("$", "$$"))
                for group in configured.GROUPS))
        # The directory, and so the password, is its owner's.
        done = subprocess.run(  # nosec B603
            [path, *("--config-file=" + name for name in (*files, config)),
             *command], capture_output=True, text=True)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise exceptions.KVSError(
            "%s %s of the target has failed" % (program, " ".join(command)),
            database=move.name, said=lines[-1] if lines else "nothing")


def is_moved(move, moves):
    """Tell whether an API database was moved whole, and its mappings made.

    :param moves: all of them.
    """
    database = move.open()
    return state.State(database).source is None and not set(
        one.uuid for one in moves if one.uuid) - set(
        row.values["uuid"] for row in _rows(database)
        if configured.is_ours(row.values["database_connection"]))


def write_mappings(move, moves):
    """Have the cell mappings in the store name the databases there.

    :param move: of the API database. :param moves: all of them.
    """
    targets = {one.uuid: one.target for one in moves if one.uuid}

    def write(tx):
        for row in tx.load([access.FullScan(_MAPPINGS)])[0]:
            target = targets.get(row.values["uuid"])
            if target is not None:
                tx.update(row, {**row.values, "database_connection": target})

    move.open().run(write)


def _rows(database):
    if _MAPPINGS not in database.schema.tables:
        return []
    rows, = database.begin().load([access.FullScan(_MAPPINGS)])
    return rows


def copy(move, progress, is_early=False):
    """Copy one database.

    :param is_early: as of ``importing.Import.run``.
    :returns: table's name -> number of rows.
    """
    return _import(move, sql.Database(move.source), progress).run(
        is_early=is_early)


def try_out(move, source, progress):
    """Look for rows that the target would refuse, and write nothing.

    :param source: nova_kvs.transfer.sql.Database.
    :returns: table's name -> number of rows.
    :raises nova_kvs.exceptions.KVSError: naming the rows, if there are any.
    """
    return _import(move, source, progress).try_out()


def _import(move, source, progress):
    def step(text, done, total):
        progress("%s: %s" % (move.name, text), done, total)

    return importing.Import(source, move.open(), step)


def count(database):
    """Return table's name -> number of rows of an SQL database."""
    with database.reading() as connection:
        return {name: database.count(connection, name)
                for name in database.tables
                if name != agreement.REVISION_TABLE}
