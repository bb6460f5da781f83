# SPDX-License-Identifier: Apache-2.0
import types

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs import txn
from tests.fault import scenarios
from tests.unit.txn import stores

FIELDS = [keyspace.record_field("t", (row,)) for row in range(6)]
ELSEWHERE = keyspace.record_field("tt", (1,))
UNIQUE = keyspace.unique_field("t", "name", ("n",))
MEMBERS = [scenarios.member(b"m%d" % row, field)
           for row, field in enumerate(FIELDS)]


@pytest.fixture
def partition(coordinator, partitions):
    partition = partitions[0]
    coordinator.commit([
        txn.Mutation(partition, field, 0, b"%d" % row,
                     index_add=(MEMBERS[row],))
        for row, field in enumerate(FIELDS)] + [
        txn.Mutation(partition, UNIQUE, 0, b"u"),
        txn.Mutation(partition, ELSEWHERE, 0, b"e", uses_floor=True,
                     version=3)])
    coordinator.commit(
        [txn.Mutation(partition, ELSEWHERE, 3, b"e", uses_floor=True)])
    return partition


def payloads(snapshot):
    return {field: cell.payload for field, cell in snapshot.cells.items()}


def rows(*numbers):
    return {FIELDS[number]: b"%d" % number for number in numbers}


def test_partition(coordinator, partition):
    snapshot, = coordinator.read([txn.PartitionRead(partition)])
    assert payloads(snapshot) == {
        **rows(*range(6)), UNIQUE: b"u", ELSEWHERE: b"e"}
    assert snapshot.cells[ELSEWHERE] == txn.Cell(4, b"e")
    assert snapshot.floor == 0


@pytest.mark.parametrize("prefixes, expected", [
    ((b"rt\0",), rows(*range(6))),
    ((b"rtt\0",), {ELSEWHERE: b"e"}),
    ((b"rtt\0", b"ut\0"), {ELSEWHERE: b"e", UNIQUE: b"u"}),
    ((b"rx\0",), {})])
def test_prefixes(coordinator, partition, prefixes, expected):
    coordinator.commit([txn.Mutation(
        partition, ELSEWHERE + b"x", 0, b"", uses_floor=True, version=9)])
    coordinator.commit([txn.Mutation(
        partition, ELSEWHERE + b"x", 9, txn.DELETE, uses_floor=True)])
    snapshot, = coordinator.read([txn.PartitionRead(partition, prefixes)])
    assert payloads(snapshot) == expected
    assert snapshot.floor == 9


def test_fields(coordinator, partition):
    snapshot, = coordinator.read([txn.FieldsRead(
        partition, (FIELDS[1], FIELDS[3], b"rt\0absent"))])
    assert payloads(snapshot) == rows(1, 3)


@pytest.mark.parametrize("ranges, limit, reverse, numbers", [
    (((b"-", b"+"),), None, False, range(6)),
    (((b"-", b"+"),), None, True, range(5, -1, -1)),
    (((b"-", b"+"),), 2, False, range(2)),
    (((b"-", b"+"),), 2, True, (5, 4)),
    (((b"-", b"+"),), 0, False, ()),
    (((b"[m1", b"(m3"), (b"[m5", b"+")), None, False, (1, 2, 5)),
    (((b"[m1", b"(m3"), (b"[m4", b"+")), 3, False, (1, 2, 4)),
    (((b"[m1", b"(m3"), (b"[m4", b"+")), 3, True, (2, 1, 5)),
    (((b"[m3x", b"(m3y"),), None, False, ()),
    ((), None, False, ())])
def test_index(coordinator, partition, ranges, limit, reverse, numbers):
    (members, snapshot), = coordinator.read(
        [txn.IndexRead(partition, ranges, limit, reverse)])
    assert members == [MEMBERS[number] for number in numbers]
    assert payloads(snapshot) == rows(*numbers)


def test_several_members_of_one_record(coordinator, partition):
    coordinator.commit([txn.Mutation(
        partition, FIELDS[0] + b"x", 0, b"x", index_add=[
            scenarios.member(name, FIELDS[0] + b"x")
            for name in (b"a", b"b")])])
    (members, snapshot), = coordinator.read(
        [txn.IndexRead(partition, ((b"-", b"(m"),))])
    assert len(members) == 2
    assert payloads(snapshot) == {FIELDS[0] + b"x": b"x"}


@pytest.mark.parametrize("limit, reverse, expected", [
    (None, False, [b"a", b"b", b"c"]), (2, False, [b"a", b"b"]),
    (2, True, [b"c", b"b"]), (None, True, [b"c", b"b", b"a"])])
def test_hints(coordinator, database, limit, reverse, expected):
    key = keyspace.bucket_key(database, "t.name", "0")
    for name in (b"c", b"a", b"b", b"d"):
        scenarios.send(coordinator.store, key, b"ZADD", key, 0, name)
    assert coordinator.read([txn.MembersRead(
        key, b"-", b"(d", limit, reverse)]) == [expected]


def test_what_is_not_there(coordinator, partitions):
    partition = partitions[3]
    nothing = txn.Snapshot(0, {})
    assert coordinator.read([
        txn.PartitionRead(partition),
        txn.PartitionRead(partition, (b"r",)),
        txn.FieldsRead(partition, (FIELDS[0],)),
        txn.FieldsRead(partition, ()),
        txn.IndexRead(partition, scenarios.EVERYTHING),
        txn.MembersRead(b"none", b"-", b"+")]) == [
        nothing, nothing, nothing, nothing, ([], nothing), []]


def test_all_reads_are_one_batch(store, database, partitions):
    wrapper = stores.Wrapper(store)
    txn.Coordinator(wrapper, database).read(
        [txn.PartitionRead(partition) for partition in partitions]
        + [txn.IndexRead(partition, scenarios.EVERYTHING)
           for partition in partitions])
    assert len(wrapper.batches) == 1


def test_what_is_known_is_used_while_it_holds(coordinator, partition):
    known = types.SimpleNamespace(snapshot=None)
    known.snapshot, = coordinator.read([txn.PartitionRead(partition)])
    read = txn.PartitionRead(partition, (), known)
    assert coordinator.read([read])[0] is known.snapshot
    scenarios.send(coordinator.store, partition.key, b"HSET", partition.key,
                   FIELDS[0], b"\0" * 7 + b"\x09new")
    changed, = coordinator.read([read])
    assert changed.cell(FIELDS[0]).payload == b"new"
    assert changed.pairs is not None


def test_truncated_record(coordinator, partition):
    scenarios.send(coordinator.store, partition.key, b"HSET", partition.key,
                   FIELDS[2], b"1234567")
    for read in (txn.PartitionRead(partition),
                 txn.FieldsRead(partition, (FIELDS[2],)),
                 txn.IndexRead(partition, scenarios.EVERYTHING)):
        with pytest.raises(exceptions.CorruptRecordError):
            coordinator.read([read])
