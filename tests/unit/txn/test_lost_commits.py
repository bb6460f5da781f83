# SPDX-License-Identifier: Apache-2.0
import logging
import os
import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import base
from nova_kvs.store import operations
from nova_kvs import txn
from nova_kvs.txn import loss_reports
from nova_kvs.txn import lost_commits
from nova_kvs.txn import reading
from tests import base as tests_base
from tests.unit.txn import stores

FIELD = b"rt\0row"


class Replicated(stores.Wrapper):
    """A store of which a failover loses what a test says."""

    CHARACTERISTICS = frozenset([base.Characteristics.REPLICAS])

    def __init__(self, store):
        super().__init__(store)
        self.successions = 0
        self.incarnations = {}
        self.is_lost = False
        self.operations = []

    def batch(self, items, *args, **kwargs):
        self.operations.append(list(items))
        return super().batch(items, *args, **kwargs)

    def incarnation(self, key):
        return self.incarnations.setdefault(
            key.partition(b"}")[0], object())

    def is_replaced(self, incarnation):
        return self.is_lost

    def fail_over(self, *partitions, keys=(), lost=True):
        """Let another server take over, which lacks some keys.

        :param partitions: those on the server that failed.
        :param keys: what it lacks; default: all of those partitions.
        :param lost: whether anything is.
        """
        self.is_lost = True
        for partition in partitions:
            self.incarnations[partition.key.partition(b"}")[0]] = object()
            if lost:
                found = keys or list(self.scan(
                    partition.key.replace(b"[", b"?") + b"*"))
                self.store.batch([
                    tests_base.command(b"DEL", key) for key in found])
        self.successions += 1


@pytest.fixture
def replicated(store):
    return Replicated(store)


@pytest.fixture
def coordinator(replicated, database):
    return txn.Coordinator(replicated, database)


def put(coordinator, *partitions, expected=0, value=b"value", **kwargs):
    return coordinator.commit([
        txn.Mutation(partition, FIELD, expected, value, **kwargs)
        for partition in partitions])


def read(coordinator, *partitions):
    return coordinator.read([
        reading.FieldsRead(partition, (FIELD,)) for partition in partitions])


def dumped(replicated, partition):
    """Return a partition's keys with what they hold, for RESTORE."""
    keys = list(replicated.scan(partition.key + b"*"))
    return dict(zip(keys, replicated.store.batch(
        [tests_base.command(b"DUMP", key) for key in keys])))


def counted(coordinator):
    stats = coordinator.stats
    return stats.lost, stats.lost_unknown, stats.applied_again


def test_a_lost_commit_is_told_once(
        coordinator, replicated, partitions, database, caplog):
    put(coordinator, partitions[0])
    put(coordinator, partitions[1])
    replicated.fail_over(partitions[0])
    with caplog.at_level(logging.ERROR):
        read(coordinator, partitions[2])
        read(coordinator, partitions[2])
    message, = caplog.messages
    assert "has lost transaction" in message
    assert "%s rt\\x00row" % partitions[0].key.decode() in message
    assert "value" not in message
    assert counted(coordinator) == (1, 0, 0)
    report, = loss_reports.reports(replicated, database).values()
    assert (report["lost"], report["unknown"]) == (1, 0)
    assert report["keys"] == [
        "%s rt\\x00row" % partitions[0].key.decode()]


def test_a_commit_that_was_kept_is_not_told(
        coordinator, replicated, partitions, caplog):
    put(coordinator, *partitions[:2])
    put(coordinator, partitions[2])
    replicated.fail_over(*partitions, lost=False)
    put(coordinator, partitions[3])
    assert counted(coordinator) == (0, 0, 0)
    assert not caplog.messages


def test_nothing_is_asked_without_a_failover(
        coordinator, replicated, partitions):
    put(coordinator, partitions[0])
    replicated.batches.clear()
    read(coordinator, partitions[0])
    put(coordinator, partitions[1])
    assert replicated.names() == [["HMGET"], ["commit"]]


