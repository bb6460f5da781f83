# SPDX-License-Identifier: Apache-2.0
"""Replies that are remembered while etcd tells of no change."""

import itertools
import os
import threading
import time

import pytest

from nova_kvs import keyspace
from nova_kvs.store.etcd import memory
from nova_kvs.store import operations
from nova_kvs.store import registry
from nova_kvs.store import replies
from tests import base
from tests import etcd_servers
from tests.fault import members
from tests import fixtures
from tests.functional.store import certificates

SMALL = {"read_from": "memory", "request_timeout": 30.0}


@pytest.fixture(scope="module")
def servers():
    with members.ProxiedMembers() as running:
        yield running


@pytest.fixture
def url(servers):
    return servers.url(base.database_name("memory"))


@pytest.fixture
def store(url, monkeypatch):
    # Each test says when a link has been silent for too long.
    monkeypatch.setattr(memory, "CONFIRM_S", 1000)
    made = registry.get_store(url, options=SMALL)
    made.close()  # what other tests remembered does not count
    yield made
    made.close()


@pytest.fixture
def other(url):
    """The store as another process has it."""
    return registry.get_store(url, options={})


def key(name):
    return b"kvs:{memory:s:%s}" % name.encode()


def write(name, value):
    return operations.PutField(key(name), b"f", b"%d" % value)


def read(name):
    return operations.ReadPartition(key(name))


def value_of(reply):
    return int(reply[1])


def ask(store, *items):
    """Return the replies, and the round trips that they took."""
    before = store.stats.round_trips
    return store.batch(items, may_lag=True), store.stats.round_trips - before


def test_what_did_not_change_is_not_asked_for(store, other):
    other.batch([write(name, 1) for name in "abc"])
    items = [read(name) for name in "abcd"]
    found, trips = ask(store, *items)
    assert trips == 1 and found == [[b"f", b"1"]] * 3 + [[]]
    assert ask(store, *items) == (found, 0)
    assert store.stats.remembered == 1
    # The kinds that mean the same are told apart.
    assert ask(store, operations.GetField(key("a"), b"f")) == ([b"1"], 1)
    assert ask(store, operations.GetField(key("a"), b"f")) == ([b"1"], 0)


def test_what_others_write_is_told(store, other):
    for number in range(20):
        other.batch([write("told", number)])
        fixtures.wait_for(lambda: value_of(ask(
            store, read("told"))[0][0]) == number, "the news")
    assert ask(store, read("told"))[1] == 0


def test_what_was_not_there_is_told_and_what_is_removed(store, other):
    item = operations.ReadMembers(key("set"), b"[b", b"[m")
    assert ask(store, item)[0] == [[]]
    assert ask(store, item) == ([[]], 0)
    other.batch([operations.Add(key("set"), b"z")])
    assert ask(store, item) == ([[]], 0)  # not in the range
    other.batch([operations.Add(key("set"), b"c")])
    fixtures.wait_for(lambda: ask(store, item)[0] == [[b"c"]], "the news")
    other.batch([operations.Remove(key("set"), b"c")])
    fixtures.wait_for(lambda: ask(store, item)[0] == [[]], "the news")


def test_an_index_is_told_of_too(store, other):
    partition = keyspace.partition("memory", "s", "index")
    item = operations.ReadIndex(
        partition.key, partition.index_key, ((b"-", b"+"),))
    assert ask(store, item)[0] == [([], [])]
    other.batch([operations.Commit(
        partition.outcome_key(os.urandom(16)), (operations.Part(
            partition.key, partition.index_key, (operations.Change(
                operations.PUT, b"ra", 0, bytes(7) + b"\1"),),
            (b"oz" + b"ra" + b"\0\2",)),), (), 60000, 60000)])
    fixtures.wait_for(lambda: ask(store, item)[0][0][0], "the news")
    assert ask(store, item)[1] == 0


def test_a_process_sees_its_own_writes(store):
    for number in range(50):
        store.batch([write("own", number)])
        assert value_of(ask(store, read("own"))[0][0]) == number


def test_no_thread_reads_an_older_value_after_a_newer_one(store, other):
    other.batch([write("order", 0)])
    done = threading.Event()
    wrong = []

    def follow(may_lag):
        least = 0
        while not done.is_set():
            value = value_of(store.batch([read("order")], may_lag=may_lag)[0])
            if value < least:
                wrong.append((value, least))
            least = value

    threads = [threading.Thread(target=follow, args=(near,))
               for near in (True, True, False)]
    for thread in threads:
        thread.start()
    for number in range(1, 200):
        other.batch([write("order", number)])
    done.set()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_nothing_older_than_what_the_process_was_told(store, other):
    """By whichever way it has read it."""
    for number in range(30):
        ask(store, read("master"))
        other.batch([write("master", number)])
        assert value_of(store.batch([read("master")])[0]) == number
        assert value_of(ask(store, read("master"))[0][0]) == number


