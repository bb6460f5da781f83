# SPDX-License-Identifier: Apache-2.0
"""The kinds of reads; each makes a snapshot of the store's answer.

Each kind of read makes one operation of a batch and turns the reply into its
result; the intents that it meets are left to the coordinator. A result
``is_missing`` if a record that the read names is not there: of a replica
that may be behind this is not to be believed. Lists may lack what is new.
"""

import dataclasses
import typing

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.txn import mutation

_INTENT = keyspace.INTENT
_AFTER_INTENTS = bytes([_INTENT[0] + 1])
_FLOOR = keyspace.FLOOR_FIELD
_VERSION_BYTES = mutation.VERSION.size
_unpack_version = mutation.VERSION.unpack_from


class Cell(typing.NamedTuple):
    """The content of a field of a partition."""

    version: int
    payload: bytes


@dataclasses.dataclass(slots=True)
class Snapshot:
    """Fields of one partition, as they were together at one moment.

    :ivar floor: of the partition.
    :ivar stored: field -> what is stored there: version and payload.
    :ivar pairs: the reply that it was made of, if that had no intents: it
        may serve as that of another read, and so is not changed.
    """

    floor: int
    stored: dict
    pairs: list | None = dataclasses.field(
        default=None, repr=False, compare=False)

    @property
    def cells(self):
        """A new dict of field -> Cell."""
        return {field: _make_cell(value)
                for field, value in self.stored.items()}

    def cell(self, field):
        """Return the Cell of a field, or None."""
        value = self.stored.get(field)
        return None if value is None else _make_cell(value)

    def apply(self, field, head, data):
        """Put into it what a committed intent says.

        :param head: nova_kvs.txn.mutation.Intent.
        :param data: the intent as stored.
        """
        operation = head.operation
        if operation in (operations.PUT, operations.INSERT_ABOVE_FLOOR):
            self.stored[field] = mutation.VERSION.pack(
                head.version) + mutation.intent_payload(data)
        elif operation != operations.VALIDATE:
            self.stored.pop(field, None)
            if operation == operations.REMOVE_RAISING_FLOOR:
                self.floor = max(self.floor, head.version)


class Known(typing.Protocol):
    """The memory of an earlier read of a partition. Hashable."""

    snapshot: Snapshot


class Met(typing.NamedTuple):
    """An intent that a read met, and where it counts if committed."""

    snapshot: Snapshot
    partition: keyspace.Partition
    field: bytes
    data: bytes


def version_of(stored):
    """Return the version in what a field holds."""
    return _unpack_version(stored)[0]


def payload_of(stored):
    """Return the payload in what a field holds."""
    return stored[_VERSION_BYTES:]


def _make_cell(stored):
    return Cell(version_of(stored), payload_of(stored))


def _check(stored):
    """Raise if something cannot have a version.

    :param stored: dict, not empty.
    """
    shortest = min(map(len, stored.values()))
    if shortest < _VERSION_BYTES:
        raise exceptions.CorruptRecordError(
            "a stored record is too short to have a version",
            size_bytes=shortest)


def _make_snapshot(partition, pairs, met):
    # This runs for every partition that is read, and most have dozens of
    # fields: no Python for each of them.
    before = len(met)
    values = iter(pairs)
    stored = dict(zip(values, values))
    floor = stored.pop(_FLOOR, None)
    snapshot = Snapshot(
        0 if floor is None else int.from_bytes(floor, "big"), stored)
    if stored:
        # Records and unique keys sort behind intents.
        if min(stored) < _AFTER_INTENTS:
            for field in [field for field in stored
                          if field < _AFTER_INTENTS]:
                value = stored.pop(field)
                if field.startswith(_INTENT):
                    met.append(Met(snapshot, partition, field[1:], value))
        if stored:
            _check(stored)
    if len(met) == before:
        snapshot.pairs = pairs
    return snapshot


class PartitionRead(typing.NamedTuple):
    """Every record and unique key of a partition: a Snapshot.

    With ``prefixes``, only the fields that start with one of them. The
    ``snapshot`` of ``known`` is the result of an earlier read of all: it is
    that of this one, too, if the store answers what it answered then. To
    compare that is faster than to take it apart. ``must_exist``: the partition
    is a thing of its own, and empty only where there is no such thing.
    """

    partition: keyspace.Partition
    prefixes: tuple = ()
    known: Known | None = None
    must_exist: bool = False

    def item(self):
        """Return the operation that asks for it."""
        return operations.ReadPartition(self.partition.key, self.prefixes)

    def result(self, reply, met):
        """Return the result; appends to ``met`` the intents there."""
        known = self.known
        if known is not None and known.snapshot.pairs == reply:
            return known.snapshot
        return _make_snapshot(self.partition, reply, met)

    def is_missing(self, result):
        """Return whether what the read names was not there."""
        return self.must_exist and not result.stored


