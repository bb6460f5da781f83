# SPDX-License-Identifier: Apache-2.0
"""Named operations, as every store driver does them."""

import json
import os
import struct
import subprocess
import sys
import threading
import time

import pytest

from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store import registry

NASTY = bytes(range(256)) + b"\r\n$3\r\nabc\r\n{}"
_VERSION = struct.Struct(">Q").pack

_OTHER = """
import json, sys
from nova_kvs.store import operations, registry
store = registry.get_store(sys.argv[1])
key = sys.argv[2].encode()
print(json.dumps(store.batch([operations.Increment(key, 1)])))
"""


@pytest.fixture
def bucket(database):
    """Return the key of one bucket of a global index."""
    return keyspace.bucket_key(database, "instances.host", "0")


@pytest.fixture
def partition(database):
    return keyspace.partition(database, "s", "one")


def _commit(store, partition, *changes, add=()):
    answer, = store.batch([operations.Commit(
        partition.outcome_key(os.urandom(16)), (operations.Part(
            partition.key, partition.index_key, changes, add),),
        committed_life_ms=60000, refused_life_ms=60000)])
    assert answer.verdict is operations.Verdict.COMMITTED


def _put(field, payload=b"", version=1):
    return operations.Change(
        operations.PUT, field, version - 1, _VERSION(version) + payload)


def _member(order, field):
    return order + field + len(field).to_bytes(2, "big")


# Fields ---------------------------------------------------------------------

def test_nothing_is_there_at_first(store, partition, bucket):
    key = partition.key
    (members, pairs), = store.batch([operations.ReadIndex(
        key, partition.index_key, ((b"-", b"+"),))])
    assert members == pairs == []
    assert store.batch([
        operations.ReadPartition(key), operations.ReadPartition(key, (b"r",)),
        operations.ReadFields(key, (b"ra", b"rb")),
        operations.ReadMembers(bucket, b"-", b"+"),
        operations.ReadScores(bucket), operations.ReadAll(key),
        operations.ListFields(key), operations.CountFields(key),
        operations.GetField(key, b"ra"), operations.HasField(key, b"ra"),
        operations.GetScore(bucket, b"m"), operations.Get(key),
        operations.Exists(key), operations.LivesForEver(key),
        operations.PageFields(key), operations.PageMembers(bucket),
        operations.Delete(key), operations.ReadOutcome(key + b"t")]) == [
            [], [], [None] * 5, [], {}, {}, [], 0, None, False,
            None, None, False, False, (None, []), (None, []), False, None]


def test_a_partition_is_read_in_several_ways(store, partition):
    key = partition.key
    _commit(store, partition, _put(b"rinstances\0" + NASTY, NASTY),
            _put(b"rblock\0a", b"payload"))
    first = _VERSION(1) + NASTY
    second = _VERSION(1) + b"payload"
    flat, some, fields, names, count, one, there, exists = store.batch([
        operations.ReadPartition(key),
        operations.ReadPartition(key, (b"rblock\0", b"rnone\0")),
        operations.ReadFields(key, (b"rblock\0a", b"rnone\0")),
        operations.ListFields(key), operations.CountFields(key),
        operations.GetField(key, b"rblock\0a"),
        operations.HasField(key, b"rblock\0a"), operations.Exists(key)])
    assert dict(zip(flat[::2], flat[1::2])) == {
        b"rinstances\0" + NASTY: first, b"rblock\0a": second}
    assert some == [b"rblock\0a", second]
    assert fields == [None, second, None, None, None]
    assert sorted(names) == [b"rblock\0a", b"rinstances\0" + NASTY]
    assert (count, one, there, exists) == (2, second, True, True)
    # As long as nobody writes it.
    assert store.batch([operations.ReadPartition(key)]) == [flat]


def test_fields_come_and_go_and_are_paged(store, keys):
    key = keys("h")
    store.batch([operations.PutField(key, b"f%03d" % number, b"%d" % number)
                 for number in range(150)])
    store.batch([operations.PutField(key, b"f000", b"new"),
                 operations.RemoveField(key, b"f001"),
                 operations.RemoveField(key, b"f999")])
    everything, = store.batch([operations.ReadAll(key)])
    assert len(everything) == 149 and everything[b"f000"] == b"new"
    found = {}
    cursor = None
    while True:
        (cursor, pairs), = store.batch([
            operations.PageFields(key, cursor, 20)])
        found.update(pairs)
        if cursor is None:
            break
    assert found == everything


