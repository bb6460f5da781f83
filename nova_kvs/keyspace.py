# SPDX-License-Identifier: Apache-2.0
"""Key grammar: the only module that joins key strings.

Invariant: no value that comes from outside can change a key's hash tag, end
its place in a key or in an index entry, or make two different values share
one.
"""

import binascii
import functools
import hashlib
import re
import struct
import typing
from urllib import parse

from nova_kvs import exceptions

PREFIX = b"kvs:"
#: Longest percent-encoded part of a key, bytes; a longer one is hashed.
MAX_PART_BYTES = 128
#: Bytes that are kept of a long component of an encoded tuple, in front of
#: its SHA-256 (32 bytes).
KEPT_COMPONENT_BYTES = 96
#: Longest component kept whole, bytes: shorter than a cut one, so that
#: neither can be mistaken for the other.
MAX_COMPONENT_BYTES = KEPT_COMPONENT_BYTES + 31
#: Longest encoded text that is surely whole, and in its exact place among
#: those that are cut.
LONGEST_WHOLE_BYTES = 1 + KEPT_COMPONENT_BYTES + 2
#: Buckets of the housekeeping queue of a database.
GC_BUCKETS = 16

FLOOR_FIELD = b"f"
RECORD = b"r"
UNIQUE = b"u"
INTENT = b"i"

_DATABASE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SAFE = "-_."
_ALL_SAFE = re.compile(rb"[A-Za-z0-9_.-]*")

_pack_float = struct.Struct(">d").pack
_pack_number = struct.Struct(">QH").pack
_POSITIVE = 1 << 63
#: Below it a float has every integer.
_EXACT = 2 ** 53

_NULL = b"\x01"
_NUMBER = b"\x02"
_TEXT = b"\x03"
_BYTES = b"\x04"
_END = b"\x00\x01"


def check_database_name(name):
    """Return a database's name if it can be one.

    :raises nova_kvs.exceptions.ConfigurationError: if it cannot.
    """
    if not name or not _DATABASE_NAME.fullmatch(name):
        raise exceptions.ConfigurationError(
            "a database name is 1 to 64 of the characters A-Z a-z 0-9 _ . - "
            "and is the last part of the URL", name=name)
    return name


def quote(part):
    """Return text or bytes as one part of a key.

    :param part: str or bytes, of any length and content.
    :returns: at most ``MAX_PART_BYTES`` bytes out of ``A-Za-z0-9_.-%~``.
    """
    if isinstance(part, str):
        part = part.encode("utf-8", "surrogatepass")
    if len(part) <= MAX_PART_BYTES and _ALL_SAFE.fullmatch(part):
        # As it is: a UUID, and most of what comes here.
        return bytes(part)
    # urllib leaves "~" as it is; here it marks a hashed part.
    quoted = parse.quote_from_bytes(part, safe=_SAFE).replace(
        "~", "%7E").encode("ascii")
    if len(quoted) > MAX_PART_BYTES:
        return b"~" + hashlib.sha256(part).hexdigest().encode("ascii")
    return quoted


class Partition(typing.NamedTuple):
    """The unit that is read and written atomically: one Redis hash."""

    key: bytes

    @property
    def index_key(self):
        """Key of the partition's own index, a sorted set."""
        return self.key + b"x"

    def outcome_key(self, txn_id):
        """Key of the outcome of a transaction whose primary this is."""
        return self.key + b"t" + binascii.hexlify(txn_id)


@functools.lru_cache(maxsize=16384)
def partition(database, kind, value):
    """Return the partition of a database that has this kind and value.

    :param kind: short constant of the record layer: ``s``, ``t``, ``u`` ...
    :param value: str or bytes.
    """
    return Partition(b"%s{%s:%s:%s}" % (
        PREFIX, quote(database), quote(kind), quote(value)))


def outcome_partition(database, txn_id):
    """Return a partition without records, for a transaction's outcome.

    For one that has intents in all partitions that it writes. There are 256
    of them, to be on all servers.
    """
    return partition(database, "m", "outcomes%02x" % txn_id[0])


def bucket_key(database, index, bucket):
    """Return the key of one bucket of a global index.

    :param index: ``<table>.<name>``.
    :param bucket: str or bytes that tells the bucket.
    """
    return b"%s%s}" % (_bucket_head(database, index), quote(bucket))


@functools.lru_cache(maxsize=1024)
def _bucket_head(database, index):
    return b"%s{%s:h:%s:" % (PREFIX, quote(database), quote(index))


