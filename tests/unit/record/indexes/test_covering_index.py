# SPDX-License-Identifier: Apache-2.0
import random

import pytest

from nova_kvs import cache
from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record.indexes import covering_index
from nova_kvs.txn import reading
from tests.unit.record import databases

DDL = (
    "CREATE TABLE instances (id INTEGER NOT NULL, uuid VARCHAR(36), "
    "project_id VARCHAR(255), host VARCHAR(255), deleted INTEGER, "
    "created_at DATETIME, user_id VARCHAR(255), vcpus INTEGER, "
    "vm_state VARCHAR(255), progress INTEGER, PRIMARY KEY (id), "
    "UNIQUE (uuid))",
    "CREATE TABLE services (id INTEGER NOT NULL PRIMARY KEY, "
    "host VARCHAR(255))",
)
#: What is asked for, and what the rows must then have.
NEEDED = frozenset(["uuid", "vcpus", "host", "project_id", "deleted",
                    ("vm_state", "soft-delete")])


@pytest.fixture
def db():
    return patient(databases.make(DDL))


def patient(db):
    """Let included columns wait for a commit."""
    db.grace_ms = 60000
    return db


def server(number, **values):
    return {"uuid": "u%d" % number, "project_id": "p", "host": "h",
            "deleted": 0, "vcpus": 1, "vm_state": "building", **values}


def flush(db):
    """Send what waits for a commit."""
    send(db, db.remembered.take_included())


def send(db, entries):
    db.store.batch(entries)


def wanted(column, *values):
    return access.ByIndex(
        "instances", (column, "deleted"),
        tuple((value, 0) for value in values), True, NEEDED)


def found(db, column="project_id", value="p"):
    """Return the answer, as {uuid: (vcpus, is soft-deleted)}."""
    rows, = db.begin().load([wanted(column, value)])
    return {row.values["uuid"]: (
        row.values.get("vcpus"), row.values.get("vm_state") == "soft-delete")
        for row in rows}


def read_records(db):
    """Return how many records are read for an answer."""
    rows, = db.begin().load([wanted("project_id", "p")])
    return sum(type(row) is not access.Values for row in rows)


def change(db, key, **values):
    """Change a row as ``databases.update`` does, as another process."""
    databases.update(patient(databases.another(db)), "instances", (key,),
                     **values)


def minimums_of(db, index, value):
    """Return the minimum versions in one bucket, and the members
    that have included columns.
    """
    table = db.schema.tables["instances"]
    bucket, = table.index(
        index + "+deleted+created_at+id").bucket_keys(db.name, value)
    found, included = db.coordinator.read([
        reading.MinimumsRead(keyspace.minimums_key(bucket)),
        reading.IncludedRead(keyspace.included_key(bucket))])
    return found, set(included)


def test_included_columns_answer_in_one_trip(db):
    databases.insert(db, "instances", *map(server, range(30)))
    reader = patient(databases.another(db))
    assert len(found(reader)) == 30
    flush(db)
    commands = reader.store.stats.commands
    with databases.trips(reader) as made:
        assert found(reader) == {
            "u%d" % number: (1, False) for number in range(30)}
    assert made == [1]
    assert reader.store.stats.commands - commands == 3
    assert found(reader, "host", "h") == found(reader)
    assert read_records(reader) == 0


def test_covers_stay_decoded(db, monkeypatch):
    databases.insert(db, "instances", *map(server, range(1, 4)))
    covered = db.schema.tables["instances"].included
    read = covered.decode
    decoded = []

    def counting(columns, member):
        decoded.append(columns)
        return read(columns, member)

    monkeypatch.setattr(covered, "decode", counting)
    # Databases with the same schema share them.
    monkeypatch.setattr(covered, "_decoded", cache.Cache(9))
    flush(db)
    first = found(db)
    assert len(decoded) == 3
    assert found(db) == first and len(decoded) == 3
    change(db, 1, vcpus=8)
    assert found(db)["u1"] == (8, False)
    flush(db)
    assert found(db)["u1"] == (8, False) and len(decoded) == 4
    # There is a bound.
    covered._decoded.limit = 3
    change(db, 2, vcpus=9)
    found(db)
    flush(db)
    assert found(db)["u2"] == (9, False)
    assert len(covered._decoded) <= 3 + 1


def test_readers_write_covers_that_got_lost(db):
    databases.insert(db, "instances", *map(server, range(3)))
    db.remembered.take_included()
    assert read_records(db) == 3
    # They wait for any commit that sends something else, too.
    databases.insert(db, "instances", server(9, project_id="other"))
    assert read_records(db) == 0


def test_covers_do_not_wait_for_long(db):
    db.grace_ms = 0
    databases.insert(db, "instances", server(1))
    assert db.remembered.take_included() == []


