# SPDX-License-Identifier: Apache-2.0
"""Round trips of changes on a Redis Cluster, where they span servers."""

import collections
import json

from placement.db.sqlalchemy import models
from placement.objects import resource_class
from placement.objects import trait
import pytest

from tests.differential import placements
from tests.differential import stores
from tests.differential import test_placement_requests as requests
from tests import fixtures

TURNS = 8


@pytest.fixture
def cloud(monkeypatch):
    monkeypatch.setattr(trait, "_TRAITS_SYNCED", True)
    monkeypatch.setattr(resource_class, "_RESOURCE_CLASSES_SYNCED", True)
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as cluster:
        monkeypatch.setattr(stores, "new_url", cluster.url)
        with placements.installed():
            side = placements.Native()
            made = requests.Cloud(side)
            made.stats = side.database.store.stats
            made.fill = side.fill
            made.generation = lambda: json.loads(made.ask(
                "GET", "/resource_providers/" + requests.PROVIDERS[0])[1])[
                    "generation"]
            yield made


def test_claims(cloud):
    body = requests._body({0: {"VCPU": 1, "MEMORY_MB": 2}})
    trips = collections.defaultdict(list)
    for turn in range(TURNS):
        path = "/allocations/%08d-0000-4000-8000-000000000003" % turn
        for method, sent in (("PUT", body), ("GET", None), ("DELETE", None)):
            before = cloud.stats.round_trips
            assert cloud.ask(method, path, sent)[0] in (200, 204)
            trips[method].append(cloud.stats.round_trips - before)
    # At first nothing is known, and now and then ids are fetched.
    assert {method: collections.Counter(found).most_common(1)[0][0]
            for method, found in trips.items()} == {
                "PUT": 3, "GET": 1, "DELETE": 3}


def test_what_a_provider_has(cloud):
    """Three trips to write; one before, for the generation."""
    path = "/resource_providers/%s/" % requests.PROVIDERS[0]
    cloud.fill({models.Trait: [{"id": 1, "name": "HW_A"}]})
    trips = collections.defaultdict(list)
    for turn in range(TURNS):
        for what, some in (
                ("inventories", {"VCPU": {"total": turn + 1}}),
                ("traits", ["HW_A"][turn % 2:]),
                ("aggregates", [requests.NOBODY][turn % 2:])):
            generation = cloud.generation()
            before = cloud.stats.round_trips
            assert cloud.ask("PUT", path + what, {
                what: some,
                "resource_provider_generation": generation})[0] == 200
            trips[what].append(cloud.stats.round_trips - before)
    assert {what: collections.Counter(found).most_common(1)[0][0]
            for what, found in trips.items()} == {
                "inventories": 4, "traits": 5, "aggregates": 4}
