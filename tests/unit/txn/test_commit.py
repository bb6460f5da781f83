# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs import txn
from nova_kvs.txn import coordinator as coordinator_module
from tests.fault import scenarios
from tests.unit.txn import stores

FIELD = keyspace.record_field("t", (1,))
OTHER = keyspace.record_field("t", (2,))
NAMES = keyspace.unique_field("t", "name", ("n",))


def read(coordinator, partition):
    snapshot, = coordinator.read([txn.PartitionRead(partition)])
    return snapshot


def payloads(coordinator, partition):
    return {field: cell.payload for field, cell
            in read(coordinator, partition).cells.items()}


def duplicate():
    return exceptions.DuplicateKeyError(
        table="t", columns=("name",), values=("n",))


@pytest.fixture(params=[1, 2, 5])
def some(request, partitions):
    """One, two and five partitions."""
    return partitions[:request.param]


def test_insert_update_delete(coordinator, some):
    versions = coordinator.commit(
        [txn.Mutation(partition, FIELD, 0, b"one") for partition in some])
    for partition in some:
        assert read(coordinator, partition).cells == {
            FIELD: (versions[partition, FIELD], b"one")}

    updated = coordinator.commit([
        txn.Mutation(partition, FIELD, versions[partition, FIELD], b"two")
        for partition in some])
    for partition in some:
        assert updated[partition, FIELD] == versions[partition, FIELD] + 1
        assert read(coordinator, partition).cells == {
            FIELD: (updated[partition, FIELD], b"two")}

    deleted = coordinator.commit([
        txn.Mutation(partition, FIELD, updated[partition, FIELD], txn.DELETE)
        for partition in some])
    assert set(deleted.values()) == {0}
    assert all(read(coordinator, partition).cells == {}
               for partition in some)


def test_nothing_to_do(coordinator, partitions):
    key = partitions[0].index_key
    assert coordinator.commit([]) == {}
    assert coordinator.commit([], [operations.Add(key, b"x")]) == {}
    assert scenarios.send(
        coordinator.store, key, b"ZRANGE", key, 0, -1) == [b"x"]


@pytest.mark.parametrize("value", [b"new", txn.DELETE, txn.LOCK])
def test_version_differs(coordinator, some, value):
    versions = coordinator.commit(
        [txn.Mutation(partition, FIELD, 0, b"one") for partition in some])
    last = some[-1]
    coordinator.commit([
        txn.Mutation(last, FIELD, versions[last, FIELD], b"faster")])
    changes = [
        txn.Mutation(partition, FIELD, versions[partition, FIELD], b"slow")
        for partition in some[:-1]]
    changes += [txn.Mutation(partition, OTHER, 0, b"slow")
                for partition in some]
    changes.append(
        txn.Mutation(last, FIELD, versions[last, FIELD], value))

    with pytest.raises(exceptions.ConflictError):
        coordinator.commit(changes)

    assert [payloads(coordinator, partition) for partition in some] == (
        [{FIELD: b"one"}] * (len(some) - 1) + [{FIELD: b"faster"}])
    assert coordinator.stats.conflicts == 1


def test_absent_where_present_expected(coordinator, some):
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit(
            [txn.Mutation(partition, FIELD, 7, b"x") for partition in some])
    assert all(payloads(coordinator, partition) == {} for partition in some)


def test_lock_validates_and_changes_nothing(coordinator, some):
    versions = coordinator.commit(
        [txn.Mutation(partition, FIELD, 0, b"one") for partition in some])
    locked = coordinator.commit([
        txn.Mutation(partition, FIELD, versions[partition, FIELD], txn.LOCK)
        for partition in some])
    assert locked == versions
    for partition in some:
        assert read(coordinator, partition).cells == {
            FIELD: (versions[partition, FIELD], b"one")}


def test_lock_of_an_absent_record(coordinator, some):
    coordinator.commit([txn.Mutation(partition, FIELD, 0, txn.LOCK)
                        for partition in some])
    coordinator.commit([txn.Mutation(some[-1], FIELD, 0, b"one")])
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit([txn.Mutation(partition, FIELD, 0, txn.LOCK)
                            for partition in some])


