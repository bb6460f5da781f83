# SPDX-License-Identifier: Apache-2.0
"""What is made of a partition's records is remembered with them."""

import pytest

from nova_kvs import cache
from nova_kvs.record import access
from tests.unit.record import databases
from tests.unit.record.indexes import test_global_index


class Sum:
    """Sums up what is used, and counts how often."""

    def __init__(self):
        self.calls = 0

    def __call__(self, records):
        self.calls += 1
        return sum(record.values["used"] for record in records)


@pytest.fixture
def db():
    made = databases.make(test_global_index.DDL)
    test_global_index.insert(made, (1, 1), (1, 2), (2, 4))
    return made


@pytest.fixture
def total():
    return Sum()


def of(db, total, provider):
    return db.begin().compute("allocations", total, provider)


def test_is_made_once(db, total):
    assert [of(db, total, 1) for _turn in range(3)] == [3, 3, 3]
    assert total.calls == 1
    assert of(db, total, 2) == 4


def test_is_made_again_after_a_change(db, total):
    of(db, total, 1)
    of(db, total, 2)
    test_global_index.insert(databases.another(db), (1, 5))
    assert (of(db, total, 1), of(db, total, 2)) == (8, 4)
    assert total.calls == 3


def test_large_partition_is_not_remembered(db, total, monkeypatch):
    monkeypatch.setattr(cache, "LARGEST_PARTITION_BYTES", 10)
    assert [of(db, total, 1) for _turn in range(2)] == [3, 3]
    assert total.calls == 2


def test_takes_what_was_read(db, total):
    tx = db.begin()
    tx.load([access.ByPartition("allocations", (1, 2))])
    with databases.trips(db) as made:
        assert tx.compute("allocations", total, 1) == 3
        assert tx.compute("allocations", total, 2) == 4
    assert made == [0]


def test_after_a_part_was_read(db, total):
    tx = db.begin()
    tx.load([test_global_index.WANTED])
    test_global_index.insert(databases.another(db), (1, 5))
    # What was read once keeps its value; the rest is of now.
    assert tx.compute("allocations", total, 1) == 8


def test_whole_table(total):
    db = databases.make((
        "CREATE TABLE inventories (id INTEGER NOT NULL PRIMARY KEY, "
        "used INTEGER)",))
    databases.insert(db, "inventories", {"used": 1}, {"used": 2})
    for _turn in range(2):
        assert db.begin().compute("inventories", total) == 3
    assert total.calls == 1


def test_empty_partition(db, total):
    assert of(db, total, 9) == 0
