# SPDX-License-Identifier: Apache-2.0
"""Neutron: ports with an address, a binding and a security group each."""

from neutron.common import config
from neutron.db import db_base_plugin_v2
from neutron.db.migration.models import head
from neutron.db.models import securitygroup
from neutron.objects import base as objects
from neutron.objects import ports
from neutron_lib import context
from neutron_lib.plugins import directory
from sqlalchemy import orm

from benchmarks.services import filling

#: Ports of a project, which has a network; and of a host.
_SHARE, _HOST = 10, 10
_PAGE = 20


def metadata():
    """Return the service's tables."""
    return head.get_metadata()


def _mac(number):
    return "fa:16:3e:%02x:%02x:%02x" % (
        number >> 16 & 255, number >> 8 & 255, number & 255)


def _address(number):
    return "10.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255,
                            number & 255)


def _host(number):
    return "compute%d" % (number // _HOST)


def rows(size):
    """Yield the rows of so many ports."""
    last = 0

    def attributes(kind):
        nonlocal last
        last += 1
        return "standardattributes", {
            "id": last, "resource_type": kind, "description": "",
            "revision_number": 1, "created_at": filling.moment(last),
            "updated_at": filling.moment(last)}

    for number in range(size // _SHARE):
        owner, network, subnet, group = (
            filling.project(number), filling.uid("network", number),
            filling.uid("subnet", number), filling.uid("group", number))
        yield attributes("networks")
        yield "networks", {
            "id": network, "project_id": owner, "name": "n%d" % number,
            "status": "ACTIVE", "admin_state_up": True, "mtu": 1500,
            "standard_attr_id": last}
        if not number:
            yield "networkrbacs", {
                "id": filling.uid("rbac", number), "project_id": owner,
                "object_id": network, "target_project": "*",
                "action": "access_as_shared"}
        yield attributes("subnets")
        yield "subnets", {
            "id": subnet, "project_id": owner, "name": "s%d" % number,
            "network_id": network, "ip_version": 4, "cidr": "10.0.0.0/8",
            "gateway_ip": "10.0.0.1", "enable_dhcp": True,
            "standard_attr_id": last}
        yield attributes("securitygroups")
        yield "securitygroups", {
            "id": group, "project_id": owner, "name": "default",
            "stateful": True, "standard_attr_id": last}
        yield "default_security_group", {
            "project_id": owner, "security_group_id": group}
        for direction in ("ingress", "egress"):
            yield attributes("securitygrouprules")
            yield "securitygrouprules", {
                "id": filling.uid(direction, number), "project_id": owner,
                "security_group_id": group, "direction": direction,
                "ethertype": "IPv4", "standard_attr_id": last}
    for number in range(size):
        port, parent = filling.uid("port", number), number // _SHARE
        yield attributes("ports")
        yield "ports", {
            "id": port, "project_id": filling.project(parent),
            "name": "port%d" % number, "status": "ACTIVE",
            "network_id": filling.uid("network", parent),
            "mac_address": _mac(number), "admin_state_up": True,
            "device_id": filling.uid("server", number),
            "device_owner": "compute:nova", "standard_attr_id": last}
        yield "ipallocations", {
            "port_id": port, "ip_address": _address(number),
            "subnet_id": filling.uid("subnet", parent),
            "network_id": filling.uid("network", parent)}
        yield "ml2_port_bindings", {
            "port_id": port, "host": _host(number), "vif_type": "ovs",
            "vnic_type": "normal", "profile": "", "vif_details": "",
            "status": "ACTIVE"}
        yield "portsecuritybindings", {
            "port_id": port, "port_security_enabled": True}
        yield "securitygroupportbindings", {
            "port_id": port,
            "security_group_id": filling.uid("group", parent)}


def start(config_file):
    """Open the database.

    :returns: the plugin that answers the API.
    """
    config.register_common_config_options()
    config.init([], default_config_files=[config_file])
    orm.configure_mappers()
    plugin = db_base_plugin_v2.NeutronDbPluginV2()
    directory.add_plugin("CORE", plugin)
    return plugin


def _owner(world):
    return filling.project(world.number() // _SHARE)


def _user(world):
    return context.Context("user", _owner(world), is_admin=False)


def _port(world):
    return filling.uid("port", world.number())


def _admin():
    return context.get_admin_context()


def _ports(world, caller=None, **filters):
    return world.service.get_ports(
        caller or _admin(), filters, sorts=[("id", True)], limit=_PAGE)


#: Name -> function of a worker.World, which is what is measured.
CALLS = {
    "a page of ports": _ports,
    "the next page": lambda world: world.service.get_ports(
        _admin(), sorts=[("id", True)], limit=_PAGE, marker=_port(world)),
    "a page by name": lambda world: world.service.get_ports(
        _admin(), sorts=[("name", True), ("id", True)], limit=_PAGE),
    "ports of a project": lambda world: _ports(world, _user(world)),
    "ports of a network": lambda world: _ports(
        world, network_id=[filling.uid(
            "network", world.number() // _SHARE)]),
    "ports of a server": lambda world: _ports(
        world, device_id=[filling.uid("server", world.number())]),
    "ports with an owner": lambda world: _ports(
        world, device_owner=["compute:nova"]),
    "ports with a name": lambda world: _ports(
        world, name=["port%d" % world.number()]),
    "ports with a status": lambda world: _ports(world, status=["ACTIVE"]),
    "ports with a MAC address": lambda world: _ports(
        world, mac_address=[_mac(world.number())]),
    "ports with an address": lambda world: _ports(
        world, fixed_ips={"ip_address": [_address(world.number())]}),
    "ports of a subnet": lambda world: _ports(
        world, fixed_ips={"subnet_id": [filling.uid(
            "subnet", world.number() // _SHARE)]}),
    "ports of a host": lambda world: ports.Port.get_ports_by_host(
        _admin(), _host(world.number())),
    "a port": lambda world: world.service.get_port(_admin(), _port(world)),
    "number of a project's ports": lambda world:
        world.service.get_ports_count(
            _admin(), {"project_id": [_owner(world)]}),
    "number of all ports": lambda world: world.service.get_ports_count(
        _admin()),
    "a port's object": lambda world: ports.Port.get_object(
        _admin(), id=_port(world)).to_dict(),
    "objects of a page": lambda world: ports.Port.get_objects(
        _admin(), _pager=objects.Pager(
            sorts=[("id", True)], limit=_PAGE)),
    "a page of networks": lambda world: world.service.get_networks(
        _admin(), sorts=[("id", True)], limit=_PAGE),
    "networks of a project": lambda world: world.service.get_networks(
        _user(world), sorts=[("id", True)], limit=_PAGE),
    "a network": lambda world: world.service.get_network(
        _admin(), filling.uid("network", world.number() // _SHARE)),
    "subnets of a network": lambda world: world.service.get_subnets(
        _admin(), {"network_id": [filling.uid(
            "network", world.number() // _SHARE)]}),
    "subnets of a project": lambda world: world.service.get_subnets(
        _user(world), sorts=[("id", True)], limit=_PAGE),
    "security groups of ports": lambda world: [
        row.security_group_id for row in _admin().session.query(
            securitygroup.SecurityGroupPortBinding).filter_by(
                port_id=_port(world))],
}
