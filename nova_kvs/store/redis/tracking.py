# SPDX-License-Identifier: Apache-2.0
"""Replies that a process remembers while their server says nothing else.

Redis tells a connection that asked for it which of the keys that it has read
were changed since. So there is one such connection (a link) to each server,
that reads, and hears of changes, in one order. Invariant: a remembered reply
is used only if the link that it came by is open, has told of no change of
its keys, in all that has arrived, and has brought an answer to something that
was asked within the last ``CONFIRM_S``: a link that has silently failed, or
leads to a server that is no longer the one to ask, is of use no longer than
that.

:source: Redis documentation, "Server-assisted client side caching"
"""

import os
import threading
import time

import hiredis
from redis import exceptions as redis_exceptions

from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import raw
from nova_kvs.store import replies as remembered

#: A link counts as working so long after what it has last answered.
CONFIRM_S = 1.0
#: It is remembered so long that there was nothing: of a key that comes to
#: be on another server, after its hash slot moved, the link does not tell.
EMPTY_S = 5.0
#: Keys that are watched by one link; with more all are forgotten.
MOST_KEYS = 100000

#: Redis says this unasked.
_PUSH = hiredis.PushNotification
_START = ((b"HELLO", 3), (b"CLIENT", b"TRACKING", b"ON"))


class Link(wire.Connection):
    """A connection that hears of changes. For one thread at a time.

    :ivar tokens: key -> what stands for its state since it was read.
    :ivar lock: held by the thread that uses it.
    :ivar busy_since: since when nobody got the lock who wanted it, by the
        monotonic clock; None: somebody did.
    """

    __slots__ = ("tokens", "lock", "busy_since", "_confirmed_at")

    def __init__(self, wire, timeout_s):
        super().__init__(wire, timeout_s)
        self.tokens = {}
        self.lock = threading.Lock()
        self.busy_since = None
        self._confirmed_at = 0.0

    def read(self):
        """Return one reply, as Redis's protocol 2 has it.

        :raises: one of nova_kvs.store.redis.connection.LOST.
        """
        reply = super().read()
        while type(reply) is _PUSH:
            self._hear(reply)
            reply = super().read()
        if type(reply) is dict:
            return [item for pair in reply.items() for item in pair]
        return reply

    def _hear(self, push):
        if push[0] == b"invalidate":
            keys = push[1]
            if keys is None:  # all of them
                self.tokens.clear()
                return
            for key in keys:
                self.tokens.pop(key, None)

    def catch_up(self):
        """Hear what has arrived. Not while a reply is outstanding.

        :returns: whether the link may still be relied on.
        :raises: one of nova_kvs.store.redis.connection.LOST.
        """
        socket = self._wire._sock
        if socket is None:  # closed, but not forgotten yet
            return False
        socket.settimeout(0)
        try:
            while True:
                reply = super().read()
                if type(reply) is not _PUSH:
                    raise redis_exceptions.InvalidResponse(
                        "a reply to nothing")
                self._hear(reply)
        except (BlockingIOError, wire.WOULD_BLOCK):
            pass
        finally:
            socket.settimeout(self._timeout_s)
        return time.monotonic() < self._confirmed_at + CONFIRM_S

    def confirm(self, asked_at):
        """Take note that there was an answer to what was asked then."""
        self._confirmed_at = asked_at

    def watch(self, keys):
        """Return what stands for the state of keys that are about to be read.

        :returns: tuple of (link, key, token).
        """
        tokens = self.tokens
        if len(tokens) > MOST_KEYS:
            tokens.clear()
        return tuple([(self, key, tokens.setdefault(key, object()))
                      for key in keys])

    def close(self):
        """Disconnect: what was read by it is not current any more."""
        self.tokens.clear()
        super().close()

    def free(self):
        """Let go of what a closed link has no use for.

        Only by who holds the lock. What is remembered refers to the link,
        for as long as nothing else takes its place.
        """
        self._buffer = self._feed = None
        self._next_reply = _read_closed


def _read_closed():
    raise redis_exceptions.ConnectionError("the link was closed")


class _LinkNode(wire.Node):
    """A server as links are connected to it."""

    __slots__ = ()
    _connection = Link


