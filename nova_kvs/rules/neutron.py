# SPDX-License-Identifier: Apache-2.0
"""Neutron: pages sorted by id, and look-ups of agents and drivers."""

from nova_kvs.rules import Rule

_BY_ID = (("id",), ("project_id", "id"))

RULES = {
    "floatingips": Rule(("floating_network_id",), (
        *_BY_ID, ("floating_ip_address",))),
    "ipallocations": Rule(("ip_address", "subnet_id"), (("ip_address",),)),
    "ml2_port_bindings": Rule(("port_id", "vif_type"), (("host",),)),
    "networks": Rule(("standard_attr_id",), _BY_ID),
    "ports": Rule(("network_id", "mac_address"), (
        *_BY_ID, ("mac_address",), ("device_owner", "id"), ("name", "id"))),
    "routers": Rule(("standard_attr_id",), _BY_ID),
    "securitygrouprules": Rule(("security_group_id",), _BY_ID),
    "securitygroups": Rule(("standard_attr_id",), _BY_ID),
    "subnets": Rule(("network_id", "cidr"), _BY_ID),
}
