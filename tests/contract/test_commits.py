# SPDX-License-Identifier: Apache-2.0
"""Commits, as every store does them."""

import os
import struct

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict

FIELDS = [keyspace.record_field("t", (number,)) for number in range(3)]
LIFE_MS = 60000


def _value(version, payload=b"x"):
    return struct.pack(">Q", version) + payload


def _insert(number, version=1):
    return operations.Change(
        operations.PUT, FIELDS[number], 0, _value(version))


@pytest.fixture
def partition(keys):
    """Return a function that makes partitions."""
    return lambda tag="0": keyspace.Partition(keys("", tag))


@pytest.fixture
def commit(partition):
    """Return a function that makes a Commit of changes by tag."""
    def make(side_writes=(), txn_id=None, parts=None, **changes):
        txn_id = txn_id or os.urandom(16)
        parts = parts or [
            operations.Part(partition(tag).key, partition(tag).index_key, made)
            for tag, made in changes.items()]
        return operations.Commit(
            keyspace.Partition(parts[0].key).outcome_key(txn_id), parts,
            side_writes, LIFE_MS, LIFE_MS)

    return make


def _read(store, partition):
    flat, = store.batch([operations.ReadPartition(partition.key)])
    return dict(zip(flat[::2], flat[1::2]))


def _send(store, operation):
    answer, = store.batch([operation])
    return answer


def test_changes_of_a_partition_are_applied_together(store, partition, commit):
    assert _send(store, commit(a=[_insert(0), _insert(1)])) == (
        Verdict.COMMITTED, None)
    assert _send(store, commit(a=[
        operations.Change(operations.PUT, FIELDS[0], 1, _value(2, b"y")),
        operations.Change(operations.REMOVE, FIELDS[1], 1, b""),
        operations.Change(operations.VALIDATE, FIELDS[2], 0, b"")])) == (
            Verdict.COMMITTED, None)
    assert _read(store, partition("a")) == {FIELDS[0]: _value(2, b"y")}


def test_every_change_that_differs_is_named(store, partition, commit):
    _send(store, commit(a=[_insert(0), _insert(1)]))
    refused = commit(a=[_insert(0), _insert(2), operations.Change(
        operations.VALIDATE, FIELDS[1], 7, b"")])
    assert _send(store, refused) == (Verdict.DIFFERS, [0, 2])
    assert FIELDS[2] not in _read(store, partition("a"))
    # Nor is it applied by a copy that comes when nothing differs any more.
    store.batch([operations.Delete(partition("a").key)])
    assert _send(store, refused).verdict in (
        Verdict.DIFFERS, Verdict.COMMITTED)


def test_a_copy_changes_nothing(store, partition, commit):
    first = commit(a=[_insert(0)])
    _send(store, first)
    _send(store, commit(a=[operations.Change(
        operations.REMOVE, FIELDS[0], 1, b"")]))
    assert _send(store, first).verdict is Verdict.COMMITTED
    assert _read(store, partition("a")) == {}
    assert _send(store, operations.ReadOutcome(
        first.outcome_key)).verdict is Verdict.COMMITTED


def test_what_is_aborted_is_not_applied(store, partition, commit):
    late = commit(a=[_insert(0)])
    assert _send(store, operations.ReadOutcome(late.outcome_key)) is None
    for _ in range(2):
        assert _send(store, operations.AbortIfUndecided(
            late.outcome_key, LIFE_MS)).verdict is Verdict.ABORTED
    assert _send(store, late).verdict is Verdict.ABORTED
    assert _send(store, operations.ReadOutcome(
        late.outcome_key)).verdict is Verdict.ABORTED
    assert _read(store, partition("a")) == {}


def test_what_is_committed_is_not_aborted(store, commit):
    done = commit(a=[_insert(0)])
    _send(store, done)
    assert _send(store, operations.AbortIfUndecided(
        done.outcome_key, LIFE_MS)).verdict is Verdict.COMMITTED