def test_nothing_is_remembered_of_a_link_that_was_lost(
        servers, store, other):
    other.batch([write("lost", 1)])
    ask(store, read("lost"))
    store._memory._link._connection._sock.shutdown(2)
    other.batch([write("lost", 2)])
    assert ask(store, read("lost"))[0] == [[b"f", b"2"]]
    ask(store, read("lost"))
    assert ask(store, read("lost")) == ([[b"f", b"2"]], 0)


def test_a_silent_member_is_believed_for_a_moment_only(
        servers, store, other, monkeypatch):
    other.batch([write("silent", 1)])
    ask(store, read("silent"))
    servers.faults.blocked = True
    try:
        assert ask(store, read("silent")) == ([[b"f", b"1"]], 0)
        monkeypatch.setattr(memory, "CONFIRM_S", 0)
        monkeypatch.setattr(memory, "_TIMEOUT_S", 0.1)
        asked = []
        monkeypatch.setattr(
            store, "_batch", lambda *args: asked.append(args))
        store.batch([read("silent")], may_lag=True)
        assert asked and store._memory._link is None
    finally:
        servers.faults.blocked = False


def test_a_member_without_the_others_ends_what_it_told(
        servers, store, other, monkeypatch):
    other.batch([write("cut", 1)])
    ask(store, read("cut"))
    member = store._memory._link.member
    node = next(node for node in servers.nodes
                if node[1] == member.address[1])
    servers.isolated = {node}
    try:
        fixtures.wait_for(lambda: servers.leader([
            other for other in servers.nodes if other != node]), "a leader")
        other.batch([write("cut", 2)])
        fixtures.wait_for(lambda: ask(store, read("cut"))[0] == [
            [b"f", b"2"]], "what the others have")
    finally:
        servers.isolated = set()
    servers.wait_healthy()


def test_history_that_is_compacted_takes_nothing_away(servers, store, other):
    other.batch([write("old", 1)])
    ask(store, read("old"))
    other.batch([write("else", number) for number in range(3)])
    revision, = other.batch([operations.ReadMoment(key("old"))])
    servers.control("compaction", str(revision))
    assert ask(store, read("old")) == ([[b"f", b"1"]], 0)
    other.batch([write("old", 2)])
    fixtures.wait_for(
        lambda: ask(store, read("old"))[0] == [[b"f", b"2"]], "the news")


def test_what_nobody_reads_any_more_is_not_watched(store, other):
    ask(store, read("idle"))
    watches = store._memory._link._watches
    ask(store, read("busy"))
    numbers = itertools.count()

    def is_alone():
        # News that come together are told once, so it is told again.
        other.batch([write("idle", next(numbers))])
        ask(store, read("busy"))
        return len(watches) == 1

    fixtures.wait_for(is_alone, "one is left")


def test_memory_is_bounded(store, other, monkeypatch):
    other.batch([operations.PutField(key(str(number)), b"f", b"x" * 1000)
                 for number in range(30)])
    monkeypatch.setattr(replies, "MOST_BYTES", 20000)
    for number in range(30):
        ask(store, read(str(number)))
    known = store._memory._known
    assert 5 < len(known._known) < 10
    assert known._size_bytes == sum(
        entry[2] for entry in known._known.values()) <= 20000
    monkeypatch.setattr(memory, "MOST_WATCHES", 5)
    for number in range(30):
        ask(store, read(str(number)))
        link = store._memory._link
        assert link is None or len(link._watches) <= 5


def test_a_forked_process_has_a_link_of_its_own(store, other):
    other.batch([write("fork", 1)])
    ask(store, read("fork"))
    child = os.fork()
    if not child:
        status = 1
        try:
            found = [ask(store, read("fork")) for _ in range(2)]
            status = found != [([[b"f", b"1"]], 1), ([[b"f", b"1"]], 0)]
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert ask(store, read("fork")) == ([[b"f", b"1"]], 0)
    other.batch([write("fork", 2)])
    fixtures.wait_for(
        lambda: ask(store, read("fork"))[0] == [[b"f", b"2"]], "the news")


def test_a_link_in_use_is_not_waited_for(store):
    ask(store, read("busy"))
    with store._memory._link.lock:
        assert ask(store, read("busy"))[1] == 1
    assert ask(store, read("busy"))[1] == 0


def test_with_tls_and_users(tmp_path):
    with etcd_servers.EtcdFixture(
            tls=certificates.make(str(tmp_path)), user="nova",
            password="right", database="memory") as servers:
        store = registry.get_store(servers.url("memory", read_from="memory"))
        other = registry.get_store(servers.url("memory"))
        for number in range(3):
            other.batch([write("secret", number)])
            deadline = time.monotonic() + 30
            while value_of(ask(store, read("secret"))[0][0]) != number:
                assert time.monotonic() < deadline
        assert ask(store, read("secret"))[1] == 0
        store.close()