@pytest.mark.parametrize("values, state", [
    ({"vcpus": 8}, (8, False)),
    ({"vcpus": None}, (None, False)),
    ({"vm_state": "soft-delete"}, (1, True)),
    ({"uuid": "v"}, None),
    ({"deleted": 7}, None),
    ({"project_id": "q"}, None),
    ({"project_id": None}, None),
])
def test_a_change_shows_at_once(db, values, state):
    databases.insert(db, "instances", server(1), server(2))
    flush(db)
    change(db, 1, **values)
    expected = {"u2": (1, False)}
    if state is not None:
        expected["u1"] = state
    if "uuid" in values:
        expected["v"] = (1, False)
    assert found(db) == expected
    flush(db)
    assert found(db) == expected
    change(db, 1, **{name: server(1)[name] for name in values})
    assert found(db) == {"u1": (1, False), "u2": (1, False)}


def test_a_row_that_goes_and_comes_again(db):
    databases.insert(db, "instances", {"id": 1, **server(1)})
    flush(db)
    databases.delete(db, "instances", (1,))
    assert found(db) == {}
    databases.insert(db, "instances", {"id": 1, **server(1, vcpus=3)})
    assert found(db) == {"u1": (3, False)}
    flush(db)
    assert found(db) == {"u1": (3, False)}


def test_other_changes_cost_nothing_and_keep_covers(db):
    databases.insert(db, "instances", server(1))
    flush(db)
    tx = db.begin()
    record = databases.one(tx, "instances", (1,))
    tx.update(record, {**record.values, "progress": 5,
                       "vm_state": "active"})
    with databases.trips(db) as made:
        tx.commit()
    assert made == [1]
    assert read_records(db) == 0


def test_what_is_not_offered_is_read(db):
    databases.insert(db, "instances", server(1))
    flush(db)
    for needed in (["progress"], ["vm_state"], [("vm_state", "active")]):
        rows, = db.begin().load([wanted("host", "h")._replace(
            only_columns=frozenset(needed))])
        assert rows[0].values == {"id": 1, **server(1)}
    # Of deleted servers there are none.
    assert db.begin().load([access.ByIndex(
        "instances", ("host",), (("h",),), True, NEEDED)])[0][0].version == 1


def test_what_was_read_keeps_its_value(db):
    databases.insert(db, "instances", server(1))
    flush(db)
    tx = db.begin()
    before = databases.one(tx, "instances", (1,))
    change(db, 1, vcpus=2)
    rows, = tx.load([wanted("host", "h")])
    assert rows == [before]


class Stop(Exception):
    pass


@pytest.mark.parametrize("point", ["after_prewrite", "after_commit"])
def test_a_transaction_that_stops_in_the_middle(db, point):
    databases.insert(db, "instances", server(1))
    flush(db)

    def fail(name):
        if name == point:
            raise Stop()

    writer = databases.open_again("kvs+memory:///" + db.name, fail)
    # As on a cluster: the minimum version is raised before the commit.
    steps = writer.coordinator._steps
    steps.options = steps.options._replace(atomic=False)
    with pytest.raises(Stop):
        databases.update(writer, "instances", (1,), vcpus=2)
    vcpus = 1 if point == "after_prewrite" else 2
    assert read_records(db) == 1
    assert found(db) == {"u1": (vcpus, False)}
    flush(db)
    # What was read below the minimum version is not included.
    assert read_records(db) == (point == "after_prewrite")
    change(db, 1, progress=1)
    assert found(db) == {"u1": (vcpus, False)}
    flush(db)
    assert read_records(db) == 0


def test_a_late_cover_is_not_believed(db):
    databases.insert(db, "instances", server(1))
    change(db, 1, vcpus=2)
    assert found(db) == {"u1": (2, False)}
    flush(db)
    databases.insert(db, "instances", server(2))
    late = db.remembered.take_included()
    change(db, 2, vcpus=5)
    send(db, late)
    assert found(db) == {"u1": (2, False), "u2": (5, False)}


def test_a_minimum_version_is_never_lowered(db):
    databases.insert(db, "instances", server(1))
    before, _ = minimums_of(db, "host", "h")
    change(db, 1, vcpus=2)
    after, _ = minimums_of(db, "host", "h")
    (member, version), = before.items()
    assert after == {member: version + 1}
    table = db.schema.tables["instances"]
    bucket, = table.covering_indexes[1].bucket_keys(db.name, "h")
    send(db, [covering_index.raising(
        covering_index.Place(bucket, member), int(version))])
    assert minimums_of(db, "host", "h")[0] == after


