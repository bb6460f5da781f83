# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from nova_kvs.cmd import main
from nova_kvs import exceptions
from nova_kvs.inspection import dropping
from nova_kvs import keyspace
from nova_kvs.store import registry
from tests import base
from tests.unit.record import databases


def keys(store, name):
    return list(store.scan(keyspace.database_pattern(name)))


def run(capsys, *arguments):
    status = main.main(["drop", *arguments])
    return status, *capsys.readouterr()


def test_a_database_is_gone_afterwards(capsys):
    db = databases.make()
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    count = len(keys(db.store, db.name))
    assert run(capsys, "kvs+memory:///" + db.name, "--name", db.name) == (
        0, "Dropped %s: %d keys\n" % (db.name, count), "")
    assert keys(db.store, db.name) == []


def test_what_is_not_there_is_said(capsys):
    assert run(capsys, "kvs+memory:///nosuch", "--yes", "nosuch") == (
        0, "nosuch: the store has no database of this name, nothing was "
        "removed\n", "")


def test_one_key_is_one_key(capsys):
    name = base.database_name()
    store = registry.get_store("kvs+memory:///" + name)
    store.batch([base.command(b"SET", keyspace.counter_key(name, "t"), 1)])
    assert run(capsys, "kvs+memory:///" + name, "--yes", name)[1] == (
        "Dropped %s: 1 key\n" % name)


def test_other_databases_stay(capsys):
    """Also one whose name begins like that of the database."""
    store = registry.get_store(base.memory_url())
    others = ["cell10", "ell1", "cell1.", "cell", "Cell1", "cell1_cell0"]
    for name in [*others, "cell1"]:
        partition = keyspace.partition(name, "s", "{cell1:s:u}*")
        store.batch([
            base.command(b"HSET", partition.key, b"f", b"x"),
            base.command(b"SET", keyspace.counter_key(name, "t"), 1)])
    assert dropping.drop(store, "cell1") == 2
    assert keys(store, "cell1") == []
    for name in others:
        assert len(keys(store, name)) == 2


@pytest.mark.parametrize("name", ["", "x", "CELL", "cell0", "*"])
def test_the_name_must_be_repeated(name, capsys):
    status, out, error = run(capsys, "kvs+memory:///cell", "--name", name)
    assert (status, out) == (2, "")
    assert "nothing was removed" in error
    assert error.count("\n") == 1


def test_json(capsys):
    db = databases.make()
    status, out, _ = run(
        capsys, "kvs+memory:///" + db.name, "--name", db.name, "--json")
    assert status == 0
    assert json.loads(out)["database"] == db.name


def test_a_wrong_url_does_not_show_its_password(capsys):
    status, out, error = run(
        capsys, "kvs+redis://u:secret@host:99999/cell", "--name", "cell")
    assert (status, out) == (2, "")
    assert "secret" not in error
    assert error.count("\n") == 1


def test_a_configuration_file_that_is_not_there(tmp_path, capsys):
    status, _, error = run(
        capsys, "kvs+memory:///x", "--name", "x",
        "--config-file", str(tmp_path / "missing"))
    assert status == 2
    assert "missing" in error
    assert error.count("\n") == 1


def test_keys_that_come_meanwhile_go_too(capsys):
    store = registry.get_store(base.memory_url())
    name = base.database_name()
    for number in range(3):
        store.batch([base.command(
            b"SET", keyspace.counter_key(name, str(number)), 1)])
    late = []

    def write_once(count):
        if not late:
            late.append(count)
            store.batch([base.command(
                b"SET", keyspace.counter_key(name, "late"), 1)])

    assert dropping.drop(store, name, write_once) == 4
    assert keys(store, name) == []


def test_a_database_that_is_still_written_to():
    store = registry.get_store(base.memory_url())
    name = base.database_name()

    def write(count):
        store.batch([base.command(
            b"SET", keyspace.counter_key(name, str(count)), 1)])

    write(0)
    with pytest.raises(exceptions.KVSError, match="still written to"):
        dropping.drop(store, name, write)
