# SPDX-License-Identifier: Apache-2.0
"""Indexes of tables that are one partition.

Their entries are in the sorted set beside that partition, and are written by
the script that writes the record. An entry is the index's name, the encoded
columns, the record's field and the field's length.
"""

import struct

from nova_kvs import keyspace
from nova_kvs.record.indexes import base

_FIELD_LENGTH = struct.Struct(">H")


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
            keyspace.encode_tuple([row.get(name) for name in self.columns]),
            field, _FIELD_LENGTH.pack(len(field)))

    def range_of(self, values):
        """Return the ends of the range of entries with some first values."""
        prefix = self.prefix + keyspace.encode_tuple(values)
        return b"[" + prefix, b"(" + prefix + base.AFTER

    def columns_of(self, stored):
        """Return the encoded columns of a stored entry."""
        end = len(stored) - _FIELD_LENGTH.size
        length, = _FIELD_LENGTH.unpack_from(stored, end)
        return stored[len(self.prefix):end - length]


def entries(table, row, field, changed=None):
    """Return the entries of a row.

    :param table: nova_kvs.record.schema.Table.
    :param changed: names of columns: only of the indexes that have one.
    """
    return [index.entry(row, field) for index in table.local_indexes
            if changed is None or not changed.isdisjoint(index.columns)]


def field_of(stored):
    """Return the field of the record that a stored entry names.

    :raises struct.error: if it is too short for an entry.
    """
    end = len(stored) - _FIELD_LENGTH.size
    length, = _FIELD_LENGTH.unpack_from(stored, end)
    return stored[end - length:end]
