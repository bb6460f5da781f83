# SPDX-License-Identifier: Apache-2.0
"""The directory: an index of the partitions of a kind, for scans.

A transaction that inserts into a partition in which it saw no record adds a
member, which ends with random bytes of its own. So housekeeping can remove
those members that it saw before it found the partition empty, and no other.

A *partial directory* lists the partitions that hold rows of one part of the
tables: rows that are marked as deleted, by the column ``deleted`` or by
``deleted_at``, which an archive looks for, or archived ones, which a purge
does. Each transaction that gives a partition
such a row adds a member, whatever it has read; one that takes such a row away
has the partition checked. A table of one partition is listed once, by a member
without random bytes, and stays listed: to look at all of it with each change
would cost more than an archive that finds nothing there.
"""

import zlib

from nova_kvs import keyspace
from nova_kvs.record.indexes import base
from nova_kvs.record import partition_rules
from nova_kvs.store import operations

#: Parts: rows marked as deleted in the tables proper, and archived rows.
DELETED = "deleted"
SHADOW = "shadow"
#: Columns that mark a row as deleted: its id or NULL, and a time.
MARKS = ("deleted", "deleted_at")
#: Between the kind of partitions and the part, in the kind of a directory.
_SEPARATOR = "."
#: Ends the only member of a whole table.
_NO_NONCE = bytes(base.NONCE_BYTES)


def part_of(table, row):
    """Return the part that a row belongs to, or None.

    :param table: nova_kvs.record.schema.Table.
    :param row: dict without Nones.
    """
    if table.is_shadow:
        return SHADOW
    # As SQL compares: what is NULL differs from nothing.
    return DELETED if row.get("deleted", 0) != 0 or (
        "deleted_at" in row) else None


def partial(kind, part):
    """Return the kind of the directory of a part.

    :param kind: of the partitions.
    """
    return kind + _SEPARATOR + part


def split(kind):
    """Return the kind of partitions and the part ("": all) of a directory.
    """
    kind, _, part = kind.partition(_SEPARATOR)
    return kind, part


def bucket_key(database, kind, bucket):
    """Return the key of one bucket of the directory of a kind.

    The name of an index has a table before the dot: this has none.
    """
    return keyspace.bucket_key(database, "." + kind, str(bucket))


def bucket_keys(database, kind):
    """Return the keys of all buckets."""
    return [bucket_key(database, kind, bucket)
            for bucket in range(partition_rules.DIRECTORY_BUCKETS)]


def key_of(database, kind, partition):
    """Return the key of the bucket that lists a partition."""
    return bucket_key(
        database, kind,
        zlib.crc32(partition.key) % partition_rules.DIRECTORY_BUCKETS)


def adding(database, kind, partition, nonce=_NO_NONCE):
    """Return the operation that lists a partition.

    :param database: its name.
    :param nonce: ``NONCE_BYTES`` random bytes of the transaction; by default
        the bytes of the only member of a whole table.
    """
    return operations.Add(
        key_of(database, kind, partition), partition.key + nonce)


def range_of(partition):
    """Return the ends of the range of a partition's members."""
    return b"[" + partition.key, b"(" + partition.key + base.AFTER_TAIL


def is_listed(partition, listed):
    """Tell whether a member among those in its range lists a partition."""
    length = len(partition.key) + base.NONCE_BYTES
    return any(len(stored) == length for stored in listed)


def partition_of(stored):
    """Return the partition that a stored member lists."""
    return keyspace.Partition(stored[:-base.NONCE_BYTES])
