# SPDX-License-Identifier: Apache-2.0
"""What is written outside of the partitions: hints and the like."""

import typing

from nova_kvs.store import base
from nova_kvs.store.redis import scripts

ENQUEUE = scripts.load("nova_kvs.txn", "enqueue")


class Entry(typing.NamedTuple):
    """A member that is to be in a sorted set."""

    key: bytes
    member: bytes
    #: Its score is the time at which this is over, by the clock of the
    #: server that holds the key; None: the score is 0.
    due_in_ms: int | None = None

    def item(self):
        """Return the item of a batch that adds it."""
        if self.due_in_ms is None:
            return base.Command(self.key, (b"ZADD", self.key, 0, self.member))
        return base.ScriptCall(
            ENQUEUE, (self.key,), (self.member, self.due_in_ms))

    def how(self):
        """Return what commit.lua is to do with the member."""
        return b"" if self.due_in_ms is None else self.due_in_ms


class Raised(typing.NamedTuple):
    """A member of a sorted set whose score is to be at least this."""

    key: bytes
    member: bytes
    score: int

    def item(self):
        """Return the item of a batch that raises it."""
        return base.Command(
            self.key, (b"ZADD", self.key, b"GT", self.score, self.member))

    def how(self):
        """Return what commit.lua is to do with the member."""
        return b">%d" % self.score


class Field(typing.NamedTuple):
    """A field of a hash."""

    key: bytes
    member: bytes
    value: bytes

    def item(self):
        """Return the item of a batch that writes it."""
        return base.Command(
            self.key, (b"HSET", self.key, self.member, self.value))

    def how(self):
        """Return what commit.lua is to do with the field."""
        return b"=" + self.value