def test_inserts_must_be_above_the_floor(store, partition, commit):
    _send(store, commit(a=[_insert(0, 5)]))
    _send(store, commit(a=[operations.Change(
        operations.REMOVE_RAISING_FLOOR, FIELDS[0], 5, b"")]))
    assert _read(store, partition("a")) == {
        keyspace.FLOOR_FIELD: struct.pack(">Q", 5)}
    assert _send(store, commit(a=[operations.Change(
        operations.INSERT_ABOVE_FLOOR, FIELDS[0], 0, _value(5))])) == (
            Verdict.BELOW_FLOOR, (0, 5))
    above = commit(a=[operations.Change(
        operations.INSERT_ABOVE_FLOOR, FIELDS[0], 0, _value(6))])
    assert _send(store, above).verdict is Verdict.COMMITTED


def test_members_of_the_index_come_and_go(store, partition, commit):
    place = partition("a")
    read = operations.ReadMembers(place.index_key, b"-", b"+")
    for add, remove, left in (
            ([b"m1", b"m2"], [], [b"m1", b"m2"]),
            ([b"m3"], [b"m1"], [b"m2", b"m3"])):
        _send(store, commit(parts=[operations.Part(
            place.key, place.index_key, [_insert(len(remove))], add,
            remove)]))
        assert _send(store, read) == left


def test_a_wrong_idea_of_a_partition_is_told(store, partition, commit):
    place = partition("a")
    _send(store, commit(a=[_insert(0)]))
    for values, verdict in (
            ([_value(1, b"other")], Verdict.UNKNOWN),
            ([_value(1)], Verdict.COMMITTED),
            # There are two fields by now.
            ([_value(1)], Verdict.UNKNOWN)):
        answer = _send(store, commit(parts=[operations.Part(
            place.key, place.index_key, [_insert(1)], (), (),
            [FIELDS[0]], values)]))
        assert answer.verdict is verdict
        if verdict is Verdict.UNKNOWN:
            found = _read(store, place)
            assert dict(zip(answer.detail[::2], answer.detail[1::2])) == found


def test_reads_in_a_commits_batch(store, partition, commit):
    answer, read = store.batch([
        commit(a=[_insert(0)]),
        operations.ReadPartition(partition("b").key)])
    assert (answer.verdict, read) == (Verdict.COMMITTED, [])


def test_atomic_stores_take_several_partitions(
        store, keys, partition, commit, requires):
    side_writes = [
        operations.Add(keys("h", "c"), b"m"),
        operations.Add(keys("q", "d"), b"task", 0),
        operations.Raise(keys("v", "c"), b"m", 7),
        operations.PutField(keys("k", "c"), b"f", b"v")]
    several = commit(side_writes, a=[_insert(0)], b=[_insert(0), _insert(1)])
    if not requires("ATOMIC"):
        with pytest.raises(exceptions.KVSError):
            store.batch([several])
        assert _read(store, partition("a")) == {}
        return
    for _ in range(2):
        assert _send(store, several).verdict is Verdict.COMMITTED
    assert len(_read(store, partition("b"))) == 2
    assert store.batch([
        operations.ReadMembers(keys("h", "c"), b"-", b"+"),
        operations.LeaseTasks(keys("q", "d"), 10, LIFE_MS),
        operations.ReadScores(keys("v", "c")),
        operations.ReadAll(keys("k", "c"))]) == [
            [b"m"], [b"task"], {b"m": 7.0}, {b"f": b"v"}]
    # One partition keeps the other from being written.
    refused = commit(
        [operations.Add(keys("h", "c"), b"other")],
        a=[_insert(1)], b=[_insert(0), _insert(2)], e=[operations.Change(
            operations.VALIDATE, FIELDS[0], 3, b"")])
    assert _send(store, refused) == (Verdict.DIFFERS, [1, 3])
    assert FIELDS[1] not in _read(store, partition("a"))
    assert _send(store, operations.ReadMembers(
        keys("h", "c"), b"-", b"+")) == [b"m"]
    _send(store, commit(c=[_insert(0, 9)]))
    _send(store, commit(c=[operations.Change(
        operations.REMOVE_RAISING_FLOOR, FIELDS[0], 9, b"")]))
    assert _send(store, commit(a=[_insert(2)], c=[operations.Change(
        operations.INSERT_ABOVE_FLOOR, FIELDS[0], 0, _value(1))])) == (
            Verdict.BELOW_FLOOR, (1, 9))
    assert FIELDS[2] not in _read(store, partition("a"))
