# SPDX-License-Identifier: Apache-2.0
"""Chooses a server near by for a read; tells if its answer is new enough.

Every exchange with a master ends with ROLE, whose answer has the master's
replication offset: what this process wrote or read there is not above it.
Every read of a replica begins with ROLE, whose answer has the offset up to
which the replica has its master's writes. Invariant: a reply of a replica
that is behind what this process knew of the master when it asked is not
used. So a process sees its own writes, never sees an older state after a
newer one, and after a conflict sees what it conflicted with.
"""

import selectors
import time

from redis import exceptions as redis_exceptions

from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import nothing

#: The hosts' distances are measured no more often than this.
MEASURE_S = 10
#: A server may take this time to answer that. A host that does not is left
#: alone for longer, since asking it takes as long.
LIMIT_S = 1.0
FAILED_AGAIN_S = 60
#: It is asked so many times: the fastest answer counts, for a busy process
#: may see to one late.
PINGS = 3
#: A replica is asked if it is so much nearer than the master: that of two
#: equal ones the master answers costs nothing, and is never behind.
FACTOR = 2
#: A replica that is behind is given these times to catch up, if its master is
#: WORTH_S away: what told the process of the write and what tells the replica
#: are sent at once, and each may be the slower one.
PATIENCE_S = (0.001, 0.004)
WORTH_S = 0.01
#: A replica that failed, or is not replicated to, is not asked so long.
AVOID_S = 10
#: Replicas are not asked so long after slots have got other masters: what
#: was known of the old ones' offsets does not hold.
PAUSE_S = 5

_ROLE = wire.packed((b"ROLE",))
_PING = wire.packed((b"PING",))
_INFINITE = float("inf")


class Behind(Exception):
    """A replica does not have what this process knows its master has."""


class Alone(Behind):
    """A replica does not hear of what its master gets."""


#: After these a replica is asked again at once.
_NO_FAULTS = (Behind, nothing.Unsure, redis_exceptions.NoScriptError)

#: Host -> seconds that it takes to answer, and when that is to be measured:
#: for all stores of the process.
_distances = {}
_measure_at = {}
#: The distances have changed so many times.
_changes = 0


