# SPDX-License-Identifier: Apache-2.0
"""Archiving and purging leave what Nova's own leave on SQLite."""

import datetime
import random

import pytest

from nova_kvs.db import archive
from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import reader
from nova_kvs.record import scanning
from nova_kvs.record import transaction
from nova_kvs.txn import reading
from nova_kvs.txn import retry
from tests.differential import clouds


@pytest.fixture
def pair():
    made = clouds.Pair()
    yield made
    made.close()


def _fill(pair, seed):
    """Make servers with all that hangs off them, some of them deleted."""
    choose = random.Random(seed)
    context = clouds.context()
    for number in range(8):
        uuid = "%08d-0000-4000-8000-000000000000" % number
        pair.call("instance_create", context, {
            "uuid": uuid, "project_id": "p1", "host": "h1",
            "metadata": {"a": "b"}, "system_metadata": {"a": "b", "c": "d"}})
        for request in range(choose.randrange(3)):
            request = "req-%d" % request
            pair.call("action_start", context, {
                "instance_uuid": uuid, "request_id": request,
                "action": "create"})
            for event in range(choose.randrange(3)):
                pair.call("action_event_start", context, {
                    "instance_uuid": uuid, "request_id": request,
                    "event": "e%d" % event,
                    "start_time": datetime.datetime(2026, 3, 1)})
        for _device in range(choose.randrange(3)):
            pair.call("block_device_mapping_create", context, {
                "instance_uuid": uuid, "device_name": "d",
                "source_type": "image", "destination_type": "local"}, False)
        pair.call("instance_tag_set", context, uuid, ["t"])
        pair.call("migration_create", context, {"instance_uuid": uuid})
        if choose.random() < 0.6:
            pair.call("instance_destroy", context, uuid)
    pair.call("service_create", context, {
        "host": "h1", "binary": "nova-x", "topic": "x"})
    pair.call("service_destroy", context, 1)
    pair.call("service_create", context, {
        "host": "h2", "binary": "nova-x", "topic": "x"})
    pair.call("task_log_begin_task", context, "t",
              datetime.datetime(2026, 1, 1), datetime.datetime(2026, 2, 1),
              "h1", message="m")
    pair.call("task_log_end_task", context, "t",
              datetime.datetime(2026, 1, 1), datetime.datetime(2026, 2, 1),
              "h1", 0)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("max_rows, task_log", [
    (1, False), (7, True), (30, False), (1000, True)])
def test_archive(pair, seed, max_rows, task_log):
    _fill(pair, seed)
    for _batch in range(3):
        pair.call("archive_deleted_rows", clouds.context(),
                  max_rows=max_rows, task_log=task_log)
        pair.compare_rows()


def test_archive_before(pair):
    _fill(pair, 0)
    for minute in (0, 1, 59):
        pair.call("archive_deleted_rows", clouds.context(), max_rows=1000,
                  before=datetime.datetime(2026, 3, 1, 12, minute))
        pair.compare_rows()


def _partition_reads(monkeypatch):
    """Return a list that each read of a partition will be added to."""
    reads = []
    absorb = reader.Reader._absorb

    def counting(self, wanted, results):
        reads.extend(read for read in wanted
                     if type(read) is reading.PartitionRead)
        return absorb(self, wanted, results)

    monkeypatch.setattr(reader.Reader, "_absorb", counting)
    return reads


def _servers_read(reads):
    return [read.partition for read in reads
            if b":s:" in read.partition.key]


def test_an_archive_of_nothing_reads_no_server(pair, monkeypatch):
    pair.kvs.main.grace_ms = 0
    _fill(pair, 0)
    pair.call("archive_deleted_rows", clouds.context(), max_rows=1000)
    while pair.kvs.main.housekeep():
        pass
    reads = _partition_reads(monkeypatch)
    pair.call("archive_deleted_rows", clouds.context(), max_rows=1000)
    assert _servers_read(reads) == []
    pair.compare_rows()


