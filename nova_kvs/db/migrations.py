# SPDX-License-Identifier: Apache-2.0
"""Migrations of servers between hosts.

:source: nova.db.main.api, "migration_*"
"""

import datetime

from nova.db.main import models
from nova.db import utils as db_utils
from nova import exception
from oslo_utils import timeutils

from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import pages
from nova_kvs.db import rows
from nova_kvs.db import session

MIGRATIONS = rows.table(models.Migration)
INSTANCES = rows.table(models.Instance)
SYSTEM_METADATA = rows.table(models.InstanceSystemMetadata)
_scope = session.scope
_DONE = ("confirmed", "reverted", "failed", "completed", "cancelled", "done")
_IN_PROGRESS = ("queued", "preparing", "running", "post-migrating")


def _get(s, migration_id):
    row = s.first(MIGRATIONS, id=migration_id)
    if row is None:
        raise exception.MigrationNotFound(migration_id=migration_id)
    return row


def _get_by_uuid(s, migration_uuid):
    row = s.first(MIGRATIONS, uuid=migration_uuid)
    if row is None:
        raise exception.MigrationNotFound(migration_id=migration_uuid)
    return row


@native.main_writer()
def migration_create(s, context, values):
    """Create a migration record."""
    return s.insert(MIGRATIONS, values)


@native.main_writer()
def migration_update(s, context, migration_id, values):
    """Update a migration instance."""
    row = _get(s, migration_id)
    s.update(row, values)
    return row


@native.main_reader()
def migration_get(s, context, migration_id):
    """Finds a migration by the ID."""
    return _get(s, migration_id)


@native.main_reader()
def migration_get_by_uuid(s, context, migration_uuid):
    """Finds a migration by the migration UUID."""
    return _get_by_uuid(s, migration_uuid)


@native.main_reader()
def migration_get_by_id_and_instance(s, context, migration_id,
                                     instance_uuid):
    """Finds a migration by the migration ID and the instance UUID."""
    row = s.first(MIGRATIONS, id=migration_id, instance_uuid=instance_uuid,
                  **_scope(context))
    if row is None:
        raise exception.MigrationNotFoundForInstance(
            migration_id=migration_id, instance_id=instance_uuid)
    return row


@native.main_reader()
def migration_get_by_instance_and_status(s, context, instance_uuid, status):
    """Finds a migration by the instance UUID it's migrating."""
    row = s.first(MIGRATIONS, instance_uuid=instance_uuid, status=status)
    if row is None:
        raise exception.MigrationNotFoundByStatus(
            instance_id=instance_uuid, status=status)
    return row


@native.main_reader()
def migration_get_unconfirmed_by_dest_compute(s, context, confirm_window,
                                              dest_compute):
    """Finds the finished migrations to a host before a window of time."""
    bound = MIGRATIONS.bind_processors["updated_at"](
        timeutils.utcnow() - datetime.timedelta(seconds=confirm_window))
    return s.all(
        MIGRATIONS, lambda stored: "updated_at" in stored
        and stored["updated_at"] <= bound,
        status="finished", dest_compute=dest_compute)


def _on_node(s, context, host, node, done):
    """Return migrations from or to a node whose status is not one of done.

    Each with its live server and that one's system metadata.
    """
    equal = {"status": session.Not(done), **_scope(context)}
    outgoing, incoming = s.load(
        session.find(MIGRATIONS, source_compute=host, source_node=node,
                     **equal),
        session.find(MIGRATIONS, dest_compute=host, dest_node=node, **equal))
    found = {row.id: row for row in outgoing + incoming}
    found = [found[id_] for id_ in sorted(found)]
    _attach_instances(s, found)
    return found


def _attach_instances(s, found):
    if not found:
        return
    uuids = session.In(tuple({row.instance_uuid for row in found}))
    instances, metadata = s.load(
        session.find(INSTANCES, uuid=uuids, deleted=0),
        session.find(SYSTEM_METADATA, instance_uuid=uuids))
    by_uuid = {row.uuid: row for row in instances}
    for row in instances:
        row.__dict__["system_metadata"] = [
            item for item in metadata if item.instance_uuid == row.uuid]
    for row in found:
        row.__dict__["instance"] = by_uuid.get(row.instance_uuid)


@native.main_reader()
def migration_get_in_progress_by_host_and_node(s, context, host, node):
    """Finds all migrations for the given host + node that are not done."""
    return _on_node(s, context, host, node, _DONE + ("error",))


