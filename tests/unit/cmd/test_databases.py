# SPDX-License-Identifier: Apache-2.0
"""Databases by the names that nova.conf gives them."""

import json
import uuid

import pytest

from nova_kvs.cmd import main
from nova_kvs import conf
from nova_kvs.inspection import condition
from tests import base
from tests.unit.record import databases

CELLS_DDL = (
    "CREATE TABLE cell_mappings (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36), name VARCHAR(255), database_connection TEXT)",)
CELL0_UUID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def names():
    """Name -> URL of databases that are there."""
    found = {name: base.memory_url() for name in (
        "api", "main", "zero", "one", "placement")}
    for name, url in found.items():
        databases.make(url=url, **(
            {"ddl": CELLS_DDL} if name == "api" else {}))
    databases.insert(
        databases.open_again(found["api"]), "cell_mappings",
        {"id": 1, "uuid": CELL0_UUID, "name": "cell0",
         "database_connection": found["zero"]},
        {"id": 2, "uuid": "u-one", "name": "one",
         "database_connection": "{scheme}:///%s" % (
             found["one"].rpartition("/")[2])},
        {"id": 3, "uuid": "u-two", "name": None,
         "database_connection": "mysql://u:secret@h/x"})
    return {name: url.rpartition("/")[2] for name, url in found.items()}


@pytest.fixture
def files(names, tmp_path, monkeypatch):
    """The files of a controller, where Nova's programs look for them."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for program, content in (
            ("nova", "[database]\nconnection = kvs+memory:///%(main)s\n"
             "[api_database]\nconnection = kvs+memory:///%(api)s\n"
             "[nova_kvs]\nusername = nova\n"),
            ("placement", "[placement_database]\n"
             "connection = kvs+memory:///%(placement)s\n")):
        (tmp_path / ("." + program)).mkdir()
        (tmp_path / ("." + program) / (program + ".conf")).write_text(
            content % names)
    yield tmp_path
    conf.CONF.reset()


def run(capsys, *arguments):
    status = main.main([*arguments])
    out, error = capsys.readouterr()
    assert "secret" not in out + error
    return status, out, error


@pytest.mark.parametrize("name, database", [
    ("api", "api"), ("main", "main"), ("cell0", "zero"),
    ("cell:one", "one"), ("cell:u-one", "one"), ("placement", "placement")])
def test_one_by_name(name, database, names, files, capsys):
    status, out, _ = run(capsys, "stats", "--json", "--database", name)
    assert status == 0
    assert [found["database"] for found in json.loads(out)] == [
        names[database]]


def test_all_are_looked_at(names, files, capsys):
    status, out, error = run(capsys, "stats", "--json")
    assert (status, error) == (0, "")
    assert {found["database"] for found in json.loads(out)} == set(
        names.values())
    status, out, _ = run(capsys, "check", "--json")
    # The embedded store ends with the process.
    assert status == 1
    document = json.loads(out)
    assert {found["name"]: found["database"]
            for found in document["databases"]} == {
        "api": names["api"], "main": names["main"], "cell0": names["zero"],
        "cell:one": names["one"], "placement": names["placement"]}
    assert conf.CONF.nova_kvs.username == "nova"


@pytest.mark.parametrize("query, found_as", [
    ("node=b:2&node=d:4", ["main"]), ("node=e:5", ["main", "cell:two"])])
def test_one_database_by_several_nodes(
        query, found_as, names, files, monkeypatch, capsys):
    monkeypatch.setattr(condition, "examine", lambda url: iter(
        [condition.Line("x", condition.Status.OK, "")]))
    (files / ".nova/nova.conf").write_text(
        "[database]\nconnection = kvs+cluster://u:secret@a:1/x?node=b:2\n"
        "[api_database]\nconnection = kvs+memory:///%(api)s\n" % names)
    databases.insert(
        databases.open_again("kvs+memory:///" + names["api"]),
        "cell_mappings",
        {"id": 4, "uuid": "u-4", "name": "two", "database_connection":
         "kvs+cluster://u:secret@c:3/x?" + query})
    _, out, _ = run(capsys, "check", "--json")
    assert [found["name"] for found in json.loads(out)["databases"]
            if found["database"] == "x"] == found_as


def test_placement_is_shown_as_its_url_is(names, files, capsys):
    _, out, _ = run(capsys, "check")
    assert "placement: kvs+memory:///%s\n" % names["placement"] in out


def test_fsck_of_all(names, files, capsys):
    status, out, _ = run(capsys, "fsck", "--json")
    assert status == 0
    assert len(json.loads(out)) == len(names)


def test_placement_has_only_what_its_url_says(files, monkeypatch, capsys):
    seen = {}

    def examine(url):
        seen[url.database] = url.settings().username
        return iter([condition.Line("x", condition.Status.OK, "")])

    monkeypatch.setattr(condition, "examine", examine)
    assert run(capsys, "check")[0] == 0
    assert sorted(str(name) for name in seen.values()) == (
        ["None"] + 4 * ["nova"])


def test_a_file_that_is_named(names, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", "/nonexistent")
    path = tmp_path / "x.conf"
    path.write_text("[database]\nconnection = kvs+memory:///%(main)s\n"
                    "[api_database]\nconnection = mysql://u:secret@h/x\n"
                    % names)
    status, out, _ = run(
        capsys, "stats", "--json", "--config-file", str(path))
    assert (status, len(json.loads(out))) == (0, 1)
    status, _, error = run(capsys, "show", "--database", "api",
                           "--config-file", str(path), str(uuid.uuid4()))
    assert status == 2
    assert "[api_database]" in error
    conf.CONF.reset()


def test_there_is_no_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    status, out, error = run(capsys, "check")
    assert (status, out) == (2, "")
    assert "there is no nova.conf" in error
    assert "--config-file" in error


@pytest.mark.parametrize("arguments, words", [
    (["check", "--database", "nonsense"], "no such database"),
    (["check", "--database", "cell:nonsense"], "cell:one"),
    (["check", "--database", "cell:u-two"], "does not keep"),
    (["drop", "--yes", "x"], "--database"),
    (["drop", "kvs+memory:///x", "--database", "api", "--yes", "x"],
     "name one database"),
    (["export", "--to", "sqlite://"], "--from URL"),
    (["import", "--from", "sqlite://"], "--to URL")])
def test_what_is_not_there(arguments, words, files, capsys):
    status, out, error = run(capsys, *arguments)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert words in error


def test_cell_mappings_that_cannot_be_read(names, files, capsys):
    db = databases.open_again("kvs+memory:///" + names["api"])
    databases.insert(db, "cell_mappings", {
        "id": 4, "uuid": "u-bad", "name": "bad",
        "database_connection": "{nonsense}"})
    status, out, _ = run(capsys, "check")
    assert status == 2
    assert "ERROR   configuration: cell:bad: " in out
    assert "main: kvs+memory:///%s" % names["main"] in out


def test_options_between_url_and_uuid(names, capsys):
    for arguments in (
            ["kvs+memory:///" + names["main"], "--json", str(uuid.uuid4())],
            ["--json", "kvs+memory:///" + names["main"],
             str(uuid.uuid4())]):
        status, out, _ = run(capsys, "show", *arguments)
        assert status == 2
        assert "nothing under this UUID" in json.loads(out)["error"]


def test_a_url_of_the_environment(names, monkeypatch, capsys):
    monkeypatch.setenv("CELL", "kvs+memory:///" + names["one"])
    assert run(capsys, "stats", "env:CELL")[0] == 0
    with pytest.raises(SystemExit):
        run(capsys, "stats", "env:MISSING")
    assert "MISSING" in capsys.readouterr().err
