# SPDX-License-Identifier: Apache-2.0
"""Round trips as trace points of osprofiler.

Whether there are any is decided once, when a store is made: where ``[profiler]
enabled`` is off, or osprofiler is not installed, stores are as they were.
"""

import collections
import functools

from nova_kvs import conf
from nova_kvs import keyspace

NAME = "kvs"


def traced(store):
    """Give a store's round trips trace points, if profiling is enabled.

    :param store: nova_kvs.store.base.Store that nobody has used yet.
    :returns: the same store.
    """
    try:
        from osprofiler import profiler
    except ImportError:
        return store
    # osprofiler registers its group itself, from the service.
    if "profiler" not in conf.CONF or not conf.CONF.profiler.enabled:
        return store
    batch = store.batch

    @functools.wraps(batch)
    def batch_with_trace(items, *args, **kwargs):
        # Only requests that ask for it are profiled.
        if not items or profiler.get() is None:
            return batch(items, *args, **kwargs)
        with profiler.Trace(NAME, info={NAME: _description(items)}):
            return batch(items, *args, **kwargs)

    store.batch = batch_with_trace
    return store


def _description(items):
    """Return what a trace tells of a batch: nothing that is stored."""
    operations = collections.Counter()
    for item in items:
        operations[type(item).__name__] += 1
    return {"database": keyspace.database_of(items[0].key),
            "commands": len(items), "operations": dict(operations)}
