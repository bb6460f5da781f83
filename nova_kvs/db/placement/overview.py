# SPDX-License-Identifier: Apache-2.0
"""All providers at once, as a search for candidates looks at them.

The tables of providers, inventories, traits and aggregates are read whole,
and of each provider everything that is allocated of it. What is made of them
here is remembered with the contents of their partitions, so an unchanged
provider's allocations are not summed up again.
"""

import collections

from nova_kvs.db.placement import tables
from nova_kvs.record import access

#: The tables that are read whole.
_WHOLE = (tables.PROVIDERS, tables.INVENTORIES, tables.PROVIDER_TRAITS)


def _by_id(records):
    return dict(sorted(tables.by_key(records, tables.PROVIDERS).items()))


def _by_class(records):
    found = collections.defaultdict(list)
    for record in sorted(records, key=lambda record: record.key):
        found[record.values["resource_class_id"]].append(
            tables.INVENTORIES.values(record))
    return dict(found)


def _by_provider(records):
    found = collections.defaultdict(list)
    for record in sorted(records, key=lambda record: (
            record.values["resource_class_id"], record.key)):
        found[record.values["resource_provider_id"]].append(
            tables.INVENTORIES.values(record))
    return dict(found)


def _traits(records):
    found = collections.defaultdict(list)
    for record in sorted(records, key=lambda record: record.key):
        found[record.values["resource_provider_id"]].append(
            record.values["trait_id"])
    return dict(found)


def _members(records):
    found = collections.defaultdict(set)
    for record in records:
        found[record.values["aggregate_id"]].add(
            record.values["resource_provider_id"])
    return dict(found)


def _aggregate_ids(records):
    return {record.values.get("uuid"): record.values["id"]
            for record in records}


def _children(records):
    return any(record.values.get("parent_provider_id") is not None
               for record in records)


def _trees(records):
    found = collections.defaultdict(list)
    for record in sorted(records, key=lambda record: record.key):
        found[record.values.get("root_provider_id")].append(record.key[0])
    return dict(found)


def _used(records):
    sums = collections.defaultdict(int)
    for record in records:
        values = record.values
        sums[values["resource_class_id"]] += values["used"]
    return dict(sums)


def providers(session):
    """Return {id: values} of all providers, ordered."""
    return tables.compute(session, tables.PROVIDERS, _by_id)


def trees(session):
    """Return {root's id: ids of all providers in its tree}."""
    return tables.compute(session, tables.PROVIDERS, _trees)


def has_children(session):
    """Tell whether any provider has a parent."""
    return tables.compute(session, tables.PROVIDERS, _children)


def inventories(session, rc_id):
    """Return the values of all inventories of a resource class."""
    return tables.compute(
        session, tables.INVENTORIES, _by_class).get(rc_id, ())


def inventories_by_provider(session):
    """Return {provider's id: values of its inventories}."""
    return tables.compute(session, tables.INVENTORIES, _by_provider)


def traits(session):
    """Return {provider's id: ids of its traits}."""
    return tables.compute(session, tables.PROVIDER_TRAITS, _traits)


def aggregate_ids(session):
    """Return {aggregate's UUID: id}."""
    return tables.compute(session, tables.AGGREGATES, _aggregate_ids)


def members(session):
    """Return {aggregate's id: ids of the providers in it}."""
    return tables.compute(session, tables.PROVIDER_AGGREGATES, _members)


def usages(session, ids):
    """Return {provider's id: {class's id: how much is allocated}}."""
    session.schema_table(tables.ALLOCATIONS)
    session.transaction.load([
        access.ByPartition(tables.ALLOCATIONS.name, tuple(ids))])
    compute = session.transaction.compute
    return {number: compute(tables.ALLOCATIONS.name, _used, number)
            for number in ids}


def load(session, accesses):
    """Read in one batch what a search for candidates asks for.

    With it goes what is allocated of the providers that had an inventory
    the last time.

    :param accesses: what else to read.
    """
    for table in (*_WHOLE, tables.ALLOCATIONS):
        session.schema_table(table)
    memory = tables.memory(session, "candidates")
    session.transaction.load([
        *accesses, *map(tables.whole, _WHOLE),
        access.ByPartition(tables.ALLOCATIONS.name,
                           memory.get("providers", ()))])
    memory["providers"] = tuple(inventories_by_provider(session))
