# SPDX-License-Identifier: Apache-2.0
"""Covered columns: what an index across partitions tells of its rows.

Hints only say where rows may be. Beside some indexes the store also has, for
each row, a *cover* (some columns, and the version at which they were so) and
a *mark*: the version that the last transaction which changes one of those
columns gives the row. The mark is raised at that transaction's commit point
or before it, whether it then commits or not, and never lowered. Covers are
written behind the commit, any time later, by whoever knows them, and may get
lost.

Invariant: a cover whose version is not below the mark is what the columns
were when the mark was read. Whoever changes them afterwards raises the mark
above that version before. Of a row without either the record is read.

When a row has left the index for a grace period both are removed.
"""

import math
import struct
import typing
import zlib

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record import index as indexing
from nova_kvs.store import base
from nova_kvs.store.redis import scripts
from nova_kvs.txn import entry
from nova_kvs.txn import reading

DROP_MARK = scripts.load("nova_kvs.record", "drop_mark")

#: Version above that of any row: of one that is gone.
HIGHEST = 2 ** 53
#: Covers of a table that a process keeps decoded.
DECODED = 20000

#: Version, and what tells of which columns it is.
_HEAD = struct.Struct(">QI")
_HEAD_BYTES = _HEAD.size


class Columns:
    """The covered columns of a table.

    :param covered: nova_kvs.record.partition_rules.Covered.
    :param columns: those that the table has.
    :param key: its primary key.
    :param indexes: its marked indexes.
    :ivar offers: what ``ByIndex.needed`` may name.
    """

    def __init__(self, covered, columns, key, indexes):
        self._only = covered.only
        names = {column for index in indexes for column in index.columns}
        names.update(key, covered.columns)
        self._names = tuple(sorted(names.intersection(columns)))
        self._set = frozenset(self._names)
        self._states = tuple(state for state in covered.states
                             if state[0] in columns)
        #: Columns of a cover, in order.
        self.names = (*self._names, *[column for column, _ in self._states])
        self.offers = self._set.union(self._states)
        #: Covers of other columns are not looked at.
        self.check = zlib.crc32(repr((self._names, self._states)).encode())
        #: Cover -> (its version, Values).
        self._decoded = {}

    def holds(self, row):
        """Tell whether a row is one of those that are covered."""
        column, value = self._only
        return row.get(column) == value

    def can_answer(self, wanted, tuples):
        """Tell whether covers have all that an access asks for.

        :param wanted: ByIndex.
        :param tuples: its tuples, as stored.
        """
        column, value = self._only
        if not wanted.needed or column not in wanted.columns or (
                not wanted.needed <= self.offers):
            return False
        at = wanted.columns.index(column)
        return all([values[at] == value for values in tuples])

    def are_changed(self, old, new, changed):
        """Tell whether a covered column changes.

        :param changed: names of the columns that do.
        """
        if not self._set.isdisjoint(changed):
            return True
        return any([(old.get(column) == value) != (new.get(column) == value)
                    for column, value in self._states])

    def cover(self, row, version):
        """Return the cover of a row."""
        values = [row.get(column) for column in self._names]
        for column, value in self._states:
            values.append(value if row.get(column) == value else None)
        return _HEAD.pack(version, self.check) + codec.encode_list(values)

    def of(self, row):
        """Return what ``read`` gives of a cover of a row."""
        return self.read(self.cover(row, 0), b"")

    def read(self, cover, member):
        """Return a cover as a dict of column -> value, without the Nones.

        :param cover: one with this ``check``.
        :param member: of its mark, for the error.
        :raises nova_kvs.exceptions.CorruptRecordError: if it does not
            decode.
        """
        names = self.names
        values = codec.decode_list(cover[_HEAD_BYTES:], member, len(names))
        if None not in values:
            return dict(zip(names, values))
        return {column: value for column, value in zip(names, values)
                if value is not None}

    def values(self, table, cover, member):
        """Return the version of a cover and what it tells, as Values.

        They are kept: the next reader mostly meets the same covers.

        :param table: Table of these columns.
        :param member: of its mark, for the error.
        :returns: None for a cover of other columns.
        :raises nova_kvs.exceptions.CorruptRecordError: if it does not
            decode.
        """
        found = self._decoded.get(cover)
        if found is None:
            version, check = head_of(cover, member)
            if check != self.check:
                return None
            values = self.read(cover, member)
            if len(self._decoded) >= DECODED:
                self._decoded.clear()
            found = self._decoded[cover] = version, access.Values(
                table.name, table.record_key(values), values)
        return found


