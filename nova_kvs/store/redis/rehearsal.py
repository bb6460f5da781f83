# SPDX-License-Identifier: Apache-2.0
"""Tries whether the user may run every command that operations need."""

from nova_kvs.store.redis import commands
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import scripts

PROBE = scripts.load("nova_kvs.store.redis", "probe")

#: Commands outside of scripts, each harmless on a key that does not exist.
_COMMANDS = (
    (b"EXISTS",), (b"GET",), (b"HDEL", b"f"), (b"HGET", b"f"), (b"HGETALL",),
    (b"HKEYS",), (b"HMGET", b"f"), (b"HSCAN", b"0"), (b"PEXPIRE", 1),
    (b"PTTL",), (b"UNLINK",), (b"ZRANGEBYLEX", b"-", b"+"),
    (b"ZREM", b"m"), (b"ZREVRANGEBYLEX", b"+", b"-"), (b"ZSCAN", b"0"),
    (b"ZSCORE", b"m"))
_CREATING = ((b"SET", b"", b"PX", 1), (b"INCRBY", 1), (b"ZADD", 0, b"m"))


def run(store, key):
    """Run one after the other, so that an error names the command.

    :param key: key that does not exist; nothing of it is left.
    """
    for name, *args in _COMMANDS:
        store.batch([raw.Command(key, (name, key, *args))])
    # Sent by itself: another user may have loaded it.
    store.batch([raw.Command(key, (b"SCRIPT", b"LOAD", PROBE.source))])
    store.batch([raw.ScriptCall(PROBE, (key, key + b"x", key + b"w"), ())])
    store.batch([raw.ScriptCall(commands.CLOCK, (key,), ())])
    for name, *args in _CREATING:
        # In one round trip with what removes it again.
        store.batch([
            raw.Command(key, (name, key, *args)),
            raw.Command(key, (b"UNLINK", key))])
