# SPDX-License-Identifier: Apache-2.0
"""SQL to a Redis Cluster and back, with Nova's own schemas."""

import json
import random
import subprocess
import time

import pytest
import sqlalchemy

from nova_kvs.record import access
from nova_kvs.record import database
from tests.cloud import backends
from tests.cloud import commands
from tests.cloud import processes
from tests import fixtures
from tests.functional.cmd import clouds

SERVERS = 150
QUERY = {"hint_grace": 4, "transaction_lifetime": 2}


@pytest.fixture(scope="module")
def cluster():
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as found:
        yield found


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory):
    with processes.Group() as group:
        yield backends.MariaDB(group, str(
            tmp_path_factory.mktemp("mariadb")))


@pytest.fixture(scope="module")
def postgresql():
    with processes.Group() as group:
        yield backends.PostgreSQL(group)


def free_ids(url):
    """Return names of tables whose next id in PostgreSQL is a new one.

    :raises AssertionError: if a table's is not.
    """
    engine = sqlalchemy.create_engine(
        url, poolclass=sqlalchemy.pool.NullPool)
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    found = set()
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            column = table.autoincrement_column
            if column is None or column.server_default is None:
                continue
            highest = connection.execute(sqlalchemy.select(
                sqlalchemy.func.max(column))).scalar()
            sequence = sqlalchemy.func.pg_get_serial_sequence(
                name, column.name)
            number = connection.execute(sqlalchemy.select(
                sqlalchemy.func.nextval(sequence))).scalar()
            assert number > highest, name
            found.add(name)
    engine.dispose()
    return found


def there_and_back(server, kind, cluster, directory):
    """Copy all kinds of rows into the store and back.

    :returns: (URL of the store, URL of what came back).
    """
    source = server.create("source_" + kind)
    back = server.create("back_" + kind)
    store = cluster.url("copy-%s-%d" % (kind, server.port), **QUERY)
    for url in (source, back, store):
        clouds.sync(kind, url, directory)
    rows = clouds.fill(source, SERVERS)
    counted = commands.copy("import", source, store, "--dry-run")
    assert counted["rows"] == rows
    done = commands.copy("import", source, store)
    assert done["verified"] and done["rows"] == rows
    assert done["tables"] == counted["tables"]
    document = json.loads(commands.run("fsck", "--json", store))
    assert document["details"] == []
    # And the revision.
    assert document["records"] == rows + 1
    # Servers without replicas are worth a warning.
    checks = json.loads(
        commands.run("check", "--json", store, status=1))["checks"]
    assert checks[-1]["status"] == "OK", checks[-1]
    done = commands.copy("export", store, back)
    assert done["verified"] and done["rows"] == rows
    assert clouds.dump(back) == clouds.dump(source)
    return store, back


def kinds(quick):
    """Return the kinds of databases, all but one marked as slow."""
    return pytest.mark.parametrize("kind", [
        kind if kind == quick else pytest.param(kind, marks=pytest.mark.slow)
        for kind in clouds.KINDS])


@kinds("placement")
def test_mariadb_there_and_back(kind, cluster, mariadb, tmp_path):
    there_and_back(mariadb, kind, cluster, str(tmp_path))


