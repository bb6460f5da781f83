# SPDX-License-Identifier: Apache-2.0
"""Commits that rest on what is remembered instead of read."""

import types

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.redis import raw
from nova_kvs import txn
from nova_kvs.txn import reading
from tests.fault import scenarios
from tests.unit.txn import stores

FIELD, OTHER, NEW = (keyspace.record_field("t", (name,))
                     for name in ("field", "other", "new"))
FLOORED = keyspace.record_field("h", (1,))


@pytest.fixture
def partition(coordinator, partitions):
    coordinator.commit([
        txn.Mutation(partitions[0], FIELD, 0, b"1", version=1),
        txn.Mutation(partitions[0], OTHER, 0, b"2", version=1),
        txn.Mutation(partitions[0], FLOORED, 0, b"3", uses_floor=True)])
    return partitions[0]


def speculate(coordinator, partition):
    """Return the speculation that a partition is what it is now."""
    snapshot, = coordinator.read([txn.PartitionRead(partition)])
    assert snapshot.pairs
    return reading.Speculation.of(txn.PartitionRead(
        partition, (), types.SimpleNamespace(snapshot=snapshot)))


def payloads(coordinator, partition):
    snapshot, = coordinator.read([txn.PartitionRead(partition)])
    return {field: cell.payload for field, cell in snapshot.cells.items()}


def write(coordinator, known, *reads):
    """Commit a change of FIELD that rests on a speculation."""
    return coordinator.commit_and_read(
        [txn.Mutation(known.read.partition, FIELD, 1, b"new")], (), reads,
        known)


def change(coordinator, partition):
    coordinator.commit([txn.Mutation(partition, OTHER, 1, b"changed")])


def put_back(coordinator, partition):
    """Another version of the same."""
    coordinator.commit([txn.Mutation(partition, OTHER, 1, b"2")])


def add(coordinator, partition):
    coordinator.commit([txn.Mutation(partition, NEW, 0, b"new")])


def remove(coordinator, partition):
    coordinator.commit([txn.Mutation(partition, OTHER, 1, txn.DELETE)])


def exchange(coordinator, partition):
    """As many fields as before."""
    coordinator.commit([txn.Mutation(partition, OTHER, 1, txn.DELETE),
                        txn.Mutation(partition, NEW, 0, b"2", version=1)])


def empty(coordinator, partition):
    coordinator.commit([
        txn.Mutation(partition, FIELD, 1, txn.DELETE),
        txn.Mutation(partition, OTHER, 1, txn.DELETE),
        txn.Mutation(partition, FLOORED, 1, txn.DELETE)])


def raise_floor(coordinator, partition):
    """All records as before, but of another floor."""
    coordinator.commit([
        txn.Mutation(partition, FLOORED, 1, txn.DELETE, uses_floor=True)])
    coordinator.store.batch([
        raw.Command(partition.key, (
            b"HSET", partition.key, FLOORED, b"\0" * 7 + b"\x013"))])


DIFFERENCES = (change, put_back, add, remove, exchange, empty, raise_floor)


def test_right_speculation_needs_one_round_trip(coordinator, partition):
    known = speculate(coordinator, partition)
    before = coordinator.store.stats.round_trips
    versions, _ = write(coordinator, known)
    assert coordinator.store.stats.round_trips == before + 1
    assert versions == {(partition, FIELD): 2}
    assert payloads(coordinator, partition) == {
        FIELD: b"new", OTHER: b"2", FLOORED: b"3"}
    stats = coordinator.stats
    assert (stats.speculations, stats.wrong_speculations) == (
        1, 0)


@pytest.mark.parametrize("differ", DIFFERENCES)
def test_wrong_speculation_changes_nothing_and_tells(
        coordinator, partition, differ):
    known = speculate(coordinator, partition)
    differ(coordinator, partition)
    before = payloads(coordinator, partition)
    with pytest.raises(exceptions.SpeculationFailedError) as caught:
        write(coordinator, known)
    assert caught.value.read is known.read
    assert payloads(coordinator, partition) == before
    snapshot, = coordinator.results([known.read], [caught.value.reply])
    current, = coordinator.read([txn.PartitionRead(partition)])
    assert snapshot == current
    assert snapshot.pairs == current.pairs
    assert "changed" not in str(caught.value)
    stats = coordinator.stats
    assert stats.speculations == stats.wrong_speculations == 1
    assert stats.conflicts == 0


