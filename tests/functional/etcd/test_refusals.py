# SPDX-License-Identifier: Apache-2.0
"""Errors that an operator sees when etcd does not do what is asked."""

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store import registry
from tests import etcd_servers
from tests import fixtures
from tests.functional.store import certificates

KEY = keyspace.partition("cell", "s", "one").key
WRITE = operations.PutField(KEY, b"f", b"v")


@pytest.fixture(scope="module")
def secured():
    with etcd_servers.EtcdFixture(
            user="nova", password="right", database="cell") as servers:
        yield servers


def refused(url, write=WRITE, error=exceptions.ConfigurationError):
    """Return the text of the error that a write raises."""
    with pytest.raises(error) as caught:
        registry.get_store(url).batch([write])
    assert "right" not in str(caught.value)
    return str(caught.value)


def test_users(secured):
    url = secured.url("cell")
    store = registry.get_store(url)
    assert store.batch([WRITE, operations.GetField(KEY, b"f")])[1] == b"v"
    store.rehearse(keyspace.partition("cell", "probe", "0").key)
    assert "refused the user or password" in refused(
        url.replace("right", "wrong"))
    assert "wants a user and password" in refused(
        url.replace("nova:right@", ""))
    other = keyspace.partition("other", "s", "one").key
    assert "lacks a permission" in refused(
        secured.url("other"), WRITE._replace(key=other))
    # A member that starts again does not know the tokens that it gave out.
    node, = secured.nodes
    secured.kill(node)
    secured.restart(node)
    assert store.batch([operations.GetField(KEY, b"f")]) == [b"v"]


def test_tls(tmp_path):
    files = certificates.make(str(tmp_path))
    with etcd_servers.EtcdFixture(tls=files) as servers:
        url = servers.url("cell")
        assert registry.get_store(url).batch(
            [WRITE, operations.GetField(KEY, b"f")])[1] == b"v"
        plain = url.partition("?")[0]
        assert "not etcd, or wants TLS" in refused(plain)
        assert "no TLS with the store" in refused(
            plain + "?tls=true&request_timeout=2")


def test_another_server_than_etcd():
    with fixtures.RedisServerFixture() as server:
        host, port = server.nodes[0]
        assert "not etcd" in refused("kvs+etcd://%s:%d/cell" % (host, port))


def test_options_of_redis_are_refused():
    with pytest.raises(exceptions.ConfigurationError) as caught:
        registry.get_store("kvs+etcd://h/cell?read_from=replica")
    assert "read_from is one of" in str(caught.value)


def test_commits_that_are_too_large_are_not_applied():
    with etcd_servers.EtcdFixture() as servers:
        store = registry.get_store(servers.url("cell"))

        def commit(parts, value):
            return operations.Commit(
                KEY + b"t" + b"0" * 32, tuple(operations.Part(
                    KEY + b"%d" % number, KEY + b"%dx" % number,
                    (operations.Change(
                        operations.PUT, b"ra", 0, bytes(7) + b"\1" + value),))
                    for number in range(parts)), (), 60000, 60000)

        refusal = exceptions.StoreReplyError
        assert "--max-request-bytes" in refused(
            servers.url("cell"), commit(2, bytes(1 << 20)), refusal)
        assert "--max-txn-ops" in refused(
            servers.url("cell"), commit(300, b""), refusal)
        assert list(store.scan(b"kvs:*")) == []
        # Whoever sent it need not ask what has come of it.
        for more, is_certain in (
                ([], True), ([operations.Get(KEY)], True), ([WRITE], False)):
            with pytest.raises(exceptions.TooLargeError) as caught:
                store.batch([commit(300, b""), *more])
            assert caught.value.nothing_applied is is_certain
        store.batch([operations.Delete(KEY)])
        # So much is no trouble.
        part = operations.Part(KEY, KEY + b"x", tuple(
            operations.Change(
                operations.PUT, b"r%d" % number, 0, bytes(7) + b"\1")
            for number in range(2000)))
        answer, = store.batch([commit(0, b"")._replace(parts=(part,))])
        assert answer.verdict is operations.Verdict.COMMITTED
        assert store.batch([operations.CountFields(KEY)]) == [2000]
        removal = operations.Commit(
            KEY + b"t" + b"1" * 32, (part._replace(changes=tuple(
                operations.Change(operations.REMOVE, change.field, 1, b"")
                for change in part.changes)),), (), 60000, 60000)
        answer, = store.batch([removal])
        assert answer.verdict is operations.Verdict.COMMITTED
        assert store.batch([operations.Exists(KEY)]) == [False]
        # Its head and the outcomes have leases: nothing is left for ever.
        left = servers.control(
            "get", "kvs:", "--prefix", "-w", "json").stdout
        assert left.count('"lease"') == left.count('"key"') == 3


def test_the_space_is_used_up():
    with etcd_servers.EtcdFixture(options=[
            "--quota-backend-bytes", str(16 << 20)]) as servers:
        store = registry.get_store(servers.url("cell"))
        with pytest.raises(exceptions.StoreReplyError) as caught:
            for number in range(100):
                store.batch([WRITE._replace(value=bytes(1 << 20))])
        assert "space quota of etcd is used up" in str(caught.value)
        assert store.check()["alarms"] == [("m0", "NOSPACE")]
        # What is there can be read.
        assert store.batch([operations.HasField(KEY, b"f")]) == [True]
        commit = operations.Commit(
            KEY + b"t" + b"0" * 32, (operations.Part(KEY, KEY + b"x", (
                operations.Change(
                    operations.PUT, b"ra", 0, bytes(7) + b"\1"),)),),
            (), 60000, 60000)
        assert "space quota of etcd is used up" in refused(
            servers.url("cell"), commit, exceptions.StoreReplyError)
        # And what an administrator is told to do helps.
        revision, = store.batch([operations.ReadMoment(KEY)])
        servers.control("compaction", str(revision))
        servers.control("defrag")
        servers.control("alarm", "disarm")
        answer, = store.batch([commit])
        assert answer.verdict is operations.Verdict.COMMITTED


def test_no_majority():
    with etcd_servers.EtcdFixture(3) as servers:
        store = registry.get_store(servers.url("cell"))
        store.batch([WRITE])
        for node in servers.nodes[:2]:
            servers.kill(node)
        fixtures.wait_for(
            lambda: not any(server["has_leader"]
                            for server in store.check()["servers"]),
            "the last one knows")
        url = servers.url("cell", request_timeout=1)
        with pytest.raises(exceptions.StoreUnavailableError) as caught:
            registry.get_store(url).batch([operations.GetField(KEY, b"f")])
        assert "etcd has no leader" in str(caught.value)
        assert len(store.check()["unreachable"]) == 2
