# SPDX-License-Identifier: Apache-2.0
"""Masters are killed under load, and at last every node at once."""

import contextlib
import time

import pytest

from nova_kvs import keyspace
from nova_kvs.record import database as record_database
from tests.fault import checks
from tests.fault import fleet
from tests.fault import ledger
from tests.fault import workload
from tests import fixtures

PROCESSES = 4
#: Beyond the cluster's node time-out; what is promised.
RECOVERY_S = 5
#: How long a master's replica loses each connection before it dies.
BEHIND_S = 0.1


@pytest.fixture
def fresh_cluster():
    """A cluster whose nodes may be killed."""
    with fixtures.RedisClusterFixture(masters=3, replicas=1) as cluster:
        yield cluster


def kill_master(cluster, key):
    """Kill the master of a key and wait until another node took over.

    Its replica is cut off a moment before, so that it is behind.

    :returns: ``(node, took_over_s, when, slots)``: it, how long that took,
        the monotonic clock in ns, and the slots that it had.
    """
    node = cluster.master_of(key)
    with contextlib.closing(cluster.client(node)) as client:
        slots = {slot for first, last, master, *_ in
                 client.execute_command("CLUSTER", "SLOTS")
                 if master[1] == node[1] for slot in range(first, last + 1)}
        end = time.monotonic() + BEHIND_S
        while time.monotonic() < end:
            client.execute_command("CLIENT", "KILL", "TYPE", "REPLICA")
    when = time.monotonic_ns()
    cluster.kill(node)
    fixtures.wait_for(
        lambda: _is_served(cluster, key, node), "a replica takes over")
    return node, (time.monotonic_ns() - when) / 1e9, when, slots


def _is_served(cluster, key, dead):
    try:
        return cluster.master_of(key) != dead
    except AssertionError:
        return False


def recovery_s(results, name, when, slots):
    """Return how long it took every process to write to slots again.

    An answer counts: with ``commit_replicas``, the new master refuses until
    the old one is back as its replica.

    :param results: of the processes.
    :param name: of the database.
    :param when: from when, by the monotonic clock in ns.
    """
    ends = []
    for entries, _ in results:
        ends.append(min(
            entry.end for entry in entries
            if entry.end > when and entry.answered
            and not slots.isdisjoint(
                keyspace.slot(keyspace.partition(name, "s", server).key)
                for server, _ in entry.rows)))
    return (max(ends) - when) / 1e9


@pytest.mark.parametrize("commit_replicas", [
    0, pytest.param(1, marks=pytest.mark.short)])
def test_masters_are_killed(
        fresh_cluster, scale, show, database_name, commit_replicas):
    cluster = fresh_cluster
    kills = scale(5, 1)
    url = cluster.url(
        database_name, transaction_lifetime=10, hint_grace=11,
        commit_replicas=commit_replicas, commit_replicas_timeout=0.5,
        request_timeout=20)
    workload.create(url)
    killed = []
    took_over_s = []
    with fleet.Fleet(ledger.ledger, PROCESSES, url) as load:
        for number in range(kills):
            time.sleep(scale(3, 1))
            node, seconds, *kill = kill_master(
                cluster, b"kvs:{%d}" % number)
            took_over_s.append(seconds)
            killed.append(kill)
            time.sleep(scale(3, 1))
            cluster.restart(node)
            cluster.wait_healthy(timeout_s=60)
        results = load.stop()

    database = record_database.open_database(url)
    entries = [entry for entries, _ in results for entry in entries]
    errors = [error for _, errors in results for error in errors]
    found = ledger.compare(database, entries)
    slowest = max(recovery_s(results, database_name, *kill)
                  for kill in killed)
    show("masters killed, commit_replicas = %d" % commit_replicas,
         kills=kills, acknowledged=found["acknowledged"],
         missing=found["missing"], torn=found["torn"],
         errors=len(errors), of_them_for_want_of_replicas=sum(
             entry.answered and entry.status == workload.REFUSED
             for entry in entries),
         applied_but_not_acknowledged=sum(
             entry.status == ledger.UNREPLICATED for entry in entries),
         s_at_most_until_a_replica_took_over=max(took_over_s),
         s_at_most_until_a_process_went_on=slowest)
    assert slowest < cluster.node_timeout_ms / 1000 + RECOVERY_S
    assert found["refused_but_there"] == 0
    if commit_replicas:
        assert found["missing"] == 0
        assert found["torn"] == 0
        checks.settle(database)
        checks.fsck(url, show)


@pytest.mark.short
def test_all_nodes_are_killed(scale, show, database_name):
    """With appendonly, and every write on the disk before its reply."""
    with fixtures.RedisClusterFixture(options={
            "appendonly": "yes", "appendfsync": "always"}) as cluster:
        url = cluster.url(database_name, transaction_lifetime=10,
                          hint_grace=11, request_timeout=20)
        workload.create(url)
        with fleet.Fleet(ledger.ledger, PROCESSES, url) as load:
            time.sleep(scale.seconds(10, 2))
            when = time.monotonic_ns()
            for node in cluster.nodes:
                cluster.kill(node)
            for node in cluster.nodes:
                cluster.restart(node)
            cluster.wait_healthy(timeout_s=60)
            time.sleep(scale(5, 2))
            results = load.stop()
        database = record_database.open_database(url)
        entries = [entry for entries, _ in results for entry in entries]
        assert all(any(entry.begin > when and entry.status
                       == workload.COMMITTED for entry in entries)
                   for entries, _ in results), "a process did not go on"
        found = ledger.compare(database, entries)
        show("all six nodes killed and started, appendfsync always",
             acknowledged=found["acknowledged"], missing=found["missing"],
             torn=found["torn"])
        assert found["missing"] == 0
        assert found["torn"] == 0
        assert found["refused_but_there"] == 0
        checks.settle(database)
        checks.fsck(url, show)
