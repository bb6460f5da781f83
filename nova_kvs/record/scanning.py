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


class Scan:
    """All rows of some tables, page by page.

    :param database: nova_kvs.record.database.Database.
    :param names: tables that are spread over partitions of one kind, whose
        partitions are then read once, or a single table.
    :param deleted_only: partitions without rows that are marked as deleted
        may be left out.
    :param order: column of a single table that is one partition: rows come
        in its order, if it has an index.
    """

    def __init__(self, database, names, deleted_only=False, order=None):
        self._database = database
        self._names = names
        self._deleted_only = deleted_only
        self._order = order
        #: The partitions to read that were read last, first and others.
        self.page = ()

    def pages(self, start=None):
        """Yield dicts, table's name -> list of Records.

        :param start: begin with the page that this partition is on, and
            read those before it in the end.
        :raises nova_kvs.exceptions.KVSError: as RecordTransaction.load.
        """
        tx = self._database.begin()
        names = self._names
        tables = [tx.table(name) for name in names]
        partitions = self._partitions(tx)
        if tables[0].kind == partition_rules.TABLE:
            if partitions:
                for rows in self._rows_of_one_partition(tx, *tables):
                    yield {tables[0].name: rows}
            return
        if not any([table.finds_parts and (
                table.is_shadow or self._deleted_only) for table in tables]):
            for table in tables:
                tx.count_scan(table)
        if start in partitions:
            at = partitions.index(start)
            partitions = partitions[at:] + partitions[:at]
        table_only = len(names) == 1
        for first in range(0, len(partitions), PARTITIONS):
            self.page = tuple(partitions[first:first + PARTITIONS])
            yield dict(zip(names, self._database.begin().load([
                access.InPartitions(name, self.page, table_only)
                for name in names])))

    def _partitions(self, tx):
        """Return the partitions that may have rows, each once."""
        return list(dict.fromkeys([
            partition for found in tx.load([
                access.PartitionsOf(name, self._deleted_only)
                for name in self._names])
            for partition in found]))

    def _rows_of_one_partition(self, tx, table):
        """Yield pages of a table, in the order of one of its indexes.

        :param tx: nova_kvs.record.transaction.RecordTransaction, used up.
        """
        if not table.local_indexes:
            yield tx.load([access.FullScan(table.name)])[0]
            return
        tx.count_scan(table)
        index = next(
            (index for index in table.local_indexes
             if index.columns[0] == self._order), table.local_indexes[0])
        after = b""
        while after is not None:
            tx.rollback()
            rows, after = tx.load([access.Page(
                table.name, index.name, ROWS, after)])[0]
            yield rows


def pages(database, names):
    """Return the pages of a Scan of all rows of some tables."""
    return Scan(database, names).pages()
