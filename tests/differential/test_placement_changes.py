# SPDX-License-Identifier: Apache-2.0
"""Requests that change what a provider has: as on Placement's SQLite."""

import random

from placement.db.sqlalchemy import models
import pytest

from tests.differential import test_placement_requests as requests

clouds = requests.clouds
left = requests.left
_PATH = "/resource_providers/%s/" % requests.PROVIDERS[0]
_AGGREGATES = ["%08d-0000-4000-8000-000000000005" % n for n in range(3)]
_TRAITS = ("HW_A", "HW_B", "CUSTOM_C")
_ROWS = {
    models.Trait: [{"id": number, "name": name}
                   for number, name in enumerate(_TRAITS, 1)],
    models.PlacementAggregate: [{"id": 1, "uuid": _AGGREGATES[0]}],
    models.ResourceProviderTrait: [
        {"resource_provider_id": 1, "trait_id": 1}],
    models.ResourceProviderAggregate: [
        {"resource_provider_id": 1, "aggregate_id": 1}]}


class _Asked:
    """What two clouds were asked, which is to have done the same."""

    def __init__(self, clouds):
        self._clouds = clouds
        self.generation = 3

    def ask(self, method, what, body=None, expected=200, **options):
        if body is not None:
            body = dict(body, resource_provider_generation=self.generation)
        answers = [cloud.ask(method, _PATH + what, body, **options)
                   for cloud in self._clouds]
        if expected == 409:
            # Details may have the database's own words.
            for _status, error in answers:
                error.pop("detail")
        assert answers[1] == answers[0]
        first, second = [self._found(cloud) for cloud in self._clouds]
        assert second == first
        assert answers[0][0] == expected, answers
        self.generation = first[-1]

    @staticmethod
    def _found(cloud):
        """Return what is stored and what is read of it."""
        rows = cloud.rows()
        for row in rows[models.Inventory]:
            del row["id"]
        rows[models.Inventory].sort(key=repr)
        read = [sorted(requests.json.loads(cloud.ask(
            "GET", _PATH + what)[1])[what])
            for what in ("aggregates", "traits")]
        return rows, *read, next(
            row["generation"] for row in rows[models.ResourceProvider]
            if row["uuid"] == requests.PROVIDERS[0])


@pytest.fixture
def asked(clouds):
    for cloud in clouds:
        cloud._side.fill(_ROWS)
    return _Asked(clouds)


def _inventories(**totals):
    return {"inventories": {name: {"total": total}
                            for name, total in totals.items()}}


def test_inventory(asked, left):
    asked.ask("PUT", "inventories", _inventories(VCPU=4, CUSTOM_X=2))
    asked.ask("PUT", "inventories", _inventories(VCPU=5))
    asked.ask("POST", "inventories", {
        "resource_class": "DISK_GB", "total": 7}, 201)
    asked.ask("PUT", "inventories/DISK_GB", {
        "total": 8, "allocation_ratio": 1.5, "reserved": 8})
    asked.ask("DELETE", "inventories/DISK_GB", expected=204)
    asked.ask("DELETE", "inventories", expected=204)
    assert not left


def test_inventory_that_is_used(asked, clouds, left):
    assert requests._put(clouds, 0, requests._body(
        {0: {"VCPU": 2, "MEMORY_MB": 4}})) == 204
    asked.generation += 1
    # To have too little left is allowed, to have none is not.
    asked.ask("PUT", "inventories", _inventories(VCPU=1, MEMORY_MB=8))
    asked.ask("PUT", "inventories/VCPU", {"total": 1, "max_unit": 3})
    assert not left
    asked.ask("PUT", "inventories", _inventories(VCPU=4), 409)
    asked.ask("DELETE", "inventories", expected=409)
    asked.ask("DELETE", "inventories/VCPU", expected=409)
    assert left


@pytest.mark.parametrize("method, what, body, status", [
    ("PUT", "inventories", _inventories(CUSTOM_NONE=1), 400),
    ("POST", "inventories", {"resource_class": "VCPU", "total": 1}, 409),
    ("POST", "inventories", {"resource_class": "CUSTOM_N", "total": 1}, 400),
    ("PUT", "inventories/CUSTOM_X", {"total": 1}, 400),
    ("DELETE", "inventories/CUSTOM_X", None, 404),
    ("DELETE", "inventories/CUSTOM_NONE", None, 404),
    ("PUT", "traits", {"traits": ["CUSTOM_NONE"]}, 400)])
def test_what_is_refused(asked, method, what, body, status):
    asked.ask(method, what, body, status)


def test_traits(asked, left):
    for some in (_TRAITS[1:], _TRAITS[1:], _TRAITS, (), _TRAITS[:1]):
        asked.ask("PUT", "traits", {"traits": list(some)})
    asked.ask("DELETE", "traits", expected=204)
    assert not left


def test_aggregates(asked, left):
    for some in (_AGGREGATES, _AGGREGATES, _AGGREGATES[1:], []):
        asked.ask("PUT", "aggregates", {"aggregates": some})
    assert not left


def test_aggregates_without_a_generation(asked, clouds, left):
    for some in (_AGGREGATES[:2], _AGGREGATES[1:]):
        answers = [cloud.ask("PUT", _PATH + "aggregates", some, version="1.1")
                   for cloud in clouds]
        assert answers[0][0] == 200 and answers[1] == answers[0]
        first, second = map(asked._found, clouds)
        assert second == first and first[-1] == 3
    assert not left


@pytest.mark.parametrize("what", ["inventories", "traits", "aggregates"])
def test_an_old_generation(asked, what):
    asked.ask("PUT", "inventories", _inventories(VCPU=4))
    asked.generation = 3
    asked.ask("PUT", what, {
        "inventories": _inventories(VCPU=5), "traits": {"traits": []},
        "aggregates": {"aggregates": []}}[what], 409)


@pytest.mark.parametrize("seed", range(2))
def test_any_sequence(asked, seed):
    pick = random.Random(seed)
    for _turn in range(12):
        what = pick.choice(["inventories", "traits", "aggregates"])
        asked.ask("PUT", what, {
            "inventories": _inventories(**{
                name: pick.randrange(1, 9) for name in pick.sample(
                    requests._CLASSES, pick.randrange(4))}),
            "traits": {"traits": pick.sample(_TRAITS, pick.randrange(4))},
            "aggregates": {"aggregates": pick.sample(
                _AGGREGATES, pick.randrange(4))}}[what])