def test_a_late_copy_brings_nothing_back(
        coordinator, replicated, partitions):
    """What was told to be lost stays lost."""
    put(coordinator, partitions[0])
    copy = replicated.batches[-1]
    replicated.fail_over(partitions[0])
    coordinator.tell_losses()
    replicated.store.batch(copy)
    snapshot, = read(coordinator, partitions[0])
    assert snapshot.cell(FIELD) is None
    assert counted(coordinator) == (1, 0, 0)


@pytest.mark.parametrize("count", [1, 2])
def test_what_another_failover_brings_back_is_told(
        coordinator, replicated, partitions, caplog, monkeypatch, count):
    """By a server that has neither lost it nor heard that others did."""
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    put(coordinator, *partitions[:count])
    lost = partitions[count - 1]
    kept = dumped(replicated, lost)
    replicated.fail_over(lost)
    coordinator.tell_losses()
    replicated.fail_over(lost)
    replicated.store.batch([
        tests_base.command(b"RESTORE", key, 0, dump)
        for key, dump in kept.items()])
    caplog.clear()
    for _ in range(2):
        coordinator.tell_losses()
    message, = caplog.messages
    assert "has brought back what was told" in message
    assert "%s rt\\x00row" % lost.key.decode() in message
    assert (coordinator.stats.lost, coordinator.stats.brought_back) == (1, 1)
    # And when it is lost once more that is told, too.
    replicated.fail_over(lost)
    coordinator.tell_losses()
    assert "has lost transaction" in caplog.messages[-1]
    assert (coordinator.stats.lost, coordinator.stats.brought_back) == (2, 1)


def test_a_transaction_of_which_a_part_is_back_counts_as_lost(
        coordinator, replicated, partitions, monkeypatch):
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    put(coordinator, *partitions[:2])
    dumps = [dumped(replicated, one) for one in partitions[:2]]
    for partition in partitions[:2]:
        replicated.fail_over(partition)
    coordinator.tell_losses()
    for partition, dump, count in zip(partitions, dumps, (0, 1)):
        replicated.fail_over(partition)
        replicated.store.batch([
            tests_base.command(b"RESTORE", key, 0, value)
            for key, value in dump.items()])
        coordinator.tell_losses()
        assert coordinator.stats.brought_back == count
    assert counted(coordinator) == (1, 0, 0)


@pytest.mark.parametrize("number", [0, 1])
def test_a_part_of_a_transaction_is_lost(
        coordinator, replicated, partitions, number, caplog):
    put(coordinator, *partitions[:2])
    replicated.fail_over(partitions[number])
    with caplog.at_level(logging.ERROR):
        coordinator.tell_losses()
    message, = caplog.messages
    assert partitions[number].key.decode() in message
    assert partitions[1 - number].key.decode() not in message
    assert counted(coordinator) == (1, 0, 0)


def test_another_part_is_lost_later(
        coordinator, replicated, partitions, monkeypatch, caplog):
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    put(coordinator, *partitions[:2])
    for partition in partitions[:2]:
        replicated.fail_over(partition)
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            coordinator.tell_losses()
        message, = caplog.messages
        assert partition.key.decode() in message
    assert counted(coordinator) == (1, 0, 0)


def test_intents_that_are_back_are_applied(
        coordinator, replicated, partitions, database):
    """Only that they were applied is lost, and nobody would do it again."""
    first, second = partitions[:2]
    kept = {}

    def keep(name):
        if name == "before_apply":
            for key in replicated.scan(second.key + b"*"):
                dump, = replicated.store.batch(
                    [tests_base.command(b"DUMP", key)])
                kept[key] = dump

    committing = txn.Coordinator(replicated, database, failpoint=keep)
    put(committing, first, second)
    assert kept
    replicated.fail_over(second)
    replicated.store.batch([
        tests_base.command(b"RESTORE", key, 0, dump)
        for key, dump in kept.items()])
    committing.tell_losses()
    assert counted(committing) == (0, 0, 0)
    names = [name for batch in replicated.names() for name in batch]
    assert names[-1] == "resolve"
    snapshot, = read(coordinator, second)
    assert snapshot.cell(FIELD).payload == b"value"


