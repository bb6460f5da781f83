# SPDX-License-Identifier: Apache-2.0
"""Intents in the way: of transactions at work, and of abandoned ones."""

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.redis import commands
from nova_kvs import txn
from nova_kvs.txn import by_intents
from nova_kvs.txn import commit
from nova_kvs.txn import retry
from tests.fault import scenarios
from tests.unit.txn import stores

FIELD = keyspace.record_field("t", (1,))
OTHER = keyspace.record_field("t", (2,))
MEMBER = scenarios.member(b"a", FIELD)


class Client:
    """A client that stops at a failpoint, two partitions in hand.

    The first partition is the primary; the intent is in the second.
    """

    def __init__(self, store, database, partitions, value=b"theirs",
                 expected=0):
        self.store = store
        self.database = database
        self.primary, self.other = partitions[:2]
        self.value = value
        self.expected = expected

    def mutations(self):
        index = {}
        if self.value not in (txn.DELETE, txn.LOCK):
            index = {"index_add": (MEMBER,)}
        return [
            txn.Mutation(self.primary, OTHER, 0, b"theirs"),
            txn.Mutation(self.primary, FIELD, 0, b"theirs"),
            txn.Mutation(self.other, FIELD, self.expected, self.value,
                         uses_floor=self.value is txn.DELETE, **index)]

    def stop_at(self, name):
        with pytest.raises(scenarios.Killed):
            txn.Coordinator(
                self.store, self.database,
                failpoint=scenarios.kill_at(name)).commit(self.mutations())

    def stage_again(self):
        """Let the intent be there again, as after a failover."""
        scenarios.send(self.store, self.other.key, b"HSET", self.other.key,
                       b"i" + FIELD, self.intent)

    def make_old(self):
        key = self.other.key
        intent = scenarios.send(self.store, key, b"HGET", key, b"i" + FIELD)
        self.intent = b"0" * 16 + intent[16:]
        self.stage_again()


@pytest.fixture
def client(store, database, partitions):
    return Client(store, database, partitions)


def payload(coordinator, partition):
    snapshot, = coordinator.read([txn.FieldsRead(partition, (FIELD,))])
    cell = snapshot.cells.get(FIELD)
    return cell and cell.payload


def test_readers_ignore_what_is_pending(store, database, client):
    client.stop_at("before_commit")
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(wrapper, database)
    reads = [txn.PartitionRead(client.other),
             txn.PartitionRead(client.primary),
             txn.FieldsRead(client.other, (FIELD,)),
             txn.PartitionRead(client.other, (b"rt\0",)),
             txn.IndexRead(client.other, scenarios.EVERYTHING)]
    nothing = txn.Snapshot(0, {})
    assert coordinator.read(reads) == [nothing] * 4 + [([MEMBER], nothing)]
    # One more batch for all of them, one question for the one transaction.
    assert len(wrapper.batches) == 2
    assert wrapper.names()[1] == ["GET", "clock"]


def test_readers_read_through_what_is_committed(store, database, client):
    client.stop_at("after_commit")
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(wrapper, database)
    results = coordinator.read([
        txn.PartitionRead(client.other),
        txn.FieldsRead(client.other, (FIELD, OTHER)),
        txn.PartitionRead(client.other, (b"rt\0",)),
        txn.IndexRead(client.other, scenarios.EVERYTHING)])
    assert len(wrapper.batches) == 2
    for snapshot in (*results[:3], results[3][1]):
        assert {field: cell.payload
                for field, cell in snapshot.cells.items()} == {
            FIELD: b"theirs"}
    # What was read through can be written at once.
    wrapper.batches.clear()
    coordinator.commit([txn.Mutation(
        client.other, FIELD, results[0].cells[FIELD].version, b"ours")])
    assert payload(coordinator, client.other) == b"ours"


