# SPDX-License-Identifier: Apache-2.0
"""Host aggregates.

:source: nova.objects.aggregate
"""

from nova.db.api import models
from nova import exception
from nova.i18n import _
from oslo_db import exception as db_exc

from nova_kvs import cache
from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

AGGREGATES = rows.table(models.Aggregate)
HOSTS = rows.table(models.AggregateHost)
METADATA = rows.table(models.AggregateMetadata)
_MODULE = "nova.objects.aggregate:"

# Ids of a host's aggregates, as last seen; only used to prefetch.
_ids = cache.Cache(cache.PREFETCHED)


def _attach(aggregates, hosts, metadata):
    by_id = {aggregate.id: aggregate for aggregate in aggregates}
    for aggregate in aggregates:
        aggregate.__dict__["_hosts"] = []
        aggregate.__dict__["_metadata"] = []
    for name, related in (("_hosts", hosts), ("_metadata", metadata)):
        for row in related:
            aggregate = by_id.get(row.aggregate_id)
            if aggregate is not None:
                aggregate.__dict__[name].append(row)
    return aggregates


def _by_ids(s, ids):
    """Return aggregates with their hosts and metadata."""
    if not ids:
        return []
    return _attach(*s.load(*_related(ids)))


def _related(ids):
    wanted = session.In(tuple(ids))
    return (session.find(AGGREGATES, id=wanted),
            session.find(HOSTS, aggregate_id=wanted),
            session.find(METADATA, aggregate_id=wanted))


def _get(s, aggregate_id):
    found = _by_ids(s, [aggregate_id])
    if not found:
        raise exception.AggregateNotFound(aggregate_id=aggregate_id)
    return found[0]


@native.api_reader(_MODULE + "_aggregate_get_from_db")
def _aggregate_get_from_db(s, context, aggregate_id):
    return _get(s, aggregate_id)


@native.api_reader(_MODULE + "_aggregate_get_from_db_by_uuid")
def _aggregate_get_from_db_by_uuid(s, context, aggregate_uuid):
    row = s.first(AGGREGATES, uuid=aggregate_uuid)
    if row is None:
        raise exception.AggregateNotFound(aggregate_id=aggregate_uuid)
    return _get(s, row.id)


@native.api_reader(_MODULE + "_get_all_from_db")
def _get_all_from_db(s, context):
    return _attach(*s.load(session.find(AGGREGATES), session.find(HOSTS),
                           session.find(METADATA)))


@native.api_reader(_MODULE + "_get_by_host_from_db")
def _get_by_host_from_db(s, context, host, key=None):
    expected = _ids.get(host)
    batch = [session.find(HOSTS, host=host)]
    if expected:
        batch.extend(_related(expected))
    named, *related = s.load(*batch)
    ids = {row.aggregate_id for row in named}
    if related and ids == expected:
        found = _attach(*related)
    else:
        found = _by_ids(s, ids)
        _ids.trim()
        _ids[host] = ids
    if key:
        found = [aggregate for aggregate in found
                 if key in aggregate.metadetails]
    return found


def _with_metadata(s, metadata):
    """Return the aggregates of metadata rows, with those rows alone."""
    if not metadata:
        return []
    ids = session.In(tuple({row.aggregate_id for row in metadata}))
    aggregates, hosts = s.load(session.find(AGGREGATES, id=ids),
                               session.find(HOSTS, aggregate_id=ids))
    return _attach(aggregates, hosts, metadata)


@native.api_reader(_MODULE + "_get_by_metadata_from_db")
def _get_by_metadata_from_db(s, context, key=None, value=None):
    assert key is not None or value is not None
    equal = {}
    if key is not None:
        equal["key"] = key
    if value is not None:
        equal["value"] = value
    return _with_metadata(s, s.all(METADATA, **equal))


@native.api_reader(_MODULE + "_get_non_matching_by_metadata_keys_from_db")
def _get_non_matching_by_metadata_keys_from_db(s, context, ignored_keys,
                                               key_prefix, value):
    if not key_prefix:
        raise ValueError(_("key_prefix mandatory field."))
    like = matching.like(key_prefix + "%")
    return _with_metadata(s, s.all(
        METADATA, lambda stored: like(stored.get("key"))
        and stored["key"] not in ignored_keys, value=value))


