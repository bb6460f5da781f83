# SPDX-License-Identifier: Apache-2.0
"""How the sentinel driver finds its servers, without any."""

import time

import pytest
from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store.redis import near as nearness
from nova_kvs.store.redis import repetition
from nova_kvs.store.redis import sentinel
from nova_kvs.store import url as store_url
from tests import base

GET = base.command(b"GET", b"kvs:{k}")
SET = base.command(b"SET", b"kvs:{k}", b"")
GONE = repetition.NotSent(redis_exceptions.ConnectionError("refused"))


class Sentinel(sentinel.SentinelStore):
    """A store whose sentinels' answers are in ``answers``, by host."""

    def __init__(self, query="", **answers):
        url = store_url.parse_url(
            "kvs+sentinel://a/db?service=m&node=z" + query)
        super().__init__(url, url.settings())
        self.answers = answers
        self.asked = []

    def _ask(self, node, *commands, deadline=None):
        self.asked.append(node.address[0])
        answer = self.answers.get(node.address[0], GONE)
        if isinstance(answer, Exception):
            raise answer
        return answer[:len(commands)]

    def route(self, *items, repeated=False):
        groups = self._route(
            items, range(len(items)), time.monotonic() + 5, repeated)
        return {node.address: list(indexes)
                for node, indexes in groups.items()}

    def learn(self, error):
        return self._learn(
            [GET], [repetition.Failure(0, error, self._master)],
            time.monotonic() + 5)


def _replica(host, flags):
    return [b"name", b"x", b"ip", host, b"port", b"2", b"flags", flags]


def test_the_url_must_name_the_service():
    url = store_url.parse_url("kvs+sentinel://a/db")
    with pytest.raises(exceptions.ConfigurationError, match="service=name"):
        sentinel.SentinelStore(url, url.settings())


def test_the_first_sentinel_that_answers_names_the_master():
    store = Sentinel(z=[[b"m1", b"7"]])
    assert store.route(GET, SET) == {("m1", 7): [0, 1]}
    assert store.asked == ["a", "z"]
    store.route(GET)
    assert store.asked == ["a", "z"]


def test_an_unknown_service_is_a_configuration_error():
    with pytest.raises(exceptions.ConfigurationError, match="service=m"):
        Sentinel(a=[None]).batch([GET])


def test_without_sentinels_the_store_does_not_answer():
    with pytest.raises(exceptions.StoreUnavailableError, match="a:26379 z:"):
        Sentinel().batch([GET])


def test_a_lost_master_makes_it_ask_again_once():
    store = Sentinel(a=[[b"m1", b"7"]])
    store.route(GET)
    store.answers["a"] = [[b"m2", b"7"]]
    store.learn(redis_exceptions.ConnectionError("closed"))
    store.learn(redis_exceptions.ConnectionError("closed"))
    assert store.route(GET) == {("m2", 7): [0]}
    assert store.asked == ["a", "a"]


def test_a_forgotten_script_is_no_reason_to_ask():
    store = Sentinel(a=[[b"m1", b"7"]])
    store.route(GET)
    store.learn(redis_exceptions.NoScriptError("no script"))
    assert store.asked == ["a"]


def test_the_same_master_keeps_its_connections():
    store = Sentinel(a=[[b"m1", b"7"]])
    master = store._load(time.monotonic() + 5)
    assert store._load(time.monotonic() + 5) is master


def test_reads_go_to_healthy_replicas_on_request():
    store = Sentinel("&read_from_replicas=yes", a=[
        [b"m1", b"7"], [_replica(b"r1", b"slave,s_down,disconnected"),
                        _replica(b"r2", b"slave")]])
    assert store.route(GET, SET) == {("r2", 2): [0], ("m1", 7): [1]}
    assert store.route(GET, SET, repeated=True) == {("m1", 7): [0, 1]}


def test_reads_near_by_do_without_sentinels(monkeypatch):
    measured = []
    monkeypatch.setattr(
        nearness.Near, "measure",
        lambda self, nodes: measured.append([node.address for node in nodes]))
    store = Sentinel("&read_from=nearest", a=[
        [b"m1", b"7"], [_replica(b"r1", b"slave")]])

    def route():
        # Now distances are to be measured.
        store._near._measure_at = 0.0
        return [node.address for node in store._route_near(
            [GET], time.monotonic() + 5)]

    assert route() == [("m1", 7)]
    store.answers["a"] = GONE
    assert route() == [("m1", 7)]
    assert store.asked == ["a", "a", "z"]
    assert measured == 2 * [[("m1", 7), ("r1", 2)]]


def test_reads_near_by_need_sentinels_once():
    with pytest.raises(exceptions.StoreUnavailableError):
        Sentinel("&read_from=nearest").batch([GET], may_lag=True)


def test_sentinels_have_their_own_password():
    url = store_url.parse_url("kvs+sentinel://:server@a/db?service=m")
    store = sentinel.SentinelStore(
        url, url.settings(sentinel_password="watch"))
    assert _password(store._sentinels[0]._kwargs) == ("watch",)
    assert _password(store._options[1]) == ("server",)


def _password(kwargs):
    return kwargs["credential_provider"].get_credentials()
