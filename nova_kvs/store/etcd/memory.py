# SPDX-License-Identifier: Apache-2.0
"""Replies that a process remembers while etcd tells of no change.

What is read by a link, one connection to one member, is watched from the
revision that it is of, so no change is missed, however late the watch begins.
Invariant: a remembered reply is used only if the link is open, has told of no
change of what the reply rests on that is newer than the reply, in all that
has arrived, and has brought an answer to what was asked within the last
``CONFIRM_S``. Answers to what is asked by the link are linearizable: a member
that is cut off from the others gives none, and ends its watches.

A member sends news beside answers, not in one order with them. So what was
read by a link, or by any other way, is never older than what was read before
because revisions are compared, not the order of arrival.
"""

import os
import threading
import time

from nova_kvs import exceptions
from nova_kvs.store.etcd import client as calls
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import http2
from nova_kvs.store.etcd import messages
from nova_kvs.store.etcd import reads as reading
from nova_kvs.store.etcd import rounds
from nova_kvs.store import replies as remembered

#: A link counts as working so long after what it has last answered.
CONFIRM_S = 1.0
#: Ranges that are watched by one link; with more, all are forgotten. A member
#: keeps some hundred bytes for each.
MOST_WATCHES = 5000
#: The member is waited for so long.
_TIMEOUT_S = 1.0
_NEVER = float("inf")


class _Watch:
    """A range of keys that the link tells changes of.

    :ivar number: of the watch on the link; 0: it has not begun.
    :ivar told: revision of the last change that the link has told of.
    :ivar seen: revision of what the process has seen in another way.
    :ivar read: revision of the latest reply that rests on it.
    """

    __slots__ = ("number", "told", "seen", "read")

    def __init__(self):
        self.number = self.told = self.seen = self.read = 0


class _Link:
    """A connection that reads, and hears of changes. For one thread.

    It is what nova_kvs.store.etcd.rounds asks instead of the client.

    :ivar lock: held by the thread that uses it.
    :ivar ranges: key of the store -> {range of etcd's keys: its _Watch}.
    """

    def __init__(self, client, member, connection, token, stats):
        self.member = member
        self.lock = threading.Lock()
        self.ranges = {}
        self._client = client
        self._connection = connection
        self._token = token
        self._stats = stats
        self._watches = {}
        self._numbers = 0
        self._confirmed_at = 0.0
        self.begin(0.0)
        connection.open_stream(calls.WATCH, token)

    @property
    def seen_revision(self):
        return self._client.seen_revision

    @seen_revision.setter
    def seen_revision(self, revision):
        self._client.seen_revision = revision

    def begin(self, deadline):
        """Prepare for the calls of one batch.

        Then ``revisions`` holds the first and the last revision that its
        first round of answers is of; later rounds name theirs.
        """
        self._deadline = deadline
        self.revisions = None

    def call(self, sent, writes=False):
        """Send calls and return the answers, as ``Client.call``.

        :raises nova_kvs.store.etcd.http2.Lost: if one is refused, or none
            comes.
        """
        asked_at = time.monotonic()
        replies = [None] * len(sent)
        self._stats.round_trips += 1
        self._stats.bytes_out += sum([len(message) for _, message in sent])
        self._connection.exchange(
            sent, replies, max(min(_TIMEOUT_S, self._deadline - asked_at),
                               0.01), self._token, True)
        self._stats.bytes_in += self._connection.received_bytes
        if self.revisions is None:
            # Later rounds of a batch may ask the member alone.
            self._confirmed_at = asked_at
        answers = []
        for reply in replies:
            if reply.status:
                refusal = faults.Refusal(reply)
                if not refusal.is_compacted:
                    raise http2.Lost(refusal.message)
                self.revisions = 0, _NEVER
                answers.append(refusal)
            else:
                answers.append(reply.body)
        if self.revisions is None:
            found = [messages.revision_of(body) for body in answers]
            self.revisions = min(found), max(found)
        return answers

    def take_received_bytes(self):
        """Return the bytes that have arrived since the last time."""
        count = self._connection.received_bytes
        self._connection.received_bytes = 0
        return count

    def watches_of(self, item):
        """Return the _Watch objects for what the reply to an item rests on."""
        ranges = self.ranges.setdefault(item.key, {})
        return [ranges.get(bounds) or ranges.setdefault(bounds, _Watch())
                for bounds in reading.watched(item)]

    def watch(self, items):
        """Begin those watches of items that have not begun.

        :param items: pairs of an item and the revision of its reply.
        """
        wanted = []
        for item, revision in items:
            ranges = self.ranges[item.key]
            for bounds in reading.watched(item):
                watch = ranges[bounds]
                watch.read = max(watch.read, revision)
                if not watch.number:
                    self._numbers += 1
                    watch.number = self._numbers
                    self._watches[watch.number] = watch
                    wanted.append(messages.watch_request(
                        *bounds, revision + 1, watch.number))
        if wanted:
            self._connection.write(wanted)

    def is_full(self):
        """Return whether it watches as much as it may."""
        return (len(self._watches) > MOST_WATCHES
                or len(self.ranges) > 2 * MOST_WATCHES)

    def catch_up(self):
        """Hear what has arrived.

        :returns: whether the link may still be relied on.
        :raises nova_kvs.store.etcd.http2.Lost: if it may never be again.
        """
        self._connection.catch_up()
        useless = []
        for message in self._connection.messages():
            news = messages.parse_news(message)
            if news.is_cancelled:
                watch = self._watches.pop(news.number, None)
                if watch is not None:
                    # Not by this side: history was compacted, the user's
                    # token is over.
                    raise http2.Lost("etcd has ended a watch")
            elif news.is_change:
                watch = self._watches.get(news.number)
                if watch is None:
                    continue
                if watch.told > watch.read:
                    # Nobody has read it since the last news of it.
                    del self._watches[news.number]
                    watch.number = 0
                    useless.append(messages.unwatch_request(news.number))
                watch.told = max(watch.told, news.revision)
        if useless:
            self._connection.write(useless)
        return time.monotonic() < self._confirmed_at + CONFIRM_S

    def close(self):
        self._connection.close()


