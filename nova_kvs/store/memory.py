# SPDX-License-Identifier: Apache-2.0
"""The embedded store: fakeredis with Lua, in this process.

Its data lives as long as the process, also when the store is closed, and
belongs to the database's name: every ``kvs+memory:///name`` of a process is
the same database. A forked process goes on with a copy.
"""

import fakeredis
from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store import base

_servers = {}


class MemoryStore(base.Store):
    """A store in this process, for tests and trying out."""

    CHARACTERISTICS = frozenset()

    def __init__(self, url, settings):
        super().__init__(url, settings)
        self._server = _servers.setdefault(
            url.database, fakeredis.FakeServer(version=(7,)))
        self._client = fakeredis.FakeRedis(
            server=self._server, protocol=2)
        self._client.response_callbacks.clear()
        self._loaded = set()

    @classmethod
    def identity(cls, url):
        """Return the database's name: nothing else is in the URL."""
        return url.database

    def batch(self, items, replicas=0, replicas_timeout_ms=0):
        pipeline = self._client.pipeline(transaction=False)
        for item in items:
            if type(item) is base.ScriptCall:
                script = item.script
                if script.sha not in self._loaded:
                    self._client.execute_command(
                        "SCRIPT LOAD", script.source)
                    self._loaded.add(script.sha)
                pipeline.execute_command(
                    "EVALSHA", script.sha, len(item.keys), *item.keys,
                    *item.args)
            else:
                pipeline.execute_command(*item.args)
        try:
            replies = pipeline.execute()
        except redis_exceptions.ResponseError as exc:
            raise exceptions.StoreReplyError(reply=exc) from exc
        self.stats.round_trips += 1
        self.stats.commands += len(items)
        if replicas:
            replies.append(replicas)
        return replies

    def scan(self, pattern, count=1000):
        cursor = b"0"
        while True:
            cursor, keys = self._client.execute_command(
                "SCAN", cursor, "MATCH", pattern, "COUNT", count)
            yield from keys
            if cursor == b"0":
                return

    def check(self):
        return {"driver": "memory", "servers": []}

    def close(self):
        pass
