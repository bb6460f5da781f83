# SPDX-License-Identifier: Apache-2.0
"""The rows that belong to a server, read in the server's batch.

Almost all of it lives in the server's own partition. Services are found by
the server's host: the host that this process last saw is asked for in the
same batch, and a second batch follows only if the server has moved.

:source: nova.db.main.models.Instance, _build_instance_get and
    _instances_fill_metadata in nova.db.main.api
"""

import collections
import datetime
import typing

from nova import conf
from nova.db.main import models

from nova_kvs import cache
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session
from nova_kvs.record import planner

CONF = conf.CONF
INSTANCES = rows.table(models.Instance)
INFO_CACHES = rows.table(models.InstanceInfoCache)
EXTRA = rows.table(models.InstanceExtra)
METADATA = rows.table(models.InstanceMetadata)
SYSTEM_METADATA = rows.table(models.InstanceSystemMetadata)
FAULTS = rows.table(models.InstanceFault)
TAGS = rows.table(models.Tag)
PCI_DEVICES = rows.table(models.PciDevice)
BLOCK_DEVICES = rows.table(models.BlockDeviceMapping)
SERVICES = rows.table(models.Service)
GROUPS = rows.table(models.SecurityGroup)
GROUP_RULES = rows.table(models.SecurityGroupIngressRule)
GROUP_LINKS = rows.table(models.SecurityGroupInstanceAssociation)


class _Related(typing.NamedTuple):
    """A relationship of models.Instance by the server's UUID."""

    table: typing.Any
    column: str
    equal: dict
    is_list: bool
    #: Only servers that are not deleted have it.
    live_only: bool = False


_RELATED = {
    "info_cache": _Related(INFO_CACHES, "instance_uuid", {}, False),
    "extra": _Related(EXTRA, "instance_uuid", {}, False),
    "metadata": _Related(METADATA, "instance_uuid", {"deleted": 0}, True),
    "system_metadata": _Related(
        SYSTEM_METADATA, "instance_uuid", {}, True),
    "tags": _Related(TAGS, "resource_id", {}, True, True),
    "pci_devices": _Related(
        PCI_DEVICES, "instance_uuid", {"deleted": 0}, True),
    "block_device_mapping": _Related(
        BLOCK_DEVICES, "instance_uuid", {"deleted": 0}, True),
}

#: Relationships of _RELATED that are not in the server's partition.
ELSEWHERE = frozenset(["pci_devices"])
_ELSEWHERE = ELSEWHERE | {"services"}

# UUID -> host that this process saw last; only used to prefetch.
_hosts = cache.Cache(cache.PREFETCHED)


def names_of(columns_to_join):
    """Return the relationships that a list of join columns names.

    :raises nova_kvs.db.native.Fallback: if it names anything else.
    """
    names = set()
    for column in columns_to_join:
        if column in _RELATED or column in ("services", "security_groups"):
            names.add(column)
        elif "extra." in column and (
                column.split(".")[1] in EXTRA.template):
            names.add("extra")
        else:
            raise native.Fallback()
    return names


def are_elsewhere(names, manual_joins):
    """Tell whether a list of servers needs nothing of their partitions.

    Nothing but the servers' rows, that is.

    :param names: relationships. :param manual_joins: as of ``fill``.
    """
    return manual_joins is not None and _ELSEWHERE.issuperset(
        (*names, *manual_joins))


def finds(names, uuids):
    """Return the Finds of relationships for servers.

    :param names: relationships, without services.
    :returns: list of (name, Find).
    """
    wanted = session.In(tuple(uuids)) if len(uuids) != 1 else uuids[0]
    result = []
    for name in names:
        related = _RELATED.get(name)
        if related is not None:
            result.append((name, session.Find(
                related.table, {related.column: wanted, **related.equal})))
    if "security_groups" in names:
        result.append(("security_groups", session.find(
            GROUP_LINKS, instance_uuid=wanted, deleted=0)))
    return result


