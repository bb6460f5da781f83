# SPDX-License-Identifier: Apache-2.0
"""What Placement reads of random databases: natively as by its own."""

import random

import hypothesis
from hypothesis import strategies as st
from placement.db.sqlalchemy import models
from placement import lib
from placement.objects import allocation
from placement.objects import allocation_candidate
from placement.objects import consumer
from placement.objects import inventory
from placement.objects import project
from placement.objects import research_context
from placement.objects import resource_provider
from placement.objects import trait
from placement.objects import usage
from placement.objects import user
import pytest

from tests.differential import placements

_CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_X", "CUSTOM_Y")


def _uuid(kind, number):
    return "%08d-0000-4000-8000-%012d" % (number, kind)


class World:
    """Random rows, the same in every database.

    :param seed: what makes them.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.providers = self._numbers(6)
        self.consumers = self._numbers(8)
        self.owners = self._numbers(3)
        self.aggregates = self._numbers(3)
        self.traits = self._numbers(4)

    def _numbers(self, most):
        return list(range(1, self.random.randint(2, most + 1)))

    def _some(self, items, share=0.5):
        return [item for item in items if self.random.random() < share]

    def _pick(self, items):
        return self.random.choice(items)

    def fill(self, sides):
        """Replace all rows."""
        rows = dict(self._rows())
        for side in sides:
            side.fill(rows)

    def _rows(self):
        yield models.ResourceClass, [
            {"id": number, "name": name}
            for number, name in enumerate(_CLASSES)]
        yield models.Trait, [
            {"id": number, "name": "T%d" % number}
            for number in self.traits] + [
                {"id": 9, "name": "MISC_SHARES_VIA_AGGREGATE"}]
        yield models.PlacementAggregate, [
            {"id": number, "uuid": _uuid(3, number)}
            for number in self.aggregates]
        yield models.ResourceProvider, list(self._trees())
        yield models.Inventory, [
            {"id": 10 * provider + number, "resource_provider_id": provider,
             "resource_class_id": number, "total": self._pick([8, 16]),
             "reserved": self._pick([0, 1]), "min_unit": self._pick([1, 2]),
             "max_unit": self._pick([4, 16]),
             "step_size": self._pick([1, 2]),
             "allocation_ratio": self._pick([1.0, 1.5, 2])}
            for provider in self.providers
            for number in self._some(range(4), 0.7)]
        yield models.ResourceProviderTrait, [
            {"resource_provider_id": provider, "trait_id": trait}
            for provider in self.providers
            for trait in self._some(self.traits)
            + ([9] if self.random.random() < 0.15 else [])]
        yield models.ResourceProviderAggregate, [
            {"resource_provider_id": provider, "aggregate_id": number}
            for provider in self.providers
            for number in self._some(self.aggregates)]
        yield models.Project, [{"id": number, "external_id": "p%d" % number}
                               for number in self.owners]
        yield models.User, [{"id": number, "external_id": "u%d" % number}
                            for number in self.owners]
        yield models.ConsumerType, [{"id": 1, "name": "INSTANCE"}]
        # Some have no project or user, and some allocations no consumer.
        yield models.Consumer, [
            {"id": number, "uuid": _uuid(2, number),
             "project_id": self._pick([*self.owners, 1, 1, 8]),
             "user_id": self._pick([*self.owners, 1, 1, 8]),
             "generation": self._pick([0, 3]),
             "consumer_type_id": self._pick([None, 1])}
            for number in self._some(self.consumers, 0.9)]
        yield models.Allocation, [
            {"id": 100 * provider + 10 * consumer + number,
             "resource_provider_id": provider,
             "consumer_id": _uuid(2, consumer),
             "resource_class_id": number, "used": self._pick([1, 2, 4])}
            for provider in [*self.providers, 9]
            for consumer in self._some(self.consumers, 0.4)
            for number in self._some(range(5))]

    def _trees(self):
        roots = {}
        for number in self.providers:
            parent = self._pick([None, None, *roots])
            roots[number] = number if parent is None else roots[parent]
            yield {"id": number, "uuid": _uuid(1, number),
                   "name": "host%d" % number, "generation": number,
                   "parent_provider_id": parent,
                   "root_provider_id": roots[number]}

    def uuids(self, kind, numbers):
        """Return UUIDs of what there is, and of one that is not."""
        return [_uuid(kind, number) for number in [*numbers, 99]]


@pytest.fixture(scope="module")
def sides():
    dialect = placements.Dialect()
    with placements.installed():
        yield placements.SQLite(), dialect, placements.Native(dialect)


def _same(sides, function, *args, **kwargs):
    """Raise AssertionError unless all databases give the same."""
    expected, *others = [
        placements.outcome(side, function, *args, **kwargs)
        for side in sides]
    for found in others:
        assert found == expected, (function, args)
    return expected


class _Provider:
    """What is looked at of a ResourceProvider."""

    def __init__(self, number):
        self.id = number


def _of_provider(context, number, module):
    """Return all that a module has of a provider."""
    found = module.get_all_by_resource_provider(context, _Provider(number))
    for item in found:
        item.resource_provider = None
    return found


def check_allocations(sides, world):
    for uuid in world.uuids(2, world.consumers):
        _same(sides, allocation.get_all_by_consumer_id, uuid)
    for number in (*world.providers, 9, 99):
        _same(sides, _of_provider, number, allocation)


def check_consumers(sides, world):
    for uuid in world.uuids(2, world.consumers):
        _same(sides, consumer.Consumer.get_by_uuid, uuid)
    for number in (*world.owners, 99):
        _same(sides, project.Project.get_by_external_id, "p%d" % number)
        _same(sides, user.User.get_by_external_id, "u%d" % number)


def check_attributes(sides, world):
    for name in ("rc_cache", "trait_cache", "ct_cache"):
        _same(sides, lambda context: getattr(context, name).get_all())
        for value in ("VCPU", "T1", "INSTANCE", "nothing"):
            _same(sides, lambda context: getattr(
                context, name).id_from_string(value))


def check_providers(sides, world):
    for uuid in world.uuids(1, world.providers):
        _same(sides, resource_provider.ResourceProvider.get_by_uuid, uuid)
        _same(sides, research_context.provider_ids_from_uuid, uuid)
        _same(sides, usage.get_all_by_resource_provider_uuid, uuid)
        _same(sides, resource_provider.get_all_by_filters,
              {"in_tree": uuid})
        _same(sides, resource_provider.get_all_by_filters, {"uuid": uuid})
    for filters in (None, {}, {"name": "host1"}, {"name": "none"},
                    {"resources": {"VCPU": 1}},
                    {"member_of": [[_uuid(3, 1)]], "name": "host1"}):
        _same(sides, resource_provider.get_all_by_filters, filters)
    for number in (*world.providers, 99):
        _same(sides, _of_provider, number, inventory)
        _same(sides, trait.get_all_by_resource_provider, _Provider(number))
        _same(sides, resource_provider._get_aggregates_by_provider_id,
              number)


def check_searches(sides, world):
    ask = research_context
    some = world._some(world.providers)
    traits = [*world.traits, 9]
    _same(sides, ask._has_provider_trees)
    for class_id in range(6):
        for amount in (1, 2, 4, 7):
            _same(sides, ask.get_providers_with_resource, class_id, amount)
            _same(sides, ask.get_providers_with_resource, class_id, amount,
                  tree_root_id=world._pick(world.providers))
    for ids in (None, some, world.providers):
        _same(sides, ask.get_sharing_providers, ids)
        for required in ([{1}], [{1, 2}, {world._pick(traits)}], []):
            _same(sides, ask.provider_ids_matching_required_traits,
                  required, ids)
        for aggregates in ([[1]], [[1, 2], [world._pick([1, 2, 99])]], [],
                           [[99]]):
            _same(sides, ask.provider_ids_matching_aggregates,
                  [[_uuid(3, number) for number in numbers]
                   for numbers in aggregates], ids)
        for forbidden in (set(), {world._pick(world.providers)}):
            _same(sides, ask.get_providers_with_root, ids, forbidden)
        for required in ([], [{1}], [{1, 2}, {world._pick(traits)}]):
            for forbidden in ([], [world._pick(traits)], [1, 2]):
                _same(sides, ask._get_trees_with_traits, ids or [],
                      required, forbidden)
        _same(sides, ask.anchors_for_sharing_providers, ids or [])
    for required in (None, set(), {1}, {1, world._pick(traits)}):
        _same(sides, ask.get_provider_ids_having_any_trait, required)
        for forbidden in (None, {world._pick(traits)}):
            _same(sides, ask._get_roots_with_traits, required, forbidden)
    for roots in ([], [1], world.providers):
        _same(sides, trait.get_traits_by_provider_tree, roots)


def _group(world):
    return lib.RequestGroup(
        use_same_provider=world._pick([True, False]),
        resources={name: world._pick([1, 2, 4])
                   for name in world._some(_CLASSES[:4])} or {"VCPU": 1},
        required_traits=[{"T%d" % world._pick(world.traits)
                          for _turn in range(2)}
                         for _turn in range(world._pick([0, 0, 1]))],
        forbidden_traits={"T%d" % world._pick(world.traits)
                          for _turn in range(world._pick([0, 0, 1]))},
        member_of=[[_uuid(3, world._pick(world.aggregates))]
                   for _turn in range(world._pick([0, 0, 1]))],
        forbidden_aggs=[_uuid(3, world._pick(world.aggregates))
                        for _turn in range(world._pick([0, 0, 0, 1]))],
        in_tree=_uuid(1, world._pick([*world.providers, 99]))
        if world.random.random() < 0.2 else None)


def _search(context, groups, parameters):
    found = allocation_candidate.AllocationCandidates.get_by_requests(
        context, groups, parameters)
    # Sets of UUIDs, and mappings that hash to what they are.
    return [sorted(repr((request, request.use_same_provider))
                   for request in found.allocation_requests),
            found.provider_summaries]


def check_candidates(sides, world):
    for _turn in range(6):
        groups = {"": _group(world)}
        if world.random.random() < 0.3:
            groups["_1"] = _group(world)
        _same(sides, _search, groups, lib.RequestWideParams(
            group_policy="none",
            anchor_required_traits=world._pick([None, None, {"T1"}]),
            anchor_forbidden_traits=world._pick([None, None, {"T2"}])))


@pytest.mark.parametrize("check", [
    check for name, check in sorted(globals().items())
    if name.startswith("check_")], ids=lambda check: check.__name__)
def test_reads_the_same(sides, check):
    # One by one, the databases change as they do in use.
    @hypothesis.settings(max_examples=10, deadline=None)
    @hypothesis.given(st.integers(0, 10 ** 9))
    def run(seed):
        world = World(seed)
        world.fill(sides[:2])
        # What was remembered of the last one, then of this one.
        check(sides, world)
        check(sides[1:], world)

    run()
