# SPDX-License-Identifier: Apache-2.0
"""The commit protocol's operations as scripts, and their replies.

An outcome is kept as text: ``c`` committed, ``a`` aborted, ``av0,2`` the
numbers of changes that differ, ``af``, 8 bytes and perhaps the number of a
part: below that part's floor, ``al`` and the time: too late, ``as``: what was
taken for known is not so.
"""

import struct

from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import scripts

_PACKAGE = "nova_kvs.store.redis"
COMMIT = scripts.load(_PACKAGE, "commit")
PREWRITE = scripts.load(_PACKAGE, "prewrite")
RESOLVE = scripts.load(_PACKAGE, "resolve")
ABORT = scripts.load(_PACKAGE, "abort_if_undecided")

#: Life of the key that is written before waiting for replicas.
FENCE_LIFE_MS = 1000

_ScriptCall = raw.ScriptCall
_Add = operations.Add
_Raise = operations.Raise
_Verdict = operations.Verdict
_Answer = operations.Answer
_pack = struct.Struct(">Q").pack

_COMMITTED = _Answer(_Verdict.COMMITTED)
_STAGED = _Answer(_Verdict.STAGED)
_ABORTED = _Answer(_Verdict.ABORTED)
_UNKNOWN = _Answer(_Verdict.UNKNOWN)


# Operations -----------------------------------------------------------------

def commit(operation):
    """Return the call of commit.lua for a Commit."""
    (outcome_key, parts, side_writes, committed_ms, refused_ms,
     valid_until_ms, _, _) = operation
    # A key without an end of life comes first: see commands.encode.
    keys = [parts[0].key, outcome_key]
    numbers = [committed_ms or 0, refused_ms, valid_until_ms or 0, len(parts)]
    args = [None]
    for number, (key, index_key, changes, add, remove, known_fields,
                 known_values) in enumerate(parts):
        if number:
            keys.append(key)
        if add or remove:
            keys.append(index_key)
        if known_fields is None:
            known = 0
        else:
            known = len(known_fields)
            args += known_fields
            args += known_values
        numbers += (len(changes), known, len(add), len(remove))
        for kind, field, expected, value in changes:
            args += (kind, field, _pack(expected) if expected else b"", value)
        args += add
        args += remove
    for side_write in side_writes:
        keys.append(side_write.key)
        args += _side_write(side_write)
    args[0] = " ".join(map(str, numbers))
    return _ScriptCall(COMMIT, tuple(keys), tuple(args))


def _side_write(operation):
    """Return how commit.lua is to write it, and the member or field."""
    kind = type(operation)
    if kind is _Add:
        _, member, due_in_ms = operation
        return b"" if due_in_ms is None else due_in_ms, member
    _, member, value = operation
    if kind is _Raise:
        return b">%d" % value, member
    return b"=" + value, member


def prewrite(operation):
    """Return the call of prewrite.lua for a Prewrite."""
    key, index_key, outcome_key, txn_id, stagings, add = operation
    args = [txn_id, len(stagings)]
    for field, expected, intent in stagings:
        args += (field, _pack(expected) if expected else b"", intent)
    args += add
    return _ScriptCall(
        PREWRITE,
        (key, outcome_key, index_key) if add else (key, outcome_key),
        tuple(args))


def resolve(operation):
    """Return the call of resolve.lua for a Resolve."""
    key, index_key, outcome_key, txn_id, committed, life_ms, fields = operation
    return _ScriptCall(RESOLVE, (key, outcome_key, index_key), (
        txn_id, b"c" if committed else b"a", life_ms, *(fields or ())))


def abort_if_undecided(operation):
    """Return the call of abort_if_undecided.lua."""
    return _ScriptCall(ABORT, operation[:1], operation[1:])


def fence(operation):
    """Return a write to the server of a key."""
    key, = operation
    return raw.Command(key, (
        b"SET", keyspace.fence_key(key), b"", b"PX", FENCE_LIFE_MS))


# Replies --------------------------------------------------------------------

def answer(reply):
    """Return the Answer in a reply of a script, or in an outcome kept."""
    if reply == b"c":
        return _COMMITTED
    if reply == b"s":
        return _STAGED
    if type(reply) is list:
        if reply[0] == b"as":
            return _Answer(_Verdict.UNKNOWN, reply[1])
        return _Answer(
            _Verdict.BLOCKED, list(zip(reply[::2], reply[1::2])))
    kind, detail = reply[1:2], reply[2:]
    if kind == b"v":
        return _Answer(
            _Verdict.DIFFERS, [int(number) for number in detail.split(b",")])
    if kind == b"f":
        return _Answer(_Verdict.BELOW_FLOOR, (
            int(detail[8:] or 0), int.from_bytes(detail[:8], "big")))
    if kind == b"l":
        return _Answer(_Verdict.TOO_LATE, int(detail))
    if kind == b"s":
        return _UNKNOWN
    return _COMMITTED if reply[:1] == b"c" else _ABORTED


def is_too_late(item, reply):
    """Return whether a script call is a commit that came too late."""
    return (type(item) is _ScriptCall and item.script is COMMIT
            and type(reply) is bytes and reply.startswith(b"al"))


def outcome(reply):
    """Return the Answer in an outcome as kept, or None."""
    return None if reply is None else answer(reply)
