# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import exceptions
from nova_kvs.record import runner
from tests.unit.record import databases


@pytest.fixture
def db():
    db = databases.make()
    db.may_lag = True
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    return db


def test_what_fails_on_what_may_lag_is_run_on_what_masters_hold(db):
    seen = []

    def work(tx):
        seen.append(tx)
        if len(seen) == 1:
            raise KeyError("not there yet")
        tx.insert("services", {"host": "a"})
        return "done"

    assert db.run(work, runner.Mode.MAY_LAG) == "done"
    assert len(seen) == 2
    assert seen[-1].was_sent


def test_a_commit_that_may_be_applied_is_not_run_again(db, monkeypatch):
    def fail(*args):
        raise exceptions.UndeterminedError()

    monkeypatch.setattr(db.coordinator, "commit_and_read", fail)
    for mode in runner.Mode.MAY_LAG, runner.Mode.SPECULATE:
        seen = []

        def work(tx, seen=seen):
            seen.append(tx)
            tx.insert("services", {"host": "a"})

        with pytest.raises(exceptions.UndeterminedError):
            db.run(work, mode)
        assert len(seen) == 1


def test_ids_of_a_wrong_speculation_are_used(db):
    databases.load(db, databases.access.ByPartition("instances", ("u",)))
    databases.update(databases.another(db), "instances", (1,), host="b")
    taken = []

    def work(tx):
        (record,), = tx.load([databases.access.ByPartition(
            "instances", ("u",))])
        tx.update(record, {**record.values, "host": "c"})
        taken.append(tx.insert("instance_metadata", {
            "instance_uuid": "u", "key": str(len(taken))}).key)

    db.run(work, runner.Mode.SPECULATE)
    assert taken[0] == taken[1]
    assert len(taken) == 2


def test_a_function_may_commit_by_itself(db):
    def work(tx):
        tx.insert("services", {"host": "a"})
        tx.commit()

    db.run(work, runner.Mode.WRITE)
    tx = db.begin()
    assert len(tx.load([databases.access.FullScan("services")])[0]) == 1


def test_as_many_items_at_once_as_the_store_takes():
    sizes = []

    def write(items):
        sizes.append(len(items))
        if sum(items) > 100:
            raise exceptions.TooLargeError()
        return items

    parts = runner.InParts(10)
    items = [11] * 21
    assert sum(parts.run(write, items), []) == items
    assert sizes == [10, *[5] * 4, 1]
    # What was found out counts for the next list.
    assert sum(parts.run(write, items), []) == items
    assert sizes[6:] == [5] * 4 + [1]
    written = parts.run(write, [1, 1, 101, 1])
    assert next(written) == [1, 1]
    with pytest.raises(exceptions.TooLargeError):
        list(written)
