# SPDX-License-Identifier: Apache-2.0
"""The directory: an index of the partitions of a kind, for scans.

A transaction that inserts into a partition in which it saw no record adds a
member, which ends with random bytes of its own. So housekeeping can remove
those members that it saw before it found the partition empty, and no other.
"""

import zlib

from nova_kvs import keyspace
from nova_kvs.record.indexes import base
from nova_kvs.record import partition_rules


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


def member(partition, nonce):
    """Return the member that lists a partition.

    :param nonce: ``NONCE_BYTES`` random bytes of the transaction.
    """
    return partition.key + nonce


def range_of(partition):
    """Return the ends of the range of a partition's members."""
    return b"[" + partition.key, b"(" + partition.key + base.AFTER_TAIL


def partition_of(stored):
    """Return the partition that a stored member lists."""
    return keyspace.Partition(stored[:-base.NONCE_BYTES])
