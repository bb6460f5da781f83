# SPDX-License-Identifier: Apache-2.0
"""Directories of the partitions with deleted and with archived rows."""

import pytest

from nova_kvs import exceptions
from nova_kvs.inspection import fsck
from nova_kvs.record import access
from nova_kvs.record import building
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from nova_kvs.record.indexes import directory
from nova_kvs.store import operations
from tests.unit.record import databases

DDL = tuple(
    "CREATE TABLE %s (id INTEGER NOT NULL PRIMARY KEY, %s VARCHAR(36), "
    "deleted INTEGER)" % definition for definition in (
        ("instances", "uuid"), ("instance_metadata", "instance_uuid"),
        ("shadow_instances", "uuid"), ("services", "host"),
        ("shadow_services", "host")))


@pytest.fixture(params=[False, True], ids=["one server", "several"])
def db(request):
    return databases.another(databases.make(DDL), spread=request.param)


def listed(db, kind):
    """Return the values of the partitions that a directory lists."""
    found = db.store.batch([
        operations.ReadMembers(key, b"-", b"+")
        for key in directory.bucket_keys(db.name, kind)])
    return sorted([
        directory.partition_of(member).key.split(b":")[-1].rstrip(b"}")
        for members in found for member in members])


def deleted(db, name):
    return sorted(record.values["id"] for record in databases.another(
        db).begin().load([access.DeletedRows(name)])[0])


def commands_of(db, wanted):
    """Return how many records are found, and by how many commands."""
    before = db.store.stats.commands
    found, = db.begin().load([wanted])
    return len(found), db.store.stats.commands - before


def is_clean(db):
    databases.tidy(db)
    report = fsck.Fsck(databases.another(db), 10000).run()
    return report.is_clean and not report.found, report.details


def repaired(db):
    """Repair a database; return whether that was all."""
    run = fsck.Fsck(databases.another(db), 10000, lambda _: None).run
    return run().is_clean


def test_marked_rows_are_found_without_visiting_others(db):
    databases.insert(db, "instances", {"uuid": "u", "deleted": None}, *[
        {"uuid": "u%d" % n, "deleted": 0} for n in range(20)])
    databases.update(db, "instances", (4,), deleted=4)
    databases.insert(db, "instance_metadata",
                     {"instance_uuid": "u7", "deleted": 9},
                     {"instance_uuid": None, "deleted": 9})
    assert deleted(db, "instances") == [4]
    assert deleted(db, "instance_metadata") == [1, 2]
    other = databases.another(db)
    assert commands_of(other, access.DeletedRows("instances")) == (1, 19)
    assert other.stats.full_scans == 0
    assert listed(db, "s.deleted") == [b"u2", b"u7"]
    assert listed(db, "t.deleted") == [b"instance_metadata"]
    assert is_clean(db) == (True, [])


def test_archived_rows_are_found_without_visiting_others(db):
    databases.insert(db, "instances", *[
        {"uuid": "u%d" % n} for n in range(20)])
    databases.insert(db, "shadow_instances", {"uuid": "u3", "deleted": 3},
                     {"uuid": None})
    other = databases.another(db)
    assert commands_of(other, access.FullScan("shadow_instances")) == (2, 19)
    assert other.stats.full_scans == 0
    assert is_clean(db) == (True, [])


def test_a_partition_without_such_rows_leaves_the_directory(db):
    databases.insert(db, "instances", *[
        {"uuid": "u%d" % n, "deleted": 0} for n in range(3)])
    for key in (1, 2):
        databases.update(db, "instances", (key,), deleted=key)
    databases.insert(db, "instance_metadata",
                     {"instance_uuid": "u1", "deleted": 1})
    databases.tidy(db)
    assert listed(db, "s.deleted") == [b"u0", b"u1"]
    databases.update(db, "instances", (1,), deleted=0)
    databases.delete(db, "instances", (2,))
    # Not at once: somebody may be about to add one.
    assert set(listed(db, "s.deleted")) == {b"u0", b"u1"}
    databases.tidy(db)
    assert listed(db, "s.deleted") == [b"u1"]
    assert deleted(db, "instances") == []
    assert deleted(db, "instance_metadata") == [1]
    assert is_clean(db) == (True, [])


