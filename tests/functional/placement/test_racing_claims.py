# SPDX-License-Identifier: Apache-2.0
"""Placement's processes never give out more than there is."""

import pytest

from tests import fixtures
from tests.functional.placement import racing


@pytest.fixture(scope="module")
def cluster():
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as cluster:
        yield cluster


@pytest.fixture(scope="module", params=racing.MODES)
def placement(request, cluster):
    with racing.Placement(cluster.url(
            request.param, **racing.MODES[request.param])) as placement:
        yield placement


@pytest.mark.parametrize("units, claims", [(1, 12), (10, 30)])
def test_racing_claims(placement, units, claims):
    statuses, used = placement.race(units, claims)
    assert statuses == {204: units, 409: claims - units}
    assert used == units
