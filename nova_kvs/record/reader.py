# SPDX-License-Identifier: Apache-2.0
"""The reading half of a transaction: tables, read sets, loads."""

import logging
import time

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record.indexes import base
from nova_kvs.record.indexes import local_index
from nova_kvs.record import partition_rules
from nova_kvs.record.paths import by_entries
from nova_kvs.record.paths import by_id_range
from nova_kvs.record.paths import by_index
from nova_kvs.record.paths import by_key
from nova_kvs.record.paths import by_range
from nova_kvs.record.paths import partition_reads
from nova_kvs.record.paths import scans
from nova_kvs.record import read_set
from nova_kvs.txn import reading

LOG = logging.getLogger(__name__)

_PATHS = {
    access.ByPartition: by_key.by_partition,
    access.ByKey: by_key.by_key,
    access.ByIndex: by_index.by_index,
    access.ByRange: by_range.by_range,
    access.ByEntries: by_entries.by_entries,
    access.FullScan: scans.full_scan,
    access.ByIdRange: by_id_range.by_id_range,
    access.SomeRows: scans.some_rows,
    access.DeletedRows: scans.deleted_rows,
    access.PartitionsOf: scans.partitions_of_table,
    access.InPartitions: scans.in_partitions,
    access.Page: scans.page,
}
_NOT_OF_PARTITIONS = frozenset([
    reading.MembersRead, reading.MinimumsRead, reading.IncludedRead,
    reading.SideRead])


