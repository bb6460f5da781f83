# SPDX-License-Identifier: Apache-2.0
"""Rows that live with the record whose id they carry.

Invariant: a row of such a table is in the partition of its parent if that
exists and is not in its own table's partition, else in the row's own table's
partition. So whoever knows the parent knows where its children are, and no
index is needed.
"""

from nova_kvs.record import access
from nova_kvs.record import changes


def settle(tx, writes, locks):
    """Set the partition of every written row, and move children along.

    :param tx: nova_kvs.record.transaction.RecordTransaction.
    :param writes: its dict of (table's name, key) -> Write; gets the
        children that have to move.
    :param locks: dict of (table's name, key) -> Record; gets the parents of
        new children, which must still be there at the commit.
    """
    waiting = []
    for write in writes.values():
        if write.row is None:
            continue
        table = write.new_table
        if table.parents:
            waiting.append(write)
        elif table.partition_column is None:
            write.partition = tx.table_partition(table)
        else:
            write.partition = tx.partition_of_value(
                table, write.row.get(table.partition_column))
    for write in _left_behind(tx, writes):
        writes[write.table.name, write.original.key] = write
        waiting.append(write)
    if waiting:
        _join_parents(tx, writes, waiting, locks)


def _left_behind(tx, writes):
    """Return writes for children whose parent goes, moves or comes."""
    moved = []
    wanted = []
    for (name, key), write in list(writes.items()):
        names = tx.child_tables(name)
        if not names:
            continue
        original = write.original
        if original is None:
            if write.row is None or tx.take_fresh(name, key):
                continue
        elif write.row is not None and write.partition == original.partition:
            continue
        for child in names:
            wanted.append(access.ByPartition(child, key))
    if wanted:
        for rows in tx.load(wanted):
            for record in rows:
                if (record.table, record.key) not in writes:
                    table = tx.table(record.table)
                    moved.append(changes.Write(
                        table, tx.new_table(record.table), record,
                        record.values, record.key))
        # A parent that comes finds its children in their table's own
        # partition, which is not read when a stored parent has the id.
    return list({(write.original.table, write.original.key): write
                 for write in moved}.values())


def _join_parents(tx, writes, waiting, locks):
    """Set the partitions of children."""
    ids = {}
    for write in waiting:
        table = write.new_table
        value = write.row.get(table.partition_column)
        if value is None:
            continue
        for parent in table.parents:
            if (parent, (value,)) not in writes and tx.find_table(parent):
                ids.setdefault(parent, {})[value,] = None
    names = list(ids)
    stored = {}
    if names:
        for name, rows in zip(names, tx.load(
                [access.ByKey(name, tuple(ids[name])) for name in names])):
            for record in rows:
                stored[name, record.key] = record
    for write in waiting:
        table = write.new_table
        write.partition = tx.table_partition(table)
        value = write.row.get(table.partition_column)
        for parent in table.parents:
            name = (parent, (value,))
            written = writes.get(name)
            if written is not None:
                if written.row is not None:
                    write.partition = partition_with(
                        tx, table, parent, written.partition)
                    break
            elif name in stored:
                write.partition = partition_with(
                    tx, table, parent, stored[name].partition)
                original = write.original
                if original is None or (
                        original.partition != write.partition):
                    locks[name] = stored[name]
                break


def partition_with(tx, table, parent, partition):
    """Return where a row goes whose parent is in a partition.

    :param table: the row's Table.
    :param parent: name of the parent's table.
    """
    if partition == tx.table_partition(tx.table(parent)):
        return tx.table_partition(table)
    return partition