def test_housekeeping_removes_what_has_left(db):
    databases.insert(db, "instances", server(1), server(2), server(3))
    flush(db)
    table = db.schema.tables["instances"]
    members = [keyspace.partition(db.name, "s", "u%d" % number).key
               + table.field((number,)) for number in (1, 2, 3)]
    other = databases.another(db)
    databases.update(other, "instances", (1,), host="elsewhere")
    databases.update(other, "instances", (2,), deleted=2)
    for moment in range(2):
        for index, value, left in (("host", "h", members[2:]),
                                   ("project_id", "p", members[::2]),
                                   ("host", "elsewhere", members[:1])):
            raised, included = minimums_of(db, index, value)
            assert (set(raised) == set(left)) == (
                moment == 1 or value == "elsewhere")
            assert included <= set(raised)
        databases.tidy(other)
    assert found(db) == {"u1": (1, False), "u3": (1, False)}
    databases.delete(other, "instances", (1,), (3,))
    databases.tidy(other)
    assert minimums_of(db, "project_id", "p") == ({}, set())
    assert minimums_of(db, "host", "h") == ({}, set())


def test_readers_leave_nothing_of_what_has_left(db):
    databases.insert(db, "instances", server(1), server(2))
    flush(db)
    other = databases.another(db)
    databases.update(other, "instances", (1,), host="elsewhere")
    databases.update(other, "instances", (2,), deleted=2)
    assert found(db, "host", "h") == {}
    databases.tidy(other)
    flush(db)
    assert minimums_of(db, "host", "h") == ({}, set())


def test_housekeeping_leaves_a_minimum_that_was_raised_meanwhile(db):
    databases.insert(db, "instances", server(1))
    (member, version), = minimums_of(db, "host", "h")[0].items()
    table = db.schema.tables["instances"]
    bucket, = table.covering_indexes[1].bucket_keys(db.name, "h")
    place = covering_index.Place(bucket, member)
    send(db, [covering_index.raising(place, 5)])
    db.store.batch([covering_index.dropping(place, 4)])
    assert minimums_of(db, "host", "h")[0] == {member: 5.0}
    db.store.batch([covering_index.dropping(place, 5)])
    assert minimums_of(db, "host", "h")[0] == {}
    # Without a minimum version there is no telling.
    assert read_records(db) == 1


def test_covers_of_other_columns_are_not_looked_at(db):
    databases.insert(db, "instances", server(1))
    flush(db)
    text = DDL[0].replace("vcpus INTEGER, ", "")
    tx = db.begin()
    tx.set_schema((text, DDL[1]))
    tx.commit()
    rows, = db.begin().load([wanted("host", "h")._replace(
        only_columns=frozenset(["uuid"]))])
    assert "vcpus" not in rows[0].values


def test_damage_is_told(db):
    databases.insert(db, "instances", server(1))
    flush(db)
    table = db.schema.tables["instances"]
    bucket, = table.covering_indexes[1].bucket_keys(db.name, "h")
    (member, _), = minimums_of(db, "host", "h")[0].items()
    good, = db.coordinator.read([
        reading.IncludedRead(keyspace.included_key(bucket))])
    for columns in (b"short", good[member][:-1], good[member] + b"x"):
        send(db, [covering_index.including(
            covering_index.Place(bucket, member), columns)])
        with pytest.raises(exceptions.CorruptRecordError):
            found(db, "host", "h")


def test_values_that_look_like_keys(db):
    databases.insert(db, "instances", server(
        1, user_id="\0}", host="h}\0", uuid="{}"))
    flush(db)
    rows, = db.begin().load([wanted("host", "h}\0")])
    assert rows[0].values["user_id"] == "\0}"
    assert type(rows[0]) is access.Values


@pytest.mark.parametrize("seed", range(20))
def test_covers_never_tell_anything_else_than_records(db, seed):
    rand = random.Random(seed)
    processes = [db, patient(databases.another(db))]
    live = {}
    for step in range(60):
        used = rand.choice(processes)
        if not live or rand.random() < 0.2:
            row, = databases.insert(used, "instances", server(
                step, project_id=rand.choice("pq"), host=rand.choice("hi")))
            live[row.key[0]] = None
        else:
            key = rand.choice(list(live))
            if rand.random() < 0.1:
                databases.delete(used, "instances", (key,))
                del live[key]
            else:
                databases.update(used, "instances", (key,), **rand.choice([
                    {"vcpus": step}, {"vm_state": "soft-delete"},
                    {"vm_state": "active"}, {"host": rand.choice("hi")},
                    {"project_id": rand.choice("pq")}, {"deleted": key},
                    {"deleted": 0}, {"progress": step}]))
        waiting = used.remembered.take_included()
        rand.shuffle(waiting)
        send(used, waiting[:rand.randrange(4)])
        if rand.random() < 0.1:
            for process in processes:
                process.grace_ms = 0
            databases.tidy(used)
            for process in processes:
                patient(process)
        for column, value in (("project_id", "p"), ("host", "h")):
            rows, = db.begin().load([access.ByIndex(
                "instances", (column, "deleted"), ((value, 0),), True)])
            assert found(rand.choice(processes), column, value) == {
                row.values["uuid"]: (row.values.get("vcpus"),
                                     row.values["vm_state"] == "soft-delete")
                for row in rows}
