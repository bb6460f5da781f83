# SPDX-License-Identifier: Apache-2.0
"""Transactions on servers that have no memory left."""

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import registry
from nova_kvs import txn
from tests import base
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