def test_unique_key(coordinator, some):
    coordinator.commit([txn.Mutation(some[-1], NAMES, 0, b"first")])
    error = duplicate()
    changes = [txn.Mutation(partition, FIELD, 0, b"x") for partition in some]
    changes += [txn.Mutation(partition, OTHER, 0, b"x")
                for partition in some[:-1]]
    changes.append(
        txn.Mutation(some[-1], NAMES, 0, b"second",
                     duplicate=lambda: error))
    with pytest.raises(exceptions.DuplicateKeyError) as caught:
        coordinator.commit(changes)
    assert caught.value is error
    assert payloads(coordinator, some[-1]) == {NAMES: b"first"}
    assert coordinator.stats.conflicts == 1


def test_conflict_goes_before_duplicate(coordinator, some):
    coordinator.commit([txn.Mutation(some[-1], NAMES, 0, b"first"),
                        txn.Mutation(some[0], FIELD, 0, b"first")])
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit([
            txn.Mutation(some[-1], NAMES, 0, b"x", duplicate=duplicate),
            txn.Mutation(some[0], FIELD, 5, b"x")])


def test_floor(coordinator, some):
    coordinator.commit([
        txn.Mutation(partition, FIELD, 0, b"x", uses_floor=True, version=41)
        for partition in some])
    coordinator.commit([
        txn.Mutation(partition, FIELD, 41, b"y", uses_floor=True)
        for partition in some])
    coordinator.commit([
        txn.Mutation(partition, FIELD, 42, txn.DELETE, uses_floor=True)
        for partition in some])
    for partition in some:
        assert read(coordinator, partition) == txn.Snapshot(42, {})

    for version in (None, 42):
        with pytest.raises(exceptions.FloorError) as caught:
            coordinator.commit([
                txn.Mutation(partition, FIELD, 0, b"z", uses_floor=True,
                             version=version) for partition in some])
        assert caught.value.floor == 42
        assert caught.value.partition in some
    versions = coordinator.commit([
        txn.Mutation(partition, FIELD, 0, b"z", uses_floor=True, version=43)
        for partition in some])
    assert set(versions.values()) == {43}


def test_floor_only_rises(coordinator, some):
    for field, version in ((FIELD, 1 << 52), (OTHER, 255)):
        coordinator.commit([
            txn.Mutation(partition, field, 0, b"x", uses_floor=True,
                         version=version) for partition in some])
    for field, version in ((FIELD, 1 << 52), (OTHER, 255)):
        coordinator.commit([
            txn.Mutation(partition, field, version, txn.DELETE,
                         uses_floor=True)
            for partition in some])
    assert all(read(coordinator, partition).floor == 1 << 52
               for partition in some)


def test_floor_is_the_greatest_of_one_commit(coordinator, partitions):
    partition = partitions[0]
    coordinator.commit([
        txn.Mutation(partition, field, 0, b"x", uses_floor=True,
                     version=version)
        for field, version in ((FIELD, 300), (OTHER, 5))])
    coordinator.commit([
        txn.Mutation(partition, field, version, txn.DELETE, uses_floor=True)
        for field, version in ((FIELD, 300), (OTHER, 5))])
    assert read(coordinator, partition).floor == 300


def test_a_second_life_has_other_versions(coordinator, some):
    """Or a writer that read the first would overwrite the second."""
    first = coordinator.commit(
        [txn.Mutation(partition, FIELD, 0, b"x") for partition in some])
    coordinator.commit([
        txn.Mutation(partition, FIELD, first[partition, FIELD], txn.DELETE)
        for partition in some])
    coordinator.commit(
        [txn.Mutation(partition, FIELD, 0, b"y") for partition in some])
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit([
            txn.Mutation(partition, FIELD, first[partition, FIELD], b"z")
            for partition in some])


def test_index(coordinator, some):
    def members(names):
        return [scenarios.member(name, FIELD) for name in names]

    versions = coordinator.commit([
        txn.Mutation(partition, FIELD, 0, b"x",
                     index_add=members([b"a", b"b"])) for partition in some])
    coordinator.commit([
        txn.Mutation(partition, FIELD, versions[partition, FIELD], b"y",
                     index_add=members([b"b", b"c"]),
                     index_remove=members([b"a", b"b"]))
        for partition in some])
    for partition in some:
        (found, snapshot), = coordinator.read(
            [txn.IndexRead(partition, ((b"-", b"+"),))])
        assert found == members([b"b", b"c"])
        assert snapshot == read(coordinator, partition)
    coordinator.commit([
        txn.Mutation(partition, FIELD, versions[partition, FIELD] + 1,
                     txn.DELETE, index_remove=members([b"b", b"c"]))
        for partition in some])
    for partition in some:
        assert coordinator.read(
            [txn.IndexRead(partition, ((b"-", b"+"),))]) == [
            ([], txn.Snapshot(0, {}))]


