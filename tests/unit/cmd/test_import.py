# SPDX-License-Identifier: Apache-2.0
import json
import signal
import sqlite3
import sys
from unittest import mock

import pytest
import sqlalchemy
from sqlalchemy import exc

from nova_kvs import cache
from nova_kvs.cmd import main
from nova_kvs import exceptions
from nova_kvs.inspection import fsck
from nova_kvs.inspection import upgrade
from nova_kvs import record
from nova_kvs.record import access
from nova_kvs.record import importing
from nova_kvs.record.indexes import directory
from nova_kvs.record.paths import scans
from nova_kvs.store import registry
from nova_kvs.transfer import importing as transfer
from nova_kvs.transfer import sql
from nova_kvs.transfer import target as transfer_target
from nova_kvs.txn import reading
from tests import base
from tests.unit.cmd import copies
from tests.unit.record import databases

SERVERS = 23


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(sql, "PAGE", 5)


@pytest.fixture
def source(tmp_path):
    return copies.make_sqlite(str(tmp_path / "source"), SERVERS)


@pytest.fixture
def target():
    return copies.make_store()


def run(capsys, source, target, *arguments):
    status = main.main(
        ["import", "--from", source, "--to", target, *arguments])
    return status, *capsys.readouterr()


def export(capsys, source, path):
    """Export into a new SQLite database; return what it holds then."""
    url = copies.make_sqlite(str(path))
    assert main.main(["export", "--from", source, "--to", url]) == 0
    capsys.readouterr()
    return copies.dump_sqlite(url)


def refused(result):
    status, out, error = result
    assert (status, out) == (2, "")
    assert error.startswith("nova-kvs: error: ")
    assert error.count("\n") == 1
    return error


def test_all_rows_come_back(source, target, tmp_path, capsys):
    status, out, error = run(capsys, source, target)
    assert (status, error) == (0, "")
    assert "copied and verified" in out
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))


def test_what_is_imported_is_sound(source, target, capsys):
    assert run(capsys, source, target)[0] == 0
    db = databases.open_again(target)
    report = fsck.Fsck(db, 1000).run()
    assert report.details == []
    found, = databases.load(db, access.ByIndex(
        "instances", ("host",), (("host-1",),)))
    assert len(found) == 8
    events, = databases.load(db, access.ByPartition(
        "instance_actions_events", (1, 5, 7)))
    assert len(events) == 2
    # New ids go on behind those that came.
    assert db.next_ids("services") > SERVERS
    # Nothing is listed twice.
    listed = [
        member for key in directory.bucket_keys(db.name, "s")
        for member in db.store.batch([
            base.command(b"ZRANGE", key, 0, -1)])[0]]
    assert len(listed) == len({member[:-4] for member in listed})


def test_json_and_dry_run(source, target, capsys):
    status, out, _ = run(capsys, source, target, "--dry-run", "--json")
    document = json.loads(out)
    assert status == 0
    assert document["tables"]["instances"] == SERVERS
    assert document["tables"]["tags"] == 2 * SERVERS
    assert not document["copied"]
    db = databases.open_again(target)
    assert databases.load(db, access.FullScan("instances")) == [[]]
    document = json.loads(run(capsys, source, target, "--json")[1])
    assert document["verified"]
    assert document["rows"] == 10 * SERVERS + 1


def test_large_rows_come_in_small_pages(source, target, capsys, monkeypatch):
    monkeypatch.setattr(sql, "PAGE", 500)
    monkeypatch.setattr(sql, "FIRST_PAGE", 2)
    monkeypatch.setattr(sql, "PAGE_BYTES", 10)
    insert = transfer_target.Target.insert
    sizes = []

    def note(self, name, rows):
        if name == "instances":
            sizes.append(len(rows))
        insert(self, name, rows)

    monkeypatch.setattr(transfer_target.Target, "insert", note)
    assert run(capsys, source, target)[0] == 0
    assert sizes == [2, *(SERVERS - 2) * [1]]


