# SPDX-License-Identifier: Apache-2.0
"""Records that entries named before are read along with the entries."""

import pytest

from nova_kvs.record import access
from nova_kvs.record.indexes import global_index
from tests.unit.record import databases

DDL = (
    "CREATE TABLE allocations (id INTEGER NOT NULL PRIMARY KEY, "
    "resource_provider_id INTEGER NOT NULL, consumer_id VARCHAR(36), "
    "used INTEGER)",
    "CREATE INDEX allocations_consumer_id_idx ON allocations (consumer_id)",
)
WANTED = access.ByIndex("allocations", ("consumer_id",), (("c1",),))


@pytest.fixture
def db():
    made = databases.make(DDL)
    insert(made, (1, 1), (1, 2))
    return made


def insert(db, *rows):
    databases.insert(db, "allocations", *[
        {"resource_provider_id": provider, "consumer_id": "c1",
         "used": used} for provider, used in rows])


def used(db):
    """Return what is found, and the round trips that it took."""
    tx = db.begin()
    with databases.trips(db) as made:
        rows, = tx.load([WANTED])
    return sorted(row.values["used"] for row in rows), made


def replace(db, *rows):
    tx = db.begin()
    found, = tx.load([WANTED])
    for record in found:
        tx.delete(record)
    for provider, amount in rows:
        tx.insert("allocations", {
            "resource_provider_id": provider, "consumer_id": "c1",
            "used": amount})
    tx.commit()


def test_the_second_time_takes_one_trip(db):
    assert used(db) == ([1, 2], [2])
    assert used(db) == ([1, 2], [1])


def test_another_process_replaces_them(db):
    used(db)
    replace(databases.another(db), (1, 3), (2, 4))
    assert used(db) == ([3, 4], [2])
    assert used(db) == ([3, 4], [1])


def test_records_of_a_partition_are_of_one_moment(db, monkeypatch):
    """The records are of before the change, the entries of after it."""
    used(db)
    other = databases.another(db)
    read = db.coordinator.read

    def changed_meanwhile(reads, may_lag=False):
        # A server is asked for the records first, then for the entries.
        results = read(reads[1:])
        replace(other, (1, 3), (1, 4))
        return read(reads[:1]) + results

    with monkeypatch.context() as patch:
        patch.setattr(db.coordinator, "read", changed_meanwhile)
        tx = db.begin()
        steps = tx._load([WANTED])
        tx._read(next(steps))
    rows = tx._loaded(steps)[0]
    assert sorted(row.values["used"] for row in rows) == [3, 4]


def test_nothing_is_found(db):
    used(db)
    replace(databases.another(db))
    assert used(db) == ([], [1])


def test_what_was_read_is_not_read_again(db):
    tx = db.begin()
    tx.load([access.ByPartition("allocations", (1,))])
    with databases.trips(db) as made:
        rows, = tx.load([WANTED])
    assert (len(rows), made) == (2, [1])


def test_many_are_not_remembered(db):
    used(db)
    insert(db, *[(1, number)
                 for number in range(global_index.LARGEST_REMEMBERED)])
    assert used(db)[1] == [2]
    assert db.remembered.entries == {}


def test_memory_is_bounded(db):
    db.remembered.entries.limit = 4
    db.remembered.entries.update((number, ((), ())) for number in range(9))
    used(db)
    assert len(db.remembered.entries) == 4
