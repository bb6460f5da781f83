# SPDX-License-Identifier: Apache-2.0
"""Reads the rows whose entries in an index pass a condition, in an order.

An entry says where a row may be, with some of its columns. A row whose entry
does not pass is not read; one whose entry passes is read and checked. A row
that changes gets its new entry first and keeps the old one for a grace, so an
entry that passes names each row that passes. This is the path of ByEntries.

Invariant: a row that was not read sorts behind ``Cursor.last``, or at it.
"""

import operator

from nova_kvs.record.indexes import base
from nova_kvs.record.indexes import entry_columns
from nova_kvs.record.indexes import global_index
from nova_kvs.record.paths import partition_reads
from nova_kvs.txn import reading

#: Entries of a bucket that are looked at first, beside those of the limit.
HEAD_SLACK = 16


class Cursor:
    """A walk through rows by their entries, some rows at a time.

    :param table: nova_kvs.record.schema.Table.
    :param index: an ordered index that has all rows, or all that may pass.
        Where the order names a coarse column rows are in the order of what
        entries have of it.
    :param prefixes: values of its first column, as stored, one of which a
        row has; None: any. :param refused: those that none has, nor NULL.
    :param conditions: pairs of a column of ``entry_columns.offered`` and a
        Condition of that module.
    :param order: pairs of such a column, or at last a coarse one, and whether
        it descends.
    :param start: values of the order's columns: rows before these do not
        matter. None of them is NULL.
    :ivar last: encoded values of the order's first columns, at which or
        behind which all rows are that were not read. None: nothing is known.
    :ivar is_done: all rows were read.
    """

    def __init__(self, table, index, conditions, order=(), prefixes=None,
                 refused=(), start=None):
        self.index = index
        self.conditions = conditions
        self.order = order
        self.prefixes = prefixes
        self.refused = refused
        self.start = start and tuple([
            self._encode(column, value)
            for (column, _), value in zip(order, start)])
        if self.start and not all(map(entry_columns.is_exact, self.start)):
            self.start = None
        self.last = None
        self.is_done = False
        self.names = list(dict.fromkeys(
            [name for name, _ in (*conditions, *order)]))
        #: (encoded order, partition, field) in order, the first one last.
        self.pending = None
        #: Partition and field of rows that were read.
        self.seen = set()
        #: Whether only the first entries were looked at.
        self.is_head = self._has_order()

    def _encode(self, column, value):
        """Return a value as entries have it: only some of a coarse one."""
        length = self.index.coarse.get(column)
        return entry_columns.encode(
            value[:length] if length and type(value) is str else value)

    def _has_order(self):
        """Tell whether the index has the order's first column as such."""
        if self.prefixes is None:
            behind = not self.refused and self.index.columns[:1]
        else:
            behind = len(self.prefixes) == 1 and self.index.columns[1:2]
        return bool(behind and self.order) and self.order[0][0] == behind[0]

    @property
    def reverse(self):
        """Whether the order's first column descends."""
        return bool(self.order) and self.order[0][1]

    def ranges(self):
        """Return the ranges of entries: pairs of ends."""
        encode = self.index.encode
        if self.prefixes is not None:
            return [self._range(encode((value,))) for value in self.prefixes]
        low, found = b"-", []
        for value in sorted(map(entry_columns.encode, self.refused)):
            found.append((low, b"(" + value))
            low = b"[" + value + base.AFTER
        if self.refused:
            found[0] = (b"[" + entry_columns.NULL + base.AFTER, found[0][1])
            return [*found, (low, b"+")]
        return [self._from_start(b"-", b"+", b"")]

    def _range(self, prefix):
        return self._from_start(
            b"[" + prefix, b"(" + prefix + base.AFTER, prefix)

    def _from_start(self, low, high, prefix):
        """Return a range's ends without what is before the start."""
        if self.start is not None and self._has_order():
            if self.reverse:
                high = b"(" + prefix + self.start[0] + base.AFTER
            else:
                low = b"[" + prefix + self.start[0]
        return low, high

    def having(self):
        """Return what a store is asked of entries, beside ranges."""
        places = {name: place for place, name in enumerate(
            self.index.columns)}
        if self.prefixes is not None:
            del places[self.index.columns[0]]
        found = [condition.having(places[name])
                 for name, condition in self.conditions if name in places]
        return tuple(sorted(
            [one for one in found if one is not None],
            key=operator.attrgetter("place")))

    def precedes(self, values):
        """Tell whether a row comes before all that were not read.

        :param values: a row's, dict without Nones.
        """
        if self.is_done or self.last is None:
            return self.is_done
        own = tuple([self._encode(column, values.get(column)) for column, _
                     in self.order[:len(self.last)]])
        # Behind all others: it may be, and is looked at once more.
        return all(map(entry_columns.is_exact, own)) and (
            self._is_before(own, self.last))

    def _is_before(self, values, others):
        for value, other, (_, descends) in zip(values, others, self.order):
            if value != other:
                return value > other if descends else value < other
        return False

    def take(self, columns, members):
        """Add the entries that pass, in order: those that are left to read.

        :param columns: entry_columns.Columns. :param members: stored entries.
        """
        tests = [(columns.at[name], condition.test)
                 for name, condition in self.conditions]
        places = [columns.at[name] for name, _ in self.order]
        cut, found = [], []
        for member in members:
            values = columns.of(member)
            if not all([values[at] is None or test(values[at])
                        for at, test in tests]):
                continue
            order = tuple([values[at] for at in places])
            row = (order, *global_index.named(member)[:2])
            if any(map(entry_columns.is_cut, order)):
                cut.append(row)
            elif self.start is None or not self._is_before(
                    order, self.start):
                found.append(row)
        # The first one last, to be taken from the end.
        for at, (_, descends) in reversed(list(enumerate(self.order))):
            found.sort(key=lambda row: row[0][at], reverse=not descends)
        self.pending = found
        return cut

    def next(self, limit, cut):
        """Return so many rows that are left, as partition -> fields.

        :param cut: rows whose place is not known, which come first.
        """
        taken = list(cut)
        count = len(self.pending) if limit is None else limit
        while count > 0 and self.pending:
            row = self.pending.pop()
            taken.append(row)
            count -= row[1:] not in self.seen
        if taken and taken[-1] not in cut:
            self.last = taken[-1][0][:1 if self.is_head else None]
        named = {}
        for _, partition, field in taken:
            if (partition, field) not in self.seen:
                self.seen.add((partition, field))
                named.setdefault(partition, []).append(field)
        return named


