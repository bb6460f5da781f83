# SPDX-License-Identifier: Apache-2.0
"""Changes of what one provider has: inventory, traits and aggregates.

As in ``claims``, what would be refused is left to Placement's own function,
which then does all of it.

Each raises the provider's generation, and only from the one that the request
has read before the transaction began. Whatever adds to a provider's
allocations raises it, too, so nobody has added any between the two: what is
read of the allocations here is complete, and stays so until the commit, which
finds the provider's row as it was read. A claim that meets the change fails at
the same row.
"""

from placement import exception
from placement.objects import trait

from nova_kvs.db.placement import attributes
from nova_kvs.db.placement import native
from nova_kvs.db.placement import overview
from nova_kvs.db.placement import tables
from nova_kvs.db import session as sessions

find = sessions.find
In = sessions.In
_PROVIDER = "placement.objects.resource_provider:"
_AMOUNTS = ("total", "reserved", "min_unit", "max_unit", "step_size",
            "allocation_ratio")


def _change(database, provider, load, change):
    """Change what a provider has, and raise its generation.

    :param provider: Placement's ResourceProvider.
    :param load: function of a Session and a Find of the provider that loads
        this and others, and returns the Records of each.
    :param change: function of the Session and the Records of the others. It
        returns whether the generation is raised.
    """
    def write(session):
        found, *others = load(session, find(tables.PROVIDERS, id=provider.id))
        if not found or (
                found[0].values.get("generation") != provider.generation):
            raise native.Fallback()
        raises = change(session, *others)
        if raises:
            row, = session.rows(tables.PROVIDERS, found)
            session.update_all([row], {"generation": row.generation + 1})
        elif session.transaction.writes:
            # It must not have been deleted.
            session.transaction.lock(found[0])
        return raises

    if native.run(database, write):
        provider.generation += 1


def _change_inventory(database, context, provider, wanted, dropped=None,
                      adds=True, updates=True):
    """Change a provider's inventory.

    :param wanted: Placement's Inventory objects, to be added or updated.
    :param dropped: names of the classes to remove; None: all others.
    :returns: list of (provider's UUID, class's name) of which less is left
        than is allocated.
    """
    exceeded = []

    def load(session, itself):
        return attributes.load(
            session, context, ("rc_cache",), itself,
            find(tables.INVENTORIES, resource_provider_id=provider.id),
            find(tables.ALLOCATIONS, resource_provider_id=provider.id))

    def change(session, records, _allocations):
        exceeded.clear()
        rows = {row.resource_class_id: row for row in session.rows(
            tables.INVENTORIES, records)}
        try:
            new = {context.rc_cache.id_from_string(one.resource_class): one
                   for one in reversed(wanted)}
            gone = rows.keys() - new.keys() if dropped is None else {
                context.rc_cache.id_from_string(name) for name in dropped}
        except exception.ResourceClassNotFound:
            raise native.Fallback() from None
        used = overview.usages(session, [provider.id])[provider.id]
        if not (gone.isdisjoint(used) and rows.keys() >= gone
                and (adds or rows.keys() >= new.keys())
                and (updates or rows.keys().isdisjoint(new))):
            raise native.Fallback()
        session.delete([rows[number] for number in gone])
        for number, one in new.items():
            values = {name: getattr(one, name) for name in _AMOUNTS}
            if number in rows:
                if used.get(number, 0) > one.capacity:
                    exceeded.append((provider.uuid, one.resource_class))
                session.update_all([rows[number]], values)
            else:
                session.insert(tables.INVENTORIES, {
                    "resource_provider_id": provider.id,
                    "resource_class_id": number, **values})
        return True

    _change(database, provider, load, change)
    return exceeded


@native.writer(_PROVIDER + "_set_inventory")
def set_inventory(database, context, rp, inv_list):
    """Replace a provider's inventory.

    :source: placement.objects.resource_provider._set_inventory
    """
    return _change_inventory(database, context, rp, inv_list)


@native.writer(_PROVIDER + "_add_inventory")
def add_inventory(database, context, rp, inventory):
    """Add a class to a provider's inventory.

    :source: placement.objects.resource_provider._add_inventory
    """
    _change_inventory(database, context, rp, [inventory], (), updates=False)


@native.writer(_PROVIDER + "_update_inventory")
def update_inventory(database, context, rp, inventory):
    """Change a class of a provider's inventory.

    :source: placement.objects.resource_provider._update_inventory
    """
    return _change_inventory(
        database, context, rp, [inventory], (), adds=False)


@native.writer(_PROVIDER + "_delete_inventory")
def delete_inventory(database, context, rp, resource_class):
    """Remove a class from a provider's inventory.

    :source: placement.objects.resource_provider._delete_inventory
    """
    _change_inventory(database, context, rp, [], (resource_class,))


@native.writer(_PROVIDER + "_set_traits")
def set_traits(database, context, rp, traits):
    """Replace a provider's traits.

    :source: placement.objects.resource_provider._set_traits
    """
    def load(session, itself):
        return session.records(
            itself, find(tables.PROVIDER_TRAITS, resource_provider_id=rp.id),
            find(tables.TRAITS, id=In(tuple([one.id for one in traits]))))

    def change(session, records, there):
        wanted = {one.id for one in traits}
        rows = {row.trait_id: row for row in session.rows(
            tables.PROVIDER_TRAITS, records)}
        if rows.keys() == wanted:
            return False
        session.delete([row for number, row in rows.items()
                        if number not in wanted])
        present = {record.values["id"]: record for record in there}
        for number in wanted.difference(rows):
            if number not in present:
                raise native.Fallback()
            if present[number].values["name"].startswith(
                    trait.Trait.CUSTOM_NAMESPACE):
                # It must not be deleted meanwhile.
                session.transaction.rely_on(present[number])
            session.insert(tables.PROVIDER_TRAITS, {
                "resource_provider_id": rp.id, "trait_id": number})
        return True

    _change(database, rp, load, change)


@native.writer(_PROVIDER + "_set_aggregates")
def set_aggregates(database, context, resource_provider, provided_aggregates,
                   increment_generation=False):
    """Replace the aggregates that a provider is in.

    :source: placement.objects.resource_provider._set_aggregates
    """
    wanted = set(provided_aggregates)

    def load(session, itself):
        return session.records(
            itself,
            find(tables.PROVIDER_AGGREGATES,
                 resource_provider_id=resource_provider.id),
            find(tables.AGGREGATES, uuid=In(tuple(wanted))))

    def change(session, records, aggregates):
        ids = {record.values["uuid"]: record.key[0] for record in aggregates}
        rows = {row.aggregate_id: row for row in session.rows(
            tables.PROVIDER_AGGREGATES, records)}
        for uuid in sorted(wanted - ids.keys()):
            ids[uuid] = session.insert(tables.AGGREGATES, {"uuid": uuid}).id
        stay = set(ids.values())
        session.delete([row for number, row in rows.items()
                        if number not in stay])
        for number in stay.difference(rows):
            session.insert(tables.PROVIDER_AGGREGATES, {
                "resource_provider_id": resource_provider.id,
                "aggregate_id": number})
        return increment_generation

    _change(database, resource_provider, load, change)
