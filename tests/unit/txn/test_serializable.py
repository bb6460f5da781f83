# SPDX-License-Identifier: Apache-2.0
"""Commits that compare everything that was read once they hold intents."""

import itertools

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record.indexes import global_index
from nova_kvs.store import operations
from nova_kvs import txn
from nova_kvs.txn import reading
from tests.fault import scenarios

FIELD = keyspace.record_field("t", (1,))
OTHER = keyspace.record_field("t", (2,))
EVERYTHING = ((b"-", b"+"),)
LATER = (exceptions.SerializationError, exceptions.ConflictError)


def read(coordinator, *reads):
    """Return pairs of some reads and their results."""
    return list(zip(reads, coordinator.read(reads)))


def commit(coordinator, verified, *mutations, side_writes=()):
    return coordinator.commit_and_read(
        mutations, side_writes, (), verified=verified, serializable=True)


def insert(partition, field=FIELD, payload=b"x", **options):
    return txn.Mutation(partition, field, 0, payload, version=1, **options)


def member(name, field=FIELD):
    return scenarios.member(name, field)


def entry(partition, number, version, field=FIELD):
    """Return an entry of a global index, as it is stored."""
    return global_index.member(global_index.GlobalEntry(
        b"", keyspace.encode_tuple((number,)) + partition.key + field
        + len(partition.key).to_bytes(2, "big")
        + len(field).to_bytes(2, "big")), version, b"1234")


def members(database, low=b"-", high=b"+", **options):
    return reading.MembersRead(
        keyspace.bucket_key(database, "t.n", "0"), low, high,
        names=global_index.named, **options)


# Two that read what the other one writes -------------------------------------

#: Kinds of reads: partition -> read.
READS = {
    "field": lambda partition: txn.FieldsRead(partition, (FIELD,)),
    "partition": txn.PartitionRead,
    "prefix": lambda partition: txn.PartitionRead(
        partition, (keyspace.record_prefix("t"),)),
    "index": lambda partition: txn.IndexRead(partition, EVERYTHING),
}
POINTS = ("before_prewrite", "after_prewrite", "before_commit",
          "after_commit", "before_apply", "after_apply")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kind", READS)
def test_of_a_write_skew_one_fails(
        store, database, partitions, pauses, kind, point):
    """Wherever the first of the two is when the other one commits."""
    mine, yours = partitions[:2]
    outcomes = {}

    def run(name, coordinator, verified, partition):
        try:
            commit(coordinator, verified,
                   insert(partition, index_add=(member(b"m"),)))
        except exceptions.ConflictError:
            outcomes[name] = False
        else:
            outcomes[name] = True

    def failpoint(reached):
        if reached == point and "second" not in outcomes:
            outcomes["second"] = None
            run("second", second, seen_by_second, yours)

    first = txn.Coordinator(store, database, failpoint=failpoint)
    second = txn.Coordinator(store, database)
    seen_by_first = read(first, READS[kind](yours))
    seen_by_second = read(second, READS[kind](mine))
    run("first", first, seen_by_first, mine)
    assert sorted(outcomes) == ["first", "second"]
    assert sum(outcomes.values()) <= 1
    # Whoever is alone commits.
    if point in ("before_prewrite", "after_commit", "after_apply"):
        assert sum(outcomes.values()) == 1
    scenarios.make_due(store, database)
    first.queue.run_all()
    assert scenarios.leftovers(store, database) == []


def test_what_is_written_without_a_read_needs_no_more(
        store, coordinator, partitions):
    before = store.stats.round_trips
    commit(coordinator, (), insert(partitions[0]))
    assert store.stats.round_trips == before + 1


def test_a_reader_of_one_moment(coordinator, partitions):
    coordinator.commit([insert(partitions[0]), insert(partitions[1])])
    seen = read(coordinator, txn.PartitionRead(partitions[0]))
    coordinator.validate(seen)
    coordinator.commit([txn.Mutation(partition, FIELD, 1, b"y")
                        for partition in partitions[:2]])
    seen += read(coordinator, txn.PartitionRead(partitions[1]))
    with pytest.raises(exceptions.SerializationError):
        coordinator.validate(seen)
    assert coordinator.stats.conflicts == 1


@pytest.mark.parametrize("point", ["after_prewrite", "before_apply"])
def test_a_reader_waits_for_who_is_at_work(
        store, database, partitions, pauses, point):
    """It cannot tell on which side of the other's commit it is."""
    coordinator = txn.Coordinator(store, database)
    coordinator.commit([insert(partitions[0])])
    seen = read(coordinator, txn.PartitionRead(partitions[0]))
    met = []

    def failpoint(reached):
        if reached == point:
            with pytest.raises(exceptions.ConflictError):
                coordinator.validate(seen)
            met.append(reached)

    other = txn.Coordinator(store, database, failpoint=failpoint)
    other.commit([txn.Mutation(partitions[0], FIELD, 1, b"y"),
                  insert(partitions[1]), insert(partitions[1], OTHER)])
    assert met


# What counts as the same -----------------------------------------------------

def test_its_own_intents_and_entries_are_not_others(
        coordinator, database, partitions):
    partition, elsewhere = partitions[:2]
    coordinator.commit([insert(
        partition, OTHER, index_add=(member(b"a", OTHER),))])
    seen = read(
        coordinator, txn.PartitionRead(partition),
        txn.FieldsRead(partition, (FIELD,)),
        txn.IndexRead(partition, EVERYTHING),
        txn.IndexRead(partition, EVERYTHING, limit=1, reverse=True),
        members(database))
    added = operations.Add(
        keyspace.bucket_key(database, "t.n", "0"), entry(partition, 1, 1))
    commit(coordinator, seen,
           insert(partition, index_add=(member(b"b"),)),
           txn.Mutation(partition, OTHER, 1, b"y",
                        index_add=(member(b"c", OTHER),),
                        index_remove=(member(b"a", OTHER),)),
           insert(elsewhere), side_writes=[added])


