# SPDX-License-Identifier: Apache-2.0
"""Answers each access: by which reads, in how many batches.

Every path is a generator: it yields a list of reads (of
``nova_kvs.txn.reading``), is sent the list of their results, and returns
records. The transaction runs the paths of one ``load`` side by side, so that
the reads of all of them share batches. Results of reads of partitions are
already in the transaction's read_sets when a path goes on.
"""

import logging

from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import children
from nova_kvs.record.indexes import base
from nova_kvs.record.indexes import covering_index
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import local_index
from nova_kvs.record.indexes import unique_key
from nova_kvs.record import partition_rules
from nova_kvs.record import planner
from nova_kvs.txn import reading

LOG = logging.getLogger(__name__)

#: Partitions that a scan reads in one batch.
SCAN_CHUNK = 400


# By partition ---------------------------------------------------------------

def by_partition(tx, table, wanted):
    if table.partition_column is None:
        return (yield from scan(tx, table))
    column = table.partition_column
    values = [table.normalise(column, value) for value in wanted.values]
    return (yield from _in_partitions(tx, table, values))


def partitions_of(tx, table, values):
    """Return the partitions that values of a table's column name.

    :param table: one that ``names_partitions``.
    :returns: dict with them as keys.
    """
    column = table.partition_column
    return dict.fromkeys([
        tx.partition_of_value(table, table.normalise(column, value))
        for value in values])


def _in_partitions(tx, table, values):
    """Return the rows whose partition column has one of some values."""
    if table.parents:
        partitions = yield from _of_parents(tx, table, values)
    else:
        partitions = dict.fromkeys(
            [tx.partition_of_value(table, value) for value in values])
    if not table.parents:
        return (yield from _named(tx, table, partitions))
    column = table.partition_column
    index = planner.partition_index(table, (column,))
    if index is None:
        yield from read_whole(tx, partitions, table)
    else:
        yield from _read_entries(tx, table, index, dict.fromkeys(
            partitions, [(value,) for value in values]))
    chosen = set(values)
    return [row for row in rows_in(tx, table, partitions)
            if row.values.get(column) in chosen]


def _read_entries(tx, table, index, wanted):
    """Read what a PartitionIndex has of some values: at most one batch.

    Partitions that are short are read whole.

    :param wanted: partition -> values of the index's first columns.
    """
    home = tx.table_partition(table)
    reads = []
    for partition, tuples in wanted.items():
        read_set = tx.read_sets.get(partition)
        if read_set is not None and read_set.has_all(table):
            continue
        if partition == home or tx.prefers_whole(partition):
            reads.append(whole(tx, partition, table))
        else:
            reads.append(reading.IndexRead(partition, tuple(
                [index.range_of(values) for values in tuples])))
    if reads:
        yield reads


def read_whole(tx, partitions, table=None):
    """Read all partitions that were not read yet: at most one batch.

    :param table: the table that is wanted; None: all that is there.
    """
    reads = reads_of_whole(tx, partitions, table)
    if reads:
        yield reads


def reads_of_whole(tx, partitions, table, table_only=False):
    """Return the reads of all partitions that were not read yet.

    :param table_only: only the table's rows.
    """
    if table is not None and table.name in tx.scanned:
        return ()
    read_sets = tx.read_sets
    reads = []
    for partition in partitions:
        read_set = read_sets.get(partition)
        if read_set is None or not (read_set.whole or (
                table is not None and read_set.has_all(table))):
            reads.append(
                reading.PartitionRead(partition, (table.prefix,)) if table_only
                else whole(tx, partition, table))
    return reads


def reads_of_rows(tx, table, partitions):
    """Return the reads of a table's rows alone, if they were not read yet.

    A history is read by its index, whatever else is there: a script would
    have to look at the name of every field.
    """
    index = table.is_history and planner.partition_index(
        table, (table.partition_column,))
    if not index:
        return reads_of_whole(tx, partitions, table, True)
    home = tx.table_partition(table)
    return [
        read if read.partition == home else
        reading.IndexRead(read.partition, (index.range_of(()),))
        for read in reads_of_whole(tx, partitions, table, True)]


def whole(tx, partition, table=None):
    """Return the read of all that is in a partition.

    Of one that was seen to have a long history what else is there is read
    without it, and a table of the history alone.

    :param table: the table that is wanted; None: all that is there.
    """
    if table is not None and partition in tx.cached.long:
        if table.is_history or table.is_shadow:
            return reading.PartitionRead(partition, (table.prefix,))
        if table.finds_present:
            return reading.IndexRead(partition, local_index.PRESENT)
        return reading.PartitionRead(partition, tx.present_prefixes())
    return reading.PartitionRead(
        partition, (), tx.cached.get(partition),
        table is not None and table.kind in partition_rules.MUST_EXIST)