@pytest.mark.parametrize("pages", [0, 2, 12, 30, 48])
@pytest.mark.parametrize("moment", ["before", "behind"])
def test_killed_and_run_again(pages, moment, source, target, tmp_path,
                              capsys, monkeypatch):
    """It stops before a page, or behind it and before it is noted."""
    class Killed(BaseException):
        pass

    insert = transfer_target.Target.insert
    done = []

    with monkeypatch.context() as patched:
        patched.setattr(
            transfer_target.Target, "insert",
            copies.stopping(insert, moment, pages, Killed, done))
        with pytest.raises(Killed):
            main.main(["import", "--from", source, "--to", target])
    again = []
    monkeypatch.setattr(
        transfer_target.Target, "insert",
        lambda self, name, rows: (again.append(name),
                                  insert(self, name, rows)))
    assert run(capsys, source, target)[0] == 0
    assert len(done) + len(again) + (moment == "behind") == 50
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))


@pytest.fixture
def half(source, target, capsys, monkeypatch):
    """The URL of a database whose import was killed."""
    insert = transfer_target.Target.insert
    done = []

    def stop(self, name, rows):
        if len(done) == 12:
            raise exceptions.StoreUnavailableError()
        insert(self, name, rows)
        done.append(name)

    with monkeypatch.context() as patched:
        patched.setattr(transfer_target.Target, "insert", stop)
        assert "does not answer" in refused(run(capsys, source, target))
    return target


@pytest.mark.parametrize("command, status", [
    ("check", 2), ("stats", 0), ("fsck", 2)])
def test_a_half_import_is_named(command, status, half, source, capsys):
    expected = "an import from %s is not complete: run it again" % source
    # fsck waits for as long as a transaction may take.
    url = half + "?transaction_lifetime=1&hint_grace=2"
    found, out, _ = main.main([command, url]), *capsys.readouterr()
    assert (found, out.count(expected)) == (status, 1)
    assert "--repair" not in out
    run(capsys, source, half)
    main.main([command, url])
    assert "import" not in capsys.readouterr().out


def test_a_half_import_is_a_failure_of_the_status(half, source):
    result = upgrade._examine(None, half, False)
    assert result.code is upgrade.Code.FAILURE
    assert source in result.details


def test_services_refuse_a_half_import(half, source, capsys):
    url = half + "?pool_size=3"
    with pytest.raises(exc.InternalError, match="run the same nova-kvs"):
        sqlalchemy.create_engine(url).connect()
    assert "not complete" in refused((
        main.main(["export", "--from", half, "--to", source]),
        *capsys.readouterr()))
    assert run(capsys, source, half)[0] == 0
    sqlalchemy.create_engine(url).connect().close()


def test_killed_while_the_target_is_cleared(source, target, capsys, tmp_path,
                                            monkeypatch):
    db = databases.open_again(target)
    databases.insert(db, "instances", {"uuid": "u", "host": "other"})
    with monkeypatch.context() as patched:
        def fail(self):
            raise exceptions.StoreUnavailableError()

        patched.setattr(transfer_target.Target, "clear", fail)
        refused(run(capsys, source, target, "--replace",
                    "--yes", registry.parse_url(target).database))
    assert importing.source(db.coordinator, db.name) == source
    assert run(capsys, source, target)[0] == 0
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))


def test_memory_does_not_grow_with_the_source(source, target, capsys,
                                              monkeypatch):
    """What a process remembers of where rows are is bounded."""
    monkeypatch.setattr(cache, "LOCATORS", 40)
    assert run(capsys, source, target)[0] == 0
    assert len(record.open_database(target).remembered.locators) <= 40 + 5


def test_another_copy_is_not_completed(source, target, tmp_path, capsys,
                                       monkeypatch):
    with monkeypatch.context() as patched:
        def fail(*args):
            raise exceptions.StoreUnavailableError()

        patched.setattr(transfer_target.Target, "insert", fail)
        assert "does not answer" in refused(run(capsys, source, target))
    other = copies.make_sqlite(str(tmp_path / "other"), 2)
    assert "--replace" in refused(run(capsys, other, target))
    assert run(capsys, other, target, "--replace",
               "--yes", registry.parse_url(target).database)[0] == 0
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(other))


def test_a_target_that_is_not_empty(source, target, tmp_path, capsys):
    databases.insert(
        databases.open_again(target), "instances",
        {"uuid": "u", "host": "other"})
    assert "--replace" in refused(run(capsys, source, target))
    assert run(capsys, source, target, "--replace",
               "--yes", registry.parse_url(target).database)[0] == 0
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))
    assert fsck.Fsck(databases.open_again(target), 1000).run().is_clean


