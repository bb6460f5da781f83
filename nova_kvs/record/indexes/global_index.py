# SPDX-License-Identifier: Apache-2.0
"""Indexes across partitions: sorted sets of their own.

An entry is the encoded columns, the record's partition and field, the lengths
of the latter two, the version of the record that it was written for, and
random bytes of the transaction. It is there before the record is, and stays
for a while when the record has left: it says where a row may be.

A process remembers which records the entries of a bucket named when it last
looked, and reads these along with the entries. The entries decide all the
same: when they name another record, what came along is dropped and all of
them are read, so that the records of a partition are of one moment.
"""

import struct
import typing
import zlib

from nova_kvs import keyspace
from nova_kvs.record.indexes import base
from nova_kvs.txn import reading

_LENGTHS = struct.Struct(">HH")
_VERSION = struct.Struct(">Q")
#: Bytes of a stored entry behind ``GlobalEntry.prefix``.
TAIL_BYTES = _VERSION.size + base.NONCE_BYTES
_NAMED_BYTES = _LENGTHS.size + TAIL_BYTES
#: Records that are read in one batch.
CHUNK = 2000
#: Most members of a bucket that a process remembers.
LARGEST_REMEMBERED = 16


class GlobalEntry(typing.NamedTuple):
    """The entry of a row, but for its version and the random bytes."""

    #: Of the bucket.
    key: bytes
    #: Encoded columns, partition, field and the lengths of the latter two.
    prefix: bytes


class GlobalIndex(base.Index):
    """An index across partitions. Rows with NULL in its first column, and
    those that ``only`` or ``without`` leaves out, are not in it.

    :ivar buckets: sorted sets for each value of the first column.
    :ivar only: ``(column, value)``: only rows that have it are in it.
    :ivar without: values of the first column: rows that have one are not.
    """

    is_global = True
    is_ordered = False

    def __init__(self, table, name, columns, buckets=1, only=None,
                 without=(), *definition):
        super().__init__(
            table, name, columns, buckets, only, without, *definition)
        self.buckets = buckets
        self.only = only
        self.without = frozenset(without)
        self._stored_name = "%s.%s" % (table, name)

    def holds(self, values):
        first = values.get(self.columns[0])
        if first is None or first in self.without:
            return False
        return self.only is None or values.get(self.only[0]) == self.only[1]

    def entry(self, database, row, partition, field):
        """Return the GlobalEntry of a row, or None if it has none.

        :param database: its name.
        """
        if not self.holds(row):
            return None
        where = partition.key + field
        return GlobalEntry(
            self.bucket_of(database, row, where),
            b"%s%s%s" % (
                self.encode([row.get(column) for column in self.columns]),
                where, _LENGTHS.pack(len(partition.key), len(field))))

    def encode(self, values):
        """Return some first columns as entries have them.

        :param values: of the first columns, as stored.
        """
        return keyspace.encode_tuple(values)

    def has_exact_order(self, column):
        """Tell whether the order of entries is that of a column's values."""
        return True

    def bucket_of(self, database, row, where):
        """Return the key of the bucket that a row is in.

        :param where: the partition's key and the field, joined.
        """
        bucket = zlib.crc32(where) % self.buckets if self.buckets > 1 else 0
        return self._bucket_key(database, row.get(self.columns[0]), bucket)

    def bucket_keys(self, database, value):
        """Return the keys of the buckets of rows with a first value."""
        return [self._bucket_key(database, value, bucket)
                for bucket in range(self.buckets)]

    def _bucket_key(self, database, value, bucket):
        name = base.text_of(value)
        if self.buckets > 1:
            suffix = ".%d" % bucket
            name += suffix.encode() if type(name) is bytes else suffix
        return keyspace.bucket_key(database, self._stored_name, name)

    def reads(self, database, tuples):
        """Return the reads of all entries that begin with some tuples."""
        found = []
        for values in tuples:
            prefix = self.encode(values)
            first = values[0] if values else None
            for key in self.bucket_keys(database, first):
                found.append(reading.MembersRead(
                    key, b"[" + prefix, b"(" + prefix + base.AFTER,
                    names=named))
        return found


def entries(database, table, row, partition, field, changed=None):
    """Return the GlobalEntries of a row.

    :param database: its name.
    :param table: nova_kvs.record.schema.Table.
    :param changed: names of columns: only of the indexes that have one.
    """
    found = []
    for index in table.global_indexes:
        # What ``only`` names is one of the index's columns.
        if changed is None or not changed.isdisjoint(index.columns):
            entry = index.entry(database, row, partition, field)
            if entry is not None:
                found.append(entry)
    return found


def member(entry, version, nonce):
    """Return a GlobalEntry as it is stored.

    :param nonce: ``NONCE_BYTES`` random bytes of the transaction.
    """
    return entry.prefix + _VERSION.pack(version) + nonce


def range_of(prefix):
    """Return the ends of the range that holds the members of an entry.

    :param prefix: of the GlobalEntry.
    """
    return b"[" + prefix, b"(" + prefix + base.AFTER_TAIL


def members_of(prefix, listed):
    """Return the members of an entry among those in its range.

    Others there belong to entries with a longer prefix.
    """
    length = len(prefix) + TAIL_BYTES
    return [stored for stored in listed if len(stored) == length]


# What a stored entry names --------------------------------------------------

def prefix_of(stored):
    """Return the prefix of the GlobalEntry that is stored so."""
    return stored[:-TAIL_BYTES]


