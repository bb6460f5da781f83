# SPDX-License-Identifier: Apache-2.0
"""Replicas of a master whose slot is moving have lost keys unknowingly."""

import pytest

from nova_kvs import keyspace
from nova_kvs.store.redis import near as nearness
from nova_kvs.store.redis import nothing
from nova_kvs.store import registry
from tests import base
from tests import fixtures


@pytest.fixture(scope="module")
def cluster():
    with fixtures.RedisClusterFixture(replicas=1) as cluster:
        yield cluster


@pytest.fixture
def moving(cluster):
    """Return a partition whose keys have left their slot's master."""
    partition = keyspace.partition("db", "s", base.database_name("moving"))
    store = registry.get_store(cluster.url("writer"))
    key, index = partition.key, partition.index_key
    slot = keyspace.slot(key)
    source = cluster.master_of(key)
    target = next(node for node in cluster.nodes
                  if node != source and cluster.client(
                      node).execute_command("ROLE")[0] == b"master")
    store.batch([base.command(b"HSET", key, b"f", b"1"),
                 base.command(b"ZADD", index, 0, b"m")], 1, 5000)
    cluster.move_slot(slot, source, target)
    while cluster.move_keys(slot, source, target):
        pass
    # Behind the removal on the connection of the master to its replica.
    client = cluster.client(source)
    client.publish("moved", b"")
    assert client.wait(1, 5000) == 1
    yield partition
    cluster.finish_move(slot, target)


@pytest.mark.parametrize("options", [
    {"read_from": "nearest"}, {"read_from_replicas": True}],
    ids=["nearest", "replicas"])
def test_what_has_moved_is_found(cluster, moving, monkeypatch, options):
    monkeypatch.setattr(
        nearness.Near, "_nearest",
        lambda self, master, replicas: replicas[0] if replicas else master)
    store = registry.get_store(
        cluster.url(base.database_name("reader")), options=options)
    key, index = moving.key, moving.index_key
    reads = [base.command(b"HGETALL", key),
             base.command(b"HMGET", key, b"f", b"g"),
             base.command(b"ZRANGEBYLEX", index, b"-", b"+")]
    for _ in range(2):
        assert store.batch(reads, may_lag=True) == [
            [b"f", b"1"], [b"1", None], [b"m"]]
    assert store.stats.behind == 2


def test_what_a_master_does_not_have_is_not_asked_for_again_at_once(
        cluster, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(nothing.time, "monotonic", lambda: now[0])
    store = registry.get_store(
        cluster.url(base.database_name("absent")),
        options={"read_from_replicas": True, "request_timeout": 1e6})
    key = keyspace.partition("db", "s", "absent").key
    asked = []
    for passed_s in (0, nothing.REMEMBERED_S, 0.1, 0):
        now[0] += passed_s
        assert store.batch([base.command(b"GET", key)], may_lag=True) == [None]
        asked.append(store.stats.behind)
    assert asked == [1, 1, 2, 2]


@pytest.mark.parametrize("reply, expected", [
    (None, True), ([], True), (0, True), ([None, None], True),
    ([[], []], True), ([[b"m"], []], True), (b"x", False), (b"", False),
    ([b"a", None], False), ([[b"m"], [b"f", b"v"]], False), (3, False)])
def test_what_says_nothing(reply, expected):
    assert nothing.says_nothing(reply) is expected