class Memory:
    """A process's memory of a store's replies. Safe for threads and forks.

    :param client: nova_kvs.store.etcd.client.Client.
    :param reads: nova_kvs.store.etcd.reads.Reads.
    :param settings: nova_kvs.store.url.Settings.
    :param stats: nova_kvs.store.base.Stats.
    """

    def __init__(self, client, reads, settings, stats):
        self._client = client
        self._reads = reads
        self._settings = settings
        self._stats = stats
        self._forget_all()

    def _forget_all(self):
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._link = None
        #: With their revision and their watches.
        self._known = remembered.Replies()

    def answer(self, items):
        """Answer items that read, by what is remembered where it can be.

        :returns: list of replies; None if they are to be asked for in the
            usual way: one is of a kind that is not remembered, the link is
            in use, cannot be made or has failed.
        """
        if self._pid != os.getpid():
            # The parent goes on using the socket that a fork copied.
            self._forget_all()
        if not all([type(item) in reading.WATCHED for item in items]):
            return None
        link = self._link or self._connect()
        if link is None or not link.lock.acquire(blocking=False):
            # Whoever uses it may not have heard yet what has arrived.
            return None
        try:
            return self._answer(link, items)
        except (http2.Lost, exceptions.KVSError):
            # The usual way tells what is wrong, or goes round it.
            self._drop(link)
            return None
        except BaseException:
            self._drop(link)  # answers may be outstanding there
            raise
        finally:
            link.lock.release()

    def _answer(self, link, items):
        replies = [None] * len(items)
        missing = range(len(items))
        if link.catch_up():
            missing = []
            for number, item in enumerate(items):
                known = self._known.get(item)
                if known is not None and _is_current(*known[1]):
                    replies[number] = known[0]
                else:
                    missing.append(number)
        if not missing:
            self._stats.remembered += 1
            return replies
        # Before they are read: other threads may see more meanwhile.
        watches = [link.watches_of(items[number]) for number in missing]
        link.begin(time.monotonic() + self._settings.request_timeout)
        results = rounds.run(link, [
            self._reads.of(items[number], False) for number in missing])
        if any([isinstance(result, exceptions.KVSError)
                for result in results]):
            raise http2.Lost("a read was refused")
        revision, last = link.revisions
        link.watch([(items[number], revision) for number in missing])
        if last == revision:
            size_bytes = link.take_received_bytes() // len(missing)
        for number, result, watched in zip(missing, results, watches):
            replies[number] = result
            self._saw(watched, last)
            if last == revision:
                self._known.remember(
                    items[number], result, (revision, watched), size_bytes)
        self._stats.commands += len(missing)
        if link.is_full():
            self._drop(link)
        return replies

    def _connect(self):
        """Return a new link, or None."""
        deadline = time.monotonic() + self._settings.connect_timeout
        member = self._client.in_order()[0]
        try:
            connection, token = self._client.connect(member, deadline)
            link = _Link(self._client, member, connection, token, self._stats)
        except http2.Lost:
            self._client.avoid(member)
            return None
        except exceptions.KVSError:
            return None
        with self._lock:
            if self._link is None:
                self._link = link
                return link
        link.close()  # another thread was faster
        return None

    def _drop(self, link):
        """Close a link, and forget all that came by it."""
        link.close()
        with self._lock:
            if self._link is link:
                self._link = None
                self._known = remembered.Replies()

    def _saw(self, watches, revision):
        """Take note that the process has seen a later state of ranges."""
        with self._lock:
            for watch in watches:
                watch.seen = max(watch.seen, revision)

    def forget(self, keys):
        """Take note that something was done to keys in another way.

        The process has seen, or made, another state of them then.
        """
        link = self._link
        if link is None:
            return
        for key in keys:
            ranges = link.ranges.get(key)
            if ranges:
                self._saw(list(ranges.values()), self._client.seen_revision)

    def close(self):
        """Close the link."""
        link = self._link
        if link is not None:
            self._drop(link)


def _is_current(revision, watches):
    """Tell whether what watches are of has not changed since a revision."""
    return all([watch.told <= revision >= watch.seen and watch.number
                for watch in watches])
