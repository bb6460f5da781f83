# SPDX-License-Identifier: Apache-2.0
"""Show every byte that a database has in the embedded store.

Looks behind the store's back, with a client of its own, so that nothing of
the code under test has a part in what is shown. What a run cannot repeat is
made the same: clocks stand still, and random bytes are shown by their number
and the step in which they were drawn.
"""

import contextlib
import hashlib
import itertools
import os
import re
import time
from unittest import mock

import fakeredis

from nova_kvs.record import format as stored_format

#: Seconds since the epoch at which every scenario starts.
START_S = 1700000000
#: Buckets of the queue: random bytes decide which an item gets.
_QUEUE = re.compile(rb"(:gc:)\d+")
#: Database's name -> fakeredis's server.
_servers = {}


class _Server(fakeredis.FakeServer):
    """A server that can be found by who started it."""

    last = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        _Server.last = self


class World:
    """Clocks, random bytes and the store's contents, as a scenario has them.

    :param name: the database's name, of one scenario.
    :param version: of the format in which databases are made.
    """

    def __init__(self, name, version=1):
        self.name = name
        self._new = stored_format.State(version, version)
        self.url = "kvs+memory:///" + name
        self._elapsed_s = 0
        self._step = "start"
        self._shown = {}
        self._drawn = {}
        self._numbers = itertools.count()

    @contextlib.contextmanager
    def entered(self):
        """Let the scenario's clocks and random bytes be this process's."""
        with contextlib.ExitStack() as stack:
            for module, function, replacement in (
                    (time, "time", lambda: START_S + self._elapsed_s),
                    (time, "time_ns",
                     lambda: (START_S + self._elapsed_s) * 10 ** 9),
                    (time, "monotonic", lambda: 1000 + self._elapsed_s),
                    (time, "sleep", lambda seconds: None),
                    (os, "urandom", self._draw),
                    (stored_format, "NEW", self._new),
                    (fakeredis, "FakeServer", _Server)):
                stack.enter_context(
                    mock.patch.object(module, function, replacement))
            if self.name in _servers:
                self._client().flushall()
            yield

    def step(self, name):
        """Name what comes next: random bytes of it are shown by the name."""
        self._step = name

    def advance(self, seconds):
        """Move all clocks."""
        self._elapsed_s += seconds

    def _draw(self, count):
        value = hashlib.sha256(
            b"%d" % next(self._numbers)).digest()[:count]
        self._drawn[value] = b"<%d random of %s>" % (
            count, self._step.encode())
        return value

    def _client(self):
        if self.name not in _servers:
            _servers[self.name] = _Server.last
        return fakeredis.FakeRedis(server=_servers[self.name], protocol=2)

    def dump(self):
        """Return as text which keys there are: a line for each and for each
        of its members; a name alone is one that has gone.

        Only those that are not as they were when this was called last. A
        key's line tells its type, and its time to live if it has one. The
        bytes are shown as Python would.
        """
        client = self._client()
        found = {}
        for key in client.keys():
            name = self._text(_QUEUE.sub(rb"\1N", key))
            kind = client.type(key).decode()
            left_ms = client.pttl(key)
            head = kind if left_ms < 0 else "%s %d ms" % (kind, left_ms)
            found.setdefault(name, {}).setdefault(head, []).extend(
                self._members(client, key, kind))
        for heads in found.values():
            for members in heads.values():
                members.sort()
        lines = []
        for name in sorted(found.keys() | self._shown.keys()):
            if found.get(name) == self._shown.get(name):
                continue
            if name not in found:
                lines.append(name)
            for head, members in sorted(found.get(name, {}).items()):
                lines += ["%s %s" % (name, head), *members]
        self._shown = found
        return "\n".join(lines)

    def _members(self, client, key, kind):
        if kind == "hash":
            return ["    %s = %s" % (self._text(field), self._text(value))
                    for field, value in client.hgetall(key).items()]
        if kind == "zset":
            return ["    %s @ %d" % (self._text(member), score)
                    for member, score in client.zrange(
                        key, 0, -1, withscores=True)]
        return ["    " + self._text(client.get(key))]

    def _text(self, data):
        for value, label in self._drawn.items():
            data = data.replace(value, label).replace(
                value.hex().encode(), label)
        return repr(data)[2:-1]
