# SPDX-License-Identifier: Apache-2.0
import json
import math
import random
from xml.etree import ElementTree

from nova import context
import pytest
import sqlalchemy as sa

from benchmarks import backends
from benchmarks import calls
from benchmarks import cloud as clouds
from benchmarks import measure
from benchmarks import report
from tests.unit.benchmarks import sqlite

_BACKENDS = [backends.MARIADB, *(backend.name for backend in backends.KVS)]


def figures(median_ms, **changes):
    return measure.Figures(**{
        "samples": 3, "median_ms": median_ms, "p95_ms": 2 * median_ms,
        "client_cpu_ms": median_ms / 2, "server_cpu_ms": median_ms / 4,
        "round_trips": 1.5, "errors": {}, **changes})


@pytest.fixture
def results():
    """Two calls at two sizes: KVS takes a half and an eighth."""
    found = {
        call: {name: figures(8.0 if name == backends.MARIADB else 8.0 * ratio)
               for name in _BACKENDS}
        for call, ratio in (("fast & <good>", 0.125), ("slow", 0.5),
                            ("not in the mean", 100))}
    return {10: found, 20: found}


HOT = ["fast & <good>", "slow"]


def test_geometric_mean():
    assert measure.geometric_mean([0.5, 0.125]) == pytest.approx(0.25)
    assert math.isnan(measure.geometric_mean([]))


def test_json_has_the_means_of_the_hot_calls(results):
    data = json.loads(json.dumps(report.as_json(results, HOT)))
    for name in ("native_vs_mariadb", "dialect_vs_mariadb",
                 "native_cluster_vs_mariadb", "native_vs_mariadb_cpu"):
        assert data["geomean"][name] == pytest.approx(0.25)
    assert data["servers"]["20"]["slow"]["native"]["p95_ms"] == 8.0


def test_tables_and_plot(results):
    text = report.tables(results, HOT)
    assert '"10", "native", "0.250", "0.250", "slow (0.50)"' in text
    assert '"not in the mean \\*", "8.00 (16.00)"' in text
    bars = ElementTree.fromstring(report.plot(results, HOT)).findall(
        "{http://www.w3.org/2000/svg}rect/{http://www.w3.org/2000/svg}title")
    assert [bar.text for bar in bars] == [
        "%s: %s" % (name, ratio) for ratio in ("0.125", "0.500")
        for name in ("dialect", "native", "native-memory")]


class Worker:
    """Stands for a process that takes a second for each call."""

    def __init__(self, name, wall_s=1.0, errors=None):
        self.name = name
        self.wall_s = wall_s
        self.errors = errors or {}
        self.runs = []

    def run(self, call, count, seed):
        self.runs.append((count, seed))
        failed = sum(self.errors.values())
        return {"wall_s": [self.wall_s] * (count - failed), "cpu_s": 1.0,
                "server_cpu_s": 0.5, "trips": 2 * count,
                "errors": self.errors}


def test_workers_take_turns_with_the_same_arguments():
    workers = [Worker("a", 0.001), Worker("b", 0.002)]
    found = measure.measure(
        workers, [calls.Call("call", None)], 4, 5, 10, lambda line: None)
    assert workers[0].runs == workers[1].runs
    assert [run for run in workers[0].runs if run[1]] == [
        (5, 1), (5, 2), (5, 3), (5, 4)]
    assert found["call"]["a"] == measure.Figures(
        20, 1.0, 1.0, 200.0, 100.0, 2.0, {})


def test_what_is_slow_is_called_less_and_what_is_hopeless_once():
    workers = [Worker("slow", 1.0), Worker("hopeless", 60.0)]
    found = measure.measure(
        workers, [calls.Call("call", None)], 10, 12, 8, lambda line: None)
    assert found["call"]["slow"].samples == 4
    assert found["call"]["hopeless"].samples == 1
    assert workers[1].runs == [(1, 0)]


def test_errors_are_counted_and_shown():
    lines = []
    found = measure.measure(
        [Worker("a", 0.001, {"oops": 1})], [calls.Call("call", None)], 2, 3,
        10, lines.append)
    assert found["call"]["a"].errors == {"oops": 2}
    assert found["call"]["a"].samples == 4
    assert "oops" in lines[-1]


def test_every_server_has_its_own_rows():
    """SQLite with its constraints takes all that is generated."""
    cloud = clouds.Cloud(40)
    with sqlite.filled(cloud).connect() as connection:
        found = connection.execute(sa.text(
            "SELECT count(*), count(DISTINCT uuid) FROM instances")).one()
        assert tuple(found) == (40, 40)
        assert connection.execute(sa.text(
            "SELECT count(*) FROM instances WHERE project_id = '%s'"
            % clouds.LARGE_PROJECT)).scalar() == 4


def test_thirty_calls_are_hot_and_can_be_prepared():
    names = [call.name for call in calls.CALLS]
    assert len(set(names)) == len(names)
    assert sum(call.hot for call in calls.CALLS) == 30
    assert set(calls.PAGES) <= set(names)
    world = calls.World(clouds.Cloud(40), context.get_admin_context(),
                        random.Random(1))
    for call in calls.CALLS:
        if call.name != "instance_destroy":  # It makes a server first.
            assert callable(call.prepare(world))
