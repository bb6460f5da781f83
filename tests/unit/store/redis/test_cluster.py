# SPDX-License-Identifier: Apache-2.0
"""How the cluster driver learns where slots are, without servers."""

import time

import pytest
from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store.redis import cluster
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import repetition
from nova_kvs.store import url as store_url
from tests import base

KEY = b"kvs:{k}"
SLOT = keyspace.slot(KEY)
GONE = repetition.NotSent(redis_exceptions.ConnectionError("refused"))


class Cluster(cluster.ClusterStore):
    """A store whose servers' answers are in ``answers``, by host."""

    def __init__(self, query="", **answers):
        url = store_url.parse_url(
            "kvs+cluster://a:1/db?node=z:1" + query)
        super().__init__(url, url.settings())
        self.answers = answers
        self.asked = []

    def _ask(self, node, *commands, deadline=None):
        assert commands == ((b"CLUSTER", b"SLOTS"),)
        self.asked.append(node.address[0])
        answer = self.answers.get(node.address[0], GONE)
        if isinstance(answer, Exception):
            raise answer
        return [answer]

    def route(self, *items, repeated=False):
        groups = self._route(items, range(len(items)), _deadline(), repeated)
        return {node.address: list(indexes)
                for node, indexes in groups.items()}

    def learn(self, *errors):
        """Tell the store of failures of one item at the node of its slot."""
        node = self._topology.masters[SLOT]
        return self._learn(
            [base.command(b"GET", KEY)],
            [repetition.Failure(0, error, node) for error in errors],
            _deadline())


def _deadline():
    return time.monotonic() + 5


def _ranges(*hosts, replicas=()):
    """Return CLUSTER SLOTS' answer for slots spread over masters."""
    step = 16384 // len(hosts)
    return [[step * number, 16383 if number == len(hosts) - 1 else
             step * (number + 1) - 1, [host, 1, b"id", []]]
            + [[replica, 1, b"id", []] for replica in replicas]
            for number, host in enumerate(hosts)]


GET = base.command(b"GET", KEY)
SET = base.command(b"SET", KEY, b"")


