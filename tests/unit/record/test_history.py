# SPDX-License-Identifier: Apache-2.0
"""A long history of a server costs its readers what they ask for."""

import sqlite3

import hypothesis
from hypothesis import strategies as st
import pytest

from nova_kvs import cache
from nova_kvs.inspection import fsck
from nova_kvs.record import access
from nova_kvs.record import building
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from tests.unit.record import databases

DDL = (
    "CREATE TABLE instances (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36), deleted INTEGER, host VARCHAR(9))",
    "CREATE TABLE instance_metadata (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), value VARCHAR(255))",
    "CREATE TABLE instance_faults (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), deleted INTEGER, created_at DATETIME, "
    "message VARCHAR(255))",
    "CREATE TABLE instance_actions (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), request_id VARCHAR(255), "
    "created_at DATETIME, action VARCHAR(255))",
    "CREATE TABLE instance_actions_events (id INTEGER NOT NULL PRIMARY KEY, "
    "action_id INTEGER, event VARCHAR(255))")
PARTS = stored_format.State(stored_format.FormatVersion.PARTS,
                            stored_format.FormatVersion.PARTS)
NEWEST_FAULT = access.ByRange(
    "instance_faults", "instance_uuid+deleted+created_at+id", ("u", 0),
    limit=1, reverse=True)
NEWEST_ACTIONS = access.ByRange(
    "instance_actions", "instance_uuid+created_at+id", ("u",), limit=3,
    reverse=True)
READS = {
    "newest fault": NEWEST_FAULT,
    "newest actions": NEWEST_ACTIONS,
    "a request's action": access.ByIndex(
        "instance_actions", ("instance_uuid", "request_id"),
        (("u", "req5"),)),
    "an action": access.ByKey("instance_actions", ((5,),)),
    "its events": access.ByPartition("instance_actions_events", (5,)),
    "the server": access.ByPartition("instances", ("u",)),
    "its metadata": access.ByPartition("instance_metadata", ("u",)),
}


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch):
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 0)
    monkeypatch.setattr(record_database, "SCHEMA_CHECK_S", 0)


def fill(database, count):
    databases.insert(
        database, "instances", {"id": 1, "uuid": "u", "deleted": 0})
    databases.insert(
        database, "instance_metadata",
        {"id": 1, "instance_uuid": "u", "value": "v"})
    when = ["2026-01-01 00:%02d:%02d" % divmod(n, 60) for n in range(count)]
    databases.insert(database, "instance_faults", *[
        {"id": n + 1, "instance_uuid": "u", "deleted": 0,
         "created_at": when[n], "message": "m" * 200} for n in range(count)])
    databases.insert(database, "instance_actions", *[
        {"id": n + 1, "instance_uuid": "u", "request_id": "req%d" % n,
         "created_at": when[n], "action": "a" * 100} for n in range(count)])
    databases.insert(database, "instance_actions_events", *[
        {"id": n + 1, "action_id": n + 1, "event": "e" * 100}
        for n in range(count)])


@pytest.fixture(scope="module")
def short_and_long():
    found = []
    for count in (20, 1000):
        database = databases.make(DDL)
        fill(database, count)
        found.append(database)
    return found


def cost(database, wanted):
    """Return (rows, round trips, commands, bytes) of a second read."""
    other = databases.another(database)
    for _ in range(2):
        stats = other.store.stats
        before = stats.round_trips, stats.commands, stats.bytes_in
        found, = other.begin().load([wanted])
        after = stats.round_trips, stats.commands, stats.bytes_in
    return len(found), *[
        end - start for start, end in zip(before, after)]


@pytest.mark.parametrize("name", READS)
def test_a_long_history_costs_no_more_than_a_short_one(short_and_long, name):
    short, long = (cost(one, READS[name]) for one in short_and_long)
    print("%s: %s and %s" % (name, short, long))
    assert long[0] and long[0] == short[0]
    assert long[1:3] == short[1:3]
    # Longer texts of numbers.
    assert long[3] <= short[3] + 200


def test_the_newest_fault_is_one_read(short_and_long):
    # And a look at the schema's version, which is always due here.
    assert cost(short_and_long[1], NEWEST_FAULT)[:3] == (1, 1, 2)