def by_entries(tx, table, wanted):
    cursor, limit = wanted.cursor, wanted.limit
    cut = ()
    rows = []
    while True:
        if cursor.pending is None or not cursor.pending and cursor.is_head:
            cut = yield from _look(tx, table, cursor, limit)
        named = cursor.next(
            limit if limit is None else limit - len(rows), cut)
        cut = ()
        if wanted.table_only:
            yield from global_index.read_fields(tx, table, named)
        else:
            yield from partition_reads.read_whole(tx, named, table)
        for partition, fields in named.items():
            read_set = tx.read_sets[partition]
            rows += [row for row in (
                read_set.record(table, field) for field in fields)
                if row is not None]
        cursor.is_done = not cursor.pending and not cursor.is_head
        if cursor.is_done or limit is not None and len(rows) >= limit:
            return rows


def _look(tx, table, cursor, limit):
    """Look at the first entries, or at all of them if these were few.

    :returns: rows whose place in the order is not known.
    """
    index = cursor.index
    columns = entry_columns.Columns(
        table, index, tx.table_partition(table).key, cursor.names)
    keys = index.bucket_keys(tx.database_name, None)
    is_first = cursor.pending is None
    size = None
    if is_first and cursor.is_head and limit is not None:
        size = 2 * limit // len(keys) + HEAD_SLACK
    # The first ones are cheap to look at; among all the store may choose.
    having = cursor.having() if size is None else ()
    results = yield [
        reading.MembersRead(key, low, high, size, cursor.reverse,
                            global_index.named, having)
        for low, high in cursor.ranges() for key in keys]
    members = [member for found in results for member in found]
    ends = [found[-1] for found in results if len(found) == size]
    if ends:
        # Of other buckets those behind the first end are not all there.
        end = min(ends) if not cursor.reverse else max(ends)
        members = [member for member in members if (
            member >= end if cursor.reverse else member <= end)]
    else:
        cursor.is_head = False
    cut = cursor.take(columns, members)
    if ends and (cut or not _is_exact(cursor)):
        cursor.is_head = False
        return (yield from _look(tx, table, cursor, limit))
    return cut


def _is_exact(cursor):
    return all([entry_columns.is_exact(row[0][0]) for row in cursor.pending])
