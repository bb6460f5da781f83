# SPDX-License-Identifier: Apache-2.0
"""Servers: get, create, update, destroy.

:source: nova.db.main.api, "instance_*"
"""

import copy

from nova.compute import task_states
from nova import conf
from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import utils as sqlalchemyutils
from oslo_utils import uuidutils

from nova_kvs.compatibility import private
from nova_kvs.db import instance_joins as joins
from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import security_groups
from nova_kvs.db import session

CONF = conf.CONF
INSTANCES = joins.INSTANCES
ID_MAPPINGS = rows.table(models.InstanceIdMapping)
ACTIONS = rows.table(models.InstanceAction)
ACTION_EVENTS = rows.table(models.InstanceActionEvent)
MIGRATIONS = rows.table(models.Migration)
INTERFACES = rows.table(models.VirtualInterface)
CONSOLE_TOKENS = rows.table(models.ConsoleAuthToken)
_META = ("metadata", "system_metadata")
_META_TABLES = {"metadata": joins.METADATA,
                "system_metadata": joins.SYSTEM_METADATA}
_handle_conversions = private.function(
    main_db_api, private.HANDLE_CONVERSIONS)

# Soft-deleted with a server, by the column that names it.
_DELETED_WITH = (
    (joins.GROUP_LINKS, "instance_uuid"), (joins.INFO_CACHES, "instance_uuid"),
    (joins.METADATA, "instance_uuid"), (joins.FAULTS, "instance_uuid"),
    (joins.EXTRA, "instance_uuid"), (joins.SYSTEM_METADATA, "instance_uuid"),
    (joins.BLOCK_DEVICES, "instance_uuid"), (MIGRATIONS, "instance_uuid"),
    (INTERFACES, "instance_uuid"), (ID_MAPPINGS, "uuid"))


def get(s, context, uuid, columns_to_join=None, late=None):
    """Return a server with what Nova's _instance_get_by_uuid joins.

    One batch, unless the server moved or has security groups.

    :param late: dict that gets name -> Find of what is not in the server's
        partition, and is to be loaded with the commit. None to load it.
    :raises nova.exception.InstanceNotFound:
    """
    row = _get(s, {"uuid": uuid, **session.project_scope(context)},
               columns_to_join, uuid, late)
    if row is None:
        raise exception.InstanceNotFound(instance_id=uuid)
    return row


def _get(s, equal, columns_to_join, uuid, late=None):
    if columns_to_join is None:
        columns_to_join = _META
    names = joins.names_of(columns_to_join)
    names.update(("info_cache", "security_groups"))
    wanted = joins.finds(names, (uuid,))
    if late is not None:
        late.update(item for item in wanted if item[0] in joins.ELSEWHERE)
        wanted = [item for item in wanted if item[0] not in late]
    batch = [session.Find(INSTANCES, equal)]
    batch.extend(find for _name, find in wanted)
    expected = None
    if "services" in names and late is None:
        expected = joins.last_host(uuid)
        if expected is not None:
            batch.append(joins.services_find((expected,)))
    answers = s.load(*batch)
    if not answers[0]:
        return None
    row = answers[0][0]
    loaded = {name: answer
              for (name, _find), answer in zip(wanted, answers[1:])}
    joins.remember_host(uuid, row.host)
    if "services" in names:
        known = {expected: answers[-1]} if expected is not None else {}
        if late is None or row.host is None or row.deleted != 0:
            joins.attach_services(s, [row], known)
        else:
            late["services"] = joins.services_find((row.host,))
    joins.attach(s, [row], names - {"services"}, loaded, rules=True)
    for name in _META:
        # Nova's query says not to load them then: they read as empty.
        row.__dict__.setdefault(name, [])
    return row


@native.main_reader(require_context=True)
def instance_get_by_uuid(s, context, uuid, columns_to_join=None):
    """Get an instance or raise if it does not exist."""
    return get(s, context, uuid, columns_to_join)


