# SPDX-License-Identifier: Apache-2.0
"""Several processes write the same records of a real cluster."""

import multiprocessing
import os
import random
import uuid

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import registry
from nova_kvs import txn
from nova_kvs.txn import retry
from tests.fault import scenarios

PROCESSES = 4
ACCOUNTS = 8
START = 1000
FIELD = keyspace.record_field("t", (1,))
ATTEMPTS = 200


def in_processes(work, *args):
    """Run a function in several processes; return their results."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(PROCESSES) as pool:
        return pool.starmap(
            work, [(number, *args) for number in range(PROCESSES)])


def account(database, number):
    return keyspace.partition(database, "t", "account%d" % number)


def transfer(number, url, database, count):
    """Move amounts between random records; one client in twenty dies.

    :returns: ``(commits, conflicts)`` of those that live.
    """
    store = registry.get_store(url)
    client = txn.Coordinator(store, database, lifetime_ms=1000)
    choose = random.Random(number)

    def move(client):
        source, target = choose.sample(range(ACCOUNTS), 2)
        partitions = [account(database, source), account(database, target)]
        snapshots = client.read(
            [txn.FieldsRead(partition, (FIELD,)) for partition in partitions])
        cells = [snapshot.cells[FIELD] for snapshot in snapshots]
        amount = choose.randrange(1, 10)
        client.commit([
            txn.Mutation(partition, FIELD, cell.version,
                         b"%d" % (int(cell.payload) + change))
            for partition, cell, change in zip(
                partitions, cells, (-amount, amount))])

    for _ in range(count):
        if choose.random() < 0.05:
            dying = txn.Coordinator(
                store, database, lifetime_ms=1000,
                failpoint=scenarios.kill_at(
                    choose.choice(txn.coordinator.FAILPOINTS)))
            try:
                move(dying)
            except (scenarios.Killed, exceptions.ConflictError):
                continue
        retry.run(lambda: move(client), ATTEMPTS)
    return client.stats.commits, client.stats.conflicts


@pytest.mark.short
def test_transfers_keep_their_sum(cluster, store, show):
    database = "transfers-" + uuid.uuid4().hex
    client = txn.Coordinator(store, database, lifetime_ms=1000)
    client.commit([txn.Mutation(account(database, number), FIELD, 0,
                                b"%d" % START)
                   for number in range(ACCOUNTS)])

    results = in_processes(transfer, cluster.url("fault"), database, 40)

    assert sum(conflicts for _, conflicts in results) > 0
    scenarios.make_due(store, database)
    client.queue.run_all()
    snapshots = client.read(
        [txn.PartitionRead(account(database, number))
         for number in range(ACCOUNTS)])
    assert sum(int(snapshot.cells[FIELD].payload)
               for snapshot in snapshots) == ACCOUNTS * START
    assert scenarios.leftovers(store, database) == []
    show("transfers keep their sum while clients die",
         commits=sum(commits for commits, _ in results),
         conflicts=sum(conflicts for _, conflicts in results))


def take_names(number, url, database, count):
    """Take unique keys that all others want, too.

    :returns: names taken.
    """
    client = txn.Coordinator(registry.get_store(url), database)
    taken = []
    names = list(range(count))
    random.Random(number).shuffle(names)
    for name in names:
        owner = b"%d-%d" % (os.getpid(), name)
        mutations = [
            txn.Mutation(keyspace.partition(database, "s", owner), FIELD, 0,
                         owner),
            txn.Mutation(
                keyspace.partition(database, "u", "name%d" % name),
                keyspace.unique_field("t", "name", (name,)), 0, owner,
                duplicate=lambda: exceptions.DuplicateKeyError(
                    table="t", columns=("name",), values=(name,)))]
        try:
            retry.run(lambda: client.commit(mutations), ATTEMPTS)
            taken.append((name, owner))
        except exceptions.DuplicateKeyError as error:
            assert error.columns == ("name",)
    return taken


@pytest.mark.short
def test_unique_keys_have_one_winner(cluster, store, show):
    database = "names-" + uuid.uuid4().hex
    count = 30
    results = in_processes(take_names, cluster.url("fault"), database, count)
    taken = [pair for result in results for pair in result]
    assert sorted(name for name, _ in taken) == list(range(count))
    client = txn.Coordinator(store, database)
    for name, owner in taken:
        unique, record = client.read([
            txn.PartitionRead(
                keyspace.partition(database, "u", "name%d" % name)),
            txn.PartitionRead(keyspace.partition(database, "s", owner))])
        assert [cell.payload for cell in unique.cells.values()] == [owner]
        assert record.cells[FIELD].payload == owner
    scenarios.make_due(store, database)
    client.queue.run_all()
    assert scenarios.leftovers(store, database) == []
    show("unique keys of bare transactions have one winner", keys=count)