class Tracking:
    """A process's memory of a store's replies. Safe for threads.

    :param settings: nova_kvs.store.url.Settings.
    :param connection_options: of nova_kvs.store.redis.connection.options.
    :param stats: nova_kvs.store.base.Stats.
    """

    def __init__(self, settings, connection_options, stats):
        self._settings = settings
        self._connection_options = connection_options
        self._stats = stats
        self._forget()

    def _forget(self):
        self._pid = os.getpid()
        #: Node -> its Link.
        self._links = {}
        #: With what ``Link.watch`` returned, and until when.
        self._known = remembered.Replies()

    def answer(self, items, route, deadline):
        """Answer items that read, by what is remembered where it can be.

        :param route: function of indexes of items that returns ``{node:
            [index]}``.
        :param deadline: time.monotonic() that this must not pass.
        :returns: list of replies; None if they are to be asked for in the
            usual way: a link is in use, cannot be made or has failed, or a
            reply was an error.
        :raises nova_kvs.exceptions.ConfigurationError: if the server
            refuses the user.
        """
        if self._pid != os.getpid():
            # The parent goes on using the sockets that a fork copied.
            self._forget()
        replies = [None] * len(items)
        missing = []
        current = {}
        now = time.monotonic()
        for index, item in enumerate(items):
            known = self._known.get(item)
            if known is not None and now < known[1][1] and all(
                    [self._is_current(watched, current)
                     for watched in known[1][0]]):
                replies[index] = known[0]
            else:
                missing.append(index)
        if not missing:
            self._stats.remembered += 1
            return replies
        if not self._ask(items, route(missing), replies, deadline):
            return None
        return replies

    def _is_current(self, watched, current):
        """Tell whether a key has not changed since it was watched.

        :param current: dict of Link -> whether it can be relied on.
        """
        link, key, token = watched
        if link not in current:
            current[link] = self._catch_up(link)
        return current[link] and link.tokens.get(key) is token

    def _catch_up(self, link):
        if not self._acquire(link):
            # Whoever uses it may not have heard yet what has arrived.
            return False
        try:
            return link.catch_up()
        except wire.LOST:
            self._drop(link)
            return False
        except BaseException:
            # What was received may not have been read.
            self._drop(link)
            raise
        finally:
            link.lock.release()

    def _acquire(self, link):
        """Lock a link, unless it is in use.

        One that stays locked for longer than any use of it takes is given
        up: an exception from outside (a greenlet that was killed, a signal)
        came between the lock and what would have released it.

        :returns: whether it is locked.
        """
        if link.lock.acquire(blocking=False):
            link.busy_since = None
            return True
        now = time.monotonic()
        if link.busy_since is None:
            link.busy_since = now
        elif now > (link.busy_since + self._settings.request_timeout
                    + self._settings.socket_timeout):
            link.close()
            self._leave(link)
        return False

    def _drop(self, link):
        """Close a link whose lock is held."""
        link.close()
        link.free()
        self._leave(link)

    def _leave(self, link):
        """Let another link take the place of one."""
        for node, known in list(self._links.items()):
            if known is link:
                self._links.pop(node, None)

    def _link(self, node, deadline):
        """Return the Link of a node, locked; None if it is in use."""
        link = self._links.get(node)
        if link is None:
            link = _LinkNode(
                node.address, self._settings, self._connection_options,
                _START).acquire(deadline)
            link.lock.acquire()
            kept = self._links.setdefault(node, link)
            if kept is not link:  # another thread was faster
                link.close()
                return None
            return link
        return link if self._acquire(link) else None

    def _ask(self, items, groups, replies, deadline):
        """Ask servers by their links: sets replies.

        :returns: whether all are there.
        """
        held = []
        asked = []
        try:
            # All of them first, so that nothing is sent in vain.
            for node in groups:
                link = self._link(node, deadline)
                if link is None:
                    return False
                held.append(link)
            asked_at = time.monotonic()
            for link, indexes in zip(held, groups.values()):
                watched = {index: link.watch(raw.keys_of(items[index]))
                           for index in indexes}
                pieces, plan = wire.pack(items, indexes, link)
                self._stats.bytes_out += sum(map(len, pieces))
                asked.append((link, plan, watched))
                link.send(pieces)
            self._stats.round_trips += 1
            while asked:
                link, plan, watched = asked[-1]
                left_s = deadline - time.monotonic()
                if left_s < self._settings.socket_timeout:
                    link.limit(max(0.01, left_s))
                self._take(link, plan, watched, items, replies)
                link.unlimit()
                link.confirm(asked_at)
                asked.pop()
        except (_Refused, *wire.LOST):
            return False
        finally:
            # Replies may be outstanding there.
            for link, *_ in asked:
                self._drop(link)
            for link in held:
                link.lock.release()
        return True

    def _take(self, link, plan, watched, items, replies):
        """Read the replies of a link, and remember them."""
        found = []
        for index in plan:
            reply = link.read()
            if isinstance(reply, Exception):
                raise _Refused()
            if index >= 0:
                if b"WITHSCORES" in getattr(items[index], "args", ()):
                    reply = [part for pair in reply for part in pair]
                replies[index] = reply
                found.append(index)
        stats = self._stats
        stats.commands += len(found)
        stats.bytes_in += link.received_bytes
        size_bytes = link.received_bytes // (len(found) or 1)
        link.received_bytes = 0
        now = time.monotonic()
        for index in found:
            reply = replies[index]
            is_empty = type(reply) is list and not any(reply[:1])
            self._known.remember(items[index], reply, (
                watched[index],
                now + EMPTY_S if is_empty else float("inf")), size_bytes)

    def forget(self, items):
        """Take note that items were run in another way.

        The process has seen, or made, another state of their keys then.
        """
        if not self._links:
            return
        links = list(self._links.values())
        for item in items:
            for key in raw.keys_of(item):
                for link in links:
                    link.tokens.pop(key, None)

    def close(self):
        """Close all links."""
        # Other threads may be using them.
        for link in list(self._links.values()):
            link.close()
        self._links.clear()


class _Refused(Exception):
    """A server answered with an error."""
