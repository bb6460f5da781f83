# SPDX-License-Identifier: Apache-2.0
import importlib.util
import os
import tempfile

import pytest
import sqlalchemy

from nova_kvs.cmd import demo
from nova_kvs.cmd import main


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A place for temporary files, which must be empty afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert os.listdir(tmp_path) == []


def run(*arguments):
    return demo._run(main.build_parser().parse_args(["demo", *arguments]))


@pytest.mark.parametrize("arguments", [
    ["--servers", "0"],
    ["--servers", "-1"],
    ["--servers", "many"],
    ["--servers", "100001"],
    ["--servers"],
    ["--computes", "0"],
    ["--controllers", "101"],
    ["--url"],
    ["--port", "1"],
    ["10"],
])
def test_wrong_option_is_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        run(*arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("nova-kvs")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("url", [
    "",
    "nonsense",
    "kvs+nonsense:///x",
    "nonsense://host/x",
    "kvs+redis://host:nonsense/x",
    "kvs+redis://host:99999999/x",
    "kvs+redis://:secret@host:99999999/x",
    "kvs+memory:///a%20b",
    "kvs+memory:///x?nonsense=1",
    "kvs+memory:///" + 64 * "x",
])
def test_wrong_url_is_one_line(url, capsys):
    assert run("--url", url) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("nova-kvs demo: error: ")
    assert captured.err.count("\n") == 1
    assert "secret" not in captured.err
    assert captured.out == ""


def test_databases_of_another_cloud(capsys):
    engine = sqlalchemy.create_engine("kvs+memory:///taken_api")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text(
            "CREATE TABLE cell_mappings (id INTEGER PRIMARY KEY, "
            "transport_url TEXT)"))
        connection.execute(sqlalchemy.text(
            "INSERT INTO cell_mappings (transport_url) VALUES (NULL), "
            "('none:///'), "
            "('rabbit://nova:secret@10.0.0.1:5672/')"))
    assert run("--url", "kvs+memory:///taken") == 2
    error = capsys.readouterr().err
    assert "taken_api" in error and "rabbit" in error
    assert "secret" not in error
    assert error.count("\n") == 1


def test_json_is_checked_before_anything_starts(temporary, capsys):
    assert run("--json", str(temporary / "missing" / "x")) == 2
    error = capsys.readouterr().err
    assert "--json" in error
    assert error.count("\n") == 1


def test_nova_is_not_installed(monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run() == 2
    error = capsys.readouterr().err
    assert "nova-kvs[nova]" in error
    assert error.count("\n") == 1


def test_defaults():
    args = main.build_parser().parse_args(["demo"])
    assert (args.servers, args.computes, args.controllers) == (10, 3, 1)
    assert args.url == "kvs+memory:///nova"
    assert not args.serve
    assert args.json is None


def test_json_is_left_alone_when_nothing_was_done(temporary, tmp_path):
    new = tmp_path / "new"
    old = tmp_path / "old"
    old.write_text("kept")
    assert run("--json", str(new), "--url", "nonsense") == 2
    assert run("--json", str(old), "--url", "nonsense") == 2
    assert not new.exists()
    assert old.read_text() == "kept"
    old.unlink()
