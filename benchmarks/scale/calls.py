# SPDX-License-Identifier: Apache-2.0
"""The calls of the scale matrix: all that has a list, a filter, an order or
a period, as the API and the periodic tasks make them.

Those that write leave things as they are, or change rows of their own.
"""

import datetime

from nova.db.main import api as main_api
from nova.objects import build_request
from nova.objects import compute_node
from nova.objects import host_mapping
from nova.objects import instance
from nova.objects import instance_mapping
from nova.objects import request_spec

from benchmarks import calls
from benchmarks import cloud as base
from benchmarks.scale import cloud as clouds

#: Sort keys of GET /servers that are columns.
SORT_KEYS = (
    "created_at", "display_name", "host", "image_ref", "instance_type_id",
    "launched_at", "node", "power_state", "project_id", "root_device_name",
    "task_state", "terminated_at", "updated_at", "user_id", "uuid",
    "vm_state", "availability_zone", "locked")
CALLS = []
_RECENT = datetime.timedelta(hours=1)


def _main(label, name, arguments, **kwargs):
    def prepare(world):
        args = arguments(world)
        function = getattr(main_api, name)
        return lambda: function(world.context, *args, **kwargs)
    CALLS.append(calls.Call(label, prepare))


def _object(label, owner, name, arguments):
    def prepare(world):
        args = arguments(world)
        function = getattr(owner, name)
        return lambda: function(world.context, *args)
    CALLS.append(calls.Call(label, prepare))


def _list(label, filters, key="created_at", limit=100, marker=None):
    """Register a page of GET /servers."""
    def arguments(world):
        found = {"deleted": False, **(
            filters(world) if callable(filters) else filters)}
        found = {name: value for name, value in found.items()
                 if value is not None}
        # The API adds the UUID to what it is asked to sort by.
        keys = list(dict.fromkeys([key, "uuid"]))
        return (found, limit, marker and marker(world), [], keys,
                ["desc"] * len(keys))
    _main("list: " + label, "instance_get_all_by_filters_sort", arguments)


def _end(world):
    """Return the moment at which the last server was made."""
    return world.cloud.created(world.cloud.servers)


def _number(world):
    return world.cloud.live(world.server())


def _uuid(world):
    return (base.server_uuid(_number(world)),)


def _host(world):
    return (world.cloud.host(world.server()),)


def _project(world):
    return "%032x" % (world.server() % world.cloud.projects)


# GET /servers ---------------------------------------------------------------

for _key in SORT_KEYS:
    _list("all projects by " + _key, {}, _key)
for _name, _filters in (
        ("a project", lambda world: {"project_id": _project(world)}),
        ("a host", lambda world: {"host": _host(world)[0]}),
        ("a user", lambda world: {"user_id": world.cloud.user(1)}),
        ("a uuid", lambda world: {"uuid": list(_uuid(world))}),
        ("a name", lambda world: {
            "display_name": "server%d$" % world.server()}),
        ("a name of a project", lambda world: {
            "project_id": _project(world), "display_name": "server1"}),
        ("status ERROR", {"vm_state": "error"}),
        ("status ACTIVE", {"vm_state": "active"}),
        ("task_state", {"task_state": "rebooting"}),
        ("an image", {"image_ref": "no"}),
        ("a flavor", {"instance_type_id": 1}),
        ("a tag", {"tags": ["tag"], "host": "compute00001"}),
        ("locked", {"locked": True}),
        ("changes-since now", lambda world: {
            "deleted": None, "changes-since": _end(world)}),
        ("changes-since lately", lambda world: {
            "deleted": None, "changes-since": _end(world) - _RECENT}),
        ("changes-since of a project", lambda world: {
            "deleted": None, "project_id": _project(world),
            "changes-since": _end(world)}),
        ("changes-before", lambda world: {
            "deleted": None, "changes-before": clouds.START + _RECENT}),
        ("deleted", {"deleted": True}),
):
    _list(_name, _filters)
_list("second page", {}, marker=lambda world: _uuid(world)[0])
_main("marker of another cell", "instance_get_by_sort_filters",
      lambda world: (["created_at", "uuid"], ["desc", "desc"],
                     [world.cloud.created(world.server()),
                      base.server_uuid(0)]))

# What hangs off servers -----------------------------------------------------

_main("faults of 100 servers", "instance_fault_get_by_instance_uuids",
      lambda world: ([base.server_uuid(number)
                      for number in range(min(100, world.cloud.servers))],))
