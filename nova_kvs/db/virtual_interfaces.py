# SPDX-License-Identifier: Apache-2.0
"""Virtual interfaces.

:source: nova.db.main.api, "virtual_interface_*"
"""

from nova.db.main import models
from nova import exception
from oslo_db import exception as db_exc
from oslo_log import log as logging

from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

LOG = logging.getLogger(__name__)
INTERFACES = rows.table(models.VirtualInterface)
_BY_AGE = ["created_at", "id"], ["asc", "asc"]


@native.main_writer(require_context=True)
def virtual_interface_create(s, context, values):
    """Create a new virtual interface record."""
    try:
        row = s.insert(INTERFACES, values)
        s.commit()
    except db_exc.DBError:
        LOG.exception("VIF creation failed with a database error.")
        raise exception.VirtualInterfaceCreateException()
    return row


@native.main_writer(require_context=True)
def virtual_interface_update(s, context, vif_uuid, values):
    """Update a virtual interface record in the database."""
    row = s.first(INTERFACES, uuid=vif_uuid, deleted=0)
    s.update(row, values)
    return row


@native.main_reader(require_context=True)
def virtual_interface_get(s, context, vif_id):
    """Get a virtual interface by ID."""
    return s.first(INTERFACES, id=vif_id, deleted=0)


@native.main_reader(require_context=True)
def virtual_interface_get_by_address(s, context, address):
    """Get a virtual interface by address."""
    return s.first(INTERFACES, address=address, deleted=0)


@native.main_reader(require_context=True)
def virtual_interface_get_by_uuid(s, context, vif_uuid):
    """Get a virtual interface by UUID."""
    return s.first(INTERFACES, uuid=vif_uuid, deleted=0)


@native.main_reader(require_context=True)
def virtual_interface_get_by_instance(s, context, instance_uuid):
    """Gets all virtual interfaces for instance."""
    records = s.records(session.find(
        INTERFACES, instance_uuid=instance_uuid, deleted=0))[0]
    matching.sort(records, *_BY_AGE)
    return [INTERFACES.row(record) for record in records]


@native.main_reader(require_context=True)
def virtual_interface_get_by_instance_and_network(s, context, instance_uuid,
                                                  network_id):
    """Get virtual interface for instance that's associated with network."""
    return s.first(INTERFACES, instance_uuid=instance_uuid,
                   network_id=network_id, deleted=0)


@native.main_writer(require_context=True)
def virtual_interface_delete_by_instance(s, context, instance_uuid):
    """Delete virtual interface records associated with instance."""
    s.soft_delete(s.all(INTERFACES, instance_uuid=instance_uuid, deleted=0))


@native.main_writer(require_context=True)
def virtual_interface_delete(s, context, id):
    """Delete a virtual interface record."""
    s.soft_delete(s.all(INTERFACES, id=id, deleted=0))


@native.main_reader(require_context=True)
def virtual_interface_get_all(s, context):
    """Get all virtual interface records."""
    return s.all(INTERFACES, deleted=0)
