# SPDX-License-Identifier: Apache-2.0
"""Operations as Redis's commands and scripts, and replies as their values.

Most operations are one command with the reply that Redis gives; those stand
in ``_ENCODERS`` only. This runs for each item of each batch.
"""

import functools
import struct

from nova_kvs import keyspace
from nova_kvs.store import freeing
from nova_kvs.store import operations
from nova_kvs.store.redis import commits
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import scripts

_PACKAGE = "nova_kvs.store.redis"
READ_PREFIXES = scripts.load(_PACKAGE, "read_prefixes")
READ_INDEX = scripts.load(_PACKAGE, "read_index")
READ_HAVING = scripts.load(_PACKAGE, "read_having")
CLOCK = scripts.load(_PACKAGE, "clock")
ENQUEUE = scripts.load(_PACKAGE, "enqueue")
LEASE = scripts.load(_PACKAGE, "lease")
DROP_FLOOR = scripts.load(_PACKAGE, "drop_floor")
DROP_INCLUDED = scripts.load(_PACKAGE, "drop_included")
DISCARD = scripts.load(_PACKAGE, "discard")
CORRECT_INDEX = scripts.load(_PACKAGE, "correct_index")
RUN_WHEN_FULL = scripts.load(_PACKAGE, "run_when_full")

is_freeing = freeing.is_freeing
_Command = raw.Command
_ScriptCall = raw.ScriptCall
_VERSION = struct.Struct(">Q")


def encode(batch):
    """Return the commands and script calls of a batch's operations."""
    items = [_ENCODERS[type(operation)](operation) for operation in batch]
    return [_when_full(item) for item in items] if is_freeing() else items


@functools.cache
def _script_when_full(script):
    """Return a script that also runs where its server has no memory left.

    All scripts that write begin with a key that has no end of life.
    """
    return scripts.made(script.name + "_when_full", (
        b"redis.call('PERSIST', KEYS[1])\n" + script.source), script.writes)


def _when_full(item):
    """Return an item that its server runs without free memory, too."""
    if not raw.is_write(item):
        return item
    if type(item) is _ScriptCall:
        if item.script is commits.ABORT:
            # Its key has an end of life, and it begins with such a write.
            return item
        return item._replace(script=_script_when_full(item.script))
    if item.args[0] not in _MAY_GROW:
        return item
    return _ScriptCall(RUN_WHEN_FULL, (item.key,), item.args)


#: Commands of operations that Redis refuses where it has no memory left.
_MAY_GROW = frozenset([b"ZADD", b"HSET", b"INCRBY"])


def parse(batch, replies):
    """Put the operations' values in place of Redis's replies.

    :param replies: those to ``encode(batch)``, perhaps with more behind.
    """
    for number, operation in enumerate(batch):
        parser = _PARSERS.get(type(operation))
        if parser is not None:
            replies[number] = parser(replies[number])


# Reading --------------------------------------------------------------------

def _read_partition(operation):
    key, prefixes = operation
    if prefixes:
        return _ScriptCall(READ_PREFIXES, (key,), prefixes)
    return _Command(key, (b"HGETALL", key))


def _read_fields(operation):
    key, fields = operation
    return _Command(key, (b"HMGET", key, b"f", *fields,
                          *[b"i" + field for field in fields]))


def _read_index(operation):
    key, index_key, ranges, limit, reverse = operation
    args = [-1 if limit is None else limit,
            b"ZREVRANGEBYLEX" if reverse else b"ZRANGEBYLEX"]
    for low, high in ranges:
        args += (high, low) if reverse else (low, high)
    return _ScriptCall(READ_INDEX, (key, index_key), tuple(args))


def _read_members(operation):
    key, low, high, limit, reverse, having = operation
    if reverse:
        args = (b"ZREVRANGEBYLEX", key, high, low)
    else:
        args = (b"ZRANGEBYLEX", key, low, high)
    if having:
        return _read_having(key, args, having)
    if limit is not None:
        args += (b"LIMIT", 0, limit)
    return _Command(key, args)


def _read_having(key, args, having):
    found = [args[0], *args[2:], keyspace.LONGEST_WHOLE_BYTES]
    for place, values, part in having:
        found += (place, 0, part) if values is None else (
            place, len(values), *values)
    return _ScriptCall(READ_HAVING, (key,), tuple(found))


def _page(command):
    def encode_page(operation):
        key, cursor, count = operation
        return _Command(key, (
            command, key, cursor or b"0", b"COUNT", count))
    return encode_page


