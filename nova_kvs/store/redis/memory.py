# SPDX-License-Identifier: Apache-2.0
"""The embedded store, ``kvs+memory:///``: fakeredis with Lua, in the process.

Its data lives as long as the process, also when the store is closed, and
belongs to the database's name: every ``kvs+memory:///name`` of a process is
the same database. A forked process goes on with a copy.
"""

from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store import base
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import server

try:
    import fakeredis
    import lupa  # noqa: F401  fakeredis asks for it at the first script
except ImportError:
    fakeredis = None

#: fakeredis's servers by database name.
_servers = {}


class MemoryStore(server.ServerStore):
    """A store in this process, for tests and for trying out."""

    CHARACTERISTICS = frozenset([base.Characteristics.ATOMIC])

    def __init__(self, url, settings):
        if fakeredis is None:
            raise exceptions.ConfigurationError(
                "kvs+memory needs fakeredis with Lua: "
                "install nova-kvs[memory]")
        base.Store.__init__(self, url, settings)
        self._answered = True
        self._heard_at = 0.0
        self._incarnations = {}
        self._lost = set()
        self._node = _EmbeddedNode(url.database, settings)

    @classmethod
    def identity(cls, url):
        """Return the database's name: nothing else is in the URL."""
        return url.database

    def batch(self, items, replicas=0, replicas_timeout_ms=0, may_lag=False):
        replies = super().batch(items)
        if replicas:
            # There are no replicas and no server to lose.
            replies.append(replicas)
        return replies

    # Nothing takes time here.
    post = base.Store.post

    def check(self):
        """Return that there are no servers."""
        return {"driver": self.url.driver, "servers": []}


class _EmbeddedConnection(wire.Connection):
    """A connection to fakeredis: what is sent is run before it returns."""

    __slots__ = ()

    def __init__(self, wire):
        self._wire = wire
        self._limited = False
        self.received_bytes = 0
        self.scripts = set()

    # fakeredis has no EVALSHA_RO.
    read_script = b"EVALSHA"

    def send(self, pieces):
        # One by one, since fakeredis copies what is left of a buffer for
        # each argument that it takes from it.
        self._wire.send_packed_command(pieces, check_health=False)

    def read(self):
        try:
            reply = self._wire.read_response()
        except redis_exceptions.ConnectionError:
            raise
        except redis_exceptions.ResponseError as exc:
            return exc
        self.received_bytes += size(reply)
        return reply

    def limit(self, timeout_s):
        """Do nothing: every reply is there already."""


class _EmbeddedNode(wire.Node):

    __slots__ = ("_pool",)

    def __init__(self, database, settings):
        super().__init__(("memory", 0), settings, (None, None))
        fake = _servers.get(database)
        if fake is None:
            fake = _servers.setdefault(
                database, fakeredis.FakeServer(version=(7,)))
        self._pool = fakeredis.FakeRedis(
            server=fake, protocol=2).connection_pool

    def _connect(self, deadline):
        connection = self._pool.make_connection()
        connection.connect()
        return _EmbeddedConnection(connection)


def size(reply):
    """Return roughly how many bytes a reply has."""
    if type(reply) is bytes:
        return len(reply)
    if type(reply) is list:
        return sum(map(size, reply))
    return 8
