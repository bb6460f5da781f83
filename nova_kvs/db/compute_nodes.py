# SPDX-License-Identifier: Apache-2.0
"""Compute nodes: a host's resources as its resource tracker reports them.

:source: nova.db.main.api, "compute_node*"; nova.objects.compute_node
"""

import copy

import nova.context
from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception
from oslo_db import exception as db_exc
from oslo_utils import timeutils

from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import pages
from nova_kvs.db import rows
from nova_kvs.db import session

COMPUTE_NODES = rows.table(models.ComputeNode)
SERVICES = rows.table(models.Service)
_OBJECTS = "nova.objects.compute_node:ComputeNodeList."
_SUMS = ("vcpus", "memory_mb", "local_gb", "vcpus_used", "memory_mb_used",
         "local_gb_used", "free_ram_mb", "free_disk_gb", "current_workload",
         "running_vms", "disk_available_least")
_scope = session.scope


def _select(s, context, test=None, **equal):
    """Return compute nodes as dicts, ordered by id."""
    return [_as_dict(row) for row in s.all(
        COMPUTE_NODES, test, **equal, **_live(context))]


def _live(context):
    return {"deleted": 0} if context.read_deleted == "no" else {}


def _as_dict(row):
    return {name: row.__dict__[name] for name in COMPUTE_NODES.columns}


def _get(s, context, compute_id):
    found = _select(s, context, id=compute_id)
    if not found:
        raise exception.ComputeHostNotFound(host=compute_id)
    return found[0]


def _get_model(s, context, compute_id):
    row = s.first(COMPUTE_NODES, id=compute_id, **_scope(context))
    if row is None:
        raise exception.ComputeHostNotFound(host=compute_id)
    return row


@native.main_reader()
def compute_node_get(s, context, compute_id):
    """Get a compute node by its id.

    :raises: ComputeHostNotFound if there is none.
    """
    return _get(s, context, compute_id)


@native.main_reader()
def compute_node_get_model(s, context, compute_id):
    """Get a compute node as a model object by its id.

    :raises: ComputeHostNotFound if there is none.
    """
    return _get_model(s, context, compute_id)


@native.main_reader()
def compute_nodes_get_by_service_id(s, context, service_id):
    """Get a list of compute nodes by their associated service id.

    :raises: ServiceNotFound if there is none.
    """
    found = _select(s, context, service_id=service_id)
    if not found:
        raise exception.ServiceNotFound(service_id=service_id)
    return found


@native.main_reader()
def compute_node_get_by_host_and_nodename(s, context, host, nodename):
    """Get a compute node by its associated host and nodename.

    :raises: ComputeHostNotFound if there is none.
    """
    found = _select(s, context, host=host, hypervisor_hostname=nodename)
    if not found:
        raise exception.ComputeHostNotFound(host=host)
    return found[0]


@native.main_reader()
def compute_node_get_by_nodename(s, context, hypervisor_hostname):
    """Get a compute node by hypervisor_hostname.

    :raises: ComputeHostNotFound if there is none.
    """
    found = _select(s, context, hypervisor_hostname=hypervisor_hostname)
    if not found:
        raise exception.ComputeHostNotFound(host=hypervisor_hostname)
    return found[0]


@native.main_reader()
def compute_node_get_all(s, context):
    """Get all compute nodes."""
    return _select(s, context)


@native.main_reader()
def compute_node_get_all_by_host(s, context, host):
    """Get all compute nodes by host name.

    :raises: ComputeHostNotFound if there is none.
    """
    found = _select(s, context, host=host)
    if not found:
        raise exception.ComputeHostNotFound(host=host)
    return found


@native.main_reader()
def compute_node_get_all_mapped_less_than(s, context, mapped_less_than):
    """Get all compute nodes with specific mapped values."""
    return _select(
        s, context, lambda stored: stored.get("mapped") is not None
        and stored["mapped"] < mapped_less_than)


