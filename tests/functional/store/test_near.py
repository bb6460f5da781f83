# SPDX-License-Identifier: Apache-2.0
"""Reads near by on real replicas: late perhaps, never older than known."""

import contextlib
import threading

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store.redis import near as nearness
from nova_kvs.store import registry
from nova_kvs import txn
from tests import base
from tests import fixtures

KEYS = [b"kvs:{db:s:%d}" % number for number in range(30)]
OPTIONS = {"read_from": "nearest", "request_timeout": 30.0}


@pytest.fixture(scope="module", params=["cluster", "server", "sentinel"])
def servers(request):
    made = {
        "cluster": fixtures.RedisClusterFixture,
        "server": lambda: fixtures.RedisServerFixture(replicas=1),
        "sentinel": fixtures.RedisSentinelFixture,
    }[request.param]()
    with made as running:
        yield running


@pytest.fixture
def replicas_are_near(monkeypatch):
    """Have replicas of this host be nearer than their masters."""
    monkeypatch.setattr(
        nearness.Near, "_distance",
        lambda self, node: 1.0 if node.master is None else 0.1)


@pytest.fixture
def store(servers, replicas_are_near):
    made = registry.get_store(
        servers.url(base.database_name("near")), options=OPTIONS)
    # What other tests knew and avoided does not count.
    made._near.__init__()
    return made


def _set(key, value):
    return base.command(b"SET", key, b"%d" % value)


def _get(key):
    return base.command(b"GET", key)


@contextlib.contextmanager
def _alone(servers):
    """Keep the replicas from their masters."""
    clients = [servers.client(node) for node in servers.nodes]
    masters = [client for client in clients
               if fixtures._info(client)["role"] == "master"]
    for client in masters:
        client.config_set("requirepass", "none")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")
    try:
        for client in clients:
            if client not in masters:
                fixtures.wait_for(
                    lambda: fixtures._info(client)[
                        "master_link_status"] == "down", "the link is down")
        yield
    finally:
        for client in masters:
            client.config_set("requirepass", "")
        for client in clients:
            if client not in masters:
                fixtures.wait_for(
                    lambda: fixtures._info(client)[
                        "master_link_status"] == "up", "the link is up")
            client.close()


def test_replicas_answer(store):
    store.batch([_set(key, 7) for key in KEYS], 1, 5000)
    gone = store.stats.behind
    near = store.stats.near
    for _ in range(20):
        assert store.batch([_get(key) for key in KEYS], may_lag=True) == (
            [b"7"] * len(KEYS))
    assert store.stats.near == near + 20
    # The offset that was told with the writes was replicated with them.
    assert store.stats.behind - gone < 20


def test_a_process_sees_its_own_writes(store):
    near = store.stats.near
    for number in range(1000):
        key = KEYS[number % len(KEYS)]
        store.batch([_set(key, number)])
        assert store.batch([_get(key)], may_lag=True) == [b"%d" % number]
    assert store.stats.near == near + 1000


def test_all_threads_see_what_one_has_seen(store):
    """Nobody reads an older value after a newer one."""
    key = KEYS[0]
    store.batch([_set(key, 0)])
    seen = [0]
    wrong = []
    done = threading.Event()

    def read():
        while not done.is_set():
            least = seen[0]
            value = int(store.batch([_get(key)], may_lag=True)[0])
            if value < least:
                wrong.append((value, least))

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(1, 1000):
        store.batch([_set(key, number)])
        seen[0] = number
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_replica_that_lost_its_master_is_not_used(servers, store):
    store.batch([_set(key, 1) for key in KEYS], 1, 5000)
    store.batch([_get(key) for key in KEYS], may_lag=True)
    with _alone(servers):
        # Another process writes: this one knows nothing of it.
        other = registry.get_store(
            servers.url("x"), options={"password": "none"})
        other.batch([_set(key, 2) for key in KEYS])
        assert store.batch([_get(key) for key in KEYS], may_lag=True) == (
            [b"2"] * len(KEYS))
        near = store.stats.near
        store.batch([_get(key) for key in KEYS], may_lag=True)
        assert store.stats.near == near