def test_batches_read_what_they_take(pair, monkeypatch):
    monkeypatch.setattr(scanning, "PARTITIONS", 3)
    context = clouds.context()
    uuids = ["%08d-0000-4000-8000-000000000000" % n for n in range(40)]
    for uuid in uuids:
        pair.call("instance_create", context, {"uuid": uuid, "host": "h"})
    for uuid in uuids[1::2]:
        pair.call("instance_destroy", context, uuid)
    reads = _partition_reads(monkeypatch)
    counts = []
    while True:
        del reads[:]
        # Not compared with Nova's before the end: within a batch the order
        # of servers is the directory's.
        _, taken, total = pair.kvs.call(
            "nova.db.main.api:archive_deleted_rows", context, max_rows=4)
        assert {read.partition.key[-37:-1].decode() for read in reads
                if b":s:" in read.partition.key} <= set(uuids[1::2])
        if not total:
            break
        counts.append(len(_servers_read(reads)))
        assert len(taken) <= 4
    # Some pages, not all that is left or was there, but for the last one.
    assert len(counts) > 5 and (
        max(counts[:-1]) <= 4 * scanning.PARTITIONS), counts
    pair.reference.call(
        "nova.db.main.api:archive_deleted_rows", context, max_rows=1000)
    pair.compare_rows()


def test_a_batch_loads_as_many_rows_as_it_may_take(pair, monkeypatch):
    for day in range(1, 29):
        begin = datetime.datetime(2026, 1, day)
        pair.call("task_log_begin_task", clouds.context(), "t", begin,
                  begin, "h%d" % (day % 3), message="m")
    monkeypatch.setattr(scanning, "ROWS", 5)
    absorbed = []
    absorb = reader.Reader._absorb

    def counting(self, wanted, results):
        absorb(self, wanted, results)
        table = self.table("task_log")
        absorbed.append(sum(
            len(seen.records(table)) for seen in self.read_sets.values()))

    for _batch in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(reader.Reader, "_absorb", counting)
            pair.call("archive_deleted_rows", clouds.context(), max_rows=5,
                      task_log=True)
        pair.compare_rows()
    assert max(absorbed) == 5


@pytest.mark.parametrize("before", [
    None, datetime.datetime(2026, 3, 1, 12, 0, 40),
    datetime.datetime(2027, 1, 1)])
def test_purge(pair, before):
    _fill(pair, 1)
    pair.call("archive_deleted_rows", clouds.context(), max_rows=1000)
    pair.call("purge_shadow_tables", clouds.context(), before,
              status_fn=None)
    pair.compare_rows()


def test_purge_reads_archived_servers_once(pair, monkeypatch):
    _fill(pair, 1)
    pair.call("archive_deleted_rows", clouds.context(), max_rows=1000)
    archived = {record.partition for record in pair.kvs.main.begin().load(
        [access.FullScan("shadow_instances")])[0]}
    monkeypatch.setattr(archive, "_PURGE_ROWS", 2)
    reads = _partition_reads(monkeypatch)
    scans = pair.kvs.main.stats.full_scans
    pair.call("purge_shadow_tables", clouds.context(), None)
    found = _servers_read(reads)
    # Where a row goes that others follow, these are looked for once more.
    assert len(found) < 2 * len(archived)
    assert 0 < len(archived) == len(set(found)) < 8
    # Of tables that are one partition.
    assert pair.kvs.main.stats.full_scans - scans <= 2
    pair.compare_rows()


def test_purge_goes_on_after_conflicts(pair, monkeypatch):
    _fill(pair, 1)
    pair.call("archive_deleted_rows", clouds.context(), max_rows=1000)
    monkeypatch.setattr(archive, "_PURGE_ROWS", 1)
    monkeypatch.setattr(retry, "pause", lambda *_args: None)
    commit = transaction.RecordTransaction.commit
    calls = []

    def every_third(self, *args):
        calls.append(self)
        if len(calls) % 3:
            raise exceptions.ConflictError()
        return commit(self, *args)

    monkeypatch.setattr(transaction.RecordTransaction, "commit", every_third)
    pair.call("purge_shadow_tables", clouds.context(), None)
    assert len(calls) > 2 * retry.ATTEMPTS
    pair.compare_rows()
