# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs import --all``: the databases of a cloud, in the right order."""

import sqlite3

import pytest

from nova_kvs.cmd import main
from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.inspection import condition
from nova_kvs.record import access
from nova_kvs.transfer import moving
from tests import base
from tests.unit.cmd import copies
from tests.unit.record import databases

API_DDL = (
    copies.DDL[0],
    "CREATE TABLE cell_mappings (id INTEGER NOT NULL, uuid VARCHAR(36), "
    "name VARCHAR(255), database_connection TEXT, PRIMARY KEY (id))")
CELL0 = "00000000-0000-0000-0000-000000000000"
NAMES = ["nova_cell0", "nova_cell1", "placement", "nova_api"]


class Cloud:
    """Four databases in SQLite, and names for them in the store."""

    def __init__(self, directory):
        self.prefix = base.database_name()
        self.template = "kvs+memory:///%s_{name}" % self.prefix
        self.urls = {}
        for name, ddl, servers in (
                ("nova_api", API_DDL, 0), ("nova_cell0", copies.DDL, 0),
                ("nova_cell1", copies.DDL, 7), ("placement", copies.DDL, 0)):
            self.urls[name] = copies.make_sqlite(
                str(directory / (name + ".db")), servers, ddl)
        self.execute(
            "nova_api", "INSERT INTO cell_mappings VALUES "
            "(1, '%s', 'cell0', '%s'), (2, 'u-1', 'one', '%s'), "
            "(3, 'u-2', 'two', 'kvs+memory:///there')" % (
                CELL0, self.urls["nova_cell0"], self.urls["nova_cell1"]))
        self.file = directory / "nova.conf"
        self.file.write_text(
            "[database]\nconnection = %(nova_cell1)s\n"
            "[api_database]\nconnection = %(nova_api)s\n"
            "[placement_database]\nconnection = %(placement)s\n" % self.urls)

    def execute(self, name, text):
        with sqlite3.connect(
                self.urls[name].removeprefix("sqlite:///")) as connection:
            connection.execute(text)
        connection.close()

    def target(self, name):
        return self.template.replace("{name}", name)

    def mappings(self):
        rows, = databases.load(
            databases.open_again(self.target("nova_api")),
            access.FullScan("cell_mappings"))
        return {row["name"]: row["database_connection"] for row in rows}


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    found = Cloud(tmp_path)
    found.made = []

    def make(move, files, report):
        if move.target not in found.made:
            found.made.append(move.target)
            databases.insert(
                databases.make(
                    API_DDL if move.name == "api" else copies.DDL,
                    move.target),
                "alembic_version", {"version_num": copies.REVISION})

    def examine(url):
        found.checked.append(url.database)
        return iter([condition.Line("x", condition.Status.WARNING, "why")])

    found.checked = []
    monkeypatch.setattr(moving, "make_schema", make)
    monkeypatch.setattr(condition, "examine", examine)
    yield found
    conf.CONF.reset()


def run(capsys, cloud, *arguments):
    status = main.main(["import", "--all", "--config-file", str(cloud.file),
                        "--to", cloud.template, *arguments])
    return status, *capsys.readouterr()


def test_all_are_moved(cloud, tmp_path, capsys):
    status, out, error = run(capsys, cloud)
    assert (status, error) == (1, "")
    assert out.count("WARNING x: why") == len(cloud.checked) == 4
    assert cloud.made == [cloud.target(name) for name in NAMES]
    for name in NAMES[:3]:
        back = copies.make_sqlite(str(tmp_path / (name + ".back")))
        assert main.main(["export", "--from", cloud.target(name),
                          "--to", back]) == 0
        assert copies.dump_sqlite(back) == copies.dump_sqlite(
            cloud.urls[name])
    assert cloud.mappings() == {
        "cell0": cloud.target("nova_cell0"), "one": cloud.target("nova_cell1"),
        "two": "kvs+memory:///there"}


