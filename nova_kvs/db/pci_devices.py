# SPDX-License-Identifier: Apache-2.0
"""PCI devices.

:source: nova.db.main.api, "pci_device_*"
"""

from nova.db.main import models
from nova import exception

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

DEVICES = rows.table(models.PciDevice)
_scope = session.scope


@native.main_reader()
def pci_device_get_by_addr(s, context, node_id, dev_addr):
    """Get PCI device by address."""
    row = s.first(DEVICES, compute_node_id=node_id, address=dev_addr,
                  **_scope(context))
    if row is None:
        raise exception.PciDeviceNotFound(node_id=node_id, address=dev_addr)
    return row


@native.main_reader()
def pci_device_get_by_id(s, context, id):
    """Get PCI device by id."""
    row = s.first(DEVICES, id=id, **_scope(context))
    if row is None:
        raise exception.PciDeviceNotFoundById(id=id)
    return row


@native.main_reader()
def pci_device_get_all_by_node(s, context, node_id):
    """Get all PCI devices for one host."""
    return s.all(DEVICES, compute_node_id=node_id, **_scope(context))


@native.main_reader()
def pci_device_get_all_by_parent_addr(s, context, node_id, parent_addr):
    """Get all PCI devices by parent address."""
    return s.all(DEVICES, compute_node_id=node_id, parent_addr=parent_addr,
                 **_scope(context))


@native.main_reader(require_context=True)
def pci_device_get_all_by_instance_uuid(s, context, instance_uuid):
    """Get PCI devices allocated to instance."""
    return s.all(DEVICES, status="allocated", instance_uuid=instance_uuid,
                 **_scope(context))


@native.main_writer()
def pci_device_destroy(s, context, node_id, address):
    """Delete a PCI device record."""
    if not s.soft_delete(s.all(DEVICES, compute_node_id=node_id,
                               address=address, **_scope(context))):
        raise exception.PciDeviceNotFound(node_id=node_id, address=address)


@native.main_writer()
def pci_device_update(s, context, node_id, address, values):
    """Update a pci device, or create it."""
    if not DEVICES.template.keys() >= values.keys():
        raise native.Fallback()
    found = s.all(DEVICES, compute_node_id=node_id, address=address,
                  deleted=0)
    if found:
        s.update_all(found, values)
        row = found[0]
        s.reread(row)
    else:
        row = s.insert(DEVICES, values)
    if (row.compute_node_id, row.address, row.deleted) != (
            node_id, address, 0):
        # Nova reads it again and misses it: let it say so.
        raise native.Fallback()
    return row
