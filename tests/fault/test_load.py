# SPDX-License-Identifier: Apache-2.0
"""Eight processes on a healthy cluster, and everything they saw checked."""

import time

import pytest
import sqlalchemy as sa

from nova_kvs.record import access
from nova_kvs.record import database as record_database
from tests.fault import checks
from tests.fault import fleet
from tests.fault import history
from tests.fault import workload

PROCESSES = 8


@pytest.mark.short
def test_nothing_is_lost_torn_or_left_behind(
        cluster, scale, show, database_name):
    seconds = scale.seconds(60, 8)
    names = scale(1000, 100)
    url = cluster.url(database_name, transaction_lifetime=1, hint_grace=2)
    initial = workload.create(url)
    with fleet.Fleet(workload.bank, PROCESSES, url, names) as load:
        time.sleep(seconds)
        results = load.stop()
    events = [event for result in results for event in result["history"]]
    checks.no_errors(results)
    database = record_database.open_database(url)

    total = checks.total(database)
    assert total == workload.ACCOUNTS * workload.START
    committed = [event for event in events
                 if event.status == workload.COMMITTED and event.writes]
    refused = [event for event in events
               if event.status == workload.REFUSED]
    assert refused, "the processes did not get into each other's way"
    show("transfers keep their sum", seconds=seconds,
         processes=PROCESSES, commits=len(committed),
         conflicts=len(refused),
         over_several_partitions=sum(
             result["stats"].multi_partition for result in results))

    engine = sa.create_engine(url)
    with engine.connect() as connection:
        owners = connection.execute(sa.select(
            workload.volumes.c.uuid,
            workload.volumes.c.instance_uuid)).all()
    engine.dispose()
    show("counters lose no update",
         increments=checks.counters(database, results),
         conflicts=sum(result["deadlocks"] for result in results))

    won = [("name%d" % name, "server%d" % number)
           for number, result in enumerate(results)
           for name in result["won"]]
    assert sorted(won) == sorted(map(tuple, owners))
    assert len({name for name, _ in won}) == len(won) == names
    lost = sum(result["lost"] for result in results)
    assert lost == (PROCESSES - 1) * names
    show("unique keys have one winner", keys=names, winners=len(won),
         losers_with_DBDuplicateEntry_uuid=lost)

    operations = history.check_registers(events, initial)
    show("single records are linearizable", operations=operations,
         records=len(initial))
    accounts = [event for event in events if not any(
        name.startswith("cell") for name in event.reads)]
    order = history.Order(accounts, {
        name: tag for name, tag in initial.items() if tag})
    partitions, torn, several, fractured = history.torn_reads(
        accounts, order)
    assert torn == 0
    show("no lost updates, no torn reads", partition_reads=partitions,
         torn=torn)
    show("reads of several partitions (no promise)", reads=several,
         saw_part_of_a_transaction=fractured)
    show("validated transactions are strictly serializable",
         transactions=history.check_serializable(order))

    checks.tidy(database)
    checks.fsck(url, show)
    keys, members = checks.compare_with_fresh_copy(database)
    show("housekeeping leaves what a fresh copy has", keys=keys,
         records_and_index_entries=members)


@pytest.mark.short
def test_reading_without_locking_allows_write_skew(cluster, database_name):
    """Two transactions read two rows, and each writes the other one.

    That is the anomaly that validation of written rows leaves; locking what
    was read excludes it.
    """
    url = cluster.url(database_name)
    workload.create(url)
    database = record_database.open_database(url)
    for locking in (False, True):
        transactions = []
        for number in range(2):
            tx = database.begin()
            records, = tx.load([access.ByPartition(
                "instances", ("account0", "account1"))])
            records.sort(key=workload.row_name)
            written = records[number]
            tx.update(written, {**written.values, "tag": str(locking)})
            if locking:
                tx.lock(records[1 - number])
            transactions.append(tx)
        transactions[0].commit()
        if locking:
            with pytest.raises(workload.exceptions.ConflictError):
                transactions[1].commit()
        else:
            transactions[1].commit()
