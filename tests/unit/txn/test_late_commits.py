# SPDX-License-Identifier: Apache-2.0
"""Commits that come when everything that forbids them is forgotten."""

import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs import txn
from nova_kvs.txn import commit
from nova_kvs.txn import recovery
from tests.fault import scenarios
from tests.unit.txn import stores

FIELD = keyspace.record_field("t", (1,))
#: Longer than any outcome or check is kept.
LONG_S = recovery.ABORT_LIFE_MS / 1000 + 60


@pytest.fixture
def passes(monkeypatch):
    """Return a function that lets seconds pass for servers.

    Not for clients: theirs is the clock of a machine that was suspended.
    """
    now = time.time
    ahead = [0.0]
    monkeypatch.setattr(time, "time", lambda: now() + ahead[0])

    def passes(seconds):
        ahead[0] += seconds
    return passes


def once(name, action):
    """Return a failpoint that does something when it is first reached."""
    left = [action]

    def failpoint(reached):
        if reached == name and left:
            left.pop()()
    return failpoint


def payload(store, database, partition):
    snapshot, = txn.Coordinator(store, database).read(
        [txn.FieldsRead(partition, (FIELD,))])
    cell = snapshot.cell(FIELD)
    return cell and cell.payload


def test_a_client_that_stood_still_commits_nothing(
        store, database, partitions, passes):
    def stand_still():
        scenarios.make_due(store, database)
        txn.Coordinator(store, database).queue.run_all()
        passes(LONG_S)

    coordinator = txn.Coordinator(
        store, database, failpoint=once("before_commit", stand_still))
    with pytest.raises(exceptions.ConflictError, match="too long"):
        coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")
                            for partition in partitions])
    assert [payload(store, database, partition)
            for partition in partitions] == [None] * len(partitions)
    scenarios.make_due(store, database)
    coordinator.queue.run_all()
    passes(LONG_S)
    assert scenarios.leftovers(store, database) == []


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("passed_s", [90, 500, LONG_S])
def test_a_copy_of_a_commit_that_comes_late_does_nothing(
        store, database, partitions, passes, count, passed_s):
    """Also where transactions are given more time than outcomes are kept."""
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(
        wrapper, database, lifetime_ms=300000, side_write_life_ms=400000)
    coordinator.learn_clock(1000 * time.time())
    versions = coordinator.commit([
        txn.Mutation(partition, FIELD, 0, b"x")
        for partition in partitions[:count]])
    copy, = [item for batch in wrapper.batches for item in batch
             if hasattr(item, "script") and item.script.name == "commit"]
    coordinator.commit([
        txn.Mutation(partition, field, version, txn.DELETE)
        for (partition, field), version in versions.items()])
    scenarios.make_due(store, database)
    coordinator.queue.run_all()
    passes(passed_s)
    reply, = store.batch([copy])
    assert reply.startswith(b"al" if passed_s > 400 else b"c")
    assert payload(store, database, partitions[0]) is None


def test_a_clock_that_is_ahead_makes_no_commit_valid_for_longer(monkeypatch):
    """This process knows how long it has been at it."""
    monkeypatch.setattr(time, "monotonic", lambda: 30.0)
    request = operations.Commit(b"outcome", ())
    valid = commit.valid_since(
        request, commit.Moment(140000, 0.0), 130000, valid_ms=50000)
    assert valid.valid_until_ms == 150000


class StandsStill(stores.Wrapper):
    """Sends the first item of the first prewrites, and the rest later."""

    def __init__(self, store, until_then, script):
        super().__init__(store)
        self._until_then = until_then
        self._script = script

    def batch(self, items, *args):
        items = list(items)
        first = [item for item in items if isinstance(item, self._script)][:1]
        if first and self._until_then is not None:
            replies = super().batch(first)
            until_then, self._until_then = self._until_then, None
            until_then()
            at = items.index(first[0])
            rest = super().batch(items[:at] + items[at + 1:], *args)
            return rest[:at] + replies + rest[at:]
        return super().batch(items, *args)


def test_who_stood_still_while_it_staged_intents_tears_nothing(
        store, database, partitions, passes):
    """It hears the time when its abort is forgotten, and begins again."""
    def stand_still():
        scenarios.make_due(store, database)
        passes(20)
        reader = txn.Coordinator(store, database)
        reader.read([txn.PartitionRead(one) for one in partitions])
        reader.queue.run_all()
        passes(LONG_S)

    wrapper = StandsStill(store, stand_still, operations.Prewrite)
    coordinator = txn.Coordinator(wrapper, database)
    coordinator.learn_clock(1000 * time.time())
    coordinator.commit([txn.Mutation(one, FIELD, 0, b"x")
                        for one in partitions])
    assert [payload(store, database, one)
            for one in partitions] == [b"x"] * len(partitions)


def until_entry_is_gone(store, passes, key):
    """Return a function that stands still until housekeeping was there."""
    def stand_still():
        passes(LONG_S)
        assert scenarios.send(store, key, b"ZREM", key, b"entry") == 1
    return stand_still


def test_who_stood_still_behind_its_index_entries_adds_them_again(
        store, database, partitions, passes):
    partition, other = partitions[:2]
    key = other.index_key
    stand_still = until_entry_is_gone(store, passes, key)
    coordinator = txn.Coordinator(
        StandsStill(store, stand_still, operations.Add), database)
    coordinator.learn_clock(1000 * time.time())
    coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")],
                       [operations.Add(key, b"entry")])
    assert payload(store, database, partition) == b"x"
    assert scenarios.send(store, key, b"ZSCORE", key, b"entry") is not None


