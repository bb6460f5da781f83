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


@pytest.mark.parametrize("sql, plan", [
    ("SELECT i.uuid FROM instances AS i JOIN services s ON s.host = i.host "
     "WHERE i.uuid = 'u'",
     ["i: partition (uuid = ", "s: "]),
    ("SELECT * FROM instances LEFT JOIN services ON services.host = "
     "instances.host AND services.id = 1 WHERE instances.id = 1",
     ["instances: key (id = ", "services: "]),
    ("SELECT * FROM instances i, services s WHERE i.uuid = 'u' AND "
     "s.host = i.host", ["i: partition (uuid = ", "s: "]),
    ("SELECT * FROM services WHERE host IN (SELECT host FROM instances "
     "WHERE uuid = 'u')", ["instances: partition (uuid = ", "services: "]),
    ("SELECT * FROM services s WHERE NOT EXISTS (SELECT 1 FROM instances "
     "WHERE instances.host = s.host) AND s.id NOT IN (1, 2)",
     ["s: ", "instances: "]),
    ("SELECT * FROM (SELECT uuid, host FROM instances WHERE uuid = 'u' "
     "LIMIT 1) AS one LEFT OUTER JOIN services ON services.host = one.host",
     ["instances: partition (uuid = ", "services: "]),
    ("SELECT * FROM instances WHERE uuid = 'u' OR (id = 1 AND host = 'a')",
     ["instances: partition (uuid = ", " or "])])
def test_several_tables(sql, plan, url, capsys):
    status, out, error = run(capsys, url, "--run", sql)
    assert (status, error) == (0, "")
    for text in plan:
        assert text in out


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
    ("SELECT * FROM instances WHERE host = a", "column=a"),
    ("SELECT * FROM instances WHERE host = 'a' OR", "near=the end"),
    ("SELECT * FROM instances WHERE host = 'a' GROUP BY id", "near=GROUP"),
    ("SELECT * FROM instances JOIN services", "near=the end"),
    ("SELECT * FROM instances i JOIN services ON x.id = i.id", "table=x"),
    ("SELECT * FROM instances, instances", "names of their own"),
    ("SELECT * FROM instances WHERE host < NULL", "makes no sense"),
    ("SELECT * FROM instances WHERE id IN (SELECT id, host FROM services)",
     "makes no sense"),
    ("SELECT * FROM instances WHERE host (", "near=(")])
def test_what_is_not_understood(sql, words, url, capsys):
    status, out, error = run(capsys, url, sql)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert words in error


def test_the_name_of_no_database(capsys):
    status, _, error = run(capsys, "kvs+memory:///nosuch", "SELECT 1")
    assert status == 2
    assert "no database of this name" in error