_main("actions of a server", "actions_get", _uuid)
_main("a page of actions", "actions_get", _uuid, limit=5)
_main("events of an action", "action_events_get", lambda world: (
    _number(world) + 1,))
_main("volumes of a server", "block_device_mapping_get_all_by_instance",
      _uuid)
_main("servers of a volume", "block_device_mapping_get_all_by_volume_id",
      lambda world: ("no",))
_main("an interface", "virtual_interface_get_by_address", lambda world: (
    "a%d" % world.server(),))
_main("an interface by id", "virtual_interface_get", lambda world: (
    world.server() + 1,))
_main("metadata", "instance_metadata_get", _uuid)
_main("tags", "instance_tag_get_by_instance_uuid", _uuid)
_main("a server by id", "instance_get", lambda world: (_number(world) + 1,))

# Periodic tasks -------------------------------------------------------------

_main("expired tokens", "console_auth_token_destroy_expired_by_host",
      lambda world: ("no",))
_main("expired tokens of all hosts", "console_auth_token_destroy_expired",
      lambda world: ())
_main("hung in a reboot", "instance_get_all_hung_in_rebooting",
      lambda world: (60,))
_main("servers of a host", "instance_get_all_by_host", _host)
_main("servers of a node", "instance_get_all_by_host_and_node",
      lambda world: _host(world) * 2)
_main("migrations of a node",
      "migration_get_in_progress_and_error_by_host_and_node",
      lambda world: _host(world) * 2)
_main("unconfirmed migrations", "migration_get_unconfirmed_by_dest_compute",
      lambda world: (60, *_host(world)))
_main("deleted servers of a host", "instance_get_all_by_filters",
      lambda world: ({"deleted": True, "soft_deleted": False,
                      "host": _host(world)[0]},))
_main("shelved servers of a host", "instance_get_all_by_filters",
      lambda world: ({"vm_state": "shelved", "task_state": None,
                      "host": _host(world)[0], "deleted": False},))
_main("UUIDs of hosts", "instance_get_all_uuids_by_hosts",
      lambda world: (list(_host(world)),))
_main("services", "service_get_all", lambda world: ())
_object("compute nodes of a host", compute_node.ComputeNodeList,
        "get_all_by_host", _host)
_main("compute nodes, a page", "compute_node_get_all_by_pagination",
      lambda world: (), limit=100)

# Other lists of the API -----------------------------------------------------

_main("usage of a project", "instance_get_active_by_window_joined",
      lambda world: (clouds.START, None, _project(world)))
_main("usage of all projects", "instance_get_active_by_window_joined",
      lambda world: (_end(world), None, None))
_main("migrations of a host", "migration_get_all_by_filters",
      lambda world: ({"host": _host(world)[0]},))
_main("a page of migrations", "migration_get_all_by_filters",
      lambda world: ({}, ["created_at", "id"], ["desc", "desc"], 100))
_main("changed migrations", "migration_get_all_by_filters",
      lambda world: ({"changes-since": clouds.LATER},))
_main("a page of migrations by status", "migration_get_all_by_filters",
      lambda world: ({"status": "error"}, ["created_at", "id"],
                     ["desc", "desc"], 100))
_main("marker of another cell's migration", "migration_get_by_sort_filters",
      lambda world: (["created_at", "id"], ["desc", "desc"],
                     [clouds.START + _RECENT, 1]))
_object("usage and limits", instance.InstanceList, "_get_counts_in_db",
        lambda world: (_project(world),))
_object("mappings of a project", instance_mapping.InstanceMappingList,
        "_get_by_project_id_from_db", lambda world: (_project(world),))
_object("mappings of a down cell",
        instance_mapping.InstanceMappingList,
        "_get_not_deleted_by_cell_and_project_from_db",
        lambda world: ("no", None, 100))
_object("all build requests", build_request.BuildRequestList,
        "_get_all_from_db", lambda world: ())
_object("a request spec", request_spec.RequestSpec,
        "_get_by_instance_uuid_from_db", _uuid)
_object("host mappings", host_mapping.HostMappingList, "_get_from_db",
        lambda world: ())
_main("task log", "task_log_get_all", lambda world: (
    "instance_usage_audit", clouds.START,
    clouds.START + datetime.timedelta(hours=1)))

# nova-manage ----------------------------------------------------------------

_main("archive of nothing", "archive_deleted_rows", lambda world: (),
      max_rows=1000, before=clouds.START - _RECENT)
_main("purge of nothing", "purge_shadow_tables",
      lambda world: (clouds.START - datetime.timedelta(days=10000),))
