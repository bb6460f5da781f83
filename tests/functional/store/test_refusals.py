# SPDX-License-Identifier: Apache-2.0
"""Wrong passwords, wrong servers, no servers: one clear error, in time."""

import logging
import pathlib
import resource
import socket
import threading
import traceback

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import database as record_database
from nova_kvs.store import registry
from nova_kvs import txn
from tests import base
from tests import fixtures

PASSWORD = "s3cr/t:@%"
KEY = b"kvs:{db:s:1}"
GET = base.command(b"GET", KEY)
SET = base.command(b"SET", KEY, b"v")
QUICK = {"connect_timeout": 0.3, "socket_timeout": 0.3,
         "request_timeout": 1.0}


def in_time(function, *args):
    """Call a function that must come back at all.

    :returns: what it returned or raised.
    """
    result = []

    def work():
        try:
            result.append(function(*args))
        except exceptions.KVSError as exc:
            result.append(exc)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(30)
    assert result, "it hangs"
    return result[0]


@pytest.fixture(scope="module")
def server():
    with fixtures.RedisServerFixture(
            user="nova", password=PASSWORD) as server:
        yield server


def test_an_acl_user_and_password(server):
    store = registry.get_store(server.url("db"))
    assert store.batch([SET, GET]) == [b"OK", b"v"]


def test_user_and_password_from_the_configuration_file(server):
    host, port = server.nodes[0]
    store = registry.get_store(
        "kvs+redis://%s:%d/db" % (host, port),
        options={"username": "nova", "password": PASSWORD})
    assert store.batch([GET, SET])[1] == b"OK"


@pytest.mark.parametrize("login", [
    "nova:wr0ng-s3cret@", "nobody:wr0ng-s3cret@", ":wr0ng-s3cret@"])
@pytest.mark.parametrize("driver", ["redis", "cluster"])
def test_a_wrong_password(server, login, driver, caplog):
    caplog.set_level(logging.DEBUG)
    store = registry.get_store("kvs+%s://%s%s:%d/db" % (
        driver, login, *server.nodes[0]))
    with pytest.raises(exceptions.ConfigurationError) as caught:
        store.batch([SET])
    assert "user or password" in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value))
    for text in (shown, caplog.text, repr(store.__dict__), repr(caught)):
        assert "s3cret" not in text


def test_a_server_that_wants_a_password_gets_none():
    with fixtures.RedisServerFixture(password=PASSWORD) as server:
        store = registry.get_store("kvs+redis://%s:%d/db" % server.nodes[0])
        for _ in range(2):
            with pytest.raises(exceptions.ConfigurationError,
                               match="password"):
                store.batch([SET])
        assert registry.get_store(server.url("db")).batch([SET]) == [b"OK"]


def test_keys_outside_the_users_permissions(server):
    store = registry.get_store(server.url("db"))
    with pytest.raises(exceptions.ConfigurationError, match="permission"):
        store.batch([base.command(b"GET", b"elsewhere")])


def test_a_server_that_is_no_cluster():
    with fixtures.RedisServerFixture() as server:
        host, port = server.nodes[0]
        store = registry.get_store("kvs+cluster://%s:%d/db" % (host, port))
        with pytest.raises(exceptions.ConfigurationError) as caught:
            store.batch([SET])
        assert "not a node of a Redis Cluster" in str(caught.value)
        assert "%s:%d" % (host, port) in str(caught.value)


def test_a_server_without_a_command():
    with fixtures.RedisServerFixture(options={
            "rename-command": 'SET ""'}) as server:
        store = registry.get_store(server.url("db"))
        with pytest.raises(exceptions.ConfigurationError) as caught:
            store.batch([base.command(b"SET", KEY, b"s3cret")])
        assert "Redis 7.0" in str(caught.value)
        assert "command=SET" in str(caught.value)
        assert "s3cret" not in str(caught.value)


def test_a_server_that_is_no_sentinel():
    with fixtures.RedisServerFixture() as server:
        store = registry.get_store(
            "kvs+sentinel://%s:%d/db?service=m" % server.nodes[0])
        with pytest.raises(exceptions.ConfigurationError) as caught:
            store.batch([SET])
        assert "not a sentinel" in str(caught.value)
        assert "%s:%d" % server.nodes[0] in str(caught.value)


def test_a_cluster_under_the_url_of_one_server():
    with fixtures.RedisClusterFixture(replicas=0) as cluster:
        store = registry.get_store(
            "kvs+redis://%s:%d/db" % cluster.nodes[0])
        with pytest.raises(exceptions.ConfigurationError) as caught:
            store.batch([base.command(b"SET", b"kvs:{%d}" % number, b"")
                         for number in range(20)])
        assert "kvs+cluster" in str(caught.value)


