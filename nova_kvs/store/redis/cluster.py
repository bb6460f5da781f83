# SPDX-License-Identifier: Apache-2.0
"""Redis Cluster, ``kvs+cluster://``.

The topology is learned from any node that answers, and again when a slot
has moved or a node is lost. Nodes that the URL names are asked too, so a
process finds the cluster again after all the nodes it knew have gone.
"""

import random
import time

from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import base
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import near as nearness
from nova_kvs.store.redis import nothing
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import remote
from nova_kvs.store.redis import repetition

_SLOTS = 16384
#: A lost node makes a process ask for the topology at most this often.
_RELOAD_INTERVAL_S = 0.1
#: A moved slot is put right from the redirection itself; the rest of the
#: topology is then asked for at most this often.
_MOVED_INTERVAL_S = 1.0
#: Where reads may go to replicas the topology is asked for this often: nobody
#: tells of a replica that came.
LOOK_S = 60
#: Told instead of a name where ``cluster-preferred-endpoint-type`` is
#: ``hostname`` and a node has no ``cluster-announce-hostname``.
_UNNAMED = "?"


class Topology:
    """The nodes of each slot, as last learned."""

    def __init__(self):
        self.masters = [None] * _SLOTS
        self.replicas = [()] * _SLOTS


class ClusterStore(remote.RemoteStore):
    """A store on a Redis Cluster."""

    CHARACTERISTICS = remote.RemoteStore.CHARACTERISTICS - {
        base.Characteristics.ATOMIC}
    confirms_nothing = True

    # MOVED is a kind of ASK to redis-py.
    _PASSING = remote.RemoteStore._PASSING + (redis_exceptions.AskError,)

    def __init__(self, url, settings):
        super().__init__(url, settings)
        self._topology = None
        self._nodes = {}
        self._reloaded_at = 0.0
        self._look_at = 0.0
        if self._near is not None or self._from_replicas:
            self._nothing = nothing.Nothing()

    def _node(self, address, replica=False):
        key = (address, replica)
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes.setdefault(key, wire.Node(
                address, self.settings, self._options,
                on_connect=((b"READONLY",),) if replica else ()))
        return node

    def _route(self, items, indexes, deadline, repeated=False):
        if self._from_replicas:
            self._look_around(deadline)
        topology = self._topology or self._load(deadline)
        masters = topology.masters
        slot = keyspace.slot
        if len(items) == 1 and not self._from_replicas:
            return {masters[slot(raw.key_of(items[0]))]: indexes}
        from_replicas = self._from_replicas and not repeated
        groups = {}
        for index in indexes:
            item = items[index]
            number = slot(raw.key_of(item))
            node = masters[number]
            if from_replicas and not raw.is_write(item):
                node = random.choice(topology.replicas[number] or (node,))
            group = groups.get(node)
            if group is None:
                groups[node] = [index]
            else:
                group.append(index)
        return groups

    def _look_around(self, deadline):
        """Learn of replicas that came or went, once in a while."""
        now = time.monotonic()
        if self._topology is None or now < self._look_at:
            return
        self._look_at = now + LOOK_S
        try:
            # What could do without the topology waits for it.
            self._load(min(deadline, now + nearness.LIMIT_S))
        except repetition.NotSent:
            pass

    def _route_near(self, items, deadline):
        self._look_around(deadline)
        topology = self._topology or self._load(deadline)
        near = self._near
        if near.must_measure():
            near.measure(list(self._nodes.values()))
        masters = topology.masters
        replicas = topology.replicas
        groups = {}
        for index, item in enumerate(items):
            number = keyspace.slot(raw.key_of(item))
            node = near.choose(masters[number], replicas[number])
            groups.setdefault(node, []).append(index)
        return groups

    def _learn(self, items, failures, deadline):
        asked = {}
        interval_s = None
        for failure in failures:
            error = failure.error
            if isinstance(error, redis_exceptions.MovedError):
                self._pause_near()
                self._topology.masters[error.slot_id] = self._redirected(
                    error, failure.node)
                self.successions += 1
                interval_s = interval_s or _MOVED_INTERVAL_S
            elif isinstance(error, redis_exceptions.AskError):
                asked[failure.index] = self._redirected(error, failure.node)
            elif not isinstance(error, (redis_exceptions.NoScriptError,
                                        redis_exceptions.TryAgainError,
                                        nearness.Behind,
                                        nothing.Unsure)):
                interval_s = _RELOAD_INTERVAL_S
        if interval_s is not None:
            self._reload(interval_s, deadline, {
                failure.node.address for failure in failures
                if failure.node is not None})
        return asked

    def _redirected(self, error, node):
        if error.host == _UNNAMED:
            raise _unnamed(error.port, node.address)
        return self._node((error.host or node.address[0], error.port))

    def _reload(self, interval_s, deadline, failed):
        """Ask for the topology unless somebody here has just done so.

        Whoever comes while another thread asks goes on with what is known.

        :param failed: addresses to ask last: they may hang.
        """
        now = time.monotonic()
        if now < self._reloaded_at + interval_s:
            return
        self._reloaded_at = now
        self._load(deadline, failed)

    def _load(self, deadline, failed=frozenset()):
        """Return the topology as the first node that answers tells it.

        :raises NotSent: if none answers.
        :raises nova_kvs.exceptions.ConfigurationError: if the servers are
            no cluster.
        """
        known = list(dict.fromkeys(
            address for address, _ in list(self._nodes)))
        random.shuffle(known)
        candidates = sorted(
            dict.fromkeys(known + list(self.url.nodes)),
            key=failed.__contains__)
        failure = None
        for address in candidates:
            now = time.monotonic()
            if failure is not None and now >= deadline:
                break
            try:
                ranges, = self._ask(
                    self._node(address), (b"CLUSTER", b"SLOTS"),
                    deadline=min(
                        deadline, now + self.settings.connect_timeout))
            except repetition.NotSent as exc:
                failure = exc
                continue
            except exceptions.StoreReplyError as exc:
                if "cluster support disabled" in str(exc):
                    raise exceptions.ConfigurationError(
                        "the server is not a node of a Redis Cluster: name "
                        "nodes of one, or use kvs+redis://",
                        server="%s:%d" % address) from None
                raise
            if ranges:
                return self._take(ranges, address)
            failure = repetition.NotSent(redis_exceptions.ClusterDownError(
                "%s:%d knows no node with hash slots" % address))
        raise failure

    def _take(self, ranges, asked):
        """Make what CLUSTER SLOTS answered the topology."""
        topology = Topology()
        addresses = set()
        for first, last, *entries in ranges:
            if entries and entries[0][0] == _UNNAMED.encode():
                raise _unnamed(entries[0][1], asked)
            nodes = [address for address in (
                _address(entry, asked[0]) for entry in entries) if address]
            if not nodes:
                continue
            addresses.update(nodes)
            count = last + 1 - first
            topology.masters[first:last + 1] = [self._node(nodes[0])] * count
            if self._near or self._from_replicas:
                replicas = tuple(
                    self._node(address, True) for address in nodes[1:])
                for replica in replicas:
                    replica.master = topology.masters[first]
                topology.replicas[first:last + 1] = [replicas] * count
        # A node answers for a slot that nobody has: CLUSTERDOWN, which is
        # then repeated like any other passing fault.
        anyone = self._node(asked)
        topology.masters = [node or anyone for node in topology.masters]
        is_changed = self._topology is not None and (
            self._topology.masters != topology.masters)
        if is_changed:
            self._pause_near()
        self._topology = topology
        self.successions += is_changed
        self._look_at = time.monotonic() + LOOK_S
        for key in list(self._nodes):
            if key[0] not in addresses:
                node = self._nodes.pop(key, None)
                if node is not None:  # no other thread was faster
                    self._incarnations.pop(node, None)
                    node.drop()
        return topology

    def _pause_near(self):
        if self._near is not None:
            self._near.pause()

    def incarnation(self, key):
        topology = self._topology
        if topology is None:
            return None
        return self._incarnation(topology.masters[keyspace.slot(key)])

    def is_replaced(self, incarnation):
        return incarnation.node not in self._topology.masters

    def _masters(self, deadline):
        return list(dict.fromkeys(self._load(deadline).masters))

    def _node_timeout_ms(self, node):
        """Return cluster-node-timeout, or None if the user may not ask."""
        try:
            reply, = self._ask(
                node, (b"CONFIG", b"GET", b"cluster-node-timeout"))
        except exceptions.KVSError:
            return None
        return int(reply[1]) if len(reply) == 2 else None

    def check(self):
        facts = super().check()
        try:
            master = self._masters(
                time.monotonic() + self.settings.request_timeout)[0]
            facts["cluster"] = self._lines(master, b"CLUSTER", b"INFO")
            nodes, = self._ask(master, (b"CLUSTER", b"NODES"))
        except repetition.NotSent as exc:
            raise self._unavailable(exc.cause) from exc.cause
        members = {line.split()[0] for line in nodes.splitlines()}
        facts["node_timeout_ms"] = self._node_timeout_ms(master)
        facts["silent"], facts["strangers"] = [], []
        for address in self.url.nodes:
            try:
                member, = self._ask(
                    self._node(address), (b"CLUSTER", b"MYID"),
                    deadline=time.monotonic()
                    + self.settings.connect_timeout)
            except repetition.NotSent:
                facts["silent"].append("%s:%d" % address)
            except exceptions.KVSError:
                facts["strangers"].append("%s:%d" % address)
            else:
                if member not in members:
                    facts["strangers"].append("%s:%d" % address)
        return facts

    def _known_nodes(self):
        return list(self._nodes.values())

    def close(self):
        super().close()
        for node in list(self._nodes.values()):
            node.drop()


def _address(entry, asked_host):
    """Return the address in an entry of CLUSTER SLOTS.

    An empty host means the one that was asked, ``?`` that it is not known.
    """
    host = entry[0].decode() if entry[0] else asked_host
    return None if host == _UNNAMED else (host, entry[1])


def _unnamed(port, asked):
    """Return the error about a node that nobody can connect to.

    :param asked: address of the node that told of it.
    """
    return exceptions.ConfigurationError(
        "a node of the Redis Cluster announces no host name, only '?': set "
        "cluster-announce-hostname on that node (CONFIG SET and redis.conf), "
        "or cluster-preferred-endpoint-type to ip on all nodes",
        port=port, told_by="%s:%d" % asked)
