# SPDX-License-Identifier: Apache-2.0
"""The items of which a batch consists when servers get it.

They are what the operations of a batch become: commands and script calls.
"""

import typing


class Script(typing.NamedTuple):
    """A Lua script."""

    name: str
    source: bytes
    sha: bytes
    #: False for a script that only reads: it may go to a replica.
    writes: bool = True


class Command(typing.NamedTuple):
    """One Redis command on one key; ``args[0]`` is the command's name."""

    key: bytes
    args: tuple


class ScriptCall(typing.NamedTuple):
    """One run of a script; all its keys share one hash slot.

    On a store that is ATOMIC they may be any.
    """

    script: Script
    keys: tuple
    args: tuple

    @property
    def key(self):
        """The key that says where it belongs."""
        return self.keys[0]


#: Commands that change nothing: they may go to a replica, and a lost reply
#: to one leaves nothing undetermined.
READING_COMMANDS = frozenset([
    b"EXISTS", b"GET", b"HEXISTS", b"HGET", b"HGETALL", b"HKEYS", b"HLEN",
    b"HMGET", b"HSCAN", b"HSTRLEN", b"PTTL", b"TTL", b"TYPE", b"ZCARD",
    b"ZCOUNT", b"ZLEXCOUNT", b"ZRANGE", b"ZRANGEBYLEX", b"ZRANGEBYSCORE",
    b"ZREVRANGEBYLEX", b"ZSCAN", b"ZSCORE"])


def key_of(item):
    """Return the key that says where an item belongs."""
    if type(item) is ScriptCall:
        return item.keys[0]
    return item.key


def keys_of(item):
    """Return all keys of an item, as a tuple."""
    if type(item) is ScriptCall:
        return item.keys
    return (item.key,)


def is_write(item):
    """Return whether an item of a batch may change something."""
    if type(item) is ScriptCall:
        return item.script.writes
    name = item.args[0]
    if isinstance(name, str):
        name = name.encode()
    return name.upper() not in READING_COMMANDS
