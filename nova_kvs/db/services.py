# SPDX-License-Identifier: Apache-2.0
"""Services: heartbeats, look-ups and minimum versions.

:source: nova.db.main.api, "service_*"
"""

from nova import conf
from nova.db.main import models
from nova import exception
from nova.i18n import _
from oslo_db import exception as db_exc
from oslo_utils import timeutils

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session

CONF = conf.CONF
SERVICES = rows.table(models.Service)
COMPUTE_NODES = rows.table(models.ComputeNode)
_scope = session.scope


def _get(s, context, service_id):
    row = s.first(SERVICES, id=service_id, **_scope(context))
    if row is None:
        raise exception.ServiceNotFound(service_id=service_id)
    return row


@native.main_writer()
def service_destroy(s, context, service_id):
    """Destroy the service or raise if it does not exist."""
    service = _get(s, context, service_id)
    if service.binary == "nova-compute":
        equal = _scope(context)
        by_service, by_host = s.load(
            session.find(COMPUTE_NODES, service_id=service_id, **equal),
            session.find(COMPUTE_NODES, host=service.host, **equal))
        nodes = {node.id: node for node in by_service}
        if service.host is not None:
            nodes.update({node.id: node for node in by_host})
        now = timeutils.utcnow()
        for node in nodes.values():
            s.update_all([node], {"deleted": node.id,
                                  "updated_at": node.updated_at,
                                  "deleted_at": now, "mapped": 0})
    s.soft_delete([service])


@native.main_reader()
def service_get(s, context, service_id):
    """Get a service or raise if it does not exist."""
    return _get(s, context, service_id)


@native.main_reader()
def service_get_by_uuid(s, context, service_uuid):
    """Get a service by its uuid or raise if it does not exist."""
    row = s.first(SERVICES, uuid=service_uuid, **_scope(context))
    if row is None:
        raise exception.ServiceNotFound(service_id=service_uuid)
    return row


@native.main_reader()
def service_get_minimum_version(s, context, binaries):
    """Get the minimum service version in the database."""
    lowest = {}
    for record in s.records(session.find(
            SERVICES, binary=session.In(tuple(binaries)), deleted=0,
            forced_down=0))[0]:
        binary = record.values["binary"]
        version = record.values.get("version")
        known = lowest.setdefault(binary, version)
        if known is None or (version is not None and version < known):
            lowest[binary] = version
    return lowest


@native.main_reader()
def service_get_all(s, context, disabled=None):
    """Get all services."""
    equal = _scope(context)
    if disabled is not None:
        equal["disabled"] = disabled
    return s.all(SERVICES, **equal)


@native.main_reader()
def service_get_all_by_topic(s, context, topic):
    """Get all services for a given topic."""
    return s.all(SERVICES, deleted=0, disabled=False, topic=topic)


@native.main_reader()
def service_get_by_host_and_topic(s, context, host, topic):
    """Get a service by hostname and topic it listens to."""
    return s.first(SERVICES, deleted=0, disabled=False, host=host,
                   topic=topic)


@native.main_reader()
def service_get_all_by_binary(s, context, binary, include_disabled=False):
    """Get services for a given binary."""
    equal = _scope(context)
    if not include_disabled:
        equal["disabled"] = False
    return s.all(SERVICES, binary=binary, **equal)


@native.main_reader()
def service_get_all_computes_by_hv_type(s, context, hv_type,
                                        include_disabled=False):
    """Get all compute services for a given hypervisor type."""
    equal = {"deleted": 0, "binary": "nova-compute"}
    if not include_disabled:
        equal["disabled"] = False
    services, nodes = s.load(
        session.find(SERVICES, **equal),
        session.find(COMPUTE_NODES, hypervisor_type=hv_type))
    hosts = {node.host for node in nodes if node.host is not None}
    return [service for service in services if service.host in hosts]


@native.main_reader()
def service_get_by_host_and_binary(s, context, host, binary):
    """Get a service by hostname and binary."""
    row = s.first(SERVICES, deleted=0, host=host, binary=binary)
    if row is None:
        raise exception.HostBinaryNotFound(host=host, binary=binary)
    return row


@native.main_reader()
def service_get_all_by_host(s, context, host):
    """Get all services for a given host."""
    return s.all(SERVICES, deleted=0, host=host)


@native.main_reader()
def service_get_by_compute_host(s, context, host):
    """Get the service entry for a given compute host."""
    row = s.first(SERVICES, deleted=0, host=host, binary="nova-compute")
    if row is None:
        raise exception.ComputeHostNotFound(host=host)
    return row


@native.main_writer()
def service_create(s, context, values):
    """Create a service from the values dictionary."""
    values = dict(values)
    if not CONF.enable_new_services and values.get("binary") == (
            "nova-compute"):
        values["disabled"] = True
        values["disabled_reason"] = _(
            "New compute service disabled due to config option.")
    row = s.insert(SERVICES, values)
    try:
        s.commit()
    except db_exc.DBDuplicateEntry:
        # Mostly several keys are taken: SQLite names the UUID first (which
        # Nova takes for the topic), then host and binary.
        again = session.Session(s.database)
        by_uuid, by_binary = again.records(
            session.find(SERVICES, uuid=session.In((row.uuid,))),
            session.find(SERVICES, host=row.host, binary=row.binary,
                         deleted=row.deleted))
        if by_binary and not by_uuid:
            raise exception.ServiceBinaryExists(
                host=values.get("host"), binary=values.get("binary"))
        raise exception.ServiceTopicExists(
            host=values.get("host"), topic=values.get("topic"))
    return row


@native.main_writer()
def service_update(s, context, service_id, values):
    """Set the given properties on a service and update it.

    :raises: NotFound if service does not exist.
    """
    row = _get(s, context, service_id)
    changes = dict(values)
    if "report_count" in values and (
            values["report_count"] > row.report_count):
        # Only a state report raises the count.
        changes.setdefault("last_seen_up", timeutils.utcnow())
    s.update(row, changes)
    return row
