# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import exceptions
from nova_kvs.inspection import fsck
from nova_kvs.record import access
from nova_kvs.record import building
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from nova_kvs.store import base as store_base
from tests import base
from tests.unit.record import databases

FIRST = stored_format.State(1, 1)
COUNT = 20


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch):
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 0)
    monkeypatch.setattr(record_database, "SCHEMA_CHECK_S", 0)


@pytest.fixture
def db(monkeypatch):
    """Return a database of format 1 with servers."""
    with monkeypatch.context() as earlier:
        earlier.setattr(stored_format, "NEW", FIRST)
        made = databases.make()
    databases.insert(made, "instances", *[
        {"uuid": "u%02d" % n, "deleted": 0, "host": "h",
         "created_at": "2026-01-%02d 00:00:00.000000" % (n % 9 + 1)}
        for n in range(COUNT)])
    databases.insert(made, "instances", {"uuid": None, "deleted": 0})
    return made


def in_order(database):
    """Return UUIDs in the order of an index that format 2 brings."""
    return [record.values.get("uuid") for record in database.begin().load(
        [access.ByRange("instances", "created_at+id")])[0]]


def is_clean(database):
    databases.tidy(database)
    report = fsck.Fsck(databases.another(database), 10000).run()
    return report.is_clean and not report.found, report.details


def test_every_row_is_found(db):
    assert db.schema.state == FIRST
    with pytest.raises(KeyError):
        in_order(db)
    builder = building.Builder(db)
    builder.run()
    assert (builder.before, builder.after) == (FIRST, stored_format.NEW)
    assert builder.rows == COUNT + 1
    expected = [None] + ["u%02d" % n for n in sorted(
        range(COUNT), key=lambda n: (n % 9, n))]
    assert in_order(db) == expected
    other = databases.another(db)
    assert in_order(other) == expected
    assert is_clean(db) == (True, [])
    again = building.Builder(other)
    again.run()
    assert (again.before, again.rows) == (stored_format.NEW, 0)


def test_what_has_stopped_goes_on(db, monkeypatch):
    monkeypatch.setattr(building, "PARTITIONS", 1)
    seen = []

    class Stopped(Exception):
        pass

    def report(rows):
        seen.append(rows)
        if rows >= COUNT // 2:
            raise Stopped

    with pytest.raises(Stopped):
        building.Builder(db, report).run()
    builder = building.Builder(databases.another(db))
    half = stored_format.State(stored_format.CURRENT, 1)
    assert builder._database.schema.state == half
    builder.run()
    assert builder.before == half
    # What was being looked at is looked at again, and no more.
    assert builder.rows == COUNT + 1 - seen[-2]
    assert len(in_order(builder._database)) == COUNT + 1
    assert is_clean(builder._database) == (True, [])


def test_what_is_not_built_is_written_and_not_read(db):
    building.Builder(db)._declare(db.schema)
    db.refresh_schema()
    table = db.schema.tables["instances"]
    assert [index.name for index in table.unbuilt] == ["created_at+id"]
    assert not set(table.unbuilt).intersection(table.indexes)
    databases.insert(db, "instances", {"uuid": "new", "deleted": 0})
    with pytest.raises(KeyError):
        in_order(db)
    # Rows without entries are no damage yet.
    assert is_clean(db) == (True, [])


@pytest.mark.parametrize("has_read", [True, False])
def test_who_began_before_is_refused(db, has_read):
    early = databases.another(db)
    tx = early.begin()
    if has_read:
        tx.load([access.ByPartition("instances", ("u01",))])
    tx.insert("instances", {"uuid": "late", "deleted": 0})
    building.Builder(db)._declare(db.schema)
    with pytest.raises(exceptions.ConflictError):
        tx.commit()
    assert early.schema.state == stored_format.State(stored_format.CURRENT, 1)
    databases.insert(early, "instances", {"uuid": "late", "deleted": 0})
    building.Builder(db).run()
    assert "late" in in_order(db)


