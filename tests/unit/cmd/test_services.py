# SPDX-License-Identifier: Apache-2.0
"""Databases of other services, which Keystone's stands for here."""

import sqlite3

import pytest

from nova_kvs.cmd import main
from nova_kvs.inspection import condition
from nova_kvs.inspection import revision
from nova_kvs.store import registry
from nova_kvs.transfer import sql
from tests.unit.cmd import copies
from tests.unit.record import databases

DDL = (
    copies.DDL[0],
    "CREATE TABLE nonlocal_user (domain_id VARCHAR(64) NOT NULL, "
    "name VARCHAR(255) NOT NULL, PRIMARY KEY (domain_id, name))",
    "CREATE TABLE project (id VARCHAR(64) NOT NULL, name VARCHAR(64), "
    "PRIMARY KEY (id))",
    # Keystone's has a boolean in its key, too.
    "CREATE TABLE assignment (actor_id VARCHAR(64) NOT NULL, "
    "inherited BOOLEAN NOT NULL, PRIMARY KEY (actor_id, inherited))",
)
REVISIONS = ("742c857f1dfb", "c88cdce8f248")
ROOT = {"id": "<<keystone.domain.root>>", "name": "root"}
ACTORS = 12


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(sql, "PAGE", 5)


def execute(url, text, *rows):
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    connection.executemany(text, rows)
    connection.commit()
    connection.close()


def make_sqlite(path):
    """Return the URL of what the migrations make in SQLite."""
    url = copies.make_sqlite(str(path), ddl=DDL, revision=REVISIONS[0])
    execute(url, "INSERT INTO alembic_version VALUES (?)", REVISIONS[1:])
    execute(url, "INSERT INTO project VALUES (?, ?)", tuple(ROOT.values()))
    return url


def fill(url):
    execute(url, "INSERT INTO project VALUES (?, ?)", ("p", "a project"))
    execute(url, "INSERT INTO assignment VALUES (?, ?)", *[
        ("u%02d" % number, inherited)
        for number in range(ACTORS) for inherited in (0, 1)])


@pytest.fixture
def source(tmp_path):
    url = make_sqlite(tmp_path / "source")
    fill(url)
    return url


@pytest.fixture
def target():
    """Return the URL of what the migrations make in the store."""
    url = copies.make_store(DDL, REVISIONS[0])
    db = databases.open_again(url)
    databases.insert(db, "alembic_version", {"version_num": REVISIONS[1]})
    databases.insert(db, "project", ROOT)
    return url


def test_there_and_back(source, target, tmp_path, capsys):
    assert main.main(["import", "--from", source, "--to", target]) == 0
    back = make_sqlite(tmp_path / "back")
    assert main.main(["export", "--from", target, "--to", back]) == 0
    assert copies.dump_sqlite(back) == copies.dump_sqlite(source)
    assert main.main(["fsck", target]) == 0
    assert main.main(["stats", target]) == 0
    assert "assignment" in capsys.readouterr().out


def test_rows_that_are_not_the_sources_stay(source, target, tmp_path,
                                            capsys):
    db = databases.open_again(target)
    databases.insert(db, "project", {"id": "p", "name": "another"})
    assert main.main(["import", "--from", source, "--to", target]) == 2
    assert "not empty" in capsys.readouterr().err
    back = make_sqlite(tmp_path / "back")
    execute(back, "UPDATE project SET name = 'other' WHERE id = ?",
            (ROOT["id"],))
    assert main.main(["export", "--from", target, "--to", back]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize("second", [(), ("000000000000",)])
def test_both_branches_are_compared(second, target, tmp_path, capsys):
    source = make_sqlite(tmp_path / "source")
    execute(source, "DELETE FROM alembic_version WHERE version_num = ?",
            REVISIONS[1:])
    execute(source, "INSERT INTO alembic_version VALUES (?)",
            *[(number,) for number in second])
    assert main.main(["import", "--from", source, "--to", target]) == 2
    error = capsys.readouterr().err
    assert "target=%s" % " ".join(REVISIONS) in error
    assert "keystone-manage db_sync" in error


def test_other_tables(target, tmp_path, capsys):
    source = make_sqlite(tmp_path / "source")
    execute(source, "DROP TABLE assignment", ())
    assert main.main(["import", "--from", source, "--to", target]) == 2
    assert "with keystone-manage of" in capsys.readouterr().err


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Install a Keystone of migrations in two branches."""
    versions = tmp_path / "keystone/common/sql/migrations/versions"
    for name, values in {
            "initial": "revision = 'a'\ndown_revision = None",
            "expand/first": "revision = 'b'\ndown_revision = ('a',)",
            "contract/first": "revision = 'c'\ndown_revision = 'a'",
            "contract/second": "revision = 'd'\ndown_revision = 'c'"
    }.items():
        path = versions / (name + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(values)
    (tmp_path / "keystone/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return next(kind for kind in revision.KINDS
                if kind.package == "keystone"), path


def test_the_heads_of_all_branches(package):
    kind, path = package
    assert revision.head(kind) == "b d"
    # Glance's contraction depends on its expansion.
    path.write_text(path.read_text() + "\ndepends_on = 'b'")
    assert revision.head(kind) == "d"


def test_the_schema_is_checked(package, target):
    line = list(condition.examine(registry.parse_url(target)))[-1]
    assert (line.name, line.status.name) == ("schema", "ERROR")
    assert "Keystone database has revision %s" % " ".join(
        REVISIONS) in line.text
    assert "wants b d: run keystone-manage db_sync" in line.text