def is_global_index(key):
    """Return whether a key is that of one slice of a global index."""
    return b":h:" in key and key.endswith(b"}")


def minimums_key(bucket):
    """Return the key of the minimum versions beside a bucket.

    :param bucket: the bucket's key.
    """
    return bucket + b"v"


def included_key(bucket):
    """Return the key of the included columns beside a bucket."""
    return bucket + b"c"


def bucket_beside(beside):
    """Return the key of the bucket of minimum versions or included columns.
    """
    return beside[:-1]


def gc_key(database, bucket):
    """Return the key of one bucket of the housekeeping queue."""
    return b"%s{%s:gc:%d}" % (PREFIX, quote(database), bucket)


def counter_key(database, table):
    """Return the key of a table's id counter."""
    return b"%s{%s:id:%s}" % (PREFIX, quote(database), quote(table))


def fence_key(key):
    """Return a key of the same hash slot that holds no data.

    It is written in front of WAIT: see nova_kvs.store.redis.fence.
    """
    return key[:key.index(b"}") + 1] + b"w"


def database_of(key):
    """Return the name of the database that a key belongs to."""
    return key.partition(b"{")[2].partition(b":")[0].decode()


def database_pattern(database):
    """Return the SCAN pattern that matches every key of a database."""
    return b"%s{%s:*" % (PREFIX, quote(database))


def record_field(table, key):
    """Return the field of a record.

    :param key: tuple of primary-key values.
    """
    return b"%s%s\0%s" % (RECORD, table.encode(), encode_tuple(key))


def record_prefix(table):
    """Return what the fields of all records of a table start with."""
    return b"%s%s\0" % (RECORD, table.encode())


def unique_field(table, name, values):
    """Return the field of a unique key."""
    return b"%s%s\0%s\0%s" % (
        UNIQUE, table.encode(), name.encode(), encode_tuple(values))


def intent_field(field):
    """Return the field of the intent on a record or unique key."""
    return INTENT + field


def slot(key):
    """Return a key's hash slot, 0 to 16383.

    :source: Redis Cluster specification, "Hash tags"; CRC16 is XMODEM's.
    """
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1:end]
    return binascii.crc_hqx(key, 0) % 16384


def _encode_number(value):
    """Return a sortable encoding in which 1 and 1.0 are the same bytes.

    A float's eight bytes, sign-adjusted, order all numbers that a float
    holds exactly; the distance to an integer that it does not hold follows
    as a second field.
    """
    if type(value) is int and 0 <= value < _EXACT:
        # Nearly all of them: ids and flags.
        return _NUMBER + _pack_number(
            int.from_bytes(_pack_float(value), "big") | _POSITIVE, 0x8000)
    if isinstance(value, float) and value != value:
        return _NULL  # SQLite stores NaN as NULL.
    nearest = float(value) + 0.0  # -0.0 equals 0.0
    rest = 0
    if isinstance(value, int):
        if not -2 ** 63 <= value < 2 ** 63:
            raise OverflowError("an integer of a key has at most 64 bits")
        rest = value - int(nearest)
    bits = int.from_bytes(_pack_float(nearest), "big")
    bits = bits ^ (0xFFFFFFFFFFFFFFFF if bits >> 63 else _POSITIVE)
    return _NUMBER + _pack_number(bits, rest + 0x8000)


def _encode_string(kind, value):
    if len(value) > MAX_COMPONENT_BYTES:
        value = (value[:KEPT_COMPONENT_BYTES]
                 + hashlib.sha256(value).digest())
    return kind + value.replace(b"\0", b"\0\xff") + _END


def encode_tuple(values):
    """Return column values as bytes that sort as SQLite sorts them.

    Self-delimiting: the encoding of a prefix of a tuple is a prefix of the
    tuple's encoding, and no other tuple's.

    :param values: None, bool, int, float, str or bytes each.
    :raises TypeError: for a value of any other type.
    :raises OverflowError: for an integer of more than 64 bits, which SQLite
        does not store either.
    """
    out = []
    for value in values:
        if isinstance(value, str):
            out.append(_encode_string(
                _TEXT, value.encode("utf-8", "surrogatepass")))
        elif value is None:
            out.append(_NULL)
        elif isinstance(value, (int, float)):
            out.append(_encode_number(value))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            out.append(_encode_string(_BYTES, bytes(value)))
        else:
            raise TypeError("cannot be part of a key: %s" % type(value))
    return b"".join(out)
