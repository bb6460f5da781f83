# SPDX-License-Identifier: Apache-2.0
"""A failover that loses commits for sure: each process tells which."""

import contextlib
import dataclasses
import itertools
import logging
import random
import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import database as record_database
from nova_kvs.txn import loss_reports
from nova_kvs.txn import lost_commits
from nova_kvs.txn import mutation
from nova_kvs.txn import reading
from tests.fault import fleet
from tests import fixtures

PROCESSES = 3
FIELD = keyspace.record_field("t", ("row",))


@pytest.fixture
def fresh_cluster():
    """A cluster whose nodes may be killed."""
    with fixtures.RedisClusterFixture(masters=3, replicas=1) as cluster:
        yield cluster


class Lines(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


def commit_rows(number, ready, stop, url):
    """Insert rows, in one and two partitions, until it is told to stop.

    :returns: list of the acknowledged commits' partitions, the lines that
        the process has logged about lost commits, its counters.
    """
    log = Lines()
    lost_commits.LOG.addHandler(log)
    coordinator = record_database.open_database(url).coordinator
    choose = random.Random(number)
    done = []
    ready.wait(fleet.PATIENCE_S)
    for count in itertools.count():
        if stop.is_set():
            break
        partitions = [
            keyspace.partition("fault", "t", "row%d-%d-%d" % (
                number, count, part))
            for part in range(choose.choice((1, 1, 2)))]
        with contextlib.suppress(exceptions.UndeterminedError,
                                 exceptions.StoreUnavailableError,
                                 exceptions.ConflictError):
            coordinator.commit([
                mutation.Mutation(partition, FIELD, 0, b"value")
                for partition in partitions])
            done.append([partition.key for partition in partitions])
        time.sleep(0.002)
    # Who did nothing since the failover would hear of it with its next call.
    coordinator.read([reading.FieldsRead(
        keyspace.Partition(keys[0]), (FIELD,)) for keys in done[-100:]])
    coordinator.tell_losses()
    return done, log.lines, dataclasses.asdict(coordinator.stats)


def cut_off(cluster, node):
    """Let no replica of a master follow it any more."""
    with contextlib.closing(cluster.client(node)) as client:
        client.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
        client.execute_command("CLIENT", "KILL", "TYPE", "REPLICA")
        fixtures.wait_for(
            lambda: b"connected_slaves:0" in client.execute_command(
                "INFO", "replication"),
            "the replica is cut off")


def missing(url, commits):
    """Return the partitions that lack what was committed there."""
    coordinator = record_database.Database(
        record_database.open_database(url).store, "fault",
        record_database.registry.parse_url(url).settings()).coordinator
    keys = [key for commit in commits for key in commit]
    found = set()
    for first in range(0, len(keys), 500):
        chunk = keys[first:first + 500]
        for key, snapshot in zip(chunk, coordinator.read([
                reading.FieldsRead(keyspace.Partition(key), (FIELD,))
                for key in chunk])):
            if snapshot.cell(FIELD) is None:
                found.add(key)
    return found


def named(lines):
    """Return the partitions that lines about lost commits name."""
    return {word.encode() for line in lines if "has lost transaction" in line
            for word in line.replace(",", "").split()
            if word.startswith("kvs:{")}


@pytest.mark.short
@pytest.mark.parametrize("reapplies", [False, True])
def test_every_lost_commit_is_told(fresh_cluster, scale, show, reapplies):
    cluster = fresh_cluster
    url = cluster.url("fault", request_timeout=20,
                      reapply_lost_commits=str(reapplies).lower())
    with fleet.Fleet(commit_rows, PROCESSES, url) as load:
        time.sleep(scale(3, 0.5))
        node = cluster.master_of(b"kvs:{1}")
        cut_off(cluster, node)
        time.sleep(scale(3, 0.5))
        cluster.kill(node)
        fixtures.wait_for(lambda: _is_served(cluster, node),
                          "a replica takes over")
        time.sleep(scale(3, 1))
        results = load.stop()
    cluster.restart(node)
    cluster.wait_healthy(timeout_s=60)
    commits = [commit for done, _, _ in results for commit in done]
    lines = [line for _, found, _ in results for line in found]
    lost = missing(url, commits)
    told = named(lines)
    stats = {name: sum(stats[name] for _, _, stats in results)
             for name in ("lost", "lost_unknown", "applied_again")}
    database = record_database.open_database(url)
    reports = loss_reports.reports(database.store, "fault").values()
    show("commits lost by a failover are told%s" % (
        ", and applied again" if reapplies else ""),
        acknowledged=len(commits), lost_partitions=len(told),
        not_there=len(lost), not_told=len(lost - told), **stats)
    assert told
    assert stats["lost_unknown"] == 0
    assert stats["lost"] == sum(
        not told.isdisjoint(commit) for commit in commits)
    assert stats["lost"] == sum(report["lost"] for report in reports)
    if reapplies:
        assert stats["applied_again"] == stats["lost"]
        assert not lost
    else:
        assert lost == told


@pytest.mark.parametrize("goes_on", [False, True])
def test_what_two_failovers_in_a_row_lose_is_told(
        fresh_cluster, show, caplog, goes_on):
    """Whether or not the process notices each of them."""
    cluster = fresh_cluster
    url = cluster.url("fault", request_timeout=20)
    coordinator = record_database.open_database(url).coordinator
    commits = []
    for turn in range(2):
        node = cluster.master_of(b"kvs:{1}")
        if goes_on or turn == 0:
            commits += _rows(coordinator, "kept%d" % turn)
        cut_off(cluster, node)
        if goes_on or turn == 0:
            commits += _rows(coordinator, "cut%d" % turn)
        cluster.kill(node)
        fixtures.wait_for(lambda: _is_served(cluster, node),
                          "a replica takes over")
        cluster.restart(node)
        cluster.wait_healthy(timeout_s=60)
    coordinator.read([reading.FieldsRead(
        keyspace.Partition(keys[0]), (FIELD,)) for keys in commits])
    coordinator.tell_losses()
    lost = missing(url, commits)
    told = named(caplog.messages)
    show("two failovers in a row", acknowledged=len(commits),
         lost_partitions=len(told), not_there=len(lost),
         not_told=len(lost - told))
    assert lost == told
    assert lost
    assert coordinator.stats.lost_unknown == 0


def _rows(coordinator, name):
    """Insert rows, in one and two partitions; return what was committed."""
    commits = []
    for count in range(100):
        partitions = [
            keyspace.partition("fault", "t", "%s-%d-%d" % (name, count, part))
            for part in range(1 + count % 2)]
        with contextlib.suppress(exceptions.UndeterminedError,
                                 exceptions.StoreUnavailableError):
            coordinator.commit([
                mutation.Mutation(partition, FIELD, 0, b"value")
                for partition in partitions])
            commits.append([partition.key for partition in partitions])
    return commits


def _is_served(cluster, dead):
    try:
        return cluster.master_of(b"kvs:{1}") != dead
    except AssertionError:
        return False