def test_another_process_may_be_behind_but_finds_what_is_new(
        servers, store, monkeypatch):
    database = base.database_name("near")
    writer = txn.Coordinator(registry.get_store(servers.url("x")), database)
    reader = txn.Coordinator(store, database)
    store.batch([_get(KEYS[0])], may_lag=True)
    field = keyspace.record_field("t", (1,))
    for number in range(200):
        partition = keyspace.partition(database, "s", str(number))
        writer.commit([txn.Mutation(partition, field, 0, b"x")])
        snapshot, = reader.read(
            [txn.FieldsRead(partition, (field,))], may_lag=True)
        assert snapshot.cell(field).payload == b"x"


def test_without_the_option_nobody_is_near(servers, replicas_are_near):
    store = registry.get_store(servers.url("x"))
    store.batch([_set(KEYS[0], 1)])
    assert store.batch([_get(KEYS[0])], may_lag=True) == [b"1"]
    assert store.stats.near == 0


def test_the_user_needs_role(servers, replicas_are_near):
    with contextlib.ExitStack() as stack:
        for node in servers.nodes:
            client = stack.enter_context(
                contextlib.closing(servers.client(node)))
            client.execute_command(
                "ACL", "SETUSER", "norole", "on", ">x", "~*", "+@all",
                "-@dangerous", "+info")
        store = registry.get_store(
            servers.url("x"), options={**OPTIONS, "username": "norole",
                                       "password": "x"})
        store._near._listed = _Listed(servers)
        with pytest.raises(exceptions.ConfigurationError, match="role"):
            store.batch([_get(KEYS[0])], may_lag=True)


class _Listed(dict):
    """What a master would list, whom the user cannot ask."""

    def __init__(self, servers):
        self._servers = servers

    def get(self, master, default=None):
        return [(host.encode(), b"%d" % port, b"0")
                for host, port in self._servers.nodes[1:]]


def test_distances_are_measured(servers):
    near = nearness.Near()
    near._distances = {}
    nodes = [nearness.wire.Node(
        node, registry.get_store(servers.url("x")).settings,
        registry.get_store(servers.url("x"))._options)
        for node in servers.nodes]
    nearness._measure_at.clear()
    near.measure(nodes)
    assert list(near._distances) == ["127.0.0.1"]
    assert 0 < near._distances["127.0.0.1"] < nearness.LIMIT_S
    # All stores of a process share that.
    near._distances.clear()
    near.measure(nodes)
    assert near._distances == {}


def test_a_host_that_is_not_there_is_not_waited_for_again():
    near = nearness.Near()
    near._distances = {"127.0.0.1": 0.1}
    port, = fixtures.free_ports(1)
    settings = registry.parse_url("kvs+redis://h/x").settings()
    node = nearness.wire.Node(
        ("127.0.0.1", port), settings,
        nearness.wire.options(settings, None, None))
    nearness._measure_at.clear()
    near.measure([node])
    assert near._distances == {}
    assert nearness._measure_at["127.0.0.1"] > (
        nearness.time.monotonic() + nearness.MEASURE_S)
    nearness._measure_at.clear()


def test_opening_a_connection_makes_no_host_far(servers, monkeypatch):
    near = nearness.Near()
    near._distances = {}
    acquire = nearness.wire.Node.acquire
    now_s = [nearness.time.monotonic()]

    def acquire_slowly(node, deadline):
        now_s[0] += nearness.LIMIT_S / 5
        return acquire(node, deadline)

    monkeypatch.setattr(nearness.wire.Node, "acquire", acquire_slowly)
    settings = registry.parse_url("kvs+redis://h/x").settings()
    nodes = [nearness.wire.Node(
        (host, servers.nodes[0][1]), settings,
        nearness.wire.options(settings, None, None))
        for host in ("127.0.0.1", "localhost")]
    nearness._measure_at.clear()
    # Only connections take time by this clock.
    monkeypatch.setattr(nearness.time, "monotonic", lambda: now_s[0])
    near.measure(nodes)
    assert near._distances == {"127.0.0.1": 0, "localhost": 0}
    nearness._measure_at.clear()
