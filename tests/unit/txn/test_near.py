# SPDX-License-Identifier: Apache-2.0
"""What reads of a replica that is behind may tell, and what they may not."""

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs import txn
from nova_kvs.txn import coordinator as coordinators
from nova_kvs.txn import reading
from tests.fault import scenarios
from tests import replicas

FIELD = keyspace.record_field("t", (1,))
OTHER = keyspace.record_field("t", (2,))
MEMBER = scenarios.member(b"m", FIELD)


@pytest.fixture
def partition(coordinator, partitions):
    coordinator.commit(
        [txn.Mutation(partitions[0], FIELD, 0, b"old", version=1)])
    return partitions[0]


@pytest.fixture
def replica(store, partition):
    return replicas.Replica(store)


def _payload(coordinator, read):
    snapshot, = coordinator.read([read], may_lag=True)
    cell = snapshot.cell(FIELD)
    return cell and cell.payload


def _change(coordinator, partition, payload=b"new", version=1):
    coordinator.commit([txn.Mutation(partition, FIELD, version, payload)])


def test_a_read_may_lag(coordinator, partition, replica):
    _change(coordinator, partition)
    read = txn.FieldsRead(partition, (FIELD,))
    assert _payload(coordinator, read) == b"old"
    replica.catch_up()
    assert _payload(coordinator, read) == b"new"
    assert coordinator.stats.asked_again == 0


@pytest.mark.parametrize("read", [
    lambda partition: txn.FieldsRead(partition, (FIELD,)),
    lambda partition: txn.PartitionRead(partition, must_exist=True),
], ids=["record", "partition"])
def test_what_is_missing_is_asked_for_again(
        coordinator, partitions, replica, read):
    coordinator.commit([txn.Mutation(partitions[1], FIELD, 0, b"new")])
    assert _payload(coordinator, read(partitions[1])) == b"new"
    assert coordinator.stats.asked_again == 1


@pytest.mark.parametrize("point", [False, True])
def test_an_index_is_asked_again_if_it_names_one(
        coordinator, partitions, replica, point):
    coordinator.commit([txn.Mutation(
        partitions[1], FIELD, 0, b"new", index_add=(MEMBER,))])
    (members, _), = coordinator.read(
        [txn.IndexRead(partitions[1], ((b"-", b"+"),), must_exist=point)],
        may_lag=True)
    assert members == ([MEMBER] if point else [])


def test_a_partition_of_a_list_is_not_asked_for_again(
        coordinator, partitions, replica):
    coordinator.commit([txn.Mutation(partitions[1], FIELD, 0, b"new")])
    assert _payload(coordinator, txn.PartitionRead(partitions[1])) is None


def test_what_was_missing_just_now_is_not_asked_for_again(
        coordinator, partitions, replica, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(coordinators.time, "monotonic", lambda: now)
    read = txn.FieldsRead(partitions[1], (FIELD,))
    for _ in range(3):
        assert _payload(coordinator, read) is None
    assert coordinator.stats.asked_again == 1
    now += coordinators.MISSED_S + 0.1
    coordinator.read([read], may_lag=True)
    assert coordinator.stats.asked_again == 2


def test_only_masters_tell_what_became_of_an_intent(
        store, coordinator, database, partitions, replica):
    def stop(point):
        if point == "before_apply":
            replica.catch_up()

    other = txn.Coordinator(store, database, failpoint=stop)
    other.commit([txn.Mutation(partitions[0], FIELD, 1, b"new"),
                  txn.Mutation(partitions[1], FIELD, 0, b"x"),
                  txn.Mutation(partitions[1], OTHER, 0, b"x")])
    assert _payload(
        coordinator, txn.FieldsRead(partitions[0], (FIELD,))) == b"new"
    assert coordinator.stats.asked_again == 1


# Writing what rests on such a read.

def _verified(coordinator, partition):
    read = txn.PartitionRead(partition)
    return [(read, coordinator.read([read], may_lag=True)[0])]


def _groups(partitions, count):
    return [txn.Mutation(partition, OTHER, 0, b"w")
            for partition in partitions[1:1 + count]]


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_verified_and_the_same_commits(
        coordinator, partitions, replica, count):
    verified = _verified(coordinator, partitions[0])
    versions, _ = coordinator.commit_and_read(
        _groups(partitions, count), (), (), verified=verified)
    assert len(versions) == count


@pytest.mark.parametrize("count", [1, 3])
def test_what_was_behind_does_not_commit(
        coordinator, partitions, replica, count):
    _change(coordinator, partitions[0])
    verified = _verified(coordinator, partitions[0])
    with pytest.raises(exceptions.ReplicaLaggedError):
        coordinator.commit_and_read(
            _groups(partitions, count), (), (), verified=verified)
    for snapshot in coordinator.read(
            [txn.PartitionRead(item) for item in partitions[1:]]):
        assert snapshot.stored == {}
    assert coordinator.stats.outdated == 1
    assert coordinator.stats.conflicts == 1
    # Nothing of it is in the way of the next attempt.
    replica.catch_up()
    coordinator.commit_and_read(
        _groups(partitions, count), (), (),
        verified=_verified(coordinator, partitions[0]))


def test_own_intents_are_no_change(coordinator, partitions, replica):
    verified = _verified(coordinator, partitions[0])
    coordinator.commit_and_read(
        [txn.Mutation(partitions[0], OTHER, 0, b"w"),
         *_groups(partitions, 2)], (), (), verified=verified)


def test_others_intents_are_one(
        store, coordinator, database, partitions, replica):
    verified = _verified(coordinator, partitions[0])
    refused = []

    def look(point):
        if point == "before_apply":
            # Committed, and not yet a record.
            with pytest.raises(exceptions.ReplicaLaggedError):
                coordinator.commit_and_read(
                    [txn.Mutation(partitions[4], OTHER, 0, b"w")], (), (),
                    verified=verified)
            refused.append(point)

    other = txn.Coordinator(store, database, failpoint=look)
    other.commit([txn.Mutation(partitions[0], FIELD, 1, b"new"),
                  txn.Mutation(partitions[1], FIELD, 0, b"x"),
                  txn.Mutation(partitions[1], OTHER, 0, b"x")])
    assert refused


@pytest.mark.parametrize("read", [
    reading.MembersRead(b"kvs:{h}", b"-", b"+"),
    reading.MinimumsRead(b"kvs:{h}"), reading.IncludedRead(b"kvs:{h}")])
def test_lists_miss_nothing(read):
    assert not read.is_missing([])
