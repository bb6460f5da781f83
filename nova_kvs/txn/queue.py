# SPDX-License-Identifier: Apache-2.0
"""The housekeeping queue: work that any process may do, some time later.

Items are leased, not removed, when they are taken: one whose process dies
comes back. So a handler may see an item twice, and must not mind.
"""

import itertools
import logging
import os
import random
import typing
import zlib

import msgpack

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations

#: How long a taken item belongs to who took it.
LEASE_MS = 60000

LOG = logging.getLogger(__name__)


class Item(typing.NamedTuple):
    """An item of the queue."""

    kind: bytes
    #: What was queued, as msgpack gives it back.
    value: object
    #: Key of its bucket and its bytes there.
    key: bytes
    member: bytes


class Queue:
    """The housekeeping queue of a database.

    :param store: nova_kvs.store.base.Store.
    :param database: the database's name.
    """

    def __init__(self, store, database):
        self._store = store
        self._keys = [keyspace.gc_key(database, bucket)
                      for bucket in range(keyspace.GC_BUCKETS)]
        self._handlers = {}
        self._turn = itertools.count(random.randrange(len(self._keys)))

    def register(self, kind, handler):
        """Set who handles the items of a kind.

        :param kind: bytes.
        :param handler: called with a list of queued values; when it returns
            they are removed, when it raises a KVSError they come back.
        """
        self._handlers[kind] = handler

    def item(self, kind, value):
        """Return a new item, to be put into the queue with ``add``.

        :param kind: bytes.
        :param value: whatever msgpack can pack.
        """
        # The random bytes keep the removal of one item from taking away an
        # equal one that was queued meanwhile.
        member = msgpack.packb((kind, value, os.urandom(8)))
        bucket = zlib.crc32(member) % len(self._keys)
        return Item(kind, value, self._keys[bucket], member)

    def add(self, item, due_in_ms):
        """Return the operation that puts an item into the queue.

        :param due_in_ms: when it is due, from when the store adds it.
        """
        return operations.Add(item.key, item.member, due_in_ms)

    def entry(self, kind, value, due_in_ms):
        """Return the operation that queues a value, as ``add``."""
        return self.add(self.item(kind, value), due_in_ms)

    def done(self, item):
        """Return the operation that removes an item."""
        return operations.Remove(item.key, item.member)

    def take(self, bucket, limit, lease_ms=LEASE_MS):
        """Return items of a bucket that are due; they are leased.

        :param bucket: 0 to ``keyspace.GC_BUCKETS`` - 1.
        :param limit: greatest number of items.
        """
        key = self._keys[bucket]
        members, = self._store.batch(
            (operations.LeaseTasks(key, limit, lease_ms),))
        items = []
        for member in members:
            kind, value, _ = msgpack.unpackb(member)
            items.append(Item(kind, value, key, member))
        return items

    def run(self, limit):
        """Do due work of the next bucket.

        :param limit: greatest number of items.
        :returns: number of items done.
        """
        return self._run_bucket(next(self._turn) % len(self._keys), limit)

    def run_all(self, limit=1000):
        """Do all due work of all buckets.

        :param limit: greatest number of items taken at once.
        :returns: number of items done.
        """
        total = 0
        for bucket in range(len(self._keys)):
            done = self._run_bucket(bucket, limit)
            while done:
                total += done
                done = self._run_bucket(bucket, limit)
        return total

    def _run_bucket(self, bucket, limit):
        kinds = {}
        for item in self.take(bucket, limit):
            kinds.setdefault(item.kind, []).append(item)
        done = []
        for kind, group in kinds.items():
            handler = self._handlers.get(kind)
            if handler is None:
                # Of a newer nova-kvs: its processes will do it.
                continue
            try:
                handler([item.value for item in group])
            except exceptions.KVSError as exc:
                LOG.warning("Housekeeping of %d items of kind %s will be "
                            "tried again: %s", len(group), kind.decode(), exc)
            else:
                done += group
        if done:
            self._store.batch([self.done(item) for item in done])
        return len(done)