def test_readers_read_through_a_delete(
        store, database, partitions, coordinator):
    coordinator.commit([txn.Mutation(
        partitions[1], FIELD, 0, b"old", uses_floor=True, version=8)])
    Client(store, database, partitions, txn.DELETE, 8).stop_at("after_commit")
    assert coordinator.read([txn.PartitionRead(partitions[1])]) == [
        txn.Snapshot(8, {})]


def test_readers_read_past_a_lock(store, database, partitions, coordinator):
    version, = coordinator.commit(
        [txn.Mutation(partitions[1], FIELD, 0, b"old")]).values()
    Client(store, database, partitions, txn.LOCK, version).stop_at(
        "after_commit")
    assert payload(coordinator, partitions[1]) == b"old"


@pytest.mark.parametrize("name, value", [
    ("before_commit", None), ("after_commit", b"theirs")])
def test_readers_settle_what_is_old(coordinator, client, name, value):
    client.stop_at(name)
    client.make_old()
    assert payload(coordinator, client.other) == value
    key = client.other.key
    assert scenarios.send(
        coordinator.store, key, b"HKEYS", key) == [FIELD][:bool(value)]
    assert coordinator.stats.recovered == 1
    assert coordinator.stats.aborted == (value is None)


def test_a_reader_does_not_mind_that_it_cannot_settle(
        store, database, client):
    client.stop_at("before_commit")
    client.make_old()
    coordinator = txn.Coordinator(
        stores.Faulty(store, "abort_if_undecided", "refused"), database)
    assert payload(coordinator, client.other) is None


def test_an_aborted_transaction_does_not_commit(
        store, database, partitions, client):
    def settle(name):
        if name == "before_commit":
            client.make_old()
            payload(txn.Coordinator(store, database), client.other)

    slow = txn.Coordinator(store, database, failpoint=settle)
    with pytest.raises(exceptions.ConflictError):
        slow.commit(client.mutations())
    assert payload(slow, client.primary) is None
    assert payload(slow, client.other) is None


@pytest.mark.parametrize("name", ["before_commit", "after_commit"])
@pytest.mark.parametrize("size", [1, 2])
def test_writers_settle_what_is_old(
        coordinator, client, partitions, pauses, name, size):
    client.stop_at(name)
    client.make_old()
    changes = [txn.Mutation(client.other, FIELD, 0, b"ours")]
    changes += [txn.Mutation(partition, field, 0, b"ours")
                for partition in partitions[2:1 + size]
                for field in (FIELD, OTHER)]
    if name == "before_commit":
        coordinator.commit(changes)
        assert payload(coordinator, client.other) == b"ours"
    else:
        with pytest.raises(exceptions.ConflictError):
            coordinator.commit(changes)
        assert payload(coordinator, client.other) == b"theirs"
    assert pauses == []


@pytest.mark.parametrize("size", [1, 2])
def test_writers_give_up_on_what_is_pending(
        coordinator, client, partitions, monkeypatch, pauses, size):
    # The smallest id, so that nobody gives way to it early.
    monkeypatch.setattr(by_intents.os, "urandom", lambda size: b"\xff" * size)
    client.stop_at("before_commit")
    monkeypatch.setattr(by_intents.os, "urandom", lambda size: b"\0" * size)
    changes = [txn.Mutation(client.other, FIELD, 0, b"ours")]
    changes += [txn.Mutation(partition, field, 0, b"ours")
                for partition in partitions[2:1 + size]
                for field in (FIELD, OTHER)]
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit(changes)
    assert pauses == list(range(commit.POLLS))
    # Nothing of it is left, and the other one is as it was.
    assert all(payload(coordinator, partition) is None
               for partition in partitions)
    assert scenarios.send(coordinator.store, client.other.key, b"HLEN",
                          client.other.key) == 1
    for partition in partitions[2:]:
        assert scenarios.send(coordinator.store, partition.key, b"EXISTS",
                              partition.key) == 0


