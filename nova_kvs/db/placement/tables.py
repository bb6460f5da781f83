# SPDX-License-Identifier: Apache-2.0
"""Placement's tables, and what a process remembers of them.

What is remembered is what to prefetch, and no answer.
"""

import weakref

from placement.db.sqlalchemy import models
from sqlalchemy import engine

from nova_kvs import cache
from nova_kvs.db import rows
from nova_kvs.record import access

AGGREGATES = rows.table(models.PlacementAggregate)
ALLOCATIONS = rows.table(models.Allocation)
CONSUMERS = rows.table(models.Consumer)
CONSUMER_TYPES = rows.table(models.ConsumerType)
INVENTORIES = rows.table(models.Inventory)
PROJECTS = rows.table(models.Project)
PROVIDERS = rows.table(models.ResourceProvider)
PROVIDER_AGGREGATES = rows.table(models.ResourceProviderAggregate)
PROVIDER_TRAITS = rows.table(models.ResourceProviderTrait)
RESOURCE_CLASSES = rows.table(models.ResourceClass)
TRAITS = rows.table(models.Trait)
USERS = rows.table(models.User)

_tables = {table.name: table for table in (
    AGGREGATES, ALLOCATIONS, CONSUMERS, CONSUMER_TYPES, INVENTORIES,
    PROJECTS, PROVIDERS, PROVIDER_AGGREGATES, PROVIDER_TRAITS,
    RESOURCE_CLASSES, TRAITS, USERS)}

# Database -> what a process remembers of it.
_memories = weakref.WeakKeyDictionary()

#: Return a function that makes SQLAlchemy's Rows of tuples.
row_maker = engine.result_tuple


def by_name(name):
    """Return the Table of a name."""
    return _tables[name]


def memory(session, name):
    """Return a Cache that lasts as long as a database is known."""
    memories = _memories.get(session.database)
    if memories is None:
        memories = _memories.setdefault(session.database, {})
    found = memories.get(name)
    if found is None:
        found = memories.setdefault(name, cache.Cache(cache.PREFETCHED))
    found.trim()
    return found


def whole(table):
    """Return the access that reads a table whole."""
    return access.FullScan(table.name)


def compute(session, table, make):
    """Return what a function makes of all records of a table.

    :param make: function of a list of Records. What it returns is shared:
        nobody changes it.
    """
    session.schema_table(table)
    return session.transaction.compute(table.name, make)


def by_key(records, table):
    """Return {id: values} of records."""
    values = table.values
    return {record.key[0]: values(record) for record in records}
