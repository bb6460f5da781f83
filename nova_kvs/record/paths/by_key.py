# SPDX-License-Identifier: Apache-2.0
"""Finds rows by primary key, or by what names their partition.

The two need each other: rows that live with a parent's are found by the
parent's key, and most keys name a partition.
"""

from nova_kvs.record import children
from nova_kvs.record.indexes import global_index
from nova_kvs.record.paths import partition_reads
from nova_kvs.record.paths import scans
from nova_kvs.record import planner
from nova_kvs.txn import reading


def by_partition(tx, table, wanted):
    if table.partition_column is None:
        return (yield from scans.scan(tx, table))
    column = table.partition_column
    values = [table.normalise(column, value) for value in wanted.values]
    return (yield from rows_of_values(tx, table, values))


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
        rows = yield from rows_of_values(
            tx, table, list(dict.fromkeys([key[at] for key in keys])))
        return [row for row in rows if row.key in chosen]
    return (yield from _search(tx, table, keys))


def rows_of_values(tx, table, values):
    """Return the rows whose partition column has one of some values."""
    if not table.parents:
        return (yield from partition_reads.read_rows(
            tx, table, dict.fromkeys([
                tx.partition_of_value(table, value) for value in values])))
    partitions = yield from _of_parents(tx, table, values)
    column = table.partition_column
    index = planner.partition_index(table, (column,))
    if index is None:
        yield from partition_reads.read_whole(tx, partitions, table)
    else:
        yield from partition_reads.read_entries(
            tx, table, index, dict.fromkeys(
                partitions, [(value,) for value in values]))
    chosen = set(values)
    return [row for row in partition_reads.rows_in(tx, table, partitions)
            if row.values.get(column) in chosen]


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
            partition = tx.remembered.locators.get((name, key))
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
            yield from scans.scan(tx, table)
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
            reads.append(partition_reads.whole(tx, partition, table))
    return reads
