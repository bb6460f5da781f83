# SPDX-License-Identifier: Apache-2.0
"""Several processes that call native functions on one database."""

import copy
import itertools

from nova_kvs.db import native
from nova_kvs.db import session
from nova_kvs.record import database
from nova_kvs.record import runner
from nova_kvs.store import registry
from tests.differential import clouds


_numbers = itertools.count(1)
_IDS = 10 ** 6


class Process:
    """Knows of the databases what it has seen itself.

    :param cloud: tests.differential.clouds.KVSCloud.
    :param before_batch: called before anything is sent.
    """

    def __init__(self, cloud, before_batch=None):
        self.context = clouds.context()
        self.main = self._open(cloud.main_url, before_batch)
        self.api = self._open(cloud.api_url, before_batch)

    @staticmethod
    def _open(url, before_batch):
        parsed = registry.parse_url(url)
        store = copy.copy(registry.get_store(parsed))
        store.stats = copy.copy(store.stats)
        send = store.batch

        def batch(*args):
            before_batch()
            return send(*args)

        if before_batch is not None:
            store.batch = batch
        made = database.Database(store, parsed.database, parsed.settings())
        made.refresh_schema()
        # It has blocks of ids, and need not look at the schema for long.
        first = _IDS * next(_numbers)
        for name in made.schema.tables:
            made.counters._ids[name] = [first, first + _IDS]
            made.counters._tops[name] = first + _IDS
        made._check_at = made._housekeeping_at = float("inf")
        return made

    def __call__(self, name, *args):
        target = name if ":" in name else "%s:%s" % (native.MAIN, name)
        kvs = self.api if ":" in name else self.main
        function = native.REGISTRY[target].native
        return self.run(kvs, lambda current: function(
            current, self.context, *args))

    def run(self, kvs, function):
        """Run a function of a Session as one that writes is run."""
        trips = kvs.store.stats.round_trips
        try:
            return session.run(kvs, function, runner.Mode.SPECULATE)
        finally:
            self.cost = kvs.store.stats.round_trips - trips
