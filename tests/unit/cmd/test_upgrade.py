# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from nova_kvs.cmd import main
from nova_kvs.inspection import condition
from nova_kvs.record import building
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from nova_kvs.store import registry
from tests.unit.record import databases


@pytest.fixture
def db(monkeypatch):
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", -10 ** 6)
    with monkeypatch.context() as earlier:
        earlier.setattr(stored_format, "NEW", stored_format.State(1, 1))
        made = databases.make()
    databases.insert(made, "instances", *[
        {"uuid": "u%d" % n, "deleted": 0} for n in range(3)])
    return made


def run(capsys, *arguments):
    status = main.main(["upgrade", *arguments])
    return status, *capsys.readouterr()


def format_line(url):
    line, = [line for line in condition.examine(registry.parse_url(url))
             if line.name == "format"]
    return line.status.name, line.text


def test_a_database_of_format_1(db, capsys):
    url = "kvs+memory:///" + db.name
    status, text = format_line(url)
    assert status == "WARNING"
    assert text.startswith("version 1 of 6: ")
    status, out, err = run(capsys, url)
    assert (status, err) == (0, "")
    assert out.startswith(
        "%s: format 6, 3 rows in its new indexes after " % db.name)
    assert format_line(url) == ("OK", "version 6")
    assert run(capsys, url) == (
        0, "%s: has format 6, nothing to do\n" % db.name, "")


def test_json(db, capsys):
    status, out, _ = run(capsys, "--json", "kvs+memory:///" + db.name)
    found = json.loads(out)
    assert found.pop("seconds") >= 0
    assert (status, found) == (0, {
        "database": db.name, "format_before": 1, "format": 6, "rows": 3})


def test_one_that_is_not_built_is_told(db):
    building.Builder(db)._declare(db.schema)
    status, text = format_line("kvs+memory:///" + db.name)
    assert (status, text[:14]) == ("WARNING", "version 1 of 6")


def test_no_database(capsys):
    status, out, err = run(capsys, "kvs+memory:///nosuch")
    assert (status, out) == (2, "")
    assert "no database of this name" in err
