# SPDX-License-Identifier: Apache-2.0
"""One provider: itself, and its inventory, usage, aggregates and traits."""

from placement import exception

from nova_kvs.db.placement import attributes
from nova_kvs.db.placement import native
from nova_kvs.db.placement import overview
from nova_kvs.db.placement import tables
from nova_kvs.db import session as sessions

find = sessions.find
In = sessions.In
_PROVIDER = "placement.objects.resource_provider:"
_INVENTORY = ("resource_class_id", "total", "reserved", "min_unit",
              "max_unit", "step_size", "allocation_ratio", "updated_at",
              "created_at")
#: A list of providers can be filtered by these here.
_EQUAL = frozenset(("name", "uuid"))
_make_row = tables.row_maker([
    "id", "uuid", "name", "generation", "updated_at", "created_at",
    "root_provider_uuid", "parent_provider_uuid"])


def with_relatives(session, uuid):
    """Return a provider, its root and its parent as values.

    :returns: a triple; None if there is no such provider or root. Its
        parent is None if there is none.
    """
    memory = tables.memory(session, "relatives")
    expected = memory.get(uuid, ())
    providers, relatives = session.records(
        find(tables.PROVIDERS, uuid=uuid),
        find(tables.PROVIDERS, id=In(expected)))
    if not providers:
        return None
    me = tables.PROVIDERS.values(providers[0])
    root_id, parent_id = me["root_provider_id"], me["parent_provider_id"]
    wanted = tuple({root_id, parent_id} - {None, me["id"]})
    if not set(expected).issuperset(wanted):
        relatives, = session.records(find(tables.PROVIDERS, id=In(wanted)))
    if wanted != expected:
        memory[uuid] = wanted
    by_id = tables.by_key([*relatives, providers[0]], tables.PROVIDERS)
    root = by_id.get(root_id)
    if root is None:
        return None
    return me, root, by_id.get(parent_id)


@native.reader(_PROVIDER + "_get_provider_by_uuid")
def get_by_uuid(session, context, uuid):
    """Return a provider as a dict.

    :raises placement.exception.NotFound: if there is none.
    :source: placement.objects.resource_provider._get_provider_by_uuid
    """
    found = with_relatives(session, uuid)
    if found is None:
        raise exception.NotFound(
            'No resource provider with uuid %s found' % uuid)
    me, root, parent = found
    return {
        "id": me["id"], "uuid": me["uuid"], "name": me["name"],
        "generation": me["generation"],
        "root_provider_uuid": root["uuid"],
        "parent_provider_uuid": None if parent is None else parent["uuid"],
        "updated_at": me["updated_at"], "created_at": me["created_at"]}


@native.reader(_PROVIDER + "_get_all_by_filters_from_db")
def get_all(session, context, filters):
    """Return all providers, or those of a tree, a name or a UUID.

    :source: placement.objects.resource_provider._get_all_by_filters_from_db
    """
    filters = {name: value for name, value in (filters or {}).items()
               if value}
    uuid = filters.pop("in_tree", None)
    if not _EQUAL.issuperset(filters):
        raise native.Fallback()
    records = (session.records(find(tables.PROVIDERS, **filters))[0]
               if uuid is None else _in_tree(session, uuid))
    values = tables.by_key(records, tables.PROVIDERS)
    found = [row for row in values.values() if all(
        row[name] == value for name, value in filters.items())]
    missing = {row[name] for row in found for name in (
        "root_provider_id", "parent_provider_id")} - {None, *values}
    if missing:
        others, = session.records(
            find(tables.PROVIDERS, id=In(tuple(missing))))
        values |= tables.by_key(others, tables.PROVIDERS)
    rows = []
    for row in found:
        root = values.get(row["root_provider_id"])
        parent = values.get(row["parent_provider_id"])
        if root is not None:
            rows.append(_make_row((
                row["id"], row["uuid"], row["name"], row["generation"],
                row["updated_at"], row["created_at"], root["uuid"],
                None if parent is None else parent["uuid"])))
    return rows


