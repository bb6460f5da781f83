# SPDX-License-Identifier: Apache-2.0
"""The partition cache: the partitions that a process read last.

Servers are read again and again, mostly unchanged; so their records stay
decoded. Nothing here is an answer: it is used if what the store has just
answered is the same, byte for byte, or by a transaction whose commit lets the
store compare it.
"""

import time

from nova_kvs import cache
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import speculation
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

_RECORD = keyspace.RECORD[0]
# What a named tuple's class does, without a call in between.
_make = tuple.__new__

#: A commit does not compare more fields than this.
MOST_FIELDS = 256


class CachedPartition:
    """All that a partition held when it was last read whole.

    Several transactions may use one: none changes it, but that records, and
    what is made of them, are added as they are asked for.

    :ivar schema: by which its records are decoded.
    :ivar snapshot: nova_kvs.txn.reading.Snapshot.
    :ivar groups: prefix of a table's fields -> list of them.
    :ivar records: field -> Record.
    :ivar tables: prefix of a table's fields -> list of its Records, of
        tables that were asked for.
    :ivar computed: (Table, function) -> what the function made of the
        table's Records.
    :ivar record_class: of its records: CachedRecord once the same was read
        again. Most of what is read once is not, and need not pay for it.
    :ivar seen_at: when the store had it last, by the monotonic clock.
    """

    __slots__ = ("schema", "snapshot", "groups", "records", "tables",
                 "computed", "size_bytes", "record_class", "seen_at")

    def __init__(self, schema, snapshot, before=None):
        """Take in what was read.

        :param before: CachedPartition that is out of date, or None: the
            records that did not change are taken from it.
        """
        self.schema = schema
        self.snapshot = snapshot
        stored = snapshot.stored
        if before is not None and (
                before.snapshot.stored.keys() == stored.keys()):
            # Nobody changes them.
            self.groups = before.groups
        else:
            self.groups = group(stored)
        self.records = {}
        self.tables = {}
        self.computed = {}
        self.record_class = access.Record
        if before is not None and before.schema is schema:
            known = before.snapshot.stored
            # Another thread may be decoding one.
            for field, record in list(before.records.items()):
                if stored.get(field) == known[field]:
                    self.records[field] = record
        self.size_bytes = sum(map(len, stored.values()))
        self.seen_at = time.monotonic()

    def has_long_history(self):
        """Tell whether most readers need only a small part of it."""
        if self.size_bytes <= cache.LONG_HISTORY_BYTES:
            return False
        stored = self.snapshot.stored
        return sum([
            len(stored[field]) for prefix in self.schema.history_prefixes
            for field in self.groups.get(prefix, ())
        ]) > cache.LONG_HISTORY_BYTES

    def keep(self):
        """Note that the same was read again."""
        if self.record_class is not access.CachedRecord:
            self.record_class = access.CachedRecord
            self.tables = {}
            self.records = {
                field: record if type(record) is access.CachedRecord
                else _make(access.CachedRecord, record)
                for field, record in list(self.records.items())}


class PartitionCache(cache.Cache):
    """The partitions that a process read last: Partition -> CachedPartition.

    Those that are used stay longest.

    :ivar long: Cache of the partitions that were seen to have a long history:
        they are not read whole, nor remembered.
    """

    __slots__ = ("long", "_size_bytes", "_estimate")

    def __init__(self):
        super().__init__(cache.PARTITION_BYTES)
        self.long = cache.Cache(cache.LONG)
        self._size_bytes = 0
        self._estimate = speculation.Estimate()

    def weigh(self, value):
        return value.size_bytes

    def size(self):
        # Counted anew: threads may have got in each other's way.
        return sum(map(self.weigh, list(self.values())))

    def recall(self, schema, partition):
        """Return what is remembered of a partition if it is likely current.

        For a transaction that lets the commit compare it. Or None.
        """
        known = self.get(partition)
        if known is None or known.schema is not schema or (
                len(known.snapshot.pairs) > 2 * MOST_FIELDS
                or not self._estimate.is_likely_current(
                    partition, time.monotonic() - known.seen_at)):
            return None
        known.keep()
        return known

    def take(self, schema, partition, snapshot):
        """Return the CachedPartition of a partition that was read.

        :param snapshot: what was read: that of ``get`` itself where the
            partition did not change.
        """
        known = self._drop(partition)
        same = known is not None and known.snapshot is snapshot
        if known is not None:
            now = time.monotonic()
            self._estimate.learn(partition, now - known.seen_at, same)
            known.seen_at = now
        if same:
            self.hits += 1
            if known.schema is schema:
                known.keep()
                self._put(partition, known)
                return known
        else:
            self.misses += 1
        found = CachedPartition(schema, snapshot, known)
        if snapshot.pairs is not None or found.has_long_history():
            self._put(partition, found)
        return found

    def confirm(self, partition):
        """Record that the store confirmed what is remembered."""
        known = self.get(partition)
        if known is not None:
            now = time.monotonic()
            self._estimate.learn(partition, now - known.seen_at, True)
            known.seen_at = now

    def write(self, schema, mutations, versions):
        """Apply what this process has committed.

        What else the partitions hold may have changed since they were read:
        this is as likely to be current as any.

        :param mutations: of nova_kvs.txn.mutation.Mutation.
        :param versions: dict of (partition, field) -> new version.
        """
        groups = {}
        for change in mutations:
            if change.partition in self:
                groups.setdefault(change.partition, []).append(change)
        for partition, changes in groups.items():
            known = self._drop(partition)
            if known is None or known.schema is not schema:
                continue
            snapshot = _written(known.snapshot, changes, versions)
            if snapshot is not None and snapshot.stored:
                written = CachedPartition(schema, snapshot, known)
                written.record_class = known.record_class
                self._put(partition, written)

    def _drop(self, partition):
        known = self.pop(partition, None)
        if known is not None:
            self._size_bytes -= known.size_bytes
        return known

    def _put(self, partition, known):
        """Remember a partition, as the newest, unless it is too large."""
        if known.has_long_history():
            self.long.trim()
            self.long[partition] = True
        elif known.size_bytes <= cache.LARGEST_PARTITION_BYTES:
            self[partition] = known
            self._size_bytes += known.size_bytes
            if self._size_bytes > self.limit:
                self.trim()
                self._size_bytes = self.size()


def _written(snapshot, changes, versions):
    """Return a Snapshot in which mutations are applied.

    :returns: None if they were not made of this snapshot.
    """
    pairs = iter(snapshot.pairs)
    stored = dict(zip(pairs, pairs))
    floor = snapshot.floor
    for change in changes:
        field = change.field
        before = stored.get(field)
        if change.expected != (
                0 if before is None else reading.version_of(before)):
            return None
        if change.value is mutation.DELETE:
            del stored[field]
            if change.uses_floor and change.expected > floor:
                floor = change.expected
        elif change.value is not mutation.LOCK:
            stored[field] = mutation.VERSION.pack(
                versions[change.partition, field]) + change.value
    if floor:
        stored[keyspace.FLOOR_FIELD] = mutation.VERSION.pack(floor)
    # As the store answers, so that its next answer is found to be the same:
    # what has changed is in its place.
    pairs = [item for pair in stored.items() for item in pair]
    stored.pop(keyspace.FLOOR_FIELD, None)
    return reading.Snapshot(floor, stored, pairs)


def group(stored):
    """Return the fields of records by the prefix of their table."""
    groups = {}
    for field in stored:
        if field[0] == _RECORD:
            prefix = field[:field.index(b"\0") + 1]
            if prefix in groups:
                groups[prefix].append(field)
            else:
                groups[prefix] = [field]
    return groups
