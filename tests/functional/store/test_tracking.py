# SPDX-License-Identifier: Apache-2.0
"""Replies that are remembered while real servers tell of no change."""

import contextlib
import os
import threading
import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store.redis import commands
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import raw
from nova_kvs.store.redis import tracking
from nova_kvs.store import registry
from nova_kvs.store import replies
from nova_kvs import txn
from nova_kvs.txn import reading
from tests import base
from tests import fixtures

KEYS = [b"kvs:{db:s:%d}" % number for number in range(30)]
OPTIONS = {"read_from": "memory", "request_timeout": 30.0}


@pytest.fixture(scope="module", params=["cluster", "server", "sentinel"])
def servers(request):
    made = {
        "cluster": lambda: fixtures.RedisClusterFixture(3, 0),
        "server": fixtures.RedisServerFixture,
        "sentinel": fixtures.RedisSentinelFixture,
    }[request.param]()
    with made as running:
        yield running


@pytest.fixture
def store(servers):
    made = registry.get_store(
        servers.url(base.database_name("tracking")), options=OPTIONS)
    yield made
    # What other tests remembered does not count.
    made.close()


@pytest.fixture
def other(servers):
    """The store as another process has it."""
    return registry.get_store(
        servers.url(base.database_name("tracking")), options={})


def _set(key, value):
    return base.command(b"SET", key, b"%d" % value)


def _get(key):
    return base.command(b"GET", key)


def _read(store, *items):
    """Return what is read near, and how many round trips that took."""
    before = store.stats.round_trips
    replies = store.batch(items or [_get(key) for key in KEYS], may_lag=True)
    return replies, store.stats.round_trips - before


def test_what_did_not_change_is_not_asked_for(store, other):
    other.batch([_set(key, 1) for key in KEYS])
    assert _read(store) == ([b"1"] * len(KEYS), 1)
    remembered = store.stats.remembered
    assert _read(store) == ([b"1"] * len(KEYS), 0)
    assert store.stats.remembered == remembered + 1


def test_what_others_write_is_seen_when_redis_tells(store, other):
    other.batch([_set(key, 1) for key in KEYS])
    _read(store)
    other.batch([_set(KEYS[3], 2)])
    fixtures.wait_for(
        lambda: _read(store, _get(KEYS[3]))[0] == [b"2"], "the news")
    replies, trips = _read(store)
    assert (replies.count(b"1"), trips) == (len(KEYS) - 1, 0)


def test_replies_are_those_of_protocol_2(store, other):
    key = KEYS[0] + b"replies"
    values = [b"f1", b"v1", b"f2", b"v2"]
    other.batch([base.command(b"HSET", key, *values),
                 base.command(b"ZADD", key + b"x", 5, b"m\0\2f1\0\2"),
                 base.command(b"ZADD", key + b"v", 1.5, b"a", 2, b"b")])
    items = [
        base.command(b"HGETALL", key),
        base.command(b"HMGET", key, b"f1", b"none", b"f2"),
        base.command(b"HGETALL", key + b"none"),
        base.command(b"ZRANGEBYLEX", key + b"x", b"-", b"+"),
        base.command(b"GET", key + b"none"),
        raw.ScriptCall(commands.READ_INDEX, (key, key + b"x"), (
            -1, b"ZRANGEBYLEX", b"-", b"+")),
    ]
    expected = other.batch(items)
    assert expected[0] and expected[5][0]
    for trips in 1, 0:
        assert _read(store, *items) == (expected, trips)
    minimums = reading.MinimumsRead(key + b"v")
    assert minimums.result(_read(store, minimums.item())[0][0], []) == (
        minimums.result(other.batch([minimums.item()])[0], [])) == (
            {b"a": 1.5, b"b": 2.0})


def test_a_process_sees_its_own_writes(store):
    for number in range(500):
        key = KEYS[number % len(KEYS)]
        store.batch([_set(key, number)])
        assert _read(store, _get(key))[0] == [b"%d" % number]


@pytest.mark.parametrize("is_own", [True, False])
def test_what_the_process_knows_does_not_wait_for_the_news(
        store, other, monkeypatch, is_own):
    monkeypatch.setattr(tracking.Link, "_hear", lambda self, push: None)
    other.batch([_set(KEYS[0], 1)])
    for trips in 1, 0:
        assert _read(store, _get(KEYS[0])) == ([b"1"], trips)
    if is_own:
        store.batch([_set(KEYS[0], 2)])
    else:
        other.batch([_set(KEYS[0], 2)])
        # Nobody has told it, until it asks in the usual way.
        assert _read(store, _get(KEYS[0])) == ([b"1"], 0)
        assert store.batch([_get(KEYS[0])]) == [b"2"]
    assert _read(store, _get(KEYS[0])) == ([b"2"], 1)


