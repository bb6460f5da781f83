# SPDX-License-Identifier: Apache-2.0
"""A server's info cache, extra record, metadata, tags and faults.

:source: nova.db.main.api, "instance_info_cache_*", "instance_extra_*",
    "instance_metadata_*", "instance_tag_*", "instance_fault_*"
"""

import collections
import copy

from nova.db.main import api as main_db_api
from nova import exception
from oslo_db import exception as db_exc

from nova_kvs.db import instance_joins as joins
from nova_kvs.db import instances
from nova_kvs.db import native
from nova_kvs.db import session

INFO_CACHES = joins.INFO_CACHES
EXTRA = joins.EXTRA
METADATA = joins.METADATA
FAULTS = joins.FAULTS
TAGS = joins.TAGS
_scope = session.scope
# What is loaded of an extra record if nobody says what.
_EXTRA_COLUMNS = ("numa_topology", "pci_requests", "flavor", "vcpu_model",
                  "trusted_certs", "resources", "migration_context")


# Info caches ----------------------------------------------------------------

@native.main_reader(require_context=True)
def instance_info_cache_get(s, context, instance_uuid):
    """Gets an instance info cache from the table."""
    return s.first(INFO_CACHES, instance_uuid=instance_uuid,
                   **_scope(context))


def _refuse_orphan(s, table, uuid):
    """Raise as a foreign key does, if there is no row of a server.

    Nova tells by it that it saves a server in a cell that does not have it.
    The server's partition is read already.

    :raises oslo_db.exception.DBReferenceError: of the key instance_uuid.
    """
    if s.first(joins.INSTANCES, uuid=uuid) is None:
        raise db_exc.DBReferenceError(
            table.name, "%s_instance_uuid_fkey" % table.name,
            "instance_uuid", joins.INSTANCES.name)


@native.main_writer(require_context=True)
def instance_info_cache_update(s, context, instance_uuid, values):
    """Update an instance info cache record in the table."""
    main_db_api.convert_objects_related_datetimes(values)
    row = s.first(INFO_CACHES, instance_uuid=instance_uuid,
                  **_scope(context))
    if row is not None and row.deleted:
        raise exception.InstanceInfoCacheNotFound(
            instance_uuid=instance_uuid)
    if row is not None:
        s.update(row, values)
    else:
        # Somebody blew it away: make it again.
        _refuse_orphan(s, INFO_CACHES, instance_uuid)
        values["instance_uuid"] = instance_uuid
        row = s.insert(INFO_CACHES, values)
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        # Somebody else was first, which is as good.
        pass
    return row


@native.main_writer(require_context=True)
def instance_info_cache_delete(s, context, instance_uuid):
    """Deletes an existing instance_info_cache record."""
    s.soft_delete(s.all(INFO_CACHES, instance_uuid=instance_uuid,
                        **_scope(context)))


# Extra ----------------------------------------------------------------------

@native.main_writer()
def instance_extra_update_by_uuid(s, context, instance_uuid, updates):
    """Update the instance extra record by instance uuid.

    :returns: number of records updated or created.
    """
    if not EXTRA.template.keys() >= updates.keys():
        raise native.Fallback()
    found = s.all(EXTRA, instance_uuid=instance_uuid, **_scope(context))
    if found:
        return s.update_all(found, updates)
    _refuse_orphan(s, EXTRA, instance_uuid)
    values = copy.copy(updates)
    values["instance_uuid"] = instance_uuid
    s.insert(EXTRA, values)
    return 1


@native.main_reader()
def instance_extra_get_by_instance_uuid(s, context, instance_uuid,
                                        columns=None):
    """Get the instance extra record."""
    if columns is None:
        columns = _EXTRA_COLUMNS
    if not EXTRA.template.keys() >= set(columns):
        raise native.Fallback()
    row = s.first(EXTRA, instance_uuid=instance_uuid, **_scope(context))
    if row is not None:
        EXTRA.defer(row, columns)
    return row


# Metadata -------------------------------------------------------------------

@native.main_reader(require_context=True)
def instance_metadata_get(s, context, instance_uuid):
    """Get all metadata for an instance."""
    return {row.key: row.value for row in s.all(
        METADATA, instance_uuid=instance_uuid, deleted=0)}


@native.main_writer(require_context=True)
def instance_metadata_delete(s, context, instance_uuid, key):
    """Delete the given metadata item."""
    s.soft_delete(s.all(METADATA, instance_uuid=instance_uuid, deleted=0,
                        key=key))


# Tags -----------------------------------------------------------------------

@native.main_writer()
def instance_tag_add(s, context, instance_uuid, tag):
    """Add tag to the instance."""
    instances.exists_in_project(s, context, instance_uuid)
    row = s.insert(TAGS, {"resource_id": instance_uuid, "tag": tag})
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        # It has the tag, maybe since a moment.
        pass
    return row


@native.main_writer()
def instance_tag_set(s, context, instance_uuid, tags):
    """Replace all of the instance tags with specified list of tags."""
    instances.exists_in_project(s, context, instance_uuid)
    found = s.all(TAGS, resource_id=instance_uuid)
    tags = set(tags)
    s.delete([row for row in found if row.tag not in tags])
    kept = [row for row in found if row.tag in tags]
    known = {row.tag for row in kept}
    kept.extend(s.insert(TAGS, {"resource_id": instance_uuid, "tag": tag})
                for tag in tags - known)
    return sorted(kept, key=lambda row: row.tag)


@native.main_reader()
def instance_tag_get_by_instance_uuid(s, context, instance_uuid):
    """Get all tags for a given instance."""
    instances.exists_in_project(s, context, instance_uuid)
    return s.all(TAGS, resource_id=instance_uuid)


@native.main_writer()
def instance_tag_delete(s, context, instance_uuid, tag):
    """Delete specified tag from the instance."""
    instances.exists_in_project(s, context, instance_uuid)
    if not s.delete(s.all(TAGS, resource_id=instance_uuid, tag=tag)):
        raise exception.InstanceTagNotFound(instance_id=instance_uuid,
                                            tag=tag)


@native.main_writer()
def instance_tag_delete_all(s, context, instance_uuid):
    """Delete all tags from the instance."""
    instances.exists_in_project(s, context, instance_uuid)
    s.delete(s.all(TAGS, resource_id=instance_uuid))


@native.main_reader()
def instance_tag_exists(s, context, instance_uuid, tag):
    """Check if specified tag exist on the instance."""
    instances.exists_in_project(s, context, instance_uuid)
    return bool(s.count(TAGS, resource_id=instance_uuid, tag=tag))


# Faults ---------------------------------------------------------------------

@native.main_writer()
def instance_fault_create(s, context, values):
    """Create a new instance fault."""
    return dict(s.insert(FAULTS, values))


@native.main_reader()
def instance_fault_get_by_instance_uuids(s, context, instance_uuids,
                                         latest=False):
    """Get all instance faults for the provided instance_uuids."""
    if not instance_uuids:
        return {}
    if latest:
        found = joins.latest_faults(s, instance_uuids)
        return {uuid: [found[uuid]] if uuid in found else []
                for uuid in instance_uuids}
    by_uuid = collections.defaultdict(list)
    records, = s.records(session.find(
        FAULTS, deleted=0, instance_uuid=session.In(tuple(instance_uuids))),
        table_only=True)
    for row in s.rows(FAULTS, records):
        by_uuid[row.instance_uuid].append(row)
    return {uuid: [joins.as_fault(row)
                   for row in joins.newest(by_uuid.get(uuid, ()))]
            for uuid in instance_uuids}