@native.main_reader(require_context=True)
def instance_get(s, context, instance_id, columns_to_join=None):
    """Get an instance or raise if it does not exist."""
    if not isinstance(instance_id, int) or abs(instance_id) >= 2 ** 63:
        # Nova knows how to refuse it.
        raise native.Fallback()
    equal = session.project_scope(context)
    found = s.records(session.find(INSTANCES, id=instance_id, **equal))[0]
    row = None
    if found:
        uuid = found[0].values["uuid"]
        row = _get(s, {"uuid": uuid, **equal}, columns_to_join, uuid)
    if row is None:
        raise exception.InstanceNotFound(instance_id=instance_id)
    return row


def exists_in_project(s, context, instance_uuid):
    """Raise if a context's project has no such server.

    :raises nova.exception.InstanceNotFound:
    :source: nova.db.main.api._check_instance_exists_in_project
    """
    if not s.count(INSTANCES, uuid=instance_uuid,
                   **session.project_scope(context, "no")):
        raise exception.InstanceNotFound(instance_id=instance_uuid)


def _as_list(value):
    return [None] if value is None else sqlalchemyutils.to_list(value)


def _split(values, expected):
    """Return (column updates, metadata by name, expectations)."""
    updates = copy.copy(values)
    expected = {name: _as_list(value)
                for name, value in (expected or {}).items()}
    for field in ("task_state", "vm_state"):
        name = "expected_%s" % field
        if name in updates:
            expected[field] = _as_list(updates.pop(name))
    metadata = {name: updates.pop(name, None) for name in _META}
    _handle_conversions(updates)
    if "hostname" in updates and CONF.osapi_compute_unique_server_name_scope:
        raise native.Fallback()
    known = INSTANCES.template
    if not (known.keys() >= updates.keys()
            and known.keys() >= expected.keys()):
        raise native.Fallback()
    return updates, metadata, expected


def _check_expected(row, expected):
    """Raise what Nova raises when a server is not as expected."""
    actual = {field: row.__dict__[field] for field in expected
              if row.__dict__[field] not in expected[field]}
    if not actual:
        return
    details = {"instance_uuid": row.uuid, "actual": actual,
               "expected": {field: expected[field] for field in actual}}
    if "task_state" not in actual:
        raise exception.InstanceUpdateConflict(**details)
    if actual["task_state"] == task_states.DELETING:
        raise exception.UnexpectedDeletingTaskStateError(**details)
    raise exception.UnexpectedTaskStateError(**details)


def _update(s, row, values, expected):
    updates, metadata, expected = _split(values, expected)
    _check_expected(row, expected)
    s.update_all([row], updates)
    for name in _META:
        if metadata[name] is not None:
            _update_metadata(s, row, name, dict(metadata[name]))
    return row


def _update_metadata(s, row, name, metadata):
    """Make a server's (system) metadata what was given, in place.

    :source: nova.db.main.api._instance_metadata_update_in_place
    """
    current = row.__dict__[name]
    for item in list(current):
        if item.key in metadata:
            s.update(item, {"value": metadata.pop(item.key)})
        elif name == "system_metadata":
            s.delete([item])
            current.remove(item)
        else:
            s.soft_delete_object(item)
    for key, value in metadata.items():
        current.append(s.insert(_META_TABLES[name], {
            "key": key, "value": value, "instance_uuid": row.uuid}))


@native.main_writer(require_context=True)
def instance_update(s, context, instance_uuid, values, expected=None):
    """Set the given properties on an instance and update it.

    :raises: NotFound if instance does not exist.
    """
    if not uuidutils.is_uuid_like(instance_uuid):
        raise exception.InvalidUUID(uuid=instance_uuid)
    row = get(s, context, instance_uuid)
    return _update(s, row, values, expected)


@native.main_writer(require_context=True)
def instance_update_and_get_original(s, context, instance_uuid, values,
                                     columns_to_join=None, expected=None):
    """Set the given properties on an instance and update it.

    :returns: a tuple of the form (old_instance_ref, new_instance_ref)
    :raises: NotFound if instance does not exist.
    """
    late = {}
    row = get(s, context, instance_uuid, columns_to_join, late)
    original = _copy(row, [
        name for name in _META if values.get(name) is not None])
    if not uuidutils.is_uuid_like(instance_uuid):
        raise exception.InvalidUUID(uuid=instance_uuid)
    _update(s, row, values, expected)
    if late:
        loaded = dict(zip(late, s.commit(*late.values())))
        for version in (original, row):
            if "services" in loaded:
                version.__dict__["services"] = list(loaded["services"])
            joins.attach(s, [version], (), loaded)
    if "updated_at" not in values:
        # Nova does not read the row again, so this is still as it was.
        row.__dict__["updated_at"] = original.updated_at
    return original, row


