# SPDX-License-Identifier: Apache-2.0
"""Commits whose answer was lost are sent again, and applied once."""

import os

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store.etcd import client
from nova_kvs.store.etcd import http2
from nova_kvs.store.etcd import writes
from nova_kvs.store import operations
from nova_kvs.store import registry
from tests import base

COMMITTED = operations.Verdict.COMMITTED


@pytest.fixture
def store(servers):
    found = registry.get_store(servers.url(base.database_name()))
    found.batch([operations.Get(b"kvs:{warm}")])
    return found


@pytest.fixture
def lose(monkeypatch):
    """Return a function that loses the answers of the next exchanges."""
    exchange = http2.Connection.exchange

    def start(count):
        left = [count]

        def lossy(self, calls, replies, *args, **kwargs):
            exchange(self, calls, replies, *args, **kwargs)
            if left[0]:
                left[0] -= 1
                replies[:] = [None] * len(replies)
                raise http2.Lost("lost by the test")

        monkeypatch.setattr(http2.Connection, "exchange", lossy)
    return start


def put(partition, expected, value, outcome=None):
    """Return a Commit of one record."""
    return operations.Commit(
        outcome or partition.outcome_key(os.urandom(16)),
        (operations.Part(partition.key, partition.index_key, (
            operations.Change(
                operations.PUT, b"ra", expected,
                (expected + 1).to_bytes(8, "big") + value),)),),
        (operations.Add(partition.key + b"q", value, 0),), 60000, 60000)


def test_a_commit_is_applied_once(store, lose):
    partition = keyspace.partition("lost", "s", "one")
    for number in range(3):
        lose(number)
        answer, = store.batch([put(partition, number, b"v%d" % number)])
        assert answer.verdict is COMMITTED
    assert store.batch([operations.GetField(partition.key, b"ra")]) == [
        bytes(7) + b"\3v2"]


def test_a_refusal_holds_for_copies(store, lose):
    partition = keyspace.partition("lost", "s", "two")
    refused = put(partition, 1, b"late")
    lose(1)
    assert store.batch([refused])[0].verdict is operations.Verdict.DIFFERS
    answer, = store.batch([put(partition, 0, b"first")])
    assert answer.verdict is COMMITTED
    # What it expects is so now, but the caller was told otherwise.
    assert store.batch([refused])[0].verdict is operations.Verdict.DIFFERS


def test_what_no_member_tells_is_undetermined(servers, store, lose):
    url = servers.url(base.database_name(), request_timeout=0.2)
    impatient = registry.get_store(url)
    # So that it has a lease.
    impatient.batch([put(keyspace.partition("lost", "s", "0"), 0, b"v")])
    partition = keyspace.partition("lost", "s", "three")
    commit = put(partition, 0, b"v")
    lose(1000)
    with pytest.raises(exceptions.UndeterminedError):
        impatient.batch([commit])
    with pytest.raises(exceptions.StoreUnavailableError):
        impatient.batch([operations.ReadAll(partition.key)])
    lose(0)
    answer, = store.batch([operations.AbortIfUndecided(
        commit.outcome_key, 60000)])
    assert answer.verdict is COMMITTED


def test_what_was_not_sent_is_aborted(store):
    partition = keyspace.partition("lost", "s", "four")
    commit = put(partition, 0, b"v")
    answer, = store.batch([operations.AbortIfUndecided(
        commit.outcome_key, 60000)])
    assert answer.verdict is operations.Verdict.ABORTED
    assert store.batch([commit])[0].verdict is operations.Verdict.ABORTED
    assert store.batch([operations.Exists(partition.key)]) == [False]


def test_a_copy_that_comes_after_its_outcome_is_not_applied(
        servers, store):
    """The lease of the outcome is over by then."""
    partition = keyspace.partition("lost", "s", "five")
    sent = []
    call = store._client.call
    store._client.call = lambda calls, *args: (
        sent.append(calls), call(calls, *args))[1]
    try:
        assert store.batch([put(partition, 0, b"v")])[0].verdict is COMMITTED
    finally:
        del store._client.call
    store.batch([operations.Delete(partition.key)])
    end_leases(servers)
    answer, = call(sent[-1], True)
    assert answer.is_lease_missing
    assert store.batch([operations.Exists(partition.key)]) == [False]
    # The process gets another lease.
    assert store.batch([put(partition, 0, b"v")])[0].verdict is COMMITTED


def test_members_that_end_in_the_middle_of_an_exchange(servers, store):
    key = b"kvs:{lost:c:n}"
    for number in range(1, 4):
        assert store.batch([operations.Increment(key, 1)]) == [number]
        node, = servers.nodes
        servers.kill(node)
        servers.restart(node, waits=False)
    servers.wait_healthy()
    assert store.batch([operations.Get(key)]) == [b"3"]


class StandsStill:
    """A client's way to etcd that stands still once, until leases are over.

    :param arrives: whether what it was about to send is done before, without
        an answer.
    """

    def __init__(self, servers, monkeypatch, arrives=False):
        self._servers = servers
        self._arrives = arrives
        self._exchange = http2.Connection.exchange
        self._left = 1
        self._clock = monkeypatch
        self.then = lambda: None
        monkeypatch.setattr(
            http2.Connection, "exchange",
            lambda *args, **kwargs: self._pass_on(*args, **kwargs))

    def _pass_on(self, connection, calls, replies, *args, **kwargs):
        if self._left and calls[0][0] == client.TXN:
            self._left = 0
            if self._arrives:
                self._exchange(connection, calls, replies, *args, **kwargs)
                replies[:] = [None] * len(replies)
            self.then()
            end_leases(self._servers)
            late_ms = writes.now_ms() + 100000
            self._clock.setattr(writes, "now_ms", lambda: late_ms)
            if self._arrives:
                raise http2.Lost("lost by the test")
        return self._exchange(connection, calls, replies, *args, **kwargs)


def end_leases(servers):
    for line in servers.control("lease", "list").stdout.splitlines()[1:]:
        # One of another test may have run out since.
        servers.control("lease", "revoke", line.strip(), check=False)


def test_who_stands_still_when_it_has_looked_at_the_time_commits_nothing(
        servers, store, monkeypatch):
    """With its lease it learns that the time is over."""
    partition = keyspace.partition("lost", "s", "six")
    commit = put(partition, 0, b"v")._replace(
        valid_until_ms=writes.now_ms() + 10000)
    StandsStill(servers, monkeypatch)
    answer, = store.batch([commit])
    assert answer.verdict is operations.Verdict.TOO_LATE
    assert store.batch([operations.Exists(partition.key)]) == [False]


def test_a_copy_of_what_was_done_and_deleted_is_not_done_again(
        servers, store, monkeypatch):
    """Its outcome has gone: with another lease nothing would forbid it."""
    partition = keyspace.partition("lost", "s", "seven")
    stands = StandsStill(servers, monkeypatch, arrives=True)
    other = registry.get_store(servers.url(base.database_name()))
    stands.then = lambda: other.batch([operations.Delete(partition.key)])
    with pytest.raises(exceptions.UndeterminedError) as caught:
        store.batch([put(partition, 0, b"v")])
    assert caught.value.is_forgotten
    assert store.batch([operations.Exists(partition.key)]) == [False]
