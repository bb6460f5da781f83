# SPDX-License-Identifier: Apache-2.0
"""Slots move between masters while they are used."""

import threading

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store.redis import raw
from nova_kvs.store import registry
from tests import base
from tests import fixtures

INCREMENT = base.script("""
redis.call('SADD', KEYS[2], ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'count', 1)
""", name="increment")


@pytest.fixture(scope="module")
def cluster():
    with fixtures.RedisClusterFixture(replicas=0) as cluster:
        yield cluster


def _partition(cluster, name):
    """Return a partition with its slot, its node and another one."""
    partition = keyspace.partition("db", "s", name)
    source = cluster.master_of(partition.key)
    target = next(node for node in cluster.nodes if node != source)
    return partition, keyspace.slot(partition.key), source, target


def _move(cluster, slot, source, target):
    cluster.move_slot(slot, source, target)
    while cluster.move_keys(slot, source, target):
        pass
    cluster.finish_move(slot, target)


def test_a_moved_slot_is_found(cluster):
    store = registry.get_store(cluster.url("one"))
    partition, slot, source, target = _partition(cluster, "1")
    write = base.command(b"HINCRBY", partition.key, b"f", 1)
    assert store.batch([write]) == [1]
    _move(cluster, slot, source, target)
    assert store.batch([write, write]) == [2, 3]
    trips = store.stats.round_trips
    assert store.batch([write]) == [4]
    assert store.stats.round_trips == trips + 1
    _move(cluster, slot, target, source)
    assert store.batch([write]) == [5]


def test_a_moving_slot_is_asked_for(cluster):
    store = registry.get_store(cluster.url("two"))
    partition, slot, source, target = _partition(cluster, "2")
    partition2 = keyspace.partition("db", "s", "elsewhere")
    items = [base.command(b"HINCRBY", partition.key, b"f", 1),
             base.command(b"HGET", partition.key, b"f"),
             base.command(b"HINCRBY", partition2.key, b"f", 1)]
    assert store.batch(items)[:2] == [1, b"1"]
    cluster.move_slot(slot, source, target)
    assert store.batch(items)[:2] == [2, b"2"]  # still there
    cluster.move_keys(slot, source, target)
    assert store.batch(items)[:2] == [3, b"3"]  # asked for
    script = base.script("return redis.call('HGET', KEYS[1], 'f')",
                         writes=False)
    assert store.batch([raw.ScriptCall(
        script, (partition.key,), ())]) == [b"3"]
    cluster.finish_move(slot, target)
    assert store.batch(items) == [4, b"4", 4]


def test_a_script_whose_keys_are_apart_waits_for_the_move(cluster):
    """TRYAGAIN: some keys of the script have moved, others have not."""
    store = registry.get_store(cluster.url("three"))
    partition, slot, source, target = _partition(cluster, "3")
    call = raw.ScriptCall(
        INCREMENT, (partition.key, partition.index_key), (b"m",))
    assert store.batch([call]) == [1]
    cluster.move_slot(slot, source, target)
    assert cluster.move_keys(slot, source, target, count=1) == 1
    finish = threading.Timer(0.3, lambda: (
        cluster.move_keys(slot, source, target),
        cluster.finish_move(slot, target)))
    finish.start()
    assert store.batch([call]) == [2]
    finish.join()


def test_a_script_whose_keys_stay_apart_gives_up(cluster):
    store = registry.get_store(
        cluster.url("four"), options={"request_timeout": 0.3})
    partition, slot, source, target = _partition(cluster, "4")
    call = raw.ScriptCall(
        INCREMENT, (partition.key, partition.index_key), (b"m",))
    assert store.batch([call]) == [1]
    cluster.move_slot(slot, source, target)
    cluster.move_keys(slot, source, target, count=1)
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch([call])
    cluster.move_keys(slot, source, target)
    cluster.finish_move(slot, target)
    assert store.batch([call]) == [2]


def test_nothing_is_lost_or_doubled_while_slots_move(cluster):
    store = registry.get_store(cluster.url("five"))
    partition, slot, source, target = _partition(cluster, "5")
    stop = threading.Event()
    counts = [0, 0]

    def work(number):
        call = raw.ScriptCall(INCREMENT, (
            partition.key, partition.index_key), (b"m",))
        while not stop.is_set():
            store.batch([call])
            counts[number] += 1

    threads = [threading.Thread(target=work, args=(number,))
               for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        _move(cluster, slot, source, target)
        source, target = target, source
    stop.set()
    for thread in threads:
        thread.join()
    assert store.batch([base.command(b"HGET", partition.key, b"count")]) == [
        b"%d" % sum(counts)]
    assert all(counts)
