# SPDX-License-Identifier: Apache-2.0
"""Reads an index in its order: the path of ByRange."""

import operator

from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record.indexes import base
from nova_kvs.record.indexes import global_index
from nova_kvs.record.paths import by_key
from nova_kvs.record.paths import partition_reads
from nova_kvs.record.paths import scans
from nova_kvs.txn import reading

#: Entries read beyond a limit: stale ones, and rows that the transaction
#: deletes, count against it.
LIMIT_SLACK = 8
#: Likewise within a partition, where only rows that are being changed have
#: entries that are not right.
LOCAL_SLACK = 2
#: Text above this many bytes may be out of order in an index.
_ORDERED_BYTES = keyspace.KEPT_COMPONENT_BYTES


class _Bounds:
    """The ends of a range of encoded tuples, and how to check a row."""

    def __init__(self, table, index, wanted):
        columns = index.columns
        self.columns = columns
        self._index = index
        self._is_exact = all(map(index.has_exact_order, columns))
        #: Text that an index cannot order exactly is in a bound.
        self.loose = False
        self.low, self.high = (
            self._encode(table, wanted.prefix, values or ())
            for values in (wanted.low, wanted.high))

    def _encode(self, table, prefix, bound):
        kept = []
        for column, value in zip(self.columns, (*prefix, *bound)):
            value = table.normalise(column, value)
            if len(kept) >= len(prefix) and is_long(value):
                self.loose = True
                break
            kept.append(value)
        return self._index.encode(kept)

    def order(self, row):
        """Return what sorts a row as the index does."""
        return self._index.encode(
            [row.values.get(column) for column in self.columns])

    def exact_order(self, row):
        """Return what sorts a row as SQLite does, however long its text.
        """
        return [sortable(row.values.get(column)) for column in self.columns]

    def holds(self, order):
        """Tell whether a row with this order is in the range."""
        return order >= self.low and (
            order < self.high or order.startswith(self.high))

    def is_ordered(self, row):
        """Tell whether the index has a row in its exact place."""
        values = row.values
        return self._is_exact and not any(
            [is_long(values.get(column)) for column in self.columns])


def is_long(value):
    """Tell whether an index may keep only the beginning of a value."""
    if type(value) is str:
        # At most four bytes a character: most need no look.
        return len(value) * 4 > _ORDERED_BYTES and len(
            value.encode("utf-8", "surrogatepass")) > _ORDERED_BYTES
    return type(value) is bytes and len(value) > _ORDERED_BYTES


def sortable(value):
    """Return a value as a tuple: NULL < numbers < text < bytes."""
    if value is None:
        return (0,)
    if type(value) is str:
        return 2, value.encode("utf-8", "surrogatepass")
    return (3 if type(value) is bytes else 1), value


def by_range(tx, table, wanted):
    index = table.index(wanted.index)
    bounds = _Bounds(table, index, wanted)
    limit = wanted.limit
    if limit == 0:
        return []
    if limit is not None:
        limit += tx.written_rows(table)
    if bounds.loose:
        limit = None
    if index.is_partitioned:
        return (yield from _partition_range(
            tx, table, index, bounds, limit, wanted))
    if not index.is_global:
        return (yield from _local_range(
            tx, table, index, tx.table_partition(table), bounds, limit,
            wanted.reverse))
    first = dict(zip(index.columns, (
        table.normalise(column, value)
        for column, value in zip(index.columns, wanted.prefix))))
    if not (index.holds(first) if first else
            index.is_ordered and index.has_range(wanted.low, wanted.high)):
        rows = yield from scans.scan(tx, table)
        return _arrange(rows, bounds, limit, wanted.reverse)
    return (yield from _global_range(
        tx, table, index, bounds, first.get(index.columns[0]), limit,
        wanted))


def _arrange(rows, bounds, limit, reverse, until=None):
    """Return rows in range, in the columns' order, each once.

    :param until: encoded columns of the last index entry that was read:
        rows beyond it are left out.
    """
    found = {}
    for row in rows:
        order = bounds.order(row)
        if bounds.holds(order) and (until is None or (
                order >= until if reverse else order <= until)):
            found[row.partition, row.key] = (order, row)
    if all([bounds.is_ordered(row) for _, row in found.values()]):
        ordered = sorted(
            found.values(), key=operator.itemgetter(0), reverse=reverse)
    else:
        ordered = sorted(
            found.values(), key=lambda item: bounds.exact_order(item[1]),
            reverse=reverse)
    return [row for _, row in ordered[:limit]]


def _partition_range(tx, table, index, bounds, limit, wanted):
    """Read the index of the partition that the first value names."""
    value, = [table.normalise(index.columns[0], value)
              for value in wanted.prefix[:1]]
    if value is not None and not table.parents:
        partition = tx.partition_of_value(table, value)
        if wanted.table_only or not tx.prefers_whole(partition):
            return (yield from _local_range(
                tx, table, index, partition, bounds, limit, wanted.reverse))
    rows = yield from by_key.by_partition(
        tx, table, access.ByPartition(table.name, (value,)))
    return _arrange(rows, bounds, limit, wanted.reverse)


def _local_range(tx, table, index, partition, bounds, limit, reverse):
    read_set = tx.read_sets.get(partition)
    if read_set is not None and read_set.has_all(table):
        return _arrange(read_set.records(table), bounds, limit, reverse)
    name = index.prefix
    size = limit and limit + LOCAL_SLACK
    while True:
        (members, _), = yield [reading.IndexRead(
            partition, ((b"[" + name + bounds.low,
                         b"(" + name + bounds.high + base.AFTER),),
            size, reverse)]
        rows = tx.read_sets[partition].records(table)
        if size is None or len(members) < size:
            return _arrange(rows, bounds, limit, reverse)
        known = _arrange(
            rows, bounds, limit, reverse, index.columns_of(members[-1]))
        if not all(map(bounds.is_ordered, known)):
            limit = size = None
        elif len(known) == limit:
            return known
        else:
            # Entries of rows that are being changed: all again, at once.
            size *= 4


def _global_range(tx, table, index, bounds, first, limit, wanted):
    reverse = wanted.reverse
    low = b"[" + bounds.low
    high = b"(" + bounds.high + base.AFTER
    keys = index.bucket_keys(tx.database_name, first)
    size = limit and limit + LIMIT_SLACK
    named = {}
    while True:
        listed = yield [
            reading.MembersRead(
                key, low, high, size, reverse, global_index.named)
            for key in keys]
        members = sorted(
            [member for found in listed for member in found],
            reverse=reverse)
        more = size is not None and (
            len(members) > size or any(len(found) == size
                                       for found in listed))
        if size is not None:
            members = members[:size]
        for member in members:
            named.setdefault(global_index.partition_of(member), {})[
                global_index.field_of(member)] = None
        if wanted.table_only:
            yield from global_index.read_fields(tx, table, named)
        else:
            yield from partition_reads.read_whole(tx, named, table)
        rows = partition_reads.rows_in(tx, table, named)
        if more and not all(map(bounds.is_ordered, rows)):
            # Start again without a limit: some row's place is not exact.
            limit = size = None
            low = b"[" + bounds.low
            high = b"(" + bounds.high + base.AFTER
            continue
        if more:
            last = global_index.columns_of(members[-1])
            found = _arrange(rows, bounds, limit, reverse, last)
            if len(found) < limit:
                if reverse:
                    high = b"(" + members[-1]
                else:
                    low = b"(" + members[-1]
                size *= 2
                continue
            return found
        return _arrange(rows, bounds, limit, reverse)