def test_refused_commit_leaves_the_index_alone(coordinator, some):
    coordinator.commit([txn.Mutation(
        some[0], FIELD, 0, b"x",
        index_add=(scenarios.member(b"a", FIELD),))])
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit([
            txn.Mutation(partition, FIELD, 0, b"y",
                         index_add=(scenarios.member(b"z", FIELD),))
            for partition in some])
    for partition in some:
        (found, _), = coordinator.read(
            [txn.IndexRead(partition, ((b"-", b"+"),))])
        assert scenarios.member(b"z", FIELD) not in found


def test_hostile_bytes(coordinator, some):
    field = keyspace.record_field("t", ("{}\r\n\0$-1\r\n'\"]]", b"\xff\0"))
    payload = bytes(range(256)) * 300
    versions = coordinator.commit([
        txn.Mutation(partition, field, 0, payload,
                     index_add=(scenarios.member(payload[:100], field),))
        for partition in some])
    coordinator.commit([
        txn.Mutation(partition, field, versions[partition, field], b"",
                     index_remove=(scenarios.member(payload[:100], field),))
        for partition in some])
    for partition in some:
        assert payloads(coordinator, partition) == {field: b""}


def test_thousands_of_mutations(coordinator, some):
    fields = [keyspace.record_field("t", (row,)) for row in range(5000)]
    versions = coordinator.commit([
        txn.Mutation(partition, field, 0, b"x",
                     index_add=(scenarios.member(b"a", field),))
        for partition in some[:2] for field in fields])
    for partition in some[:2]:
        (members, snapshot), = coordinator.read(
            [txn.IndexRead(partition, ((b"-", b"+"),))])
        assert len(members) == len(snapshot.cells) == len(fields)
    coordinator.commit([
        txn.Mutation(partition, field, versions[partition, field],
                     txn.DELETE,
                     index_remove=(scenarios.member(b"a", field),))
        for partition in some[:2] for field in fields])
    for partition in some[:2]:
        assert payloads(coordinator, partition) == {}


def test_two_mutations_of_one_field(coordinator, some):
    with pytest.raises(ValueError):
        coordinator.commit(
            [txn.Mutation(partition, FIELD, 0, b"x") for partition in some]
            + [txn.Mutation(some[-1], FIELD, 0, b"y")])


def test_round_trips(store, database, partitions):
    wrapper = stores.Wrapper(store)
    coordinator = stores.knowing(txn.Coordinator(wrapper, database))
    entry = operations.Add(b"h", b"m")

    coordinator.commit([txn.Mutation(partitions[0], FIELD, 0, b"x")])
    assert wrapper.names() == [["commit"]]

    wrapper.batches.clear()
    coordinator.commit([txn.Mutation(partitions[0], OTHER, 0, b"x")], [entry])
    assert wrapper.names() == [["clock", "ZADD"], ["commit"]]

    wrapper.batches.clear()
    coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")
                        for partition in partitions[1:4]], [entry])
    assert wrapper.names() == [
        ["prewrite"] * 2 + ["clock", "ZADD", "enqueue"], ["commit"],
        ["resolve"] * 2]

    # What tidies up after a transaction goes with the next one.
    wrapper.batches.clear()
    coordinator.commit([txn.Mutation(partition, OTHER, 0, b"x")
                        for partition in partitions[1:3]])
    assert wrapper.names() == [
        ["prewrite", "clock", "enqueue", "PEXPIRE", "ZREM"], ["commit"],
        ["resolve"]]
    assert coordinator.stats == coordinator_module.Stats(
        commits=4, multi_partition=2)


