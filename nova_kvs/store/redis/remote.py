# SPDX-License-Identifier: Apache-2.0
"""Batches, which all drivers that talk to servers answer alike.

A batch is sent to every node concerned before the first reply is read.
Items that a server did not run (its slot moved, it is loading, it became a
replica, ...) and items that were lost with a connection are sent again, to
the node that has their keys by then, until ``request_timeout`` is over, or
``failover_timeout`` if others of the servers answer and one may be about to
take over. That is sound because every script and every plain command may run
twice.
"""

import abc
import collections
import functools
import random
import re
import socket
import time

from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store import base
from nova_kvs.store.redis import commands
from nova_kvs.store.redis import commits
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import exchange
from nova_kvs.store.redis import fence as fences
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import rehearsal
from nova_kvs.store.redis import repetition

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.5

#: Error replies to a first write: a script that has written goes on.
_REFUSALS = ("MISCONF ", "OOM ")

#: Line of INFO about one replica.
_REPLICA = re.compile(r"slave\d+")


class RemoteStore(exchange.ExchangingStore):
    """A store on servers. Subclasses say which node has a key."""

    CHARACTERISTICS = frozenset([
        base.Characteristics.ATOMIC, base.Characteristics.REPLICAS,
        base.Characteristics.WATCH])

    @abc.abstractmethod
    def _route(self, items, indexes, deadline, repeated=False):
        """Return ``{node: [index]}`` for some of the items, in order.

        :param repeated: True if the items failed before: then reads, too,
            go to masters.
        :raises NotSent: if no server tells.
        """

    @abc.abstractmethod
    def _learn(self, items, failures, deadline):
        """Find out again which nodes have the keys, after failures.

        :returns: ``{index: node}`` of items that go to a node once, after
            ASKING.
        :raises NotSent: if no server tells.
        """

    @abc.abstractmethod
    def _masters(self, deadline):
        """Return the nodes that together have every key.

        :raises NotSent: if no server tells.
        """

    def _route_near(self, items, deadline):
        """Return ``{node: [index]}`` for reads, by the nearest node.

        Drivers that know no replicas ask masters.
        """
        return self._route(items, range(len(items)), deadline)

    def batch(self, items, replicas=0, replicas_timeout_ms=0, may_lag=False):
        if not items:
            return [replicas] if replicas else []
        replies = self._answer(
            commands.encode(items), replicas, replicas_timeout_ms, may_lag)
        commands.parse(items, replies)
        return replies

    def _answer(self, items, replicas, replicas_timeout_ms, may_lag):
        deadline = time.monotonic() + self.settings.request_timeout
        if self._tracking is not None:
            if may_lag:
                replies = self._answer_tracked(items, deadline)
                if replies is not None:
                    return replies
            try:
                return self._batch(
                    items, replicas, replicas_timeout_ms, may_lag, deadline)
            finally:
                self._tracking.forget(items)
        return self._batch(
            items, replicas, replicas_timeout_ms, may_lag, deadline)

    def _answer_tracked(self, items, deadline):
        def route(missing):
            # To masters, whatever read_from says: replicas of a
            # cluster refuse what comes by a link.
            return self._route(items, missing, deadline, repeated=True)

        try:
            return self._tracking.answer(items, route, deadline)
        except repetition.NotSent:
            return None

    def _batch(self, items, replicas, replicas_timeout_ms, may_lag, deadline):
        replies = [None] * len(items)
        fence = None
        if replicas:
            fence = fences.Fence(replicas, replicas_timeout_ms)
        try:
            if may_lag and self._near is not None:
                groups = self._route_near(items, deadline)
                if any(node.master for node in groups):
                    self.stats.near += 1
            else:
                groups = self._route(items, range(len(items)), deadline)
        except repetition.NotSent as exc:
            raise self._unavailable(exc.cause) from exc.cause
        failures = self._exchange(items, groups, replies, deadline, fence)
        stats = self.stats
        stats.round_trips += 1
        stats.commands += len(items)
        if failures and may_lag and self._near is not None:
            failures = self._near.be_patient(
                failures, lambda late: self._exchange(
                    items, late, replies, deadline, fence))
        if failures:
            unsure = self._nothing and self._nothing.among(failures)
            self._settle(items, failures, replies, deadline, fence)
            if unsure:
                stats.behind += 1
                self._nothing.learn(items, unsure, replies)
        if fence is not None:
            replies.append(fence.acknowledged())
        return replies

    def post(self, items, done):
        deadline = time.monotonic() + self.settings.request_timeout
        encoded = commands.encode(items)
        try:
            groups = self._route(encoded, range(len(items)), deadline)
        except repetition.NotSent as exc:
            raise self._unavailable(exc.cause) from exc.cause
        replies = [None] * len(items)
        outstanding = collections.deque(groups)

        def collect(plan, found):
            for index, reply in zip(plan, found):
                if index >= 0:
                    replies[index] = reply
            # Of two threads, one is the last.
            outstanding.popleft()
            if not outstanding:
                commands.parse(items, replies)
                done(replies)

        for node, indexes in groups.items():
            try:
                connection = node.acquire(deadline)
            except wire.LOST:
                self._lose(node)
                continue
            pieces, plan = wire.pack(encoded, indexes, connection)
            try:
                connection.post(
                    pieces, len(plan), functools.partial(collect, plan))
            except wire.LOST:
                connection.close()
                self._lose(node)
                continue
            self.stats.bytes_out += sum(map(len, pieces))
            node.release(connection)
        self.stats.commands += len(items)

    def close(self):
        if self._tracking is not None:
            self._tracking.close()

    def _settle(self, items, failures, replies, deadline, fence):
        """Repeat what failed until everything has a reply.

        :param failures: of the first exchange.
        :raises: as ``batch`` does.
        """
        everything = range(len(items))
        writes = {index for index in everything if raw.is_write(items[index])}
        touched = writes - repetition.not_run(failures)
        repeated = set()
        began = deadline - self.settings.request_timeout
        refused = None
        pause_s = 0
        while True:
            failures, errors = self._sort(items, failures)
            refused = refused or errors
            again = repetition.with_followers(items, failures)
            if not again:
                break
            cause = failures[0].error
            if isinstance(cause, repetition.NotSent):
                cause = cause.cause
            now = time.monotonic()
            if now >= deadline and self._may_fail_over(began, cause):
                deadline = began + self.settings.failover_timeout
            if now >= deadline or not self._answered:
                raise self._give_up(touched, cause)
            if pause_s or not all(
                    repetition.is_immediate(failure.error)
                    for failure in failures):
                pause_s = min(
                    max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
                time.sleep(pause_s * random.uniform(0.5, 1.0))
            else:
                pause_s = _FIRST_PAUSE_S
            if fence is not None:
                fence.repeated = True
            repeated |= touched.intersection(again)
            try:
                failures = self._repeat(
                    items, again, failures, replies, deadline, fence)
            except exceptions.ConfigurationError as exc:
                if touched:
                    raise self._give_up(touched, exc) from exc
                raise
            touched |= writes.intersection(
                again) - repetition.not_run(failures)
        if refused:
            error = refused[0]
            error.nothing_applied = not touched and _has_not_begun(error)
            raise error
        if any(commits.is_too_late(items[index], replies[index])
               for index in repeated):
            # Its first copy may have been in time, and be forgotten.
            error = self._give_up(touched, cause)
            error.store_answers = True
            raise error

    def _may_fail_over(self, began, cause):
        """Tell whether another server may be about to take over.

        Some server has answered since an operation began, and the one that
        it needs does not. (If none answers, nobody can be waited for.)

        :param began: time.monotonic() then.
        :param cause: why the operation is to be repeated.
        """
        return self._heard_at >= began and isinstance(
            cause, (*wire.LOST, redis_exceptions.ClusterDownError))

    def _repeat(self, items, again, failures, replies, deadline, fence):
        """Send items again, to where they belong by now.

        :param again: the items' indexes.
        :param failures: why they are to be sent again.
        :returns: list of new Failure.
        """
        self.stats.repeats += len(again)
        if self._near is not None:
            self._near.learn(failures)
        try:
            asked = self._learn(items, failures, deadline)
            routes = self._route(
                items, [index for index in again if index not in asked],
                deadline, repeated=True)
        except repetition.NotSent as exc:
            return [repetition.Failure(index, exc, None) for index in again]
        failures = []
        if asked:
            groups = {}
            for index in again:
                if index in asked:
                    groups.setdefault(asked[index], []).append(index)
            failures += self._exchange(
                items, groups, replies, deadline, fence, asking=True)
            self.stats.round_trips += 1
        if len(asked) < len(again):
            failures += self._exchange(
                items, routes, replies, deadline, fence)
            self.stats.round_trips += 1
        return failures

    def _sort(self, items, failures):
        """Separate failures that may pass from those that will not.

        :returns: list of Failure to repeat, list of our exceptions.
        """
        repeat = []
        errors = []
        for failure in failures:
            if self._is_passing(failure.error):
                repeat.append(failure)
            else:
                errors.append(wire.reply_error(
                    failure.error, items[failure.index],
                    failure.node.address))
        return repeat, errors

    def _give_up(self, touched, cause):
        """Return the error to raise when the time is over.

        :param touched: the writes that were, or may have been, applied.
        """
        if not touched:
            return self._unavailable(cause)
        error = exceptions.UndeterminedError(cause=cause)
        error.__cause__ = cause
        return error

    def _unavailable(self, cause):
        error = exceptions.StoreUnavailableError(
            servers=" ".join("%s:%d" % node for node in self.url.nodes),
            cause=cause, **self._hint(cause))
        error.__cause__ = cause
        return error

    def _hint(self, cause):
        """Return the detail that explains why no server has ever answered.

        A server without TLS takes a handshake for the start of a command
        and waits for the rest. One that speaks only TLS closes the
        connection.
        """
        if self._answered or not isinstance(cause, wire.LOST) or isinstance(
                cause.__context__ or cause.__cause__,
                (ConnectionRefusedError, socket.gaierror)):
            return {}
        if self.settings.tls:
            return {"hint": "perhaps the port speaks no TLS: turn tls off or "
                            "name the server's tls-port"}
        if isinstance(cause, redis_exceptions.TimeoutError):
            return {}
        return {"hint": "perhaps the port speaks TLS only: set tls = true, "
                        "or tls=true in the URL"}

    def scan(self, pattern, count=1000):
        try:
            nodes = self._masters(
                time.monotonic() + self.settings.request_timeout)
            for node in nodes:
                cursor = b"0"
                while True:
                    (cursor, keys), = self._ask(node, (
                        b"SCAN", cursor, b"MATCH", pattern, b"COUNT", count))
                    self.stats.round_trips += 1
                    self.stats.commands += 1
                    yield from keys
                    if cursor == b"0":
                        break
        except repetition.NotSent as exc:
            raise self._unavailable(exc.cause) from exc.cause

    def check(self):
        try:
            nodes = self._masters(
                time.monotonic() + self.settings.request_timeout)
            return {"driver": self.url.driver,
                    "servers": [self._facts(node) for node in nodes]}
        except repetition.NotSent as exc:
            raise self._unavailable(exc.cause) from exc.cause

    def _facts(self, node):
        facts = self._lines(node, b"INFO")
        before = time.time()
        (seconds, microseconds), = self._ask(node, (b"TIME",))
        here = (before + time.time()) / 2
        return {
            "address": "%s:%d" % node.address,
            "role": facts.get("role"),
            "version": facts.get("redis_version"),
            "cluster_enabled": facts.get("cluster_enabled") == "1",
            "replicas": int(facts.get("connected_slaves", 0)),
            "replica_hosts": [
                dict(part.split("=", 1) for part in line.split(",")
                     if "=" in part).get("ip")
                for name, line in facts.items()
                if _REPLICA.fullmatch(name)],
            "used_memory": int(facts.get("used_memory", 0)),
            "maxmemory_policy": facts.get("maxmemory_policy"),
            "appendonly": facts.get("aof_enabled") == "1",
            "maxmemory": int(facts.get("maxmemory", 0)),
            "aof_last_write_status": facts.get("aof_last_write_status"),
            "rdb_last_bgsave_status": facts.get("rdb_last_bgsave_status"),
            "clock_offset_ms": round(
                1000 * (int(seconds) - here) + int(microseconds) / 1000),
        }

    def idle_connections(self):
        return {"%s:%d" % node.address: node.count_idle()
                for node in self._known_nodes()}

    def rehearse(self, key):
        rehearsal.run(self, key)

    def address_of(self, key):
        deadline = time.monotonic() + self.settings.request_timeout
        try:
            node, = self._route(
                [raw.Command(key, (b"SET", key))], [0], deadline)
        except repetition.NotSent as exc:
            raise self._unavailable(exc.cause) from exc.cause
        return "%s:%d" % node.address


def _has_not_begun(error):
    """Return whether a server refused an item before it wrote anything.

    :param error: StoreReplyError or ConfigurationError.
    """
    reply = getattr(error, "reply", None)
    return isinstance(reply, redis_exceptions.OutOfMemoryError) or (
        str(reply).startswith(_REFUSALS))
