# SPDX-License-Identifier: Apache-2.0
"""Replies that do not come, and scripts that run twice."""

import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.redis import commands
from nova_kvs import txn
from nova_kvs.txn import commit
from tests.fault import scenarios
from tests.unit.txn import stores

FIELD = keyspace.record_field("t", (1,))


@pytest.fixture(params=[1, 2, 5])
def some(request, partitions):
    """One, two and five partitions."""
    return partitions[:request.param]


def mutations(some, value=b"x"):
    return [txn.Mutation(partition, FIELD, 0, value,
                         index_add=(scenarios.member(b"a", FIELD),))
            for partition in some]


def state(store, database, some):
    return [{field: cell.payload for field, cell in snapshot.cells.items()}
            for snapshot in txn.Coordinator(store, database).read(
                [txn.PartitionRead(partition) for partition in some])]


def check_settled(store, database):
    scenarios.make_due(store, database)
    txn.Coordinator(store, database).queue.run_all()
    assert scenarios.leftovers(store, database) == []


@pytest.mark.parametrize("script", ["commit", "prewrite", "resolve"])
def test_scripts_that_run_twice(store, database, some, script):
    faulty = stores.Faulty(store, script, "twice", times=9)
    coordinator = txn.Coordinator(faulty, database, atomic=True)
    coordinator.commit(mutations(some))
    assert state(store, database, some) == [{FIELD: b"x"}] * len(some)
    second = mutations(some)
    for change in second:
        change.duplicate = exceptions.DuplicateKeyError
    with pytest.raises(exceptions.DuplicateKeyError):
        coordinator.commit(second)
    check_settled(store, database)


def test_lost_reply_of_a_commit(store, database, some):
    faulty = stores.Faulty(store, "commit", "lost")
    versions = txn.Coordinator(faulty, database).commit(mutations(some))
    assert len(versions) == len(some)
    assert state(store, database, some) == [{FIELD: b"x"}] * len(some)
    check_settled(store, database)


def test_lost_reply_of_a_commit_with_reads(store, database, some):
    """What was read is lost with it, and read again."""
    faulty = stores.Faulty(store, "commit", "lost")
    coordinator = txn.Coordinator(faulty, database, atomic=True)
    other = some[0]._replace(key=some[0].key + b"other")
    txn.Coordinator(store, database).commit(mutations([other], b"y"))
    _, (found,) = coordinator.commit_and_read(
        mutations(some), [operations.Add(other.key + b"h", b"entry")],
        [txn.PartitionRead(other)])
    assert found.cell(FIELD).payload == b"y"
    assert state(store, database, some) == [{FIELD: b"x"}] * len(some)
    check_settled(store, database)


def test_lost_reply_of_a_refused_commit(store, database, some):
    txn.Coordinator(store, database).commit(mutations(some))
    duplicate = exceptions.DuplicateKeyError()
    second = mutations(some[:1])
    second[0].duplicate = lambda: duplicate
    faulty = stores.Faulty(store, "commit", "lost")
    with pytest.raises(exceptions.DuplicateKeyError) as caught:
        txn.Coordinator(faulty, database).commit(second)
    assert caught.value is duplicate


def test_commit_that_did_not_arrive(store, database, some):
    faulty = stores.Faulty(store, "commit", "dropped")
    with pytest.raises(exceptions.ConflictError):
        txn.Coordinator(faulty, database).commit(mutations(some))
    assert state(store, database, some) == [{}] * len(some)
    # It may still arrive, but has no effect any more.
    assert store.batch(faulty.dropped) == [
        operations.Answer(operations.Verdict.ABORTED)]
    assert state(store, database, some) == [{}] * len(some)
    check_settled(store, database)


@pytest.mark.parametrize("fault, expected", [
    ("lost", {FIELD: b"x"}), ("dropped", {})])
def test_outcome_that_cannot_be_read(
        store, database, some, fault, expected):
    faulty = stores.Faulty(
        stores.Faulty(store, "commit", fault), "abort_if_undecided", "refused")
    with pytest.raises(exceptions.UndeterminedError):
        txn.Coordinator(faulty, database).commit(mutations(some))
    assert state(store, database, some) == [expected] * len(some)
    check_settled(store, database)
    assert state(store, database, some) == [expected] * len(some)


def test_outcome_that_it_is_too_late_to_read(
        store, database, some, monkeypatch):
    """The store has tried for long: do not wait as long once more."""
    now_s = [1000.0]
    monkeypatch.setattr(commit.time, "monotonic", lambda: now_s[0])

    class Slow(stores.Faulty):
        def batch(self, items, *args):
            try:
                return super().batch(items, *args)
            except exceptions.UndeterminedError:
                now_s[0] += 8.0
                raise

    faulty = Slow(store, "commit", "lost")
    with pytest.raises(exceptions.UndeterminedError):
        txn.Coordinator(faulty, database).commit(mutations(some))
    assert "abort_if_undecided" not in sum(faulty.names(), [])
    assert state(store, database, some) == [{FIELD: b"x"}] * len(some)


def test_store_that_is_gone_at_the_commit(store, database, some):
    faulty = stores.Faulty(store, "commit", "refused")
    with pytest.raises(exceptions.StoreUnavailableError):
        txn.Coordinator(faulty, database).commit(mutations(some))
    assert state(store, database, some) == [{}] * len(some)
    check_settled(store, database)


@pytest.mark.parametrize("fault", ["lost", "dropped", "refused"])
def test_prewrite_that_fails(store, database, partitions, fault):
    faulty = stores.Faulty(store, "prewrite", fault)
    with pytest.raises(exceptions.StoreUnavailableError):
        txn.Coordinator(faulty, database).commit(mutations(partitions))
    assert state(store, database, partitions) == [{}] * 5
    # Rolled back: others need not wait until the intents are old.
    txn.Coordinator(store, database).commit(mutations(partitions, b"y"))
    check_settled(store, database)


