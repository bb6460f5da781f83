# SPDX-License-Identifier: Apache-2.0
"""The read set of a transaction: what it has seen of each partition.

Invariant: a cell once seen keeps its value, whatever is read later.
"""

from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record import partition_cache
from nova_kvs.txn import reading

#: What was read of a partition of which nothing was; nobody changes it.
_EMPTY = {}
# What a named tuple's class does, without a call in between.
_make = tuple.__new__


class ReadSet:
    """All that a transaction has read of one partition.

    Records are decoded when their table is asked for.

    :ivar whole: everything in the partition was read.
    :ivar floor: the highest floor seen.
    :ivar stored: field -> what is stored there.
    :ivar complete: tuple of prefixes (of tables) of which everything was read.
    """

    __slots__ = ("partition", "whole", "floor", "stored", "complete",
                 "_groups", "_records", "_tables", "_computed",
                 "_record_class", "_remembered")

    def __init__(self, partition, remembered):
        """Make one of which nothing was read.

        :param remembered: nova_kvs.record.remembered.Remembered: knows what
            was decoded before, and takes where records are whose keys do not
            tell.
        """
        # There may be thousands, of one field each: nothing is made before it
        # is asked for.
        self.partition = partition
        self._remembered = remembered
        self.whole = False
        self.floor = 0
        self.stored = _EMPTY
        self.complete = ()
        self._groups = None
        self._records = None
        self._tables = None
        self._computed = None
        self._record_class = access.Record

    def absorb(self, snapshot):
        """Add what a snapshot has that was not seen before."""
        if snapshot.floor > self.floor:
            self.floor = snapshot.floor
        if self.stored:
            # Not in place: what was seen may be in the partition cache.
            self.stored = {**self.stored, **snapshot.stored, **self.stored}
            if self._records is not None:
                self._records = dict(self._records)
        else:
            self.stored = snapshot.stored
        self._groups = self._tables = self._computed = None

    def absorb_whole(self, snapshot, schema):
        """Add a snapshot of all that is in the partition.

        :param schema: nova_kvs.record.schema.Schema.
        """
        self.whole = True
        if self.stored or not snapshot.stored:
            self.absorb(snapshot)
            return
        if snapshot.floor > self.floor:
            self.floor = snapshot.floor
        self._adopt(self._remembered.partitions.take(
            schema, self.partition, snapshot))

    def recall(self, known):
        """Take what is remembered for all that is in the partition.

        :param known: nova_kvs.record.partition_cache.CachedPartition.
        """
        self.whole = True
        self.floor = known.snapshot.floor
        self._adopt(known)

    def _adopt(self, known):
        self.stored = known.snapshot.stored
        self._groups = known.groups
        self._records = known.records
        self._tables = known.tables
        self._computed = known.computed
        self._record_class = known.record_class

    def version(self, field):
        """Return the version of a field, or None if it was not seen."""
        value = self.stored.get(field)
        return None if value is None else reading.version_of(value)

    def note_complete(self, prefixes):
        """Note that everything was read of some tables' prefixes."""
        self.complete = (*self.complete, *prefixes)

    def has_all(self, table):
        """Tell whether every record of a table was read."""
        return self.whole or table.prefix in self.complete

    def has_records(self):
        """Tell whether any record was seen."""
        return bool(self._grouped())

    def record_fields(self):
        """Return the set of the fields of the records that were seen."""
        return {field for fields in self._grouped().values()
                for field in fields}

    def _grouped(self):
        """Return prefix of a table's fields -> list of them."""
        groups = self._groups
        if groups is None:
            groups = self._groups = partition_cache.group(self.stored)
        return groups

    def records(self, table):
        """Return the records of a table that were read.

        :param table: nova_kvs.record.schema.Table.
        :returns: a list that may be shared: not to be changed.
        :raises nova_kvs.exceptions.CorruptRecordError: if one does not
            decode.
        """
        prefix = table.prefix
        tables = self._tables
        if tables is None:
            tables = self._tables = {}
        found = tables.get(prefix)
        if found is None:
            records = self._records
            if records is None:
                records = self._records = {}
            decode = self._decode
            found = tables[prefix] = [
                records.get(field) or decode(table, field)
                for field in self._grouped().get(prefix, ())]
        return found

    def compute(self, table, make):
        """Return what a function makes of the records of a table.

        What it made is remembered with the contents of the partition.

        :param make: function of a list of Records.
        """
        name = table, make
        computed = self._computed
        if computed is None:
            computed = self._computed = {}
        if name not in computed:
            computed[name] = make(self.records(table))
        return computed[name]

    def record(self, table, field):
        """Return one record, or None if it was not read."""
        records = self._records
        record = None if records is None else records.get(field)
        if record is None and field in self.stored:
            record = self._decode(table, field)
        return record

    def _decode(self, table, field):
        stored = self.stored[field]
        if table.is_cached:
            cached = self._remembered.records
        else:
            # Of whole partitions the partition cache has the records.
            cached = None if self.whole else self._remembered.rows
        known = None if cached is None else cached.get(field)
        if known is not None and known[1] == stored and (
                known[0] is table and known[2].partition == self.partition):
            cached.hits += 1
            record = known[2]
            if type(record) is access.Record:
                # Read again: what is made of it is worth keeping.
                record = _make(access.CachedRecord, record)
                cached[field] = (table, stored, record)
        else:
            values = codec.decode(reading.payload_of(stored), field)
            key = table.record_key(values)
            if None in key and table.field(key) != field:
                raise exceptions.CorruptRecordError(field=field)
            record = _make(
                access.CachedRecord if table.is_cached else self._record_class,
                (table.name, key, self.partition,
                 reading.version_of(stored), values))
            if table.is_cached:
                cached.misses += 1
                cached[field] = (table, stored, record)
            elif cached is not None:
                cached.misses += 1
                if not cached.is_full:
                    if known is not None:
                        cached.size_bytes -= len(known[1])
                    cached.size_bytes += len(stored)
                    cached[field] = (table, stored, record)
        if self._records is None:
            self._records = {}
        # Two threads may share a CachedPartition: the first one's stay.
        record = self._records.setdefault(field, record)
        if table.partition_column is not None:
            self._remembered.locators[table.name, record.key] = self.partition
        return record