def test_a_writer_reads_what_it_asks_for(short_and_long):
    database = databases.another(short_and_long[1])
    database.begin().load([READS["the server"]])
    before = database.store.stats.bytes_in
    for number in range(3):
        tx = database.begin(speculates=True)
        record, = tx.load([READS["a request's action"]])[0]
        tx.insert("instance_actions_events", {
            "action_id": record.key[0], "event": "more"})
        tx.update(record, {**record.values, "action": "b%d" % number})
        tx.commit()
    assert database.store.stats.bytes_in - before < 5000
    events, = databases.load(database, READS["its events"]._replace(
        values=(6,)))
    assert [event["event"] for event in events] == ["e" * 100] + ["more"] * 3


def is_clean(database):
    databases.tidy(database)
    report = fsck.Fsck(databases.another(database), 10000).run()
    return report.is_clean and not report.found, report.details


@pytest.fixture
def earlier(monkeypatch):
    """Return a database of the format before, with a history."""
    with monkeypatch.context() as patch:
        patch.setattr(stored_format, "NEW", PARTS)
        database = databases.make(DDL)
    fill(database, 30)
    return database


def test_an_earlier_format_has_no_entries_and_is_read(earlier, monkeypatch):
    assert earlier.schema.state == PARTS
    monkeypatch.setattr(cache, "LONG_HISTORY_BYTES", 100)
    other = databases.another(earlier)
    for _ in range(2):
        assert [len(rows) for rows in other.begin().load(
            [READS[name] for name in READS
             if "newest" not in name])] == [1] * 5
    assert not list(earlier.store.scan(b"*{%s:s:*}x" % earlier.name.encode()))
    assert is_clean(earlier) == (True, [])


def test_an_earlier_format_is_upgraded(earlier):
    builder = building.Builder(earlier)
    builder.run()
    assert builder.after == stored_format.NEW
    assert is_clean(earlier) == (True, [])
    other = databases.another(earlier)
    newest, actions = other.begin().load([NEWEST_FAULT, NEWEST_ACTIONS])
    assert [record.key for record in newest] == [(30,)]
    assert [record.key for record in actions] == [(30,), (29,), (28,)]
    # What is removed leaves no entry.
    for table in ("instance_faults", "instance_actions"):
        databases.delete(earlier, table, (30,))
    assert is_clean(earlier) == (True, [])


def test_a_row_that_changes_while_entries_are_made(earlier, monkeypatch):
    builder = building.Builder(earlier, sleep=lambda _: None)
    add = builder._add_inside

    def later(schema, missing):
        databases.update(earlier, "instance_faults", (30,), deleted=1)
        databases.delete(earlier, "instance_faults", (29,))
        databases.update(earlier, "instance_actions", (30,), action="b")
        add(schema, missing)

    monkeypatch.setattr(builder, "_add_inside", later)
    builder.run()
    assert is_clean(earlier) == (True, [])
    newest, = databases.another(earlier).begin().load([NEWEST_FAULT])
    assert [record.key for record in newest] == [(28,)]


def test_fsck_mends_entries(short_and_long):
    database = databases.make(DDL)
    fill(database, 5)
    key, = database.store.scan(b"*{%s:s:*}x" % database.name.encode())
    databases.wipe_key(database, key)
    assert not is_clean(database)[0]
    assert fsck.Fsck(databases.another(database), 10000,
                     lambda _: None).run().is_clean
    assert is_clean(database) == (True, [])
    assert cost(database, NEWEST_FAULT)[0] == 1


# Against SQLite -------------------------------------------------------------

_UUIDS = st.sampled_from(["u", "v", None])
_TIMES = st.sampled_from([None, "2026-01-01", "2026-01-02", "2026-01-03"])
_NUMBERS = st.integers(1, 8)
_CHANGES = st.one_of(
    st.tuples(st.just("instance_faults"), _NUMBERS, st.fixed_dictionaries({
        "instance_uuid": _UUIDS, "created_at": _TIMES,
        "deleted": st.sampled_from([0, 0, 1, None])})),
    st.tuples(st.just("instance_actions"), _NUMBERS, st.fixed_dictionaries({
        "instance_uuid": _UUIDS, "created_at": _TIMES,
        "request_id": st.sampled_from(["r", "q", None])})),
    st.tuples(st.just("instance_actions_events"), _NUMBERS,
              st.fixed_dictionaries({"action_id": _NUMBERS})),
    st.tuples(st.just("instance_metadata"), _NUMBERS,
              st.fixed_dictionaries({"instance_uuid": _UUIDS})),
    st.tuples(st.sampled_from(
        ["instance_faults", "instance_actions", "instance_actions_events"]),
        _NUMBERS, st.none()))


