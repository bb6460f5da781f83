# SPDX-License-Identifier: Apache-2.0
"""Ordered indexes: global ones whose entries have one order.

A global index keeps rows with one first value together, so it finds what
equals that value. An ordered index spreads its entries over buckets that no
value names: all of them together have the order of the columns, a range of
the first column can be read, and rows that have NULL there are in it, too.
So it also tells which partitions have rows of the table.

A column whose value changes with each save may be *coarse*: an entry has the
first characters of its text only (of a time, the hour). A save then writes
an entry once an hour, and a range finds some rows more than was asked for.
Rows that have NULL in a coarse first column are not in the index: no
comparison is true of them.
"""

from nova_kvs import keyspace
from nova_kvs.record.indexes import global_index


class OrderedIndex(global_index.GlobalIndex):
    """A global index that has an order.

    :ivar coarse: dict, column -> characters of its text that entries have.
    """

    is_ordered = True

    def __init__(self, table, name, columns, buckets=1, only=None,
                 without=(), coarse=()):
        super().__init__(
            table, name, columns, buckets, only, without, coarse)
        self.coarse = dict(coarse)

    @property
    def is_complete(self):
        """True if every row of the table is in it."""
        return self.only is None and self.columns[0] not in self.coarse

    def holds(self, values):
        first = self.columns[0]
        if first in self.coarse and values.get(first) is None:
            return False
        return self.only is None or values.get(self.only[0]) == self.only[1]

    def has_range(self, low, high):
        """Tell whether all rows of a range of the first column are in it.

        :param low: values of the first columns, or None. :param high:
            likewise.
        """
        return self.is_complete or self.only is None and not (
            low is None and high is None)

    def encode(self, values):
        """Return some first columns as entries have them.

        :param values: of the first columns, as stored.
        """
        if self.coarse:
            values = [self._cut(column, value)
                      for column, value in zip(self.columns, values)]
        return keyspace.encode_tuple(values)

    def has_exact_order(self, column):
        """Tell whether the order of entries is that of a column's values."""
        return column not in self.coarse

    def _cut(self, column, value):
        length = self.coarse.get(column)
        return value[:length] if length and type(value) is str else value

    def _bucket_key(self, database, value, bucket):
        return keyspace.bucket_key(database, self._stored_name, str(bucket))