class FieldsRead(typing.NamedTuple):
    """Some fields of a partition, those that are there: a Snapshot."""

    partition: keyspace.Partition
    fields: tuple

    def item(self):
        """Return the operation that asks for it."""
        return operations.ReadFields(self.partition.key, self.fields)

    def result(self, reply, met):
        """Return the result; appends to ``met`` the intents there."""
        stored = {}
        floor = reply[0]
        snapshot = Snapshot(
            int.from_bytes(floor, "big") if floor else 0, stored)
        fields = self.fields
        at = 1
        for field in fields:
            value = reply[at]
            if value is not None:
                stored[field] = value
            at += 1
        if stored:
            _check(stored)
        for field in fields:
            value = reply[at]
            if value is not None:
                met.append(Met(snapshot, self.partition, field, value))
            at += 1
        return snapshot

    def is_missing(self, result):
        """Return whether what the read names was not there."""
        return not result.stored


class PresenceRead(typing.NamedTuple):
    """Read that tells if a field of a partition is there: a bool."""

    partition: keyspace.Partition
    field: bytes

    def item(self):
        """Return the operation that asks for it."""
        return FieldsRead(self.partition, (self.field,)).item()

    def result(self, reply, met):
        """Return the result; appends to ``met`` the intents there."""
        found = FieldsRead(self.partition, (self.field,)).result(reply, met)
        return self.field in found.stored


class Speculation(typing.NamedTuple):
    """The content of a partition that a transaction assumes unread.

    Its commit proves it: the script compares every byte.
    """

    #: PartitionRead of all that is not asked.
    read: PartitionRead
    #: Every field of the partition, the floor included, and no intent.
    fields: list
    #: The bytes in each of the fields.
    values: list

    @classmethod
    def of(cls, read):
        """Return the speculation that a read is answered as it was before.

        :param read: PartitionRead with ``known``.
        """
        pairs = read.known.snapshot.pairs
        return cls(read, pairs[::2], pairs[1::2])


class IndexRead(typing.NamedTuple):
    """Members of a partition's own index, and a Snapshot of their records.

    The result is ``(members, snapshot)``. ``ranges`` are pairs of the
    lowest and highest member, written as nova_kvs.store.operations says
    (``b"[x"``, ``b"(x"``, ``b"-"``, ``b"+"``). ``limit`` bounds the number
    of members over all ranges; ``reverse`` turns the order within each.
    ``must_exist``: the range names one record, by a unique key.
    """

    partition: keyspace.Partition
    ranges: tuple
    limit: int | None = None
    reverse: bool = False
    must_exist: bool = False

    def item(self):
        """Return the operation that asks for it."""
        partition = self.partition
        return operations.ReadIndex(
            partition.key, partition.index_key, self.ranges, self.limit,
            self.reverse)

    def result(self, reply, met):
        """Return the result; appends to ``met`` the intents there."""
        members, pairs = reply
        return members, _make_snapshot(self.partition, pairs, met)

    def is_missing(self, result):
        """Return whether what the read names was not there."""
        return self.must_exist and not result[0]


class ClockRead(typing.NamedTuple):
    """The time of the server that has a partition: ms since the epoch."""

    partition: keyspace.Partition

    def item(self):
        """Return the operation that asks for it."""
        return operations.ReadClock(self.partition.key)

    def result(self, reply, met):
        """Return the result."""
        return reply

    def is_missing(self, result):
        """Return False: there is always one."""
        return False


class MembersRead(typing.NamedTuple):
    """Members of one bucket of a global index: a list.

    Bounds, limit and order as for IndexRead. ``names`` is a function that
    returns the partition, the field and the version of the record that a
    member was written for; None: members are not of records. Of ``having``
    see ReadMembers.
    """

    key: bytes
    low: bytes
    high: bytes
    limit: int | None = None
    reverse: bool = False
    names: typing.Callable | None = None
    having: tuple = ()

    def item(self):
        """Return the operation that asks for it."""
        return operations.ReadMembers(*self[:5], self.having)

    def result(self, reply, met):
        """Return the result."""
        return reply

    def is_missing(self, result):
        """Return False: it is a list."""
        return False


class SideRead(typing.NamedTuple):
    """A read of what may not be wanted: whoever asks looks at it alone."""

    read: FieldsRead

    def item(self):
        """Return the operation that asks for it."""
        return self.read.item()

    def result(self, reply, met):
        """Return the read's result."""
        return self.read.result(reply, met)

    def is_missing(self, result):
        """Return whether what the read names was not there."""
        return self.read.is_missing(result)


class MinimumsRead(typing.NamedTuple):
    """The minimum versions beside a bucket: a dict of member -> version."""

    key: bytes

    def item(self):
        """Return the operation that asks for it."""
        return operations.ReadScores(self.key)

    def result(self, reply, met):
        """Return the result."""
        return reply

    def is_missing(self, result):
        """Return False: it is a list."""
        return False


class IncludedRead(typing.NamedTuple):
    """The included columns beside a bucket: a dict of member -> columns."""

    key: bytes

    def item(self):
        """Return the operation that asks for it."""
        return operations.ReadAll(self.key)

    def result(self, reply, met):
        """Return the result."""
        return reply

    def is_missing(self, result):
        """Return False: it is a list."""
        return False
