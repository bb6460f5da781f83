# SPDX-License-Identifier: Apache-2.0
"""Nova in real processes on a Redis Cluster, from installation to purge.

Needs redis-server and rabbitmq-server; takes two to five minutes. With
``KVS_TEST_E2E_STORE=etcd`` on three members of etcd.
"""

import os

import pytest
import sqlalchemy

from nova_kvs.demo import client
from nova_kvs.demo import config
from nova_kvs import keyspace
from tests.cloud import backends
from tests.cloud import deployment
from tests import etcd_servers
from tests import fixtures

SERVERS = 20
#: Longest time for one step with all servers.
STEP_TIMEOUT_S = 180
#: Longest time for the whole test; the steps' own limits are reached first
#: unless several of them are slow.
TOTAL_TIMEOUT_S = 900
_SQLITE_HEADER = b"SQLite format 3\0"
_SQL_SUFFIXES = (".db", ".frm", ".ibd", ".sqlite", ".sqlite3")


@pytest.fixture
def cluster():
    if os.environ.get("KVS_TEST_E2E_STORE") == "etcd":
        made = etcd_servers.EtcdFixture(3)
    else:
        made = fixtures.RedisClusterFixture(masters=3, replicas=1)
    with made as servers:
        yield servers


@pytest.fixture
def cloud(group, cluster, tmp_path):
    """A Deployment on the cluster, not set up yet."""
    transport_url = backends.start_rabbitmq(group, str(tmp_path))
    return deployment.Deployment(
        group, str(tmp_path),
        config.Databases.from_url(cluster.url("nova")), transport_url)


def count(url, table, where="1 = 1"):
    """Count a table's rows in a database."""
    engine = sqlalchemy.create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(sqlalchemy.text(
                "SELECT count(*) FROM %s WHERE %s" % (table, where))).scalar()
    finally:
        engine.dispose()


def keys_by_master(cluster, databases):
    """Return for each master how many keys of our databases it has."""
    patterns = [keyspace.database_pattern(sqlalchemy.make_url(url).database)
                for url in databases]
    counts = []
    for node in cluster.nodes[:cluster.masters]:
        redis = cluster.client(node)
        counts.append(sum(
            len(redis.execute_command("KEYS", pattern))
            for pattern in patterns))
        redis.close()
    return counts


def _is_sqlite(path):
    with open(path, "rb") as stream:
        return stream.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


def database_files(directory):
    """Return the files below a directory that are an SQL database's."""
    found = []
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            if name.endswith(_SQL_SUFFIXES) or (
                    os.path.isfile(path) and _is_sqlite(path)):
                found.append(path)
    return found


def check_installation(cloud, cluster):
    """Look at what the commands that inspect a cloud say."""
    cells = cloud.manage("cell_v2", "list_cells")
    assert "cell0" in cells
    assert "cell1" in cells
    assert cluster.scheme in cells
    hosts = cloud.manage("cell_v2", "list_hosts")
    for host in cloud.computes:
        assert host in hosts
    checks = cloud.status("upgrade", "check")
    assert "Failure" not in checks
    assert "Success" in checks


def check_store(cloud, expected):
    """Compare what the store holds with what Nova's API says."""
    databases = cloud.databases
    assert len(cloud.client.servers()) == expected
    assert count(databases.cell1, "instances", "deleted = 0") == expected
    assert count(databases.cell0, "instances") == 0
    assert count(databases.api, "build_requests") == 0
    assert count(databases.placement, "consumers") == expected
    # VCPU and MEMORY_MB; the flavor has no disk.
    assert count(databases.placement, "allocations") == 2 * expected


def survive_an_outage(cloud, cluster):
    """Stop all of the store: Nova reports it, and works again after."""
    for node in cluster.nodes:
        cluster.pause(node)
    try:
        with pytest.raises(client.APIError) as caught:
            cloud.client.request("GET", "/flavors")
        assert caught.value.status == 500
    finally:
        for node in cluster.nodes:
            cluster.resume(node)
    cluster.wait_healthy()
    ids = cloud.boot(1)
    cloud.wait_status(ids, "ACTIVE", STEP_TIMEOUT_S)
    cloud.group.check()
    return ids


def test_servers_on_a_cluster(cloud, cluster, tmp_path):
    api = cloud.client
    cloud.set_up()
    cloud.start()
    check_installation(cloud, cluster)

    ids = cloud.boot(SERVERS)
    cloud.wait_status(ids, "ACTIVE", STEP_TIMEOUT_S)
    check_store(cloud, SERVERS)
    hosts = [server["OS-EXT-SRV-ATTR:host"] for server in api.servers()]
    assert set(hosts) <= set(cloud.computes)
    if cluster.scheme == "kvs+cluster":
        spread = keys_by_master(cluster, cloud.databases)
        assert min(spread) > sum(spread) / 10, spread

    for server_id in ids:
        api.act(server_id, {"os-stop": None})
    cloud.wait_status(ids, "SHUTOFF", STEP_TIMEOUT_S)
    for server_id in ids:
        api.act(server_id, {"os-start": None})
    cloud.wait_status(ids, "ACTIVE", STEP_TIMEOUT_S)

    old, new = cloud.live_migrate(ids[0], STEP_TIMEOUT_S)
    assert {old, new} == set(cloud.computes)
    check_store(cloud, SERVERS)

    ids += survive_an_outage(cloud, cluster)
    check_store(cloud, SERVERS + 1)

    for server_id in ids:
        api.delete(server_id)
    cloud.wait_gone(ids, STEP_TIMEOUT_S)
    check_store(cloud, 0)
    assert count(
        cloud.databases.cell1, "instances", "deleted <> 0") == len(ids)

    # Both say with their status that there was something to do.
    cloud.manage("db", "archive_deleted_rows", "--until-complete",
                 "--all-cells", status=1)
    assert count(cloud.databases.cell1, "instances") == 0
    assert count(cloud.databases.cell1, "shadow_instances") == len(ids)
    cloud.manage("db", "purge", "--all", "--all-cells")
    assert count(cloud.databases.cell1, "shadow_instances") == 0
    assert count(cloud.databases.api, "instance_mappings") == 0

    cloud.group.check()
    cloud.stop()
    assert database_files(tmp_path) == []
