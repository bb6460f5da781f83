# SPDX-License-Identifier: Apache-2.0
"""Covering indexes: global ones that also hold some columns of their rows.

Entries only say where rows may be. Beside those of a covering index the
store has, for each row, its *included columns* (with the version at which
they were so) and a *minimum version*: the version that the last transaction
which changes one of these columns gives the row. The minimum version is
raised at that transaction's commit point or before it, whether it then
commits or not, and is never lowered. Included columns are written after the
commit, any time later, by whoever knows them, and may get lost.

Invariant: included columns whose version is not below the minimum version
are what the row held when the minimum version was read. Whoever changes them
afterwards raises the minimum version above that first. Of a row without
either the record is read.

When a row has left the index for a grace period both are removed.
"""

import math
import struct
import typing
import zlib

from nova_kvs import cache
from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record.indexes import global_index
from nova_kvs.store import operations
from nova_kvs.txn import reading

#: Version above that of any row: the one of a row that is gone.
HIGHEST = 2 ** 53

#: Version, and what tells of which columns it is.
_HEAD = struct.Struct(">QI")
_HEAD_BYTES = _HEAD.size


class CoveringIndex(global_index.GlobalIndex):
    """A global index with the table's included columns beside it."""

    is_covering = True


class IncludedColumns:
    """The columns that the covering indexes of a table include.

    :param rule: nova_kvs.record.partition_rules.Covered.
    :param columns: those that the table has.
    :param key: its primary key.
    :param indexes: its CoveringIndexes.
    :ivar names: in the order in which they are stored.
    :ivar offers: what ``ByIndex.only_columns`` may name.
    """

    def __init__(self, rule, columns, key, indexes):
        self._only = rule.only
        names = {column for index in indexes for column in index.columns}
        names.update(key, rule.columns)
        self._names = tuple(sorted(names.intersection(columns)))
        self._set = frozenset(self._names)
        self._states = tuple(state for state in rule.states
                             if state[0] in columns)
        self.names = (*self._names, *[column for column, _ in self._states])
        self.offers = self._set.union(self._states)
        #: Stored columns with another checksum are not looked at.
        self.checksum = zlib.crc32(repr((self._names, self._states)).encode())
        #: As stored -> (version, Values).
        self._decoded = cache.Cache(cache.INCLUDED)

    def holds(self, row):
        """Tell whether a row is one of those whose columns are included."""
        column, value = self._only
        return row.get(column) == value

    def can_answer(self, wanted, tuples):
        """Tell whether these columns are all that an access asks for.

        :param wanted: ByIndex.
        :param tuples: its tuples, as stored.
        """
        column, value = self._only
        if not wanted.only_columns or column not in wanted.columns or (
                not wanted.only_columns <= self.offers):
            return False
        at = wanted.columns.index(column)
        return all([values[at] == value for values in tuples])

    def are_changed(self, old, new, changed):
        """Tell whether an included column changes.

        :param changed: names of the columns that do.
        """
        if not self._set.isdisjoint(changed):
            return True
        return any([(old.get(column) == value) != (new.get(column) == value)
                    for column, value in self._states])

    def encode(self, row, version):
        """Return the included columns of a row as they are stored."""
        values = [row.get(column) for column in self._names]
        for column, value in self._states:
            values.append(value if row.get(column) == value else None)
        return _HEAD.pack(version, self.checksum) + codec.encode_list(values)

    def of(self, row):
        """Return what ``decode`` gives of the included columns of a row."""
        return self.decode(self.encode(row, 0), b"")

    def decode(self, stored, member):
        """Return stored columns as a dict, without the Nones.

        :param stored: with this ``checksum``.
        :param member: of its Place, for the error.
        :raises nova_kvs.exceptions.CorruptRecordError: if it does not
            decode.
        """
        names = self.names
        values = codec.decode_list(stored[_HEAD_BYTES:], member, len(names))
        if None not in values:
            return dict(zip(names, values))
        return {column: value for column, value in zip(names, values)
                if value is not None}

    def values(self, table, stored, member):
        """Return the version of stored columns, and the columns as Values.

        They are kept: the next reader mostly meets the same ones.

        :param table: Table of these columns.
        :param member: of its Place, for the error.
        :returns: None if other columns are stored.
        :raises nova_kvs.exceptions.CorruptRecordError: if it does not
            decode.
        """
        found = self._decoded.get(stored)
        if found is None:
            version, checksum = head_of(stored, member)
            if checksum != self.checksum:
                return None
            values = self.decode(stored, member)
            self._decoded.trim()
            found = self._decoded[stored] = version, access.Values(
                table.name, table.record_key(values), values)
        return found