class Replicas(stores.Wrapper):
    """Whose replicas have or have not what the primary's server wrote.

    As WAIT, it only counts where the connection wrote something: a script
    that found an outcome did not.
    """

    def __init__(self, store, client, acknowledged):
        super().__init__(store)
        self.fence = keyspace.fence_key(client.primary.key)
        self.acknowledged = acknowledged

    def batch(self, items, replicas=0, *args):
        replies = super().batch(items)
        if not replicas:
            return replies
        # Every other server's replicas are there.
        fenced = any(self.fence in item.args
                     for item in commands.encode(items))
        return replies + [self.acknowledged if fenced else 1]


@pytest.mark.parametrize("acknowledged", [0, 1])
def test_writers_wait_until_a_commit_is_replicated(
        store, database, client, pauses, acknowledged):
    """A failover may lose the commit while its client waits for replicas."""
    client.stop_at("after_commit")
    replicas = Replicas(store, client, acknowledged)
    coordinator = txn.Coordinator(replicas, database, commit_replicas=1)
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit([txn.Mutation(client.other, FIELD, 0, b"ours")])
    assert (pauses == []) == bool(acknowledged)
    assert ("resolve" in sum(replicas.names(), [])) == bool(acknowledged)
    assert payload(coordinator, client.other) == b"theirs"


@pytest.mark.parametrize("acknowledged", [0, 1])
def test_writers_wait_until_an_abort_is_replicated(
        store, database, client, pauses, acknowledged):
    """After a failover the client might commit what others rolled back."""
    client.stop_at("before_commit")
    client.make_old()
    txn.Coordinator(store, database).read([txn.PartitionRead(client.other)])
    client.stage_again()
    replicas = Replicas(store, client, acknowledged)
    coordinator = txn.Coordinator(replicas, database, commit_replicas=1)
    changes = [txn.Mutation(client.other, FIELD, 0, b"ours")]
    if acknowledged:
        coordinator.commit(changes)
    else:
        with pytest.raises(exceptions.ConflictError):
            coordinator.commit(changes)
    assert ("resolve" in sum(replicas.names(), [])) == bool(acknowledged)


@pytest.mark.parametrize("acknowledged", [0, 1])
@pytest.mark.parametrize("stopped", ["before_commit", "after_commit"])
def test_nothing_is_settled_by_an_outcome_that_a_failover_may_lose(
        store, database, client, stopped, acknowledged):
    client.stop_at(stopped)
    scenarios.make_due(store, database)
    replicas = Replicas(store, client, acknowledged)
    coordinator = txn.Coordinator(replicas, database, commit_replicas=1)
    coordinator.queue.run_all()
    assert ("resolve" in sum(replicas.names(), [])) == bool(acknowledged)
    assert bool(scenarios.leftovers(store, database)) == (not acknowledged)


def test_who_holds_intents_gives_way_to_an_older_claim(
        coordinator, client, partitions, monkeypatch, pauses):
    monkeypatch.setattr(by_intents.os, "urandom", lambda size: b"\0" * size)
    client.stop_at("before_commit")
    monkeypatch.setattr(by_intents.os, "urandom", lambda size: b"\xff" * size)
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit([
            txn.Mutation(partition, FIELD, 0, b"ours")
            for partition in (partitions[2], client.other)])
    assert pauses == list(range(commit.YIELDING_POLLS))


@pytest.mark.parametrize("ours", ["primary", "other"])
def test_writers_go_on_when_a_transaction_ends(
        coordinator, client, partitions, monkeypatch, ours):
    """Whether the intent is met by the prewrite or by the commit."""
    client.stop_at("before_commit")
    rounds = []

    def pause(number, sleep=None):
        rounds.append(number)
        client.make_old()

    monkeypatch.setattr(retry, "pause", pause)
    changes = [txn.Mutation(client.other, FIELD, 0, b"ours")]
    extra = client.other if ours == "primary" else partitions[2]
    changes += [txn.Mutation(extra, OTHER, 0, b"ours"),
                txn.Mutation(partitions[2], FIELD, 0, b"ours")]
    coordinator.commit(changes)
    assert rounds == [0]
    assert payload(coordinator, client.other) == b"ours"
    assert payload(coordinator, partitions[2]) == b"ours"


