# SPDX-License-Identifier: Apache-2.0
"""How each access is answered: which reads, in how many batches.

Every path is a generator: it yields a list of reads (of
``nova_kvs.txn.reading``), is sent the list of their results, and returns
records. The transaction runs the paths of one ``load`` side by side, so that
the reads of all of them share batches. Results of reads of partitions are
already in the transaction's views when a path goes on.
"""

import logging

from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import index as indexing
from nova_kvs.record import partition_rules
from nova_kvs.txn import reading

LOG = logging.getLogger(__name__)

#: Partitions that a scan reads in one batch.
SCAN_CHUNK = 400
#: Hints read beyond a limit: stale ones, and rows that this transaction
#: deletes, count against it.
LIMIT_SLACK = 8
#: Text above this many bytes may be out of order in an index.
_ORDERED_BYTES = keyspace.KEPT_COMPONENT_BYTES


def start(tx, wanted):
    """Return the path of an access.

    :param tx: nova_kvs.record.record_store.RecordTransaction.
    """
    table = tx.table(wanted.table)
    return _PATHS[type(wanted)](tx, table, wanted)


# By partition ---------------------------------------------------------------

def _by_partition(tx, table, wanted):
    if table.partition_column is None:
        return (yield from _scan(tx, table))
    column = table.partition_column
    values = [table.normalise(column, value) for value in wanted.values]
    return (yield from _in_partitions(tx, table, values))


def _in_partitions(tx, table, values):
    """Return the rows whose partition column has one of some values."""
    if table.parents:
        partitions = yield from _of_parents(tx, table, values)
    else:
        partitions = dict.fromkeys(
            [tx.partition_of_value(table, value) for value in values])
    yield from read_whole(tx, partitions)
    rows = _rows(tx, table, partitions)
    if table.parents:
        chosen = set(values)
        column = table.partition_column
        rows = [row for row in rows if row.values.get(column) in chosen]
    return rows


def read_whole(tx, partitions):
    """Read all partitions that were not read yet: at most one batch."""
    views = tx.views
    reads = [reading.PartitionRead(partition) for partition in partitions
             if partition not in views or not views[partition].whole]
    if reads:
        yield reads


def _rows(tx, table, partitions):
    views = tx.views
    rows = []
    for partition in partitions:
        view = views.get(partition)
        if view is not None:
            rows += view.records(table, tx.seen)
    return rows


def _of_parents(tx, table, values):
    """Return the partitions of the parents of rows; the table's for none."""
    found = {}
    missing = set(values)
    keys = [(value,) for value in values if value is not None]
    for name in table.parents:
        parent = tx.find_table(name)
        if parent is None:
            continue
        for record in (yield from locate(tx, parent, keys)):
            found[record.partition] = None
            missing.discard(record.key[0])
    if missing:
        found[tx.table_partition(table)] = None
    return found


# By key ---------------------------------------------------------------------

def _by_key(tx, table, wanted):
    columns = table.key
    keys = [tuple([table.normalise(column, value)
                   for column, value in zip(columns, key)])
            for key in wanted.keys]
    return (yield from locate(tx, table, keys))


def locate(tx, table, keys):
    """Return the records that have one of some primary keys."""
    keys = list(dict.fromkeys(keys))
    if table.partition_column is None:
        return (yield from _points(tx, table, keys))
    if table.partition_column in table.key:
        at = table.key.index(table.partition_column)
        chosen = set(keys)
        rows = yield from _in_partitions(
            tx, table, list(dict.fromkeys([key[at] for key in keys])))
        return [row for row in rows if row.key in chosen]
    return (yield from _search(tx, table, keys))


def _points(tx, table, keys):
    """Read single records of the table's one partition."""
    partition = tx.table_partition(table)
    fields = [table.field(key) for key in keys]
    view = tx.views.get(partition)
    if view is None or not view.has_all(table):
        absent = [field for field in fields
                  if view is None or field not in view.cells]
        if absent:
            yield [reading.FieldsRead(partition, tuple(absent))]
            view = tx.views[partition]
    rows = [view.record(table, field, tx.seen) for field in fields]
    return [row for row in rows if row is not None]


