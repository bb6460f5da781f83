# SPDX-License-Identifier: Apache-2.0
"""What the load generator plays, and what it makes of that."""

import random

from benchmarks import calls as known
from experiments import simulate
from nova_kvs import keyspace
import pytest


def test_rates():
    found = simulate.rates(10, 30, 2)
    assert found["service_update (heartbeat)"] == pytest.approx(5)
    assert found["compute_node_update"] == pytest.approx(0.5)
    assert found["instance_create"] == 2
    assert found["service_get_by_compute_host"] == pytest.approx(2.5)
    assert "instance_create" not in simulate.rates(10, 30, 0)


def test_every_call_is_known():
    assert simulate.rates(1, 1, 1).keys() <= {
        call.name for call in known.CALLS}


def test_arrivals():
    wanted = {"a": 50, "b": 10}
    found = list(simulate.arrivals(wanted, 20, random.Random(1)))
    times = [when for when, _name in found]
    assert times == sorted(times) and times[-1] < 20
    for name, rate in wanted.items():
        count = sum(1 for _when, one in found if one == name)
        assert 0.8 < count / (20 * rate) < 1.2


@pytest.mark.parametrize("key, name", [
    (keyspace.partition("nova", "s", "a-server").key, "s"),
    (keyspace.partition("nova", "t", "services").key, "t:services"),
    (keyspace.bucket_key("nova", "instances.host", "a"),
     "h:instances.host"),
    (keyspace.counter_key("nova", "instances"), "id")])
def test_what_a_key_belongs_to(key, name):
    assert simulate.partition_of(key) == name


def _played(late_s=0.0, cpu_s=1.0):
    return {"took": {"a": [0.001] * 99, "b": [0.5]}, "errors": 0,
            "late_s": late_s, "seconds": 10.0, "cpu_s": cpu_s,
            "hot": {"s": 3, "t:services": 1}}


@pytest.mark.parametrize("played, masters, expected", [
    (_played(), [9.9], "nothing"), (_played(5.0), [1, 9.9], "a master"),
    (_played(5.0, 9.9), [1, 2], "the clients"),
    (_played(5.0), [1, 2], "the machine")])
def test_what_gives_out(played, masters, expected):
    found = simulate.summary([played, _played()], masters, {"a": 20})
    assert found["gives_out"] == expected
    assert found["calls_per_s"] == 20
    assert (found["p50_ms"], found["p99_ms"]) == (1.0, 500.0)
    assert found["hottest"] == {"s": 0.75, "t:services": 0.25}
