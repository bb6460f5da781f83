# SPDX-License-Identifier: Apache-2.0
"""How many round trips a call of Placement's may cost."""

from unittest import mock

from placement.db.sqlalchemy import models
from placement import lib
from placement.objects import allocation
from placement.objects import allocation_candidate
from placement.objects import consumer
from placement.objects import inventory
from placement.objects import project
from placement.objects import resource_class
from placement.objects import resource_provider
from placement.objects import trait
from placement.objects import usage
from placement.objects import user
import pytest

from nova_kvs.db.placement import tables
from tests.differential import placements
from tests.differential import test_placement_requests as requests
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
            assert side.call(function, *args) is not None
            made.append(stats.round_trips - before)
        return made

    with placements.installed():
        yield count


def test_allocations_of_a_consumer(cost):
    assert cost(allocation.get_all_by_consumer_id,
                test_native._UUID) == [3, 1]


class _Provider:
    id = 1


@pytest.fixture
def asked():
    """What a function asks the store for, when it is called again."""
    side = placements.Native()
    side.fill(test_native.ROWS)

    def call(function, *args):
        """Return the keys that the second call names."""
        side.call(function, *args)
        keys = []
        batch = side.database.store.batch
        with mock.patch.object(
                side.database.store, "batch", side_effect=lambda items, *some,
                **named: keys.extend(item.key for item in items)
                or batch(items, *some, **named)):
            assert side.call(function, *args)
        return keys

    call.side = side
    with placements.installed():
        yield call


@pytest.mark.parametrize("function, argument", [
    (allocation.get_all_by_consumer_id, test_native._UUID),
    (allocation.get_all_by_resource_provider, _Provider())])
class TestRowsThatLast:
    _LASTING = (b"projects}", b"users}", b"resource_classes}")

    def _asked(self, asked, *args):
        keys = asked(*args)
        return [name for name in self._LASTING if any(
            name in key for key in keys)]

    def test_they_are_not_asked_for_again(self, asked, function, argument):
        assert self._asked(asked, function, argument) == []

    def test_but_after_a_while(
            self, asked, function, argument, monkeypatch):
        monkeypatch.setattr(tables, "LASTING_S", 0)
        assert self._asked(
            asked, function, argument) == list(self._LASTING)

    def test_custom_classes_are_asked_for(self, asked, function, argument):
        asked.side.fill({
            models.ResourceClass: [{"id": 10000, "name": "CUSTOM_A"}],
            models.Allocation: [dict(
                test_native.ROWS[models.Allocation][0],
                resource_class_id=10000)]})
        assert self._asked(
            asked, function, argument) == [b"resource_classes}"]
        asked.side.fill({
            models.ResourceClass: [{"id": 10000, "name": "CUSTOM_B"}]})
        found, = asked.side.call(function, argument)
        assert found.resource_class == "CUSTOM_B"

    def test_not_those_of_another_schema(self, asked, function, argument):
        asked(function, argument)
        asked.side.fill({models.Project: [{"id": 1, "external_id": "q"}]})
        found, = asked.side.call(function, argument)
        assert found.consumer.project.external_id == "p"
        database = asked.side.database
        transaction = database.begin()
        transaction.set_schema(
            [*database.schema.ddl, "CREATE TABLE other (id INTEGER)"])
        transaction.commit()
        found, = asked.side.call(function, argument)
        assert found.consumer.project.external_id == "q"


def test_allocations_of_a_provider(cost):
    assert cost(allocation.get_all_by_resource_provider,
                _Provider()) == [3, 1]


@pytest.mark.parametrize("function, argument, expected", [
    (resource_provider.ResourceProvider.get_by_uuid, "rp1", [1, 1]),
    (resource_provider.get_all_by_filters, {"in_tree": "rp1"}, [2, 1]),
    (resource_provider.get_all_by_filters, {"name": "n"}, [1, 1]),
    (resource_provider._get_aggregates_by_provider_id, 1, [1, 1]),
    (inventory.get_all_by_resource_provider, _Provider(), [1, 1]),
    (trait.get_all_by_resource_provider, _Provider(), [1, 1]),
    (usage.get_all_by_resource_provider_uuid, "rp1", [2, 1])])