def test_a_table_of_one_partition_is_listed_once(db):
    assert deleted(db, "services") == []
    databases.insert(db, "services", {"host": "a", "deleted": 0})
    assert listed(db, "t.deleted") == []
    for _turn in range(2):
        databases.insert(db, "services", {"host": "b", "deleted": 2},
                         {"host": "c", "deleted": 3})
        databases.tidy(db)
        assert listed(db, "t.deleted") == [b"services"]
    with databases.trips(db) as trips:
        databases.insert(db, "services", {"host": "d", "deleted": 4})
    assert trips == [1]
    assert deleted(db, "services") == [2, 3, 4, 5, 6]
    assert is_clean(db) == (True, [])


def test_a_failed_transaction_leaves_nothing(db):
    databases.insert(db, "instances", {"uuid": "u0", "deleted": 0})
    other = databases.another(db)
    tx = db.begin()
    record = databases.one(tx, "instances", (1,))
    databases.update(other, "instances", (1,), uuid="u0", deleted=None)
    tx.update(record, {**record.values, "deleted": 1})
    with pytest.raises(exceptions.ConflictError):
        tx.commit()
    databases.tidy(db)
    assert listed(db, "s.deleted") == []


@pytest.fixture
def earlier(monkeypatch):
    """Return a database of format 2 with deleted and archived rows."""
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 0)
    monkeypatch.setattr(record_database, "SCHEMA_CHECK_S", 0)
    with monkeypatch.context() as before:
        before.setattr(stored_format, "NEW", stored_format.State(2, 2))
        made = databases.make(DDL)
    for name in ("instances", "shadow_instances"):
        databases.insert(made, name, *[
            {"uuid": "u%d" % n, "deleted": n % 2} for n in range(4)])
    databases.insert(made, "services", {"host": "h", "deleted": 1})
    return made


def test_an_earlier_format_is_read_whole(earlier):
    assert deleted(earlier, "instances") == [2, 4]
    assert deleted(earlier, "services") == [1]
    assert len(earlier.begin().load(
        [access.FullScan("shadow_instances")])[0]) == 4
    for kind in ("s.deleted", "s.shadow", "t.deleted"):
        assert listed(earlier, kind) == []


def test_an_upgrade_lists_what_there_is(earlier):
    building.Builder(earlier)._declare(earlier.schema)
    earlier.refresh_schema()
    # Written by all, read by nobody.
    databases.update(earlier, "instances", (1,), deleted=1)
    assert listed(earlier, "s.deleted") == [b"u0"]
    assert deleted(earlier, "instances") == [1, 2, 4]
    assert is_clean(earlier) == (True, [])
    building.Builder(earlier).run()
    assert set(listed(earlier, "s.deleted")) == {b"u0", b"u1", b"u3"}
    assert set(listed(earlier, "s.shadow")) == {b"u0", b"u1", b"u2", b"u3"}
    assert listed(earlier, "t.deleted") == [b"services"]
    assert deleted(earlier, "instances") == [1, 2, 4]
    assert deleted(earlier, "services") == [1]
    other = databases.another(earlier)
    other.begin().load([access.FullScan("shadow_instances")])
    assert other.stats.full_scans == 0
    assert is_clean(earlier) == (True, [])


def test_fsck_lists_what_is_missing_and_takes_out_what_is_stale(db):
    databases.insert(db, "instances", {"uuid": "u0", "deleted": 1})
    databases.insert(db, "services", {"host": "h", "deleted": 1})
    databases.insert(db, "shadow_instances", {"uuid": "u1"})
    databases.tidy(db)
    kinds = ("s.deleted", "s.shadow", "t.deleted")
    before = [listed(db, kind) for kind in kinds]
    for kind in kinds:
        db.store.batch([operations.Delete(key)
                        for key in directory.bucket_keys(db.name, kind)])
    report = fsck.Fsck(databases.another(db), 10000).run()
    assert report.found == {"directory-missing": 3}
    assert repaired(db)
    assert [listed(db, kind) for kind in kinds] == before
    databases.insert(db, "instances", {"uuid": "u2", "deleted": 0})
    databases.tidy(db)
    partition = databases.one(db.begin(), "instances", (2,)).partition
    db.store.batch([directory.adding(
        db.name, "s.shadow", partition, b"1234")])
    report = fsck.Fsck(databases.another(db), 10000).run()
    assert report.found == {"directory-stale": 1}
    assert repaired(db)
    databases.tidy(db)
    assert [listed(db, kind) for kind in kinds] == before
