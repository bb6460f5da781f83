# SPDX-License-Identifier: Apache-2.0
"""The housekeeping queue: work that any process may do, some time later.

Tasks are leased, not removed: one whose process dies comes back. So a handler
may see a task twice, and must not mind.
"""

import collections
import logging
import os
import time
import typing
import zlib

import msgpack

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations

#: Milliseconds for which a leased task belongs to its process.
LEASE_MS = 60000

LOG = logging.getLogger(__name__)


class Task(typing.NamedTuple):
    """A task in the queue."""

    kind: bytes
    #: The value that was queued, as msgpack gives it back.
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
        #: (when asked for, each bucket's members), of ``post_lease``.
        self._leased = collections.deque()

    def register(self, kind, handler):
        """Set who handles the tasks of a kind.

        :param kind: bytes.
        :param handler: called with a list of queued values; when it returns
            they are removed, when it raises a KVSError they come back.
        """
        self._handlers[kind] = handler

    def task(self, kind, value):
        """Return a new Task, to be put into the queue with ``add``.

        :param kind: bytes.
        :param value: whatever msgpack can pack.
        """
        # The random bytes keep the removal of one task from taking away an
        # equal one that was queued meanwhile.
        member = msgpack.packb((kind, value, os.urandom(8)))
        bucket = zlib.crc32(member) % len(self._keys)
        return Task(kind, value, self._keys[bucket], member)

    def add(self, task, due_in_ms):
        """Return the operation that puts a task into the queue.

        :param due_in_ms: when it is due, from when the store adds it.
        """
        return operations.Add(task.key, task.member, due_in_ms)

    def enqueue(self, kind, value, due_in_ms):
        """Return the operation that queues a value, as ``add``."""
        return self.add(self.task(kind, value), due_in_ms)

    def remove(self, task):
        """Return the operation that removes a task."""
        return operations.Remove(task.key, task.member)

    def lease(self, limit, lease_ms=LEASE_MS):
        """Return tasks that are due; they are leased.

        :param limit: greatest number of tasks of one bucket.
        """
        return self._tasks(self._store.batch(self._leases(limit, lease_ms)))

    def post_lease(self, limit, arrived):
        """Ask for tasks that are due, for ``run_leased``; wait for nothing.

        :param limit: greatest number of tasks of one bucket.
        :param arrived: called, perhaps by another thread, if there are some.
        """
        asked_at = time.monotonic()

        def take(found):
            if any(found):
                self._leased.append((asked_at, found))
                arrived()

        self._store.post(self._leases(limit, LEASE_MS), take)

    @property
    def has_leased(self):
        """Return whether there is something for ``run_leased``."""
        return bool(self._leased)

    def run_leased(self):
        """Do the tasks that were leased by ``post_lease`` and have come.

        Nobody waits until they are removed: one that stays comes back.

        :returns: number of tasks done.
        """
        done = []
        while self._leased:
            try:
                asked_at, found = self._leased.popleft()
            except IndexError:  # Another thread was faster.
                break
            if time.monotonic() < asked_at + LEASE_MS / 1000:
                done += self._do(self._tasks(found))
        if done:
            self._store.post([self.remove(task) for task in done],
                             lambda replies: None)
        return len(done)

    def _leases(self, limit, lease_ms):
        return [operations.LeaseTasks(key, limit, lease_ms)
                for key in self._keys]

    def _tasks(self, found):
        tasks = []
        for key, members in zip(self._keys, found):
            for member in members:
                kind, value, _ = msgpack.unpackb(member)
                tasks.append(Task(kind, value, key, member))
        return tasks

    def run_all(self, limit=100):
        """Do all due work.

        :param limit: greatest number of tasks of one bucket leased at once.
        :returns: number of tasks done.
        """
        total = 0
        while done := self.run(limit):
            total += done
        return total

    def run(self, limit):
        """Do due work.

        :param limit: greatest number of tasks of one bucket.
        :returns: number of tasks done.
        """
        done = self._do(self.lease(limit))
        if done:
            self._store.batch([self.remove(task) for task in done])
        return len(done)

    def _do(self, tasks):
        """Return those tasks that could be done."""
        kinds = {}
        for task in tasks:
            kinds.setdefault(task.kind, []).append(task)
        done = []
        for kind, group in kinds.items():
            handler = self._handlers.get(kind)
            if handler is None:
                # Of a newer nova-kvs: its processes will do it.
                continue
            try:
                handler([task.value for task in group])
            except exceptions.KVSError as exc:
                LOG.warning("Housekeeping of %d tasks of kind %s will be "
                            "tried again: %s", len(group), kind.decode(), exc)
            else:
                done += group
        return done