def test_nobody_waits_until_intents_are_records(store, database, partitions):
    """What tidies up waits for it: the settle task does it if it is lost."""
    class Posting(stores.Wrapper):
        def post(self, items, done):
            posted.append((items, done))

    posted = []
    wrapper = Posting(store)
    coordinator = stores.knowing(txn.Coordinator(wrapper, database))

    def commit(field):
        wrapper.batches.clear()
        coordinator.commit([txn.Mutation(partition, field, 0, b"x")
                            for partition in partitions[:2]])
        return wrapper.names()

    assert commit(FIELD) == [["prewrite", "clock", "enqueue"], ["commit"]]
    # It is committed for all that.
    other = txn.Coordinator(store, database)
    assert [payloads(other, partition)
            for partition in partitions[:2]] == [{FIELD: b"x"}] * 2
    (items, done), = posted
    replies = store.batch(items)
    assert commit(OTHER) == [["prewrite", "clock", "enqueue"], ["commit"]]
    done(replies)
    assert commit(FIELD + b"2") == [
        ["prewrite", "clock", "enqueue", "PEXPIRE", "ZREM"], ["commit"]]


def test_one_server_takes_all_in_one_round_trip(
        store, database, partitions):
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(wrapper, database, atomic=True)
    partition, other = partitions[:2]
    coordinator.commit([txn.Mutation(other, FIELD, 0, b"other")])
    entries = [
        operations.Add(partition.index_key + b"h", b"entry"),
        coordinator.queue.enqueue(b"k", "later", 60000),
        coordinator.queue.enqueue(b"k", "due", 0)]
    changes = [txn.Mutation(
        partition, FIELD, 0, b"x",
        index_add=(scenarios.member(b"a", FIELD),))]
    wrapper.batches.clear()

    versions, (found,) = coordinator.commit_and_read(
        changes, entries, [txn.FieldsRead(other, (FIELD,))])

    assert wrapper.names() == [["commit", "HMGET"]]
    assert list(versions) == [(partition, FIELD)]
    assert found.cell(FIELD).payload == b"other"
    assert payloads(coordinator, partition) == {FIELD: b"x"}
    for sorted_set, members in (
            (partition.index_key, [scenarios.member(b"a", FIELD)]),
            (partition.index_key + b"h", [b"entry"])):
        assert scenarios.send(
            store, sorted_set, b"ZRANGE", sorted_set, 0, -1) == members
    taken = []
    coordinator.queue.register(b"k", taken.extend)
    coordinator.queue.run_all()
    assert taken == ["due"]


def test_what_is_refused_on_one_server_adds_no_entry(
        store, database, partitions):
    coordinator = txn.Coordinator(store, database, atomic=True)
    entry = operations.Add(partitions[0].index_key + b"h", b"entry")
    with pytest.raises(exceptions.ConflictError):
        coordinator.commit(
            [txn.Mutation(partitions[0], FIELD, 7, b"x")], [entry])
    assert scenarios.send(
        store, entry.key, b"ZRANGE", entry.key, 0, -1) == []


def test_entry_that_cannot_be_added(store, database, partitions):
    """The script has applied nothing when it fails."""
    coordinator = txn.Coordinator(store, database, atomic=True)
    entry = operations.Add(partitions[0].index_key + b"h", b"entry")
    scenarios.send(store, entry.key, b"SET", entry.key, b"no sorted set")
    with pytest.raises(exceptions.StoreReplyError):
        coordinator.commit(
            [txn.Mutation(partitions[0], FIELD, 0, b"x")], [entry])
    assert payloads(coordinator, partitions[0]) == {}


@pytest.mark.parametrize("atomic", [False, True])
def test_reads_along_with_a_commit(store, database, some, atomic):
    wrapper = stores.Wrapper(store)
    coordinator = txn.Coordinator(wrapper, database, atomic=atomic)
    other = keyspace.partition(database, "t", "other")
    coordinator.commit([txn.Mutation(other, FIELD, 0, b"other")])
    wrapper.batches.clear()
    versions, (found, nothing) = coordinator.commit_and_read(
        [txn.Mutation(partition, FIELD, 0, b"x") for partition in some],
        [operations.Add(other.index_key, b"entry")],
        [txn.PartitionRead(other), txn.FieldsRead(other, (OTHER,))])
    assert len(versions) == len(some)
    assert found.cell(FIELD).payload == b"other"
    assert nothing.cells == {}
    assert len(wrapper.batches) == (
        1 if atomic else 3 if len(some) > 1 else 2)
    assert coordinator.commit_and_read(
        [], [], [txn.FieldsRead(other, (FIELD,))])[1][0].cells.keys() == {
        FIELD}


