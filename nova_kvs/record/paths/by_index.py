# SPDX-License-Identifier: Apache-2.0
"""Finds rows by equal values of an index's or a unique key's columns."""

from nova_kvs import keyspace
from nova_kvs.record.indexes import covering_index
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import unique_key
from nova_kvs.record import partition_rules
from nova_kvs.record.paths import by_key
from nova_kvs.record.paths import partition_reads
from nova_kvs.record.paths import scans
from nova_kvs.record import planner
from nova_kvs.txn import reading


def by_index(tx, table, wanted):
    columns = wanted.columns
    tuples = list(dict.fromkeys(
        [tuple([table.normalise(column, value)
                for column, value in zip(columns, values)])
         for values in wanted.tuples]))
    if columns == table.key:
        return (yield from by_key.locate(tx, table, tuples))
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
            yield from partition_reads.read_entries(
                tx, table, index, partitions)
            return partition_reads.rows_in(tx, table, partitions)
        return (yield from by_key.rows_of_values(
            tx, table, list(dict.fromkeys([item[at] for item in tuples]))))
    path = planner.index_path(table, columns, tuples)
    if path is None:
        return (yield from scans.scan(tx, table))
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
    return (yield from partition_reads.read_rows(
        tx, table, global_index.partitions_named(reads, results)))


def _values_of(path, columns, tuples):
    """Return the different values of a path's columns.

    :param tuples: values of ``columns``, which has all of the path's.
    """
    at = [columns.index(column) for column in path.columns]
    return list(dict.fromkeys(
        [tuple([values[position] for position in at]) for values in tuples]))


def _inner(tx, table, columns, tuples):
    partition = tx.table_partition(table)
    read_set = tx.read_sets.get(partition)
    if read_set is None or not read_set.has_all(table):
        path = planner.index_path(table, columns, tuples)
        if path is None:
            return (yield from scans.scan(tx, table))
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
    yield from partition_reads.read_whole(tx, partitions)
    prefix = keyspace.unique_field(table.name, unique.name, ())
    holders = {}
    for partition in partitions:
        for field, stored in tx.read_sets[partition].stored.items():
            if field.startswith(prefix):
                holder, _field = unique_key.holder_of(
                    field, reading.payload_of(stored))
                holders[holder] = None
    return (yield from partition_reads.read_rows(tx, table, holders))
