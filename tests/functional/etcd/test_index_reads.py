# SPDX-License-Identifier: Apache-2.0
"""Reads of an index bring the rows that it named last time along."""

import os

import pytest

from nova_kvs import keyspace
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import http2
from nova_kvs.store.etcd import rounds
from nova_kvs.store import operations
from nova_kvs.store import registry
from tests import base

ALL = ((b"-", b"+"),)
#: In a request for a range.
SERIALIZABLE = b"\x38\x01"


@pytest.fixture
def store(servers):
    return registry.get_store(servers.url(base.database_name()))


@pytest.fixture
def partition():
    return keyspace.partition(base.database_name(), "s", "one")


def member(number):
    return b"o%03dr%03d\0\4" % (number, number)


def change(store, partition, puts=(), removals=()):
    """Write rows and remove others, with their members of the index."""
    answer, = store.batch([operations.Commit(
        partition.outcome_key(os.urandom(16)), (operations.Part(
            partition.key, partition.index_key, tuple([
                operations.Change(
                    operations.PUT, b"r%03d" % number, 0, bytes(7) + b"\1")
                for number in puts] + [
                operations.Change(
                    operations.REMOVE, b"r%03d" % number, 1, b"")
                for number in removals]),
            tuple(map(member, puts)), tuple(map(member, removals))),),
        (), 60000, 60000)])
    assert answer.verdict is operations.Verdict.COMMITTED


def read(store, partition, ranges=ALL):
    """Return the numbers of the members and of the rows, and the trips."""
    before = store.stats.round_trips
    (members, pairs), = store.batch([operations.ReadIndex(
        partition.key, partition.index_key, ranges)])
    return ([int(found[1:4]) for found in members],
            sorted([int(field[1:]) for field in pairs[::2]]),
            store.stats.round_trips - before)


def test_what_is_as_it_was_takes_one_trip(store, partition):
    assert read(store, partition) == ([], [], 1)
    change(store, partition, [1, 2])
    assert read(store, partition) == ([1, 2], [1, 2], 2)
    assert read(store, partition) == ([1, 2], [1, 2], 1)
    # One more is missing, one less is asked for in vain.
    change(store, partition, [3], [1])
    assert read(store, partition) == ([2, 3], [2, 3], 2)
    change(store, partition, [], [2])
    assert read(store, partition) == ([3], [3], 1)
    # Other ranges are another read.
    assert read(store, partition, ((b"[o003", b"+"),)) == ([3], [3], 2)


def test_more_rows_than_one_transaction_takes(store, partition):
    numbers = list(range(rounds.MOST_OPERATIONS + 5))
    change(store, partition, numbers)
    assert read(store, partition) == (numbers, numbers, 2)
    assert read(store, partition) == (numbers, numbers, 1)
    change(store, partition, [], numbers[5:])
    assert read(store, partition) == (numbers[:5], numbers[:5], 1)
    assert read(store, partition) == (numbers[:5], numbers[:5], 1)


def test_all_ranges_are_read_at_one_moment(store, partition):
    """They are more than one transaction takes: the first one names it."""
    numbers = list(range(rounds.MOST_OPERATIONS + 5))
    change(store, partition, numbers)
    ranges = tuple((b"[o%03d" % number, b"(o%03d" % (number + 1))
                   for number in numbers)
    call = store._client.call
    removed = []

    def remove_in_between(sent, *args):
        if len(sent) == 1 or removed:
            return call(sent, *args)
        answers = call(sent[:1], *args)
        removed.extend(numbers[3:])
        change(store, partition, [], removed)
        return answers + call(sent[1:], *args)

    store._client.call = remove_in_between
    try:
        members, fields, _ = read(store, partition, ranges)
    finally:
        store._client.call = call
    assert removed and members == fields == numbers
    members, fields, _ = read(store, partition, ranges)
    assert members == fields == numbers[:3]


def test_rows_that_are_missing_are_asked_of_one_member(store, partition):
    """It need not hear of the others what there is since."""
    change(store, partition, [1])
    call = store._client.call
    sent = []

    def note(calls, *args):
        sent.append(calls)
        return call(calls, *args)

    store._client.call = note
    assert read(store, partition) == ([1], [1], 2)
    (_, first), (_, second) = sent[0][0], sent[1][0]
    assert SERIALIZABLE not in first
    assert SERIALIZABLE in second


def test_a_member_that_does_not_know_the_revision_yet(store, partition):
    """The process had to go on with another one in between."""
    change(store, partition, [1])
    call = store._client.call
    answers = []

    def lag(calls, *args):
        answers.append(call(calls, *args))
        if len(answers) == 2:
            return [faults.Refusal(http2.Reply(
                11, "etcdserver: mvcc: required revision is a future "
                "revision", b""))]
        return answers[-1]

    store._client.call = lag
    members, fields, _ = read(store, partition)
    assert members == fields == [1] and len(answers) > 2
