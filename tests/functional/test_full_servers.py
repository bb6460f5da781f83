# SPDX-License-Identifier: Apache-2.0
"""Transactions on servers that have no memory left."""

import pytest

from nova.db.main import models as main_models

from nova_kvs.db import native
from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import registry
from nova_kvs import txn
from tests import base
from tests.differential import clouds
from tests import fixtures

FIELD = keyspace.record_field("t", (1,))


@pytest.fixture(scope="module")
def cluster():
    with fixtures.RedisClusterFixture(3, 0) as running:
        yield running


@pytest.fixture
def database():
    return base.database_name("full")


@pytest.fixture
def store(cluster, database):
    return registry.get_store(cluster.url(database))


@pytest.fixture
def partitions(store, database):
    """Return partitions of two servers."""
    found = {}
    number = 0
    while len(found) < 2:
        partition = keyspace.partition(database, "t", "p%d" % number)
        found.setdefault(store.address_of(partition.key), partition)
        number += 1
    return list(found.values())


@pytest.fixture
def fill(cluster, store):
    """Return a function that fills the server of a partition."""
    filled = []

    def limit(address, size_bytes):
        host, port = address.rsplit(":", 1)
        client = cluster.client((host, int(port)))
        client.execute_command("CONFIG", "SET", "maxmemory", size_bytes)
        client.close()

    def fill(partition):
        filled.append(store.address_of(partition.key))
        limit(filled[-1], 1)

    yield fill
    for address in filled:
        limit(address, 0)


def _put(partition, version=0, field=FIELD):
    return txn.Mutation(partition, field, version, b"x")


def _fields(store, partition):
    return store.batch([base.command(b"HLEN", partition.key)])[0]


@pytest.mark.parametrize("version", [0, 1])
def test_a_commit_that_is_refused_is_not_undetermined(
        store, database, partitions, fill, version):
    fill(partitions[0])
    with pytest.raises(exceptions.StoreReplyError, match="maxmemory"):
        txn.Coordinator(store, database).commit(
            [_put(partitions[0], version)])
    assert _fields(store, partitions[0]) == 0


def test_a_full_server_does_not_keep_others_waiting(
        store, database, partitions, fill):
    full, other = partitions

    def reach(name):
        if name == "before_commit":
            fill(full)

    mutations = [_put(full), _put(full, field=FIELD + b"x"), _put(other)]
    with pytest.raises(exceptions.StoreReplyError, match="maxmemory"):
        txn.Coordinator(store, database, failpoint=reach).commit(mutations)
    assert _fields(store, other) == 0
    txn.Coordinator(store, database).commit([_put(other)])


def test_intents_on_a_full_server_are_rolled_back(
        store, database, partitions, fill):
    full, other = partitions

    def reach(name):
        if name == "before_commit":
            assert _fields(store, full) == 1
            fill(full)

    mutations = [_put(full), _put(other, 7), _put(other, 7, FIELD + b"x")]
    with pytest.raises(exceptions.ConflictError):
        txn.Coordinator(store, database, failpoint=reach).commit(mutations)
    assert _fields(store, full) == 0


def test_a_prewrite_that_is_refused_is_rolled_back(
        store, database, partitions, fill, caplog):
    full, other = partitions
    fill(full)
    mutations = [_put(full), _put(other), _put(other, field=FIELD + b"x")]
    with pytest.raises(exceptions.StoreReplyError, match="maxmemory"):
        txn.Coordinator(store, database).commit(mutations)
    assert caplog.text == ""


@pytest.fixture(params=["cluster", "server"])
def full(request):
    """A cloud whose servers have no memory left, and a way out."""
    kind = (fixtures.RedisServerFixture() if request.param == "server"
            else fixtures.RedisClusterFixture(3, 0))
    with kind as servers:
        cloud = clouds.ServerCell(servers.url(base.database_name("full")))

        def limit(size_bytes):
            for node in servers.nodes:
                client = servers.client(node)
                client.execute_command(
                    "CONFIG", "SET", "maxmemory-policy", "noeviction")
                client.execute_command("CONFIG", "SET", "maxmemory",
                                       size_bytes)
        yield cloud, limit


def _call(cloud, name, *args, **kwargs):
    return cloud.call("%s:%s" % (native.MAIN, name), clouds.context(),
                      *args, **kwargs)


def test_deleted_servers_are_archived_and_purged(full):
    """An operator of a full cluster does this: it has to free memory."""
    cloud, limit = full
    for number in range(4):
        uuid = "%08d-0000-4000-8000-000000000000" % number
        _call(cloud, "instance_create", {
            "uuid": uuid, "project_id": "p1", "host": "h1",
            "metadata": {"a": "b"}, "system_metadata": {"a": "b"}})
        _call(cloud, "instance_tag_set", uuid, ["t"])
        if number:
            _call(cloud, "instance_destroy", uuid)
    cloud.main.grace_ms = 0
    limit(1)
    with pytest.raises(Exception, match="maxmemory"):
        _call(cloud, "instance_create", {
            "uuid": "x", "project_id": "p1", "host": "h1"})
    archived, uuids, _ = _call(cloud, "archive_deleted_rows", max_rows=1000)
    assert archived["instances"] == len(uuids) == 3
    assert _call(cloud, "purge_shadow_tables", None) > 3
    cloud.main.housekeep()
    rows = cloud.rows(main_models.BASE)
    assert len(rows["instances"]) == 1
    assert not [name for name in rows if name.startswith("shadow_")]
    # Nothing but what frees memory was let through.
    with pytest.raises(Exception, match="maxmemory"):
        _call(cloud, "instance_tag_set",
              "00000000-0000-4000-8000-000000000000", ["t", "u"])
    limit(0)
    _call(cloud, "instance_tag_set",
          "00000000-0000-4000-8000-000000000000", ["t", "u"])


def test_records_are_removed_from_a_full_server(
        store, database, partitions, fill):
    coordinator = txn.Coordinator(store, database)
    coordinator.commit([_put(partition) for partition in partitions])
    for partition in partitions:
        fill(partition)
    found = coordinator.read([
        txn.PartitionRead(partition) for partition in partitions])
    coordinator.commit([
        txn.Mutation(partition, FIELD, snapshot.cells[FIELD].version,
                     txn.DELETE)
        for partition, snapshot in zip(partitions, found)])
    assert [_fields(store, partition) for partition in partitions] == [0, 0]