def test_items_go_to_the_nodes_of_their_slots():
    store = Cluster(a=_ranges(b"a", b"b", b"c"))
    items = [base.command(b"GET", b"kvs:{%d}" % number)
             for number in range(50)]
    groups = store.route(*items)
    assert sorted(index for group in groups.values()
                  for index in group) == list(range(50))
    assert set(groups) == {("a", 1), ("b", 1), ("c", 1)}
    for (host, _), indexes in groups.items():
        assert indexes == sorted(indexes)
        for index in indexes:
            slot = keyspace.slot(items[index].key)
            assert "abc"[min(slot // 5461, 2)] == host
    assert store.route(items[0]).popitem()[1] == [0]
    assert store.asked == ["a"]


def test_any_named_node_will_do():
    store = Cluster(z=_ranges(b"b"))
    assert store.route(GET) == {("b", 1): [0]}
    assert store.asked == ["a", "z"]


def test_without_any_node_the_store_does_not_answer():
    with pytest.raises(exceptions.StoreUnavailableError) as caught:
        Cluster().batch([GET])
    assert "a:1 z:1" in str(caught.value)


def test_a_node_without_a_name_for_itself_is_the_one_that_was_asked():
    assert Cluster(a=_ranges(None)).route(GET) == {("a", 1): [0]}
    assert Cluster(a=_ranges(b"")).route(GET) == {("a", 1): [0]}


def test_a_node_of_unknown_address_is_left_out():
    store = Cluster("&read_from_replicas=yes",
                    a=_ranges(b"a", replicas=[b"?"]))
    assert store.route(GET) == {("a", 1): [0]}


def test_a_master_without_a_name_is_a_fault_of_the_configuration():
    store = Cluster(a=_ranges(b"a", b"?"))
    with pytest.raises(exceptions.ConfigurationError) as caught:
        store.batch([GET])
    assert "cluster-announce-hostname" in str(caught.value)
    assert "told_by=a:1" in str(caught.value)


def test_so_is_one_that_a_redirection_names():
    store = Cluster(a=_ranges(b"a"))
    store.route(GET)
    with pytest.raises(exceptions.ConfigurationError, match="announces no"):
        store.learn(redis_exceptions.MovedError("%d ?:2" % SLOT))


def test_a_slot_that_nobody_has_is_asked_for_anywhere():
    assert Cluster(a=[[SLOT + 1, SLOT + 1, [b"b", 1, b"id"]]]).route(
        GET) == {("a", 1): [0]}


def test_a_cluster_that_has_no_slots_yet_does_not_answer():
    with pytest.raises(exceptions.StoreUnavailableError, match="hash slots"):
        Cluster(a=[], z=[]).batch([GET])


def test_a_server_that_is_no_cluster_is_a_configuration_error():
    refused = exceptions.StoreReplyError(
        reply="This instance has cluster support disabled")
    with pytest.raises(exceptions.ConfigurationError) as caught:
        Cluster(a=refused).batch([GET])
    assert "a:1" in str(caught.value) and "kvs+redis" in str(caught.value)


def test_reads_go_to_replicas_on_request():
    store = Cluster("&read_from_replicas=yes",
                    a=_ranges(b"a", replicas=[b"r"]))
    assert store.route(GET, SET) == {("r", 1): [0], ("a", 1): [1]}
    assert store.route(GET, SET, repeated=True) == {("a", 1): [0, 1]}
    assert store.route(GET) == {("r", 1): [0]}
    node, = store._route([GET], [0], _deadline())
    assert node._on_connect == ((b"READONLY",),)
    assert Cluster(a=_ranges(b"a", replicas=[b"r"])).route(GET) == {
        ("a", 1): [0]}


def test_a_moved_slot_is_put_right_from_the_redirection():
    store = Cluster(a=_ranges(b"a"))
    store.route(GET)
    store._reloaded_at = time.monotonic()
    assert store.learn(
        redis_exceptions.MovedError("%d b:2" % SLOT)) == {}
    assert store.route(GET) == {("b", 2): [0]}
    assert store.asked == ["a"]


def test_moved_without_a_host_means_the_same_host():
    store = Cluster(a=_ranges(b"a"))
    store.route(GET)
    store._reloaded_at = time.monotonic()
    store.learn(redis_exceptions.MovedError("%d :2" % SLOT))
    assert store.route(GET) == {("a", 2): [0]}


def test_asked_for_elsewhere_does_not_move_the_slot():
    store = Cluster(a=_ranges(b"a"))
    store.route(GET)
    asked = store.learn(redis_exceptions.AskError("%d b:2" % SLOT))
    assert asked[0].address == ("b", 2)
    assert store.route(GET) == {("a", 1): [0]}
    assert store.asked == ["a"]


@pytest.mark.parametrize("error", [
    GONE, redis_exceptions.ConnectionError("closed"),
    redis_exceptions.ClusterDownError("down"),
    redis_exceptions.ReadOnlyError("replica"),
    redis_exceptions.MovedError("%d b:1" % SLOT)])
def test_faults_make_it_ask_again_once(error):
    store = Cluster(a=_ranges(b"a"))
    store.route(GET)
    store.answers = dict.fromkeys("abz", _ranges(b"b"))
    store.learn(error)
    assert store.route(GET) == {("b", 1): [0]}
    assert len(store.asked) == 2
    store.learn(error)  # another thread, at the same moment
    assert len(store.asked) == 2


@pytest.mark.parametrize("error", [
    redis_exceptions.TryAgainError("multi"),
    redis_exceptions.NoScriptError("no script")])
def test_what_is_no_fault_of_the_topology_does_not(error):
    store = Cluster(a=_ranges(b"a"))
    store.route(GET)
    store.learn(error)
    assert store.asked == ["a"]


def test_the_named_nodes_are_asked_when_all_known_ones_have_gone():
    store = Cluster(a=_ranges(b"b", b"c", b"d"))
    store.route(GET)
    store.answers = {"z": _ranges(b"e")}
    store.learn(GONE)
    assert store.asked[-1] == "z"
    assert store.route(GET) == {("e", 1): [0]}
    assert {address for address, _ in store._nodes} == {("e", 1)}


def test_the_node_that_failed_is_asked_last():
    store = Cluster(a=_ranges(b"a", b"b", b"c"))
    store.route(GET)
    node = store._topology.masters[SLOT]
    store.asked.clear()
    store.answers = {}
    with pytest.raises(repetition.NotSent):
        store.learn(redis_exceptions.TimeoutError("timed out"))
    assert len(store.asked) == 4
    assert store.asked[-1] == node.address[0]


def test_nodes_keep_their_connections_over_a_new_topology():
    store = Cluster(a=_ranges(b"a", b"b"))
    before = store._load(_deadline()).masters
    after = store._load(_deadline()).masters
    assert before[0] is after[0] and before[-1] is after[-1]


def test_two_threads_that_learn_a_topology_at_once(monkeypatch):
    """To close a socket lets other threads run."""
    store = Cluster()
    for host in "ayz":
        store._node((host, 1))
    drop = wire.Node.drop

    def drop_and_run_another(node):
        monkeypatch.setattr(wire.Node, "drop", drop)
        store._take(_ranges(b"b"), ("a", 1))
        drop(node)

    monkeypatch.setattr(wire.Node, "drop", drop_and_run_another)
    store._take(_ranges(b"b"), ("a", 1))
    assert {address for address, _ in store._nodes} == {("b", 1)}


def test_replicas_that_came_later_are_read(monkeypatch):
    store = Cluster("&read_from_replicas=yes", a=_ranges(b"a"))
    now = 1000.0
    monkeypatch.setattr(cluster.time, "monotonic", lambda: now)
    assert store.route(GET) == {("a", 1): [0]}
    store.answers["a"] = _ranges(b"a", replicas=[b"r"])
    now += cluster.LOOK_S - 1
    assert store.route(GET) == {("a", 1): [0]}
    now += 2
    assert store.route(GET) == {("r", 1): [0]}
    assert store.asked == ["a", "a"]
    # If nobody answers, what is known still serves.
    store.answers.clear()
    now += cluster.LOOK_S + 1
    assert store.route(GET) == {("r", 1): [0]}
