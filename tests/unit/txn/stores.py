# SPDX-License-Identifier: Apache-2.0
"""Stores that misbehave on demand, around a real one."""

import time

from nova_kvs import exceptions
from nova_kvs.store.redis import commands


def knowing(coordinator):
    """Return a Coordinator that has heard of a clock, and needs not ask."""
    coordinator.learn_clock(1000 * time.time())
    return coordinator


class Wrapper:
    """Passes batches on; records what Redis gets of each."""

    def __init__(self, store):
        self.store = store
        self.batches = []
        self.confirms_nothing = store.confirms_nothing

    def batch(self, items, *args, **kwargs):
        items = list(items)
        self.batches.append(commands.encode(items))
        return self.store.batch(items, *args, **kwargs)

    def post(self, items, done):
        """Pass them on; whoever is told of it waits for them."""
        done(self.batch(items))

    def scan(self, pattern, count=1000):
        return self.store.scan(pattern, count)

    def names(self):
        """Return what was sent: names of scripts and commands, by batch."""
        return [[item.script.name if hasattr(item, "script")
                 else item.args[0].decode() for item in items]
                for items in self.batches]


class Faulty(Wrapper):
    """Fails the batches that contain a given script.

    :param script: its name.
    :param fault: ``lost``: run, but the reply does not come; ``dropped``:
        not run, which the client cannot know; ``refused``: not run, as the
        client knows; ``twice``: run twice.
    :param times: how often.
    """

    def __init__(self, store, script, fault, times=1):
        super().__init__(store)
        self.script = script
        self.fault = fault
        self.times = times
        self.dropped = []

    def batch(self, items, *args):
        items = list(items)
        hit = self.times > 0 and self.script in [
            item.script.name for item in commands.encode(items)
            if hasattr(item, "script")]
        if not hit:
            return super().batch(items, *args)
        self.times -= 1
        if self.fault == "refused":
            raise exceptions.StoreUnavailableError()
        if self.fault == "dropped":
            self.dropped += items
        else:
            replies = super().batch(items, *args)
        if self.fault == "twice":
            return super().batch(items, *args)
        if self.fault in ("lost", "dropped"):
            raise exceptions.UndeterminedError()
        return replies