@pytest.mark.parametrize("name", [[], ["--yes", "other"]])
def test_the_name_of_what_is_replaced_must_be_said(name, source, target,
                                                   capsys):
    db = databases.open_again(target)
    databases.insert(db, "instances", {"uuid": "u", "host": "other"})
    error = refused(run(capsys, source, target, "--replace", *name))
    assert "--yes %s" % db.name in error
    assert not transfer_target.Target(db).is_empty()


def test_what_is_in_the_target_is_said(source, target, capsys):
    db = databases.open_again(target)
    databases.insert(db, "instances", {"uuid": "u", "host": "other"},
                     {"uuid": "v", "host": "other"})
    databases.insert(db, "services", {"host": "a", "topic": "t"})
    error = refused(run(capsys, source, target))
    assert "holds=2 rows of instances, 1 row of services" in error


def test_a_source_of_another_kind(source, capsys):
    target = base.memory_url()
    databases.make(url=target, ddl=[
        "CREATE TABLE cell_mappings (id INTEGER NOT NULL PRIMARY KEY)"])
    error = refused(run(capsys, source, target))
    assert ("the source is a Nova cell database, the target a Nova API "
            "database") in error


def test_run_twice(source, target, capsys):
    assert run(capsys, source, target)[0] == 0
    # Killed after its end, it left no sign of being complete.
    assert run(capsys, source, target)[0] == 0
    connection = sqlite3.connect(source.removeprefix("sqlite:///"))
    connection.execute("UPDATE instances SET host = 'x' WHERE id = 9")
    connection.commit()
    connection.close()
    assert "not empty" in refused(run(capsys, source, target))


def test_a_row_that_changed_meanwhile(source, target, capsys, monkeypatch):
    insert = transfer_target.Target.insert

    def change(self, name, rows):
        insert(self, name, rows)
        if name == "tags":
            connection = sqlite3.connect(source.removeprefix("sqlite:///"))
            connection.execute("UPDATE instances SET host = 'x' "
                               "WHERE id = 9")
            connection.commit()
            connection.close()

    with monkeypatch.context() as patched:
        patched.setattr(transfer_target.Target, "insert", change)
        error = refused(run(capsys, source, target))
    assert "instances" in error and "key=(9,)" in error
    # What was copied is not right, and is not taken for complete.
    db = databases.open_again(target)
    assert importing.source(db.coordinator, db.name) == source
    assert run(capsys, source, target)[0] == 0
    assert importing.source(db.coordinator, db.name) is None


def test_a_row_too_many_in_the_target(source, target, capsys, monkeypatch):
    insert = transfer_target.Target.insert

    def add(self, name, rows):
        insert(self, name, [*rows, {"resource_id": "u", "tag": "more"}]
               if name == "tags" and add.pages == 0 else rows)
        add.pages += name == "tags"

    add.pages = 0
    monkeypatch.setattr(transfer_target.Target, "insert", add)
    assert "different numbers" in refused(run(capsys, source, target))


def test_another_revision(source, capsys):
    target = copies.make_store(revision="000000000000")
    error = refused(run(capsys, source, target))
    assert "abcdef012345" in error and "000000000000" in error


def test_a_target_without_a_schema(source, capsys):
    assert "nova-manage db sync" in refused(
        run(capsys, source, base.memory_url()))


def test_other_tables_and_columns(source, tmp_path, capsys):
    less = [text for text in copies.DDL if " tags" not in text]
    error = refused(run(capsys, source, copies.make_store(less)))
    assert "only_in_source=tags" in error
    more = [*copies.DDL, "CREATE TABLE more (id INTEGER PRIMARY KEY)"]
    error = refused(run(capsys, source, copies.make_store(more)))
    assert "only_in_target=more" in error
    other = [text.replace("topic", "subject") for text in copies.DDL]
    error = refused(run(capsys, source, copies.make_store(other)))
    assert "table=services" in error


def test_empty_and_old_tables_of_the_source_do_not_matter(
        source, target, capsys):
    connection = sqlite3.connect(source.removeprefix("sqlite:///"))
    connection.execute("CREATE TABLE migrate_version (version INTEGER)")
    connection.execute("INSERT INTO migrate_version VALUES (1)")
    connection.execute("CREATE TABLE unused (id INTEGER)")
    connection.commit()
    connection.close()
    assert run(capsys, source, target)[0] == 0


