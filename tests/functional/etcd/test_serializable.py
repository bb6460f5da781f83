# SPDX-License-Identifier: Apache-2.0
"""SERIALIZABLE on etcd: one transaction, without intents."""

import os

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.store import operations
from nova_kvs.store import registry
from tests import base
from tests.fault import workload

COMMITTED = operations.Verdict.COMMITTED
CHANGED = operations.Verdict.CHANGED


@pytest.fixture
def url(servers):
    return servers.url(base.database_name())


def commit(partition, change, **more):
    return operations.Commit(
        partition.outcome_key(os.urandom(16)), (operations.Part(
            partition.key, partition.index_key, (change,)),),
        (), 60000, 60000, **more)


def put(field, version):
    return operations.Change(
        operations.PUT, field, version - 1, version.to_bytes(8, "big"))


def test_what_has_changed_since_refuses_a_commit(url):
    store = registry.get_store(url)
    one, two = [keyspace.partition("skew", "s", name) for name in "ab"]
    index = keyspace.bucket_key("skew", "t.i", "0")
    store.batch([commit(one, put(b"ra", 1)), commit(two, put(b"ra", 1)),
                 operations.Add(index, b"b")])
    reads = (operations.ReadPartition(one.key),
             operations.ReadFields(one.key, (b"ra",)),
             operations.ReadMembers(index, b"[a", b"[m"))
    for number, (change, verdict) in enumerate((
            (None, COMMITTED),
            (commit(one, put(b"rb", 1)), CHANGED),
            (operations.Add(index, b"c"), CHANGED),
            # Not in the range; and what goes does not count.
            (operations.Add(index, b"z"), COMMITTED),
            (operations.Remove(index, b"c"), COMMITTED))):
        since, = store.batch([operations.ReadMoment(one.key)])
        if change is not None:
            store.batch([change])
        answer, = store.batch([commit(
            two, put(b"r%d" % number, 1), unchanged=reads, since=since)])
        assert answer.verdict is verdict, change


def test_of_two_in_a_write_skew_one_fails(url):
    workload.create(url)
    database = record_database.open_database(url)
    for serializable in (False, True):
        transactions = []
        for number in range(2):
            tx = database.begin(serializable=serializable)
            records, = tx.load([access.ByPartition(
                "instances", ("account0", "account1"))])
            records.sort(key=workload.row_name)
            tx.update(records[number], {
                **records[number].values, "tag": str(serializable)})
            transactions.append(tx)
        transactions[0].commit()
        if serializable:
            with pytest.raises(exceptions.SerializationError):
                transactions[1].commit()
        else:
            transactions[1].commit()
    assert database.coordinator.stats.aborted == 0
