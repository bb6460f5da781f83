# SPDX-License-Identifier: Apache-2.0
"""The interface of a store: operations in, replies out, a batch a trip."""

import abc
import dataclasses
import enum


class Characteristics(enum.Enum):
    """Promises of a driver beyond the interface."""

    #: A Commit takes any number of partitions, and side writes. Commits need
    #: no intents.
    ATOMIC = "atomic"
    #: A Commit can require that what was read at a moment is still so.
    VALIDATES = "validates"
    #: A write that was acknowledged is never lost, whichever server fails.
    DURABLE = "durable"
    #: It tells when something changes that was read: ``read_from = memory``.
    WATCH = "watch"
    #: Writes are acknowledged before replicas have them; a batch can wait
    #: for replicas, and reads may go to them.
    REPLICAS = "replicas"


@dataclasses.dataclass
class Stats:
    """Counters of a store since it was opened."""

    round_trips: int = 0
    commands: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    #: Commands that were sent again.
    repeats: int = 0
    #: Batches that a replica near by answered, and those that a master had
    #: to answer again, because a replica was behind or could not know.
    near: int = 0
    behind: int = 0
    #: Batches that no server was asked for: see nova_kvs.store.redis.tracking.
    remembered: int = 0


class Store(abc.ABC):
    """A key/value store. Safe for threads; usable after a fork.

    It connects when it is first used, and again whenever it must: also
    after ``close``.
    """

    CHARACTERISTICS: frozenset = frozenset()
    #: If a reply to ``batch`` with ``may_lag`` says that something is not
    #: there, a master has said so, now or a moment ago.
    confirms_nothing = False
    #: Grows whenever ``incarnation`` may have another answer for some keys:
    #: another server has taken over, or one that was lost answers again.
    successions = 0

    def __init__(self, url, settings):
        """Prepare a store; nothing is connected yet.

        :param url: nova_kvs.store.url.StoreURL.
        :param settings: nova_kvs.store.url.Settings that apply to it.
        """
        self.url = url
        self.settings = settings
        self.stats = Stats()

    @classmethod
    def identity(cls, url):
        """Return what of a URL tells one store from another, hashable."""
        return url.nodes

    @abc.abstractmethod
    def batch(self, items, replicas=0, replicas_timeout_ms=0, may_lag=False):
        """Send every item, then read every reply: one round trip.

        Items of one key keep their order; there is no atomicity between
        items. After a lost connection, in a failover and while a slot
        moves, an item may be sent, and so run, more than once.

        :param items: sequence of nova_kvs.store.operations.
        :param replicas: when not 0, every server that got a write is asked,
            behind the writes on the same connection (WAIT counts only
            there), to wait for this many of its replicas.
        :param replicas_timeout_ms: how long each server waits for them.
        :param may_lag: whether replies may be behind what others have written,
            where the option ``read_from`` allows it: all items read then.
            They are never behind what this process has written or read, of
            the same key. A list among them is not to be changed.
        :returns: list of replies, as the operations say, in the order of
            the items. With ``replicas``, one more element: the
            number of replicas that acknowledged, on the server with the
            fewest (``replicas`` itself if nothing in the batch writes).
        :raises nova_kvs.exceptions.UndeterminedError: if a reply was lost
            for good, or an item could not be sent any more, and something
            in the batch that writes may have been applied.
        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer and nothing was applied.
        :raises nova_kvs.exceptions.StoreReplyError: if a server answered
            an item with an error; the other items were still run, unless
            it says ``nothing_applied``.
        :raises nova_kvs.exceptions.ConfigurationError: if the servers are
            not what the URL and options say (password, TLS, kind).
        """

    def post(self, items, done):
        """Send items whose replies nobody waits for.

        They may get lost, without an exception. Otherwise they run soon;
        what is sent afterwards, by this thread too, may run before them.

        :param items: as for ``batch``, each of which writes.
        :param done: called with the replies, as of ``batch``, when all of
            them are there: perhaps much later, by another thread.
        :raises nova_kvs.exceptions.KVSError: as ``batch`` may.
        """
        done(self.batch(items))

    def held_up_ms(self, life_ms):
        """Return for how long a commit may be applied after its time.

        Its client may have stood still when it had looked at the time.

        :param life_ms: of the commit's outcome.
        """
        return 0

    @abc.abstractmethod
    def scan(self, pattern, count=1000):
        """Yield every key that matches, over all servers.

        As SCAN: a key may come twice, one that comes or goes meanwhile may
        be missing.

        :param pattern: bytes, as of Redis's SCAN.
        :param count: keys looked at in one round trip.
        """

    @abc.abstractmethod
    def check(self):
        """Return a dict of facts about the servers, for operators.

        :returns: ``driver`` and ``servers``: a list of dicts with
            ``address``, ``role``, ``version``, ``replicas`` (number) and
            ``replica_hosts``,
            ``used_memory`` and ``maxmemory`` (bytes), ``maxmemory_policy``,
            ``appendonly``, ``aof_last_write_status`` and
            ``rdb_last_bgsave_status``, each as the server says, and
            ``clock_offset_ms``: how far its clock is ahead of this host's.
            In a cluster ``cluster``, too: the lines of CLUSTER INFO, and
            ``node_timeout_ms`` (None if the user may not ask).
        :raises nova_kvs.exceptions.StoreUnavailableError: if no server
            answers.
        """

    @abc.abstractmethod
    def rehearse(self, key):
        """Do all that operations need to be allowed, and leave nothing.

        :param key: bytes; there must be nothing under it.
        :raises nova_kvs.exceptions.KVSError: naming what is not allowed.
        """

    @abc.abstractmethod
    def address_of(self, key):
        """Return the address of the server that has a key, as last known.

        :raises nova_kvs.exceptions.StoreUnavailableError: if no server
            tells.
        """

    def incarnation(self, key):
        """Return what stands for the server that has a key, as last known.

        It is another object from the moment on from which that server may
        lack what it has acknowledged: when it, or a connection to it, was
        lost, or another server has the key.

        :returns: None if no server is known.
        """
        return None

    def is_replaced(self, incarnation):
        """Return whether another server has taken over all of its keys."""
        return False

    def idle_connections(self):
        """Return address -> connections to it that wait for use."""
        return {}

    @abc.abstractmethod
    def close(self):
        """Give idle connections back to the system."""