def test_what_is_not_applied_is_lost_with_the_outcome(
        replicated, database, partitions, caplog):
    """Its server has not failed, but nobody can apply it any more."""
    faulty = stores.Faulty(replicated, "resolve", "refused")
    for name in ("CHARACTERISTICS", "incarnation", "is_replaced"):
        setattr(faulty, name, getattr(replicated, name))
    faulty.successions = 0
    coordinator = txn.Coordinator(faulty, database)
    put(coordinator, *partitions[:2])
    replicated.fail_over(partitions[0])
    faulty.successions = 1
    with caplog.at_level(logging.ERROR):
        coordinator.tell_losses()
    assert partitions[0].key.decode() in caplog.messages[-1]
    assert partitions[1].key.decode() in caplog.messages[-1]
    assert counted(coordinator) == (1, 0, 0)


@pytest.mark.parametrize("change", [{}, {"fields": None}], ids=[
    "a process that applies", "housekeeping"])
def test_a_part_that_is_lost_before_it_is_applied(
        change, coordinator, replicated, partitions):
    """Nobody takes intents that are gone for applied ones."""
    put(coordinator, *partitions[:2])
    resolve = next(item for items in replicated.operations[::-1]
                   for item in items if type(item) is operations.Resolve)
    replicated.fail_over(partitions[1])
    replicated.batch([resolve._replace(**change)])
    coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 0)


def test_a_part_that_was_applied_outlives_its_outcome(
        coordinator, replicated, partitions, database, monkeypatch, caplog):
    """The outcome is lost, the transaction aborted, and its part is there."""
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    first, second = partitions[:2]
    put(coordinator, first, second)
    resolve = next(item for items in replicated.operations[::-1]
                   for item in items if type(item) is operations.Resolve)
    replicated.fail_over(first)
    other = txn.Coordinator(replicated, database)
    other.recovery.settle([[resolve.txn_id, first.key, [second.key]]])
    replicated.fail_over(second, lost=False)
    with caplog.at_level(logging.ERROR):
        coordinator.tell_losses()
    message, = caplog.messages
    assert first.key.decode() in message
    assert second.key.decode() not in message


def test_intents_that_are_removed_before_the_commit(
        replicated, database, partitions, caplog):
    """A failover has lost the abort that they were removed for."""
    first, second = partitions[:2]

    def remove(name):
        if name == "after_commit":
            prewrite = next(
                item for items in replicated.operations
                for item in items if type(item) is operations.Prewrite)
            replicated.batch([operations.Resolve(
                *prewrite[:4], committed=False, life_ms=60000)])

    coordinator = txn.Coordinator(replicated, database, failpoint=remove)
    put(coordinator, first, second)
    with caplog.at_level(logging.ERROR):
        coordinator.tell_losses()
        coordinator.tell_losses()
    message, = caplog.messages
    assert second.key.decode() in message
    assert first.key.decode() not in message
    assert counted(coordinator) == (1, 0, 0)


def test_an_answer_that_was_lost_tells_of_no_loss(
        coordinator, replicated, partitions, database):
    """Intents are applied twice: the second time there are none."""
    kept = {}

    def keep(name):
        if name == "before_apply":
            kept.update(dumped(replicated, partitions[1]))

    faulty = stores.Faulty(replicated, "resolve", "twice")
    for name in ("CHARACTERISTICS", "incarnation", "is_replaced"):
        setattr(faulty, name, getattr(replicated, name))
    faulty.successions = faulty.times = 0
    committing = txn.Coordinator(faulty, database, failpoint=keep)
    put(committing, *partitions[:2])
    replicated.fail_over(partitions[1])
    replicated.store.batch([
        tests_base.command(b"RESTORE", key, 0, dump)
        for key, dump in kept.items()])
    faulty.successions = faulty.times = 1
    committing.tell_losses()
    assert faulty.times == 0
    assert counted(committing) == (0, 0, 0)