def test_nothing_is_older_than_what_was_read_of_the_master(store, other):
    for number in range(500):
        key = KEYS[number % 3]
        _read(store, _get(key))
        other.batch([_set(key, number)])
        assert store.batch([_get(key)]) == [b"%d" % number]
        assert _read(store, _get(key))[0] == [b"%d" % number]


def test_no_thread_reads_an_older_value_after_a_newer_one(store, other):
    key = KEYS[0]
    other.batch([_set(key, 0)])
    wrong = []
    done = threading.Event()

    def read():
        least = 0
        while not done.is_set():
            value = int(_read(store, _get(key))[0][0])
            if value < least:
                wrong.append((value, least))
            least = value

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(1, 1500):
        other.batch([_set(key, number)])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    fixtures.wait_for(
        lambda: _read(store, _get(key))[0] == [b"1499"], "the last value")


def _kill_links(servers):
    """Close the links from the servers' side; return how many."""
    killed = 0
    for node in servers.nodes:
        client = servers.client(node)
        for line in client.execute_command(
                "CLIENT", "LIST").decode().splitlines():
            facts = dict(pair.split("=", 1) for pair in line.split())
            if "t" in facts["flags"]:
                client.execute_command("CLIENT", "KILL", "ID", facts["id"])
                killed += 1
        client.close()
    return killed


def test_nothing_is_remembered_of_a_link_that_was_lost(
        servers, store, other):
    other.batch([_set(key, 1) for key in KEYS])
    _read(store)
    assert _kill_links(servers)
    other.batch([_set(key, 2) for key in KEYS])
    assert _read(store)[0] == [b"2"] * len(KEYS)
    assert _read(store) == ([b"2"] * len(KEYS), 0)


@contextlib.contextmanager
def _silent(servers):
    """Let no server answer."""
    for node in servers.processes:
        servers.pause(node)
    try:
        yield
    finally:
        for node in servers.processes:
            servers.resume(node)


def _pass(monkeypatch, seconds):
    """Let time pass for this process."""
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + seconds)


def test_a_silent_server_is_believed_for_a_moment_only(
        servers, monkeypatch):
    monkeypatch.setattr(tracking, "CONFIRM_S", 1000)
    store = registry.get_store(servers.url("silent"), options={
        "read_from": "memory", "request_timeout": 1.0,
        "socket_timeout": 0.3})
    store.batch([_set(key, 1) for key in KEYS])
    _read(store)
    with _silent(servers):
        assert _read(store) == ([b"1"] * len(KEYS), 0)
        _pass(monkeypatch, 1000)
        with pytest.raises(exceptions.StoreUnavailableError):
            _read(store)
    store.close()


def test_a_silent_server_is_not_waited_for_beyond_the_request(
        servers, monkeypatch):
    monkeypatch.setattr(tracking, "CONFIRM_S", 0.0)
    store = registry.get_store(servers.url("silent"), options={
        "read_from": "memory", "request_timeout": 0.5,
        "socket_timeout": 20.0})
    _read(store)
    limits_s = []
    limit = tracking.Link.limit
    monkeypatch.setattr(tracking.Link, "limit", lambda link, timeout_s: (
        limits_s.append(timeout_s), limit(link, timeout_s)))
    with _silent(servers):
        with pytest.raises(exceptions.StoreUnavailableError):
            _read(store)
    store.close()
    assert limits_s and max(limits_s) <= 0.5


def test_nothing_found_is_remembered_for_a_while_only(store, monkeypatch):
    """Of a slot that moved the old server tells nothing."""
    empty = base.command(b"HGETALL", KEYS[0] + b"none")
    monkeypatch.setattr(tracking, "EMPTY_S", 1000)
    assert _read(store, empty) == ([[]], 1)
    assert _read(store, empty) == ([[]], 0)
    _pass(monkeypatch, 1000)
    assert _read(store, empty) == ([[]], 1)


def test_memory_is_bounded(store, monkeypatch):
    monkeypatch.setattr(replies, "MOST_BYTES", 20000)
    store.batch([base.command(b"SET", key, b"x" * 1000) for key in KEYS])
    for key in KEYS:
        _read(store, _get(key))
    known = store._tracking._known
    assert 5 < len(known._known) < 10
    assert known._size_bytes == sum(
        size for _, _, size in known._known.values()) <= 20000
    assert _read(store, _get(KEYS[-1]))[1] == 0
    assert _read(store, _get(KEYS[0]))[1] == 1


def test_what_was_not_found_takes_memory_too(store, monkeypatch):
    monkeypatch.setattr(replies, "MOST_BYTES", 10000)
    for key in KEYS:
        _read(store, _get(key + b"none"))
    assert 5 < len(store._tracking._known._known) < 10