@pytest.mark.parametrize("fault", ["lost", "dropped", "refused"])
def test_application_that_fails(store, database, partitions, fault):
    faulty = stores.Faulty(store, "resolve", fault)
    txn.Coordinator(faulty, database).commit(mutations(partitions))
    assert state(store, database, partitions) == [{FIELD: b"x"}] * 5
    check_settled(store, database)
    assert state(store, database, partitions) == [{FIELD: b"x"}] * 5


def test_roll_back_that_fails(store, database, partitions):
    coordinator = txn.Coordinator(store, database)
    coordinator.commit(mutations(partitions[:1], b"old"))
    faulty = stores.Faulty(store, "resolve", "refused")
    with pytest.raises(exceptions.ConflictError):
        txn.Coordinator(faulty, database).commit(mutations(partitions))
    assert state(store, database, partitions) == [{FIELD: b"old"}] + [{}] * 4
    check_settled(store, database)


@pytest.mark.parametrize("size", [1, 2])
def test_help_that_fails(store, database, partitions, size):
    """The commit script was sent: it must not commit late what failed."""
    client = txn.Coordinator(
        store, database, failpoint=scenarios.kill_at("after_commit"))
    with pytest.raises(scenarios.Killed):
        client.commit(mutations(partitions[:2]))
    faulty = stores.Faulty(store, "resolve", "refused")
    changes = [txn.Mutation(partitions[1], field, 0, b"y")
               for field in (FIELD, FIELD + b"x")]
    changes += mutations(partitions[2:1 + size])
    with pytest.raises(exceptions.ConflictError):
        txn.Coordinator(faulty, database).commit(changes)
    assert "abort_if_undecided" in sum(faulty.names(), [])
    check_settled(store, database)
    for items in list(faulty.batches):
        store.batch(items)
    assert state(store, database, partitions[1:3]) == [{FIELD: b"x"}, {}]


@pytest.mark.parametrize("fault", ["lost", "refused"])
def test_help_that_fails_at_the_prewrite(
        store, database, partitions, fault):
    client = txn.Coordinator(
        store, database, failpoint=scenarios.kill_at("after_commit"))
    with pytest.raises(scenarios.Killed):
        client.commit(mutations(partitions[:2]))
    faulty = stores.Faulty(store, "resolve", fault)
    with pytest.raises(exceptions.StoreUnavailableError):
        txn.Coordinator(faulty, database).commit(
            mutations(partitions[2:] + partitions[1:2], b"y"))
    check_settled(store, database)


class Refusing(stores.Wrapper):
    """Answers commit scripts with an error."""

    def batch(self, items, *args):
        if any(getattr(item, "script", None)
               and item.script.name == "commit"
               for item in commands.encode(items)):
            raise exceptions.StoreReplyError(reply="OOM")
        return super().batch(items, *args)


class RefusingWrites(stores.Wrapper):
    """Refuses the commit, and whatever else its server would write."""

    def batch(self, items, *args):
        names = [item.script.name for item in commands.encode(items)
                 if hasattr(item, "script")]
        if "commit" in names or "abort_if_undecided" in names:
            error = exceptions.StoreReplyError(reply="MISCONF")
            error.nothing_applied = "commit" in names
            raise error
        return super().batch(items, *args)


@pytest.mark.parametrize("count", [1, 3])
def test_a_server_that_refuses_all_writes(store, database, some, count):
    """There is nobody who could be asked, and nothing to ask."""
    with pytest.raises(exceptions.StoreReplyError):
        txn.Coordinator(RefusingWrites(store), database).commit(
            mutations(some[:count]))
    assert state(store, database, some) == [{}] * len(some)
    txn.Coordinator(store, database).commit(mutations(some))
    check_settled(store, database)


def test_store_that_refuses_the_commit(store, database, some):
    with pytest.raises(exceptions.StoreReplyError):
        txn.Coordinator(Refusing(store), database).commit(mutations(some))
    assert state(store, database, some) == [{}] * len(some)
    txn.Coordinator(store, database).commit(mutations(some))
    check_settled(store, database)


@pytest.mark.parametrize("passed_s", [6, 15])
def test_a_commit_that_waited_for_long_is_refused_not_undetermined(
        store, database, some, monkeypatch, passed_s):
    """The store told that it is not done, and tells that it never will be."""
    ahead_s = [0]
    for name in ("monotonic", "time"):
        monkeypatch.setattr(time, name, lambda now=getattr(time, name): (
            now() + ahead_s[0]))
    monkeypatch.setattr(commit, "POLLS", 0)
    other = txn.Coordinator(
        store, database, failpoint=scenarios.kill_at("after_prewrite"))
    with pytest.raises(scenarios.Killed):
        other.commit_and_read(
            [*mutations(some, b"other")], (), (), serializable=True,
            verified=[(read, result) for read in [
                txn.PartitionRead(some[0])] for result in other.read([read])])
    for partition in some:
        # It is at work still.
        name = keyspace.INTENT + FIELD
        intent = scenarios.send(
            store, partition.key, b"HGET", partition.key, name)
        scenarios.send(store, partition.key, b"HSET", partition.key, name,
                       b"9" * 16 + intent[16:])

    class Slow(stores.Wrapper):
        def batch(self, items, *args):
            if type(items[0]) is operations.ReadOutcome:
                ahead_s[0] += passed_s
            return super().batch(items, *args)

    coordinator = txn.Coordinator(Slow(store), database, atomic=True)
    coordinator.learn_clock(1000 * time.time())
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit(mutations(some))