def test_again_behind_its_end(cloud, capsys):
    assert run(capsys, cloud)[0] == 1
    status, out, error = run(capsys, cloud)
    assert (status, error) == (1, "")
    assert "it was moved before" in out


def test_services_go_on_meanwhile(cloud, capsys):
    status, out, error = run(capsys, cloud, "--pre-copy")
    assert (status, error) == (0, "")
    assert out.count("to be completed without --pre-copy") == 4
    assert cloud.mappings()["one"] == cloud.urls["nova_cell1"]
    cloud.execute("nova_cell1", "UPDATE instances SET host = 'x'")
    assert run(capsys, cloud)[0] == 1
    assert cloud.mappings()["one"] == cloud.target("nova_cell1")


def test_nothing_is_written_by_a_dry_run(cloud, capsys):
    status, out, error = run(capsys, cloud, "--dry-run")
    assert (status, error) == (0, "")
    assert out.count("to copy") == 4
    assert cloud.made == []


def test_a_row_that_is_refused_stops_it_before_the_mappings(cloud, capsys):
    cloud.execute("nova_cell1", "UPDATE instances SET created_at = 'never' "
                                "WHERE id = 3")
    status, _, error = run(capsys, cloud)
    assert status == 2
    assert "created_at" in error
    assert cloud.made == [cloud.target(name) for name in NAMES[:2]]


def test_a_dry_run_looks_for_such_rows_once_there_is_a_schema(cloud, capsys):
    assert run(capsys, cloud, "--pre-copy")[0] == 0
    cloud.execute("nova_cell1", "UPDATE instances SET created_at = 'never' "
                                "WHERE id = 3")
    status, out, error = run(capsys, cloud, "--dry-run")
    assert status == 2
    assert "cell:one: the target refuses a row" in error
    assert "created_at" in error
    assert "cell0 -> " in out


def test_all_targets_are_reached_before_the_first_copy(
        cloud, capsys, monkeypatch):
    open_target = moving.Move.open

    def refuse(move):
        if move.name == "placement":
            raise exceptions.StoreUnavailableError(servers="h:1")
        return open_target(move)

    monkeypatch.setattr(moving.Move, "open", refuse)
    for option in ((), ("--dry-run",)):
        status, out, error = run(capsys, cloud, *option)
        assert (status, out, cloud.made) == (2, "", [])
        assert "placement: the key/value store does not answer" in error
        assert "query of --to" in error


@pytest.mark.parametrize(("arguments", "said"), [
    (["--to", "kvs+memory:///x"], "{name}"),
    (["--from", "sqlite:///x"], "--all goes with"),
    (["--replace"], "--all goes with"),
    (["--to", "mysql://u:secret@h/{name}"], "kvs+cluster://")])
def test_what_does_not_go_together(arguments, said, cloud, capsys):
    status, _, error = run(capsys, cloud, *arguments)
    assert status == 2
    assert said in error and "secret" not in error
    assert cloud.made == []


def test_two_databases_of_one_name(cloud, capsys):
    cloud.execute(
        "nova_api", "UPDATE cell_mappings SET database_connection = "
        "'sqlite:////other/nova_cell1.sqlite' WHERE id = 3")
    status, _, error = run(capsys, cloud)
    assert status == 2
    assert "cell:one, cell:two" in error


def test_files_from_after_the_move(cloud, capsys):
    cloud.file.write_text("[api_database]\nconnection = kvs+memory:///x\n")
    status, _, error = run(capsys, cloud)
    assert status == 2
    assert "from before" in error


def test_a_schema_that_cannot_be_made(cloud, capsys, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(moving.shutil, "which", lambda name: "/bin/false")
    monkeypatch.setattr(moving.os.path, "exists", lambda path: False)
    status, _, error = run(capsys, cloud)
    assert status == 2
    assert "nova-manage db sync --local_cell of the target has failed" in (
        error)
