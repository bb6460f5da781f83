# SPDX-License-Identifier: Apache-2.0
"""Servers without sockets: they answer from a list."""

from redis import exceptions as redis_exceptions

from nova_kvs.store.redis import cluster
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import remote
from nova_kvs.store import url as store_url

LOST = redis_exceptions.ConnectionError("Connection closed by server.")


class StubConnection:
    """A connection that notes what happens to it in ``node.log``."""

    read_script = b"EVALSHA_RO"

    def __init__(self, node):
        self.node = node
        self.scripts = set()
        self.received_bytes = 0
        self.is_open = True

    def send(self, pieces):
        self.node.log.append(("send", self.node.name, [
            piece.split(b"\r\n")[2::2] for piece in pieces]))

    def read(self):
        self.node.log.append(("read", self.node.name))
        reply = self.node.replies.pop(0)
        if isinstance(reply, BaseException) and not isinstance(
                reply, redis_exceptions.ResponseError):
            raise reply
        if isinstance(reply, bytes):
            self.received_bytes += len(reply)
        return reply

    def post(self, pieces, count, done):
        if self.node.replies and self.node.replies[0] is LOST:
            raise self.node.replies.pop(0)
        self.send(pieces)
        self.node.posted.append((count, done))

    def limit(self, timeout_s):
        self.node.limits.append(timeout_s)

    def close(self):
        self.is_open = False
        self.node.log.append(("close", self.node.name))


class StubNode:
    """A node whose next replies are given; an exception is one, too.

    LOST (and any exception but an error reply) ends the connection.
    """

    def __init__(self, name, log, *replies):
        self.name = name
        self.log = log
        self.address = (name, 1)
        self.replies = list(replies)
        self.refuse = 0
        self.limits = []
        self.idle = []
        self.posted = []
        self.master = None

    def acquire(self, deadline):
        if self.refuse:
            self.refuse -= 1
            raise redis_exceptions.ConnectionError("refused")
        return self.idle.pop() if self.idle else StubConnection(self)

    def release(self, connection):
        assert connection.is_open
        self.log.append(("release", self.name))
        self.idle.append(connection)

    def drop(self):
        self.idle.clear()


class StubStore(remote.RemoteStore):
    """A store that finds a key's node by the key's first letter."""

    _PASSING = cluster.ClusterStore._PASSING

    def __init__(self, nodes, answered=True, **options):
        url = store_url.parse_url("kvs+cluster://stub/db")
        options.setdefault("request_timeout", 0.05)
        super().__init__(url, url.settings(**options))
        self._answered = answered
        self.nodes = {node.name.encode(): node for node in nodes}
        self.asked = {}
        self.learned = []

    def _route(self, items, indexes, deadline, repeated=False):
        groups = {}
        for index in indexes:
            node = self.nodes[raw.key_of(items[index])[:1]]
            groups.setdefault(node, []).append(index)
        return groups

    def _learn(self, items, failures, deadline):
        self.learned.append([failure.index for failure in failures])
        asked, self.asked = self.asked, {}
        return asked

    def _masters(self, deadline):
        return list(self.nodes.values())

    def close(self):
        pass
