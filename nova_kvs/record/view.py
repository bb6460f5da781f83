# SPDX-License-Identifier: Apache-2.0
"""What a transaction has read of one partition.

Invariant: a cell once seen keeps its value, whatever is read later.
"""

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import codec

_RECORD = keyspace.RECORD[0]


class View:
    """Cells of a partition, decoded when their table is asked for.

    :ivar whole: everything in the partition was read.
    :ivar floor: the highest floor seen.
    :ivar cells: field -> Cell.
    :ivar complete: prefixes (of tables) of which everything was read.
    """

    __slots__ = ("partition", "whole", "floor", "cells", "complete",
                 "_groups", "_records")

    def __init__(self, partition):
        self.partition = partition
        self.whole = False
        self.floor = 0
        self.cells = {}
        self.complete = set()
        self._groups = {}
        self._records = {}

    def absorb(self, snapshot):
        """Add what a snapshot has that was not seen before."""
        cells = self.cells
        groups = self._groups
        if snapshot.floor > self.floor:
            self.floor = snapshot.floor
        for field, cell in snapshot.cells.items():
            if field in cells:
                continue
            cells[field] = cell
            if field[0] == _RECORD:
                prefix = field[:field.index(b"\0") + 1]
                if prefix in groups:
                    groups[prefix].append(field)
                else:
                    groups[prefix] = [field]

    def has_all(self, table):
        """Tell whether every record of a table was read."""
        return self.whole or table.prefix in self.complete

    def has_records(self):
        """Tell whether any record was seen."""
        return bool(self._groups)

    def record_fields(self):
        """Return the set of the fields of the records that were seen."""
        return {field for fields in self._groups.values() for field in fields}

    def records(self, table, seen):
        """Return the records of a table that were read.

        :param table: nova_kvs.record.schema.Table.
        :param seen: dict that gets (table's name, key) -> Record.
        :raises nova_kvs.exceptions.CorruptRecordError: if one does not
            decode.
        """
        fields = self._groups.get(table.prefix)
        if not fields:
            return []
        records = self._records
        found = []
        for field in fields:
            record = records.get(field)
            if record is None:
                record = self._decode(table, field, seen)
            found.append(record)
        return found

    def record(self, table, field, seen):
        """Return one record, or None if it was not read."""
        record = self._records.get(field)
        if record is None and field in self.cells:
            record = self._decode(table, field, seen)
        return record

    def _decode(self, table, field, seen):
        cell = self.cells[field]
        values = codec.decode(cell.payload, field)
        key = table.record_key(values)
        if table.field(key) != field:
            raise exceptions.CorruptRecordError(field=field)
        record = access.Record(
            table.name, key, self.partition, cell.version, values)
        self._records[field] = record
        seen[table.name, key] = record
        return record