# Ordered sets ---------------------------------------------------------------

@pytest.mark.parametrize("bounds, expected", [
    ((b"-", b"+"), [b"a", b"a\0", b"ab", b"b", b"c", b"c\xff"]),
    ((b"[a\0", b"(c"), [b"a\0", b"ab", b"b"]),
    ((b"(a\0", b"[c"), [b"ab", b"b", b"c"]),
    ((b"(c", b"+"), [b"c\xff"]),
    ((b"[d", b"+"), []),
    ((b"[c", b"[a"), []),
])
def test_members_of_a_range_in_both_orders(store, keys, bucket, bounds,
                                           expected):
    for key in (keys("z"), bucket):
        store.batch([operations.Add(key, member) for member in (
            b"c\xff", b"b", b"a", b"ab", b"a\0", b"c")])
        assert store.batch([
            operations.ReadMembers(key, *bounds),
            operations.ReadMembers(key, *bounds, reverse=True),
            operations.ReadMembers(key, *bounds, 2),
            operations.ReadMembers(key, *bounds, 2, True)]) == [
                expected, expected[::-1], expected[:2],
                expected[::-1][:2]]


_LONG = "n" * keyspace.KEPT_COMPONENT_BYTES
_VALUES = [
    (0, None, "a"), (0, "Name\0.1", "a"), (0, "NAME.1", "b"), (0, "a", "b"),
    (1, "\0\1name", "a"), (1, "\u20acname\u20ac", None), (1, 5, "a"),
    (1.5, b"name", "b"), (1, _LONG, "a"), (1, _LONG + "b" * 50, "b")]


def _one_of(place, *values):
    return operations.Having(place, tuple(
        [keyspace.encode_tuple((value,)) for value in values]))


@pytest.mark.parametrize("having, expected", [
    ([_one_of(0, 1)], [4, 5, 6, 8, 9]),
    ([_one_of(1, None, 5, "a")], [0, 3, 6]),
    ([_one_of(1, "a")], [3]),
    ([_one_of(1, _LONG + "b" * 50)], [9]),
    ([_one_of(2, "b", "c")], [2, 3, 7, 9]),
    ([_one_of(0, 0), _one_of(2, "b")], [2, 3]),
    # What is no text, or may have been cut, passes.
    ([operations.Having(1, None, b"name")], [1, 2, 4, 5, 6, 7, 9]),
    ([operations.Having(1, None, b"nname")], [6, 7, 9]),
    ([_one_of(0, 1), operations.Having(1, None, b"name"), _one_of(2, "a")],
     [4, 6]),
])
def test_members_having_some_values(store, bucket, having, expected):
    members = [keyspace.encode_tuple(values) + b"\3a\0\1end"
               for values in _VALUES]
    store.batch([operations.Add(bucket, member) for member in members])
    wanted = sorted([members[number] for number in expected])
    for reverse in (False, True):
        found, = store.batch([operations.ReadMembers(
            bucket, b"-", b"+", None, reverse, tuple(having))])
        # A driver may leave the others out, or all in.
        assert found in [sorted(some, reverse=reverse)
                         for some in (wanted, members)]
        if store.url.driver == "memory":
            assert len(found) == len(wanted)
    found, = store.batch([operations.ReadMembers(
        bucket, b"[" + members[2], b"[" + members[2], None, False,
        (_one_of(2, "b"),))])
    assert found == [members[2]]


def test_members_are_added_once_and_removed(store, bucket):
    store.batch([operations.Add(bucket, b"a"), operations.Add(bucket, b"b"),
                 operations.Add(bucket, b"a")])
    store.batch([operations.Remove(bucket, b"b"),
                 operations.Remove(bucket, b"none")])
    assert store.batch([
        operations.ReadMembers(bucket, b"-", b"+"),
        operations.ReadMembers(bucket, b"-", b"+", None, True),
        operations.ReadScores(bucket), operations.GetScore(bucket, b"a"),
        operations.GetScore(bucket, b"b")]) == [
            [b"a"], [b"a"], {b"a": 0.0}, 0.0, None]


