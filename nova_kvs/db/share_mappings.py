# SPDX-License-Identifier: Apache-2.0
"""Shares that are attached to servers.

:source: nova.db.main.api, "share_mapping_*"
"""

from nova.db.main import models

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

SHARES = rows.table(models.ShareMapping)


@native.main_reader(require_context=True)
def share_mapping_get_by_share_id(s, context, share_id):
    """Get share_mapping records for a specific share."""
    return s.all(SHARES, share_id=share_id)


@native.main_reader(require_context=True)
def share_mapping_get_by_instance_uuid(s, context, instance_uuid):
    """Get share_mapping records for a specific instance."""
    return s.all(SHARES, instance_uuid=instance_uuid)


@native.main_reader(require_context=True)
def share_mapping_get_by_instance_uuids(s, context, instance_uuids):
    """Get share_mapping records for a list of instances."""
    return s.all(SHARES, instance_uuid=session.In(tuple(instance_uuids)))


@native.main_reader(require_context=True)
def share_mapping_get_by_instance_uuid_and_share_id(
        s, context, instance_uuid, share_id):
    """Get share_mapping record for a specific instance and share_id."""
    return s.first(SHARES, instance_uuid=instance_uuid, share_id=share_id)


@native.main_writer(require_context=True)
def share_mapping_delete_by_instance_uuid_and_share_id(
        s, context, instance_uuid, share_id):
    """Delete share_mapping record for a specific instance and share_id."""
    s.delete(s.all(SHARES, instance_uuid=instance_uuid, share_id=share_id))


@native.main_writer(require_context=True)
def share_mapping_update(
    s, context, uuid, instance_uuid, share_id, status, tag, export_location,
    share_proto
):
    """Update share_mapping for a share, or create it."""
    values = {"status": status, "tag": tag,
              "export_location": export_location, "share_proto": share_proto}
    row = s.first(SHARES, instance_uuid=instance_uuid, share_id=share_id)
    if row is None:
        return s.insert(SHARES, {"uuid": uuid, "share_id": share_id,
                                 "instance_uuid": instance_uuid, **values})
    s.update(row, values)
    return row
