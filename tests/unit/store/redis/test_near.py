# SPDX-License-Identifier: Apache-2.0
"""Reads near by are never behind what the process knows, without servers."""

import pytest
from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store.redis import near as nearness
from tests import base
from tests.unit.store.redis import stubs

GET = base.command(b"GET", b"m1")
SET = base.command(b"SET", b"m1", b"v")


def _master(offset):
    return [b"master", offset, [[b"r", b"1", b"%d" % offset]]]


def _replica(offset, state=b"connected"):
    return [b"slave", b"m", 1, state, offset]


class NearStore(stubs.StubStore):
    """A store whose reads near by go to what ``Near`` chooses."""

    def __init__(self, log, *, master, replica):
        self.master = stubs.StubNode("m", log, *master)
        self.replica = stubs.StubNode("r", log, *replica)
        self.replica.master = self.master
        super().__init__([self.master], read_from="nearest")
        self.near = self._near
        self.near._distances = {"m": 0.009, "r": 0.001}

    def _route_near(self, items, deadline):
        return {self.near.choose(self.master, (self.replica,)):
                list(range(len(items)))}

    def read(self):
        return self.batch([GET], may_lag=True)


@pytest.fixture
def log():
    return []


def _sent(log):
    return [(entry[1], [command[0] for command in entry[2]])
            for entry in log if entry[0] == "send"]


def test_a_replica_answers(log):
    store = NearStore(log, master=[], replica=[_replica(7), b"v"])
    assert store.read() == [b"v"]
    assert _sent(log) == [("r", [b"ROLE", b"GET"])]
    assert (store.stats.near, store.stats.behind) == (1, 0)


def test_what_is_not_near_goes_to_masters(log):
    store = NearStore(log, master=[b"v", _master(1)], replica=[])
    assert store.batch([GET]) == [b"v"]
    assert _sent(log) == [("m", [b"GET", b"ROLE"])]
    assert store.stats.near == 0


def test_a_process_sees_its_own_writes(log):
    store = NearStore(
        log, master=[b"OK", _master(50), b"new", _master(60)],
        replica=[_replica(49), b"old"])
    store.batch([SET])
    assert store.read() == [b"new"]
    assert _sent(log) == [("m", [b"SET", b"ROLE"]), ("r", [b"ROLE", b"GET"]),
                          ("m", [b"GET", b"ROLE"])]
    assert (store.stats.near, store.stats.behind) == (1, 1)


def test_a_replica_that_has_caught_up_is_used(log):
    store = NearStore(log, master=[b"OK", _master(50)],
                      replica=[_replica(50), b"new"])
    store.batch([SET])
    assert store.read() == [b"new"]


@pytest.mark.parametrize("late", [1, 2])
def test_a_replica_may_catch_up_if_the_master_is_far(log, late):
    store = NearStore(
        log, master=[b"OK", _master(50)],
        replica=late * [_replica(49), b"old"] + [_replica(50), b"new"])
    store.near._distances["m"] = 0.1
    store.batch([SET])
    assert store.read() == [b"new"]
    assert [name for name, _ in _sent(log)] == ["m"] + (1 + late) * ["r"]


def test_patience_ends(log):
    store = NearStore(
        log, master=[b"OK", _master(50), b"new", _master(50)],
        replica=9 * [_replica(49), b"old"])
    store.near._distances["m"] = 0.1
    store.batch([SET])
    assert store.read() == [b"new"]
    assert [name for name, _ in _sent(log)] == (
        ["m"] + (1 + len(nearness.PATIENCE_S)) * ["r"] + ["m"])


def test_nobody_waits_for_a_replica_that_is_alone(log):
    store = NearStore(log, master=[b"v", _master(1)],
                      replica=[_replica(9, b"connect"), b"old"])
    store.near._distances["m"] = 0.1
    assert store.read() == [b"v"]
    assert [name for name, _ in _sent(log)] == ["r", "m"]


def test_what_was_read_of_a_master_is_not_unread(log):
    store = NearStore(
        log, master=[b"new", _master(50), b"new", _master(50)],
        replica=[_replica(49), b"old"])
    assert store.batch([GET]) == [b"new"]
    assert store.read() == [b"new"]


def test_what_was_read_of_a_replica_is_not_unread(log):
    store = NearStore(log, master=[b"new", _master(50)], replica=[
        _replica(50), b"new", _replica(49), b"old"])
    assert store.read() == [b"new"]
    # As another replica of the same master would answer.
    assert store.read() == [b"new"]
    assert store.stats.behind == 1


def test_a_lower_offset_told_late_changes_nothing(log):
    store = NearStore(
        log, master=[b"OK", _master(50), b"OK", _master(40), b"new",
                     _master(50)], replica=[_replica(45), b"old"])
    store.batch([SET])
    store.batch([SET])
    assert store.read() == [b"new"]


@pytest.mark.parametrize("answers", [
    [_replica(9, b"connect"), b"old"], [_master(9), b"old"], [stubs.LOST],
    [_replica(9), redis_exceptions.MasterDownError("Link with MASTER")],
], ids=["alone", "promoted", "lost", "refusing"])
def test_a_replica_that_is_not_one_is_left_alone(log, answers):
    store = NearStore(log, master=2 * [b"v", _master(1)], replica=answers)
    assert store.read() == [b"v"]
    assert store.read() == [b"v"]
    assert [name for name, _ in _sent(log)] == ["r", "m", "m"]


