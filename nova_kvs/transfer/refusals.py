# SPDX-License-Identifier: Apache-2.0
"""The rows of a source that the target of a copy refuses."""

import collections

from nova_kvs import exceptions

#: Rows that an error names. Of the others it says how many they are.
NAMED = 20
#: Of these, rows with one column at fault.
OF_A_COLUMN = 5


class Refusals:
    """Collects rows that are refused, in bounded memory.

    True when there is one.

    :ivar count: number of rows.
    """

    def __init__(self):
        self.count = 0
        self._named = []
        self._columns = collections.Counter()

    def __bool__(self):
        return bool(self.count)

    def add(self, table, key, column, reason):
        """Note a row.

        :param table: name of its table.
        :param key: values of its primary key.
        :param column: name of the column at fault; None if not known.
        :param reason: a text without a value of another column.
        """
        self.count += 1
        self._columns[table, column] += 1
        if len(self._named) < NAMED and (
                self._columns[table, column] <= OF_A_COLUMN):
            self._named.append("table=%s, key=%s%s: %s" % (
                table, tuple(key), ", column=%s" % column if column else "",
                reason))

    def check(self):
        """Do nothing if no row was refused.

        :raises nova_kvs.exceptions.KVSError: naming the rows, else.
        """
        if not self.count:
            return
        named = list(self._named)
        if self.count > len(named):
            named.append("and %d more" % (self.count - len(named)))
        raise exceptions.KVSError(
            "the target refuses %s: correct the source, then run the same "
            "command again (%s)" % (
                "a row" if self.count == 1 else "%d rows" % self.count,
                "; ".join(named)))
