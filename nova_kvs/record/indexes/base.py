# SPDX-License-Identifier: Apache-2.0
"""The base class of the kinds of indexes."""

import abc
import types

#: Sorts behind all that goes on with an encoded tuple or a field.
AFTER = b"\xff"
#: Sorts behind all that goes on with a version or random bytes.
AFTER_TAIL = b"\xff" * 9
#: Random bytes of a transaction, at the end of a member that it adds.
NONCE_BYTES = 4


class Index(abc.ABC):
    """An index or unique key of a table.

    Those of one kind with the same definition are equal, whichever schema
    they belong to.

    :ivar table: the table's name. :ivar name: :ivar columns: names.
    :ivar is_global: its entries are outside of the row's partition.
    :ivar is_partitioned: each partition of the table has one.
    :ivar is_covering: its entries include columns.
    :ivar is_ordered: all its entries have one order.
    :ivar only: ``(column, value)``: rows that have it are in it; or None.
    :ivar without: values of its first column: rows that have one are not.
    :ivar coarse: column -> characters of its text that entries have.
    """

    is_global = False
    is_partitioned = False
    is_covering = False
    is_ordered = True
    only = None
    without = ()
    coarse = types.MappingProxyType({})

    def __init__(self, table, name, columns, *definition):
        self.table = table
        self.name = name
        self.columns = columns
        self._definition = (type(self), table, name, columns, *definition)
        self._hash = hash(self._definition)

    def __eq__(self, other):
        return (isinstance(other, Index)
                and self._definition == other._definition)

    def __hash__(self):
        return self._hash

    def __repr__(self):
        return "<%s %s.%s>" % (type(self).__name__, self.table, self.name)

    @abc.abstractmethod
    def holds(self, values):
        """Tell whether rows that have these values are in the index.

        :param values: dict that has at least the index's first column: a
            row, or the values that are looked for.
        """


def text_of(value):
    """Return a column's value as the text that names a partition or bucket.

    Not unique over types: values that share a partition or bucket are told
    apart inside.
    """
    if type(value) is str or type(value) is bytes:
        return value
    return str(value)
