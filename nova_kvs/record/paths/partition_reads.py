# SPDX-License-Identifier: Apache-2.0
"""Which reads a partition takes: whole, or a part of it.

The paths beside this module read through it. It leaves out what the
transaction has seen, and the long history of a partition.
"""

from nova_kvs.record.indexes import local_index
from nova_kvs.record import partition_rules
from nova_kvs.record import planner
from nova_kvs.txn import reading


def partitions_of(tx, table, values):
    """Return the partitions that values of a table's column name.

    :param table: one that ``names_partitions``.
    :returns: dict with them as keys.
    """
    column = table.partition_column
    return dict.fromkeys([
        tx.partition_of_value(table, table.normalise(column, value))
        for value in values])


def whole(tx, partition, table=None):
    """Return the read of all that is in a partition.

    Of one that was seen to have a long history what else is there is read
    without it, and a table of the history alone.

    :param table: the table that is wanted; None: all that is there.
    """
    if table is not None and partition in tx.remembered.partitions.long:
        if table.is_history or table.is_shadow:
            return reading.PartitionRead(partition, (table.prefix,))
        if table.finds_present:
            return reading.IndexRead(partition, local_index.PRESENT)
        return reading.PartitionRead(partition, tx.present_prefixes())
    return reading.PartitionRead(
        partition, (), tx.remembered.partitions.get(partition),
        table is not None and table.kind in partition_rules.MUST_EXIST)


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


def read_whole(tx, partitions, table=None):
    """Read all partitions that were not read yet: at most one batch.

    :param table: the table that is wanted; None: all that is there.
    """
    reads = reads_of_whole(tx, partitions, table)
    if reads:
        yield reads


def read_entries(tx, table, index, wanted):
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


def read_rows(tx, table, partitions):
    """Return the rows of a table in partitions, reading them whole."""
    yield from read_whole(tx, partitions, table)
    return rows_in(tx, table, partitions)


def rows_in(tx, table, partitions):
    read_sets = tx.read_sets
    rows = []
    for partition in partitions:
        read_set = read_sets.get(partition)
        if read_set is not None:
            rows += read_set.records(table)
    return rows