def attach(s, instances, names, loaded, rules=False):
    """Set the relationships of servers.

    :param instances: Rows of instances.
    :param loaded: name -> Rows, for each of ``finds``.
    :param rules: also load the rules of security groups.
    """
    for name, found in loaded.items():
        related = _RELATED.get(name)
        if related is None:
            continue
        by_uuid = collections.defaultdict(list)
        for row in found:
            by_uuid[row.__dict__[related.column]].append(row)
        for instance in instances:
            mine = by_uuid.get(instance.uuid, [])
            if related.live_only and instance.deleted != 0:
                mine = []
            if not related.is_list:
                mine = mine[0] if mine else None
            instance.__dict__[name] = mine
    if "security_groups" in names:
        _attach_groups(s, instances, loaded["security_groups"], rules)


def _attach_groups(s, instances, links, with_rules):
    by_uuid = collections.defaultdict(list)
    for link in links:
        by_uuid[link.instance_uuid].append(link.security_group_id)
    groups = {}
    if links:
        ids = session.In(tuple({link.security_group_id for link in links}))
        found, rules = s.load(
            session.find(GROUPS, id=ids, deleted=0),
            session.find(GROUP_RULES, parent_group_id=ids, deleted=0))
        groups = {group.id: group for group in found}
        if with_rules:
            for group in found:
                group.__dict__["rules"] = [
                    rule for rule in rules
                    if rule.parent_group_id == group.id]
    for instance in instances:
        mine = by_uuid.get(instance.uuid, ()) if instance.deleted == 0 else ()
        instance.__dict__["security_groups"] = [
            groups[id_] for id_ in dict.fromkeys(mine) if id_ in groups]


def services_find(hosts):
    """Return the Find of the compute services on hosts."""
    return session.find(SERVICES, host=session.In(tuple(hosts)),
                        binary="nova-compute")


def last_host(uuid):
    """Return the host that this process last saw a server on, or None."""
    return _hosts.get(uuid)


def remember_host(uuid, host):
    """Take note of where a server was seen."""
    if host is not None:
        _hosts.trim()
        _hosts[uuid] = host


def attach_services(s, instances, known=None):
    """Set the services of servers.

    :param known: dict of host -> services that were read already.
    """
    known = dict(known or ())
    missing = {instance.host for instance in instances
               if instance.host is not None and instance.deleted == 0
               and instance.host not in known}
    if missing:
        known.update(by_host(missing, s.load(services_find(missing))[0]))
    for instance in instances:
        mine = []
        if instance.host is not None and instance.deleted == 0:
            mine = list(known[instance.host])
            remember_host(instance.uuid, instance.host)
        instance.__dict__["services"] = mine


def by_host(hosts, services):
    """Return host -> services."""
    result = {host: [] for host in hosts}
    for service in services:
        result[service.host].append(service)
    return result


def fill(s, context, instances, joins, manual_joins):
    """Return servers as dicts with what Nova's list functions join.

    :param instances: Rows of instances.
    :param joins: columns that Nova joins in the query.
    :param manual_joins: what _instances_fill_metadata adds; None for
        metadata and system metadata.
    :raises nova_kvs.db.native.Fallback: for a column it does not know.
    """
    names = names_of(joins)
    if manual_joins is None:
        manual_joins = ["metadata", "system_metadata"]
    uuids = tuple(instance.uuid for instance in instances)
    manual = _manual_finds(context, manual_joins, uuids)
    names = names - manual.keys()
    wanted = finds(names, uuids) if uuids else []
    hosts = set()
    if "services" in names:
        hosts = {instance.host for instance in instances
                 if instance.host is not None and instance.deleted == 0}
    batch = [find for _name, find in wanted] + list(manual.values())
    if hosts:
        batch.append(services_find(hosts))
    answers = s.load(*batch) if batch and uuids else []
    loaded = {name: answer
              for (name, _find), answer in zip(wanted, answers)}
    joined = dict(zip(manual, answers[len(wanted):]))
    services = answers[-1] if hosts else []
    if "services" in names:
        attach_services(s, instances, by_host(hosts, services))
        names = names - {"services"}
    if uuids:
        attach(s, instances, names, loaded)
    return _add_manual(s, _as_dicts(instances), manual_joins, joined)