def test_a_serializable_transaction_is_lost(
        coordinator, replicated, partitions):
    verified = reading.FieldsRead(partitions[1], (FIELD,))
    result, = coordinator.read([verified])
    coordinator.commit_and_read(
        [txn.Mutation(partitions[0], FIELD, 0, b"value")], (), (),
        verified=[(verified, result)], serializable=True)
    replicated.fail_over(partitions[0])
    coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 0)


def test_old_commits_of_a_server_that_is_gone_are_unknown(
        coordinator, replicated, partitions, monkeypatch, caplog):
    put(coordinator, partitions[0])
    monkeypatch.setattr(lost_commits, "CERTAIN_S", 0)
    replicated.fail_over(partitions[0])
    with caplog.at_level(logging.WARNING):
        coordinator.tell_losses()
    message, = caplog.messages
    assert "is unknown" in message
    assert counted(coordinator) == (0, 1, 0)


def test_old_commits_of_a_server_that_is_back_are_kept(
        coordinator, replicated, partitions, monkeypatch):
    put(coordinator, partitions[0])
    monkeypatch.setattr(lost_commits, "CERTAIN_S", 0)
    replicated.fail_over(partitions[0])
    replicated.is_lost = False
    coordinator.tell_losses()
    assert counted(coordinator) == (0, 0, 0)


def test_a_machine_that_was_suspended_does_not_know(
        coordinator, replicated, partitions, monkeypatch, caplog):
    """Its clock stood still, and the outcome was forgotten meanwhile."""
    coordinator.learn_clock(1000 * time.time())
    put(coordinator, partitions[0])
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 100)
    replicated.fail_over(partitions[0], lost=False)
    coordinator.tell_losses()
    assert counted(coordinator) == (0, 1, 0)
    assert "is unknown" in caplog.messages[-1]


@pytest.mark.parametrize("size", [1, 10])
def test_what_is_remembered_is_bounded_in_bytes(
        replicated, database, partitions, monkeypatch, size):
    monkeypatch.setattr(
        lost_commits, "REMEMBERED_BYTES", 2 * lost_commits.FIELD_BYTES + 2)
    coordinator = txn.Coordinator(replicated, database, reapplies=True)
    for partition in partitions:
        put(coordinator, partition, value=b"v" * size)
    assert len(coordinator._lost._done) == (3 if size == 1 else 2)


def test_nobody_waits_again_and_again_for_a_silent_store(
        coordinator, replicated, partitions, monkeypatch, caplog):
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    put(coordinator, partitions[0])
    replicated.fail_over(partitions[0])

    def refuse(keys):
        raise exceptions.StoreUnavailableError()

    with monkeypatch.context() as patch:
        patch.setattr(coordinator.recovery, "decide", refuse)
        coordinator.tell_losses()
        coordinator.tell_losses()
    assert len(caplog.messages) == 1
    replicated.successions += 1
    coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 0)


def test_more_than_is_remembered(
        coordinator, replicated, partitions, monkeypatch, caplog):
    monkeypatch.setattr(lost_commits, "REMEMBERED", 2)
    for partition in partitions:
        put(coordinator, partition)
    replicated.fail_over(*partitions)
    coordinator.tell_losses()
    assert counted(coordinator) == (2, 0, 0)
    assert any("more commits than are told" in message
               for message in caplog.messages)


def test_a_store_that_does_not_answer_is_asked_again(
        replicated, database, partitions, monkeypatch, caplog):
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    monkeypatch.setattr(lost_commits, "SILENT_AGAIN_S", 0)
    coordinator = txn.Coordinator(replicated, database)
    put(coordinator, partitions[0])
    replicated.fail_over(partitions[0])

    def refuse(items, *args):
        raise exceptions.StoreUnavailableError()

    with monkeypatch.context() as patch:
        patch.setattr(replicated, "batch", refuse)
        coordinator.tell_losses()
    assert counted(coordinator) == (0, 0, 0)
    coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 0)