def rows_in(tx, table, partitions):
    read_sets = tx.read_sets
    rows = []
    for partition in partitions:
        read_set = read_sets.get(partition)
        if read_set is not None:
            rows += read_set.records(table)
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
            found[children.partition_with(
                tx, table, name, record.partition)] = None
            missing.discard(record.key[0])
    if missing:
        found[tx.table_partition(table)] = None
    return found


# By key ---------------------------------------------------------------------

def by_key(tx, table, wanted):
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
    read_set = tx.read_sets.get(partition)
    if read_set is None or not read_set.has_all(table):
        absent = [field for field in fields
                  if read_set is None or field not in read_set.stored]
        if absent:
            yield [reading.FieldsRead(partition, tuple(absent))]
            read_set = tx.read_sets[partition]
    rows = [read_set.record(table, field) for field in fields]
    return [row for row in rows if row is not None]


def _search(tx, table, keys):
    """Find records whose partition the key does not tell.

    In what was read, then where this process saw them last and by the
    table's index of ids, then by a scan.
    """
    name = table.name
    seen = _seen(tx, table)
    missing = [key for key in keys if key not in seen]
    if missing and name not in tx.scanned:
        partitions = {}
        unknown = []
        for key in missing:
            partition = tx.locators.get((name, key))
            read_set = tx.read_sets.get(partition)
            if partition is None or read_set is not None and read_set.whole:
                unknown.append(key)
            else:
                partitions.setdefault(partition, []).append(table.field(key))
        yield from _visit(tx, table, partitions, unknown)
        seen = _seen(tx, table)
        missing = [key for key in missing if key not in seen]
        # Whoever was not where it was last seen.
        moved = [key for key in missing if key not in set(unknown)]
        if moved and table.id_index is not None:
            yield from _visit(tx, table, {}, moved)
        elif missing and table.id_index is None:
            yield from scan(tx, table)
        if missing:
            seen = _seen(tx, table)
    return [seen[key] for key in keys if key in seen]


def _seen(tx, table):
    """Return the records of a table in all that was read, by key."""
    return {record.key: record for read_set in tx.read_sets.values()
            for record in read_set.records(table)}


def _visit(tx, table, partitions, keys):
    """Read partitions and those where entries of the index of ids say.

    :param partitions: partition -> fields of the records that are wanted.
    """
    reads = _reads_at(tx, table, partitions)
    if table.id_index is not None:
        reads += table.id_index.reads(tx.database_name, keys)
    if not reads:
        return
    results = yield reads
    named = {}
    for read, members in zip(reads, results):
        if type(read) is reading.MembersRead:
            for member in members:
                named.setdefault(global_index.partition_of(member), []).append(
                    global_index.field_of(member))
    reads = _reads_at(tx, table, named)
    if reads:
        yield reads


def _reads_at(tx, table, partitions):
    """Return the reads of partitions, or of their records that are wanted.

    Only these where a history may be long.

    :param partitions: partition -> fields.
    """
    reads = []
    for partition, fields in partitions.items():
        read_set = tx.read_sets.get(partition)
        if read_set is not None and read_set.has_all(table):
            continue
        if table.is_history and not tx.prefers_whole(partition):
            reads.append(reading.FieldsRead(
                partition, tuple(dict.fromkeys(fields))))
        else:
            reads.append(whole(tx, partition, table))
    return reads


# By index -------------------------------------------------------------------

def by_index(tx, table, wanted):
    columns = wanted.columns
    tuples = list(dict.fromkeys(
        [tuple([table.normalise(column, value)
                for column, value in zip(columns, values)])
         for values in wanted.tuples]))
    if columns == table.key:
        return (yield from locate(tx, table, tuples))
    rows = yield from _candidates(tx, table, wanted, tuples)
    chosen = set(tuples)
    if len(columns) == 1:
        column = columns[0]
        return [row for row in rows if (row.values.get(column),) in chosen]
    return [row for row in rows
            if tuple([row.values.get(column) for column in columns])
            in chosen]


