# SPDX-License-Identifier: Apache-2.0
"""The records that pieces of a database hold, as they are stored."""

import typing

from nova_kvs.inspection import keys
from nova_kvs import keyspace
from nova_kvs.txn import reading


class Stored(typing.NamedTuple):
    """A record as it is stored."""

    table: str
    field: bytes
    version: int
    payload: bytes


def records(database, pieces, tables):
    """Yield the Stored records of some tables.

    What a transaction left on its way counts as its outcome says.

    :param database: nova_kvs.record.database.Database.
    :param pieces: of nova_kvs.inspection.walk, of partitions.
    :param tables: names.
    """
    for piece in pieces:
        cells = {field: (int.from_bytes(value[:8], "big"), value[8:])
                 for field, value in piece.pairs
                 if field[:1] == keyspace.RECORD}
        fields = tuple(
            field[1:] for field, _ in piece.pairs
            if field[:1] == keyspace.INTENT
            and field[1:2] == keyspace.RECORD)
        if fields:
            snapshot, = database.coordinator.read([reading.FieldsRead(
                keyspace.Partition(piece.key.name), fields)])
            for field in fields:
                cells.pop(field, None)
            cells.update((field, (cell.version, cell.payload))
                         for field, cell in snapshot.cells.items())
        for field, (version, payload) in cells.items():
            name = keys.table_of(field)
            if name in tables:
                yield Stored(name, field, version, payload)
