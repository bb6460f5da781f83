# SPDX-License-Identifier: Apache-2.0
"""Histories of clients that know only SQLAlchemy, while things fail."""

import pytest

from tests.fault.blackbox import checker
from tests.fault.blackbox import nemeses
from tests.fault.blackbox import run as runs

#: What READ COMMITTED admits, as the limits say.
ADMITTED = frozenset(("fractured read", "G2", "cycle with real time",
                      "sum of several moments", "phantom"))
LEVELS = ("READ COMMITTED", "SERIALIZABLE")


@pytest.fixture(scope="module")
def cluster():
    with nemeses.Cluster(masters=3, replicas=1,
                         node_timeout_ms=1500) as cluster:
        yield cluster


def load(cluster, name, level, seconds, choices, show, kind, **options):
    run = runs.Run(cluster, name, level, seed=len(choices), **options)
    try:
        run.work(seconds, choices)
    finally:
        run.stop()
    result = run.result()
    show("black box, %s, %s" % (level, kind), runs=1,
         **{name: result.counts[name] for name in (
             checker.COMMITTED, checker.REFUSED, checker.UNKNOWN)},
         nemeses=sum(run.nemeses.values()), lost=result.lost,
         **dict(result.anomalies))
    return result


@pytest.mark.short
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_is_lost(cluster, database_name, scale, show, level):
    choices = nemeses.HARMLESS
    if scale.short:
        # The other nemeses have to wait for more than CI can.
        choices = (nemeses.kill_client, nemeses.lose_replies,
                   nemeses.move_slot)
    result = load(cluster, database_name, level, scale.seconds(120, 8),
                  choices, show, "nothing to lose")
    admitted = ADMITTED if level != "SERIALIZABLE" else frozenset()
    assert not set(result.anomalies) - admitted, result.examples
    assert result.lost == 0
    # Clients met each other.
    assert result.counts[checker.COMMITTED] > 100
    assert result.counts[checker.REFUSED]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("replicas", [0, 1])
def test_masters_fail(cluster, database_name, scale, show, level, replicas):
    """All that was acknowledged lasts, if replicas had it."""
    result = load(
        cluster, database_name, level, scale.seconds(60, 10), nemeses.LOSING,
        show, "masters fail, commit_replicas = %d" % replicas,
        commit_replicas=replicas, commit_replicas_timeout=0.5)
    if replicas:
        assert result.lost == 0, result.examples


@pytest.mark.parametrize("level", LEVELS)
def test_power_fails(cluster, database_name, scale, show, level):
    """Whatever is lost, the servers and the clients go on."""
    result = load(cluster, database_name, level, scale.seconds(40, 5),
                  nemeses.POWER, show, "power fails")
    assert result.counts[checker.COMMITTED] > 100
