# SPDX-License-Identifier: Apache-2.0
"""Properties of any interleaving of transactions, crashes and replays."""

import hypothesis
from hypothesis import strategies
import pytest

from tests.unit.txn import simulation

simulate = simulation.simulate
SETTINGS = hypothesis.settings(
    max_examples=25, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck))


@SETTINGS
@hypothesis.given(strategies.randoms(use_true_random=False),
                  strategies.integers(1, 8))
def test_without_faults(random, writers):
    world = simulate(random, False, writers, 2, 0)
    world.check_history()
    world.check_serializable()
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


#: In four parts, for several processes.
@pytest.mark.parametrize("first", range(0, 2000, 500))
def test_seeds(first):
    """Each replays by itself: see simulation.py."""
    assert simulation.main(first, 500) == set()


@pytest.mark.parametrize("seed", [
    7678, 12774, 17930, 18698, 20442, 20774, 300970, 351526, 403184, 404531,
    407285, 461111, 507454])
def test_seeds_that_failed(seed):
    """Found among many thousands, each a fault that has been mended."""
    assert simulation.main(seed, 1) == set()


def test_a_seed_does_the_same_again():
    """Whatever ran before it in the same process."""
    first = simulation.replay(710)
    simulation.replay(2)
    again = simulation.replay(710)
    assert first.failovers and first.told
    assert again.written == first.written
    assert again.told == first.told