def test_scores_are_raised_only(store, keys):
    key = keys("z")
    for score, expected in ((9, 9), (10, 10), (8, 10), (100, 100)):
        store.batch([operations.Raise(key, b"m", score)])
        assert store.batch([operations.GetScore(key, b"m"),
                            operations.ReadScores(key)]) == [
            float(expected), {b"m": float(expected)}]


def test_members_are_paged_with_their_scores(store, keys):
    key = keys("z")
    store.batch([operations.Raise(key, b"m%03d" % number, number)
                 for number in range(150)])
    found = {}
    cursor = None
    while True:
        (cursor, pairs), = store.batch([
            operations.PageMembers(key, cursor, 20)])
        found.update(pairs)
        if cursor is None:
            break
    assert {member: float(score) for member, score in found.items()} == {
        b"m%03d" % number: float(number) for number in range(150)}


def test_an_index_is_read_with_the_records_that_it_names(store, partition):
    key, index_key = partition.key, partition.index_key
    _commit(store, partition, *[_put(b"r%d" % number) for number in range(5)],
            add=[_member(b"o%d" % (5 - number), b"r%d" % number)
                 for number in range(5)])
    members, pairs = store.batch([operations.ReadIndex(
        key, index_key, ((b"[o2", b"(o4"), (b"[o5", b"+")))])[0]
    assert members == [_member(b"o2", b"r3"), _member(b"o3", b"r2"),
                       _member(b"o5", b"r0")]
    assert sorted(pairs[::2]) == [b"r0", b"r2", b"r3"]
    assert set(pairs[1::2]) == {_VERSION(1)}
    members, pairs = store.batch([operations.ReadIndex(
        key, index_key, ())])[0]
    assert members == pairs == []
    members, pairs = store.batch([operations.ReadIndex(
        key, index_key, ((b"[o2", b"(o4"), (b"[o5", b"+")), 2, True)])[0]
    assert members == [_member(b"o3", b"r2"), _member(b"o2", b"r3")]


# Counters, tasks, lives -----------------------------------------------------

def test_a_counter_begins_at_nothing(store, keys):
    assert store.batch([operations.Increment(keys("i"), 5)]) == [5]
    assert store.batch([operations.Increment(keys("i"), 2),
                        operations.Increment(keys("i"), 1)]) == [7, 8]
    assert store.batch([operations.Get(keys("i")),
                        operations.LivesForEver(keys("i"))]) == [b"8", True]
    store.batch([operations.SetLife(keys("i"), 60000)])
    assert store.batch([operations.Get(keys("i")),
                        operations.LivesForEver(keys("i"))]) == [b"8", False]


def test_due_tasks_are_leased(store, keys):
    key = keys("q")
    store.batch([operations.Add(key, b"t%d" % number, 0)
                 for number in range(5)] + [
        operations.Add(key, b"later", 60000)])
    # The first time that one is due stays.
    store.batch([operations.Add(key, b"t0", 60000)])
    first, = store.batch([operations.LeaseTasks(key, 3, 60000)])
    second, = store.batch([operations.LeaseTasks(key, 10, 60000)])
    assert (len(first), len(second)) == (3, 2)
    assert sorted(first + second) == [b"t%d" % number for number in range(5)]
    assert store.batch([operations.LeaseTasks(key, 10, 60000)]) == [[]]
    store.batch([operations.Remove(key, b"t0")])
    scores, = store.batch([operations.ReadScores(key)])
    assert sorted(scores) == [b"later", b"t1", b"t2", b"t3", b"t4"]


def test_tasks_that_are_large_together_are_leased(store, keys):
    queues = [keys("q%d" % number) for number in range(16)]
    tasks = [b"%02d" % number + bytes(80000) for number in range(4)]
    for key in queues:
        store.batch([operations.Add(key, task, 0) for task in tasks])
    leases = [operations.LeaseTasks(key, 100, 60000) for key in queues]
    assert [sorted(leased) for leased in store.batch(leases)] == [tasks] * 16
    assert store.batch(leases) == [[]] * 16
    store.batch([operations.Remove(key, task)
                 for key in queues for task in tasks])
    assert store.batch([operations.ReadScores(key)
                        for key in queues]) == [{}] * 16


def test_a_lease_ends(store, keys):
    key = keys("q")
    store.batch([operations.Add(key, b"t", 0)])
    assert store.batch([operations.LeaseTasks(key, 3, -1000)]) == [[b"t"]]
    assert store.batch([operations.LeaseTasks(key, 3, 60000)]) == [[b"t"]]


