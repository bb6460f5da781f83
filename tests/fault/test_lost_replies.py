# SPDX-License-Identifier: Apache-2.0
"""Replies get lost between the servers and their clients."""

import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import database as record_database
from nova_kvs.store import registry
from nova_kvs import txn
from tests.fault import checks
from tests.fault import fleet
from tests.fault import history
from tests.fault import scenarios
from tests.fault import workload

PROCESSES = 4


@pytest.mark.short
def test_every_operation_is_applied_once(
        proxied, scale, show, database_name):
    faults = proxied.faults
    url = proxied.url(
        database_name, transaction_lifetime=1, hint_grace=2,
        socket_timeout=0.5, request_timeout=20)
    initial = workload.create(url)
    faults.lose = 0.01
    faults.cut = 0.002
    with fleet.Fleet(workload.bank, PROCESSES, url,
                     scale(200, 20)) as load:
        time.sleep(scale.seconds(30, 5))
        results = load.stop()
    lost, silenced, commands = faults.lost, faults.silenced, faults.commands
    faults.lose = faults.cut = 0.0
    assert lost > scale(100, 5)
    checks.no_errors(results)
    events = [event for result in results for event in result["history"]]
    operations = history.check_registers(events, initial)
    database = record_database.open_database(url)
    assert checks.total(database) == workload.ACCOUNTS * workload.START
    increments = checks.counters(database, results)
    show("lost replies", commands=commands, batches_without_reply=lost,
         of_them_silent=silenced, operations=operations,
         increments=increments, applied_twice_or_not_at_all=0)
    checks.tidy(database)
    checks.fsck(url, show)


@pytest.mark.short
@pytest.mark.parametrize("size", scenarios.SIZES)
def test_every_reply_is_lost_once(proxied, database_name, size):
    """Each batch of a commit in turn, and whatever comes after it."""
    store = registry.get_store(
        proxied.url(database_name, request_timeout=20))
    partitions = [keyspace.partition(database_name, "t", "p%d" % number)
                  for number in range(size)]
    field = keyspace.record_field("t", (1,))
    version = 0
    proxied.faults.once = True
    proxied.faults.silent = 0.0
    for failing in ("before_prewrite", "before_commit", "before_apply"):
        def lose(reached):
            if reached == failing:
                proxied.faults.lose = 1.0

        client = txn.Coordinator(store, database_name, failpoint=lose)
        before = proxied.faults.lost
        versions = client.commit([
            txn.Mutation(partition, field, version, failing.encode(),
                         version=None if version else 1)
            for partition in partitions])
        version += 1
        assert set(versions.values()) == {version}
        # Nobody has waited for what came last: the read finds that its
        # replies are lost.
        snapshots = client.read(
            [txn.PartitionRead(partition) for partition in partitions])
        proxied.faults.lose = 0.0
        reached = size > 1 or failing == "before_commit"
        assert (proxied.faults.lost > before) == reached
        assert [snapshot.cells[field] for snapshot in snapshots] == [
            (version, failing.encode())] * size


@pytest.mark.short
def test_slow_replies_are_waited_for(proxied, database_name):
    url = proxied.url(database_name, socket_timeout=5)
    workload.create(url)
    proxied.faults.delay_s = 0.3
    database = record_database.open_database(url)
    tx = database.begin()
    tx.insert("services", {"host": "slow"})
    tx.commit()
    tx = database.begin()
    tx.insert("services", {"host": "slow"})
    with pytest.raises(exceptions.DuplicateKeyError):
        tx.commit()