def fill_dicts(s, context, instances, manual_joins):
    """Add what _instances_fill_metadata adds to dicts with a UUID.

    :returns: the dicts.
    """
    if manual_joins is None:
        manual_joins = ["metadata", "system_metadata"]
    manual = _manual_finds(context, manual_joins,
                           [instance["uuid"] for instance in instances])
    joined = {}
    if manual and instances:
        joined = dict(zip(manual, s.load(*manual.values())))
    return _add_manual(s, instances, manual_joins, joined)


def _manual_finds(context, manual_joins, uuids):
    wanted = session.In(tuple(uuids))
    result = {}
    if "metadata" in manual_joins:
        result["metadata"] = session.find(
            METADATA, instance_uuid=wanted, **session.scope(context))
    if "system_metadata" in manual_joins:
        result["system_metadata"] = session.find(
            SYSTEM_METADATA, instance_uuid=wanted)
    if "pci_devices" in manual_joins:
        result["pci_devices"] = session.find(
            PCI_DEVICES, instance_uuid=wanted, status="allocated",
            **session.scope(context))
    return result


def _as_dicts(instances):
    filled = []
    template = CONF.instance_name_template
    for instance in instances:
        values = instance.__dict__.copy()
        values.pop("_record", None)
        values["name"] = rows.instance_name(instance, template)
        filled.append(values)
    return filled


def _add_manual(s, instances, manual_joins, joined):
    by_name = {}
    faults = {}
    if "fault" in manual_joins:
        # Of most servers they have come along.
        faults = latest_faults(s, [instance["uuid"] for instance in instances])
    for name, found in joined.items():
        by_uuid = by_name[name] = collections.defaultdict(list)
        for row in found:
            by_uuid[row.instance_uuid].append(row)
    for instance in instances:
        uuid = instance["uuid"]
        for name in ("system_metadata", "metadata"):
            instance[name] = by_name[name][uuid] if name in by_name else []
        if "pci_devices" in manual_joins:
            instance["pci_devices"] = (
                by_name["pci_devices"][uuid] if "pci_devices" in by_name
                else [])
        instance["fault"] = faults.get(uuid)
    return instances


def latest_faults(s, uuids):
    """Return the newest fault of each server that has one, by UUID."""
    found = session.Find(FAULTS, s.bind_equal(session.find(
        FAULTS, instance_uuid=session.In(tuple(uuids)), deleted=0)))
    if not uuids:
        return {}
    path = planner.in_order(s.schema_table(FAULTS), found.equal, (
        ("created_at", True), ("id", True)))
    if path is None or path.rank != planner.Rank.PARTITION:
        records = s.records(found)[0]
    else:
        records = [record for listed in s.transaction.load([
            path.access(FAULTS.name, (uuid, 0), limit=1, table_only=True)
            for uuid in found.equal["instance_uuid"].values])
            for record in listed]
    faults = {}
    for row in reversed(newest(s.rows(FAULTS, records))):
        faults[row.instance_uuid] = as_fault(row)
    return faults


def newest(faults):
    """Return faults, the newest first.

    Nova goes by their ids, which are not in the order of time here when
    several processes gave them.
    """
    return sorted(faults, reverse=True, key=lambda row: (
        row.created_at or datetime.datetime.min, row.id))


def as_fault(row):
    """Return a fault as the dict that Nova's query makes of it."""
    return {name: row.__dict__[name] for name in FAULTS.columns}


def manual_join_columns(columns_to_join):
    """Return (manual joins, the other columns) of a list of columns.

    :source: nova.db.main.api._manual_join_columns
    """
    manual = [column for column in
              ("metadata", "system_metadata", "pci_devices", "fault")
              if column in columns_to_join]
    return manual, [column for column in columns_to_join
                    if column not in manual]
