# SPDX-License-Identifier: Apache-2.0
"""The housekeeping queue: work that any process may do, some time later.

Items are leased, not removed, when they are taken: one whose process dies
comes back. So a handler may see an item twice, and must not mind.
"""

import logging
import os
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

    def take(self, limit, lease_ms=LEASE_MS):
        """Return items that are due; they are leased.

        :param limit: greatest number of items of one bucket.
        """
        found = self._store.batch([
            operations.LeaseTasks(key, limit, lease_ms)
            for key in self._keys])
        items = []
        for key, members in zip(self._keys, found):
            for member in members:
                kind, value, _ = msgpack.unpackb(member)
                items.append(Item(kind, value, key, member))
        return items

    def run_all(self, limit=100):
        """Do all due work.

        :param limit: greatest number of items of one bucket taken at once.
        :returns: number of items done.
        """
        total = 0
        while done := self.run(limit):
            total += done
        return total

    def run(self, limit):
        """Do due work.

        :param limit: greatest number of items of one bucket.
        :returns: number of items done.
        """
        kinds = {}
        for item in self.take(limit):
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