def test_clocks_of_servers_that_differ_cost_a_second_try(
        store, database, partitions, passes):
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(wrapper, database)
    coordinator.learn_clock(1000 * (time.time() - LONG_S))
    for number in range(2):
        coordinator.commit([txn.Mutation(one, FIELD, number, b"x", version=1)
                            for one in partitions[:2]])
    names = wrapper.names()
    assert [name for batch in names for name in batch].count("commit") == 2
    # Stage, roll back, and then twice: stage, commit, apply.
    assert len(names) == 2 + 2 * 3


def test_nothing_is_committed_when_its_index_entries_may_be_gone(
        store, database, partitions, passes):
    """Housekeeping removes the entries of a row that is not there."""
    partition, other = partitions[:2]
    key = other.index_key
    stand_still = until_entry_is_gone(store, passes, key)
    coordinator = txn.Coordinator(
        store, database, failpoint=once("after_prewrite", stand_still))
    with pytest.raises(exceptions.ConflictError, match="too long"):
        coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")],
                           [operations.Add(key, b"entry")])
    assert payload(store, database, partition) is None


def test_a_clock_that_jumped_costs_a_round_trip(
        store, database, partitions, passes):
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(wrapper, database, atomic=True)
    coordinator.learn_clock(1000 * time.time())
    passes(LONG_S)
    wrapper.batches.clear()
    coordinator.commit([txn.Mutation(partitions[0], FIELD, 0, b"x")])
    coordinator.commit([txn.Mutation(partitions[1], FIELD, 0, b"x")])
    assert wrapper.names() == [["commit"]] * 3
    assert payload(store, database, partitions[0]) == b"x"


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("passed_s", [0, 70, LONG_S])
def test_a_client_that_stands_still_when_the_reply_is_lost(
        store, database, partitions, passes, count, passed_s):
    """Its commit is done and settled, and the outcome perhaps forgotten."""
    class Lost(stores.Faulty):
        def batch(self, items, *args, **kwargs):
            try:
                return super().batch(items, *args, **kwargs)
            except exceptions.UndeterminedError:
                scenarios.make_due(store, database)
                txn.Coordinator(store, database).queue.run_all()
                passes(passed_s)
                raise

    coordinator = txn.Coordinator(Lost(store, "commit", "lost"), database)
    coordinator.learn_clock(time.time() * 1000)
    mutations = [txn.Mutation(partition, FIELD, 0, b"x")
                 for partition in partitions[:count]]
    if passed_s:
        # Not that nothing was applied.
        with pytest.raises(exceptions.UndeterminedError):
            coordinator.commit(mutations)
    else:
        coordinator.commit(mutations)
    assert [payload(store, database, partition)
            for partition in partitions[:count]] == [b"x"] * count


class RepeatsLate(stores.Wrapper):
    """Sends its first commit again, as drivers do, when time has passed.

    :param arrives: whether the first copy does.
    """

    def __init__(self, store, arrives, until_then):
        super().__init__(store)
        self._arrives = arrives
        self._until_then = until_then

    def batch(self, items, *args):
        items = list(items)
        if self._until_then is None or not any(
                type(item) is operations.Commit for item in items):
            return super().batch(items, *args)
        if self._arrives:
            super().batch(items, *args)
        until_then, self._until_then = self._until_then, None
        until_then()
        answer, *_ = super().batch(items, *args)
        assert answer.verdict is operations.Verdict.TOO_LATE
        error = exceptions.UndeterminedError()
        error.store_answers = True
        raise error


@pytest.mark.parametrize("count", [1, 3])
def test_a_commit_that_is_forgotten_when_it_is_sent_again(
        store, database, partitions, passes, count):
    """That it comes too late does not say that its first copy did."""
    def stand_still():
        scenarios.make_due(store, database)
        txn.Coordinator(store, database).queue.run_all()
        passes(LONG_S)

    coordinator = txn.Coordinator(
        RepeatsLate(store, True, stand_still), database)
    coordinator.learn_clock(1000 * time.time())
    with pytest.raises(exceptions.UndeterminedError):
        coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")
                            for partition in partitions[:count]])
    assert [payload(store, database, partition)
            for partition in partitions[:count]] == [b"x"] * count


def test_a_commit_that_only_its_second_copy_brings_and_late_is_tried_again(
        store, database, partitions, passes):
    coordinator = txn.Coordinator(
        RepeatsLate(store, False, lambda: passes(12)), database)
    coordinator.learn_clock(1000 * time.time())
    coordinator.commit([txn.Mutation(partitions[0], FIELD, 0, b"x")])
    assert payload(store, database, partitions[0]) == b"x"


@pytest.mark.parametrize("count", [1, 3])
def test_a_process_that_heard_of_no_clock_asks_before_its_first_commit(
        store, database, partitions, passes, count):
    """Without an end its commit could come when all is forgotten."""
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(wrapper, database)
    versions = coordinator.commit([
        txn.Mutation(partition, FIELD, 0, b"x")
        for partition in partitions[:count]])
    assert wrapper.names()[0] == ["clock"]
    copy, = [item for batch in wrapper.batches for item in batch
             if hasattr(item, "script") and item.script.name == "commit"]
    coordinator.commit([
        txn.Mutation(partition, field, version, txn.DELETE)
        for (partition, field), version in versions.items()])
    assert [name for batch in wrapper.names()[1:] for name in batch].count(
        "clock") == (2 if count > 1 else 0)
    scenarios.make_due(store, database)
    coordinator.queue.run_all()
    passes(LONG_S)
    reply, = store.batch([copy])
    assert reply.startswith(b"al")
    assert payload(store, database, partitions[0]) is None
