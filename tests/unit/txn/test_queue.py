# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs import txn
from nova_kvs.txn import queue as txn_queue
from tests.fault import scenarios


@pytest.fixture
def queue(store, database):
    return txn.Queue(store, database)


def take_all(queue, **kwargs):
    return queue.lease(100, **kwargs)


def values(items):
    return sorted(item.value for item in items)


def test_items_are_taken_when_due(store, queue):
    store.batch([queue.enqueue(b"k", number, 0)
                 for number in range(40)]
                + [queue.enqueue(b"k", 99, 60000)])
    items = take_all(queue)
    assert values(items) == list(range(40))
    assert {item.kind for item in items} == {b"k"}
    # Spread over buckets, so that one slot does not get it all.
    assert len({item.key for item in items}) > 4


def test_items_are_leased(store, database, queue):
    store.batch([queue.enqueue(b"k", [1, b"\xff", "x"], 0)])
    item, = take_all(queue)
    assert item.value == [1, b"\xff", "x"]
    assert take_all(queue) == []
    # The one who took it is gone.
    scenarios.make_due(store, database)
    assert take_all(queue, lease_ms=0) == [item]
    assert take_all(queue) == [item]
    store.batch([queue.remove(item)])
    scenarios.make_due(store, database)
    assert take_all(queue) == []


def test_done_leaves_an_equal_item(store, database, queue):
    store.batch([queue.enqueue(b"k", 1, 0)])
    item, = take_all(queue)
    store.batch([queue.enqueue(b"k", 1, 0)])
    store.batch([queue.remove(item)])
    assert values(take_all(queue)) == [1]


def test_entry_that_is_sent_twice(store, database, queue):
    entry = queue.enqueue(b"k", 1, 0)
    store.batch([entry, entry])
    assert values(take_all(queue)) == [1]


def test_limit(store, queue):
    store.batch([queue.enqueue(b"k", number, 0)
                 for number in range(400)])
    assert len(queue.lease(3)) == 3 * keyspace.GC_BUCKETS


def test_handlers(store, database, queue):
    done = []
    queue.register(b"k", done.extend)

    def fail(items):
        raise exceptions.StoreUnavailableError()

    queue.register(b"fails", fail)
    store.batch([queue.enqueue(b"k", number, 0)
                 for number in range(50)])
    store.batch([queue.enqueue(b"fails", 1, 0),
                 queue.enqueue(b"newer", 2, 0)])
    assert queue.run_all(limit=2) == 50
    assert sorted(done) == list(range(50))
    assert queue.run_all() == 0
    scenarios.make_due(store, database)
    assert values(take_all(queue)) == [1, 2]


def test_run_looks_at_all_buckets_in_one_round_trip(store, queue):
    done = []
    queue.register(b"k", done.extend)
    store.batch([queue.enqueue(b"k", number, 0)
                 for number in range(50)])
    before = store.stats.round_trips
    assert queue.run(100) == 50
    # The second removes what is done.
    assert store.stats.round_trips == before + 2


class Posting:
    """A store that leaves what is posted to the test."""

    def __init__(self, store):
        self._store = store
        self.posted = []

    def post(self, items, done):
        self.posted.append((items, done))

    def arrive(self):
        """Let everything arrive, and the replies be read."""
        while self.posted:
            items, done = self.posted.pop(0)
            done(self._store.batch(items))


def test_tasks_that_nobody_waits_for(store, database, queue):
    posting = Posting(store)
    leasing = txn.Queue(posting, database)
    done, arrived = [], []
    leasing.register(b"k", done.extend)
    store.batch([queue.enqueue(b"k", number, 0) for number in range(3)])

    def lease():
        leasing.post_lease(100, lambda: arrived.append(1))

    lease()
    assert leasing.run_leased() == 0 and not leasing.has_leased
    posting.arrive()
    assert arrived == [1] and leasing.has_leased
    assert leasing.run_leased() == 3 and sorted(done) == [0, 1, 2]
    assert not leasing.has_leased
    posting.arrive()
    # They are removed.
    scenarios.make_due(store, database)
    lease()
    posting.arrive()
    assert arrived == [1] and leasing.run_leased() == 0


def test_leases_that_came_too_late_are_not_used(
        store, database, queue, monkeypatch):
    posting = Posting(store)
    leasing = txn.Queue(posting, database)
    leasing.register(b"k", None)
    store.batch([queue.enqueue(b"k", 1, 0)])
    leasing.post_lease(100, lambda: None)
    posting.arrive()
    now = time.monotonic()
    monkeypatch.setattr(
        time, "monotonic", lambda: now + txn_queue.LEASE_MS / 1000)
    assert leasing.run_leased() == 0