def _in_tree(session, uuid):
    """Return the Records of all providers in the tree of one."""
    memory = tables.memory(session, "roots")
    expected = memory.get(uuid)
    providers, records = session.records(
        find(tables.PROVIDERS, uuid=uuid),
        find(tables.PROVIDERS, root_provider_id=In((expected,))))
    if not providers:
        return []
    root_id = providers[0].values.get("root_provider_id")
    if root_id is None:
        return []
    if root_id != expected:
        memory[uuid] = root_id
        records, = session.records(
            find(tables.PROVIDERS, root_provider_id=root_id))
    return records


# Asks nothing, although it is decorated.
native.together(_PROVIDER + "ResourceProvider._from_db_object")


@native.reader(_PROVIDER + "_get_aggregates_by_provider_id")
def get_aggregates(session, context, rp_id):
    """Return {id: UUID} of a provider's aggregates.

    :source:
        placement.objects.resource_provider._get_aggregates_by_provider_id
    """
    memory = tables.memory(session, "aggregates")
    expected = memory.get(rp_id, ())
    links, aggregates = session.records(
        find(tables.PROVIDER_AGGREGATES, resource_provider_id=rp_id),
        find(tables.AGGREGATES, id=In(expected)))
    wanted = tuple([link.values["aggregate_id"] for link in links])
    if wanted != expected:
        aggregates, = session.records(
            find(tables.AGGREGATES, id=In(wanted)))
        memory[rp_id] = wanted
    return {record.values["id"]: record.values.get("uuid")
            for record in aggregates}


@native.reader("placement.objects.inventory:_get_inventory_by_provider_id")
def get_inventory(session, ctx, rp_id):
    """Return a provider's inventory as dicts.

    :source: placement.objects.inventory._get_inventory_by_provider_id
    """
    records, = attributes.load(
        session, ctx, ("rc_cache",),
        find(tables.INVENTORIES, resource_provider_id=rp_id))
    values = tables.INVENTORIES.values
    return [{name: row[name] for name in _INVENTORY}
            for row in map(values, records)]


@native.reader("placement.objects.usage:_get_all_by_resource_provider_uuid")
def get_usages(session, context, rp_uuid):
    """Return what is used of each class of a provider's inventory.

    :source: placement.objects.usage._get_all_by_resource_provider_uuid
    """
    memory = tables.memory(session, "ids")
    expected = memory.get(rp_uuid)
    prefetched = () if expected is None else (expected,)
    providers, records, _allocations = attributes.load(
        session, context, ("rc_cache",),
        find(tables.PROVIDERS, uuid=rp_uuid),
        find(tables.INVENTORIES, resource_provider_id=In(prefetched)),
        find(tables.ALLOCATIONS, resource_provider_id=In(prefetched)))
    if not providers:
        return []
    rp_id = providers[0].values["id"]
    if rp_id != expected:
        memory[rp_uuid] = rp_id
        records, _allocations = session.records(
            find(tables.INVENTORIES, resource_provider_id=rp_id),
            find(tables.ALLOCATIONS, resource_provider_id=rp_id))
    used = overview.usages(session, [rp_id])[rp_id]
    classes = sorted({record.values["resource_class_id"]
                      for record in records})
    return [{"resource_class": context.rc_cache.string_from_id(number),
             "usage": used.get(number, 0)} for number in classes]


@native.reader("placement.objects.trait:get_traits_by_provider_id")
def get_traits(session, context, rp_id):
    """Return a provider's traits as the cache has them.

    :source: placement.objects.trait.get_traits_by_provider_id
    """
    records, = attributes.load(
        session, context, ("trait_cache",),
        find(tables.PROVIDER_TRAITS, resource_provider_id=rp_id))
    cache = context.trait_cache
    return [cache.all_from_string(
        cache.string_from_id(record.values["trait_id"]))
        for record in records]
