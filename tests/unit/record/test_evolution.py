# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import exceptions
from nova_kvs.record import access
from tests.unit.record import databases

HOSTS = ("CREATE TABLE hosts (id INTEGER PRIMARY KEY, name VARCHAR(9), "
         "zone VARCHAR(9))")


@pytest.fixture
def db():
    db = databases.make([HOSTS])
    databases.insert(db, "hosts", {"name": "a", "zone": "z"},
                     {"name": "b", "zone": "z"})
    return db


def change(db, *ddl):
    tx = db.begin()
    tx.set_schema(ddl)
    tx.commit()


def everywhere(db, *accesses):
    """Load in this process and in another one; both must agree."""
    found = databases.load(db, *accesses)
    assert databases.load(databases.another(db), *accesses) == found
    return found


def test_each_change_is_a_new_version(db):
    assert db.schema.version == 1
    change(db, HOSTS, "CREATE TABLE x (id INTEGER PRIMARY KEY)")
    assert db.schema.version == 2
    assert set(db.schema.tables) == {"hosts", "x"}
    assert databases.another(db).schema.ddl == db.schema.ddl


def test_another_process_notices_with_its_reads(db):
    other = databases.another(db)
    change(db, HOSTS, "CREATE TABLE x (id INTEGER PRIMARY KEY)")
    databases.load(other, access.FullScan("hosts"))
    assert "x" not in other.schema.tables
    other._check_at = 0
    with databases.trips(other) as made:
        databases.load(other, access.FullScan("hosts"))
    assert "x" in other.schema.tables
    assert made == [2]
    other._check_at = 0
    with databases.trips(other) as made:
        databases.load(other, access.FullScan("hosts"))
    assert made == [1]


def test_of_two_changes_at_once_one_fails(db):
    first, second = db.begin(), db.begin()
    first.set_schema([HOSTS, "CREATE TABLE x (id INTEGER PRIMARY KEY)"])
    second.set_schema([HOSTS, "CREATE TABLE y (id INTEGER PRIMARY KEY)"])
    first.commit()
    with pytest.raises(exceptions.ConflictError):
        second.commit()
    assert "x" in db.schema.tables


def test_rows_may_come_with_their_table(db):
    tx = db.begin()
    tx.set_schema([HOSTS, "CREATE TABLE x (id INTEGER PRIMARY KEY, a TEXT)"])
    tx.insert("x", {"a": 1})
    tx.commit()
    assert everywhere(db, access.FullScan("x")) == [[{"id": 1, "a": "1"}]]


def test_a_new_index_holds_the_rows_that_are_there(db):
    change(db, HOSTS, "CREATE INDEX zones ON hosts (zone)",
           "CREATE UNIQUE INDEX names ON hosts (name)")
    reader = databases.another(db)
    tx = reader.begin()
    rows, = tx.load([access.ByIndex("hosts", ("zone",), (("z",),))])
    assert len(rows) == 2
    assert reader.stats.full_scans == 0
    with pytest.raises(exceptions.DuplicateKeyError):
        databases.insert(db, "hosts", {"name": "a"})
    change(db, HOSTS)
    databases.insert(db, "hosts", {"name": "a"})


def test_a_new_unique_key_that_rows_violate_is_refused(db):
    tx = db.begin()
    tx.set_schema([HOSTS, "CREATE UNIQUE INDEX zones ON hosts (zone)"])
    with pytest.raises(exceptions.DuplicateKeyError):
        tx.commit()
    assert db.schema.version == 1


def test_a_new_column_gets_its_default(db):
    change(db, HOSTS, "ALTER TABLE hosts ADD COLUMN n INTEGER DEFAULT 4",
           "ALTER TABLE hosts ADD COLUMN m TEXT")
    rows, = everywhere(db, access.FullScan("hosts"))
    assert rows[0] == {"id": 1, "name": "a", "zone": "z", "n": 4}


def test_a_dropped_column_goes(db):
    change(db, "CREATE TABLE hosts (id INTEGER PRIMARY KEY, name TEXT)")
    assert everywhere(db, access.FullScan("hosts")) == [
        [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]]


def test_a_dropped_table_leaves_nothing(db):
    change(db)
    change(db, HOSTS)
    assert everywhere(db, access.FullScan("hosts")) == [[]]


@pytest.mark.parametrize("together", [True, False])
def test_a_table_is_recreated_as_alembic_does_it(db, together):
    new = ("CREATE TABLE _alembic_tmp_hosts (id INTEGER PRIMARY KEY, "
           "name VARCHAR(9), UNIQUE (name))")
    tx = db.begin()

    def step():
        if not together:
            tx.commit()

    stored = {}
    for number in range(2):
        tx.set_schema([HOSTS, new])
        step()
        rows = tx.load([access.FullScan("hosts")])[0]
        if together and number:
            # Its rows are the transaction's own by now.
            values = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
        else:
            values = [{"id": row.values["id"], "name": row.values["name"]}
                      for row in rows]
            stored = {row.values["id"]: row for row in rows if together}
        for row in values:
            tx.insert("_alembic_tmp_hosts", row)
        step()
        tx.set_schema([new])
        step()
        tx.set_schema(
            [new, "ALTER TABLE _alembic_tmp_hosts RENAME TO hosts"])
        # As the dialect does it: a table by another name is another table.
        for row in values:
            if row["id"] in stored:
                tx.update(stored[row["id"]], row)
            else:
                tx.insert("hosts", row)
        step()
    tx.commit()
    assert everywhere(db, access.FullScan("hosts")) == [
        [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]]
    with pytest.raises(exceptions.DuplicateKeyError):
        databases.insert(db, "hosts", {"name": "a"})


def test_a_partitioned_table_is_rewritten_with_its_entries():
    ddl = ("CREATE TABLE instances (id INTEGER PRIMARY KEY, uuid TEXT, "
           "deleted INTEGER, created_at TEXT%s)")
    db = databases.make([ddl % ""])
    databases.insert(db, "instances", {"uuid": "u"}, {"uuid": None})
    change(db, ddl % ", host TEXT DEFAULT 'h'")
    reader = databases.another(db)
    rows, = databases.load(
        reader, access.ByIndex("instances", ("host",), (("h",),)))
    assert len(rows) == 2
    assert reader.stats.full_scans == 0
