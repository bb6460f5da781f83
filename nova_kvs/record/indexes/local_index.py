# SPDX-License-Identifier: Apache-2.0
"""Local indexes: those inside of a partition.

Their entries are in the sorted set beside that partition, and are written by
the script that writes the record. An entry is the index's name, the encoded
columns, the record's field and the field's length.

Tables that are one partition have them. In the partitions of servers the
tables of a history have some, so that a few rows of a long one are found; and
each row of other tables there has one entry, all of them behind one name, so
that these rows are read without the history.
"""

import struct

from nova_kvs import keyspace
from nova_kvs.record.indexes import base

_FIELD_LENGTH = struct.Struct(">H")


#: Entries of rows beside a history begin with this: no table's name.
_PRESENT = b".present\0"
#: The range of all of them, as of IndexRead.
PRESENT = ((b"[" + _PRESENT, b"(" + _PRESENT + base.AFTER),)


class LocalIndex(base.Index):
    """An index inside of its table's partition.

    :ivar prefix: what its entries begin with.
    """

    def __init__(self, table, name, columns):
        super().__init__(table, name, columns)
        self.prefix = name.encode() + b"\0"

    def holds(self, values):
        return True

    def encode(self, values):
        """Return some first columns as entries have them."""
        return keyspace.encode_tuple(values)

    def has_exact_order(self, column):
        """Tell whether the order of entries is that of a column's values."""
        return True

    def entry(self, row, field):
        """Return the entry of a row.

        :param row: dict without Nones.
        """
        return b"%s%s%s%s" % (
            self.prefix,
            self.encode([row.get(name) for name in self.columns]),
            field, _FIELD_LENGTH.pack(len(field)))

    def range_of(self, values):
        """Return the ends of the range of entries with some first values."""
        prefix = self.prefix + self.encode(values)
        return b"[" + prefix, b"(" + prefix + base.AFTER

    def columns_of(self, stored):
        """Return the encoded columns of a stored entry."""
        end = len(stored) - _FIELD_LENGTH.size
        length, = _FIELD_LENGTH.unpack_from(stored, end)
        return stored[len(self.prefix):end - length]


class PartitionIndex(LocalIndex):
    """An index of a table's rows in each partition that has some.

    Rows in their table's own partition are not in it.

    :param names_partition: values of the first column name the partition:
        entries need not have them.
    """

    is_ordered = False
    is_partitioned = True

    def __init__(self, table, name, columns, names_partition):
        super().__init__(table, name, columns)
        self._first = int(names_partition)
        # Other tables share the sorted set.
        self.prefix = b"%s.%s" % (table.encode(), self.prefix)

    def holds(self, values):
        return values.get(self.columns[0]) is not None

    def encode(self, values):
        return keyspace.encode_tuple(values[self._first:])


def entries(table, row, field, at_home, changed=None, indexes=None):
    """Return the entries of a row.

    :param table: nova_kvs.record.schema.Table.
    :param at_home: whether the row is in the table's own partition.
    :param changed: names of columns: only of the indexes that have one.
    :param indexes: only of these, instead of all that are written.
    """
    if at_home != (table.partition_column is None):
        return []
    found = [
        index.entry(row, field) for index in (
            table.local_indexes if indexes is None else indexes)
        if changed is None or not changed.isdisjoint(index.columns)]
    if changed is None and (
            table.lists_present if indexes is None else table.finds_present):
        found.append(present_entry(field))
    return found


def present_entry(field):
    """Return the entry of a row beside a history."""
    return b"%s%s%s" % (_PRESENT, field, _FIELD_LENGTH.pack(len(field)))


def field_of(stored):
    """Return the field of the record that a stored entry names.

    :raises struct.error: if it is too short for an entry.
    """
    end = len(stored) - _FIELD_LENGTH.size
    length, = _FIELD_LENGTH.unpack_from(stored, end)
    return stored[end - length:end]
