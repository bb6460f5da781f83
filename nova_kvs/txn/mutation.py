# SPDX-License-Identifier: Apache-2.0
"""Changes of a transaction, and their stored form while in flight."""

import struct
import time
import typing

from nova_kvs.store import operations

VERSION = struct.Struct(">Q")


class _Marker:
    def __init__(self, name):
        self._name = name

    def __repr__(self):
        return self._name


#: Value of a mutation that removes the record.
DELETE = _Marker("DELETE")
#: Value of a mutation that only validates the version read (FOR UPDATE).
LOCK = _Marker("LOCK")


class Mutation:
    """One change of one field of a partition.

    :param partition: nova_kvs.keyspace.Partition.
    :param field: bytes: of a record or a unique key.
    :param expected: version that was read; 0: the field must be absent.
    :param value: the new payload (bytes, without the version), ``DELETE``
        or ``LOCK``.
    :param index_add: members of the partition's own index (bytes) that the
        record needs from now on and does not have. They must not be ones
        that it has now, unless ``index_remove`` names them too: a roll back
        takes them out again.
    :param index_remove: members that it does not need any more.
    :param uses_floor: whether global index entries carry the record's
        version: a delete then raises the partition's floor, and an insert
        must be above it.
    :param version: version of an insert; the default is 1 if it
        ``uses_floor``, and else drawn from the clock, so that a record
        which is deleted and inserted again is not taken for the old one.
    :param duplicate: function that makes the DuplicateKeyError to raise
        when ``expected`` is 0 and the field is there.
    """

    __slots__ = ("partition", "field", "expected", "value", "index_add",
                 "index_remove", "uses_floor", "version", "duplicate")

    def __init__(self, partition, field, expected, value, *, index_add=(),
                 index_remove=(), uses_floor=False, version=None,
                 duplicate=None):
        self.partition = partition
        self.field = field
        self.expected = expected
        self.value = value
        self.index_add = index_add
        self.index_remove = index_remove
        self.uses_floor = uses_floor
        self.version = version
        self.duplicate = duplicate

    def __repr__(self):
        kind = self.value if isinstance(self.value, _Marker) else "PUT"
        return "<Mutation %s %r %r expected=%d>" % (
            kind, self.partition.key, self.field, self.expected)

    def operation(self):
        """Return the kind of change, the new version and the payload.

        The version is 0 after a delete; the kinds are
        nova_kvs.store.operations's.
        """
        value = self.value
        if value is DELETE:
            return (operations.REMOVE_RAISING_FLOOR if self.uses_floor
                    else operations.REMOVE), 0, b""
        expected = self.expected
        if value is LOCK:
            return operations.VALIDATE, expected, b""
        if expected:
            return operations.PUT, expected + 1, value
        if self.uses_floor:
            return (operations.INSERT_ABOVE_FLOOR, self.version or 1,
                    value)
        return (operations.PUT, self.version or time.time_ns() // 1000,
                value)

    def index_changes(self):
        """Return the index members to add and those to remove.

        One that is in both stays as it is.
        """
        add, remove = self.index_add, self.index_remove
        if add and remove:
            kept = set(add).intersection(remove)
            if kept:
                add = [member for member in add if member not in kept]
                remove = [member for member in remove if member not in kept]
        return add, remove


_START = slice(0, 16)
_ID = slice(16, 32)
_OPERATION = slice(32, 33)
_VERSION = slice(33, 41)
_PRIMARY_AT = 41
_LENGTH = struct.Struct(">H")


class Intent(typing.NamedTuple):
    """The head of a stored intent."""

    #: Start of its life, ms by the clock of the server that holds it.
    start_ms: int
    txn_id: bytes
    operation: bytes
    version: int
    #: Key of the primary partition.
    primary: bytes

    @classmethod
    def parse(cls, data):
        """Return the head of an intent as the store has it."""
        start = _PRIMARY_AT + 2
        length, = _LENGTH.unpack_from(data, _PRIMARY_AT)
        return cls(int(data[_START]), data[_ID], data[_OPERATION],
                   VERSION.unpack(data[_VERSION])[0],
                   data[start:start + length])


def pack_intent(txn_id, operation, version, primary, add, remove, payload):
    """Return an intent as Prewrite takes it, without its start.

    :param version: the new one; of a delete the one that it deletes.
    :param primary: key of the primary partition.
    :param add: index members that a roll back removes.
    :param remove: index members that applying removes.
    """
    parts = [txn_id, operation, VERSION.pack(version),
             _LENGTH.pack(len(primary)), primary]
    for members in (add, remove):
        parts.append(_LENGTH.pack(len(members)))
        for member in members:
            parts.append(_LENGTH.pack(len(member)))
            parts.append(member)
    parts.append(payload)
    return b"".join(parts)


def intent_payload(data):
    """Return the payload of an intent as the store has it."""
    at = _PRIMARY_AT
    at += 2 + _LENGTH.unpack_from(data, at)[0]
    for _ in range(2):
        count, = _LENGTH.unpack_from(data, at)
        at += 2
        for _ in range(count):
            at += 2 + _LENGTH.unpack_from(data, at)[0]
    return data[at:]