def test_a_link_that_was_lost_keeps_no_buffer(servers, store):
    _read(store)
    links = list(store._tracking._links.values())
    assert _kill_links(servers)
    _read(store)
    assert store._tracking._known._known
    for link in links:
        assert link._buffer is None
        with pytest.raises(wire.LOST):
            link.read()
        assert not link.catch_up()


def test_the_number_of_keys_is_bounded(store, monkeypatch):
    monkeypatch.setattr(tracking, "MOST_KEYS", 5)
    for key in KEYS:
        assert _read(store, _get(key))[1] == 1
    assert _read(store, _get(KEYS[-1]))[1] == 0
    assert all(len(link.tokens) <= 6
               for link in store._tracking._links.values())


def test_a_flush_is_noticed(servers, store):
    store.batch([_set(key, 1) for key in KEYS])
    _read(store)
    for node in servers.nodes:
        client = servers.client(node)
        if fixtures._info(client)["role"] == "master":
            client.flushall()
        client.close()
    fixtures.wait_for(
        lambda: _read(store)[0] == [None] * len(KEYS), "the news")


def test_an_error_is_told_as_ever(store):
    store.batch([_set(KEYS[0], 1)])
    with pytest.raises(exceptions.StoreReplyError, match="WRONGTYPE"):
        _read(store, base.command(b"HGETALL", KEYS[0]))
    assert _read(store, _get(KEYS[0]))[0] == [b"1"]


def test_a_forked_process_has_links_of_its_own(store):
    store.batch([_set(key, 1) for key in KEYS])
    _read(store)
    pid = os.fork()
    if not pid:
        wrong = 1
        try:
            store.batch([_set(KEYS[0], 2)])
            wrong = int(_read(store, _get(KEYS[0]), _get(KEYS[1])) != (
                [b"2", b"1"], 1))
        finally:
            os._exit(wrong)
    assert os.waitpid(pid, 0)[1] == 0
    fixtures.wait_for(
        lambda: _read(store, _get(KEYS[0]))[0] == [b"2"], "the news")


def test_the_user_needs_client_tracking(servers):
    for node in servers.nodes:
        client = servers.client(node)
        client.execute_command(
            "ACL", "SETUSER", "deaf", "on", ">x", "~*", "+@all",
            "-client|tracking")
        client.close()
    store = registry.get_store(servers.url("x"), options={
        **OPTIONS, "username": "deaf", "password": "x"})
    with pytest.raises(exceptions.ConfigurationError, match="tracking"):
        _read(store)


def test_a_busy_link_is_not_waited_for(store):
    store.batch([_set(key, 1) for key in KEYS])
    _read(store)
    links = list(store._tracking._links.values())
    assert all(isinstance(link, wire.Connection) for link in links)
    links[-1].lock.acquire()
    try:
        assert _read(store) == ([b"1"] * len(KEYS), 1)
    finally:
        links[-1].lock.release()
    # The others have not been sent anything in vain.
    assert list(store._tracking._links.values()) == links
    assert _read(store)[0] == [b"1"] * len(KEYS)


def test_replicas_are_not_asked_for_what_is_remembered():
    with fixtures.RedisClusterFixture(1, 1) as cluster:
        store = registry.get_store(
            cluster.url("db", read_from_replicas="true"), options=OPTIONS)
        store.batch([_set(key, 1) for key in KEYS])
        assert _read(store) == ([b"1"] * len(KEYS), 1)
        assert _read(store) == ([b"1"] * len(KEYS), 0)
        store.close()


def test_transactions_read_what_is_committed(servers, store):
    """Intents and missing records are the masters' business."""
    database = base.database_name("tracking")
    writer = txn.Coordinator(registry.get_store(
        servers.url("x"), options={}), database)
    reader = txn.Coordinator(store, database)
    field = keyspace.record_field("t", (1,))
    partitions = [keyspace.partition(database, "s", str(number))
                  for number in range(2)]
    reads = [txn.PartitionRead(partition) for partition in partitions]
    versions = {}
    for number in range(200):
        versions = writer.commit([txn.Mutation(
            partition, field, versions.get((partition, field), 0),
            b"%d" % number) for partition in partitions])
        wanted = b"%d" % number

        def arrived():
            return all(
                snapshot.cell(field).payload == wanted
                for snapshot in reader.read(reads, may_lag=True))
        fixtures.wait_for(arrived, "what was committed")
    before = store.stats.round_trips
    fixtures.wait_for(
        lambda: arrived() and store.stats.round_trips > before and (
            reader.read(reads, may_lag=True)), "everything is settled")
