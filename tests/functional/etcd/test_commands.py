# SPDX-License-Identifier: Apache-2.0
"""The commands of nova-kvs on etcd, and copies from there to Redis."""

import json

import pytest

from tests.cloud import commands
from tests import etcd_servers
from tests import fixtures
from tests.functional.cmd import clouds
from tests.functional.store import certificates

#: More than etcd, as it is by default, takes in one commit.
SERVERS = 130


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    with etcd_servers.EtcdFixture(
            3, tls=certificates.make(str(tmp_path_factory.mktemp("tls"))),
            user="nova", password="right", database="placement") as servers:
        yield servers


def test_a_database_moves_to_etcd_and_on_to_redis(members, tmp_path):
    source, back = ["sqlite:///%s/%s.db" % (tmp_path, name)
                    for name in ("source", "back")]
    store = members.url("placement")
    with fixtures.RedisServerFixture() as redis:
        other = redis.url("placement")
        for url in (source, back, store, other):
            clouds.sync("placement", url, str(tmp_path))
        rows = clouds.fill(source, SERVERS)
        done = commands.copy("import", source, store)
        assert done["verified"] and done["rows"] == rows
        done = commands.copy("export", store, back)
        assert done["verified"] and done["rows"] == rows
        done = commands.copy("import", back, other)
        assert done["verified"] and done["rows"] == rows
        assert clouds.dump(back) == clouds.dump(source)
        path = str(tmp_path / "backup")
        commands.run("backup", other, "--to", path)
        done = json.loads(commands.run(
            "restore", path, "--to", store, "--replace", "--yes",
            "placement", "--json"))
        assert done["verified"] and done["rows"] == rows + 1
    document = json.loads(commands.run("fsck", "--json", store))
    assert document["details"] == []
    assert document["records"] == rows + 1
    checks = json.loads(commands.run("check", "--json", store))["checks"]
    assert {line["status"] for line in checks} == {"OK"}, checks
    assert [line["name"] for line in checks][:5] == [
        "store", "version", "members", "space", "compaction"]
    assert json.loads(commands.run("stats", "--json", store))
    commands.run("drop", store, "--name", "placement")
    # A partition that became empty has a head for a minute or two.
    assert [key for key in members.control(
        "get", "kvs:{placement:", "--prefix", "--keys-only").stdout.split()
        if not key.endswith("\0a")] == []


def test_a_snapshot_brings_everything_back(members, tmp_path):
    store = members.url("placement2")
    clouds.sync("placement", store, str(tmp_path))
    before = json.loads(commands.run("stats", "--json", store))
    path = str(tmp_path / "snapshot.db")
    members.control("snapshot", "save", path, nodes=members.nodes[:1])
    commands.run("drop", store, "--name", "placement2")
    with etcd_servers.EtcdFixture(
            snapshot=path, user="nova", password="right") as restored:
        after = json.loads(commands.run(
            "stats", "--json", restored.url("placement2")))
        assert after[0]["records"] == before[0]["records"]
