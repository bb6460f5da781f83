# SPDX-License-Identifier: Apache-2.0
"""The crash matrix on a real cluster.

What a killed client has sent is there, and nothing else of it: the same as
a process that is killed at that line. Nobody pauses, so a fresh client waits
for nothing.
"""

import time

import pytest

from nova_kvs.txn import retry
from tests.fault import scenarios


@pytest.mark.short
@pytest.mark.parametrize("failpoint, size, operation", scenarios.MATRIX)
def test_all_or_nothing(
        store, monkeypatch, show, failpoint, size, operation):
    pauses = []
    monkeypatch.setattr(
        retry, "pause", lambda number, sleep=None: pauses.append(number))
    scenarios.run(store, failpoint, size, operation)
    assert pauses == []
    show("crash matrix: all or nothing, and nobody waits",
         failpoint_x_partitions_x_operation=1)


@pytest.mark.short
def test_writers_wait_for_the_lifetime_at_most(store, show):
    """With the servers' clocks, and no help but time."""
    scenario = scenarios.Scenario(store, 5, "update")
    scenario.crash("before_commit")
    client = scenario.client(lifetime_ms=300)
    # An attempt polls for about 100 ms, as it finds the intents pending.
    begin = time.monotonic()
    retry.run(lambda: client.commit(scenario.mutations(b"next")), 40)
    show("writers wait for an abandoned transaction", lifetime_s=0.3,
         waited_s=time.monotonic() - begin)
    assert client.stats.aborted == 1
    scenario.check_settled(None)
