# SPDX-License-Identifier: Apache-2.0
"""Mutations as arguments of scripts, and the scripts' answers as errors."""

from nova_kvs import exceptions
from nova_kvs.store import base
from nova_kvs.store.redis import commands
from nova_kvs.store.redis import scripts
from nova_kvs.txn import mutation
from nova_kvs.txn import recovery

COMMIT = scripts.load("nova_kvs.store.redis", "commit")
PREWRITE = scripts.load("nova_kvs.store.redis", "prewrite")

COMMITTED = b"c"
STAGED = b"s"
#: Life of the outcome of a commit that spans partitions: until it is
#: settled.
FOR_EVER = b""

#: Outcome of a commit that took something for known that is not so.
STALE = b"as"
#: And of one that came too late; the server's time follows.
LATE = b"al"

_VERSION = mutation.VERSION
_ABSENT = b""


def commit_call(partition, mutations, txn_id, life_ms, versions, entries=(),
                guess=None):
    """Return the call of commit.lua for one partition.

    :param mutations: those of this partition.
    :param life_ms: of outcome ``c``; ``FOR_EVER`` for none.
    :param versions: dict that gets (partition, field) -> new version.
    :param entries: to be written in the same step. Their keys have
        other hash tags: only for a store of one server.
    :param guess: nova_kvs.txn.reading.Guess that must be right, or None.
    """
    args = [life_ms, recovery.OUTCOME_LIFE_MS, len(mutations), 0, 0,
            b""]
    if guess is not None:
        args[4] = len(guess.fields)
        args += guess.fields
        args += guess.values
    adds = []
    removes = []
    pack = _VERSION.pack
    for change in mutations:
        operation, version, payload = change.operation()
        field = change.field
        expected = change.expected
        versions[partition, field] = version
        args += (operation, field, pack(expected) if expected else _ABSENT,
                 pack(version) + payload)
        if change.index_add or change.index_remove:
            add, remove = change.index_changes()
            adds += add
            removes += remove
    keys = (partition.key, partition.outcome_key(txn_id))
    if adds or removes or entries:
        keys += (partition.index_key, *[entry.key for entry in entries])
        for entry in entries:
            args += commands.side_write(entry)
        args[3] = len(adds)
        args += adds
        args += removes
    return base.ScriptCall(COMMIT, keys, tuple(args))


def valid_for(call, now_ms, valid_ms):
    """Return a call of commit.lua that does nothing after a time.

    The outcome that it writes lives for longer, so that a copy of the call
    finds one of the two.

    :param now_ms: what the clock of the partition's server shows; None: if
        that is not known, the call is returned as it is.
    :param valid_ms: the time.
    """
    if now_ms is None:
        return call
    committed_ms, aborted_ms, *args = call.args
    if committed_ms != FOR_EVER:
        committed_ms = max(committed_ms, valid_ms)
    args[3] = now_ms + valid_ms
    return call._replace(
        args=(committed_ms, max(aborted_ms, valid_ms), *args))


def prewrite_call(partition, mutations, txn_id, primary, versions):
    """Return the call of prewrite.lua for one partition.

    :param primary: the primary partition.
    :param versions: dict that gets (partition, field) -> new version.
    """
    args = [txn_id, len(mutations)]
    adds = []
    for change in mutations:
        operation, version, payload = change.operation()
        expected = change.expected
        versions[partition, change.field] = version
        add, remove = change.index_changes()
        adds += add
        args += (change.field,
                 _VERSION.pack(expected) if expected else _ABSENT,
                 mutation.pack_intent(
                     txn_id, operation, version or expected, primary.key,
                     add, remove, payload))
    keys = (partition.key, partition.outcome_key(txn_id))
    if adds:
        args += adds
        keys += (partition.index_key,)
    return base.ScriptCall(PREWRITE, keys, tuple(args))


def blocking_intents(partition, mutations, reply):
    """Return what a script found in its way, as Recovery takes it."""
    return [(partition, mutations[number].field, data)
            for number, data in zip(reply[::2], reply[1::2])]


def failure(partition, mutations, outcome, guess=None):
    """Return the error that tells why a script has refused.

    :param mutations: those of this partition.
    :param outcome: bytes that commit.lua or prewrite.lua returned, or the
        list with which commit.lua tells that a guess is wrong.
    :param guess: what commit.lua was given.
    """
    if type(outcome) is list:
        return exceptions.StaleError(guess.read, outcome[1])
    if outcome == STALE:
        return exceptions.StaleError()
    kind = outcome[1:2]
    if kind == b"f":
        return exceptions.FloorError(
            floor=int.from_bytes(outcome[2:10], "big"), partition=partition)
    if kind == b"v":
        refused = [mutations[int(number)]
                   for number in outcome[2:].split(b",")]
        for change in refused:
            if change.expected or change.duplicate is None:
                return exceptions.ConflictError(
                    partition=partition.key, field=change.field)
        # Only when no other record has changed, or the caller would blame
        # a unique key for what a second try may find different.
        return refused[0].duplicate()
    if kind == b"l":
        return exceptions.ConflictError(
            "the transaction was held up for too long",
            partition=partition.key)
    return exceptions.ConflictError(
        "another transaction was in the way for too long",
        partition=partition.key)