class Place(typing.NamedTuple):
    """The place of a row's minimum version and included columns."""

    #: Key of the index's bucket.
    bucket: bytes
    member: bytes


def places(database, table, row, partition, field):
    """Return the set of the Places of a row.

    :param database: its name.
    """
    if table.included is None or not table.included.holds(row):
        return set()
    member = partition.key + field
    return {Place(index.bucket_of(database, row, member), member)
            for index in table.covering_indexes if index.holds(row)}


def head_of(stored, member):
    """Return the version and the checksum of stored columns.

    :param member: of their Place, for the error.
    :raises nova_kvs.exceptions.CorruptRecordError: if they are too short.
    """
    if len(stored) < _HEAD_BYTES:
        raise exceptions.CorruptRecordError(field=member)
    return _HEAD.unpack_from(stored)


def where(member):
    """Return the partition and the field that a Place's member names.

    :raises ValueError: if it is not made like one.
    """
    end = member.index(b"}") + 1
    return keyspace.Partition(member[:end]), member[end:]


def raising(place, version):
    """Return the side write that raises the minimum version."""
    return operations.Raise(
        keyspace.minimums_key(place.bucket), place.member, version)


def including(place, stored):
    """Return the side write of included columns."""
    return operations.PutField(
        keyspace.included_key(place.bucket), place.member, stored)


def dropping(place, version):
    """Return the operation that removes what there is of a row that has left.

    :param version: a minimum version above it stays.
    """
    return operations.DropIncluded(
        keyspace.minimums_key(place.bucket),
        keyspace.included_key(place.bucket), place.member, version)


# Reading --------------------------------------------------------------------

def rows(tx, table, reads):
    """Return the Values of the rows that entries name: a path.

    :param reads: of the entries, of one of the table's covering indexes.
    """
    results = yield (
        reads
        + [reading.MinimumsRead(keyspace.minimums_key(read.key))
           for read in reads]
        + [reading.IncludedRead(keyspace.included_key(read.key))
           for read in reads])
    count = len(reads)
    columns = table.included
    found = {}
    unread = {}
    for read, members, minimums, included in zip(
            reads, results, results[count:], results[2 * count:]):
        for stored in members:
            member = global_index.where_of(stored)
            if member in found:
                continue
            minimum = minimums.get(member, math.inf)
            encoded = included.get(member)
            if encoded is not None:
                known = columns.values(table, encoded, member)
                if known is not None and known[0] >= minimum:
                    found[member] = known[1]
                    continue
            unread[member] = (read.key, minimum)
    if unread:
        wheres = {member: where(member) for member in unread}
        yield [reading.FieldsRead(partition, (field,))
               for partition, field in wheres.values()]
        _take_records(tx, table, unread, wheres, found)
    return list(found.values())


def _take_records(tx, table, unread, wheres, found):
    """Add the rows that were read, and have their columns included."""
    fresh = []
    for member, (bucket, minimum) in unread.items():
        partition, field = wheres[member]
        record = tx.read_sets[partition].record(table, field)
        if record is None:
            continue
        found[member] = record
        own = Place(bucket, member)
        # What is written for a row that has left the index could come when
        # housekeeping has been there.
        if record.version >= minimum and own in places(
                tx.database_name, table, record.values, partition, field):
            fresh.append(including(own, table.included.encode(
                record.values, record.version)))
    tx.add_included(fresh)