def _candidates(tx, table, wanted, tuples):
    """Return at least the rows whose columns equal one of some tuples.

    :param wanted: ByIndex. :param tuples: its tuples, as stored.
    """
    columns = wanted.columns
    column = table.partition_column
    if column is None:
        return (yield from _inner(tx, table, columns, tuples))
    if column in columns:
        at = columns.index(column)
        index = planner.partition_index(table, columns)
        if index is not None and not table.parents:
            partitions = {}
            for item in tuples:
                partitions.setdefault(tx.partition_of_value(
                    table, item[at]), []).append(item)
            yield from _read_entries(tx, table, index, partitions)
            return rows_in(tx, table, partitions)
        return (yield from _in_partitions(
            tx, table, list(dict.fromkeys([item[at] for item in tuples]))))
    path = planner.index_path(table, columns, tuples)
    if path is None:
        return (yield from scan(tx, table))
    values = _values_of(path, columns, tuples)
    if path.unique is not None:
        return (yield from _by_unique(tx, table, path.unique, values))
    reads = path.index.reads(tx.database_name, values)
    # What was read before stays as it was.
    if not tx.read_sets and not tx.serializable and (
            path.index.is_covering and table.included.can_answer(
                wanted, tuples)):
        return (yield from covering_index.rows(tx, table, reads))
    if wanted.table_only or table.kind in partition_rules.SINGLE:
        return (yield from global_index.records(tx, table, reads))
    results = yield reads
    return (yield from _named(
        tx, table, global_index.partitions_named(reads, results)))


def _values_of(path, columns, tuples):
    """Return the different values of a path's columns.

    :param tuples: values of ``columns``, which has all of the path's.
    """
    at = [columns.index(column) for column in path.columns]
    return list(dict.fromkeys(
        [tuple([values[position] for position in at]) for values in tuples]))


def _named(tx, table, partitions):
    """Return the rows of a table in partitions, reading them whole."""
    yield from read_whole(tx, partitions, table)
    return rows_in(tx, table, partitions)


def _inner(tx, table, columns, tuples):
    partition = tx.table_partition(table)
    read_set = tx.read_sets.get(partition)
    if read_set is None or not read_set.has_all(table):
        path = planner.index_path(table, columns, tuples)
        if path is None:
            return (yield from scan(tx, table))
        ranges = []
        for values in _values_of(path, columns, tuples):
            ranges.append(path.index.range_of(values))
        yield [reading.IndexRead(
            partition, tuple(ranges), must_exist=len(ranges) == 1 and any(
                unique.columns == columns for unique in table.uniques))]
        read_set = tx.read_sets[partition]
    return read_set.records(table)


def _by_unique(tx, table, unique, tuples):
    """Follow unique keys to the partitions of their owners."""
    partitions = dict.fromkeys([
        unique.partition(tx.database_name, values[0])
        for values in tuples])
    yield from read_whole(tx, partitions)
    prefix = keyspace.unique_field(table.name, unique.name, ())
    holders = {}
    for partition in partitions:
        for field, stored in tx.read_sets[partition].stored.items():
            if field.startswith(prefix):
                holder, _field = unique_key.holder_of(
                    field, reading.payload_of(stored))
                holders[holder] = None
    return (yield from _named(tx, table, holders))


# Scans ----------------------------------------------------------------------

def full_scan(tx, table, wanted):
    return (yield from scan(tx, table))


def scan(tx, table):
    """Return every row of a table."""
    if table.name in tx.scanned:
        return rows_in(tx, table, tx.read_sets)
    home = tx.table_partition(table)
    if table.row_index is not None:
        reads = table.row_index.reads(tx.database_name, [()])
        partitions = global_index.partitions_named(reads, (yield reads))
        return (yield from _all_in(tx, table, partitions))
    if table.is_shadow and table.finds_parts:
        partitions = yield from _with_part(tx, table, directory.SHADOW)
        return (yield from _all_in(tx, table, partitions))
    tx.count_scan(table)
    if table.kind == partition_rules.TABLE:
        yield from read_whole(tx, (home,), table)
        tx.scanned.add(table.name)
        return rows_in(tx, table, (home,))
    if table.complete_index is not None and (
            table.kind not in partition_rules.SINGLE):
        # Records by their fields: nothing looks at the rest of partitions.
        rows = yield from global_index.records(
            tx, table, table.complete_index.reads(tx.database_name, [()]))
        tx.scanned.add(table.name)
        return rows
    reads = _directory_reads(tx, table)
    results = yield reads + [whole(tx, home)]
    return (yield from _all_in(
        tx, table, _listed((home,), results[:len(reads)])))


def _all_in(tx, table, partitions):
    """Return every row of a table.

    :param partitions: all that may have some.
    """
    wanted = reads_of_whole(
        tx, partitions, table, table.kind not in partition_rules.SINGLE)
    for first in range(0, len(wanted), SCAN_CHUNK):
        yield wanted[first:first + SCAN_CHUNK]
    tx.scanned.add(table.name)
    return rows_in(tx, table, partitions)


def _directory_reads(tx, table):
    return [reading.MembersRead(key, b"-", b"+")
            for key in directory.bucket_keys(tx.database_name, table.kind)]