def write(database, reference, changes):
    """Insert, change or (None) delete rows, in one transaction."""
    tx = database.begin()
    for table, number, values in changes:
        known = {**{record.key: record for record in tx.load(
            [access.ByKey(table, ((number,),))])[0]}}
        written = tx.writes.get((table, (number,)))
        if written is not None:
            # One change of a row is enough.
            continue
        record = known.get((number,))
        reference.execute("DELETE FROM %s WHERE id = ?" % table, (number,))
        if values is None:
            if record is not None:
                tx.delete(record)
            continue
        row = {"id": number, **values}
        reference.execute("INSERT INTO %s (%s) VALUES (%s)" % (
            table, ", ".join(row), ", ".join("?" * len(row))),
            list(row.values()))
        if record is None:
            tx.insert(table, row)
        else:
            tx.update(record, row)
    tx.commit()


def ids(reference, text, *values):
    return [number for number, in reference.execute(text, values)]


def keys(records):
    return [record.key[0] for record in records]


def compare(database, reference, is_long):
    other = databases.another(database)
    if is_long:
        for partition in {read.partition for read in _partitions(other)}:
            other.remembered.partitions.long[partition] = True
    for uuid in ("u", "v", None):
        for limit in (None, 1, 3):
            for reverse in (True, False):
                order = "DESC" if reverse else "ASC"
                many = -1 if limit is None else limit
                faults, actions = other.begin().load([
                    NEWEST_FAULT._replace(
                        prefix=(uuid, 0), limit=limit, reverse=reverse),
                    NEWEST_ACTIONS._replace(
                        prefix=(uuid,), limit=limit, reverse=reverse)])
                assert keys(faults) == ids(
                    reference, "SELECT id FROM instance_faults WHERE "
                    "instance_uuid IS ? AND deleted = 0 ORDER BY "
                    "created_at %s, id %s LIMIT ?" % (order, order), uuid,
                    many)
                assert keys(actions) == ids(
                    reference, "SELECT id FROM instance_actions WHERE "
                    "instance_uuid IS ? ORDER BY created_at %s, id %s "
                    "LIMIT ?" % (order, order), uuid, many)
        found = other.begin().load([
            access.ByIndex("instance_actions",
                           ("instance_uuid", "request_id"),
                           ((uuid, "r"), (uuid, "q"))),
            access.ByPartition("instance_actions", (uuid,)),
            access.ByPartition("instance_faults", (uuid,)),
            access.ByPartition("instance_metadata", (uuid,))])
        # A superset, but of rows of this server.
        for records, table, more in zip(found, (
                "instance_actions", "instance_actions", "instance_faults",
                "instance_metadata"), (
                    "AND request_id IN ('r', 'q')", "", "", "")):
            assert sorted(keys(records)) == ids(
                reference, "SELECT id FROM %s WHERE instance_uuid IS ? %s "
                "ORDER BY id" % (table, more), uuid)
    for number in range(1, 9):
        events, = other.begin().load([
            access.ByPartition("instance_actions_events", (number,))])
        assert sorted(keys(events)) == ids(
            reference, "SELECT id FROM instance_actions_events WHERE "
            "action_id = ? ORDER BY id", number)
        action, = other.begin().load([
            access.ByKey("instance_actions", ((number,),))])
        assert keys(action) == ids(
            reference, "SELECT id FROM instance_actions WHERE id = ?",
            number)


def _partitions(database):
    from nova_kvs.record.paths import partition_reads

    tx = database.begin()
    table = tx.table("instances")
    return [partition_reads.whole(tx, tx.partition_of_value(table, uuid))
            for uuid in ("u", "v")]


@hypothesis.given(st.lists(st.lists(_CHANGES, max_size=6), max_size=5),
                  st.booleans(), st.integers(-1, 4))
@hypothesis.settings(max_examples=25, deadline=None)
def test_the_same_rows_as_sqlite(steps, is_long, upgraded_at):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record_database, "SCHEMA_AGE_S", 0)
        patch.setattr(record_database, "SCHEMA_CHECK_S", 0)
        with patch.context() as earlier:
            if upgraded_at >= 0:
                earlier.setattr(stored_format, "NEW", PARTS)
            database = databases.make(DDL)
        reference = sqlite3.connect(":memory:")
        for text in DDL:
            reference.execute(text)
        for number, changes in enumerate(steps):
            if number == upgraded_at:
                building.Builder(database).run()
            write(database, reference, changes)
        building.Builder(database).run()
        compare(database, reference, is_long)
        assert is_clean(database) == (True, [])
