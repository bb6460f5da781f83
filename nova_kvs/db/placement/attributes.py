# SPDX-License-Identifier: Apache-2.0
"""The names of resource classes, traits and consumer types.

Each request of Placement's fills caches of its own with whole tables.
"""

import operator

from placement import attribute_cache

from nova_kvs.db.placement import native
from nova_kvs.db.placement import tables
from nova_kvs.db import session as sessions

_REFRESH = "placement.attribute_cache:_AttributeCache._refresh_from_db"
# That of consumer types has more than what is stored.
_CLASSES = (attribute_cache.ResourceClassCache, attribute_cache.TraitCache)
_make_row = tables.row_maker(["id", "name", "updated_at", "created_at"])


def _caches(table):
    """Return a function that makes the three dicts of a cache."""
    def make(records):
        rows = []
        for record in sorted(records, key=lambda record: record.key):
            values = table.values(record)
            rows.append(_make_row((
                values["id"], values["name"], values["updated_at"],
                values["created_at"])))
        return ({row[1]: row[0] for row in rows},
                {row[0]: row[1] for row in rows},
                {row[1]: row for row in rows})

    return make


_MAKERS = {table.name: _caches(table) for table in (
    tables.CONSUMER_TYPES, tables.RESOURCE_CLASSES, tables.TRAITS)}


def due(ctx, *names):
    """Return the accesses that ``fill`` will make, to be made earlier.

    :param names: of the caches of a context, such as ``rc_cache``.
    """
    return [tables.whole(tables.by_name(cache._table.name))
            for cache in _empty(ctx, names)]


def fill(session, ctx, *names):
    """Fill caches of a context, if they are empty, as their use would."""
    for cache in _empty(ctx, names):
        refresh(session, cache, ctx)


def load(session, ctx, names, *finds):
    """Load finds and what caches of a context need, in one batch.

    :returns: the Records of each find.
    """
    accesses = due(ctx, *names)
    found = session.records(*finds, *[
        sessions.find(tables.by_name(name.table)) for name in accesses])
    if accesses:
        fill(session, ctx, *names)
    return found[:len(finds)]


def _empty(ctx, names):
    caches = [getattr(ctx, name, None) for name in names]
    return [cache for cache in caches if type(cache) in _CLASSES
            and not cache._all_cache]


def fill_names(cache, found):
    """Let a cache have some names, without the rest of their table.

    It reads the table if it is asked for another.

    :param found: {id: values, or None if there is none} of rows.
    """
    cache._str_cache.update({
        number: values["name"] for number, values in found.items()
        if values is not None})


@native.reader(_REFRESH, at=1)
def _refresh_from_db(session, self, ctx):
    refresh(session, self, ctx)


def refresh(session, cache, ctx):
    """Fill a cache.

    :source: placement.attribute_cache._AttributeCache._refresh_from_db
    """
    name = cache._table.name
    make = _MAKERS.get(name)
    if make is None:
        raise native.Fallback()
    by_name, by_id, all_ = tables.compute(
        session, tables.by_name(name), make)
    # Placement adds to those of consumer types.
    cache._id_cache = by_name.copy()
    cache._str_cache = by_id.copy()
    cache._all_cache = all_.copy()


@native.reader("placement.objects.trait:_get_all_filtered_from_db")
def get_traits(session, context, filters):
    """Return the traits that have one of some names, as dicts.

    They are in the order of their names, as by SQL's index of these.

    :source: placement.objects.trait._get_all_filtered_from_db
    """
    if filters.keys() != {"name_in"}:
        raise native.Fallback()
    records, = session.records(sessions.find(tables.TRAITS, name=sessions.In(
        tuple(map(str, filters["name_in"])))))
    return sorted(map(tables.TRAITS.values, records),
                  key=operator.itemgetter("name"))


# Calls the one above, and adds what has no row.
native.together(
    "placement.attribute_cache:ConsumerTypeCache._refresh_from_db",
    "ctx", 1)
