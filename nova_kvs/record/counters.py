# SPDX-License-Identifier: Apache-2.0
"""The counters that give out the ids of new rows, in blocks.

Invariant: no id is given out twice, nor one that a row of the table has.
"""

import os
import threading
import time

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations

#: Ids of a table that a process takes at first. A block that lasts shorter
#: than this is followed by one of twice its size, up to so many times it.
FIRST_BLOCK = 20
BUSY_BLOCK_S = 10
LARGEST_BLOCK = 64


class Counters:
    """The counters of a database, as one process uses them. Thread-safe.

    :param store: nova_kvs.store.base.Store.
    :param name: the database's name.
    :param block: ids that are taken at first.
    :param replicas: number of them that must know of a block before its
        ids are used. :param replica_timeout_ms: time that they have for it.
    """

    def __init__(self, store, name, block, replicas, replica_timeout_ms):
        self._store = store
        self._name = name
        self._block = block
        self._replicas = replicas
        self._replica_timeout_ms = replica_timeout_ms
        #: Table's name -> [next id, the first that is not of the block].
        self._ids = {}
        #: Table's name -> (size of the last block, when it was taken).
        self._blocks = {}
        #: Table's name -> value that the counter has at least.
        self._tops = {}
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def next(self, table_name, count=1):
        """Return the first of consecutive new ids of a table.

        They come from blocks that the process takes from the store, so ids
        of several processes interleave, and some are never used. A process
        that uses many takes larger blocks.

        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer.
        """
        if self._pid != os.getpid():
            # Forked: the parent goes on using its blocks, and a thread of
            # it may have held the lock.
            self._ids = {}
            self._lock = threading.Lock()
            self._pid = os.getpid()
        first = None
        while first is None:
            with self._lock:
                block = self._ids.get(table_name)
                if block is not None and block[1] - block[0] >= count:
                    first = block[0]
                    block[0] += count
            if first is None:
                self._take_block(table_name, count)
        return first

    def skip(self, table_name, highest):
        """Give out only ids above a number from now on.

        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer.
        """
        self.raise_to({table_name: highest})
        with self._lock:
            block = self._ids.get(table_name)
            if block is not None and block[0] <= highest:
                del self._ids[table_name]

    def forget(self, table_name):
        """Take the next ids from the store: rows brought some of these."""
        with self._lock:
            self._ids.pop(table_name, None)

    def _take_block(self, table_name, count):
        now = time.monotonic()
        last, taken_at = self._blocks.get(table_name, (0, 0.0))
        size = self._block
        if last and now < taken_at + BUSY_BLOCK_S:
            size = min(2 * last, LARGEST_BLOCK * size)
        self._blocks[table_name] = size, now
        size = max(size, count)
        key = keyspace.counter_key(self._name, table_name)
        top, = self._count(
            [operations.Increment(key, size)])
        with self._lock:
            # Of two threads that came here, the later block stays.
            self._ids[table_name] = [top - size + 1, top + 1]
            if top > self._tops.get(table_name, 0):
                self._tops[table_name] = top

    def highest(self, table_name):
        """Return a number that no id of a table is above.

        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer.
        """
        value, = self._store.batch([operations.Get(
            keyspace.counter_key(self._name, table_name))])
        return int(value or 0)

    def raise_to(self, highest):
        """Keep the counters of tables from giving out ids again.

        :param highest: table's name -> highest id that a row has.
        """
        wanted = {name: number for name, number in highest.items()
                  if number > self._tops.get(name, 0)}
        if not wanted:
            return
        keys = {name: keyspace.counter_key(self._name, name)
                for name in wanted}
        values = self._store.batch(
            [operations.Get(key) for key in keys.values()])
        tops = {name: int(value or 0) for name, value in zip(keys, values)}
        # Adding the difference is safe when another process does it too:
        # the counter is at least as high as either needs.
        behind = {name: wanted[name] - tops[name] for name in wanted
                  if tops[name] < wanted[name]}
        if behind:
            self._count([
                operations.Increment(keys[name], difference)
                for name, difference in behind.items()])
        with self._lock:
            for name, number in wanted.items():
                self._tops[name] = max(
                    self._tops.get(name, 0), tops[name], number)

    def _count(self, commands):
        """Change counters: on replicas, too, before the ids are used.

        Or a failover would give them out again.
        """
        if not self._replicas:
            return self._store.batch(commands)
        replies = self._store.batch(
            commands, self._replicas, self._replica_timeout_ms)
        if replies.pop() < self._replicas:
            raise exceptions.StoreUnavailableError(
                "too few replicas acknowledged the ids of new records: "
                "nothing was applied")
        return replies
