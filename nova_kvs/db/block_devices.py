# SPDX-License-Identifier: Apache-2.0
"""Block device mappings.

:source: nova.db.main.api, "block_device_mapping_*"
"""

from nova import block_device
from nova.db.main import api as main_db_api
from nova.db.main import models
from sqlalchemy.orm import exc as orm_exc

from nova_kvs.compatibility import private
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

BLOCK_DEVICES = rows.table(models.BlockDeviceMapping)
INSTANCES = rows.table(models.Instance)
_scope = session.scope
_from_legacy_values = private.function(main_db_api, private.FROM_LEGACY_VALUES)
_scrub_empty_str_values = private.function(
    main_db_api, private.SCRUB_EMPTY_STR_VALUES)
_set_or_validate_uuid = private.function(
    main_db_api, private.SET_OR_VALIDATE_UUID)


def _prepare(values, legacy, allow_updates):
    _scrub_empty_str_values(values, ["volume_size"])
    values = _from_legacy_values(
        values, legacy, allow_updates=allow_updates)
    main_db_api.convert_objects_related_datetimes(values)
    return values


@native.main_writer(require_context=True)
def block_device_mapping_create(s, context, values, legacy=True):
    """Create an entry of block device mapping."""
    values = _prepare(values, legacy, False)
    _set_or_validate_uuid(values)
    return s.insert(BLOCK_DEVICES, values)


@native.main_writer(require_context=True)
def block_device_mapping_update(s, context, bdm_id, values, legacy=True):
    """Update an entry of block device mapping."""
    values = _prepare(values, legacy, True)
    if not BLOCK_DEVICES.template.keys() >= values.keys():
        raise native.Fallback()
    found = s.all(BLOCK_DEVICES, id=bdm_id, **_scope(context))
    s.update_all(found, values)
    # Nova reads it again by id and visibility, which the update may change.
    for row in found:
        s.reread(row)
    return found[0] if found and _visible(context, found[0]) else None


def _visible(context, row):
    return context.read_deleted == "yes" or (
        (row.deleted == 0) == (context.read_deleted == "no"))


@native.main_writer()
def block_device_mapping_update_or_create(s, context, values, legacy=True):
    """Update an entry of block device mapping, or create it."""
    values = _prepare(values, legacy, True)
    if not BLOCK_DEVICES.template.keys() >= values.keys():
        raise native.Fallback()
    found = s.all(BLOCK_DEVICES, instance_uuid=values["instance_uuid"],
                  **_scope(context))
    result = None
    if "uuid" in values:
        same = [row for row in found if row.uuid == values["uuid"]]
        if len(same) > 1:
            raise orm_exc.MultipleResultsFound(
                "Multiple rows were found when one or none was required")
        result = same[0] if same else None
    if result is None and values["device_name"]:
        result = next((row for row in found
                       if row.device_name == values["device_name"]), None)
    if result is not None:
        s.update(result, values)
    else:
        _set_or_validate_uuid(values)
        result = s.insert(BLOCK_DEVICES, values)
    if block_device.new_format_is_swap(values):
        # A server has one swap device: the last.
        s.soft_delete([row for row in found
                       if row.source_type == "blank"
                       and row.guest_format == "swap"
                       and row.id != result.id])
    return result


@native.main_reader(require_context=True)
def block_device_mapping_get_all_by_instance_uuids(s, context,
                                                   instance_uuids):
    """Get all block device mapping belonging to a list of instances."""
    if not instance_uuids:
        return []
    found, = s.records(session.find(BLOCK_DEVICES, instance_uuid=session.In(
        tuple(instance_uuids)), **_scope(context)), table_only=True)
    return s.rows(BLOCK_DEVICES, found)


@native.main_reader(require_context=True)
def block_device_mapping_get_all_by_instance(s, context, instance_uuid):
    """Get all block device mapping belonging to an instance."""
    return s.all(BLOCK_DEVICES, instance_uuid=instance_uuid,
                 **_scope(context))


def _with_instances(s, found, columns_to_join):
    """Set the live server of each mapping if that is what to join."""
    if not columns_to_join:
        return found
    if set(columns_to_join) != {"instance"}:
        raise native.Fallback()
    if found:
        uuids = tuple({row.instance_uuid for row in found})
        by_uuid = {row.uuid: row for row in s.all(
            INSTANCES, uuid=session.In(uuids))}
        for row in found:
            row.__dict__["instance"] = (
                by_uuid.get(row.instance_uuid) if row.deleted == 0
                else None)
    return found


@native.main_reader(require_context=True)
def block_device_mapping_get_all_by_volume_id(s, context, volume_id,
                                              columns_to_join=None):
    """Get block device mapping for a given volume."""
    return _with_instances(
        s, s.all(BLOCK_DEVICES, volume_id=volume_id, **_scope(context)),
        columns_to_join)


@native.main_reader(require_context=True)
def block_device_mapping_get_by_instance_and_volume_id(
    s, context, volume_id, instance_uuid, columns_to_join=None,
):
    """Get block device mapping for a given volume ID and instance UUID."""
    found = _with_instances(s, s.all(
        BLOCK_DEVICES, volume_id=volume_id, instance_uuid=instance_uuid,
        **_scope(context)), columns_to_join)
    return found[0] if found else None


@native.main_writer(require_context=True)
def block_device_mapping_destroy(s, context, bdm_id):
    """Destroy the block device mapping."""
    s.soft_delete(s.all(BLOCK_DEVICES, id=bdm_id, **_scope(context)))
