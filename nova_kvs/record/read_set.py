# SPDX-License-Identifier: Apache-2.0
"""The read set of a transaction: what it has seen of each partition.

Invariant: a cell once seen keeps its value, whatever is read later.
"""

from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record import partition_cache
from nova_kvs.txn import reading

# What a named tuple's class does, without a call in between.
_make = tuple.__new__


class ReadSet:
    """All that a transaction has read of one partition.

    Records are decoded when their table is asked for.

    :ivar whole: everything in the partition was read.
    :ivar floor: the highest floor seen.
    :ivar stored: field -> what is stored there.
    :ivar complete: prefixes (of tables) of which everything was read.
    """

    __slots__ = ("partition", "whole", "floor", "stored", "complete",
                 "_groups", "_records", "_tables", "_computed",
                 "_record_class", "_locators", "_decoded")

    def __init__(self, partition, locators, decoded):
        """Make one of which nothing was read.

        :param locators: dict that gets (table's name, key) -> partition of
            what is decoded, of tables whose keys do not tell it.
        :param decoded: Cache of field -> (Table, what is stored, Record), of
            what was decoded before of tables that are kept.
        """
        self.partition = partition
        self._locators = locators
        self._decoded = decoded
        self.whole = False
        self.floor = 0
        self.stored = {}
        self.complete = set()
        self._groups = {}
        self._records = {}
        self._tables = {}
        self._computed = {}
        self._record_class = access.Record

    def absorb(self, snapshot):
        """Add what a snapshot has that was not seen before."""
        if snapshot.floor > self.floor:
            self.floor = snapshot.floor
        if self.stored:
            # Not in place: what was seen may be in the partition cache.
            self.stored = {**self.stored, **snapshot.stored, **self.stored}
            self._records = dict(self._records)
        else:
            self.stored = snapshot.stored
        self._groups = partition_cache.group(self.stored)
        self._tables = {}
        self._computed = {}

    def absorb_whole(self, snapshot, cached, schema):
        """Add a snapshot of all that is in the partition.

        :param cached: PartitionCache of the database.
        :param schema: nova_kvs.record.schema.Schema.
        """
        self.whole = True
        if self.stored or not snapshot.stored:
            self.absorb(snapshot)
            return
        if snapshot.floor > self.floor:
            self.floor = snapshot.floor
        self._adopt(cached.take(schema, self.partition, snapshot))

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

    def has_all(self, table):
        """Tell whether every record of a table was read."""
        return self.whole or table.prefix in self.complete

    def has_records(self):
        """Tell whether any record was seen."""
        return bool(self._groups)

    def record_fields(self):
        """Return the set of the fields of the records that were seen."""
        return {field for fields in self._groups.values() for field in fields}

    def records(self, table):
        """Return the records of a table that were read.

        :param table: nova_kvs.record.schema.Table.
        :returns: a list that may be shared: not to be changed.
        :raises nova_kvs.exceptions.CorruptRecordError: if one does not
            decode.
        """
        prefix = table.prefix
        found = self._tables.get(prefix)
        if found is None:
            records = self._records
            decode = self._decode
            found = self._tables[prefix] = [
                records.get(field) or decode(table, field)
                for field in self._groups.get(prefix, ())]
        return found

    def compute(self, table, make):
        """Return what a function makes of the records of a table.

        What it made is remembered with the contents of the partition.

        :param make: function of a list of Records.
        """
        name = table, make
        if name not in self._computed:
            self._computed[name] = make(self.records(table))
        return self._computed[name]

    def record(self, table, field):
        """Return one record, or None if it was not read."""
        record = self._records.get(field)
        if record is None and field in self.stored:
            record = self._decode(table, field)
        return record

    def _decode(self, table, field):
        stored = self.stored[field]
        cached = self._decoded
        known = cached.get(field) if table.is_cached else None
        if known is not None and known[1] == stored and (
                known[0] is table and known[2].partition == self.partition):
            cached.hits += 1
            record = known[2]
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
        # Two threads may share a CachedPartition: the first one's stay.
        record = self._records.setdefault(field, record)
        if table.partition_column is not None:
            self._locators[table.name, record.key] = self.partition
        return record
