# SPDX-License-Identifier: Apache-2.0
import json
import sqlite3

import pytest

from nova_kvs.cmd import main
from nova_kvs.inspection import walk
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.store import operations
from nova_kvs.transfer import sql
from nova_kvs.txn import mutation
from tests import base
from tests.unit.cmd import copies
from tests.unit.record import databases

SERVERS = copies.SERVERS


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(sql, "PAGE", 5)
    monkeypatch.setattr(walk, "CHUNK", 20)


@pytest.fixture
def source(imported):
    return imported


@pytest.fixture
def target(tmp_path):
    return copies.make_sqlite(str(tmp_path / "target"))


def run(capsys, source, target, *arguments):
    status = main.main(
        ["export", "--from", source, "--to", target, *arguments])
    return status, *capsys.readouterr()


def refused(result):
    status, out, error = result
    assert (status, out) == (2, "")
    assert error.startswith("nova-kvs: error: ")
    assert error.count("\n") == 1
    return error


def execute(url, text):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute(text)
    connection.commit()
    connection.close()


def test_round_trip(original, source, target, capsys):
    status, out, error = run(capsys, source, target)
    assert (status, error) == (0, "")
    assert "%d rows of 8 tables copied and verified" % (
        10 * SERVERS + 1) in out
    assert copies.dump_sqlite(target) == copies.dump_sqlite(original)


def test_json_and_dry_run(source, target, capsys):
    status, out, _ = run(capsys, source, target, "--json", "--dry-run")
    assert status == 0
    assert json.loads(out)["tables"]["tags"] == 2 * SERVERS
    rows = copies.dump_sqlite(target)
    assert sum(map(len, rows.values())) == 1


@pytest.mark.parametrize("chunks", [0, 3, 10, 200])
def test_killed_and_run_again(chunks, original, source, target, capsys,
                              monkeypatch):
    class Killed(BaseException):
        pass

    insert = sql.Database.insert
    done = []

    def stop(self, connection, name, rows):
        insert(self, connection, name, rows)
        if len(done) == chunks:
            raise Killed
        done.append(name)

    with monkeypatch.context() as patched:
        patched.setattr(sql.Database, "insert", stop)
        if chunks < 100:
            with pytest.raises(Killed):
                run(capsys, source, target)
        else:
            assert run(capsys, source, target)[0] == 0
            execute(target, "CREATE TABLE nova_kvs_transfer "
                    "(source VARCHAR(255))")
            execute(target, "INSERT INTO nova_kvs_transfer VALUES ('%s')"
                    % source)
    # Nova's archive and its migrations look at every table.
    if chunks < 100:
        assert copies.dump_sqlite(target).keys() == (
            copies.dump_sqlite(original).keys())
    assert run(capsys, source, target)[0] == 0
    assert copies.dump_sqlite(target) == copies.dump_sqlite(original)


def test_killed_at_the_very_end(original, source, target, capsys,
                                monkeypatch):
    class Killed(BaseException):
        pass

    finish = sql.Database.finish
    finished = []

    def stop(self):
        if not finished:
            finished.append("killed")
            raise Killed
        finish(self)
        finished.append("done")

    monkeypatch.setattr(sql.Database, "finish", stop)
    with pytest.raises(Killed):
        run(capsys, source, target)
    assert run(capsys, source, target)[0] == 0
    assert finished == ["killed", "done"]
    assert copies.dump_sqlite(target) == copies.dump_sqlite(original)


def test_a_target_that_is_not_empty(original, source, target, capsys):
    execute(target, "INSERT INTO services VALUES (77, 'a', 'b')")
    error = refused(run(capsys, source, target))
    assert "tables=services" in error
    assert run(capsys, source, target, "--replace")[0] == 0
    assert copies.dump_sqlite(target) == copies.dump_sqlite(original)


def test_another_copy_is_not_completed(original, source, target, capsys):
    execute(target, "CREATE TABLE nova_kvs_transfer (source VARCHAR(255))")
    execute(target, "INSERT INTO nova_kvs_transfer VALUES ('other')")
    assert "source=other" in refused(run(capsys, source, target))
    assert run(capsys, source, target, "--replace")[0] == 0
    assert copies.dump_sqlite(target) == copies.dump_sqlite(original)


def test_run_twice(source, target, capsys):
    assert run(capsys, source, target)[0] == 0
    before = copies.dump_sqlite(target)
    # Killed after its end, it left no sign of being complete.
    assert run(capsys, source, target)[0] == 0
    assert copies.dump_sqlite(target) == before
    execute(target, "DELETE FROM services WHERE id = 3")
    assert "not empty" in refused(run(capsys, source, target))


def test_a_row_that_differs(source, target, capsys, monkeypatch):
    insert = sql.Database.insert

    def change(self, connection, name, rows):
        insert(self, connection, name, rows)
        if name == "services":
            connection.exec_driver_sql(
                "UPDATE services SET topic = 'x' WHERE id = 3")

    with monkeypatch.context() as patched:
        patched.setattr(sql.Database, "insert", change)
        error = refused(run(capsys, source, target))
    assert "table=services" in error and "key=(3,)" in error
    # What was copied is not right and cannot be completed.
    assert "not empty" in refused(run(capsys, source, target))
    assert run(capsys, source, target, "--replace")[0] == 0


