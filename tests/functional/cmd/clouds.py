# SPDX-License-Identifier: Apache-2.0
"""Databases with Nova's and Placement's own schema, full of rows."""

import datetime
import os
import random
import sys
import uuid

import sqlalchemy

from tests.cloud import processes

#: Longest time, in seconds, that migrations take on a slow machine.
SYNC_TIMEOUT_S = 300
#: What each kind of database needs: program, section, command.
KINDS = {
    "api": ("nova-manage", "api_database", ("api_db", "sync")),
    "cell": ("nova-manage", "database", ("db", "sync", "--local_cell")),
    "placement": ("placement-manage", "placement_database", ("db", "sync")),
}
#: Columns that name a server.
SERVER_COLUMNS = {"instance_uuid", "resource_id", "consumer_id"}
#: Texts that are hard on encodings.
TEXTS = ("plain", "", "it's", "\N{SNOWMAN}\N{GREEK SMALL LETTER PHI}",
         "{\"a\": [1, 2]}", "tab\tline\nback\\slash", "%s {x}")


def sync(kind, url, directory):
    """Have Nova (or Placement) make the schema of a database."""
    program, section, command = KINDS[kind]
    path = os.path.join(directory, "%s-%s.conf" % (kind, uuid.uuid4().hex))
    with open(path, "w") as stream:
        stream.write("[%s]\nconnection = %s\n" % (
            section, url.replace("$", "$$")))
        if kind == "cell":
            # nova-manage wants to know of one.
            stream.write("[api_database]\nconnection = %s\n" % url)
    processes.run(
        [os.path.join(os.path.dirname(sys.executable), program),
         "--config-file", path, *command], SYNC_TIMEOUT_S,
        {"PYTHONWARNINGS": "ignore"})


def fill(url, servers, rows_each=None, seed=1):
    """Put rows into every table, shadow tables included.

    :param servers: number of servers whose UUIDs the rows carry.
    :param rows_each: name of a table -> rows a server; else one row for each
        server of tables that name one, 20 of the others.
    :returns: number of rows.
    """
    chance = random.Random(seed)
    uuids = [str(uuid.UUID(int=chance.getrandbits(128)))
             for _ in range(servers)]
    engine = sqlalchemy.create_engine(
        url, poolclass=sqlalchemy.pool.NullPool)
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    total = 0
    for table in metadata.sorted_tables:
        if table.name == "alembic_version":
            continue
        each = (rows_each or {}).get(table.name)
        names_server = table.name == "instances" or bool(
            SERVER_COLUMNS & set(table.columns.keys()))
        if rows_each is not None:
            count = servers * (each or 0)
        else:
            count = servers if names_server else 20
        for first in range(0, count, 2000):
            numbers = range(first, min(first + 2000, count))
            with engine.begin() as connection:
                if engine.dialect.name == "mysql":
                    connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
                    connection.exec_driver_sql(
                        "SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO,"
                        "STRICT_ALL_TABLES'")
                elif engine.dialect.name == "postgresql":
                    connection.exec_driver_sql(
                        "SET LOCAL session_replication_role = replica")
                connection.execute(table.insert(), [
                    _row(table, number, uuids, chance)
                    for number in numbers])
            total += len(numbers)
    engine.dispose()
    return total


def _row(table, number, uuids, chance):
    row = {}
    for column in table.columns:
        row[column.name] = _value(table, column, number, uuids, chance)
    return row


def _value(table, column, number, uuids, chance):
    kind = column.type
    name = column.name
    plain = table.name.removeprefix("shadow_")
    if name in SERVER_COLUMNS:
        return uuids[number % len(uuids)]
    if (plain, name) == ("instances", "uuid"):
        return uuids[number]
    if name == "id" and column.primary_key:
        # Placement's first resource class has the id 0.
        return number if plain == "resource_classes" else number + 1
    if name == "action_id":
        return number + 1
    is_unique = column.unique or any(
        column.name in index.columns for index in table.indexes
        if index.unique) or any(
        column.name in constraint.columns
        for constraint in table.constraints
        if isinstance(constraint, sqlalchemy.UniqueConstraint)) or (
            column.primary_key)
    if column.nullable and not is_unique and chance.random() < 0.2:
        return None
    if isinstance(kind, sqlalchemy.Enum):
        return chance.choice(kind.enums)
    if isinstance(kind, sqlalchemy.Boolean) or (
            getattr(kind, "display_width", None) == 1):
        return bool(chance.getrandbits(1))
    if isinstance(kind, sqlalchemy.Integer):
        if name == "deleted":
            return number + 1 if table.name != plain else 0
        return number + 1 if is_unique else chance.randrange(-5, 10 ** 6)
    if isinstance(kind, sqlalchemy.DateTime):
        return datetime.datetime(2026, 1, 2, 3, 4, 5) + datetime.timedelta(
            seconds=chance.randrange(10 ** 7),
            # MySQL drops them.
            microseconds=chance.randrange(10 ** 6))
    if isinstance(kind, (sqlalchemy.Float, sqlalchemy.Numeric)):
        return chance.choice([0.0, 1.5, -3.25, 16.0, 0.1])
    if isinstance(kind, sqlalchemy.String):
        if is_unique:
            return ("%s-%d" % (name, number))[:kind.length or 255]
        length = kind.length or 2000
        return chance.choice(TEXTS)[:length]
    return "10.0.0.%d" % (number % 250)


def dump(url):
    """Return table -> all rows in the order of the key."""
    engine = sqlalchemy.create_engine(
        url, poolclass=sqlalchemy.pool.NullPool)
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    found = {}
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            found[name] = [tuple(row) for row in connection.execute(
                table.select().order_by(*table.primary_key.columns))]
    engine.dispose()
    return found