class Mark(typing.NamedTuple):
    """Where a row's mark and cover are."""

    #: Of the slice of the index.
    slot: bytes
    member: bytes


def needed(database, table, row, partition, field):
    """Return the set of the Marks of a row.

    :param database: its name.
    """
    if table.covered is None or not table.covered.holds(row):
        return set()
    member = partition.key + field
    return {Mark(indexing.slot_of(database, table, index, row, member),
                 member)
            for index in table.marked if indexing.covers(index, row)}


def head_of(cover, member):
    """Return the version of a cover, and the ``check`` of its columns.

    :param member: of its mark, for the error.
    :raises nova_kvs.exceptions.CorruptRecordError: if it is too short.
    """
    if len(cover) < _HEAD_BYTES:
        raise exceptions.CorruptRecordError(field=member)
    return _HEAD.unpack_from(cover)


def where(member):
    """Return the partition and the field that a mark's member names.

    :raises ValueError: if it is not made like one.
    """
    end = member.index(b"}") + 1
    return keyspace.Partition(member[:end]), member[end:]


def raising(mark, version):
    """Return the entry that raises a mark."""
    return entry.Raised(keyspace.marks_key(mark.slot), mark.member, version)


def covering(mark, cover):
    """Return the entry that writes a cover."""
    return entry.Field(keyspace.covers_key(mark.slot), mark.member, cover)


def dropping(mark, version):
    """Return the call that removes what there is of a row that has left.

    :param version: a mark above it stays.
    """
    return base.ScriptCall(DROP_MARK, (
        keyspace.marks_key(mark.slot), keyspace.covers_key(mark.slot)),
        (mark.member, version))


# Reading --------------------------------------------------------------------

def rows(tx, table, hint_reads):
    """Return the Values of the rows that hints name: a path.

    :param hint_reads: of one of the table's marked indexes.
    """
    results = yield (
        hint_reads
        + [reading.MarksRead(keyspace.marks_key(read.key))
           for read in hint_reads]
        + [reading.CoversRead(keyspace.covers_key(read.key))
           for read in hint_reads])
    count = len(hint_reads)
    covered = table.covered
    found = {}
    unread = {}
    for read, members, marks, covers in zip(
            hint_reads, results, results[count:], results[2 * count:]):
        for stored in members:
            member = indexing.where_of(stored)
            if member in found:
                continue
            mark = marks.get(member, math.inf)
            cover = covers.get(member)
            if cover is not None:
                told = covered.values(table, cover, member)
                if told is not None and told[0] >= mark:
                    found[member] = told[1]
                    continue
            unread[member] = (read.key, mark)
    if unread:
        places = {member: where(member) for member in unread}
        yield [reading.FieldsRead(partition, (field,))
               for partition, field in places.values()]
        _take_records(tx, table, unread, places, found)
    return list(found.values())


def _take_records(tx, table, unread, places, found):
    """Add the rows that were read, and let their covers be written."""
    fresh = []
    for member, (slot, mark) in unread.items():
        partition, field = places[member]
        record = tx.views[partition].record(table, field)
        if record is None:
            continue
        found[member] = record
        own = Mark(slot, member)
        # That of a row that left might come when housekeeping has been there.
        if record.version >= mark and own in needed(
                tx.database, table, record.values, partition, field):
            fresh.append(covering(own, table.covered.cover(
                record.values, record.version)))
    tx.add_covers(fresh)
