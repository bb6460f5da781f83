# SPDX-License-Identifier: Apache-2.0
"""Reads all of a database, in pieces of bounded size.

Nothing here is a snapshot: what changes meanwhile may be seen before, after,
twice or in part. Whoever needs to be sure looks again.
"""

import collections
import itertools
import typing

from nova_kvs.inspection import keys as key_types
from nova_kvs import keyspace
from nova_kvs.record.indexes import directory
from nova_kvs.record import partition_rules
from nova_kvs.store import operations
from nova_kvs.txn import reading

#: Keys that are read in one round trip.
CHUNK = 200
#: Fields or members of one key that are read in one round trip.
PIECE = 1000

_PAGES = {
    key_types.KeyType.PARTITION: operations.PageFields,
    key_types.KeyType.INDEX: operations.PageMembers,
    key_types.KeyType.GLOBAL_INDEX: operations.PageMembers,
    key_types.KeyType.MINIMUMS: operations.PageMembers,
    key_types.KeyType.INCLUDED: operations.PageFields,
    key_types.KeyType.DIRECTORY: operations.PageMembers,
    key_types.KeyType.QUEUE: operations.PageMembers,
}


class Piece(typing.NamedTuple):
    """Some of what a key holds."""

    key: key_types.Key
    #: Pairs of field and value, or of member and score.
    pairs: list


def keys(store, database):
    """Yield lists of the Keys of a database."""
    found = store.scan(keyspace.database_pattern(database))
    while chunk := list(itertools.islice(found, CHUNK)):
        yield [key_types.classify(key, database) for key in chunk]


def pieces(store, wanted):
    """Yield what keys hold, as lists of Pieces read in one round trip.

    Hashes and sorted sets only; a small one comes whole.

    :param wanted: list of Keys.
    """
    cursors = [(key, None) for key in wanted if key.type in _PAGES]
    while cursors:
        replies = store.batch([
            _PAGES[key.type](key.name, cursor, PIECE)
            for key, cursor in cursors])
        yield [Piece(key, pairs)
               for (key, _), (_, pairs) in zip(cursors, replies)]
        cursors = [(key, cursor) for (key, _), (cursor, _) in zip(
            cursors, replies) if cursor is not None]


def partitions(store, database, tables):
    """Yield lists of the partitions that hold records, each one once.

    As a scan of a table finds them: the store itself may give a key twice.

    :param tables: names of the tables of the schema.
    """
    found = [keyspace.partition(database, partition_rules.TABLE, name)
             for name in tables]
    for kind in partition_rules.LISTED:
        for bucket in directory.bucket_keys(database, kind):
            low = b"-"
            while True:
                members, = store.batch([operations.ReadMembers(
                    bucket, low, b"+", PIECE)])
                if not members:
                    break
                low = b"(" + members[-1]
                for member in members:
                    partition = directory.partition_of(member)
                    # Several entries of one are neighbours.
                    if not found or partition != found[-1]:
                        found.append(partition)
                while len(found) > CHUNK:
                    yield found[:CHUNK]
                    del found[:CHUNK]
    if found:
        yield found


def counts(database, tables, report=None):
    """Return the number of records of each table.

    :param database: nova_kvs.record.database.Database.
    :param tables: names of the tables of the schema.
    :param report: called with the number of partitions seen so far.
    """
    found = collections.Counter()
    seen = 0
    for chunk in partitions(database.store, database.name, tables):
        unsettled = []
        for partition, fields in zip(chunk, database.store.batch([
                operations.ListFields(partition.key) for partition in chunk])):
            records, intents = _records_of(fields)
            found.update(map(key_types.table_of, records))
            if intents:
                unsettled.append(reading.FieldsRead(
                    partition, tuple(intents)))
        # What a transaction left on its way counts as its outcome says.
        if unsettled:
            for snapshot in database.coordinator.read(unsettled):
                found.update(map(key_types.table_of, snapshot.cells))
        seen += len(chunk)
        if report is not None:
            report(seen)
    return found


def _records_of(fields):
    """Return the sets of those records of a partition that have no intent,
    and of those that have one.
    """
    intents = {field[1:] for field in fields
               if field[:1] == keyspace.INTENT
               and field[1:2] == keyspace.RECORD}
    return {field for field in fields
            if field[:1] == keyspace.RECORD} - intents, intents
