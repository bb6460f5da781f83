# SPDX-License-Identifier: Apache-2.0
"""One server's rows for people, without its secrets."""

import json
import re

from nova_kvs import exceptions
from nova_kvs.inspection import keys
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record import partition_rules
from nova_kvs.txn import reading

MASK = "***"
#: Kinds of partitions that a server's UUID names.
KINDS = (partition_rules.SERVER, partition_rules.CONSUMER)
#: Placement's table of what consumers hold of providers.
_HELD = "allocations"

#: Names of columns, of entries of JSON objects and of metadata keys whose
#: value is a secret or may hold one.
_SECRET = re.compile(
    r"pass(word|wd|phrase|_|$)|secret|token|credential|auth_?key|api_?key|"
    r"private_?key|key_data|keypairs?$|public_key|connection_info|"
    r"connection_data|user_?data|injected_files|transport_url|"
    r"database_connection|encryption_options", re.IGNORECASE)
#: Columns with a secret name that hold none.
_HARMLESS = frozenset(["console_type", "encryption_secret_uuid"])
_PAIR_TABLES = ("metadata", "_extra_specs")


def show(database, uuid):
    """Return a server's rows.

    :param database: nova_kvs.record.database.Database.
    :param uuid: of a server (or consumer) in the database.
    :returns: ``{table: [row, ...]}``; a row is a dict of its columns, and of
        ``_version``. A record that does not decode is ``{"_error": text}``.
    :raises nova_kvs.exceptions.ConfigurationError: if nothing is stored
        under this UUID.
    """
    partitions = [keyspace.partition(database.name, kind, uuid)
                  for kind in KINDS]
    snapshots = database.coordinator.read(
        [reading.PartitionRead(partition) for partition in partitions])
    found = {}
    for snapshot in snapshots:
        for field, cell in sorted(snapshot.cells.items()):
            table = keys.table_of(field)
            if field[:1] == keyspace.RECORD and table is not None:
                found.setdefault(table, []).append(
                    _row(database, table, field, cell))
    if _HELD in database.schema.tables:
        # It is with the providers that it is held of.
        held, = database.begin().load([access.ByIndex(
            _HELD, ("consumer_id",), ((uuid,),))])
        for record in held:
            found.setdefault(_HELD, []).append(_shown(
                database, _HELD, record.values, record.version))
    if not found:
        raise exceptions.ConfigurationError(
            "the database has nothing under this UUID", uuid=uuid,
            database=database.name)
    return found


def _row(database, name, field, cell):
    try:
        values = codec.decode(cell.payload, field)
    except exceptions.CorruptRecordError as error:
        return {"_version": cell.version, "_error": error.message}
    return _shown(database, name, values, cell.version)


def _shown(database, name, values, version):
    table = database.schema.tables.get(name)
    order = table.columns if table is not None else sorted(values)
    row = {column: masked_column(name, column, values[column], values)
           for column in order if column in values}
    row["_version"] = version
    return row


def masked_column(table, column, value, row):
    """Return a column's value, or what may be seen of it.

    :param row: dict of the row's values.
    """
    if column not in _HARMLESS and _SECRET.search(column):
        return MASK
    if column == "value" and table.endswith(_PAIR_TABLES) and (
            _SECRET.search(str(row.get("key")))):
        return MASK
    if isinstance(value, bytes):
        return "%d bytes" % len(value)
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return masked(json.loads(value))
        except ValueError:
            # A text that only begins like JSON.
            return value
    return value


def masked(value):
    """Return a JSON value without what is secret in it."""
    if isinstance(value, dict):
        # Metadata as a list of pairs of names and values.
        name = value.get("key")
        return {key: MASK if item is not None and (
            _SECRET.search(key) or key == "value" and isinstance(name, str)
            and _SECRET.search(name)) else masked(item)
            for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.dumps(masked(json.loads(value)))
        except ValueError:
            return value
    return value
