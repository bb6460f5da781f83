# SPDX-License-Identifier: Apache-2.0
"""Odd requests are answered as by a cloud on SQLite.

``tox -e fuzz`` sends more of them, for as long as one likes.
"""

import hypothesis
from hypothesis import strategies as st
import pytest

from tests.differential.fuzz import pair
from tests.differential.fuzz import requests


@pytest.fixture(scope="module")
def clouds():
    made = pair.Pair()
    try:
        for request in requests.population():
            assert made.difference(request) is None
            assert made.status < 300, (made.status, request)
        yield made
    finally:
        made.stop()


def _always_the_same(examples):
    """Return settings: what one request leaves, the next ones find."""
    return hypothesis.settings(
        max_examples=examples, deadline=None, database=None,
        derandomize=True, phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck))


@_always_the_same(300)
@hypothesis.given(request=requests.reads)
def test_odd_reads(request, clouds):
    assert clouds.difference(request) is None


def test_pages_in_the_order_of_uuids(clouds):
    assert clouds.difference(pair.Request(
        pair.NOVA, "GET", "/os-simple-tenant-usage?detailed=1&limit=1",
        version="2.75")) is None


@_always_the_same(25)
@hypothesis.given(several=st.lists(
    st.one_of(requests.writes, requests.writes, requests.reads),
    min_size=5, max_size=10))
def test_odd_writes(several, clouds):
    for request in several:
        assert clouds.difference(request) is None
    clouds.both(lambda cloud: cloud.tidy())


def test_a_difference_is_told(clouds):
    """Else nothing that is tested here would be."""
    clouds.clouds[1].send(pair.Request(
        pair.NOVA, "PUT", "/servers/${plain}/tags/one",
        version="2.60"))
    assert "one" in clouds.difference(pair.Request(
        pair.NOVA, "GET", "/servers/${plain}/tags", version="2.60"))