def test_what_was_found_is_told_if_the_store_falls_silent_then(
        replicated, database, partitions, monkeypatch, caplog):
    monkeypatch.setattr(lost_commits, "CHUNK", 1)
    coordinator = txn.Coordinator(replicated, database)
    put(coordinator, partitions[0])
    put(coordinator, partitions[1])
    replicated.fail_over(*partitions[:2])
    decide = coordinator.recovery.decide
    calls = iter([decide])

    def fall_silent(keys):
        return next(calls, refuse)(keys)

    def refuse(keys):
        raise exceptions.StoreUnavailableError()

    monkeypatch.setattr(coordinator.recovery, "decide", fall_silent)
    coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 0)
    assert sum("has lost transaction" in message
               for message in caplog.messages) == 1


def test_who_is_interrupted_leaves_the_rest_to_the_next_call(
        replicated, database, partitions, monkeypatch):
    """A timeout of eventlet is no error that the store raises."""
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    monkeypatch.setattr(lost_commits, "CHUNK", 1)
    coordinator = txn.Coordinator(replicated, database)
    for partition in partitions[:3]:
        put(coordinator, partition)
    replicated.fail_over(*partitions[:3])
    decide = coordinator.recovery.decide
    calls = iter([decide])

    def interrupt(keys):
        raise GeneratorExit()

    with monkeypatch.context() as patch:
        patch.setattr(coordinator.recovery, "decide",
                      lambda keys: next(calls, interrupt)(keys))
        with pytest.raises(GeneratorExit):
            coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 0)
    coordinator.tell_losses()
    assert counted(coordinator) == (3, 0, 0)


def test_a_fork_tells_nothing_of_its_parents_commits(
        coordinator, replicated, partitions, monkeypatch):
    put(coordinator, partitions[0])
    replicated.fail_over(partitions[0])
    pid = os.getpid()
    monkeypatch.setattr(lost_commits.os, "getpid", lambda: pid + 1)
    coordinator.tell_losses()
    put(coordinator, partitions[1])
    assert counted(coordinator) == (0, 0, 0)


def test_a_lost_commit_is_applied_again(
        replicated, database, partitions):
    coordinator = txn.Coordinator(replicated, database, reapplies=True)
    first, second = partitions[:2]
    put(coordinator, first, second)
    replicated.fail_over(first, second)
    coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 1)
    assert [snapshot.cell(FIELD).payload for snapshot in read(
        coordinator, first, second)] == [b"value", b"value"]


def test_what_has_changed_since_is_not_overwritten(
        replicated, database, partitions):
    coordinator = txn.Coordinator(replicated, database, reapplies=True)
    put(coordinator, partitions[0])
    replicated.fail_over(partitions[0])
    other = txn.Coordinator(replicated, database)
    put(other, partitions[0], value=b"other")
    coordinator.tell_losses()
    assert counted(coordinator) == (1, 0, 0)
    snapshot, = read(other, partitions[0])
    assert snapshot.cell(FIELD).payload == b"other"


def test_reports_are_bounded(
        replicated, database, partitions, monkeypatch):
    monkeypatch.setattr(loss_reports, "REPORTS", 2)
    monkeypatch.setattr(lost_commits, "AGAIN_S", 0)
    coordinator = txn.Coordinator(replicated, database)
    for partition in partitions[:3]:
        put(coordinator, partition)
        replicated.fail_over(partition)
        coordinator.tell_losses()
    found = loss_reports.reports(replicated, database)
    assert [report["keys"][0].split()[0] for report in found.values()] == [
        partition.key.decode() for partition in partitions[1:3]]
    loss_reports.forget(replicated, database, list(found))
    assert not loss_reports.reports(replicated, database)
    assert keyspace.partition(database, "m", "lost").key not in list(
        replicated.scan(b"*"))