@native.main_reader()
def migration_get_in_progress_and_error_by_host_and_node(s, context, host,
                                                         node):
    """Finds all in progress migrations and error migrations of a node."""
    return _on_node(s, context, host, node, _DONE)


@native.main_reader()
def migration_get_in_progress_by_instance(s, context, instance_uuid,
                                          migration_type=None):
    """Finds all migrations of an instance in progress."""
    equal = _scope(context)
    if migration_type:
        equal["migration_type"] = migration_type
    return s.all(MIGRATIONS, instance_uuid=instance_uuid,
                 status=session.In(_IN_PROGRESS), **equal)


def _filters(context, filters):
    """Return (equalities, tests) of Nova's migration filters."""
    equal = _scope(context)
    tests = matching.changes_tests(MIGRATIONS, filters)
    for name in ("uuid", "status"):
        if name in filters:
            value = filters[name]
            equal[name] = session.In(
                (value,) if isinstance(value, str) else tuple(value))
    if "host" in filters:
        tests.append(_either("source_compute", "dest_compute",
                             filters["host"]))
    elif "source_compute" in filters:
        equal["source_compute"] = filters["source_compute"]
    if "node" in filters:
        tests.append(_either("source_node", "dest_node", filters["node"]))
    for name in ("migration_type", "hidden", "instance_uuid", "user_id",
                 "project_id"):
        if name in filters:
            equal[name] = filters[name]
    return equal, tests


def _either(first, second, value):
    return lambda stored: (stored.get(first) == value
                           or stored.get(second) == value)


def _candidates(s, filters, equal):
    """Return the records of equalities, by host if that is what filters."""
    host = filters.get("host")
    if host is None or "instance_uuid" in equal or "uuid" in equal:
        # That of one server is mostly remembered as a whole.
        return s.records(session.Find(
            MIGRATIONS, equal,
            ranges=matching.changes_ranges(MIGRATIONS, filters)),
            table_only="instance_uuid" not in equal)[0]
    outgoing, incoming = s.records(
        session.Find(MIGRATIONS, {**equal, "source_compute": host}),
        session.Find(MIGRATIONS, {**equal, "dest_compute": host}),
        table_only=True)
    by_key = {record.key: record for record in outgoing + incoming}
    return [by_key[key] for key in sorted(by_key)]


@native.main_reader()
def migration_get_all_by_filters(s, context, filters, sort_keys=None,
                                 sort_dirs=None, limit=None, marker=None):
    """Finds all migrations using the provided filters."""
    if limit == 0:
        return []
    # Any empty collection means no filter: Nova only asks what is in it.
    filters = filters or {}
    equal, tests = _filters(context, filters)
    if marker:
        marked = s.records(session.find(MIGRATIONS, uuid=marker),
                           table_only=True)[0]
        if not marked:
            raise exception.MarkerNotFound(marker=marker)
    if not (limit or marker or sort_keys or sort_dirs):
        return s.rows(MIGRATIONS, _passing(
            _candidates(s, filters, equal), tests))
    keys, directions = db_utils.process_sort_params(
        sort_keys, sort_dirs, default_dir="desc")
    if not MIGRATIONS.template.keys() >= set(keys):
        raise native.Fallback()
    after = None
    if marker:
        after = marked[0].values
        tests.append(matching.after_marker(after, keys, directions))
    records = None
    if filters.get("host") is None:
        records = pages.page(
            s, session.Find(
                MIGRATIONS, equal,
                lambda stored: all([test(stored) for test in tests]),
                matching.changes_ranges(MIGRATIONS, filters)),
            limit, after, keys, directions, table_only=True)
    if records is None:
        records = _passing(_candidates(s, filters, equal), tests)
    matching.sort(records, keys, directions)
    return s.rows(MIGRATIONS, matching.limited(records, limit))


def _passing(records, tests):
    return [record for record in records
            if all([test(record.values) for test in tests])]


@native.main_reader(require_context=True)
def migration_get_by_sort_filters(s, context, sort_keys, sort_dirs, values):
    """Get the uuid of the first migration in a sort order."""
    if None in values or not MIGRATIONS.template.keys() >= set(sort_keys):
        # Nova's own raises SQLAlchemy's errors then.
        raise native.Fallback()
    found = pages.first(s, MIGRATIONS, sort_keys, sort_dirs, values)
    return None if found is None else found.values.get("uuid")
