# SPDX-License-Identifier: Apache-2.0
import json
import sys

import pytest

from nova_kvs.cmd import main
from tests.unit.record import databases


@pytest.fixture
def db():
    db = databases.make()
    db.grace_ms = 10 ** 6
    databases.insert(
        db, "instances", {"uuid": "u", "host": "a", "deleted": 0},
        {"uuid": "v", "host": "b"})
    databases.insert(db, "services", {"host": "a", "topic": "t"})
    return db


def run(capsys, *arguments):
    status = main.main(["stats", *arguments])
    return status, *capsys.readouterr()


def url(db):
    return "kvs+memory:///" + db.name


def test_json(db, capsys):
    status, out, error = run(capsys, url(db), "--json")
    assert (status, error) == (0, "")
    document, = json.loads(out)
    assert document["database"] == db.name
    assert document["records"] == 3
    assert {name: table["records"]
            for name, table in document["tables"].items()} == {
        "instances": 2, "services": 1}
    assert document["tables"]["instances"]["bytes"] > 50
    assert document["indexes"]["entries"] > 5
    server, = document["servers"].values()
    assert server["keys"] == sum(document["keys"].values())
    assert document["balance"] == 1.0
    # The schema, and two inserts.
    assert document["transactions"] == {
        "window_s": 60, "committed": 3, "refused": 0, "intents": 0}
    assert document["housekeeping"]["queued"] > 0
    assert document["housekeeping"]["overdue"] == 0


def test_text_of_several_databases(db, capsys):
    status, out, _ = run(capsys, url(db), url(databases.make()))
    assert status == 0
    assert "table instances" in out
    assert ": 0 records, 2 keys" in out


def test_prometheus(db, capsys):
    status, out, _ = run(capsys, "--prometheus", url(db), url(db))
    assert status == 0
    assert 'nova_kvs_table_records{database="%s",table="instances"} 2.0' % (
        db.name) in out
    assert 'nova_kvs_balance{database="%s"} 1.0' % db.name in out
    assert out.endswith("\n")


def test_prometheus_client_is_not_installed(db, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    status, out, error = run(capsys, "--prometheus", url(db))
    assert (status, out) == (2, "")
    assert "nova-kvs[prometheus]" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["--json", "--prometheus", "kvs+memory:///x"]])
def test_wrong_usage_is_one_line(arguments, capsys):
    status, out, error = run(capsys, *arguments)
    assert status == 2
    assert ("error" in json.loads(out)) if "--json" in arguments else not out
    assert error.count("\n") == 1
