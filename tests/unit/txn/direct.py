# SPDX-License-Identifier: Apache-2.0
"""The embedded store without a wire, for what runs many thousands of times.

What a command or a script does is fakeredis's doing, as in the embedded
store. Nothing is packed, sent and parsed again, a script is compiled once, and
Lua collects its garbage when it likes instead of after each script.
"""

import fakeredis
from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store import base
from nova_kvs.store.redis import commands
from nova_kvs.store.redis import raw


class DirectStore:
    """A store of one server, which never fails. Not safe for threads."""

    confirms_nothing = True
    post = base.Store.post

    def __init__(self):
        self._server = fakeredis.FakeServer(version=(7,))
        # It closes its socket when it goes.
        self._connection = fakeredis.FakeRedis(
            server=self._server, protocol=2).connection_pool.make_connection()
        self._connection.connect()
        self._socket = self._connection.get_socket()
        self._run(b"EVAL", b"return 1", b"0")
        self._server._lua_runtime = _Compiled(self._server._lua_runtime)

    def batch(self, items, replicas=0, *args):
        replies = [self._answer(item) for item in commands.encode(items)]
        commands.parse(items, replies)
        return [*replies, replicas] if replicas else replies

    def _answer(self, item):
        if type(item) is raw.ScriptCall:
            return self._run(b"EVAL", item.script.source, len(item.keys),
                             *item.keys, *item.args)
        return self._run(*item.args)

    def _run(self, *fields):
        """Return the reply to a command."""
        self._socket._process_command([
            field if type(field) is bytes else str(field).encode()
            for field in fields])
        reply = self._socket.responses.get_nowait()
        if isinstance(reply, redis_exceptions.ResponseError):
            raise exceptions.StoreReplyError(
                command=fields[0].decode(), reply=reply, server="direct")
        return reply

    def scan(self, pattern, count=1000):
        cursor = b"0"
        while True:
            cursor, keys = self._run(
                b"SCAN", cursor, b"MATCH", pattern, b"COUNT", count)
            yield from keys
            if cursor == b"0":
                return


class _Compiled:
    """A Lua runtime that compiles each script once."""

    def __init__(self, runtime):
        self._runtime = runtime
        self._functions = {"collectgarbage()": lambda: None}

    def __getattr__(self, name):
        return getattr(self._runtime, name)

    def execute(self, script):
        function = self._functions.get(script)
        if function is None:
            function = self._functions[script] = self._runtime.compile(script)
        return function()