def partition_of(stored):
    """Return the partition that a stored entry names."""
    where, field = _LENGTHS.unpack_from(stored, len(stored) - _NAMED_BYTES)
    end = len(stored) - _NAMED_BYTES - field
    return keyspace.Partition(stored[end - where:end])


def field_of(stored):
    """Return the field of the record that a stored entry names."""
    _, field = _LENGTHS.unpack_from(stored, len(stored) - _NAMED_BYTES)
    end = len(stored) - _NAMED_BYTES
    return stored[end - field:end]


def version_of(stored):
    """Return the version of a stored entry."""
    return _VERSION.unpack_from(stored, len(stored) - TAIL_BYTES)[0]


def named(stored):
    """Return the partition, the field and the version of a stored entry."""
    return partition_of(stored), field_of(stored), version_of(stored)


def where_of(stored):
    """Return the partition's key and the field that a stored entry names,
    joined.
    """
    end = len(stored) - _NAMED_BYTES
    where, field = _LENGTHS.unpack_from(stored, end)
    return stored[end - field - where:end]


def columns_of(stored):
    """Return the encoded columns of a stored entry."""
    where, field = _LENGTHS.unpack_from(stored, len(stored) - _NAMED_BYTES)
    return stored[:len(stored) - _NAMED_BYTES - field - where]


# Clean-up -------------------------------------------------------------------

def sort_out(members, version, is_needed, own):
    """Return which entries of a row to remove, and which to look at again.

    One that is needed stays: the newest that is not above the row's version.
    A check that stopped when the row had left the index may still remove
    those before. If several share that version all of them stay until the
    row leaves: the transactions of the others, which made the same move,
    failed, but nobody can tell which, and checks of theirs may be about to
    remove their own.

    Entries above the row's version are to be looked at again: the
    transaction that wrote them may still commit.

    :param members: stored entries with one prefix.
    :param version: of the row: up to it everything is decided.
    :param is_needed: whether the row has this entry.
    :param own: the entry whose transaction is decided in any case, or b"".
    :returns: two lists.
    """
    keep = None
    if is_needed:
        versions = [version_of(stored) for stored in members]
        keep = max([number for number in versions if number <= version]
                   or versions, default=None)
    removed, again = [], []
    for stored in members:
        number = version_of(stored)
        if number == keep:
            continue
        (removed if stored == own or number <= version
         else again).append(stored)
    return removed, again


# Reading --------------------------------------------------------------------

def partitions_named(reads, results):
    """Return the partitions that entries name, a dict with them as keys."""
    found = {}
    for read, members in zip(reads, results):
        if type(read) is reading.MembersRead:
            for stored in members:
                found[partition_of(stored)] = None
    return found


def records(tx, table, reads):
    """Return the records that entries name, reading nothing else.

    :param reads: of ``GlobalIndex.reads``.
    """
    remembered = tx.remembered.entries
    expected = {}
    for read in reads:
        for partition, field in remembered.get(read, ((), ()))[1]:
            expected.setdefault(partition, {})[field] = None
    early = [reading.SideRead(read) for read in _absent(tx, table, expected)]
    results = yield reads + early
    named = {}
    for read, members in zip(reads, results):
        for partition, field in _decoded(remembered, read, members):
            named.setdefault(partition, {})[field] = None
    came = {side.read.partition: (side.read.fields, snapshot)
            for side, snapshot in zip(early, results[len(reads):])}
    left = []
    for read in _absent(tx, table, named):
        fields, snapshot = came.get(read.partition, ((), None))
        if set(fields).issuperset(read.fields):
            tx.absorb(read.partition, snapshot)
        else:
            left.append(read)
    yield from _in_chunks(left)
    read_sets = tx.read_sets
    rows = [read_sets[partition].record(table, field)
            for partition, names in named.items() for field in names]
    return [row for row in rows if row is not None]


def read_fields(tx, table, wanted):
    """Read the fields that no read set has yet.

    :param wanted: partition -> fields.
    """
    yield from _in_chunks(_absent(tx, table, wanted))


def _in_chunks(reads):
    for first in range(0, len(reads), CHUNK):
        yield reads[first:first + CHUNK]


def expect(tx, table, columns, rows):
    """Remember where rows are going to be, so that they are read along.

    :param columns: of a global index of one bucket a value.
    :param rows: (values of the columns, partition, field) of each.
    """
    index = next((index for index in table.global_indexes
                  if index.columns == columns), None)
    if index is None:
        return
    found = {}
    for values, partition, field in rows:
        read, = index.reads(tx.database_name, (values,))
        found.setdefault(read, []).append((partition, field))
    for read, where in found.items():
        if len(where) <= LARGEST_REMEMBERED:
            tx.remembered.entries[read] = (), where


def _decoded(remembered, read, members):
    """Return (partition, field) for each member that a read found."""
    known = remembered.get(read)
    if known is not None and known[0] == members:
        remembered.hits += 1
        return known[1]
    remembered.misses += 1
    where = [(partition_of(stored), field_of(stored)) for stored in members]
    if len(where) <= LARGEST_REMEMBERED:
        remembered[read] = members, where
    elif known is not None:
        remembered.pop(read, None)
    return where


def _absent(tx, table, wanted):
    """Return reads of the fields that no read_set has yet.

    :param wanted: partition -> fields.
    """
    reads = []
    for partition, fields in wanted.items():
        read_set = tx.read_sets.get(partition)
        if read_set is None:
            reads.append(reading.FieldsRead(partition, tuple(fields)))
        elif not read_set.has_all(table):
            missing = tuple([field for field in fields
                             if field not in read_set.stored])
            if missing:
                reads.append(reading.FieldsRead(partition, missing))
    return reads