def test_every_refused_row_is_named(original, source, tmp_path, capsys):
    target = copies.make_sqlite(str(tmp_path / "target"), ddl=[
        text.replace("tag VARCHAR(80)", "tag VARCHAR(80) COLLATE NOCASE")
        for text in copies.DDL])
    empty = copies.dump_sqlite(target)
    error = refused(run(capsys, source, target, "--dry-run"))
    assert copies.dump_sqlite(target) == empty
    assert "refuses %d rows" % SERVERS in error
    assert error.count("table=tags, key=('uuid-") == 5
    assert "UNIQUE constraint failed: tags.resource_id, tags.tag" in error
    assert "and 18 more" in error
    assert refused(run(capsys, source, target)) == error
    tx = databases.open_again(source).begin()
    found, = tx.load([access.FullScan("tags")])
    for row in found:
        if row.values["tag"] == "T":
            tx.delete(row)
    tx.commit()
    execute(target, "DELETE FROM tags")
    assert run(capsys, source, target)[0] == 0
    wanted = copies.dump_sqlite(original)
    wanted["tags"] = [row for row in wanted["tags"] if row[1] == "t"]
    assert copies.dump_sqlite(target) == wanted


@pytest.mark.parametrize("column, values", [
    ("deleted", {"deleted": None}), ("host", {"host": "a" * 300})])
def test_the_column_at_fault_is_named(column, values, source, tmp_path,
                                      capsys):
    db = databases.open_again(source)
    databases.insert(db, "instances", {
        "id": 4711, "uuid": "u", "deleted": 0, **values})
    target = copies.make_sqlite(str(tmp_path / "target"), ddl=[
        text.replace("deleted INTEGER", "deleted INTEGER NOT NULL")
        .replace("host VARCHAR(255)", "host VARCHAR(255) CHECK (host IS NULL "
                 "OR length(host) < 256)")
        for text in copies.DDL])
    for again in (["--dry-run"], []):
        error = refused(run(capsys, source, target, *again))
        assert "table=instances, key=(4711,), column=%s: " % column in error


def test_a_row_too_many(source, target, capsys, monkeypatch):
    insert = sql.Database.insert

    def add(self, connection, name, rows):
        insert(self, connection, name, rows)
        connection.exec_driver_sql(
            "INSERT OR REPLACE INTO services VALUES (999, 'x', 'y')")

    monkeypatch.setattr(sql.Database, "insert", add)
    assert "different numbers" in refused(run(capsys, source, target))


def test_another_revision(source, tmp_path, capsys):
    target = copies.make_sqlite(str(tmp_path / "old"), revision="0" * 12)
    assert "0" * 12 in refused(run(capsys, source, target))


def test_a_target_without_a_schema(source, tmp_path, capsys):
    path = tmp_path / "empty"
    assert "nova-manage db sync" in refused(
        run(capsys, source, "sqlite:///%s" % path))


def test_a_committed_intent_counts(source, target, capsys):
    """The process that committed it has not applied it yet."""
    db = databases.open_again(source)
    server = keyspace.partition(db.name, "t", "services")
    other = keyspace.partition(db.name, "s", "other")
    field = db.schema.tables["services"].field((3,))
    stored, = db.store.batch([base.command(b"HGET", server.key, field)])
    db.store.batch([
        base.command(b"SET", other.outcome_key(b"t" * 16), b"c"),
        base.command(
            b"HSET", server.key, keyspace.intent_field(field),
            b"%016d" % 10 ** 15 + mutation.pack_intent(
                b"t" * 16, operations.PUT, 2 ** 60, other.key, [], [],
                stored[8:].replace(b"compute", b"another")))])
    assert run(capsys, source, target)[0] == 0
    assert (3, "host-3", "another") in copies.dump_sqlite(target)["services"]


def test_rows_that_a_process_that_died_has_left_to_others(
        source, target, capsys):
    """It was in the middle of applying what it had committed."""
    def die(name):
        if name == "after_commit":
            raise KeyboardInterrupt

    db = databases.open_again(source, die, spread=True)
    tx = db.begin()
    tx.insert("instances", {"uuid": "new", "deleted": 0})
    tx.insert("tags", {"resource_id": "new", "tag": "t"})
    tx.insert("services", {"host": "new", "topic": "compute"})
    removed, = tx.load([access.ByKey("services", ((2,),))])[0]
    tx.delete(removed)
    with pytest.raises(KeyboardInterrupt):
        tx.commit()
    status, out, error = run(capsys, source, target)
    assert (status, error) == (0, "")
    assert "%d rows of 8 tables copied and verified" % (
        10 * SERVERS + 3) in out
    rows = copies.dump_sqlite(target)
    assert ("new", "t") in rows["tags"]
    assert len(rows["services"]) == SERVERS


@pytest.mark.parametrize("url", [
    "nonsense", "kvs+memory:///x", "mysql+pymysql://u:secret@h:1x/y"])
def test_a_wrong_target(url, source, capsys):
    assert "secret" not in refused(run(capsys, source, url))