def _one(command):
    """Return the encoder of a command whose arguments are the operation's."""
    def encode_one(operation):
        return _Command(operation[0], (command, *operation))
    return encode_one


# Writing --------------------------------------------------------------------

def _add(operation):
    key, member, due_in_ms = operation
    if due_in_ms is None:
        return _Command(key, (b"ZADD", key, 0, member))
    return _ScriptCall(ENQUEUE, (key,), (member, due_in_ms))


def _raise(operation):
    key, member, score = operation
    return _Command(key, (b"ZADD", key, b"GT", score, member))


def _lease_tasks(operation):
    key, limit, lease_ms = operation
    return _ScriptCall(LEASE, (key,), (limit, lease_ms))


def _correct_index(operation):
    key, index_key, field, version, entry, wanted = operation
    return _ScriptCall(CORRECT_INDEX, (key, index_key), (
        field, _VERSION.pack(version) if version else b"",
        b"ZADD" if wanted else b"ZREM", entry))


def _itself(item):
    return item


_ENCODERS = {
    # What only makes sense of Redis, such as tests of it.
    raw.Command: _itself,
    raw.ScriptCall: _itself,
    operations.ReadPartition: _read_partition,
    operations.ReadFields: _read_fields,
    operations.ReadIndex: _read_index,
    operations.ReadMembers: _read_members,
    operations.ReadScores: lambda operation: _Command(operation.key, (
        b"ZRANGE", operation.key, 0, -1, b"WITHSCORES")),
    operations.ReadAll: _one(b"HGETALL"),
    operations.ListFields: _one(b"HKEYS"),
    operations.CountFields: _one(b"HLEN"),
    operations.GetField: _one(b"HGET"),
    operations.HasField: _one(b"HEXISTS"),
    operations.GetScore: _one(b"ZSCORE"),
    operations.Get: _one(b"GET"),
    operations.Exists: _one(b"EXISTS"),
    operations.LivesForEver: _one(b"PTTL"),
    operations.ReadClock: lambda operation: _ScriptCall(
        CLOCK, tuple(operation), ()),
    operations.PageFields: _page(b"HSCAN"),
    operations.PageMembers: _page(b"ZSCAN"),
    operations.Add: _add,
    operations.Raise: _raise,
    operations.PutField: _one(b"HSET"),
    operations.Remove: _one(b"ZREM"),
    operations.RemoveField: _one(b"HDEL"),
    operations.Increment: _one(b"INCRBY"),
    operations.Delete: _one(b"UNLINK"),
    operations.SetLife: _one(b"PEXPIRE"),
    operations.LeaseTasks: _lease_tasks,
    operations.DropFloor: lambda operation: _ScriptCall(
        DROP_FLOOR, operation[:1], operation[1:]),
    operations.DropIncluded: lambda operation: _ScriptCall(
        DROP_INCLUDED, operation[:2], operation[2:]),
    operations.DiscardField: lambda operation: _ScriptCall(
        DISCARD, operation[:1], operation[1:]),
    operations.CorrectIndex: _correct_index,
    operations.Commit: commits.commit,
    operations.Prewrite: commits.prewrite,
    operations.Resolve: commits.resolve,
    operations.AbortIfUndecided: commits.abort_if_undecided,
    operations.ReadOutcome: _one(b"GET"),
    operations.Fence: commits.fence,
}


# Replies --------------------------------------------------------------------

def _scores(reply):
    values = iter(reply)
    return {member: float(score) for member, score in zip(values, values)}


def _pairs(reply):
    values = iter(reply)
    return dict(zip(values, values))


def _parse_page(reply):
    cursor, flat = reply
    return (None if cursor == b"0" else cursor,
            list(zip(flat[::2], flat[1::2])))


def _is_minus_one(reply):
    return reply == -1


_PARSERS = {
    operations.ReadScores: _scores,
    operations.ReadAll: _pairs,
    operations.HasField: bool,
    operations.GetScore: lambda reply: None if reply is None else float(reply),
    operations.Exists: bool,
    operations.LivesForEver: _is_minus_one,
    operations.ReadClock: int,
    operations.PageFields: _parse_page,
    operations.PageMembers: _parse_page,
    operations.Delete: bool,
    operations.DropFloor: bool,
    operations.DropIncluded: bool,
    operations.DiscardField: bool,
    operations.CorrectIndex: bool,
    operations.Commit: commits.answer,
    operations.Prewrite: commits.answer,
    operations.Resolve: commits.answer,
    operations.AbortIfUndecided: commits.answer,
    operations.ReadOutcome: commits.outcome,
}