def test_nobody_commits_by_what_was_looked_at_long_ago(db, monkeypatch):
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 60)
    monkeypatch.setattr(record_database, "SCHEMA_CHECK_S", 1000)
    idle = databases.another(db)
    building.Builder(db)._declare(db.schema)
    idle.checked_at -= 61
    tx = idle.begin()
    tx.insert("instances", {"uuid": "idle", "deleted": 0})
    with pytest.raises(exceptions.ConflictError):
        tx.commit()


def test_a_row_that_changes_meanwhile(db, monkeypatch):
    builder = building.Builder(db)
    check = builder._check

    def changing(added):
        for record, _ in list(added.values()):
            if record.values.get("uuid") == "u03":
                databases.update(db, "instances", record.key,
                                 created_at="2027-01-01 00:00:00.000000")
            elif record.values.get("uuid") == "u04":
                databases.delete(db, "instances", record.key)
        # Its writer's check comes before what the builder adds.
        databases.tidy(db)
        check(added)

    monkeypatch.setattr(builder, "_check", changing)
    builder.run()
    found = in_order(db)
    assert found[-1] == "u03"
    assert "u04" not in found
    assert is_clean(db) == (True, [])


def test_it_waits_for_what_others_have_begun(db, monkeypatch):
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 60)
    waited = []

    class Stopped(Exception):
        pass

    def sleep(seconds):
        waited.append(seconds)
        raise Stopped

    with pytest.raises(Stopped):
        building.Builder(db, sleep=sleep).run()
    assert waited == [1]
    # The time goes on while nobody waits.
    with pytest.raises(Stopped):
        building.Builder(databases.another(db), sleep=sleep).run()
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", -1)
    building.Builder(databases.another(db), sleep=sleep).run()
    assert len(waited) == 2


def test_it_waits_for_commits_that_the_store_holds_up(db):
    db.held_up_ms = 60000
    waited = []
    with pytest.raises(InterruptedError):
        building.Builder(db, sleep=_raises(waited)).run()
    assert waited == [1]
    db.held_up_ms = 0
    building.Builder(db, sleep=_raises(waited)).run()
    assert len(waited) == 1


def _raises(waited):
    def sleep(seconds):
        waited.append(seconds)
        raise InterruptedError
    return sleep


@pytest.mark.parametrize("held_up_s", [0, 90, 1000])
def test_a_partition_is_not_taken_for_listed_until_it_is_tidied_away(
        monkeypatch, held_up_s):
    monkeypatch.setattr(store_base.Store, "held_up_ms",
                        lambda store, life_ms: 1000 * held_up_s)
    database = databases.make(url=base.memory_url())
    settings = database.store.settings
    longest_s = 2 * settings.index_grace - settings.transaction_lifetime
    assert longest_s > 90
    assert 0 <= database.listed_s <= max(0, longest_s - held_up_s)
    assert database.listed_s <= settings.index_grace / 2
    assert bool(database.listed_s) == (held_up_s < longest_s)


def test_a_migration_meanwhile(db, monkeypatch):
    builder = building.Builder(db)
    pages = builder._pages
    turns = []

    def migrating(keys, after):
        if not turns:
            turns.append(keys)
            other = databases.another(db)
            tx = other.begin()
            tx.set_schema((*databases.DDL, "CREATE TABLE more (id INTEGER)"))
            tx.commit()
        return pages(keys, after)

    monkeypatch.setattr(builder, "_pages", migrating)
    builder.run()
    assert builder.after == stored_format.NEW
    assert "more" in db.schema.tables
    assert len(in_order(db)) == COUNT + 1


def test_an_empty_database_is_refused():
    made = databases.make(ddl=None, url=base.memory_url())
    with pytest.raises(exceptions.ConfigurationError):
        building.Builder(made).run()


def test_a_schema_change_keeps_the_state(db):
    tx = db.begin()
    tx.set_schema((*databases.DDL, "CREATE TABLE more (id INTEGER)"))
    tx.commit()
    assert databases.another(db).schema.state == FIRST