@pytest.fixture
def slow_at(monkeypatch):
    """Return a function of a failpoint's name that makes a failpoint: a
    transaction's lifetime goes by there.
    """
    now_s = [1000.0]
    monkeypatch.setattr(commit.time, "monotonic", lambda: now_s[0])

    def slow_at(slow):
        def be_slow(name):
            if name == slow:
                now_s[0] += 10.0
        return be_slow
    return slow_at


def test_a_transaction_that_took_too_long_is_given_up(
        store, database, client, slow_at):
    wrapper = stores.Wrapper(store)
    coordinator = stores.knowing(txn.Coordinator(
        wrapper, database, failpoint=slow_at("before_commit")))
    with pytest.raises(exceptions.ConflictError, match="too long"):
        coordinator.commit(client.mutations())
    assert wrapper.names() == [
        ["prewrite", "clock", "enqueue"], ["resolve"]]


def test_hints_may_take_longer_than_a_transaction_lives(
        store, database, partitions, slow_at):
    coordinator = txn.Coordinator(
        store, database, failpoint=slow_at("after_prewrite"))
    coordinator.commit(
        [txn.Mutation(partitions[0], FIELD, 0, b"ours")],
        [operations.Add(partitions[1].index_key, b"entry")])
    assert payload(coordinator, partitions[0]) == b"ours"


def test_a_late_prewrite_stages_nothing(store, database, partitions):
    """Neither after the commit, when its version may fit again."""
    wrapper = stores.Wrapper(store)
    coordinator = stores.knowing(txn.Coordinator(wrapper, database))
    changes = [txn.Mutation(partitions[0], FIELD, 0, b"x"),
               txn.Mutation(partitions[0], OTHER, 0, b"x"),
               txn.Mutation(partitions[1], FIELD, 0, b"x")]
    versions = coordinator.commit(changes)
    prewrite = wrapper.batches[0][0]
    coordinator.commit([txn.Mutation(
        partitions[1], FIELD, versions[partitions[1], FIELD], txn.DELETE)])
    assert store.batch([prewrite]) == [b"s"]
    assert payload(coordinator, partitions[1]) is None

    wrapper.batches.clear()
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit(changes)
    prewrite = wrapper.batches[0][0]
    assert store.batch([prewrite]) == [b"a"]
    assert scenarios.send(store, prewrite.keys[0], b"EXISTS",
                          prewrite.keys[0]) == 0


def test_who_meets_one_intent_applies_all(store, database, partitions):
    """What a partition remembers of a transaction holds for all of it."""
    first, second = partitions[:2]
    with pytest.raises(scenarios.Killed):
        txn.Coordinator(
            store, database,
            failpoint=scenarios.kill_at("before_apply")).commit([
                *[txn.Mutation(first, b"rt\0%d" % row, 0, b"value")
                  for row in range(3)],
                txn.Mutation(second, FIELD, 0, b"value"),
                txn.Mutation(second, OTHER, 0, b"value")])
    txn.Coordinator(store, database).commit(
        [txn.Mutation(first, FIELD, 0, b"value"),
         txn.Mutation(second, keyspace.record_field("t", (3,)), 0, b"value")])
    with pytest.raises(exceptions.ConflictError):
        txn.Coordinator(store, database).commit(
            [txn.Mutation(second, FIELD, 0, b"next")])
    assert not [field for field in scenarios.send(
        store, second.key, b"HKEYS", second.key)
        if field.startswith(keyspace.INTENT)]


def test_settling_twice(store, database, client, coordinator):
    client.stop_at("after_commit")
    items = []
    coordinator.queue.register(by_intents.SETTLE, items.extend)
    scenarios.make_due(store, database)
    coordinator.queue.run_all()
    other = txn.Coordinator(store, database)
    for _ in range(2):
        other.recovery.settle(items)
        assert payload(coordinator, client.other) == b"theirs"
    assert scenarios.leftovers(store, database) == []
