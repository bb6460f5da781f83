# SPDX-License-Identifier: Apache-2.0
"""etcd v3, ``kvs+etcd://[user:password@]host[:2379]/name?node=host2:2379``.

The first host and each ``node`` are members of one cluster. What a commit was
reported for is on a majority of them, and stays while a majority lives; each
commit is one transaction, whatever it spans. Users and passwords are etcd's;
with ``tls`` a client certificate may name the user instead.

Reads see all that was committed before, unless ``read_from`` is ``nearest``:
then a member answers by what it knows, which is never less than what this
process has seen, and may lag behind what others have committed; or
``memory``: see :mod:`nova_kvs.store.etcd.memory`. ``replica`` is an option of
Redis's drivers.

How things are stored says :mod:`nova_kvs.store.etcd.layout`; why the client
is as it is :mod:`nova_kvs.store.etcd.http2`.
"""

import fnmatch
import re

from nova_kvs import exceptions
from nova_kvs.store import base
from nova_kvs.store.etcd import client as calls
from nova_kvs.store.etcd import commits
from nova_kvs.store.etcd import condition
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import heads
from nova_kvs.store.etcd import layout
from nova_kvs.store.etcd import leases
from nova_kvs.store.etcd import memory
from nova_kvs.store.etcd import messages
from nova_kvs.store.etcd import reads
from nova_kvs.store.etcd import rounds
from nova_kvs.store.etcd import writes
from nova_kvs.store import operations

_READING, _BLIND, _OTHER = range(3)
_GLOB = re.compile(rb"[*?\[]")


class EtcdStore(base.Store):
    """A store on an etcd cluster."""

    CHARACTERISTICS = frozenset([
        base.Characteristics.ATOMIC, base.Characteristics.VALIDATES,
        base.Characteristics.DURABLE, base.Characteristics.WATCH])

    def __init__(self, url, settings):
        super().__init__(url, settings)
        if settings.read_from == "replica":
            raise exceptions.ConfigurationError(
                "read_from is one of 'master', 'nearest' and 'memory' where "
                "the store is etcd", read_from=settings.read_from)
        self._client = calls.Client(url.nodes, settings, self.stats)
        self._heads = heads.Heads()
        self._leases = leases.Leases(self._client)
        self._reads = reads.Reads(self._heads)
        self._writes = writes.Writes(self._leases, self._heads)
        self._commits = commits.Commits(self._leases, self._heads)
        self._memory = None
        if settings.read_from == "memory":
            self._memory = memory.Memory(
                self._client, self._reads, settings, self.stats)

    def batch(self, items, replicas=0, replicas_timeout_ms=0, may_lag=False):
        if self._memory is None:
            return self._batch(items, replicas, may_lag)
        if may_lag:
            replies = self._memory.answer(items)
            if replies is not None:
                return replies
        try:
            return self._batch(items, replicas, may_lag)
        finally:
            self._memory.forget(
                [key for item in items for key in _keys(item)])

    def _batch(self, items, replicas, may_lag):
        replies = [None] * len(items)
        self.stats.commands += len(items)
        serializable = may_lag and self.settings.read_from == "nearest"
        failed = None
        for stage in _stages(items):
            try:
                found = self._run(items, stage, replies, serializable)
            except rounds.Behind:
                self.stats.behind += 1
                found = self._run(items, stage, replies, False)
            failed = found or failed
        self.stats.near += serializable
        if failed is not None:
            # What is too large is refused each time that it is sent.
            failed.nothing_applied = (
                isinstance(failed, exceptions.TooLargeError)
                and sum([not reads.is_read(item) for item in items]) == 1)
            raise failed
        if replicas:
            # A majority has what was acknowledged, more is not to be had.
            replies.append(replicas)
        return replies

    def _run(self, items, stage, replies, serializable):
        """Run operations side by side; fills in their replies.

        :param stage: numbers of the items.
        :returns: an error of one of them, or None.
        """
        generators = []
        numbers = []
        blinds = []
        for number in stage:
            item = items[number]
            blind = writes.blind(item)
            if blind is not None:
                blinds.append(blind)
                continue
            generators.append(
                self._reads.of(item, serializable)
                or self._commits.of(item) or self._writes.of(item))
            if generators[-1] is None:
                raise TypeError("etcd's driver has no operation %s" %
                                type(item).__name__)
            numbers.append(number)
        waves = writes.run_blind(blinds)
        first = next(waves, ())
        results = rounds.run(
            self._client, [*generators, *first],
            self._client.seen_revision if serializable else 0)
        for wave in waves:
            results += rounds.run(self._client, wave)
        failed = None
        for number, result in zip(numbers, results):
            replies[number] = result
        for result in results:
            if isinstance(result, exceptions.KVSError):
                failed = result
        return failed

    def held_up_ms(self, life_ms):
        # Its lease bounds it. (Each change of the leader begins it anew.)
        return 1000 * leases.longest_s(life_ms)

    def scan(self, pattern, count=1000):
        prefix = _GLOB.split(pattern, maxsplit=1)[0]
        matches = re.compile(fnmatch.translate(
            pattern.decode("latin-1"))).match
        start, end = prefix, layout.after_prefix(prefix)
        last = None
        while True:
            (found,), _ = self._ranges([messages.range_request(
                start, end, limit=count, keys_only=True)])
            for item in found.items:
                key = layout.store_key(item.key)
                if key == last or item.key == layout.head(key):
                    continue
                last = key
                if matches(key.decode("latin-1")):
                    yield key
            if not found.more:
                return
            behind = found.items[-1].key
            key = layout.store_key(behind)
            if behind == layout.head(key):
                start = behind + b"\0"
            else:
                start = layout.after(key)

    def _ranges(self, requests):
        def ask():
            return (yield rounds.Ranges(requests))

        result, = rounds.run(self._client, [ask()])
        if isinstance(result, exceptions.KVSError):
            raise result
        return result

    def check(self):
        return condition.facts(self.url.driver, self._client)

    def is_compacted(self):
        """Return whether any part of etcd's history was compacted."""
        answer, = self._client.call([(calls.RANGE, messages.range_request(
            b"kvs:", revision=1, serializable=True))])
        return isinstance(answer, faults.Refusal) and answer.is_compacted

    def rehearse(self, key):
        condition.rehearse(self, key)

    def address_of(self, key):
        return self._client.members[0].name

    def idle_connections(self):
        return {member.name: member.count_idle()
                for member in self._client.members}

    def close(self):
        if self._memory is not None:
            self._memory.close()
        self._client.close()


def _stages(items):
    """Return lists of numbers of items that may run side by side.

    Those of a later list wait for an earlier one: one of two writes what the
    other reads or writes.
    """
    if len(items) == 1:
        return [[0]]
    stages = []
    kinds = {}
    for number, item in enumerate(items):
        kind = _kind(item)
        keys = _keys(item)
        if not stages or any(
                [kinds.get(key, kind) != kind or kind == _OTHER
                 and key in kinds for key in keys]):
            stages.append([])
            kinds = {}
        for key in keys:
            kinds[key] = kind
        stages[-1].append(number)
    return stages


def _kind(item):
    if reads.is_read(item):
        return _READING
    if writes.is_blind(item):
        return _BLIND
    return _OTHER


def _keys(item):
    """Return the keys that an item concerns."""
    kind = type(item)
    if kind is operations.Commit:
        return [item.outcome_key, *[
            key for part in item.parts for key in part[:2]],
            *[write.key for write in item.side_writes]]
    if kind in (operations.ReadIndex, operations.DropIncluded,
                operations.CorrectIndex):
        return item[:2]
    return (item.key,)
