# SPDX-License-Identifier: Apache-2.0
"""Searches for providers that have what is asked for.

The sources are the functions of the same names in
placement.objects.research_context; each joins a few tables.
"""

from placement.objects import research_context
from placement.objects import trait

from nova_kvs.db.placement import native
from nova_kvs.db.placement import overview
from nova_kvs.db.placement import providers
from nova_kvs.db.placement import tables
import os_traits

_MODULE = "placement.objects.research_context:"
_make_ids = tables.row_maker([
    "id", "uuid", "parent_id", "parent_uuid", "root_id", "root_uuid"])


@native.reader(_MODULE + "provider_ids_from_uuid")
def provider_ids_from_uuid(session, context, uuid):
    """Return a provider's, its parent's and its root's ids, or None."""
    found = providers.with_relatives(session, uuid)
    if found is None:
        return None
    me, root, parent = found
    parent_id, parent_uuid = (
        (None, None) if parent is None else (parent["id"], parent["uuid"]))
    return _make_ids((me["id"], me["uuid"], parent_id, parent_uuid,
                      root["id"], root["uuid"]))


@native.reader(_MODULE + "_has_provider_trees")
def has_provider_trees(session, ctx):
    """Tell whether any provider has a parent."""
    return overview.has_children(session)


@native.reader(_MODULE + "get_providers_with_resource")
def get_providers_with_resource(session, ctx, rc_id, amount,
                                tree_root_id=None):
    """Return {(provider's id, root's id)} of those with so much left."""
    known = overview.providers(session)
    fitting = []
    for inventory in overview.inventories(session, rc_id):
        provider = known.get(inventory["resource_provider_id"])
        step = inventory["step_size"]
        if provider is not None and (
                tree_root_id is None
                or provider["root_provider_id"] == tree_root_id) and (
                inventory["min_unit"] <= amount <= inventory["max_unit"]
                # As in SQL: nothing is a multiple of 0.
                and step and amount % step == 0):
            fitting.append((inventory, provider))
    used = overview.usages(
        session, [provider["id"] for _inventory, provider in fitting])
    return {
        (provider["id"], provider["root_provider_id"])
        for inventory, provider in fitting
        if used[provider["id"]].get(rc_id, 0) + amount <= (
            inventory["total"] - inventory["reserved"])
        * inventory["allocation_ratio"]}


@native.reader(_MODULE + "get_providers_with_root")
def get_providers_with_root(session, ctx, allowed, forbidden):
    """Return {(provider's id, root's id)} of some or all."""
    return {
        (number, values["root_provider_id"])
        for number, values in overview.providers(session).items()
        if (not allowed or number in allowed)
        and (not forbidden or number not in forbidden)}


@native.reader(_MODULE + "_get_trees_with_traits")
def get_trees_with_traits(session, ctx, rp_ids, required_traits,
                          forbidden_traits):
    """Return those of some providers whose trees have traits."""
    wanted = set(rp_ids)
    known = overview.providers(session)
    traits = overview.traits(session)
    roots = {number: values["root_provider_id"]
             for number, values in known.items() if number in wanted}
    forbidden = set(forbidden_traits)
    good = {number: root for number, root in roots.items()
            if forbidden.isdisjoint(traits.get(number, ()))}
    provided = {}
    for number, root in good.items():
        if required_traits and number not in traits:
            continue
        provided.setdefault(root, set()).update(traits.get(number, ()))
    fitting = {root for root, found in provided.items()
               if all(not found.isdisjoint(some)
                      for some in required_traits)}
    return {(number, root) for number, root in roots.items()
            if root in fitting}


@native.reader(_MODULE + "_get_roots_with_traits")
def get_roots_with_traits(session, ctx, required_traits, forbidden_traits):
    """Return the ids of roots that have traits, and not others.

    :raises ValueError: if there are neither.
    """
    if not (required_traits or forbidden_traits):
        raise ValueError("At least one of required_traits or forbidden_traits "
                         "is required.")
    required = set(required_traits or ())
    forbidden = set(forbidden_traits or ())
    traits = overview.traits(session)
    return {
        number for number, values in overview.providers(session).items()
        if values["parent_provider_id"] is None
        and required.issubset(traits.get(number, ()))
        and forbidden.isdisjoint(traits.get(number, ()))}


@native.reader(_MODULE + "provider_ids_matching_aggregates")
def provider_ids_matching_aggregates(session, context, member_of,
                                     rp_ids=None):
    """Return the ids of providers in one of each list of aggregates."""
    ids = overview.aggregate_ids(session)
    members = overview.members(session)
    found = set(overview.providers(session))
    for some in member_of:
        found.intersection_update(set().union(*[
            members.get(ids[uuid], ()) for uuid in some if uuid in ids]))
    return found.intersection(rp_ids) if rp_ids else found


@native.reader(_MODULE + "provider_ids_matching_required_traits")
def provider_ids_matching_required_traits(session, context, required_traits,
                                          rp_ids=None):
    """Return the ids of providers with one of each set of traits.

    :raises ValueError: if there is no set.
    """
    if not required_traits:
        raise ValueError('required_traits must not be empty')
    known = overview.providers(session)
    return {
        number for number, found in overview.traits(session).items()
        if number in known and (not rp_ids or number in rp_ids)
        and all(not set(some).isdisjoint(found)
                for some in required_traits)}


@native.reader(_MODULE + "get_provider_ids_having_any_trait")
def get_provider_ids_having_any_trait(session, ctx, traits):
    """Return the ids of providers with one of some traits.

    :raises ValueError: if there is no trait.
    """
    if not traits:
        raise ValueError('traits must not be empty')
    wanted = set(traits)
    return {number for number, found in overview.traits(session).items()
            if not wanted.isdisjoint(found)}


@native.reader(_MODULE + "get_sharing_providers")
def get_sharing_providers(session, ctx, rp_ids=None):
    """Return the ids of providers that share with their aggregates."""
    sharing = trait.Trait.get_by_name(
        ctx, os_traits.MISC_SHARES_VIA_AGGREGATE).id
    known = overview.providers(session)
    return {number for number, found in overview.traits(session).items()
            if sharing in found and number in known
            and (not rp_ids or number in rp_ids)}


@native.reader(_MODULE + "anchors_for_sharing_providers")
def anchors_for_sharing_providers(session, context, rp_ids):
    """Return the roots of all that providers share something with."""
    known = overview.providers(session)
    wanted = set(rp_ids)
    anchors = set()
    for some in overview.members(session).values():
        for number in wanted.intersection(some):
            provider = known.get(number)
            for other in some if provider is not None else ():
                root = known.get(
                    known[other]["root_provider_id"]) if (
                        other in known) else None
                if root is not None:
                    anchors.add(research_context.AnchorIds(
                        number, provider["uuid"], root["id"],
                        root["uuid"]))
    return anchors