@native.api_writer(_MODULE + "_host_add_to_db")
def _host_add_to_db(s, context, aggregate_id, host):
    _get(s, aggregate_id)
    row = s.insert(HOSTS, {"host": host, "aggregate_id": aggregate_id})
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        raise exception.AggregateHostExists(host=host,
                                            aggregate_id=aggregate_id)
    return row


@native.api_writer(_MODULE + "_host_delete_from_db")
def _host_delete_from_db(s, context, aggregate_id, host):
    aggregate = _get(s, aggregate_id)
    if not s.delete([row for row in aggregate._hosts if row.host == host]):
        raise exception.AggregateHostNotFound(aggregate_id=aggregate_id,
                                              host=host)


def _set_metadata(s, aggregate_id, existing, metadata, delete_others):
    """Write an aggregate's metadata; return its rows afterwards."""
    kept = []
    for row in existing:
        if row.key in metadata:
            s.update(row, {"value": metadata[row.key]})
            kept.append(row)
        elif delete_others:
            s.delete([row])
        else:
            kept.append(row)
    known = {row.key for row in kept}
    kept.extend(
        s.insert(METADATA, {"key": key, "value": value,
                            "aggregate_id": aggregate_id})
        for key, value in metadata.items() if key not in known)
    return kept


@native.api_writer(_MODULE + "_metadata_add_to_db")
def _metadata_add_to_db(s, context, aggregate_id, metadata, max_retries=10,
                        set_delete=False):
    existing = s.all(METADATA, aggregate_id=aggregate_id)
    _set_metadata(s, aggregate_id, existing, metadata, set_delete)
    s.commit_what_was_missing()
    return metadata


@native.api_writer(_MODULE + "_metadata_delete_from_db")
def _metadata_delete_from_db(s, context, aggregate_id, key):
    aggregate = _get(s, aggregate_id)
    if not s.delete([row for row in aggregate._metadata if row.key == key]):
        raise exception.AggregateMetadataNotFound(
            aggregate_id=aggregate_id, metadata_key=key)


@native.api_writer(_MODULE + "_aggregate_create_in_db")
def _aggregate_create_in_db(s, context, values, metadata=None):
    if s.count(AGGREGATES, name=values["name"]):
        raise exception.AggregateNameExists(aggregate_name=values["name"])
    aggregate = s.insert(AGGREGATES, values)
    aggregate.__dict__["_hosts"] = []
    aggregate.__dict__["_metadata"] = _set_metadata(
        s, aggregate.id, [], metadata or {}, False)
    return aggregate


@native.api_writer(_MODULE + "_aggregate_delete_from_db")
def _aggregate_delete_from_db(s, context, aggregate_id):
    aggregates, metadata = s.load(
        session.find(AGGREGATES, id=aggregate_id),
        session.find(METADATA, aggregate_id=aggregate_id))
    s.delete(metadata)
    if not s.delete(aggregates):
        raise exception.AggregateNotFound(aggregate_id=aggregate_id)


@native.api_writer(_MODULE + "_aggregate_update_to_db")
def _aggregate_update_to_db(s, context, aggregate_id, values):
    aggregate = _get(s, aggregate_id)
    values = dict(values)
    metadata = values.pop("metadata", None)
    replace = True
    if "availability_zone" in values:
        zone = values.pop("availability_zone")
        if metadata is None:
            replace = False
        metadata = {**(metadata or {}), "availability_zone": zone}
    if metadata is not None:
        # As in Nova, the row that is returned keeps the list as it was read:
        # new values are in it, new keys are not, and removed ones still are.
        _set_metadata(s, aggregate_id, aggregate._metadata, metadata, replace)
    s.update(aggregate, values)
    try:
        s.commit_what_was_missing(but="name")
    except db_exc.DBDuplicateEntry:
        raise exception.AggregateNameExists(aggregate_name=values["name"])
    return aggregate