def test_an_entry_that_is_there_before_its_record(
        store, database, partitions):
    """Of a transaction that was at work when the index was read."""
    coordinator = txn.Coordinator(store, database)
    seen = []

    def failpoint(reached):
        if reached == "after_prewrite":
            seen.extend(read(coordinator, txn.IndexRead(
                partitions[0], EVERYTHING)))

    other = txn.Coordinator(store, database, failpoint=failpoint)
    other.commit([insert(partitions[0], index_add=(member(b"m"),)),
                  insert(partitions[1]), insert(partitions[1], OTHER)])
    assert seen[0][1][0] == [member(b"m")] and not seen[0][1][1].stored
    with pytest.raises(exceptions.SerializationError):
        commit(coordinator, seen, insert(partitions[2]))
    with pytest.raises(exceptions.SerializationError):
        coordinator.validate(seen)


def test_a_row_that_is_only_locked_may_be_read(
        store, database, partitions, pauses):
    coordinator = txn.Coordinator(store, database)
    coordinator.commit([insert(partitions[0]), insert(partitions[1])])
    seen = read(coordinator, txn.PartitionRead(partitions[0]))
    met = []

    def failpoint(reached):
        if reached == "after_prewrite":
            commit(coordinator, seen, insert(partitions[2]))
            met.append(reached)

    other = txn.Coordinator(store, database, failpoint=failpoint)
    other.commit([txn.Mutation(partitions[0], FIELD, 1, txn.LOCK),
                  txn.Mutation(partitions[1], FIELD, 1, txn.LOCK),
                  insert(partitions[1], OTHER)])
    assert met


@pytest.mark.parametrize("reverse", [False, True])
def test_a_limited_range_counts_up_to_what_came(
        coordinator, database, partitions, reverse):
    partition = partitions[0]
    fields = [keyspace.record_field("t", (number,)) for number in range(5)]
    members = [member(b"%d" % number, field)
               for number, field in enumerate(fields)]
    order = [0, 1, 2, 3, 4][::-1 if reverse else 1]
    coordinator.commit([
        insert(partition, fields[number], index_add=(members[number],))
        for number in order[:2]])
    seen = read(coordinator, txn.IndexRead(
        partition, EVERYTHING, limit=2, reverse=reverse))
    # Behind the last one that was read.
    coordinator.commit([insert(partition, fields[order[3]],
                               index_add=(members[order[3]],))])
    commit(coordinator, seen, insert(partitions[1]))
    seen = read(coordinator, txn.IndexRead(
        partition, EVERYTHING, limit=4, reverse=reverse))
    coordinator.commit([insert(partition, fields[order[4]],
                               index_add=(members[order[4]],))])
    with pytest.raises(exceptions.SerializationError):
        commit(coordinator, seen, insert(partitions[1], OTHER))


def test_an_entry_counts_if_its_record_does(
        store, coordinator, database, partitions):
    """Not one of a transaction that failed, or did not commit yet."""
    partition = partitions[0]
    key = keyspace.bucket_key(database, "t.n", "0")
    fields = [keyspace.record_field("t", (number,)) for number in range(9)]
    used = itertools.count()

    def attempt(seen):
        commit(coordinator, seen, insert(partitions[1], fields[next(used)]))

    seen = read(coordinator, members(database))
    store.batch([operations.Add(key, entry(partition, 1, 1))])
    attempt(seen)
    coordinator.commit([insert(partition)])
    with pytest.raises(exceptions.SerializationError):
        attempt(seen)
    # A change that failed: the record is below its entry's version.
    seen = read(coordinator, members(database))
    store.batch([operations.Add(key, entry(partition, 1, 2))])
    attempt(seen)
    # What is gone is nothing to readers of the index.
    seen = read(coordinator, members(database))
    store.batch([operations.Remove(key, entry(partition, 1, 2))])
    attempt(seen)
    # Beyond what a limit has let come.
    seen = read(coordinator, members(database, limit=1))
    other = keyspace.partition(database, "t", "other")
    store.batch([operations.Add(key, entry(other, 2, 1))])
    coordinator.commit([insert(other)])
    attempt(seen)
    with pytest.raises(exceptions.SerializationError):
        attempt([(members(database), seen[0][1])])


def test_an_entry_of_who_is_at_work_is_waited_for(
        store, database, partitions, pauses):
    coordinator = txn.Coordinator(store, database)
    seen = read(coordinator, members(database))
    met = []

    def failpoint(reached):
        if reached == "after_prewrite" and not met:
            met.append(reached)
            with pytest.raises(exceptions.ConflictError, match="in the way"):
                commit(coordinator, seen, insert(partitions[2]))

    other = txn.Coordinator(store, database, failpoint=failpoint)
    other.commit(
        [insert(partitions[0]), insert(partitions[1]),
         insert(partitions[1], OTHER)],
        [operations.Add(keyspace.bucket_key(database, "t.n", "0"),
                        entry(partitions[0], 1, 1))])
    assert met and pauses


def test_a_directory_member_counts_as_it_is(store, coordinator, database,
                                            partitions):
    key = keyspace.bucket_key(database, ".t", "0")
    seen = read(coordinator, reading.MembersRead(key, b"-", b"+"))
    store.batch([operations.Add(key, b"member")])
    with pytest.raises(exceptions.SerializationError):
        commit(coordinator, seen, insert(partitions[0]))