def test_provider(cost, function, argument, expected):
    assert cost(function, argument) == expected


def test_candidates(cost):
    made = cost(
        allocation_candidate.AllocationCandidates.get_by_requests,
        {"": lib.RequestGroup(resources={"VCPU": 1})},
        lib.RequestWideParams())
    assert made == [2, 1]


@pytest.mark.parametrize("function, argument, expected", [
    (consumer.Consumer.get_by_uuid, test_native._UUID, [2, 1]),
    (project.Project.get_by_external_id, "p", [1, 1]),
    (user.User.get_by_external_id, "u", [1, 1])])
def test_consumer(cost, function, argument, expected):
    assert cost(function, argument) == expected


class TestClaims:
    """A claim reads, compares and commits."""

    @pytest.fixture
    def cloud(self, monkeypatch):
        monkeypatch.setattr(trait, "_TRAITS_SYNCED", True)
        monkeypatch.setattr(resource_class, "_RESOURCE_CLASSES_SYNCED", True)
        with placements.installed():
            side = placements.Native()
            made = requests.Cloud(side)
            made.stats = side.database.store.stats
            yield made

    @staticmethod
    def _cost(cloud, *request):
        before = cloud.stats.round_trips
        assert cloud.ask(*request)[0] == 204
        return cloud.stats.round_trips - before

    def test_servers_come_and_go(self, cloud):
        path = "/allocations/" + requests.CONSUMERS[0]
        body = requests._body({0: {"VCPU": 1, "MEMORY_MB": 2}})
        # The provider and the user are not known; ids are taken in blocks.
        assert self._cost(cloud, "PUT", path, body) == 7
        assert self._cost(cloud, "DELETE", path) == 2
        assert self._cost(cloud, "PUT", path, body) == 3
        body["consumer_generation"] = 1
        assert self._cost(cloud, "PUT", path, body) == 3
        body.update(allocations={}, consumer_generation=2)
        assert self._cost(cloud, "PUT", path, body) == 3

    def test_servers_move(self, cloud):
        first, second = requests.CONSUMERS[:2]
        amounts = {0: {"VCPU": 1}}
        for provider in range(2):
            self._cost(cloud, "PUT", "/allocations/" + first, requests._body(
                {provider: {"VCPU": 2}}, provider or None))
        assert self._cost(cloud, "POST", "/allocations", {
            first: requests._body({1: {"VCPU": 2}}, 2),
            second: requests._body(amounts)}) == 3


class TestChanges:
    """A change reads the provider, reads what is to change, and commits."""

    @pytest.mark.parametrize("what, bodies", [
        ("inventories", [{"inventories": {"VCPU": {"total": total}}}
                         for total in (3, 4)]),
        ("traits", [{"traits": some} for some in (["HW_A"], [])]),
        ("aggregates", [{"aggregates": some} for some in (
            [requests.NOBODY], [])])])
    def test_of_a_provider(self, what, bodies, monkeypatch):
        monkeypatch.setattr(trait, "_TRAITS_SYNCED", True)
        monkeypatch.setattr(resource_class, "_RESOURCE_CLASSES_SYNCED", True)
        path = "/resource_providers/%s/%s" % (requests.PROVIDERS[0], what)
        with placements.installed():
            side = placements.Native()
            cloud = requests.Cloud(side)
            side.fill({models.Trait: [{"id": 1, "name": "HW_A"}]})
            stats = side.database.store.stats
            cost = []
            for turn, body in enumerate(bodies * 2, 3):
                before = stats.round_trips
                assert cloud.ask("PUT", path, dict(
                    body, resource_provider_generation=turn))[0] == 200
                cost.append(stats.round_trips - before)
        # At first ids are taken. Names of traits are one trip more.
        assert cost[2:] == [3 + (what == "traits")] * 2
