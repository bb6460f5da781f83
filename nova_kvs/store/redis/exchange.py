# SPDX-License-Identifier: Apache-2.0
"""One exchange with servers: groups of items are sent, then all replies read.

An exchange repeats nothing. It tells which items have no reply, and why.
"""

import time

from redis import exceptions as redis_exceptions

from nova_kvs.store import base
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import fence as fences
from nova_kvs.store.redis import near as nearness
from nova_kvs.store.redis import nothing
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import repetition
from nova_kvs.store.redis import tracking

#: Error replies as redis-py leaves them, of servers that may run the same
#: item a moment later.
_PASSING_CODES = ("BUSY ", "NOREPLICAS ")


class Incarnation:
    """A server from one lost connection to the next: equal to itself only."""

    __slots__ = ("node",)

    def __init__(self, node):
        self.node = node


class ExchangingStore(base.Store):
    """A store whose nodes are sent groups of items, once."""

    #: nova_kvs.store.redis.near.Near, if reads may go to replicas near by.
    _near = None
    #: nova_kvs.store.redis.nothing.Nothing, if a replica that says "nothing"
    #: may not know that the key has moved.
    _nothing = None
    #: nova_kvs.store.redis.tracking.Tracking, if reads may be answered from
    #: memory.
    _tracking = None

    #: Error replies after which items are sent again.
    _PASSING = (
        redis_exceptions.ClusterDownError, redis_exceptions.TryAgainError,
        redis_exceptions.ReadOnlyError, redis_exceptions.MasterDownError,
        redis_exceptions.NoScriptError)

    def __init__(self, url, settings):
        super().__init__(url, settings)
        self._incarnations = {}
        #: Nodes that have not answered since a connection to them was lost.
        self._lost = set()
        self._options = wire.options(
            settings, settings.username, settings.password)
        self._from_replicas = settings.read_from == "replica"
        if settings.read_from == "nearest":
            self._near = nearness.Near()
        elif settings.read_from == "memory":
            self._tracking = tracking.Tracking(
                settings, self._options, self.stats)
        #: True once a server has answered. Until then an error is likelier
        #: one of the address than a passing fault.
        self._answered = False
        #: time.monotonic() of a server's last answer.
        self._heard_at = 0.0

    def _exchange(self, items, groups, replies, deadline, fence,
                  asking=False):
        """Send groups of items and read their replies, once.

        :param replies: list to put replies into.
        :returns: list of Failure, in no order.
        """
        failures = []
        sent = []
        try:
            for node, indexes in groups.items():
                try:
                    connection = node.acquire(deadline)
                except wire.LOST as exc:
                    self._lose(node)
                    error = repetition.NotSent(exc)
                    failures.extend(
                        repetition.Failure(index, error, node)
                        for index in indexes)
                    continue
                sent.append((node, connection, plan := [], None))
                pieces, entries = wire.pack(
                    items, indexes, connection, asking)
                if fence is not None:
                    pieces += fence.pack(
                        items, indexes, entries, asking)
                if self._near is not None:
                    sent[-1] = (node, connection, plan, self._near.pack(
                        node, pieces, entries))
                plan.extend(entries)
                self.stats.bytes_out += sum(map(len, pieces))
                try:
                    connection.send(pieces)
                except wire.LOST as exc:
                    # Some of it may have arrived.
                    sent.pop()
                    connection.close()
                    self._lose(node)
                    if self._near is not None:
                        self._near.lost(node)
                    failures.extend(
                        repetition.Failure(index, exc, node)
                        for index in indexes)
            while sent:
                self._read(sent[-1], items, replies, deadline, fence,
                           failures)
                sent.pop()
        except BaseException:
            # Replies are outstanding: nobody may use these connections.
            for _, connection, *_ in sent:
                connection.close()
            raise
        return failures

    def _lose(self, node):
        """Close a node's idle connections after one was lost.

        The server may have been started anew, without its last writes.
        """
        self._incarnations.pop(node, None)
        self._lost.add(node)
        node.drop()

    def _heard(self, node):
        """Note that a server has answered."""
        self._answered = True
        self._heard_at = time.monotonic()
        if node in self._lost:
            self._lost.discard(node)
            self.successions += 1

    def _incarnation(self, node):
        """Return the Incarnation of a node."""
        found = self._incarnations.get(node)
        if found is None:
            found = self._incarnations.setdefault(node, Incarnation(node))
        return found

    def _believed(self, node, item, reply):
        """Return a reply, or Unsure if it says "nothing" and the node may
        not know better.
        """
        if node.master is not None and self._nothing is not None and (
                self._nothing.is_unsure(item, reply)):
            return nothing.Unsure()
        return reply

    def _read(self, group, items, replies, deadline, fence, failures):
        node, connection, plan, wanted = group
        wait_s = 0
        if fence is not None:
            wait_s = fence.timeout_ms / 1000
        left_s = deadline - time.monotonic()
        if wait_s or left_s < self.settings.socket_timeout:
            connection.limit(
                max(0.01, min(left_s, self.settings.socket_timeout)) + wait_s)
        position = 0
        before = len(failures)
        forbidden = behind = None
        try:
            for position, index in enumerate(plan):
                reply = connection.read()
                if index >= 0:
                    reply = behind or self._believed(
                        node, items[index], reply)
                    if isinstance(reply, Exception):
                        if isinstance(reply, redis_exceptions.NoScriptError):
                            connection.scripts.clear()
                            reply = forbidden or reply
                        failures.append(
                            repetition.Failure(index, reply, node))
                    else:
                        replies[index] = reply
                elif index == wire.WAIT:
                    if fences.written(items, plan, failures[before:]):
                        fence.note(node, reply)
                elif index == wire.FENCE:
                    fence.note_fence(node, reply)
                elif index == wire.ROLE:
                    behind = self._near.check(node, reply, wanted)
                    self.stats.behind += behind is not None
                elif index == wire.SCRIPT_LOAD and isinstance(
                        reply, Exception):
                    connection.scripts.clear()
                    if isinstance(reply, redis_exceptions.NoPermissionError):
                        forbidden = reply
        except wire.LOST as exc:
            connection.close()
            failures += self._unanswered(
                node, items, plan, position, exc, failures[before:])
        else:
            self._heard(node)
            self.stats.bytes_in += connection.received_bytes
            connection.received_bytes = 0
            if any(isinstance(failure.error, redis_exceptions.ReadOnlyError)
                   for failure in failures[before:]):
                # Its address may have become another server's.
                connection.close()
                self._lose(node)
            else:
                node.release(connection)

    def _unanswered(self, node, items, plan, position, error, failed):
        """Return Failures of items whose replies got lost with a connection.

        :param position: in the plan, of the reply that did not come.
        :param error: one of LOST.
        :param failed: Failures of the replies before.
        :raises nova_kvs.exceptions.ConfigurationError: if the server wants
            another user or password.
        """
        self._lose(node)
        if self._near is not None:
            self._near.lost(node)
        if isinstance(error, redis_exceptions.AuthenticationError):
            raise wire.reply_error(error, None, node.address) from error
        lost = [index for index in plan[position:] if index >= 0]
        if wire.WAIT in plan[position:]:
            # Nor is it known which replicas have the writes before.
            lost += fences.written(items, plan[:position], failed)
        found = [repetition.Failure(index, error, node) for index in lost]
        if isinstance(error, redis_exceptions.BusyLoadingError) and (
                plan[position] >= 0):
            # An answer after all, but the connection was given up.
            found[0].error = repetition.NotSent(error)
        return found

    def _is_passing(self, error):
        return not isinstance(error, redis_exceptions.ResponseError) or (
            isinstance(error, self._PASSING)
            or str(error).startswith(_PASSING_CODES))

    def _ask(self, node, *commands, deadline=None):
        """Return a node's replies to commands that concern no key.

        :raises NotSent: if it does not answer.
        :raises nova_kvs.exceptions.StoreReplyError: if it refuses.
        """
        if deadline is None:
            deadline = time.monotonic() + self.settings.request_timeout
        items = [raw.Command(b"", command) for command in commands]
        replies = [None] * len(items)
        failures = self._exchange(
            items, {node: list(range(len(items)))}, replies, deadline, None)
        for failure in failures:
            if isinstance(failure.error, repetition.NotSent):
                raise failure.error
            if self._is_passing(failure.error):
                raise repetition.NotSent(failure.error)
            raise wire.reply_error(
                failure.error, items[failure.index], node.address)
        return replies

    def _lines(self, node, *command):
        """Return a reply of lines ``name:value`` as a dict of str."""
        reply, = self._ask(node, command)
        return dict(line.split(":", 1) for line
                    in reply.decode().splitlines() if ":" in line)