def test_the_intent_of_another_makes_a_speculation_wrong(
        store, database, coordinator, partition, partitions):
    known = speculate(coordinator, partition)
    dying = txn.Coordinator(store, database, failpoint=scenarios.kill_at(
        "after_commit"))
    with pytest.raises(scenarios.Killed):
        dying.commit([txn.Mutation(partition, OTHER, 1, b"theirs"),
                      txn.Mutation(partitions[1], FIELD, 0, b"x"),
                      txn.Mutation(partitions[1], OTHER, 0, b"x")])
    with pytest.raises(exceptions.SpeculationFailedError) as caught:
        write(coordinator, known)
    # It is committed, so what is there is read through it.
    snapshot, = coordinator.results([known.read], [caught.value.reply])
    assert snapshot.cell(OTHER).payload == b"theirs"
    assert snapshot.pairs is None


def test_speculation_of_a_partition_that_is_not_all_that_is_written(
        coordinator, partition, partitions):
    known = speculate(coordinator, partition)
    changes = [txn.Mutation(partition, FIELD, 1, b"new"),
               txn.Mutation(partitions[1], FIELD, 0, b"new")]
    before = coordinator.store.stats.round_trips
    for mutations in (changes, changes[1:], []):
        with pytest.raises(exceptions.SpeculationFailedError) as caught:
            coordinator.commit_and_read(mutations, (), (), known)
        assert caught.value.reply is None
    assert coordinator.store.stats.round_trips == before
    assert coordinator.stats.speculations == 0


def test_duplicate_is_told_by_a_right_speculation_only(coordinator, partition):
    known = speculate(coordinator, partition)
    insert = txn.Mutation(partition, FIELD, 0, b"x",
                          duplicate=exceptions.DuplicateKeyError)
    with pytest.raises(exceptions.DuplicateKeyError):
        coordinator.commit_and_read([insert], (), (), known)
    change(coordinator, partition)
    with pytest.raises(exceptions.SpeculationFailedError):
        coordinator.commit_and_read([insert], (), (), known)


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize("entries", [0, 1])
def test_speculation_with_entries_and_reads(
        store, database, coordinator, partition, partitions, atomic,
        entries):
    other = stores.knowing(txn.Coordinator(store, database, atomic=atomic))
    coordinator.commit([txn.Mutation(partitions[1], FIELD, 0, b"x")])
    known = speculate(coordinator, partition)
    before = store.stats.round_trips
    _, (found,) = other.commit_and_read(
        [txn.Mutation(partition, FIELD, 1, b"new")],
        [operations.Add(partitions[2].key, b"entry")] * entries,
        [txn.PartitionRead(partitions[1])], known)
    # Entries must be there before the commit, reads need not.
    assert store.stats.round_trips - before == (
        2 if entries and not atomic else 1)
    assert found.cell(FIELD).payload == b"x"


@pytest.mark.parametrize("fault", ["lost", "twice"])
def test_right_speculation_whose_reply_is_lost(
        store, database, coordinator, partition, fault):
    known = speculate(coordinator, partition)
    faulty = txn.Coordinator(stores.Faulty(store, "commit", fault), database)
    versions, _ = write(faulty, known)
    assert versions == {(partition, FIELD): 2}
    assert payloads(coordinator, partition)[FIELD] == b"new"


@pytest.mark.parametrize("fault", ["lost", "twice"])
def test_wrong_speculation_whose_reply_is_lost(
        store, database, coordinator, partition, fault):
    """What was refused stays so, but what there is was told only once."""
    known = speculate(coordinator, partition)
    change(coordinator, partition)
    faulty = stores.Faulty(store, "commit", fault)
    with pytest.raises(exceptions.SpeculationFailedError) as caught:
        write(stores.knowing(txn.Coordinator(faulty, database)), known)
    assert caught.value.reply is None
    # Even if all becomes as it was, and the script arrives once more.
    store.batch([raw.Command(partition.key, (
        b"HSET", partition.key, *[item for pair in zip(
            known.fields, known.values) for item in pair]))])
    commits = [[item for item in items if hasattr(item, "script")
                and item.script.name == "commit"]
               for items in faulty.batches]
    assert store.batch(commits[0]) == [b"as"]
    assert payloads(coordinator, partition)[FIELD] == b"1"


def test_reads_that_are_lost_with_a_commit(
        store, database, partition, partitions):
    """It is applied: the caller must not hear that nothing was."""
    plain = txn.Coordinator(store, database)
    known = speculate(plain, partition)
    half = stores.Faulty(Dead(store), "commit", "lost")
    with pytest.raises(exceptions.UndeterminedError):
        write(stores.knowing(txn.Coordinator(half, database)), known,
              txn.PartitionRead(partitions[1]))
    assert payloads(plain, partition)[FIELD] == b"new"


class Dead(stores.Wrapper):
    """Does not answer reads that come alone."""

    def batch(self, items, *args):
        if not any(isinstance(item, (
                operations.Commit, operations.AbortIfUndecided))
                for item in items):
            raise exceptions.StoreUnavailableError()
        return super().batch(items, *args)
