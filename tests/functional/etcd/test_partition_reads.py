# SPDX-License-Identifier: Apache-2.0
"""Reads of partitions that a process has read before."""

import os
import random

import pytest

from nova_kvs import cache
from nova_kvs import keyspace
from nova_kvs.store.etcd import driver
from nova_kvs.store import operations
from nova_kvs.store import registry
from tests import base

FLOOR = keyspace.FLOOR_FIELD
VALUE = bytes(500)


@pytest.fixture
def url(servers):
    return servers.url(base.database_name())


def make_store(url):
    """Return a store as that of a process of its own."""
    parsed = registry.parse_url(url)
    return driver.EtcdStore(parsed, parsed.settings())


@pytest.fixture
def store(url):
    return make_store(url)


@pytest.fixture
def other(url):
    return make_store(url)


def partition(store, number=0):
    return keyspace.partition(store.url.database, "s", "%d" % number)


def commit(store, number, *changes):
    where = partition(store, number)
    answer, = store.batch([operations.Commit(
        where.outcome_key(os.urandom(16)), (operations.Part(
            where.key, where.index_key, changes),), (), 60000, 60000)])
    assert answer.verdict is operations.Verdict.COMMITTED


def put(field, version=1, expected=0, value=VALUE):
    return operations.Change(
        operations.PUT, field, expected, version.to_bytes(8, "big") + value)


def remove(field, version=1):
    return operations.Change(operations.REMOVE, field, version, b"")


def read(store, *numbers, prefixes=()):
    """Return what partitions hold: a dict for each, and the bytes read."""
    before = store.stats.bytes_in
    replies = store.batch([operations.ReadPartition(
        partition(store, number).key, prefixes) for number in numbers])
    found = [dict(zip(reply[::2], reply[1::2])) for reply in replies]
    assert [2 * len(each) for each in found] == list(map(len, replies))
    return found, store.stats.bytes_in - before


def test_what_is_as_it_was_is_not_sent_again(store, other):
    commit(other, 0, put(b"ra"), put(b"rb"), put(b"sc"))
    found, size = read(store, 0)
    assert set(found[0]) == {b"ra", b"rb", b"sc"} and size > 3 * len(VALUE)
    again, size = read(store, 0)
    assert again == found and size < len(VALUE)
    some, size = read(store, 0, prefixes=(b"s", b"x"))
    assert set(some[0]) == {b"sc"} and size < len(VALUE)


@pytest.mark.parametrize("change, left", [
    (put(b"rb", 2, 1), {b"ra": 1, b"rb": 2}),
    (put(b"rc", 2), {b"ra": 1, b"rb": 1, b"rc": 2}),
    (remove(b"ra"), {b"rb": 1}),
    (operations.Change(operations.REMOVE_RAISING_FLOOR, b"ra", 1, b""),
     {b"rb": 1, FLOOR: 1})])
def test_what_another_process_has_changed_is_seen(
        store, other, change, left):
    commit(other, 0, put(b"ra"), put(b"rb"))
    commit(other, 1, put(b"r"))
    before, _ = read(store, 0, 1)
    commit(other, 0, change)
    for numbers in ((0, 1), (0,), (1, 0)):
        found, _ = read(store, *numbers)
        assert {field: int.from_bytes(value[:8], "big") for field, value
                in found[numbers.index(0)].items()} == left
        if 1 in numbers:
            assert found[numbers.index(1)] == before[1]


def test_a_partition_that_was_emptied_and_filled_again(store, other):
    commit(other, 0, put(b"ra"))
    read(store, 0)
    commit(other, 0, remove(b"ra"))
    assert read(store, 0)[0] == [{}]
    other.batch([operations.Delete(partition(other).key)])
    assert read(store, 0)[0] == [{}]
    commit(other, 0, put(b"ra", value=b"other"))
    assert read(store, 0)[0] == [{b"ra": bytes(7) + b"\1other"}]
    assert read(store, 0)[0] == [{b"ra": bytes(7) + b"\1other"}]


def test_only_what_shares_a_transaction_is_read_with_what_changed(
        store, other):
    numbers = range(40)
    for number in numbers:
        commit(other, number, put(b"ra"))
    found, size = read(store, *numbers)
    assert size > 40 * len(VALUE)
    commit(other, 39, put(b"ra", 2, 1))
    again, size = read(store, *numbers)
    assert again[:39] == found[:39] and again[39] != found[39]
    assert len(VALUE) < size < 20 * len(VALUE)
    assert read(store, *numbers)[1] < 10 * len(VALUE)


def test_a_large_partition_is_read_each_time(store, other):
    value = bytes(cache.LARGEST_PARTITION_BYTES)
    commit(other, 0, put(b"ra", value=value))
    for _ in range(2):
        assert read(store, 0)[1] > len(value)


@pytest.mark.parametrize("seed", range(3))
def test_two_processes_that_change_partitions_see_the_same(
        store, other, seed):
    choose = random.Random(seed)
    held = {number: {} for number in range(4)}
    for step in range(120):
        writer = choose.choice((store, other))
        number = choose.randrange(4)
        fields = held[number]
        changes = []
        for field in choose.sample((b"ra", b"rb", b"s"), 2):
            before = fields.get(field)
            if before is not None and choose.random() < 0.4:
                changes.append(remove(field, fields.pop(field)))
            else:
                fields[field] = step + 1
                changes.append(put(
                    field, step + 1, before or 0, b"%d" % step))
        commit(writer, number, *changes)
        for reader in choose.sample((store, other), choose.randrange(3)):
            wanted = choose.sample(range(4), 3)
            prefixes = choose.choice(((), (b"r",)))
            found, _ = read(reader, *wanted, prefixes=prefixes)
            assert [{field: int.from_bytes(value[:8], "big")
                     for field, value in each.items()} for each in found] == [
                {field: version for field, version in held[number].items()
                 if not prefixes or field.startswith(prefixes)}
                for number in wanted]