def test_primary_is_where_most_is_written(store, database, partitions):
    wrapper = stores.Wrapper(store)
    stores.knowing(txn.Coordinator(wrapper, database)).commit([
        txn.Mutation(partitions[0], FIELD, 0, b"x"),
        txn.Mutation(partitions[1], FIELD, 0, b"x"),
        txn.Mutation(partitions[1], OTHER, 0, b"x")])
    assert wrapper.batches[1][0].keys[0] == partitions[1].key


def test_one_record_is_validated_by_several_at_once(
        store, database, partitions):
    coordinator = txn.Coordinator(store, database)
    coordinator.commit([txn.Mutation(partitions[0], FIELD, 0, b"x",
                                     version=1)])

    def mutations(partition):
        return [txn.Mutation(partitions[0], FIELD, 1, txn.LOCK),
                txn.Mutation(partition, FIELD, 0, b"x"),
                txn.Mutation(partition, OTHER, 0, b"x")]

    def failpoint(reached):
        if reached == "after_prewrite":
            coordinator.commit(mutations(partitions[1]))

    txn.Coordinator(store, database, failpoint=failpoint).commit(
        mutations(partitions[2]))
    assert coordinator.stats.conflicts == 0
    assert payloads(coordinator, partitions[1]) == payloads(
        coordinator, partitions[2])


class Replicas(stores.Wrapper):
    """Answers how many replicas acknowledged."""

    def __init__(self, store, acknowledged):
        super().__init__(store)
        self.acknowledged = acknowledged
        self.asked = []

    def batch(self, items, *args):
        replies = super().batch(items)
        if args:
            self.asked.append(args)
            replies.append(self.acknowledged.pop(0))
        return replies


def test_commit_replicas(store, database, some):
    replicas = Replicas(store, [2] * 3)
    txn.Coordinator(
        replicas, database, commit_replicas=2, replica_timeout_ms=77
    ).commit([txn.Mutation(partition, FIELD, 0, b"x") for partition in some])
    assert replicas.asked == [(2, 77)] * (1 if len(some) == 1 else 3)


@pytest.mark.parametrize("settled", ([1, 2], [2, 1]))
def test_the_outcome_stays_until_what_was_applied_is_replicated(
        store, database, partitions, settled):
    """A failover may bring an intent back that was applied."""
    replicas = Replicas(store, [2, 2, 1, *settled, 2, 2])
    coordinator = txn.Coordinator(replicas, database, commit_replicas=2)
    coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")
                        for partition in partitions])
    assert coordinator._by_intents._take_leftovers() == []
    # The outcome, which never expires, and the entry that settles it.
    assert len(scenarios.leftovers(store, database)) == 2
    scenarios.make_due(store, database)
    coordinator.queue.run_all()
    assert len(scenarios.leftovers(store, database)) == 2
    scenarios.make_due(store, database)
    coordinator.queue.run_all()
    assert scenarios.leftovers(store, database) == []


def test_commit_that_is_not_replicated(store, database, some):
    replicas = Replicas(store, [1] if len(some) == 1 else [2, 1])
    coordinator = txn.Coordinator(replicas, database, commit_replicas=2)
    with pytest.raises(exceptions.UnreplicatedError):
        coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")
                            for partition in some])
    assert all(payloads(coordinator, partition) == {FIELD: b"x"}
               for partition in some)
    # The intents stay until others need them to go.
    assert "resolve" not in sum(replicas.names(), [])


def test_prewrite_that_is_not_replicated(store, database, partitions):
    replicas = Replicas(store, [1])
    coordinator = txn.Coordinator(replicas, database, commit_replicas=2)
    with pytest.raises(exceptions.StoreUnavailableError):
        coordinator.commit([txn.Mutation(partition, FIELD, 0, b"x")
                            for partition in partitions])
    assert all(payloads(coordinator, partition) == {}
               for partition in partitions)
    replicas.acknowledged += [2] * 2
    scenarios.make_due(store, database)
    coordinator.queue.run_all()
    assert scenarios.leftovers(store, database) == []