def test_the_clock_is_about_ours(store, keys):
    now_ms, = store.batch([operations.ReadClock(keys("c"))])
    assert abs(now_ms - time.time() * 1000) < 60000


# Removing what is as it was seen --------------------------------------------

def test_a_floor_goes_when_it_is_all_there_is(store, partition):
    key = partition.key
    _commit(store, partition, _put(b"ra"), _put(b"rb"))
    _commit(store, partition, operations.Change(
        operations.REMOVE_RAISING_FLOOR, b"ra", 1, b""))
    assert store.batch([operations.DropFloor(key, _VERSION(1))]) == [False]
    _commit(store, partition, operations.Change(
        operations.REMOVE, b"rb", 1, b""))
    assert store.batch([operations.ReadPartition(key)]) == [
        [b"f", _VERSION(1)]]
    assert store.batch([operations.DropFloor(key, _VERSION(2))]) == [False]
    assert store.batch([operations.DropFloor(key, _VERSION(1))]) == [True]
    assert store.batch([operations.Exists(key)]) == [False]


def test_included_columns_go_unless_somebody_writes_the_row(store, bucket):
    versions = keyspace.minimums_key(bucket)
    columns = keyspace.included_key(bucket)
    store.batch([operations.Raise(versions, b"m", 5),
                 operations.PutField(columns, b"m", b"columns"),
                 operations.PutField(columns, b"n", b"of none")])
    assert store.batch([
        operations.DropIncluded(versions, columns, b"m", 4)]) == [False]
    assert store.batch([operations.ReadAll(columns)]) == [
        {b"m": b"columns", b"n": b"of none"}]
    assert store.batch([
        operations.DropIncluded(versions, columns, b"m", 5),
        operations.DropIncluded(versions, columns, b"n", 1)]) == [True, True]
    assert store.batch([operations.ReadAll(columns),
                        operations.ReadScores(versions)]) == [{}, {}]


def test_a_field_is_discarded_as_it_was_seen(store, partition):
    key = partition.key
    _commit(store, partition, _put(b"ra", b"x"))
    assert store.batch([operations.DiscardField(
        key, b"ra", _VERSION(1) + b"y")]) == [False]
    assert store.batch([operations.DiscardField(
        key, b"ra", _VERSION(1) + b"x")]) == [True]
    assert store.batch([operations.ReadPartition(key)]) == [[]]


def test_an_index_is_corrected_if_the_record_is_as_seen(store, partition):
    key, index_key = partition.key, partition.index_key
    _commit(store, partition, _put(b"ra", b"x"))
    correct = operations.CorrectIndex
    assert store.batch([
        correct(key, index_key, b"ra", 2, b"entry", True)]) == [False]
    assert store.batch([
        correct(key, index_key, b"ra", 1, b"entry", True)]) == [True]
    read = operations.ReadMembers(index_key, b"-", b"+")
    assert store.batch([read]) == [[b"entry"]]
    assert store.batch([
        correct(key, index_key, b"rnone", 0, b"entry", False)]) == [True]
    assert store.batch([read]) == [[]]


def test_a_key_is_deleted_with_all_that_is_under_it(store, partition, keys):
    _commit(store, partition, _put(b"ra"))
    store.batch([operations.Add(keys("z"), b"m")])
    assert store.batch([operations.Delete(partition.key),
                        operations.Delete(keys("z"))]) == [True, True]
    assert store.batch([operations.ReadPartition(partition.key),
                        operations.Exists(keys("z"))]) == [[], False]


# The store ------------------------------------------------------------------

def test_operations_of_one_key_keep_their_order(store, keys):
    key = keys("h")
    assert store.batch([
        operations.PutField(key, b"f", b"1"),
        operations.GetField(key, b"f"),
        operations.PutField(key, b"f", b"2"),
        operations.PutField(key, b"f", b"3"),
        operations.GetField(key, b"f"),
        operations.RemoveField(key, b"f"),
        operations.GetField(key, b"f")])[1::3] == [b"1", b"3"]
    assert store.batch([operations.GetField(key, b"f")]) == [None]


def test_reads_of_a_batch_are_one_round_trip(store, keys):
    reads = [operations.ReadAll(keys("x", str(number)))
             for number in range(25)]
    store.batch(reads)
    before = store.stats.round_trips, store.stats.commands
    store.batch(reads)
    assert (store.stats.round_trips, store.stats.commands) == (
        before[0] + 1, before[1] + 25)


