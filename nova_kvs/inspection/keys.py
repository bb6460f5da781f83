# SPDX-License-Identifier: Apache-2.0
"""Tells what a key is: the reverse of nova_kvs.keyspace."""

import enum
import typing
from urllib import parse

from nova_kvs import keyspace
from nova_kvs.record import partition_rules

_GLOBAL_INDEX = b"h"
_QUEUE = b"gc"
_COUNTER = b"id"
_INDEX_SUFFIX = b"x"
_FENCE_SUFFIX = b"w"
_OUTCOME_SUFFIX = b"t"
_OUTCOME_LENGTH = 1 + 2 * 16

#: Kinds of partitions that hold records of tables.
RECORD_KINDS = frozenset(
    kind.encode() for kind in (*partition_rules.LISTED,
                               partition_rules.TABLE))
_KINDS = RECORD_KINDS | {partition_rules.UNIQUE.encode(),
                         partition_rules.META.encode()}


class KeyType(enum.Enum):
    """The kinds of keys, by what they hold."""

    PARTITION = "partition"
    INDEX = "index"
    OUTCOME = "outcome"
    GLOBAL_INDEX = "global_index"
    #: Beside the entries, see nova_kvs.record.indexes.covering_index.
    MINIMUMS = "minimum_versions"
    INCLUDED = "included_columns"
    DIRECTORY = "directory"
    QUEUE = "queue"
    COUNTER = "counter"
    #: Written before WAIT, gone in a second.
    FENCE = "fence"
    UNKNOWN = "unknown"


class Key(typing.NamedTuple):
    """A key taken apart."""

    name: bytes
    type: KeyType
    #: Kind of the partition, or of those that a directory lists.
    kind: str = ""
    #: Key of the partition that an index or outcome belongs to.
    partition: bytes = b""
    #: Table of a counter.
    table: str = ""


#: By what comes behind the key of a bucket of a global index.
_BESIDE_ENTRIES = {b"": KeyType.GLOBAL_INDEX, b"v": KeyType.MINIMUMS,
                   b"c": KeyType.INCLUDED}


def classify(key, database):
    """Return a key taken apart.

    :param key: bytes that match ``keyspace.database_pattern(database)``.
    """
    head = keyspace.database_pattern(database)[:-1]
    end = key.find(b"}", len(head))
    if not key.startswith(head) or end < 0:
        return Key(key, KeyType.UNKNOWN)
    parts = key[len(head):end].split(b":")
    suffix = key[end + 1:]
    if parts[0] in _KINDS and len(parts) == 2:
        return _of_partition(key, parts[0].decode(), key[:end + 1], suffix)
    if suffix == _FENCE_SUFFIX:
        return Key(key, KeyType.FENCE)
    if parts[0] == _GLOBAL_INDEX and len(parts) == 3:
        index = parse.unquote(parts[1].decode("ascii", "replace"))
        if index.startswith("."):
            if not suffix:
                return Key(key, KeyType.DIRECTORY, kind=index[1:])
        elif suffix in _BESIDE_ENTRIES:
            return Key(key, _BESIDE_ENTRIES[suffix])
    if suffix:
        return Key(key, KeyType.UNKNOWN)
    if parts[0] == _QUEUE and len(parts) == 2:
        return Key(key, KeyType.QUEUE)
    if parts[0] == _COUNTER and len(parts) == 2:
        return Key(key, KeyType.COUNTER, table=parse.unquote(
            parts[1].decode("ascii", "replace")))
    return Key(key, KeyType.UNKNOWN)


def _of_partition(key, kind, partition, suffix):
    found = KeyType.UNKNOWN
    if not suffix:
        found = KeyType.PARTITION
    elif suffix == _INDEX_SUFFIX:
        found = KeyType.INDEX
    elif suffix == _FENCE_SUFFIX:
        found = KeyType.FENCE
    elif suffix.startswith(_OUTCOME_SUFFIX) and (
            len(suffix) == _OUTCOME_LENGTH):
        found = KeyType.OUTCOME
    return Key(key, found, kind, partition)


def transaction_of(outcome):
    """Return the id of the transaction whose outcome a Key is.

    :raises ValueError: if it is not one.
    """
    return bytes.fromhex(outcome.name[len(outcome.partition) + 1:].decode())


def table_of(field):
    """Return the name of the table that a field (r or u) belongs to.

    :returns: None for a field that is neither.
    """
    if field[:1] not in (keyspace.RECORD, keyspace.UNIQUE):
        return None
    name, separator, _ = field[1:].partition(b"\0")
    if not separator:
        return None
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
