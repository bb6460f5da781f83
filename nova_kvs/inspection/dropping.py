# SPDX-License-Identifier: Apache-2.0
"""Removes a database: its own keys, and nobody else's."""

import itertools

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import format as stored_format
from nova_kvs.store import operations

#: Keys removed in one round trip.
CHUNK = 500
#: Passes over the servers, for keys that came or moved meanwhile.
PASSES = 10


def drop(store, name, report=None):
    """Remove every key of a database.

    The schema goes first: whoever uses the database still gets errors then,
    instead of a part of the rows. A drop that was interrupted is completed
    by the next one.

    :param store: nova_kvs.store.base.Store.
    :param name: the database's name.
    :param report: called with the number of keys removed so far.
    :returns: the number of keys removed.
    :raises nova_kvs.exceptions.KVSError: if the store does not answer, or
        new keys come as fast as they are removed.
    """
    removed = _unlink(store, [stored_format.partition(name).key])
    pattern = keyspace.database_pattern(name)
    for _ in range(PASSES):
        found = False
        keys = store.scan(pattern)
        while chunk := list(itertools.islice(keys, CHUNK)):
            found = True
            removed += _unlink(store, chunk)
            if report is not None:
                report(removed)
        # A scan may miss a key whose slot moves to another server meanwhile.
        if not found:
            return removed
    raise exceptions.KVSError(
        "the database is still written to: stop its services and drop it "
        "again", database=name)


def _unlink(store, keys):
    return sum(store.batch(
        [operations.Delete(key) for key in keys]))
