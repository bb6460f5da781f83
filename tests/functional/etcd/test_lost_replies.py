# SPDX-License-Identifier: Apache-2.0
"""Commits whose answer was lost are sent again, and applied once."""

import os

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store.etcd import http2
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
    for line in servers.control("lease", "list").stdout.splitlines()[1:]:
        # One of another test may have run out since.
        servers.control("lease", "revoke", line.strip(), check=False)
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