def _search(tx, table, keys):
    """Find records whose partition the key does not tell.

    In what was read, then where this process saw them last and by the
    table's index of ids, then by a scan.
    """
    for view in tx.views.values():
        view.records(table, tx.seen)
    name = table.name
    seen = tx.seen
    missing = [key for key in keys if (name, key) not in seen]
    if missing:
        partitions = []
        unknown = []
        for key in missing:
            partition = tx.locators.get((name, key))
            view = tx.views.get(partition)
            if partition is None or view is not None and view.whole:
                unknown.append(key)
            else:
                partitions.append(partition)
        yield from _visit(tx, table, partitions, unknown)
        missing = [key for key in missing if (name, key) not in seen]
        # Whoever was not where it was last seen.
        moved = [key for key in missing if key not in set(unknown)]
        if moved and table.id_hint is not None:
            yield from _visit(tx, table, (), moved)
            missing = [key for key in missing if (name, key) not in seen]
    if missing and table.id_hint is None:
        yield from _scan(tx, table)
    return [seen[name, key] for key in keys if (name, key) in seen]


def _visit(tx, table, partitions, keys):
    """Read partitions and those where hints say that keys are."""
    reads = [reading.PartitionRead(partition)
             for partition in dict.fromkeys(partitions)]
    if table.id_hint is not None:
        reads += _hint_reads(tx, table, table.id_hint, keys)
    if not reads:
        return
    results = yield reads
    hinted = _hinted_partitions(reads, results)
    yield from read_whole(tx, hinted)
    _rows(tx, table, list(partitions) + list(hinted))


# By index -------------------------------------------------------------------

def _by_index(tx, table, wanted):
    columns = wanted.columns
    tuples = list(dict.fromkeys(
        [tuple([table.normalise(column, value)
                for column, value in zip(columns, values)])
         for values in wanted.tuples]))
    if columns == table.key:
        return (yield from locate(tx, table, tuples))
    rows = yield from _candidates(tx, table, columns, tuples)
    chosen = set(tuples)
    if len(columns) == 1:
        column = columns[0]
        return [row for row in rows if (row.values.get(column),) in chosen]
    return [row for row in rows
            if tuple([row.values.get(column) for column in columns])
            in chosen]


def _candidates(tx, table, columns, tuples):
    """Return at least the rows whose columns equal one of some tuples."""
    size = len(columns)
    column = table.partition_column
    if column is None:
        return (yield from _inner(tx, table, columns, tuples))
    if column in columns:
        at = columns.index(column)
        return (yield from _in_partitions(
            tx, table, list(dict.fromkeys([item[at] for item in tuples]))))
    for index in table.hints:
        if index.columns[:size] == columns and all(
                indexing.covers(index, dict(zip(columns, values)))
                for values in tuples):
            reads = _hint_reads(tx, table, index, tuples)
            results = yield reads
            return (yield from _named(
                tx, table, _hinted_partitions(reads, results)))
    for unique in table.uniques:
        if not unique.inside and unique.columns[:size] == columns:
            if not any(item[0] is None for item in tuples):
                return (yield from _by_unique(tx, table, unique, tuples))
    return (yield from _scan(tx, table))


def _named(tx, table, partitions):
    """Return the rows of a table in partitions, reading them whole."""
    yield from read_whole(tx, partitions)
    return _rows(tx, table, partitions)


def _inner(tx, table, columns, tuples):
    partition = tx.table_partition(table)
    view = tx.views.get(partition)
    if view is None or not view.has_all(table):
        size = len(columns)
        for index in table.inner:
            if index.columns[:size] == columns:
                break
        else:
            return (yield from _scan(tx, table))
        ranges = []
        for values in tuples:
            prefix = indexing.inner_prefix(index, values)
            ranges.append((b"[" + prefix, b"(" + prefix + indexing.AFTER))
        yield [reading.IndexRead(partition, tuple(ranges))]
        view = tx.views[partition]
    return view.records(table, tx.seen)