@kinds("cell")
def test_postgresql_there_and_back(kind, cluster, postgresql, tmp_path):
    grant = "SET ON PARAMETER session_replication_role"
    postgresql.execute("GRANT %s TO nova" % grant)
    store, back = there_and_back(postgresql, kind, cluster, str(tmp_path))
    before = clouds.dump(back)
    assert len(free_ids(back)) >= 10
    # Without what the manual asks for nothing is written or removed.
    postgresql.execute("REVOKE %s FROM nova" % grant)
    done = subprocess.run(
        commands.command("export", "--from", store, "--to", back,
                         "--replace"),
        capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    # Beside the notice of an option's old name, in the store's URL.
    error, = [line for line in done.stderr.splitlines()
              if " is deprecated: " not in line]
    assert "permission denied" in error
    assert clouds.dump(back) == before


def refused(store, back, *arguments):
    """Run an export that is refused; return the error."""
    done = subprocess.run(
        commands.command("export", "--from", store, "--to", back, *arguments),
        capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def tables(url):
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    names = set(sqlalchemy.inspect(engine).get_table_names())
    engine.dispose()
    return names


@pytest.mark.parametrize("server, odd", [
    ("mariadb", {"\N{GRINNING FACE}": ", column=tag: (1366, ",
                 "WEB": "Duplicate entry"}),
    ("postgresql", {"x" * 61: ", column=tag: value too long",
                    "a\0b": ", column=tag: PostgreSQL has no text"})])
def test_rows_that_the_target_refuses(server, odd, cluster, request):
    name = "refused_" + server
    server = request.getfixturevalue(server)
    if server.__class__ is backends.PostgreSQL:
        server.execute(
            "GRANT SET ON PARAMETER session_replication_role TO nova")
    back = server.create(name)
    store = cluster.url(name)
    ddl = ("CREATE TABLE alembic_version (version_num VARCHAR(32), "
           "PRIMARY KEY (version_num))",
           "CREATE TABLE tags (resource_id VARCHAR(36) NOT NULL, tag "
           "VARCHAR(60) NOT NULL, PRIMARY KEY (resource_id, tag))")
    engine = sqlalchemy.create_engine(back, poolclass=sqlalchemy.pool.NullPool)
    with engine.begin() as connection:
        for text in ddl:
            connection.exec_driver_sql(text)
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('r')")
    db = database.open_database(store)
    tx = db.begin()
    tx.set_schema(ddl)
    tx.commit()
    tx = db.begin()
    tx.insert("alembic_version", {"version_num": "r"})
    for value in ("web", *odd):
        tx.insert("tags", {"resource_id": "u", "tag": value})
    tx.commit()
    before = clouds.dump(back)
    for arguments in (["--dry-run"], []):
        error = refused(store, back, *arguments)
        assert error.count("table=tags, key=('u', ") == len(odd)
        assert [text for text in odd.values() if text not in error] == []
        if arguments:
            assert clouds.dump(back) == before
    # For Nova's archive wants to know each table.
    assert tables(back) == {"tags", "alembic_version"}
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tags")
    tx = db.begin()
    found, = tx.load([access.ByKey("tags", tuple(
        ("u", tag) for tag in odd))])
    for row in found:
        tx.delete(row)
    tx.commit()
    commands.copy("export", store, back)
    assert clouds.dump(back)["tags"] == [("u", "web")]


def kill_again_and_again(arguments, chance):
    """Kill a command at random moments until it is done once.

    :returns: how often it was killed.
    """
    kills = 0
    while True:
        process = subprocess.Popen(
            commands.command(*arguments), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        # A little longer each time, so that it comes to an end.
        time.sleep(chance.uniform(0.5, 1.5) + 0.5 * kills)
        if process.poll() is None:
            process.kill()
            kills += 1
            process.communicate()
            continue
        assert process.returncode == 0, process.communicate()[1]
        process.communicate()
        return kills


@pytest.mark.slow
def test_killed_at_random_points(cluster, mariadb, tmp_path):
    source = mariadb.create("source_killed")
    back = mariadb.create("back_killed")
    store = cluster.url("killed", **QUERY)
    for url in (source, back, store):
        clouds.sync("cell", url, str(tmp_path))
    clouds.fill(source, 200)
    chance = random.Random(7)
    assert kill_again_and_again(
        ["import", "--from", source, "--to", store], chance) > 1
    # What was killed may have left an intent for its lifetime.
    time.sleep(QUERY["hint_grace"])
    commands.run("fsck", "--repair", store)
    assert kill_again_and_again(
        ["export", "--from", store, "--to", back], chance) > 1
    assert clouds.dump(back) == clouds.dump(source)


def test_errors_show_no_password(cluster, mariadb):
    url = mariadb.create("x").replace("nova:nova@", "nova:secret@")
    for arguments in (
            ["import", "--from", url, "--to", cluster.url("x")],
            ["export", "--from", cluster.url("x"), "--to", url]):
        done = subprocess.run(
            commands.command(*arguments), capture_output=True, text=True,
            timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("nova-kvs: error: ")
        assert done.stderr.count("\n") == 1
        assert "secret" not in done.stderr
