# SPDX-License-Identifier: Apache-2.0
"""A replica of an embedded store that has what it is told to have."""

import copy

from nova_kvs.store.redis import memory


class Replica:
    """Has reads that may lag answered from a copy of its data.

    Behind it is what the store got since ``catch_up``, as if another process
    had written it: the replica does not care what this one has seen.

    :param store: nova_kvs.store.redis.memory.MemoryStore, which is changed.
    :ivar reads: items that the replica answered.
    """

    def __init__(self, store):
        self._database = memory._servers[store.url.database].dbs[0]
        self._batch = store.batch
        self.reads = []
        self.catch_up()
        store.batch = self.batch

    def catch_up(self):
        """Take over what the store has."""
        self._copy = copy.deepcopy(self._database._dict)

    def batch(self, items, *args, may_lag=False, **kwargs):
        """Stand in for the store's."""
        if not may_lag:
            return self._batch(items, *args, **kwargs)
        self.reads += items
        current = self._database._dict
        self._database._dict = self._copy
        try:
            return self._batch(items)
        finally:
            self._database._dict = current