def some_rows(tx, table, wanted):
    """Return some rows of a table, or all if there are fewer."""
    limit = wanted.limit + tx.written_rows(table)
    if table.kind == partition_rules.TABLE:
        if not table.local_indexes or table.name in tx.scanned or (
                tx.serializable):
            return (yield from scan(tx, table))
        wanted = access.Page(table.name, table.local_indexes[0].name, limit)
        found = {}
        while wanted.after is not None:
            rows, after = yield from page(tx, table, wanted)
            found.update((row.key, row) for row in rows)
            if len(found) >= limit or after is None and not wanted.after:
                return list(found.values())
            wanted = wanted._replace(after=after)
        # Between two pages a row may have moved to the first one. There are
        # hardly more rows than were looked for: all of them at once.
        return (yield from scan(tx, table))
    if tx.serializable or table.row_index is not None or (
            table.finds_parts and table.is_shadow):
        return (yield from scan(tx, table))
    partitions = {tx.table_partition(table): None}
    lows = dict.fromkeys(
        directory.bucket_keys(tx.database_name, table.kind), b"-")
    count = 1 + limit // len(lows)
    while True:
        results = yield [reading.MembersRead(key, low, b"+", count)
                         for key, low in lows.items()]
        lows = {key: b"(" + members[-1] for key, members in zip(lows, results)
                if len(members) == count}
        partitions = _listed(partitions, results)
        reads = reads_of_whole(
            tx, partitions, table, table.kind not in partition_rules.SINGLE)
        if reads:
            yield reads
        rows = rows_in(tx, table, partitions)
        if len(rows) >= limit:
            return rows
        if not lows:
            tx.count_scan(table)
            return rows
        count *= 4


def deleted_rows(tx, table, wanted):
    """Return every row of a table that is marked as deleted."""
    if table.finds_parts and table.name not in tx.scanned:
        partitions = yield from _with_part(tx, table, directory.DELETED)
        reads = reads_of_whole(
            tx, partitions, table, table.kind not in partition_rules.SINGLE)
        for first in range(0, len(reads), SCAN_CHUNK):
            yield reads[first:first + SCAN_CHUNK]
        rows = rows_in(tx, table, partitions)
    else:
        rows = yield from scan(tx, table)
    return [row for row in rows
            if directory.part_of(table, row.values) == directory.DELETED]


def _with_part(tx, table, part):
    """Return the partitions that may have rows of a part of a table.

    :param part: of ``nova_kvs.record.indexes.directory``.
    """
    home = tx.table_partition(table)
    key = directory.key_of(tx.database_name, directory.partial(
        partition_rules.TABLE, part), home)
    reads = [reading.MembersRead(key, *directory.range_of(home))]
    if table.kind != partition_rules.TABLE:
        reads += [reading.MembersRead(key, b"-", b"+")
                  for key in directory.bucket_keys(
                      tx.database_name, directory.partial(table.kind, part))]
    return _listed((), (yield reads))


def _listed(homes, results):
    """Return the partitions of a directory's members, and some more."""
    partitions = dict.fromkeys(homes)
    for members in results:
        for member in members:
            partitions[directory.partition_of(member)] = None
    return partitions


def partitions_of_table(tx, table, wanted):
    """Return every partition that may have rows of a table."""
    part = (directory.SHADOW if table.is_shadow else
            directory.DELETED if wanted.deleted_only else None)
    if part is not None and table.finds_parts:
        return list((yield from _with_part(tx, table, part)))
    home = tx.table_partition(table)
    if table.kind == partition_rules.TABLE:
        return [home]
    return list(_listed((home,), (yield _directory_reads(tx, table))))


def in_partitions(tx, table, wanted):
    """Return the rows of a table in some partitions."""
    reads = reads_of_whole(
        tx, wanted.partitions, table,
        wanted.table_only and table.kind not in partition_rules.SINGLE)
    if reads:
        yield reads
    return rows_in(tx, table, wanted.partitions)


def page(tx, table, wanted):
    """Return some rows of a table of one partition, and where to go on."""
    name = table.index(wanted.index).prefix
    read = reading.IndexRead(tx.table_partition(table), ((
        b"(" + (wanted.after or name), b"(" + name + base.AFTER),),
        wanted.limit)
    (members, _snapshot), = yield [read]
    read_set = tx.read_sets[read.partition]
    # A row that is being changed may have two entries.
    rows = [read_set.record(table, field) for field in dict.fromkeys(
        [local_index.field_of(member) for member in members])]
    return ([row for row in rows if row is not None],
            members[-1] if len(members) == wanted.limit else None)
