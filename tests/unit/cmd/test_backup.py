# SPDX-License-Identifier: Apache-2.0
import gzip
import io
import json
import signal
import sys

import pytest

from nova_kvs.cmd import main
from nova_kvs import exceptions
from nova_kvs.inspection import fsck
from nova_kvs.inspection import walk
from nova_kvs.record import access
from nova_kvs.record import importing
from nova_kvs.store import registry
from nova_kvs.transfer import backup
from nova_kvs.transfer import dump
from nova_kvs.transfer import target as transfer_target
from tests import base
from tests.unit.cmd import copies
from tests.unit.record import databases

SERVERS = copies.SERVERS
ROWS = 10 * SERVERS + 2


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(dump, "PAGE", 5)
    monkeypatch.setattr(walk, "CHUNK", 20)


@pytest.fixture
def source(imported):
    return imported


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "backup.gz")


def run(capsys, *arguments):
    status = main.main(list(arguments))
    return status, *capsys.readouterr()


def back_up(capsys, file, *urls):
    status, out, error = run(capsys, "backup", "--to", file, *urls)
    assert (status, error) == (0, "")
    return out


def restore(capsys, file, target, *arguments):
    return run(capsys, "restore", file, "--to", target, *arguments)


def refused(result):
    status, out, error = result
    assert (status, out) == (2, "")
    assert error.startswith("nova-kvs: error: ")
    assert error.count("\n") == 1
    return error


def content(url):
    """Return table -> all rows of a database in the store."""
    db = databases.open_again(url)
    names = sorted(db.schema.tables)
    return dict(zip(names, [
        sorted((sorted(row.values.items()) for row in rows), key=repr)
        for rows in db.begin().load([
            access.FullScan(name) for name in names])]))


def test_all_comes_back(source, file, capsys):
    assert "%d rows of 9 tables written" % ROWS in back_up(
        capsys, file, source)
    target = base.memory_url()
    status, out, error = restore(capsys, file, target, "--json")
    assert (status, error) == (0, "")
    assert json.loads(out)["rows"] == ROWS
    assert content(target) == content(source)
    db = databases.open_again(target)
    assert db.schema.ddl == databases.open_again(source).schema.ddl
    assert fsck.Fsck(db, 1000).run().details == []
    assert db.next_ids("services") > SERVERS
    assert importing.source(db.coordinator, db.name) is None


def test_into_a_database_that_has_its_schema(source, file, capsys):
    back_up(capsys, file, source)
    target = copies.make_store()
    assert restore(capsys, file, target)[0] == 0
    assert content(target) == content(source)