def _by_unique(tx, table, unique, tuples):
    """Follow unique keys to the partitions of their owners."""
    partitions = dict.fromkeys([
        indexing.unique_partition(tx.database, table, unique, values[0])
        for values in tuples])
    yield from read_whole(tx, partitions)
    prefix = keyspace.unique_field(table.name, unique.name, ())
    owners = {}
    for partition in partitions:
        for field, cell in tx.views[partition].cells.items():
            if field.startswith(prefix):
                owners[indexing.owner_partition(field, cell.payload)] = None
    return (yield from _named(tx, table, owners))


def _hint_reads(tx, table, index, tuples):
    """Return the reads of all hints that begin with one of some tuples."""
    reads = []
    for values in tuples:
        prefix = keyspace.encode_tuple(values)
        for key in indexing.slot_keys(tx.database, table, index, values[0]):
            reads.append(reading.HintRead(
                key, b"[" + prefix, b"(" + prefix + indexing.AFTER))
    return reads


def _hinted_partitions(reads, results):
    found = {}
    for read, members in zip(reads, results):
        if type(read) is reading.HintRead:
            for member in members:
                found[indexing.partition_of(member)] = None
    return found


# By range -------------------------------------------------------------------

class _Bounds:
    """The ends of a range of encoded tuples, and how to check a row."""

    def __init__(self, table, index, wanted):
        columns = index.columns
        self.columns = columns
        #: Text that an index cannot order exactly is in a bound.
        self.loose = False
        first = len(wanted.prefix)
        prefix = self._encode(table, columns, wanted.prefix, False)
        self.low = prefix + self._encode(
            table, columns[first:], wanted.low or (), True)
        self.high = prefix + self._encode(
            table, columns[first:], wanted.high or (), True)

    def _encode(self, table, columns, values, bound):
        kept = []
        for column, value in zip(columns, values):
            value = table.normalise(column, value)
            if bound and _is_long(value):
                self.loose = True
                break
            kept.append(value)
        return keyspace.encode_tuple(kept)

    def order(self, row):
        """Return what sorts a row as the index does."""
        return keyspace.encode_tuple(
            [row.values.get(column) for column in self.columns])

    def holds(self, order):
        """Tell whether a row with this order is in the range."""
        return order >= self.low and (
            order < self.high or order.startswith(self.high))

    def is_ordered(self, row):
        """Tell whether the index has a row in its exact place."""
        return not any(_is_long(row.values.get(column))
                       for column in self.columns)


def _is_long(value):
    if type(value) is str:
        return len(value) * 4 > _ORDERED_BYTES and len(
            value.encode("utf-8", "surrogatepass")) > _ORDERED_BYTES
    return type(value) is bytes and len(value) > _ORDERED_BYTES


def _by_range(tx, table, wanted):
    index = table.index(wanted.index)
    bounds = _Bounds(table, index, wanted)
    limit = wanted.limit
    if limit == 0:
        return []
    if limit is not None:
        limit += tx.written_rows(table)
    if bounds.loose:
        limit = None
    if not index.hint:
        return (yield from _inner_range(
            tx, table, index, bounds, limit, wanted.reverse))
    first = dict(zip(index.columns, (
        table.normalise(column, value)
        for column, value in zip(index.columns, wanted.prefix))))
    if not first or not indexing.covers(index, first):
        rows = yield from _scan(tx, table)
        return _arrange(rows, bounds, limit, wanted.reverse)
    return (yield from _hint_range(
        tx, table, index, bounds, first[index.columns[0]], limit,
        wanted.reverse))


def _arrange(rows, bounds, limit, reverse):
    """Return rows in range, in the index's order, each once."""
    found = {}
    for row in rows:
        order = bounds.order(row)
        if bounds.holds(order):
            found[order, row.partition, row.key] = row
    ordered = [found[item] for item in sorted(
        found, key=lambda item: item[0], reverse=reverse)]
    return ordered[:limit]


