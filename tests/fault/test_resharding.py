# SPDX-License-Identifier: Apache-2.0
"""Slots move between masters under load."""

import contextlib
import random
import time

import pytest

from nova_kvs import keyspace
from nova_kvs.record import database as record_database
from tests.fault import checks
from tests.fault import fleet
from tests.fault import history
from tests.fault import workload
from tests import fixtures

PROCESSES = 4


class Masters(fixtures.RedisClusterFixture):
    """A cluster of masters only: no failover gets into the way."""

    def __init__(self):
        super().__init__(masters=3, replicas=0)

    def master_of_slot(self, number):
        with contextlib.closing(self.client()) as client:
            return next(
                (fixtures.HOST, master[1]) for first, last, master in
                client.execute_command("CLUSTER", "SLOTS")
                if first <= number <= last)


def move(cluster, number, choose):
    """Give a slot to another master.

    :returns: number of keys that it had.
    """
    source = cluster.master_of_slot(number)
    target = choose.choice([node for node in cluster.nodes[:cluster.masters]
                            if node != source])
    cluster.move_slot(number, source, target)
    moved = 0
    while count := cluster.move_keys(number, source, target, count=2):
        # A few at a time, so that scripts meet keys that are apart.
        moved += count
    cluster.finish_move(number, target)
    return moved


@pytest.mark.short
def test_slots_move(scale, show, database_name):
    seconds = scale.seconds(30, 4)
    choose = random.Random(0)
    moves = keys = 0
    with Masters() as cluster:
        url = cluster.url(
            database_name, transaction_lifetime=1, hint_grace=2,
            request_timeout=20)
        initial = workload.create(url)
        slots = sorted({
            keyspace.slot(keyspace.partition(database_name, "s", name).key)
            for name in initial if not name.endswith("+")})
        slots += [keyspace.slot(keyspace.gc_key(database_name, bucket))
                  for bucket in range(keyspace.GC_BUCKETS)]
        with fleet.Fleet(workload.bank, PROCESSES, url,
                         scale(200, 20)) as load:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                keys += move(cluster, choose.choice(slots), choose)
                moves += 1
            results = load.stop()
        checks.no_errors(results)
        events = [event for result in results
                  for event in result["history"]]
        history.check_registers(events, initial)
        database = record_database.open_database(url)
        assert checks.total(database) == workload.ACCOUNTS * workload.START
        checks.counters(database, results)
        show("slots moved under load", moves=moves, keys_moved=keys,
             commits=sum(event.status == workload.COMMITTED
                         and bool(event.writes) for event in events),
             retried_conflicts=sum(event.status == workload.REFUSED
                                   for event in events),
             other_errors=0, missing=0)
        checks.tidy(database)
        checks.fsck(url, show)