class Reader:
    """The reading half of ``nova_kvs.record.transaction``'s transaction.

    :param database: nova_kvs.record.database.Database.
    :param speculates: whether it may rest on what the process remembers of
        a partition, to be proved by the commit.
    :ivar speculation: nova_kvs.txn.reading.Speculation on which it rests, or
        None: everything was read. Until the commit nothing that was found
        there is more than likely.
    :param may_lag: whether replicas may be read. A commit then compares what
        was read with the masters.
    :ivar serializable: whether everything that is read must be the same when
        nobody else can change any more what the transaction writes.
    :param after: transaction of the same function whose speculation was
        wrong, or None.
    :ivar ids: table's name -> ids that rows of this transaction took.
    """

    def __init__(self, database, speculates=False, may_lag=False,
                 serializable=False, after=None):
        self._database = database
        self._may_lag = may_lag
        self.serializable = serializable
        self.database_name = database.name
        self.remembered = database.remembered
        # A speculation is proved of its own partition only.
        self._speculates = speculates and not serializable
        self.speculation = None
        self.ids = {}
        self._spare_ids = {}
        #: SpeculationFailed that the commit raised.
        self._failed = None
        self._reset()
        if after is not None:
            self._spare_ids = after.ids
            failed = after._failed
            if failed is not None and failed.read is not None:
                self._absorb({failed.read: None}, database.coordinator.results(
                    [failed.read], [failed.reply]))

    def _reset(self):
        self._schema = self._database.schema
        self._new_schema = None
        #: (table's name, key) -> Write.
        self.writes = {}
        #: partition -> ReadSet.
        self.read_sets = {}
        #: Names of the tables of which every row was read.
        self.scanned = set()
        #: Read -> its result, of what the commit is to compare.
        self.to_verify = {}
        #: True once two reads of one thing had different results.
        self.is_torn = False
        #: Partitions that the directory is known to list.
        self.listed = set()
        #: time.monotonic() of the first read, None before.
        self.read_at = None

    # For the paths ----------------------------------------------------------

    def find_table(self, name):
        """Return a table as its stored rows know it, or None."""
        return self._schema.tables.get(name)

    def table(self, name):
        """Return a table as its stored rows know it.

        :raises nova_kvs.exceptions.UnsupportedStatementError: if there is
            none.
        """
        table = self._schema.tables.get(name)
        if table is None and self._new_schema is not None:
            table = self._new_schema.tables.get(name)
        if table is None:
            raise exceptions.UnsupportedStatementError(
                "no such table", table=name)
        return table

    def new_table(self, name):
        """Return a table as rows written by this transaction will know it.
        """
        if self._new_schema is not None and name in self._new_schema.tables:
            return self._new_schema.tables[name]
        return self.table(name)

    def table_partition(self, table):
        """Return the partition of a whole table, or of the rows of one
        whose partition column is NULL.
        """
        return keyspace.partition(
            self.database_name, partition_rules.TABLE, table.name)

    def partition_of_value(self, table, value):
        """Return the partition that a value of the column names."""
        if value is None:
            return self.table_partition(table)
        return keyspace.partition(
            self.database_name, table.kind, base.text_of(value))

    def written_rows(self, table):
        """Return how many rows of a table this transaction wrote."""
        return sum(1 for name, _ in self.writes if name == table.name)

    def child_tables(self, name):
        """Return the tables whose rows live with a table's records."""
        return self._schema.children.get(name, ())

    def take_fresh(self, name, key):
        """Tell whether an id was given out by this process and not used
        yet: then no row can refer to it.
        """
        return self.remembered.new_ids.pop((name, key[0]), False)

    def present_prefixes(self):
        """Return the prefixes of the tables beside history."""
        return self._schema.present_prefixes

    def prefers_whole(self, partition):
        """Tell whether a partition is better read whole than by its index.

        What a process remembers whole is short, and only of that can a
        transaction speculate.
        """
        cached = self.remembered.partitions
        return partition not in cached.long and (
            self._speculates or partition in cached)

    def note_listed(self, partitions):
        """Take for listed in the directory what the caller found there."""
        self.listed.update(partitions)

    def add_included(self, entries):
        """Let included columns be written some time, with any commit.

        They must arrive before housekeeping removes those of rows that
        have left the index since.
        """
        self.remembered.add_included(entries, self._database.grace_ms / 2000)

    def highest_id(self, table):
        """Return a number that no automatic id of a table is above."""
        return self._database.counters.highest(table.name)

    def count_scan(self, table):
        """Count a scan: none is silent."""
        self._database.stats.full_scans += 1
        LOG.debug("Full scan of table %s of database %s",
                  table.name, self.database_name)

    # Reading ----------------------------------------------------------------

    def load(self, accesses):
        """Return the records that accesses ask for.

        :param accesses: of ``nova_kvs.record.access``.
        :returns: for each a list of Records, in no order (ByRange: the
            index's): all that were asked for and maybe more, as they are
            committed: without this transaction's own writes.
        :raises nova_kvs.exceptions.UnsupportedStatementError: for a table
            that is not there.
        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer.
        :raises nova_kvs.exceptions.CorruptRecordError: if a record does not
            decode.
        """
        return self._loaded(self._load(accesses))

    def compute(self, name, make, value=None):
        """Return what a function makes of the records of a table.

        While the partition does not change it is not made anew, as far as
        the process remembers the partition.

        :param make: function of a list of Records. What it returns is
            shared: nobody changes it.
        :param value: of the partition's column: only of its records. The
            table is one that ``names_partitions`` then, else one of one
            partition.
        :raises nova_kvs.exceptions.KVSError: as ``load``.
        """
        table = self.table(name)
        if value is None:
            wanted = access.FullScan(name)
            partition = self.table_partition(table)
        else:
            wanted = access.ByPartition(name, (value,))
            partition = self.partition_of_value(table, table.normalise(
                table.partition_column, value))
        seen = self.read_sets.get(partition)
        if seen is None or not seen.whole:
            self.load([wanted])
            seen = self.read_sets[partition]
        return seen.compute(table, make)

    def _loaded(self, steps):
        """Run the steps of a ``load`` that are left."""
        try:
            while True:
                self._read(next(steps))
        except StopIteration as end:
            return end.value

    def _load(self, accesses):
        """Yield the reads of each step of a ``load``.

        :returns: what ``load`` does. The reads are keys of a dict, whose
            values are to be the results, and the read sets to know of them.
        """
        self.remembered.trim()
        answers = [None] * len(accesses)
        running = []
        reads = {}
        # Most accesses name partitions, which needs no path of its own, and
        # mostly they all name the same.
        plain = []
        named = {}
        for number, wanted in enumerate(accesses):
            table = self.table(wanted.table)
            kind = type(wanted)
            if kind is access.ByPartition and table.names_partitions:
                values = wanted.values
                # 1 and 1.0 are equal, but not as text; NULL is at home.
                same = (table.name if None in values else table.kind,
                        table.native[table.partition_column], values,
                        tuple(map(type, values)))
                partitions = named.get(same)
                if partitions is None:
                    partitions = named[same] = partition_reads.partitions_of(
                        self, table, values)
                reads.update(dict.fromkeys(
                    partition_reads.reads_of_rows(self, table, partitions)
                    if wanted.table_only else
                    partition_reads.reads_of_whole(self, partitions, table)))
                plain.append((number, table, partitions))
            else:
                running.append(
                    (number, _PATHS[kind](self, table, wanted), None))
        while running or reads:
            waiting = []
            for number, path, results in running:
                try:
                    wanted = path.send(results)
                except StopIteration as end:
                    answers[number] = end.value
                else:
                    waiting.append((number, path, wanted))
                    for read in wanted:
                        reads[read] = None
            if reads and not (self._speculates and self._recall(reads)):
                yield reads
            running = [(number, path, [reads[read] for read in wanted])
                       for number, path, wanted in waiting]
            reads = {}
        for number, table, partitions in plain:
            answers[number] = partition_reads.rows_in(self, table, partitions)
        return answers

    def _recall(self, reads):
        """Take what is remembered for the answer to all reads of a step.

        Only if that saves a round trip: they are of one partition, of which
        nothing was read. And of one partition only, which the commit can
        compare in the same step as it writes.

        :returns: whether it was done: the dict's values are set.
        """
        if self.speculation is not None:
            return False
        partition = None
        for read in reads:
            if type(read) is not reading.PartitionRead or (
                    partition not in (None, read.partition)):
                return False
            partition = read.partition
        if partition in self.read_sets:
            return False
        known = self.remembered.partitions.recall(self._schema, partition)
        if known is None:
            return False
        self.speculation = reading.Speculation.of(
            reading.PartitionRead(partition, (), known))
        seen = self.read_sets[partition] = read_set.ReadSet(
            partition, self.remembered)
        seen.recall(known)
        for read in reads:
            reads[read] = known.snapshot
        return True

    def _read(self, reads):
        """Run reads in one batch: sets the dict's values to the results."""
        batch = list(reads)
        check = self._database.schema_read()
        if check is not None:
            batch.append(check)
        if self.read_at is None:
            self.read_at = time.monotonic()
        results = self._database.coordinator.read(batch, self._may_lag)
        if check is not None:
            self._database.see_schema(results.pop())
        if self._may_lag or self.serializable:
            to_verify = self.to_verify
            for read, result in zip(reads, results):
                before = to_verify.setdefault(read, result)
                if before is not result and before != result:
                    self.is_torn = True
                    to_verify[read] = result
        self._absorb(reads, results)
        if check is not None:
            self._database.keep_house(time.monotonic())

    def absorb(self, partition, snapshot):
        """See some fields of a partition."""
        seen = self.read_sets.get(partition)
        if seen is None:
            seen = self.read_sets[partition] = read_set.ReadSet(
                partition, self.remembered)
        seen.absorb(snapshot)

    def _absorb(self, reads, results):
        """Set a dict's values to the results of reads, and see them."""
        read_sets = self.read_sets
        remembered = self.remembered
        for read, result in zip(tuple(reads), results):
            reads[read] = result
            kind = type(read)
            if kind in _NOT_OF_PARTITIONS:
                continue
            partition = read.partition
            seen = read_sets.get(partition)
            if seen is None:
                seen = read_sets[partition] = read_set.ReadSet(
                    partition, remembered)
            if kind is reading.IndexRead:
                seen.absorb(result[1])
                if read.ranges == local_index.PRESENT:
                    seen.note_complete(self._schema.present_prefixes)
            elif kind is reading.PartitionRead and not read.prefixes:
                seen.absorb_whole(result, self._schema)
            else:
                seen.absorb(result)
                if kind is reading.PartitionRead:
                    seen.note_complete(read.prefixes)
