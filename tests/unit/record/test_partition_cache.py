# SPDX-License-Identifier: Apache-2.0
"""What a process remembers of partitions, and when it does not count."""

import pytest

from nova_kvs import cache
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import partition_cache
from nova_kvs.txn import reading
from tests.unit.record import databases

SERVER = access.ByPartition("instances", ("u",))
METADATA = access.ByPartition("instance_metadata", ("u",))


@pytest.fixture
def db():
    made = databases.make()
    databases.insert(made, "instances", {"uuid": "u", "host": "a"})
    databases.insert(made, "instance_metadata",
                     {"instance_uuid": "u", "key": "k", "value": "v"})
    return made


def _read(database, *accesses):
    return [rows[0] for rows in database.begin().load(accesses)]


def test_records_of_a_partition_that_did_not_change_are_shared(db):
    reader = databases.another(db)
    first, second, third = (_read(reader, SERVER, METADATA)
                            for _ in range(3))
    assert type(first[0]) is access.Record
    # From the second time on it is worth keeping what is made of them.
    assert [type(record) for record in second] == [access.CachedRecord] * 2
    assert first == second == third
    assert all(a is b for a, b in zip(second, third))


def test_a_record_that_changed_is_read_anew_and_only_that(db):
    reader = databases.another(db)
    for _ in range(2):
        server, metadata = _read(reader, SERVER, METADATA)
    databases.update(db, "instances", server.key, host="b")
    changed, same = _read(reader, SERVER, METADATA)
    assert changed.values["host"] == "b"
    assert changed.version == server.version + 1
    assert same is metadata


def test_a_record_that_went_away_is_gone(db):
    reader = databases.another(db)
    _read(reader, SERVER, METADATA)
    tx = db.begin()
    tx.delete(tx.load([METADATA])[0][0])
    tx.commit()
    assert reader.begin().load([METADATA]) == [[]]


def test_a_part_that_was_read_before_keeps_its_values(db):
    reader = databases.another(db)
    _read(reader, SERVER)
    tx = reader.begin()
    alone = access.ByIndex("instances", ("host",), (("a",),), True)
    (before,), = tx.load([alone])
    databases.update(db, "instances", before.key, host="b")
    after, metadata = (rows[0] for rows in tx.load([SERVER, METADATA]))
    assert after is before
    assert metadata.values["key"] == "k"
    # What the transaction held on to is nobody else's.
    assert _read(reader, SERVER)[0].values["host"] == "b"


def test_another_schema_decodes_again(db):
    for _ in range(2):
        before, = _read(db, SERVER)
    tx = db.begin()
    tx.set_schema(databases.DDL + ("CREATE TABLE more (id INTEGER)",))
    tx.commit()
    after, = _read(db, SERVER)
    assert after == before
    assert after is not before


def _partition(number):
    return keyspace.partition("db", "s", str(number))


def _snapshot(number):
    pairs = [b"rt\0%d" % number, b"x" * 30]
    return reading.Snapshot(0, {pairs[0]: pairs[1]}, pairs)


def test_the_oldest_are_dropped(monkeypatch):
    monkeypatch.setattr(cache, "PARTITION_BYTES", 100)
    known = partition_cache.PartitionCache()
    for number in range(3):
        known.take(None, _partition(number), _snapshot(number))
    first = known.get(_partition(0))
    assert known.take(None, _partition(0), first.snapshot) is first
    known.take(None, _partition(3), _snapshot(3))
    # A quarter went: those that were used longest ago.
    assert [known.get(_partition(number)) is None
            for number in range(4)] == [
        False, True, True, False]


def test_a_large_partition_is_not_remembered(monkeypatch):
    monkeypatch.setattr(cache, "LARGEST_PARTITION_BYTES", 20)
    known = partition_cache.PartitionCache()
    known.take(None, _partition(0), _snapshot(0))
    assert known.get(_partition(0)) is None


def test_what_intents_were_in_is_not_remembered():
    known = partition_cache.PartitionCache()
    known.take(None, _partition(0),
               reading.Snapshot(0, {b"rt\0a": b"x" * 30}))
    assert known.get(_partition(0)) is None


def test_a_scan_of_partitions_with_one_table_remembers_them():
    db = databases.make([
        "CREATE TABLE consumers (id INTEGER NOT NULL PRIMARY KEY, "
        "uuid VARCHAR(36) NOT NULL)"])
    databases.insert(db, "consumers", *[
        {"uuid": "c%d" % number} for number in range(9)])
    reader = databases.another(db)
    found = [{record.key: record for record in reader.begin().load(
        [access.FullScan("consumers")])[0]} for _ in range(3)]
    assert len(found[0]) == 9
    assert all(record is found[2][key] for key, record in found[1].items())


# What this process commits --------------------------------------------------

def _same_as_read(database):
    """Tell whether what is remembered is what the store answers."""
    known = database.remembered.partitions.get(
        keyspace.partition(database.name, "s", "u"))
    stored, = database.coordinator.read(
        [reading.PartitionRead(keyspace.partition(database.name, "s", "u"))])
    assert known.snapshot == stored
    assert sorted(known.groups) == sorted(partition_cache.group(stored.stored))
    return known.snapshot is not stored


@pytest.mark.parametrize("change", [
    lambda tx, server, item: tx.update(item, {**item.values, "value": "w"}),
    lambda tx, server, item: tx.update(server, {**server.values,
                                                "host": "b"}),
    lambda tx, server, item: tx.delete(item),
    lambda tx, server, item: tx.delete(server),
    lambda tx, server, item: tx.lock(server),
    lambda tx, server, item: tx.insert("instance_metadata", {
        "instance_uuid": "u", "key": "k2"}),
])
def test_what_was_committed_is_remembered(db, change):
    tx = db.begin()
    server, item = (rows[0] for rows in tx.load([SERVER, METADATA]))
    change(tx, server, item)
    tx.commit()
    assert _same_as_read(db)
    # As another one finds it.
    assert databases.load(db, SERVER, METADATA) == databases.load(
        databases.another(db), SERVER, METADATA)


def test_what_is_not_of_what_was_remembered_is_forgotten(db):
    _read(db, SERVER)
    other = databases.another(db)
    server, = _read(other, SERVER)
    databases.update(other, "instances", server.key, host="b")
    alone = access.ByIndex("instances", ("host",), (("b",),), True)
    tx = db.begin()
    (record,), = tx.load([alone])
    tx.update(record, {**record.values, "host": "c"})
    tx.commit()
    assert db.remembered.partitions.get(record.partition) is None


def test_a_server_that_is_gone_is_forgotten(db):
    tx = db.begin()
    server, item = (rows[0] for rows in tx.load([SERVER, METADATA]))
    tx.delete(server)
    tx.delete(item)
    tx.commit()
    known = db.remembered.partitions.get(server.partition)
    # But for what the partition has still.
    assert known is None or not known.groups