def _inner_range(tx, table, index, bounds, limit, reverse):
    partition = tx.table_partition(table)
    view = tx.views.get(partition)
    if view is not None and view.has_all(table):
        return _arrange(view.records(table, tx.seen), bounds, limit, reverse)
    name = indexing.inner_prefix(index, ())
    read = reading.IndexRead(
        partition, ((b"[" + name + bounds.low,
                     b"(" + name + bounds.high + indexing.AFTER),),
        limit and limit + LIMIT_SLACK, reverse)
    (members, _), = yield [read]
    view = tx.views[partition]
    rows = view.records(table, tx.seen)
    if limit is None or len(members) < read.limit:
        return _arrange(rows, bounds, limit, reverse)
    last = indexing.inner_columns(index, members[-1])
    known = _arrange(_until(rows, bounds, last, reverse),
                     bounds, limit, reverse)
    if len(known) < limit or not all(map(bounds.is_ordered, known)):
        yield [read._replace(limit=None)]
        known = _arrange(
            view.records(table, tx.seen), bounds, None, reverse)
    return known


def _until(rows, bounds, last, reverse):
    """Return the rows that are not beyond the last index entry read."""
    if reverse:
        return [row for row in rows if bounds.order(row) >= last]
    return [row for row in rows if bounds.order(row) <= last]


def _hint_range(tx, table, index, bounds, first, limit, reverse):
    low = b"[" + bounds.low
    high = b"(" + bounds.high + indexing.AFTER
    keys = indexing.slot_keys(tx.database, table, index, first)
    size = limit and limit + LIMIT_SLACK
    partitions = {}
    while True:
        slices = yield [reading.HintRead(key, low, high, size, reverse)
                        for key in keys]
        members = sorted(
            [member for found in slices for member in found],
            reverse=reverse)
        more = size is not None and (
            len(members) > size or any(len(found) == size
                                       for found in slices))
        if size is not None:
            members = members[:size]
        for member in members:
            partitions[indexing.partition_of(member)] = None
        yield from read_whole(tx, partitions)
        rows = _rows(tx, table, partitions)
        if more and not all(map(bounds.is_ordered, rows)):
            # Start again without a limit: some row's place is not exact.
            limit = size = None
            low = b"[" + bounds.low
            high = b"(" + bounds.high + indexing.AFTER
            continue
        if more:
            last = indexing.columns_of(members[-1])
            found = _arrange(_until(rows, bounds, last, reverse),
                             bounds, limit, reverse)
            if len(found) < limit:
                if reverse:
                    high = b"(" + members[-1]
                else:
                    low = b"(" + members[-1]
                size *= 2
                continue
            return found
        return _arrange(rows, bounds, limit, reverse)


# Scans ----------------------------------------------------------------------

def _full_scan(tx, table, wanted):
    return (yield from _scan(tx, table))


def _scan(tx, table):
    """Read every row of a table."""
    tx.count_scan(table)
    home = tx.table_partition(table)
    if table.kind == partition_rules.TABLE:
        yield from read_whole(tx, (home,))
        return _rows(tx, table, (home,))
    reads = [reading.HintRead(key, b"-", b"+")
             for key in indexing.directory_keys(tx.database, table.kind)]
    results = yield reads + [reading.PartitionRead(home)]
    partitions = {home: None}
    for members in results[:len(reads)]:
        for member in members:
            partitions[indexing.listed_partition(member)] = None
    views = tx.views
    wanted = [reading.PartitionRead(partition, (table.prefix,))
              for partition in partitions
              if partition not in views or not views[partition].has_all(table)]
    for first in range(0, len(wanted), SCAN_CHUNK):
        yield wanted[first:first + SCAN_CHUNK]
    return _rows(tx, table, partitions)


_PATHS = {
    access.ByPartition: _by_partition,
    access.ByKey: _by_key,
    access.ByIndex: _by_index,
    access.ByRange: _by_range,
    access.FullScan: _full_scan,
}
