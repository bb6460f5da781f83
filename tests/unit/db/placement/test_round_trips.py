# SPDX-License-Identifier: Apache-2.0
"""How many round trips a call of Placement's may cost."""

from placement.objects import allocation
import pytest

from tests.differential import placements
from tests.unit.db.placement import test_native


@pytest.fixture
def cost():
    side = placements.Native()
    side.fill(test_native.ROWS)

    def count(function, *args):
        """Return what the first call costs, and the next of a request."""
        stats = side.database.store.stats
        made = []
        for _turn in range(2):
            before = stats.round_trips
            assert side.call(function, *args)
            made.append(stats.round_trips - before)
        return made

    return count


class _Provider:
    id = 1


def test_allocations_of_a_consumer(cost):
    assert cost(allocation.get_all_by_consumer_id,
                test_native._UUID) == [3, 1]


def test_allocations_of_a_provider(cost):
    assert cost(allocation.get_all_by_resource_provider,
                _Provider()) == [3, 1]
