# SPDX-License-Identifier: Apache-2.0
"""Fills the tables of a service: in MariaDB, and from there in a store.

Run with the name of a service's module, the URLs of two empty databases, that
of MariaDB first, and the number of resources.
"""

import datetime
import importlib
import sys
import uuid

import sqlalchemy as sa

from nova_kvs.cmd import main as commands

START = datetime.datetime(2026, 1, 1)
_INSERT_ROWS = 1000
#: What a column that has to be there holds, where nothing else is said.
_BY_TYPE = ((sa.Boolean, False), (sa.Integer, 0), (sa.DateTime, START),
            (sa.String, ""), (sa.Text, ""))


def uid(kind, number):
    """Return the UUID of the resource of a kind with a number."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, "%s %d" % (kind, number)))


def project(number):
    """Return the id of a project."""
    return uid("project", number).replace("-", "")


def moment(number):
    """Return when the resource with a number was made."""
    return START + datetime.timedelta(seconds=number)


def _absent(table):
    """Return what the columns hold that rows do not name."""
    found = {}
    for column in table.columns:
        if column.nullable or column.default is not None or (
                column.server_default is not None) or (
                column is table.autoincrement_column):
            continue
        if isinstance(column.type, sa.Enum):
            found[column.name] = column.type.enums[0]
            continue
        found[column.name] = next(
            (value for kind, value in _BY_TYPE
             if isinstance(column.type, kind)), "")
    return found


def _make(url, metadata):
    """Make a service's tables without its migrations, which take minutes."""
    revision = sa.table("alembic_version", sa.column("version_num"))
    engine = sa.create_engine(url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.text(
            "CREATE TABLE alembic_version "
            "(version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(revision.insert(), {"version_num": "models"})
    return engine


def insert(connection, metadata, found):
    """Insert rows, a thousand of a table at a time.

    :param found: pairs of a table's name and one of its rows, parents first.
        The rows of a table have the same columns.
    """
    tables, absent, waiting = metadata.tables, {}, {}
    for name, row in found:
        if name not in absent:
            absent[name] = _absent(tables[name])
        rows = waiting.setdefault(name, [])
        rows.append({**absent[name], **row})
        if len(rows) == _INSERT_ROWS:
            connection.execute(tables[name].insert(), waiting.pop(name))
    for name, rows in waiting.items():
        connection.execute(tables[name].insert(), rows)


def _fill(url, metadata, found):
    """Make the tables of a service in MariaDB and insert rows."""
    engine = _make(url, metadata)
    with engine.begin() as connection:
        # Batches of children may come before those of their parents.
        connection.execute(sa.text("SET foreign_key_checks = 0"))
        insert(connection, metadata, found)
    with engine.begin() as connection:
        for table in metadata.tables:
            connection.execute(sa.text("ANALYZE TABLE `%s`" % table))
    engine.dispose()


def main(module, source, target, size):
    service = importlib.import_module("benchmarks.services." + module)
    metadata = service.metadata()
    _fill(source, metadata, service.rows(size))
    _make(target, metadata).dispose()
    return commands.main(
        ["import", "--from", source, "--to", target])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4], int(sys.argv[4])))
