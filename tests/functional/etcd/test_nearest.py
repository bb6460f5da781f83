# SPDX-License-Identifier: Apache-2.0
"""Reads of what a member knows, and reads while history is compacted."""

import os

import pytest

from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store import registry
from tests import base
from tests import etcd_servers

KEY = b"kvs:{near:c:h}"
WRITE = operations.PutField(KEY, b"f", b"1")
READ = operations.GetField(KEY, b"f")


@pytest.fixture(scope="module")
def servers():
    with etcd_servers.EtcdFixture(3) as running:
        yield running


def test_a_member_that_knows_less_than_the_process_is_not_believed(servers):
    store = registry.get_store(servers.url("near", read_from="nearest"))
    store.batch([WRITE])
    assert store.batch([READ], may_lag=True) == [b"1"]
    assert (store.stats.near, store.stats.behind) == (1, 0)
    # As if it had heard of a later commit from another member.
    store._client.seen_revision += 1
    assert store.batch([READ], may_lag=True) == [b"1"]
    assert store.stats.behind == 1
    # Whoever may not lag asks the leader in any case.
    assert store.batch([READ]) == [b"1"]
    assert store.stats.behind == 1


@pytest.fixture(scope="module")
def member():
    with etcd_servers.EtcdFixture() as running:
        yield running


def test_history_is_compacted_between_the_trips_of_a_read(member):
    # A cluster's members compact one after the other: one that has not yet
    # done so answers the second trip.
    store = registry.get_store(member.url(base.database_name()))
    partition = keyspace.partition("near", "s", "one")
    entry = b"oz" + b"ra" + b"\0\2"
    store.batch([operations.Commit(
        partition.outcome_key(os.urandom(16)), (operations.Part(
            partition.key, partition.index_key, (operations.Change(
                operations.PUT, b"ra", 0, bytes(7) + b"\1"),), (entry,)),),
        (), 60000, 60000)])
    call = store._client.call
    trips = []

    def compact_after_the_first(*args):
        answers = call(*args)
        trips.append(args)
        if len(trips) == 1:
            store.batch([WRITE])
            member.control("compaction", str(store._client.seen_revision))
        return answers

    store._client.call = compact_after_the_first
    try:
        (members, pairs), = store.batch([operations.ReadIndex(
            partition.key, partition.index_key, ((b"-", b"+"),))])
    finally:
        del store._client.call
    assert members == [entry] and pairs == [b"ra", bytes(7) + b"\1"]
    assert len(trips) > 3