def _copy(row, names):
    """Return a copy of a server.

    :param names: kinds of metadata that are to change in the row only.
    """
    copied = copy.copy(row)
    for name in names:
        copied.__dict__[name] = [
            copy.copy(item) for item in copied.__dict__[name]]
    return copied


@native.main_writer(require_context=True)
def instance_create(s, context, values):
    """Create an instance from the values dictionary."""
    if values.get("security_groups"):
        return _create(s, context, values,
                       security_groups.ensure_default(s, context))
    # Nova makes sure of the default group first. To a server without groups
    # it does not matter, so that looking for it goes along with the commit.
    default_group = None
    try:
        row = _create(s, context, values, None)
        default_group, = s.commit(security_groups.default_find(context))
    except db_exc.DBConnectionError:
        raise
    except db_exc.DBError:
        security_groups.ensure_default(session.Session(s.database), context)
        raise
    if not default_group:
        security_groups.ensure_default(session.Session(s.database), context)
    return row


def _create(s, context, values, default_group):
    values = values.copy()
    metadata = {name: values.pop(name, None) or {} for name in _META}
    info_cache = values.pop("info_cache", None) or {}
    extra = values.pop("extra", {})
    groups = values.pop("security_groups", [])
    if INSTANCES.relationships & values.keys() or (
            "hostname" in values
            and CONF.osapi_compute_unique_server_name_scope):
        raise native.Fallback()
    _handle_conversions(values)
    if not values.get("uuid"):
        values["uuid"] = uuidutils.generate_uuid()
    uuid = values["uuid"]
    models_of_groups = security_groups.for_names(
        s, context, groups, default_group)
    row = s.insert(INSTANCES, values)
    joins.remember_host(uuid, row.host)
    attributes = row.__dict__
    attributes["info_cache"] = s.insert(
        joins.INFO_CACHES, {**info_cache, "instance_uuid": uuid})
    attributes["extra"] = s.insert(
        joins.EXTRA, {**extra, "instance_uuid": uuid})
    for name in _META:
        attributes[name] = [
            s.insert(_META_TABLES[name],
                     {"key": key, "value": value, "instance_uuid": uuid})
            for key, value in metadata[name].items()]
    for group in models_of_groups:
        s.insert(joins.GROUP_LINKS, {"instance_uuid": uuid,
                                     "security_group_id": group.id})
    attributes["security_groups"] = models_of_groups
    s.insert(ID_MAPPINGS, {"uuid": uuid})
    attributes["fault"] = None
    return row


@native.main_writer(require_context=True)
def instance_destroy(s, context, instance_uuid, constraint=None,
                     hard_delete=False):
    """Destroy the instance or raise if it does not exist."""
    if not uuidutils.is_uuid_like(instance_uuid):
        raise exception.InvalidUUID(uuid=instance_uuid)
    row = get(s, context, instance_uuid)
    if not matching.constraint_met(constraint, row):
        raise exception.ConstraintNotMet()
    # First, and even if it is removed afterwards: Nova returns it so.
    s.soft_delete([row])
    equal = {} if hard_delete else session.scope(context)
    answers = s.load(
        *(session.Find(table, {column: instance_uuid, **equal})
          for table, column in _DELETED_WITH),
        session.find(joins.TAGS, resource_id=instance_uuid),
        session.find(CONSOLE_TOKENS, instance_uuid=instance_uuid))
    related = answers[:len(_DELETED_WITH)]
    for found in answers[len(_DELETED_WITH):]:
        s.delete(found)
    if hard_delete:
        for found in related:
            s.delete(found)
        _hard_delete(s, row)
    else:
        for found in related:
            s.soft_delete(found)
    return row


def _hard_delete(s, row):
    """Remove a server and the actions that a soft delete keeps."""
    actions = s.all(ACTIONS, instance_uuid=row.uuid)
    if actions:
        s.delete(s.all(ACTION_EVENTS, action_id=session.In(
            tuple(action.id for action in actions))))
        s.delete(actions)
    s.delete([row])
