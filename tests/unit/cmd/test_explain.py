# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from nova_kvs.cmd import main
from tests import base
from tests.unit.record import databases


@pytest.fixture
def url():
    found = base.memory_url()
    db = databases.make(url=found)
    databases.insert(
        db, "instances", {"uuid": "u", "host": "a", "deleted": 0},
        {"uuid": "v", "host": "b", "deleted": 0})
    return found


def run(capsys, *arguments):
    status = main.main(["explain", *arguments])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("where, plan", [
    ("WHERE uuid = 'u'", "partition (uuid = "),
    ("WHERE id = 1", "key (id = "),
    ("WHERE host = 'a' AND deleted = 0", "index (host = :host_1, deleted = "),
    ("WHERE instances.host IN ('a', 'b')", "index (host = "),
    ("WHERE \"host\" = 'it''s' LIMIT 10", "first of any of host"),
    ("", "full scan"),
    ("WHERE deleted <> -12 AND host LIKE 'x%' AND uuid IS NOT NULL",
     "else full scan"),
    ("WHERE id BETWEEN 1 AND 20 AND deleted IS NULL", "instances")])
def test_plans(where, plan, url, capsys):
    status, out, error = run(
        capsys, url, "SELECT count(uuid, max(id)) FROM instances " + where)
    assert (status, error) == (0, "")
    assert plan in out
    assert ("full scan" in out) == plan.endswith("full scan") or (
        "BETWEEN" in where)


def test_it_is_run(url, capsys):
    status, out, _ = run(
        capsys, url, "--run", "--json",
        "SELECT * FROM instances WHERE host = 'a' ORDER BY id DESC, host")
    document = json.loads(out)
    assert (status, document["rows"]) == (0, 1)
    assert document["round_trips"] >= 1
    assert document["commands"] >= 1
    _, out, _ = run(capsys, url, "--run", "SELECT * FROM services;")
    assert out.splitlines()[-1].startswith("0 rows by 1 round trip and ")


def test_the_password_is_not_needed_again(url, capsys):
    assert run(capsys, url + "?pool_size=3", "SELECT * FROM services")[0] == 0


@pytest.mark.parametrize("sql, words", [
    ("DELETE FROM instances", "near=DELETE"),
    ("SELECT 1", "near=the end"),
    ("SELECT * FROM nonsense", "table=nonsense"),
    ("SELECT * FROM instances WHERE nonsense = 1", "column=nonsense"),
    ("SELECT * FROM instances WHERE host = a", "near=a"),
    ("SELECT * FROM instances WHERE host = 'a' OR id = 1", "near=OR"),
    ("SELECT * FROM instances JOIN services", "near=JOIN"),
    ("SELECT * FROM instances WHERE host (", "near=(")])
def test_what_is_not_understood(sql, words, url, capsys):
    status, out, error = run(capsys, url, sql)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert words in error


def test_the_name_of_no_database(capsys):
    status, _, error = run(capsys, "kvs+memory:///nosuch", "SELECT 1")
    assert status == 2
    assert "no database of this name" in error