@pytest.mark.parametrize("driver", ["redis", "cluster", "sentinel"])
def test_nobody_listens(driver):
    port, = fixtures.free_ports(1)
    store = registry.get_store("kvs+%s://127.0.0.1:%d/db%s" % (
        driver, port, "?service=m" if driver == "sentinel" else ""))
    error = in_time(store.batch, [SET])
    assert isinstance(error, exceptions.StoreUnavailableError)
    assert "127.0.0.1:%d" % port in str(error)


@pytest.mark.parametrize("driver", ["redis", "cluster", "sentinel"])
def test_nobody_accepts(driver):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for sock in waiting:
            # These fill the queue; the next one gets no answer at all.
            sock.setblocking(False)
            sock.connect_ex(address)
        store = registry.get_store("kvs+%s://127.0.0.1:%d/db%s" % (
            driver, address[1],
            "?service=m" if driver == "sentinel" else ""), options=QUICK)
        error = in_time(store.batch, [SET])
        for sock in waiting:
            sock.close()
    assert isinstance(error, exceptions.StoreUnavailableError)


def test_nobody_answers():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        store = registry.get_store("kvs+redis://127.0.0.1:%d/db" % (
            listener.getsockname()[1]), options=QUICK)
        error = in_time(store.batch, [SET])
    assert isinstance(error, exceptions.StoreUnavailableError)


def test_a_host_without_an_address():
    store = registry.get_store("kvs+redis://nowhere.invalid/db")
    error = in_time(store.batch, [SET])
    assert isinstance(error, exceptions.StoreUnavailableError)
    assert "nowhere.invalid" in str(error)


def test_a_server_that_hangs_and_comes_back():
    with fixtures.RedisServerFixture() as server:
        store = registry.get_store(server.url("db"), options=QUICK)
        assert store.batch([SET]) == [b"OK"]
        server.pause(server.nodes[0])
        assert isinstance(in_time(store.batch, [
            base.command(b"SET", KEY, b"late")]),
            exceptions.UndeterminedError)
        assert isinstance(in_time(store.batch, [GET]),
                          exceptions.StoreUnavailableError)
        server.resume(server.nodes[0])
        fixtures.wait_for(
            lambda: store.batch([GET]) == [b"late"], "the write arrives")


def test_a_server_that_dies_and_comes_back():
    with fixtures.RedisServerFixture(options={
            "appendonly": "yes", "appendfsync": "always"}) as server:
        node = server.nodes[0]
        store = registry.get_store(server.url("db"), options=QUICK)
        assert store.batch([SET]) == [b"OK"]
        server.kill(node)
        assert isinstance(in_time(store.batch, [GET]),
                          exceptions.StoreUnavailableError)
        server.restart(node)
        assert store.batch([GET]) == [b"v"]


def test_idle_connections_that_the_server_closed_are_replaced():
    with fixtures.RedisServerFixture() as server:
        store = registry.get_store(server.url("db"))
        assert store.batch([SET]) == [b"OK"]
        server.client().execute_command("CLIENT", "KILL", "TYPE", "normal")
        assert store.batch([SET, GET]) == [b"OK", b"v"]


def test_a_commit_over_slots_that_a_full_disk_refuses():
    """It is told as what it is, and nothing of it is there."""
    with fixtures.RedisClusterFixture(
            masters=3, replicas=0, options={"appendonly": "yes"}) as cluster:
        coordinator = record_database.open_database(
            cluster.url("db", request_timeout=5)).coordinator
        first, other = [keyspace.partition("db", "t", str(number))
                        for number in range(2)]
        node = cluster.master_of(first.key)
        assert cluster.master_of(other.key) != node
        files = pathlib.Path(cluster.client(node).execute_command(
            "CONFIG", "GET", "dir")[1].decode()).rglob("*")
        pid = cluster.processes[node].pid
        hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (
            max(path.stat().st_size for path in files), hard))
        refused = None
        for number in range(1000):
            # The one with two fields is the primary: it is refused last.
            fields = {first: b"xy", other: b"x"}
            try:
                coordinator.commit([
                    txn.Mutation(partition, b"rt\0%d%c" % (number, letter),
                                 0, b"v")
                    for partition, letters in fields.items()
                    for letter in letters])
            except exceptions.StoreReplyError as error:
                refused = error
                break
        assert "MISCONF" in str(refused)
        snapshots = coordinator.read([
            txn.FieldsRead(partition, (b"rt\0%dx" % number,))
            for partition in fields])
        assert [snapshot.cell(b"rt\0%dx" % number)
                for snapshot in snapshots] == [None, None]