def test_keys_of_a_database_are_found(store, database):
    partitions = [keyspace.partition(database, "s", str(number)).key
                  for number in range(60)]
    other = keyspace.partition(database + "x", "s", "0").key
    store.batch([operations.PutField(key, b"f%d" % number, b"")
                 for key in partitions + [other] for number in range(3)])
    found = list(store.scan(keyspace.database_pattern(database), count=7))
    assert set(found) == set(partitions)
    assert list(store.scan(partitions[0], count=7)) == [partitions[0]]


def test_threads_count_every_number_once(store, keys):
    start = threading.Barrier(5)
    seen = []

    def work():
        start.wait()
        for number in range(20):
            seen.extend(store.batch([
                operations.Increment(keys("n", str(number % 4)), 1)]))

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(list(range(1, 26)) * 4)


def test_a_closed_store_connects_again(store, keys):
    store.batch([operations.Increment(keys("n"), 1)])
    store.close()
    store.close()
    assert store.batch([operations.Increment(keys("n"), 1)]) == [2]


def test_servers_are_listed(store, keys, has_servers):
    facts = store.check()
    assert facts["driver"] == store.url.driver
    assert bool(facts["servers"]) == has_servers
    known = {server["address"] for server in facts["servers"]}
    for server in facts["servers"]:
        assert server["role"] in ("master", "leader")
        assert server["used_memory"] > 0 and server["version"]
    assert store.address_of(keys("k")) in known or not has_servers


def test_a_rehearsal_leaves_nothing(store, keys, database):
    store.rehearse(keys("r"))
    assert store.batch([operations.Exists(keys("r"))]) == [False]
    assert list(store.scan(keyspace.database_pattern(database))) == []


def test_watched_changes_are_told(url, store, keys, requires):
    reader = registry.get_store(url, options={"read_from": "memory"})
    read = operations.ReadPartition(keys("w"))
    write = operations.PutField
    store.batch([write(keys("w"), b"f", b"1")])
    for _ in range(3):
        assert reader.batch([read], may_lag=True) == [[b"f", b"1"]]
    assert (reader.stats.remembered > 0) == requires("WATCH")
    store.batch([write(keys("w"), b"f", b"2")])
    deadline = time.monotonic() + 30
    while reader.batch([read], may_lag=True) != [[b"f", b"2"]]:
        assert time.monotonic() < deadline


def test_what_was_acknowledged_survives_a_killed_server(
        servers, store, keys, requires):
    if not requires("DURABLE"):
        return
    key = keys("n")
    for number in range(1, 21):
        assert store.batch([operations.Increment(key, 1)]) == [number]
    for node in servers.nodes:
        servers.kill(node)
        servers.restart(node)
    assert store.batch([operations.Get(key)]) == [b"20"]


def test_data_of_servers_is_shared_and_stays(url, store, keys, has_servers):
    store.batch([operations.Increment(keys("s"), 1)])
    printed = subprocess.run(
        [sys.executable, "-c", _OTHER, url, keys("s").decode()], check=True,
        stdout=subprocess.PIPE, text=True, timeout=60,
        env=dict(os.environ, PYTHONPATH=os.getcwd())).stdout
    assert json.loads(printed) == [2 if has_servers else 1]
    assert store.batch([operations.Get(keys("s"))]) == [
        b"2" if has_servers else b"1"]


def test_a_forked_process_has_connections_of_its_own(store, keys,
                                                     has_servers):
    key = keys("n")
    store.batch([operations.Increment(key, 1)])
    child = os.fork()
    if not child:
        failed = True
        try:
            failed = store.batch([operations.Increment(key, 1)]) != [2]
        finally:
            os._exit(failed)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.batch([operations.Increment(key, 1)]) == [
        3 if has_servers else 2]


def test_what_replicas_have_is_told(store, keys, requires):
    write = [operations.PutField(keys("h"), b"f", b"")]
    assert store.batch(write, 1, 10000)[-1] == 1
    # More than there are: a store whose acknowledged writes are safe, or in
    # the process, has nobody to wait for.
    assert store.batch(write, 2, 20)[-1] == (
        1 if requires("REPLICAS") else 2)
