# SPDX-License-Identifier: Apache-2.0
"""A search for candidates: one Session, mostly one round trip.

What Placement does with what it finds is its own; it asks by functions that
are native, here and in ``searches``.
"""

import collections

from nova_kvs.db.placement import attributes
from nova_kvs.db.placement import native
from nova_kvs.db.placement import overview
from nova_kvs.db.placement import tables

_CANDIDATES = "placement.objects.allocation_candidate:"
_SEARCHES = "placement.objects.research_context:"
_make_usage = tables.row_maker([
    "resource_provider_id", "resource_provider_uuid", "resource_class_id",
    "total", "reserved", "allocation_ratio", "max_unit", "used"])
_make_provider = tables.row_maker(["id", "uuid", "parent_id", "root_id"])
_NO_INVENTORY = (None, None, None, None, None, None)


def _prepare(session, cls, context, groups, rqparams, nested_aware=True):
    if any(group.in_tree for group in groups.values()):
        # One tree is little of what there is.
        return
    overview.load(session, attributes.due(
        context, "rc_cache", "trait_cache"))


native.together(
    _CANDIDATES + "AllocationCandidates._get_by_requests", at=1,
    prepare=_prepare)
native.together(_SEARCHES + "get_provider_ids_matching", "rg_ctx",
                context_of=lambda rg_ctx: rg_ctx.context)
native.together(_SEARCHES + "get_trees_matching_all", "rg_ctx",
                context_of=lambda rg_ctx: rg_ctx.context)


def _in_trees(session, root_ids):
    """Return the values of all providers in trees."""
    known = overview.providers(session)
    trees = overview.trees(session)
    return [known[number] for root_id in sorted(set(root_ids))
            for number in trees.get(root_id, ())]


@native.reader(_CANDIDATES + "_provider_ids_from_root_ids")
def provider_ids_from_root_ids(session, context, root_ids):
    """Return {id: its ids} of all providers in trees.

    :source: placement.objects.allocation_candidate.
        _provider_ids_from_root_ids
    """
    return {
        values["id"]: _make_provider((
            values["id"], values["uuid"], values["parent_provider_id"],
            values["root_provider_id"]))
        for values in _in_trees(session, root_ids)}


@native.reader(_SEARCHES + "get_usages_by_provider_trees")
def get_usages_by_provider_trees(session, ctx, root_ids):
    """Return inventories and usages of all providers in trees.

    :source: placement.objects.research_context.get_usages_by_provider_trees
    """
    found = _in_trees(session, root_ids)
    inventories = overview.inventories_by_provider(session)
    used = overview.usages(session, [values["id"] for values in found])
    rows = []
    for values in found:
        mine = values["id"], values["uuid"]
        sums = used[values["id"]]
        for inventory in inventories.get(values["id"], ()):
            rc_id = inventory["resource_class_id"]
            rows.append(_make_usage((
                *mine, rc_id, inventory["total"], inventory["reserved"],
                inventory["allocation_ratio"], inventory["max_unit"],
                sums.get(rc_id))))
        if values["id"] not in inventories:
            rows.append(_make_usage(mine + _NO_INVENTORY))
    return rows


@native.reader("placement.objects.trait:get_traits_by_provider_tree")
def get_traits_by_provider_tree(session, ctx, root_ids):
    """Return {id: names of traits} of providers in trees.

    :raises ValueError: if there is no tree.
    :source: placement.objects.trait.get_traits_by_provider_tree
    """
    if not root_ids:
        raise ValueError("Expected root_ids to be a list of root resource "
                         "provider internal IDs, but got an empty list.")
    traits = overview.traits(session)
    name_of = ctx.trait_cache.string_from_id
    found = collections.defaultdict(list)
    for values in _in_trees(session, root_ids):
        if values["id"] in traits:
            found[values["id"]] = [
                name_of(number) for number in traits[values["id"]]]
    return found
