# SPDX-License-Identifier: Apache-2.0
"""Databases of a nova.conf on a real server, broken on purpose."""

import json
import subprocess
import sys

import pytest

from tests import fixtures
from tests.unit.record import databases

GOOD = {"appendonly": "yes", "maxmemory": "200mb",
        "maxmemory-policy": "noeviction"}
API_DDL = (
    "CREATE TABLE cell_mappings (id INTEGER NOT NULL PRIMARY KEY, "
    "uuid VARCHAR(36), name VARCHAR(255), database_connection TEXT)",
    "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
    "PRIMARY KEY (version_num))")


@pytest.fixture(scope="module")
def server():
    with fixtures.RedisServerFixture(
            replicas=1, password="secret", options=GOOD) as found:
        api = databases.make(url=found.url("api"), ddl=API_DDL)
        databases.insert(api, "cell_mappings", {
            "id": 1, "uuid": "u", "name": "one",
            "database_connection":
                "{scheme}://{username}:{password}@{hostname}:{port}/cell1"})
        for name in ("cell0", "cell1"):
            databases.make(url=found.url(name))
        yield found


def check(tmp_path, server, **options):
    """Run the command as a process; return status, name -> (code, text)."""
    path = tmp_path / "nova.conf"
    path.write_text(
        "[database]\nconnection = %s\n[api_database]\nconnection = %s\n"
        "[nova_kvs]\nrequest_timeout = 2\n%s" % (
            server.url("cell0"), server.url("api"), "".join(
                "%s = %s\n" % item for item in options.items())))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "nova_kvs.cmd.status",
         "--config-file", str(path), "upgrade", "check", "--json"],
        capture_output=True, text=True)
    assert done.stderr == ""
    assert "secret" not in done.stdout
    return done.returncode, {
        found["check"]: (found["result"], found["details"])
        for found in json.loads(done.stdout)["checks"]}


NAMES = ["Database cell0 ([database] connection)",
         "Database api ([api_database] connection)",
         "Database cell1 (cell one)"]


def test_nothing_but_the_schema_is_amiss(server, tmp_path):
    status, found = check(tmp_path, server)
    # The tests' tables are not Nova's.
    assert status == 1
    assert list(found) == NAMES
    assert {result for result, _ in found.values()} == {1}
    assert all(details.startswith("WARNING schema: ") and ";" not in details
               for _, details in found.values())


def test_the_eviction_policy_is_wrong(server, tmp_path):
    client = server.client()
    client.execute_command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        status, found = check(tmp_path, server)
    finally:
        client.execute_command(
            "CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert status == 2
    assert all(result == 2 and details.startswith("ERROR eviction: ")
               for result, details in found.values())


def test_an_option_asks_for_more_than_there_is(server, tmp_path):
    status, found = check(tmp_path, server, commit_replicas=2)
    assert status == 2
    assert found[NAMES[0]][1].startswith("ERROR replicas: ")


def test_a_migration_was_not_run(server, tmp_path):
    db = databases.open_again(server.url("api"))
    row, = databases.insert(db, "alembic_version", {"version_num": "old"})
    try:
        status, found = check(tmp_path, server)
    finally:
        tx = db.begin()
        tx.delete(row)
        tx.commit()
    assert status == 2
    assert "run nova-manage api_db sync" in found[NAMES[1]][1]


def test_the_server_is_away(tmp_path):
    with fixtures.RedisServerFixture(password="secret") as server:
        pass
    status, found = check(tmp_path, server)
    assert status == 2
    assert list(found) == ["Cell mappings"] + NAMES[:2]
    assert found[NAMES[0]][1].startswith("ERROR store: ")