class Near:
    """The distance and the age of servers, as a process knows them.

    Safe for threads: what two of them do at once at worst costs a trip.
    """

    def __init__(self):
        self._distances = _distances
        self._measure_at = 0.0
        self._changes = 0
        #: Master -> the highest offset that it or a replica told.
        self._offsets = {}
        #: Master -> its replicas, as it lists them.
        self._listed = {}
        #: Master -> where its reads go.
        self._chosen = {}
        self._avoided = {}
        self._paused_until = 0.0
        self._pauses = {}

    # Where reads go ---------------------------------------------------------

    def choose(self, master, replicas):
        """Return the node that answers reads of a master's slots.

        :param replicas: nodes of its replicas.
        """
        now = time.monotonic()
        if now < self._paused_until or (
                self._pauses and now < self._pauses.get(master, 0.0)):
            return master
        if self._changes != _changes:
            self._changes = _changes
            self._chosen.clear()
        chosen = self._chosen.get(master)
        if chosen is None:
            chosen = self._chosen[master] = self._nearest(
                master, [node for node in replicas
                         if now >= self._avoided.get(node.address, 0.0)])
        return chosen

    def _nearest(self, master, replicas):
        if not replicas:
            return master
        nearest = min(replicas, key=self._distance)
        if FACTOR * self._distance(nearest) < self._distance(master):
            return nearest
        return master

    def _distance(self, node):
        return self._distances.get(node.address[0], _INFINITE)

    def avoid(self, node):
        """Do not ask a replica for a while."""
        self._avoided[node.address] = time.monotonic() + AVOID_S
        self._chosen.clear()

    def learn(self, failures):
        """Leave replicas alone for a while that failed to answer.

        :param failures: of nova_kvs.store.redis.repetition.Failure.
        """
        for failure in failures:
            node = failure.node
            if node is not None and node.master is not None and not (
                    isinstance(failure.error, _NO_FAULTS)):
                self.avoid(node)

    def pause(self):
        """Ask masters only for a while: others serve some slots now."""
        self._paused_until = time.monotonic() + PAUSE_S
        self._chosen.clear()

    def lost(self, node):
        """Take note that a connection to a node was lost.

        A master may begin its offsets anew.
        """
        if node.master is None:
            self._offsets.pop(node, None)
            self._pauses[node] = time.monotonic() + PAUSE_S

    def addresses_of_replicas(self, master):
        """Return the addresses of the replicas that a master has told of."""
        return [(host.decode(), int(port))
                for host, port, _ in self._listed.get(master, ())]

    # Age --------------------------------------------------------------------

    def pack(self, node, pieces, plan):
        """Add ROLE to the packed commands for a node and to their plan.

        :returns: the offset that a replica must have for its replies to be
            used: what has been seen of its master before it is asked.
        """
        if node.master is None:
            pieces.append(_ROLE)
            plan.append(wire.ROLE)
            return None
        pieces.insert(0, _ROLE)
        plan.insert(0, wire.ROLE)
        return self._offsets.get(node.master, 0)

    def check(self, node, role, wanted):
        """Look at a node's answer to ROLE.

        :param wanted: what ``pack`` returned.
        :returns: None if its replies may be used, else the error that they
            are to count as.
        """
        if node.master is None:
            # One that has become a replica refuses writes anyway; a user
            # who may not ask is told so by a replica.
            if type(role) is list and role[0] == b"master":
                self._note(node, role[1])
                self._listed[node] = role[2]
            return None
        if isinstance(role, Exception):
            return role
        if role[0] != b"slave" or role[3] != b"connected":
            self.avoid(node)
            return Alone("not connected with its master")
        if role[4] < wanted:
            return Behind("behind what this process knows")
        # Another replica may not have what this one has.
        self._note(node.master, role[4])
        return None

    def _note(self, master, offset):
        if offset > self._offsets.get(master, 0):
            self._offsets[master] = offset

    def be_patient(self, failures, ask):
        """Let replicas that are just behind catch up.

        :param failures: list of nova_kvs.store.redis.repetition.Failure.
        :param ask: function of ``{node: [index]}`` that asks nodes again and
            returns a list of Failures.
        :returns: those that are left.
        """
        for pause_s in PATIENCE_S:
            late = {}
            others = []
            for failure in failures:
                node = failure.node
                if type(failure.error) is Behind and (
                        self._distance(node.master) >= WORTH_S):
                    late.setdefault(node, []).append(failure.index)
                else:
                    others.append(failure)
            if not late:
                break
            time.sleep(pause_s)
            failures = others + ask(late)
        return failures

    # Distances --------------------------------------------------------------

    def must_measure(self):
        """Tell, to one caller each time, whether it has to ``measure``."""
        now = time.monotonic()
        if now < self._measure_at:
            return False
        self._measure_at = now + MEASURE_S
        return True

    def measure(self, nodes):
        """Measure how far hosts are: a few round trips to the farthest.

        :param nodes: of every host at least one.
        """
        global _changes
        now = time.monotonic()
        hosts = {}
        # The connections to masters will be needed anyway.
        for node in sorted(nodes, key=lambda node: node.master is not None):
            if now >= _measure_at.get(node.address[0], 0.0):
                hosts.setdefault(node.address[0], node)
        _measure_at.update(dict.fromkeys(hosts, now + MEASURE_S))
        # First all connections: to open one takes several times as long as
        # what is measured.
        asked = []
        limit = now + LIMIT_S
        # Somebody's read waits for this: hosts that do not answer share the
        # time, and those that did last time come before them.
        for node in sorted(hosts.values(), key=self._distance):
            begun_at = time.monotonic()
            try:
                if begun_at < limit:
                    asked.append((node, node.acquire(limit)))
                    continue
            except wire.LOST:
                if (time.monotonic() < limit
                        or begun_at <= limit - LIMIT_S / 2):
                    self._failed(node)
                    continue
            # It had little time, or none: the next measurement is its.
            _measure_at.pop(node.address[0], None)
        found = dict.fromkeys(hosts, _INFINITE)
        for _ in range(PINGS):
            asked = self._ping(asked, found)
        for node, connection in asked:
            node.release(connection)
        for host, elapsed_s in found.items():
            if elapsed_s < _INFINITE:
                self._distances[host] = elapsed_s
        _changes += 1

    def _ping(self, asked, found):
        """Have all nodes answer at once.

        :param asked: list of (node, connection).
        :param found: dict of host -> shortest time so far.
        :returns: those of the list that answered.
        """
        answered = []
        with selectors.DefaultSelector() as waiting:
            start = time.monotonic()
            for node, connection in asked:
                try:
                    connection.send([_PING])
                except wire.LOST:
                    connection.close()
                else:
                    waiting.register(connection, selectors.EVENT_READ, node)
            left_s = LIMIT_S
            while waiting.get_map() and left_s > 0:
                for key, _ in waiting.select(left_s):
                    connection, node = key.fileobj, key.data
                    waiting.unregister(connection)
                    try:
                        connection.read()
                    except wire.LOST:
                        # It was idle for too long, perhaps.
                        connection.close()
                        node.drop()
                        continue
                    host = node.address[0]
                    found[host] = min(
                        found[host], time.monotonic() - start)
                    answered.append((node, connection))
                left_s = start + LIMIT_S - time.monotonic()
            for key in list(waiting.get_map().values()):
                key.fileobj.close()
                self._failed(key.data)
        return answered

    def _failed(self, node):
        host = node.address[0]
        self._distances.pop(host, None)
        _measure_at[host] = time.monotonic() + FAILED_AGAIN_S