def test_standard_output_and_input(source, capsys, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", out)
    assert main.main(["backup", "--to", "-", source]) == 0
    monkeypatch.undo()
    stream = io.TextIOWrapper(io.BytesIO(out.buffer.getvalue()))
    monkeypatch.setattr(sys, "stdin", stream)
    target = base.memory_url()
    assert restore(capsys, "-", target)[0] == 0
    assert content(target) == content(source)


def test_several_databases_in_one_file(source, file, capsys):
    other = copies.make_store()
    names = [registry.parse_url(url).database for url in (source, other)]
    assert back_up(capsys, file, source, other).count("written") == 2
    status, out, _ = run(capsys, "restore", file, "--dry-run", "--json")
    document = json.loads(out)
    assert (status, sorted(document)) == (0, sorted(names))
    assert document[names[0]]["tables"]["tags"] == 2 * SERVERS
    assert document[names[0]]["is_consistent"]
    target = base.memory_url()
    assert "--name" in refused(restore(capsys, file, target))
    assert restore(capsys, file, target, "--name", names[0])[0] == 0
    assert content(target) == content(source)


def test_a_file_is_private_and_whole_or_not_there(source, file, capsys,
                                                  monkeypatch, tmp_path):
    back_up(capsys, file, source)
    path, = tmp_path.iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    monkeypatch.setattr(
        backup.Backup, "_pass", lambda *_: (_ for _ in ()).throw(
            exceptions.StoreUnavailableError()))
    refused(run(capsys, "backup", "--to", file, source))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


@pytest.mark.parametrize("change", ["update", "delete", "insert"])
def test_what_is_written_meanwhile_is_told(change, source, file, capsys,
                                           monkeypatch):
    read = backup.Backup._pass
    passes = []

    def write(self, *arguments):
        found = read(self, *arguments)
        if not passes:
            tx = databases.open_again(source).begin()
            row, = tx.load([access.ByKey("services", ((3,),))])[0]
            if change == "insert":
                tx.insert("services", {"host": "new", "topic": "x"})
            elif change == "delete":
                tx.delete(row)
            else:
                tx.update(row, {**row.values, "topic": "x"})
            tx.commit()
        passes.append(found)
        return found

    monkeypatch.setattr(backup.Backup, "_pass", write)
    status, out, error = run(capsys, "backup", "--to", file, source)
    assert (status, error) == (1, "")
    assert "not of one moment" in out
    target = base.memory_url()
    assert restore(capsys, file, target)[0] == 0
    assert "not of one moment" in run(
        capsys, "restore", file, "--dry-run")[1]


@pytest.mark.parametrize("pages", [0, 1, 7, 30])
@pytest.mark.parametrize("moment", ["before", "behind"])
def test_killed_and_run_again(pages, moment, source, file, capsys,
                              monkeypatch):
    """It stops before a page, or behind it and before it is noted."""
    back_up(capsys, file, source)
    target = base.memory_url()
    insert = transfer_target.Target.insert
    done = []

    with monkeypatch.context() as patched:
        patched.setattr(
            transfer_target.Target, "insert",
            copies.stopping(insert, moment, pages, KeyboardInterrupt, done))
        status, _, error = restore(capsys, file, target)
        assert status == 128 + signal.SIGINT
        assert "goes on when the same command is run again" in error
    assert run(capsys, "check", target)[1].count(
        "an import from the backup ") == 1
    with pytest.raises(exceptions.IncompleteImportError,
                       match="import or restore again"):
        databases.open_again(target).check_import()
    again = []
    monkeypatch.setattr(
        transfer_target.Target, "insert",
        lambda self, name, rows: (again.append(name),
                                  insert(self, name, rows)))
    assert restore(capsys, file, target)[0] == 0
    with gzip.open(file) as stream:
        assert len(done) + len(again) + (moment == "behind") <= len(
            stream.read())
    assert content(target) == content(source)
    assert "an import from" not in run(capsys, "check", target)[1]


def test_another_backup_is_not_completed(source, file, tmp_path, capsys,
                                         monkeypatch):
    back_up(capsys, file, source)
    target = base.memory_url()
    with monkeypatch.context() as patched:
        def fail(*_):
            raise exceptions.StoreUnavailableError()

        patched.setattr(transfer_target.Target, "insert", fail)
        assert "run again" in refused(restore(capsys, file, target))
    other = str(tmp_path / "other")
    back_up(capsys, other, source)
    assert "--replace" in refused(restore(capsys, other, target))
    name = registry.parse_url(target).database
    assert "--yes" in refused(restore(capsys, other, target, "--replace"))
    assert restore(capsys, other, target, "--replace", "--yes", name)[0] == 0
    assert "not empty" in refused(restore(capsys, other, target))
    assert content(target) == content(source)


def test_what_differs_in_the_end_stays_incomplete(source, file, capsys,
                                                  monkeypatch):
    back_up(capsys, file, source)
    insert = transfer_target.Target.insert

    def change(self, name, rows):
        insert(self, name, [{**row, "topic": "x"} for row in rows]
               if name == "services" else rows)

    target = base.memory_url()
    with monkeypatch.context() as patched:
        patched.setattr(transfer_target.Target, "insert", change)
        assert "table=services" in refused(restore(capsys, file, target))
    assert "begin again" in refused(restore(capsys, file, target))
    name = registry.parse_url(target).database
    assert restore(capsys, file, target, "--replace", "--yes", name)[0] == 0


@pytest.mark.parametrize("damage", [
    lambda data: data[:len(data) // 2], lambda data: b"x",
    lambda data: gzip.compress(gzip.decompress(data)[:-300]),
    lambda data: gzip.compress(gzip.decompress(data).replace(b"host-1",
                                                             b"host-X")),
    lambda data: gzip.compress(b"\xff" * 40)])
def test_a_damaged_file(damage, source, file, capsys):
    back_up(capsys, file, source)
    with open(file, "rb") as stream:
        data = damage(stream.read())
    with open(file, "wb") as stream:
        stream.write(data)
    target = base.memory_url()
    for result in (run(capsys, "restore", file, "--dry-run"),
                   restore(capsys, file, target)):
        assert "damaged" in refused(result)
    db = databases.open_again(target)
    assert not db.schema.tables or importing.source(db.coordinator, db.name)


@pytest.mark.parametrize("damage", [
    lambda data: b"", lambda data: data[:-8] + b"\0" * 8,
    lambda data: data[:-1]])
def test_a_file_damaged_behind_its_databases(damage, source, file, capsys):
    back_up(capsys, file, source)
    with open(file, "rb") as stream:
        data = damage(stream.read())
    with open(file, "wb") as stream:
        stream.write(data)
    assert "damaged" in refused(run(capsys, "restore", file, "--dry-run"))


def test_a_newer_file(file, capsys):
    with open(file, "wb") as stream:
        writer = dump.Writer(stream)
        writer.head({"nova_kvs_backup": 2})
        writer.close()
    assert "newer nova-kvs" in refused(run(
        capsys, "restore", file, "--dry-run"))


def test_a_half_import_is_not_backed_up(source, file, capsys, monkeypatch):
    monkeypatch.setattr(importing, "source", lambda *_: "somewhere")
    assert "not complete" in refused(run(
        capsys, "backup", "--to", file, source))