def test_a_replica_that_cannot_be_reached_is_left_alone(log):
    store = NearStore(log, master=2 * [b"v", _master(1)], replica=[])
    store.replica.refuse = 1
    assert store.read() == [b"v"]
    assert store.read() == [b"v"]
    assert [name for name, _ in _sent(log)] == ["m", "m"]


def test_a_user_who_may_not_ask_is_told_so(log):
    store = NearStore(log, master=[], replica=[
        redis_exceptions.NoPermissionError("no permission for 'role'"), b"v"])
    with pytest.raises(exceptions.ConfigurationError, match="role"):
        store.read()


def test_a_master_that_was_lost_may_begin_anew(log):
    store = NearStore(
        log, master=[b"OK", _master(50), stubs.LOST, b"v", _master(3),
                     b"v", _master(3)], replica=[_replica(4), b"v"])
    store.batch([SET])
    store.batch([GET])
    store.read()
    # For a while nobody is asked but the master itself.
    assert [name for name, _ in _sent(log)] == ["m", "m", "m", "m"]
    store.near._pauses.clear()
    store.read()
    assert _sent(log)[-1][0] == "r"


# Where reads go.

@pytest.fixture
def nodes(log):
    """Return a master and two replicas of it."""
    found = [stubs.StubNode(name, log) for name in ("m", "r", "s")]
    for replica in found[1:]:
        replica.master = found[0]
    return found


@pytest.mark.parametrize(("distances", "chosen"), [
    ({}, "m"),
    ({"m": 0.1, "r": 0.03, "s": 0.02}, "s"),
    ({"m": 0.1, "r": 0.06, "s": 0.08}, "m"),
    ({"r": 0.03}, "r"),
    ({"m": 0.1, "s": 0.03}, "s"),
])
def test_the_nearest_is_chosen_if_it_is_worth_it(nodes, distances, chosen):
    near = nearness.Near()
    near._distances = distances
    assert near.choose(nodes[0], nodes[1:]).name == chosen


def test_without_replicas_the_master_is_chosen(nodes):
    near = nearness.Near()
    assert near.choose(nodes[0], ()) is nodes[0]


def test_when_slots_have_moved_masters_are_chosen(nodes, monkeypatch):
    near = nearness.Near()
    near._distances = {"m": 0.1, "r": 0.01}
    now = 1000.0
    monkeypatch.setattr(nearness.time, "monotonic", lambda: now)
    near.pause()
    assert near.choose(nodes[0], nodes[1:]) is nodes[0]
    now += nearness.PAUSE_S
    assert near.choose(nodes[0], nodes[1:]) is nodes[1]


def test_what_is_avoided_comes_back(nodes, monkeypatch):
    near = nearness.Near()
    near._distances = {"m": 0.1, "r": 0.01, "s": 0.02}
    now = 1000.0
    monkeypatch.setattr(nearness.time, "monotonic", lambda: now)
    near.avoid(nodes[1])
    assert near.choose(nodes[0], nodes[1:]) is nodes[2]
    now += nearness.AVOID_S
    near.measure(())
    assert near.choose(nodes[0], nodes[1:]) is nodes[1]


def test_one_caller_at_a_time_measures(monkeypatch):
    near = nearness.Near()
    now = 1000.0
    monkeypatch.setattr(nearness.time, "monotonic", lambda: now)
    assert near.must_measure()
    assert not near.must_measure()
    now += nearness.MEASURE_S
    assert near.must_measure()


class Clock:
    """A clock that a host's silence moves on."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class Silent(stubs.StubNode):
    """A node of a host that does not answer."""

    clock = None
    needs_s = float("inf")

    def acquire(self, deadline):
        self.log.append(self.name)
        left_s = deadline - self.clock()
        self.clock.now += min(left_s, self.needs_s)
        if left_s < self.needs_s:
            raise redis_exceptions.TimeoutError("connecting")
        return stubs.StubConnection(self)


@pytest.fixture
def silent(log, monkeypatch):
    """Return a function that makes such nodes; no host is known yet."""
    monkeypatch.setattr(Silent, "clock", Clock())
    monkeypatch.setattr(nearness.time, "monotonic", Silent.clock)
    monkeypatch.setattr(nearness, "_measure_at", {})
    monkeypatch.setattr(
        nearness.Near, "_ping", lambda self, asked, found: asked)

    def make(name, needs_s=Silent.needs_s):
        node = Silent(name, log)
        node.needs_s = needs_s
        return node

    return make


def test_hosts_that_do_not_answer_share_the_time(log, silent):
    near = nearness.Near()
    near._distances = {"x": 0.1}
    nodes = [silent("a"), silent("b"), silent("x", 0.1)]
    start = Silent.clock()
    near.measure(nodes)
    assert Silent.clock() <= start + nearness.LIMIT_S
    # Known to answer, it is not kept waiting by the others.
    assert [entry for entry in log if type(entry) is str] == ["x", "a"]
    assert nodes[2].idle
    del log[:]
    Silent.clock.now += nearness.MEASURE_S
    near.measure(nodes)
    assert log == ["x", "b", ("release", "x")]
    Silent.clock.now += nearness.FAILED_AGAIN_S
    del log[:]
    near.measure(nodes)
    assert log == ["x", "a", ("release", "x")]


def test_a_host_that_had_little_time_has_not_failed(log, silent):
    near = nearness.Near()
    near._distances = {}
    nodes = [silent("a", 0.9 * nearness.LIMIT_S),
             silent("b", 0.5 * nearness.LIMIT_S)]
    near.measure(nodes)
    assert nodes[0].idle and not nodes[1].idle
    near.measure(nodes)
    assert nodes[1].idle
