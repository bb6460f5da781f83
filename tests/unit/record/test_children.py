# SPDX-License-Identifier: Apache-2.0
"""instance_actions_events live with their instance_actions."""

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from tests.unit.record import databases

EVENTS = "instance_actions_events"
SHADOW = "shadow_instance_actions_events"


@pytest.fixture
def db():
    return databases.make()


def where(db, table=EVENTS, key=(1,)):
    return databases.one(db.begin(), table, key).partition


def server(db, uuid):
    return keyspace.partition(db.name, "s", uuid)


def home(db, table=EVENTS):
    return keyspace.partition(db.name, "t", table)


def events(db, action_id, table=EVENTS):
    rows, = databases.load(
        db, access.ByPartition(table, (action_id,)))
    indexed, = databases.load(
        db, access.ByIndex(table, ("action_id",), ((action_id,),)))
    assert rows == indexed
    return [row["id"] for row in rows]


def test_a_child_goes_to_its_parents_partition(db):
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    databases.insert(db, EVENTS, {"action_id": 1}, {"action_id": 1})
    assert where(db) == server(db, "u")
    for reader in (db, databases.another(db)):
        assert events(reader, 1) == [1, 2]
        assert events(reader, 7) == []


def test_a_child_may_come_with_its_parent(db):
    tx = db.begin()
    action = tx.insert("instance_actions", {"instance_uuid": "u"})
    tx.insert(EVENTS, {"action_id": action.key[0]})
    with databases.trips(db) as made:
        tx.commit()
    assert made == [1]
    assert where(db) == server(db, "u")


def test_a_loaded_parent_costs_no_trip(db):
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    db.next_ids(EVENTS)
    tx = db.begin()
    action = databases.one(tx, "instance_actions", (1,))
    tx.update(action, {**action.values, "action": "reboot"})
    tx.insert(EVENTS, {"action_id": 1})
    with databases.trips(db) as made:
        tx.commit()
    assert made == [1]


@pytest.mark.parametrize("value", [9, None])
def test_a_child_without_parent_is_in_the_tables_partition(db, value):
    databases.insert(db, EVENTS, {"action_id": value})
    assert where(db) == home(db)
    assert events(db, value) == [1]


def test_a_child_of_a_parent_without_server_is_in_its_own_table(db):
    databases.insert(db, "instance_actions", {"instance_uuid": None})
    databases.insert(db, EVENTS, {"action_id": 1})
    assert where(db) == home(db)
    assert events(databases.another(db), 1) == [1]
    databases.update(db, "instance_actions", (1,), instance_uuid="u")
    assert where(db) == server(db, "u")


def test_a_child_waits_for_a_parent_that_comes_later(db):
    databases.insert(db, EVENTS, {"action_id": 9}, {"action_id": 8})
    databases.insert(db, "instance_actions", {"id": 9, "instance_uuid": "u"})
    assert where(db) == server(db, "u")
    assert where(db, key=(2,)) == home(db)
    assert events(databases.another(db), 9) == [1]


def test_a_child_moves_with_its_parent(db):
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    databases.insert(db, EVENTS, {"action_id": 1}, {"action_id": 1})
    databases.update(db, "instance_actions", (1,), instance_uuid="v")
    assert where(db) == where(db, key=(2,)) == server(db, "v")
    assert events(databases.another(db), 1) == [1, 2]


def test_a_child_outlives_its_parent(db):
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    databases.insert(db, EVENTS, {"action_id": 1})
    databases.delete(db, "instance_actions", (1,))
    assert where(db) == home(db)
    assert events(databases.another(db), 1) == [1]


def test_a_child_that_changes_parents_moves(db):
    databases.insert(db, "instance_actions", {"instance_uuid": "u"},
                     {"instance_uuid": "v"})
    databases.insert(db, EVENTS, {"action_id": 1})
    databases.update(db, EVENTS, (1,), action_id=2)
    assert where(db) == server(db, "v")
    assert (events(db, 1), events(db, 2)) == ([], [1])


def test_a_parent_that_goes_meanwhile_is_a_conflict(db):
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    tx = db.begin()
    databases.one(tx, "instance_actions", (1,))
    tx.insert(EVENTS, {"action_id": 1})
    databases.delete(db, "instance_actions", (1,))
    with pytest.raises(exceptions.ConflictError):
        tx.commit()


def test_archived_children_stay_with_their_server(db):
    """As archive_deleted_rows does it: children first, then parents."""
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    databases.insert(db, EVENTS, {"action_id": 1})
    for table in (EVENTS, "instance_actions"):
        tx = db.begin()
        row = databases.one(tx, table, (1,))
        tx.insert("shadow_" + table, row.values)
        tx.delete(row)
        tx.commit()
        assert where(db, SHADOW) == server(db, "u")
    assert events(databases.another(db), 1, SHADOW) == [1]
    assert databases.load(db, access.FullScan(EVENTS)) == [[]]


def test_parent_and_children_archived_together(db):
    databases.insert(db, "instance_actions", {"instance_uuid": "u"})
    databases.insert(db, EVENTS, {"action_id": 1})
    tx = db.begin()
    for table in (EVENTS, "instance_actions"):
        row = databases.one(tx, table, (1,))
        tx.insert("shadow_" + table, row.values)
        tx.delete(row)
    tx.commit()
    assert where(db, SHADOW) == server(db, "u")
    assert events(db, 1, SHADOW) == [1]