def test_a_value_that_does_not_fit(source, target, capsys):
    connection = sqlite3.connect(source.removeprefix("sqlite:///"))
    connection.execute(
        "UPDATE services SET host = 'secret', id = -id WHERE id = 2")
    connection.execute("UPDATE instances SET deleted = 'many' WHERE id = 3")
    connection.commit()
    connection.close()
    # SQLite keeps a text in a column of integers, as does the store.
    assert run(capsys, source, target)[0] == 0


def execute(url, text):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.execute(text)
    connection.commit()
    connection.close()


def test_every_row_that_does_not_fit_is_named(source, target, capsys,
                                              tmp_path):
    execute(source, "UPDATE instances SET created_at = 'never' "
            "WHERE id IN (9, 3)")
    execute(source, "UPDATE instance_actions SET start_time = '' "
            "WHERE id > 1")
    for again in (["--dry-run"], [], []):
        error = refused(run(capsys, source, target, *again))
        assert "refuses 24 rows" in error
        assert "table=instances, key=(3,), column=created_at: " in error
        assert "table=instances, key=(9,), column=created_at: " in error
        assert error.count("column=start_time") == 5
        assert "and 17 more" in error
    execute(source, "UPDATE instances SET created_at = NULL "
            "WHERE id IN (9, 3)")
    execute(source, "UPDATE instance_actions SET start_time = NULL")
    assert run(capsys, source, target)[0] == 0
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))


@pytest.mark.parametrize("url", [
    "nonsense", "mysql+pymysql://u:secret@h:1x/y", "oracle://u:secret@h/x",
    "mysql+nonsense://u:secret@h/x",
    "mysql+pymysql://u:secret@127.0.0.1:x/y",
    "sqlite:////nonexistent/secret-dir/x"])
def test_a_wrong_source(url, target, capsys):
    error = refused(run(capsys, url, target))
    assert "u:secret" not in error


@pytest.mark.parametrize("url", ["nonsense", "sqlite:///x",
                                 "kvs+redis://u:secret@h:99999/x"])
def test_a_wrong_target(url, source, capsys):
    assert "secret" not in refused(run(capsys, source, url))


def test_progress_has_a_total_and_the_time_left(source, target):
    told = []
    copy = transfer.Import(
        sql.Database(source), record.open_database(target),
        lambda *step: told.append(step))
    copy.run()
    steps = [(done, total) for text, done, total in told
             if text.startswith(("copying ", "verifying "))]
    total = 2 * (10 * SERVERS + 1)
    assert {step[1] for step in steps} == {total}
    assert [step[0] for step in steps] == sorted(step[0] for step in steps)
    assert steps[-1] == (total, total)


def test_a_copy_that_is_stopped_says_how_to_go_on(source, target, capsys,
                                                  monkeypatch):
    def stop(*_):
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(transfer_target.Target, "insert", stop)
        status, _, error = run(capsys, source, target)
        assert status == 128 + signal.SIGTERM
        assert error == (
            "nova-kvs: stopped: the copy is not complete; it goes on when "
            "the same command is run again\n")
    with monkeypatch.context() as patched:
        def fail(*_):
            raise exceptions.KVSError("the SQL database reports: gone")

        patched.setattr(sql.Database, "pages", fail)
        assert "reports: gone; the copy goes on when" in refused(
            run(capsys, source, target))
    assert run(capsys, source, target)[0] == 0


#: What services may do between two copies.
CHANGES = (
    "UPDATE instances SET host = 'x', ratio = NULL WHERE id = 9",
    "DELETE FROM instance_actions WHERE id = 5",
    "DELETE FROM instance_actions_events WHERE id = 5",
    "UPDATE services SET host = 'gone' WHERE id = 3",
    "UPDATE services SET host = 'host-3' WHERE id = 4",
    # Another one of the same name.
    "DELETE FROM services WHERE id = 7",
    "INSERT INTO services VALUES (99, 'host-7', 'compute')",
    # They change places.
    "UPDATE services SET host = 'other' WHERE id = 10",
    "UPDATE services SET host = 'host-10' WHERE id = 11",
    "UPDATE services SET host = 'host-11' WHERE id = 10",
    "INSERT INTO instance_actions VALUES (1000006, 'uuid-7919', NULL)",
    "INSERT INTO tags VALUES ('new', 't')")


