# SPDX-License-Identifier: Apache-2.0
"""Finds rows of whole tables: by row indexes, parts or the directory."""

from nova_kvs.record import access
from nova_kvs.record.indexes import base
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import local_index
from nova_kvs.record import partition_rules
from nova_kvs.record.paths import partition_reads
from nova_kvs.txn import reading

#: Partitions that a scan reads in one batch.
SCAN_CHUNK = 400


def full_scan(tx, table, wanted):
    return (yield from scan(tx, table))


def scan(tx, table):
    """Return every row of a table."""
    if table.name in tx.scanned:
        return partition_reads.rows_in(tx, table, tx.read_sets)
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
        yield from partition_reads.read_whole(tx, (home,), table)
        tx.scanned.add(table.name)
        return partition_reads.rows_in(tx, table, (home,))
    if table.complete_index is not None and (
            table.kind not in partition_rules.SINGLE):
        # Records by their fields: nothing looks at the rest of partitions.
        rows = yield from global_index.records(
            tx, table, table.complete_index.reads(tx.database_name, [()]))
        tx.scanned.add(table.name)
        return rows
    reads = _directory_reads(tx, table)
    results = yield reads + [partition_reads.whole(tx, home)]
    return (yield from _all_in(
        tx, table, _listed((home,), results[:len(reads)])))


def _all_in(tx, table, partitions):
    """Return every row of a table.

    :param partitions: all that may have some.
    """
    wanted = partition_reads.reads_of_whole(
        tx, partitions, table, table.kind not in partition_rules.SINGLE)
    for first in range(0, len(wanted), SCAN_CHUNK):
        yield wanted[first:first + SCAN_CHUNK]
    tx.scanned.add(table.name)
    return partition_reads.rows_in(tx, table, partitions)


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
        reads = partition_reads.reads_of_whole(
            tx, partitions, table, table.kind not in partition_rules.SINGLE)
        if reads:
            yield reads
        rows = partition_reads.rows_in(tx, table, partitions)
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
        reads = partition_reads.reads_of_whole(
            tx, partitions, table, table.kind not in partition_rules.SINGLE)
        for first in range(0, len(reads), SCAN_CHUNK):
            yield reads[first:first + SCAN_CHUNK]
        rows = partition_reads.rows_in(tx, table, partitions)
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
    reads = partition_reads.reads_of_whole(
        tx, wanted.partitions, table,
        wanted.table_only and table.kind not in partition_rules.SINGLE)
    if reads:
        yield reads
    return partition_reads.rows_in(tx, table, wanted.partitions)


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
