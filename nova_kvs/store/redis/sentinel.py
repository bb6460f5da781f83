# SPDX-License-Identifier: Apache-2.0
"""One Redis server that Sentinel watches, ``kvs+sentinel://``.

The hosts of the URL are sentinels; ``service`` names the master.
"""

import random
import time

from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import near as nearness
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import remote
from nova_kvs.store.redis import repetition

#: A lost server makes a process ask the sentinels at most this often.
_RELOAD_INTERVAL_S = 0.1


class SentinelStore(remote.RemoteStore):
    """A store on the server that the sentinels call master."""

    def __init__(self, url, settings):
        super().__init__(url, settings)
        self._service = url.query.get("service", "").encode()
        if not self._service:
            raise exceptions.ConfigurationError(
                "the connection URL does not say which master the sentinels "
                "watch: add ?service=name")
        sentinel_options = wire.options(
            settings, settings.sentinel_username, settings.sentinel_password)
        self._sentinels = [
            wire.Node(address, settings, sentinel_options)
            for address in url.nodes]
        self._master = None
        self._replicas = ()
        self._reloaded_at = 0.0

    @classmethod
    def identity(cls, url):
        return url.nodes, url.query.get("service")

    def _route(self, items, indexes, deadline, repeated=False):
        master = self._master or self._load(deadline)
        replicas = self._replicas
        if (not replicas or repeated
                or not self._from_replicas):
            return {master: indexes}
        replica = random.choice(replicas)
        groups = {}
        for index in indexes:
            node = master if raw.is_write(items[index]) else replica
            groups.setdefault(node, []).append(index)
        return groups

    def _route_near(self, items, deadline):
        near = self._near
        if near.must_measure() or self._master is None:
            self._look_around(deadline)
            near.measure([self._master, *self._replicas])
        return {near.choose(self._master, self._replicas):
                range(len(items))}

    def _look_around(self, deadline):
        """Learn of replicas that come and go: nobody tells of them.

        :raises NotSent: if no server is known, either.
        """
        if self._master is not None:
            # A read that could do without the sentinels waits for them.
            deadline = min(deadline, time.monotonic() + nearness.LIMIT_S)
        try:
            self._load(deadline)
        except repetition.NotSent:
            if self._master is None:
                raise

    def _learn(self, items, failures, deadline):
        now = time.monotonic()
        if now >= self._reloaded_at + _RELOAD_INTERVAL_S and not all(
                isinstance(failure.error, redis_exceptions.NoScriptError)
                for failure in failures):
            self._reloaded_at = now
            self._load(deadline)
        return {}

    def _load(self, deadline):
        """Return the master's node as the first sentinel to answer says.

        :raises NotSent: if none answers or knows a master.
        """
        failure = None
        commands = [(b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self._service)]
        if self._near is not None or self._from_replicas:
            commands.append((b"SENTINEL", b"REPLICAS", self._service))
        for sentinel in self._sentinels:
            now = time.monotonic()
            if failure is not None and now >= deadline:
                break
            try:
                address, *replicas = self._ask(
                    sentinel, *commands, deadline=min(
                        deadline, now + self.settings.connect_timeout))
            except repetition.NotSent as exc:
                failure = exc
                continue
            if address is None:
                raise exceptions.ConfigurationError(
                    "the sentinels watch no master of this name: correct "
                    "?service= of the connection URL",
                    service=self._service.decode())
            self._replicas = tuple(
                self._node(address, True) for entry in replicas[:1]
                for address in _healthy(entry))
            before = self._master
            self._master = self._node((address[0].decode(), int(address[1])))
            for replica in self._replicas:
                replica.master = self._master
            if before not in (None, self._master):
                self.successions += 1
                if self._near is not None:
                    self._near.pause()
            return self._master
        raise failure

    def _node(self, address, replica=False):
        for node in self._replicas if replica else (self._master,):
            if node is not None and node.address == address:
                return node
        return wire.Node(address, self.settings, self._options)

    def _masters(self, deadline):
        return [self._load(deadline)]

    def incarnation(self, key):
        master = self._master
        return None if master is None else self._incarnation(master)

    def is_replaced(self, incarnation):
        return incarnation.node is not self._master

    def _known_nodes(self):
        return [node for node in (self._master, *self._replicas) if node]

    def close(self):
        super().close()
        for node in (self._master, *self._replicas, *self._sentinels):
            if node is not None:
                node.drop()


def _healthy(entries):
    """Return the addresses of SENTINEL REPLICAS' entries that are up."""
    addresses = []
    for entry in entries:
        facts = dict(zip(entry[::2], entry[1::2]))
        flags = facts[b"flags"].split(b",")
        if not {b"s_down", b"o_down", b"disconnected"}.intersection(flags):
            addresses.append((facts[b"ip"].decode(), int(facts[b"port"])))
    return addresses
