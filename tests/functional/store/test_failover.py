# SPDX-License-Identifier: Apache-2.0
"""Servers die and others take over: the process goes on by itself."""

import threading

import pytest

from nova_kvs import exceptions
from nova_kvs.store.redis import raw
from nova_kvs.store import registry
from tests import base
from tests import fixtures

# Failover takes the node timeout (2 s) and an election; the machine may be
# slow.
PATIENT = {"request_timeout": 30.0, "socket_timeout": 2.0}
KEYS = [b"kvs:{db:s:%d}" % number for number in range(30)]
INCREMENT = base.script("""
-- As every script that writes: what was done under this name is not done
-- twice.
if redis.call('HSETNX', KEYS[1], ARGV[1], '') == 1 then
    redis.call('HINCRBY', KEYS[1], 'count', 1)
end
return tonumber(redis.call('HGET', KEYS[1], 'count'))
""", name="increment")


@pytest.fixture
def cluster():
    with fixtures.RedisClusterFixture() as cluster:
        yield cluster


def _writes(name):
    return [raw.ScriptCall(INCREMENT, (key,), (name,))
            for key in KEYS]


def _acknowledged(store, items):
    """Write and let the replicas have it."""
    replies = store.batch(items, replicas=1, replicas_timeout_ms=10000)
    assert replies.pop() >= 1
    return replies


def _replica_of(cluster, master):
    number = cluster.nodes.index(master)
    return cluster.nodes[(number + cluster.masters) % len(cluster.nodes)]


def test_a_master_dies(cluster):
    store = registry.get_store(cluster.url("one"), options=PATIENT)
    assert _acknowledged(store, _writes(b"a")) == [1] * 30
    dead = cluster.master_of(KEYS[0])
    cluster.kill(dead)
    assert store.batch(_writes(b"b")) == [2] * 30
    assert cluster.master_of(KEYS[0]) != dead
    cluster.restart(dead)
    cluster.wait_healthy()
    assert store.batch(_writes(b"c")) == [3] * 30


def test_a_master_hangs(cluster):
    store = registry.get_store(cluster.url("two"), options=PATIENT)
    assert _acknowledged(store, _writes(b"a")) == [1] * 30
    hanging = cluster.master_of(KEYS[0])
    cluster.pause(hanging)
    assert store.batch(_writes(b"b")) == [2] * 30
    cluster.resume(hanging)
    cluster.wait_healthy()
    assert store.batch(_writes(b"b")) == [2] * 30


def test_every_node_that_was_known_is_replaced(cluster):
    """redis-py issue 3284: no recovery after all nodes failed over."""
    store = registry.get_store(cluster.url("three"), options=PATIENT)
    assert _acknowledged(store, _writes(b"a")) == [1] * 30
    for master in cluster.nodes[:3]:
        cluster.kill(master)
        fixtures.wait_for(lambda: _is_master(
            cluster, _replica_of(cluster, master)), "the replica takes over")
    assert store.batch(_writes(b"b")) == [2] * 30


def _is_master(cluster, node):
    client = cluster.client(node)
    try:
        return client.execute_command("ROLE")[0] == b"master"
    finally:
        client.close()


def test_the_whole_cluster_dies_and_comes_back():
    quick = {"request_timeout": 0.5, "socket_timeout": 0.5}
    with fixtures.RedisClusterFixture(options={
            "appendonly": "yes", "appendfsync": "always"}) as cluster:
        store = registry.get_store(cluster.url("four"), options=quick)
        assert _acknowledged(store, _writes(b"a")) == [1] * 30
        for node in cluster.nodes:
            cluster.kill(node)
        with pytest.raises(exceptions.UndeterminedError):
            # It went out on connections that were still open.
            store.batch(_writes(b"b"))
        for _ in range(3):
            with pytest.raises(exceptions.StoreUnavailableError):
                store.batch(_writes(b"b"))
        for node in cluster.nodes:
            cluster.restart(node)
        cluster.wait_healthy()
        assert store.batch(_writes(b"b")) == [2] * 30


def test_threads_go_on_through_a_failover(cluster):
    store = registry.get_store(cluster.url("five"), options=PATIENT)
    _acknowledged(store, _writes(b"warm"))
    killed = threading.Event()
    done = []

    def work(number):
        for step in range(60):
            store.batch(_writes(b"%d-%d" % (number, step)),
                        replicas=1, replicas_timeout_ms=100)
            if step == 20:
                killed.wait(60)
        done.append(number)

    threads = [threading.Thread(target=work, args=(number,))
               for number in range(4)]
    for thread in threads:
        thread.start()
    cluster.kill(cluster.master_of(KEYS[0]))
    killed.set()
    for thread in threads:
        thread.join(120)
    assert sorted(done) == [0, 1, 2, 3]


def test_sentinel_promotes_a_replica():
    with fixtures.RedisSentinelFixture() as servers:
        store = registry.get_store(servers.url("six"), options=PATIENT)
        assert _acknowledged(store, _writes(b"a")) == [1] * 30
        servers.kill(servers.nodes[0])
        assert store.batch(_writes(b"b")) == [2] * 30
        assert store.check()["servers"][0]["address"] == (
            "%s:%d" % servers.nodes[1])


def test_a_commit_is_not_called_replicated_when_the_replica_is_gone():
    with fixtures.RedisServerFixture(replicas=1) as server:
        store = registry.get_store(server.url("seven"))
        assert store.batch(_writes(b"a"), replicas=1,
                           replicas_timeout_ms=10000)[-1] == 1
        server.pause(server.nodes[1])
        assert store.batch(_writes(b"b"), replicas=1,
                           replicas_timeout_ms=50)[-1] == 0
        server.resume(server.nodes[1])
        assert store.batch(_writes(b"c"), replicas=1,
                           replicas_timeout_ms=10000)[-1] == 1


def test_a_repeated_script_still_waits_for_the_replica():
    """A repeated script writes nothing: WAIT alone would prove nothing."""
    with fixtures.RedisServerFixture(replicas=1) as server:
        store = registry.get_store(server.url("eight"))
        server.pause(server.nodes[1])
        store.batch(_writes(b"a"))
        # The next batch finds its connection broken, and is repeated.
        server.client().execute_command("CLIENT", "KILL", "TYPE", "normal")
        assert store.batch(_writes(b"a"), replicas=1,
                           replicas_timeout_ms=50)[-1] == 0
        server.resume(server.nodes[1])