@pytest.mark.parametrize("turns", [1, 2])
def test_a_copy_catches_up(turns, source, target, tmp_path, capsys):
    for _ in range(turns):
        status, out, error = run(capsys, source, target, "--pre-copy")
        assert (status, error) == (0, "")
        assert "to be completed without --pre-copy" in out
        db = databases.open_again(target)
        assert importing.source(db.coordinator, db.name) == source
    for text in CHANGES:
        execute(source, text)
    status, out, error = run(capsys, source, target)
    assert (status, error) == (0, "")
    assert "copied and verified" in out
    assert importing.source(db.coordinator, db.name) is None
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))
    assert fsck.Fsck(databases.open_again(target), 1000).run().details == []


def test_a_copy_that_was_stopped_catches_up(source, half, tmp_path, capsys):
    for text in CHANGES:
        execute(source, text)
    assert run(capsys, source, half)[0] == 0
    assert export(capsys, half, tmp_path / "back") == (
        copies.dump_sqlite(source))


def test_only_what_changed_is_written(source, target, capsys, monkeypatch):
    assert run(capsys, source, target, "--pre-copy")[0] == 0
    execute(source, CHANGES[0])
    written = []
    monkeypatch.setattr(
        transfer_target.Target, "insert",
        lambda self, name, rows: written.append(name))
    update = transfer_target.Target.update
    monkeypatch.setattr(
        transfer_target.Target, "update", lambda self, name, rows: (
            written.append((name, len(rows))), update(self, name, rows)))
    assert run(capsys, source, target)[0] == 0
    assert written == [("instances", 1)]


def count_reads(monkeypatch):
    """Return a list that gets the table of each page read of the target."""
    found = []
    stored = transfer_target.Target.stored
    monkeypatch.setattr(
        transfer_target.Target, "stored", lambda self, name, rows: (
            found.append(name), stored(self, name, rows))[1])
    return found


def test_pages_that_are_as_they_were_are_not_read_again(
        source, target, capsys, monkeypatch):
    assert run(capsys, source, target, "--pre-copy")[0] == 0
    execute(source, CHANGES[0])
    execute(source, CHANGES[-1])
    read = count_reads(monkeypatch)
    assert run(capsys, source, target)[0] == 0
    # The page that changed, twice, and the pages that came.
    assert sorted(set(read)) == ["instances", "tags"]
    assert read.count("instances") == 2
    # Nothing is left of the notes.
    db = databases.open_again(target)
    assert not db.coordinator.read([
        reading.PartitionRead(importing.partition(db.name))])[0].cells


def test_what_was_the_same_is_compared_after_a_failure(
        source, target, tmp_path, capsys):
    assert run(capsys, source, target, "--pre-copy")[0] == 0
    # Nobody may write to the target meanwhile.
    db = databases.open_again(target)
    tx = db.begin()
    record, = tx.load([access.ByKey("services", ((3,),))])[0]
    tx.delete(record)
    tx.commit()
    assert "different numbers of rows" in refused(
        run(capsys, source, target))
    assert run(capsys, source, target)[0] == 0
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))


def test_rows_of_two_pages_change_places(source, target, tmp_path, capsys):
    assert run(capsys, source, target, "--pre-copy")[0] == 0
    for text in ("UPDATE services SET host = 'other' WHERE id = 2",
                 "UPDATE services SET host = 'host-2' WHERE id = 22",
                 "UPDATE services SET host = 'host-22' WHERE id = 2"):
        execute(source, text)
    assert run(capsys, source, target)[0] == 0
    assert export(capsys, target, tmp_path / "back") == (
        copies.dump_sqlite(source))


def test_what_changed_is_found_by_its_partition(
        source, target, capsys, monkeypatch):
    assert run(capsys, source, target, "--pre-copy")[0] == 0
    execute(source, "UPDATE instance_system_metadata SET value = 'x' "
                    "WHERE id = 51")
    scan = mock.Mock(wraps=scans.scan)
    monkeypatch.setattr(scans, "scan", scan)
    assert run(capsys, source, target)[0] == 0
    assert {call.args[1].name for call in scan.call_args_list} <= {
        "alembic_version"}


def test_the_driver_is_not_installed(capsys, monkeypatch):
    # As of a module that is not there.
    monkeypatch.setitem(sys.modules, "pymysql", None)
    status = main.main(["import", "--from", "mysql+pymysql://u:secret@h/x",
                        "--to", base.memory_url()])
    error = capsys.readouterr().err
    assert status == 2
    assert "not installed" in error and "PyMySQL" in error
    assert "secret" not in error
