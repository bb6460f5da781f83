# SPDX-License-Identifier: Apache-2.0
"""Placement's tables, and what a process remembers of them.

What is remembered is what to prefetch, and no answer, but for rows that
nobody changes or deletes.
"""

import math
import time
import weakref

from placement.db.sqlalchemy import models
from placement.objects import resource_class
from sqlalchemy import engine

from nova_kvs import cache
from nova_kvs.db import rows
from nova_kvs.record import access

#: Seconds for which such rows are remembered: a failover may lose one with
#: the number that it was given.
LASTING_S = 10

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

# Table -> the id below which its rows last. Placement neither changes nor
# deletes projects, users and the resource classes that it comes with.
_LASTING = {
    PROJECTS: math.inf, USERS: math.inf,
    RESOURCE_CLASSES:
        resource_class.ResourceClass.MIN_CUSTOM_RESOURCE_CLASS_ID}

# Database -> what a process remembers of it.
_memories = weakref.WeakKeyDictionary()

#: Return a function that makes SQLAlchemy's Rows of tuples.
row_maker = engine.result_tuple


def by_name(name):
    """Return the Table of a name."""
    return _tables[name]


def memory(session, name):
    """Return a Cache that lasts as long as a database is known.

    :param name: of what is remembered, or its Table.
    """
    memories = _memories.get(session.database)
    if memories is None:
        memories = _memories.setdefault(session.database, {})
    found = memories.get(name)
    if found is None:
        found = memories.setdefault(name, cache.Cache(cache.PREFETCHED))
    found.trim()
    return found


def lasting(session, table, ids):
    """Return {id: values} of rows that last, those that are remembered.

    :param ids: of the rows that are wanted.
    """
    found = {}
    if table in _LASTING:
        schema = session.schema
        now = time.monotonic()
        memory_ = memory(session, table)
        for number in ids:
            known = memory_.get(number)
            if known is not None and known[0] is schema and now < known[1]:
                found[number] = known[2]
    return found


def keep_lasting(session, table, found):
    """Remember those of some rows that last.

    :param found: {id: values}, all just read.
    """
    if table in _LASTING:
        until = time.monotonic() + LASTING_S
        memory_ = memory(session, table)
        for number, values in found.items():
            if number < _LASTING[table]:
                memory_[number] = session.schema, until, values


def by_ids(session, table, ids):
    """Return the access that reads some rows by their ids."""
    session.schema_table(table)
    return access.ByKey(table.name, tuple([(number,) for number in ids]))


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
