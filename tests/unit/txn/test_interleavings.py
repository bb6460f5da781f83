# SPDX-License-Identifier: Apache-2.0
"""Properties of any interleaving of transactions, crashes and replays."""

import os
import random as stdlib_random

import hypothesis
from hypothesis import strategies
import pytest

from nova_kvs.store import registry
from nova_kvs.txn import retry
from tests.unit.txn import simulation

STORE = "kvs+memory:///txn-interleavings"
SETTINGS = hypothesis.settings(
    max_examples=25, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck))


def simulate(random, faults, writers, readers, housekeepers):
    world = simulation.Simulation(
        registry.get_store(STORE), random, faults)
    # Transaction ids decide who gives way: the same ones in each run of an
    # example, or hypothesis cannot repeat it.
    ids = stdlib_random.Random(random.getrandbits(64))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "urandom", ids.randbytes)
        # Whoever would sleep gives its turn away instead.
        patch.setattr(
            retry, "pause", lambda number, sleep=None: world.give_turn())
        world.run(writers, readers, housekeepers)
    world.settle()
    return world


@SETTINGS
@hypothesis.given(strategies.randoms(use_true_random=False),
                  strategies.integers(1, 8))
def test_without_faults(random, writers):
    world = simulate(random, False, writers, 2, 0)
    world.check_history()
    assert all(transaction.state != simulation.UNKNOWN
               for transaction in world.transactions)
    # Somebody always wins.
    assert any(transaction.state == simulation.COMMITTED
               for transaction in world.transactions)
    assert simulation.scenarios.leftovers(world.store, world.database) == []


@SETTINGS
@hypothesis.given(strategies.randoms(use_true_random=False),
                  strategies.integers(1, 8))
def test_with_faults(random, writers):
    world = simulate(random, True, writers, 2, 1)
    world.check_history()
    assert simulation.scenarios.leftovers(world.store, world.database) == []
    # Whatever else arrives late changes nothing any more of what a client
    # was told.
    before = world.certain()
    for item in list(world.written):
        world.store.batch((item,))
    world.settle()
    world.check_history()
    assert world.certain() == before
