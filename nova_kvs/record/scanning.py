# SPDX-License-Identifier: Apache-2.0
"""Reads every row of tables page by page, in memory for one page.

For tasks that must look at all rows, such as archiving: a full scan keeps
what it read until its transaction ends. Each page is a transaction of its
own. A row that stays in its place all the time is seen; one that moves may
be missed or seen twice.
"""

from nova_kvs.record import access
from nova_kvs.record import partition_rules

#: Partitions of a page, for tables that are spread.
PARTITIONS = 200
#: Rows of a page, for tables of one partition.
ROWS = 1000


def pages(database, names):
    """Yield all rows of some tables.

    :param database: nova_kvs.record.database.Database.
    :param names: tables that are spread over partitions of one kind, whose
        partitions are then read once, or a single table.
    :returns: iterator over dicts, table's name -> list of Records.
    :raises nova_kvs.exceptions.KVSError: as RecordTransaction.load.
    """
    tx = database.begin()
    tables = [tx.table(name) for name in names]
    if tables[0].kind == partition_rules.TABLE:
        for rows in _rows_of_one_partition(tx, *tables):
            yield {tables[0].name: rows}
        return
    for table in tables:
        tx.count_scan(table)
    partitions = list(dict.fromkeys([
        partition for found in tx.load(
            [access.PartitionsOf(name) for name in names])
        for partition in found]))
    table_only = len(names) == 1
    for first in range(0, len(partitions), PARTITIONS):
        page = tuple(partitions[first:first + PARTITIONS])
        yield dict(zip(names, database.begin().load([
            access.InPartitions(name, page, table_only) for name in names])))


def _rows_of_one_partition(tx, table):
    """Yield pages of a table, in the order of one of its indexes.

    :param tx: nova_kvs.record.record_store.RecordTransaction, used up.
    """
    if not table.local_indexes:
        yield tx.load([access.FullScan(table.name)])[0]
        return
    tx.count_scan(table)
    after = b""
    while after is not None:
        tx.rollback()
        rows, after = tx.load([access.Page(
            table.name, table.local_indexes[0].name, ROWS, after)])[0]
        yield rows
