# SPDX-License-Identifier: Apache-2.0
"""From rows to index entries, hints, unique keys and directory entries.

Invariant: whatever ``load`` looks for under a column value, the entry that
these functions made for a row with that value is found there.
"""

import struct
import typing
import zlib

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import partition_rules

_LENGTHS = struct.Struct(">HH")
_FIELD_LENGTH = struct.Struct(">H")
_VERSION = struct.Struct(">Q")
NONCE_BYTES = 4
#: Bytes of a stored hint behind ``Hint.prefix``.
MEMBER_TAIL_BYTES = _VERSION.size + NONCE_BYTES
_TAIL_BYTES = _LENGTHS.size + MEMBER_TAIL_BYTES
#: Sorts behind all that goes on with an encoded tuple or a field.
AFTER = b"\xff"
#: Sorts behind all that goes on with a version or random bytes.
AFTER_TAIL = b"\xff" * 9


class Hint(typing.NamedTuple):
    """One entry of an index across partitions, but for its version."""

    key: bytes
    #: Encoded columns, partition, field and the lengths of the latter two.
    prefix: bytes


def text_of(value):
    """Return a column's value as the text that names a partition or slot.

    Not unique over types: what shares a partition or slot is told apart
    inside.
    """
    if type(value) is str or type(value) is bytes:
        return value
    return str(value)


# Inside of one partition ----------------------------------------------------

def inner_prefix(index, values):
    """Return what the entries of an index with these first values begin
    with.
    """
    return index.name.encode() + b"\0" + keyspace.encode_tuple(values)


def inner_entry(index, values, field):
    """Return the entry of a row in an index of its own partition.

    :param values: the row, dict without Nones.
    """
    return b"%s%s%s" % (
        inner_prefix(index, [values.get(column) for column in index.columns]),
        field, _FIELD_LENGTH.pack(len(field)))


def inner_columns(index, stored):
    """Return the encoded columns of a stored entry."""
    field, = _FIELD_LENGTH.unpack_from(
        stored, len(stored) - _FIELD_LENGTH.size)
    return stored[len(index.name.encode()) + 1:
                  len(stored) - _FIELD_LENGTH.size - field]


def inner_field(stored):
    """Return the field of the record that a stored entry names."""
    end = len(stored) - _FIELD_LENGTH.size
    field, = _FIELD_LENGTH.unpack_from(stored, end)
    return stored[end - field:end]


# Across partitions ----------------------------------------------------------

def covers(index, values):
    """Tell whether rows that have these values are in a hint index.

    :param values: dict that has at least the index's first column; a row
        or the values that are looked for.
    """
    if values.get(index.columns[0]) is None:
        return False
    return index.only is None or values.get(index.only[0]) == index.only[1]


def hint_of(database, table, index, values, partition, field):
    """Return the hint of a row, or None if the index does not hold it."""
    if not covers(index, values):
        return None
    columns = keyspace.encode_tuple(
        [values.get(column) for column in index.columns])
    where = partition.key + field
    return Hint(
        slot_of(database, table, index, values, where),
        b"%s%s%s" % (columns, where,
                     _LENGTHS.pack(len(partition.key), len(field))))


def slot_of(database, table, index, values, where):
    """Return the key of the slot of a hint index that a row is in.

    :param where: the partition's key and the field, joined.
    """
    bucket = zlib.crc32(where) % index.buckets if index.buckets > 1 else 0
    return slot_key(
        database, table, index, values[index.columns[0]], bucket)


def slot_key(database, table, index, value, bucket):
    """Return the key of one slot of a hint index."""
    slot = text_of(value)
    if index.buckets > 1:
        suffix = ".%d" % bucket
        slot += suffix.encode() if type(slot) is bytes else suffix
    return keyspace.hint_key(
        database, "%s.%s" % (table.name, index.name), slot)


def slot_keys(database, table, index, value):
    """Return the keys of all slots that may have rows of one first value."""
    return [slot_key(database, table, index, value, bucket)
            for bucket in range(index.buckets)]


def member(hint, version, nonce):
    """Return a hint as it is stored.

    :param nonce: ``NONCE_BYTES`` random bytes of the transaction.
    """
    return hint.prefix + _VERSION.pack(version) + nonce


def partition_of(stored):
    """Return the partition that a stored hint names."""
    where, field = _LENGTHS.unpack_from(stored, len(stored) - _TAIL_BYTES)
    end = len(stored) - _TAIL_BYTES - field
    return keyspace.Partition(stored[end - where:end])


def field_of(stored):
    """Return the field of the record that a stored hint names."""
    _, field = _LENGTHS.unpack_from(stored, len(stored) - _TAIL_BYTES)
    end = len(stored) - _TAIL_BYTES
    return stored[end - field:end]


def version_of(stored):
    """Return the version of a stored hint."""
    return _VERSION.unpack_from(stored, len(stored) - MEMBER_TAIL_BYTES)[0]


def where_of(stored):
    """Return the partition's key and the field that a stored hint names,
    joined.
    """
    end = len(stored) - _TAIL_BYTES
    where, field = _LENGTHS.unpack_from(stored, end)
    return stored[end - field - where:end]


def columns_of(stored):
    """Return the encoded columns of a stored hint."""
    where, field = _LENGTHS.unpack_from(stored, len(stored) - _TAIL_BYTES)
    return stored[:len(stored) - _TAIL_BYTES - field - where]


# Unique keys ----------------------------------------------------------------

def unique_values(unique, values):
    """Return a row's values of a unique key, or None if it has none."""
    found = tuple([values.get(column) for column in unique.columns])
    return None if None in found else found


def unique_partition(database, table, unique, value):
    """Return the partition of unique keys that begin with a value."""
    name = "%s.%s." % (table.name, unique.name)
    text = text_of(value)
    return keyspace.partition(
        database, partition_rules.UNIQUE,
        name.encode() + text if type(text) is bytes else name + text)


def owner_payload(unique, partition, field):
    """Return the payload of a unique key: where its owner is."""
    return codec.encode_list(
        [field] if unique.inside else [field, partition.key])


def owner_partition(unique_field, payload):
    """Return the partition of the owner of a unique key.

    :param payload: of a unique key outside of its owner's partition.
    :raises nova_kvs.exceptions.CorruptRecordError: if it does not decode.
    """
    key = codec.decode_list(payload, unique_field, 2)[1]
    if type(key) is not bytes:
        raise exceptions.CorruptRecordError(field=unique_field)
    return keyspace.Partition(key)


# Directory ------------------------------------------------------------------

def directory_key(database, kind, bucket):
    """Return the key of one slice of the list of partitions of a kind.

    The name of an index has a table before the dot: this has none.
    """
    return keyspace.hint_key(database, "." + kind, str(bucket))


def directory_keys(database, kind):
    """Return the keys of all slices."""
    return [directory_key(database, kind, bucket)
            for bucket in range(partition_rules.DIRECTORY_BUCKETS)]


def directory_key_of(database, kind, partition):
    """Return the key of the slice that lists a partition."""
    return directory_key(
        database, kind,
        zlib.crc32(partition.key) % partition_rules.DIRECTORY_BUCKETS)


def directory_member(partition, nonce):
    """Return the member that lists a partition.

    :param nonce: ``NONCE_BYTES`` random bytes of the transaction.
    """
    return partition.key + nonce


def listed_partition(stored):
    """Return the partition of a directory's member."""
    return keyspace.Partition(stored[:-NONCE_BYTES])