@native.main_reader()
def compute_node_get_all_by_pagination(s, context, limit=None, marker=None):
    """Get all compute nodes by pagination.

    :raises: MarkerNotFound if there is no node with the marker's id.
    """
    test = after = None
    if marker is not None:
        try:
            after = _get(s, context, marker)
        except exception.ComputeHostNotFound:
            raise exception.MarkerNotFound(marker=marker)
        test = lambda stored: stored["id"] > after["id"]  # noqa: E731
    records = pages.page(
        s, session.find(COMPUTE_NODES, test, **_live(context)), limit, after,
        ["id"], ["asc"])
    if records is None:
        return matching.limited(_select(s, context, test), limit)
    matching.sort(records, ["id"], ["asc"])
    return [_as_dict(row) for row in s.rows(
        COMPUTE_NODES, matching.limited(records, limit))]


@native.main_reader()
def compute_node_search_by_hypervisor(s, context, hypervisor_match):
    """Get all compute nodes by hypervisor hostname."""
    like = matching.like("%%%s%%" % hypervisor_match)
    return s.all(
        COMPUTE_NODES,
        lambda stored: like(stored.get("hypervisor_hostname")),
        **_scope(context))


@native.main_reader(_OBJECTS + "_db_compute_node_get_all_by_uuids")
def _db_compute_node_get_all_by_uuids(s, context, compute_uuids):
    return s.all(COMPUTE_NODES, uuid=session.In(tuple(compute_uuids)),
                 **_scope(context))


@native.main_reader(_OBJECTS + "_db_compute_node_get_by_hv_type")
def _db_compute_node_get_by_hv_type(s, context, hv_type):
    return s.all(COMPUTE_NODES, hypervisor_type=hv_type)


def _update(s, context, compute_id, values):
    row = _get_model(s, context, compute_id)
    # Always, so that the scheduler sees that the node reported.
    values["updated_at"] = timeutils.utcnow()
    main_db_api.convert_objects_related_datetimes(values)
    s.update(row, values)
    return row


def _undelete(s, values):
    """Take back a soft-deleted node with the same UUID, see bug 1839560."""
    context = nova.context.get_admin_context(read_deleted="yes")
    row = s.first(COMPUTE_NODES, uuid=values["uuid"])
    if row is None:
        return None
    values = copy.deepcopy(values)
    values["deleted"] = 0
    values["deleted_at"] = None
    return _update(s, context, row.id, values)


@native.main_writer()
def compute_node_create(s, context, values):
    """Create a compute node, or restore a soft-deleted one by its UUID.

    :raises: DBDuplicateEntry if the host and node name are taken.
    """
    main_db_api.convert_objects_related_datetimes(values)
    row = s.insert(COMPUTE_NODES, values)
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        if "uuid" not in values:
            raise
        again = session.Session(s.database)
        row = _undelete(again, values)
        if row is None:
            raise
        again.commit()
    return row


@native.main_writer()
def compute_node_update(s, context, compute_id, values):
    """Set the given properties on a compute node and update it.

    :raises: ComputeHostNotFound if there is none.
    """
    return _update(s, context, compute_id, values)


@native.main_writer()
def compute_node_delete(s, context, compute_id, constraint=None):
    """Delete a compute node from the database.

    :raises: ComputeHostNotFound if there is none.
    :raises: ConstraintNotMet if a constraint was not met.
    """
    row = s.first(COMPUTE_NODES, id=compute_id, **_scope(context))
    if row is not None and matching.constraint_met(constraint, row):
        s.soft_delete([row])
        return
    _get(s, context, compute_id)
    raise exception.ConstraintNotMet()


@native.main_reader()
def compute_node_statistics(s, context):
    """Compute statistics over all compute nodes."""
    nodes, services = s.records(
        session.find(COMPUTE_NODES, **_live(context)),
        session.find(SERVICES, disabled=False, binary="nova-compute",
                     deleted=0))
    totals = dict.fromkeys(("count",) + _SUMS, 0)
    for node in (record.values for record in nodes):
        # A row for each service that matches, as the join makes.
        matches = sum(
            1 for service in (record.values for record in services)
            if service["id"] == node.get("service_id")
            or node.get("host") is not None
            and service.get("host") == node["host"])
        totals["count"] += matches
        for name in _SUMS:
            totals[name] += matches * (node.get(name) or 0)
    return {name: int(value) for name, value in totals.items()}
