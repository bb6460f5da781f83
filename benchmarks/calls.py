# SPDX-License-Identifier: Apache-2.0
"""The calls that are measured: Nova's own functions, as Nova calls them.

The thirty functions in which Nova's services spend the most time, measured
while Nova's functional tests ran, but for two: the wrapper of another one,
and one that takes whole objects. What else is of interest follows.

A call is made ready first, and not measured while that is done: it picks a
server at random, the same for every backend.
"""

import datetime
import random
import typing
import uuid

from nova.db.main import api as main_api
from nova import exception
from nova.objects import aggregate
from nova.objects import flavor
from nova.objects import host_mapping
from nova.objects import instance as instances
from nova.objects import instance_group
from nova.objects import instance_mapping
from nova.objects import quotas
from nova.objects import request_spec

from benchmarks import cloud as clouds

PAGE = 100
#: Of the servers that are made and destroyed.
NEW_PROJECT = "e" * 32
_DETAILS = ("flavor", "info_cache", "metadata", "numa_topology",
            "security_groups", "services", "system_metadata", "tags",
            "trusted_certs")
_SAVE = ("extra", "info_cache", "metadata", "pci_devices", "security_groups",
         "system_metadata", "tags", "services")
_NOW = datetime.datetime(2026, 2, 1)


class World(typing.NamedTuple):
    """What a call can see."""

    cloud: clouds.Cloud
    #: Of an administrator.
    context: typing.Any
    #: random.Random
    random: typing.Any

    def server(self):
        """Return the number of one of the servers."""
        return self.random.randrange(self.cloud.servers)

    @staticmethod
    def unique():
        """Return a number that no process ever returned."""
        return random.SystemRandom().getrandbits(60)


class Call(typing.NamedTuple):
    """One thing to measure."""

    name: str
    #: Function of a World that returns the function to measure.
    prepare: typing.Any
    #: It counts in the geometric mean.
    hot: bool = True


CALLS = []


def _call(name, hot=True):
    def register(prepare):
        CALLS.append(Call(name, prepare, hot))
        return prepare
    return register


def _main(name, arguments, hot=True, label=None):
    """Register a function of nova.db.main.api."""
    def prepare(world):
        args = arguments(world)
        # Looked up late: the native functions may have come in front.
        function = getattr(main_api, name)
        return lambda: function(world.context, *args)
    CALLS.append(Call(label or name, prepare, hot))


def _object(owner, name, arguments, label):
    """Register a function of nova.objects."""
    def prepare(world):
        args = arguments(world)
        function = getattr(owner, name)
        return lambda: function(world.context, *args)
    CALLS.append(Call(label, prepare))


def _uuid(world):
    return (clouds.server_uuid(world.server()),)


def _host(world):
    return (world.cloud.host(world.server()),)


def _some_time(world):
    return _NOW + datetime.timedelta(seconds=world.unique() % 10 ** 7)


def _columns(attributes):
    return instances._expected_cols(list(attributes))


_main("instance_get_by_uuid", lambda world: (
    *_uuid(world), _columns(_DETAILS)))


@_call("instance_update_and_get_original")
def _update(world):
    server, = _uuid(world)
    values = {"task_state": None, "vm_state": "active",
              "progress": world.unique() % 2 ** 30}
    function = main_api.instance_update_and_get_original
    return lambda: function(world.context, server, dict(values),
                            columns_to_join=list(_SAVE))


_object(instance_mapping.InstanceMapping, "_get_by_instance_uuid_from_db",
        _uuid, "InstanceMapping._get_by_instance_uuid_from_db")
_main("instance_extra_update_by_uuid", lambda world: (
    *_uuid(world), {"pci_requests": "[%d]" % world.unique()}))


@_call("action_event_finish")
def _event_finish(world):
    number = world.server()
    values = {"instance_uuid": clouds.server_uuid(number),
              "request_id": world.cloud.request(number),
              "event": "compute__do_build_and_run_instance",
              "finish_time": _some_time(world), "result": "Success"}
    return lambda: main_api.action_event_finish(world.context, values)


@_call("action_event_start")
def _event_start(world):
    number = world.server()
    values = {"instance_uuid": clouds.server_uuid(number),
              "request_id": world.cloud.request(number),
              "event": "event%d" % world.unique(), "host": "h",
              "start_time": _some_time(world)}
    return lambda: main_api.action_event_start(world.context, values)


_object(host_mapping.HostMapping, "_get_by_host_from_db", _host,
        "HostMapping._get_by_host_from_db")
_object(instances.InstanceList, "_get_counts_in_db", lambda world: (
    world.cloud.project(world.server()), world.cloud.user(0)),
    "InstanceList._get_counts_in_db")
_object(request_spec.RequestSpec, "_get_by_instance_uuid_from_db", _uuid,
        "RequestSpec._get_by_instance_uuid_from_db")
_main("block_device_mapping_get_all_by_instance_uuids", lambda world: (
    [clouds.server_uuid(world.server()) for _ in range(10)],))
_object(flavor.Flavor, "_flavor_get_by_flavor_id_from_db", lambda world: (
    str(1 + world.random.randrange(clouds.FLAVORS)),),
    "Flavor._flavor_get_by_flavor_id_from_db")
_object(flavor, "_flavor_get_all_from_db", lambda world: (
    False, {"disabled": False}, "flavorid", "asc", None, None),
    "flavor._flavor_get_all_from_db")


def _new_server(world):
    """Return the values of a server that is not there."""
    host = world.cloud.host(world.server())
    return {
        "uuid": str(uuid.uuid4()),
        "project_id": NEW_PROJECT, "user_id": world.cloud.user(0),
        "display_name": "new", "hostname": "new", "image_ref": "image",
        "vm_state": "building", "task_state": "scheduling", "host": host,
        "node": host, "memory_mb": 2048, "vcpus": 1, "root_gb": 20,
        "ephemeral_gb": 0, "instance_type_id": 1, "launch_index": 0,
        "reservation_id": "r-new", "security_groups": [],
        "metadata": {"a": "b"},
        "system_metadata": {"image_%d" % number: "value"
                            for number in range(9)},
        "info_cache": {"network_info": "[]"},
        "extra": {"flavor": "{}", "pci_requests": "[]"}}


@_call("instance_create")
def _create(world):
    values = _new_server(world)
    return lambda: main_api.instance_create(world.context, values)


@_call("InstanceGroup._get_from_db_by_instance")
def _group(world):
    server, = _uuid(world)
    function = instance_group.InstanceGroup._get_from_db_by_instance

    def run():
        # What nearly all servers are answered.
        try:
            function(world.context, server)
        except exception.InstanceGroupNotFound:
            return
        raise AssertionError("the server is in a group")
    return run


@_call("instance_destroy")
def _destroy(world):
    values = _new_server(world)
    server = values["uuid"]
    main_api.instance_create(world.context, values)
    return lambda: main_api.instance_destroy(world.context, server)


_object(aggregate, "_get_by_host_from_db", _host,
        "aggregate._get_by_host_from_db")


def _page(filters):
    def prepare(world):
        wanted = {"deleted": False, **filters(world)}
        function = main_api.instance_get_all_by_filters_sort
        columns = _columns(_DETAILS)
        return lambda: function(
            world.context, wanted, limit=PAGE, columns_to_join=columns,
            # Nova adds the UUID to what the API sorts by.
            sort_keys=["created_at", "uuid"], sort_dirs=["desc", "asc"])
    return prepare


CALLS.append(Call("instance_get_all_by_filters_sort", _page(
    lambda world: {"project_id": clouds.LARGE_PROJECT})))
_object(aggregate, "_aggregate_get_from_db", lambda world: (
    1 + world.random.randrange(clouds.AGGREGATES),),
    "aggregate._aggregate_get_from_db")
_object(quotas.Quotas, "_get_all_class_from_db_by_name",
        lambda world: ("default",), "Quotas._get_all_class_from_db_by_name")


def _project_and_user(world):
    number = world.server()
    return world.cloud.project(number), world.cloud.user(number)


_object(quotas.Quotas, "_get_all_from_db_by_project_and_user",
        _project_and_user, "Quotas._get_all_from_db_by_project_and_user")
_main("quota_get_all_by_project_and_user", _project_and_user)
_main("service_get_by_compute_host", _host)
_main("block_device_mapping_update", lambda world: (
    1 + world.server(), {"connection_info": str(world.unique())}, False))


@_call("InstanceMapping._save_in_db")
def _save_mapping(world):
    server, = _uuid(world)
    values = {"queued_for_delete": False, "cell_id": 2,
              "user_id": str(world.unique())}
    function = instance_mapping.InstanceMapping._save_in_db
    return lambda: function(world.context, server, values)


_main("instance_get_all_by_host", lambda world: (
    *_host(world), ["system_metadata", "info_cache"]))
_main("block_device_mapping_get_all_by_instance", _uuid)
_main("migration_get_all_by_filters", lambda world: (
    {"instance_uuid": clouds.server_uuid(world.server()),
     "status": ["running", "queued"]},))
_main("quota_get_all_by_project", lambda world: _project_and_user(world)[:1])
_main("service_get_all_by_binary", lambda world: ("nova-compute", True))
_main("instance_get_all_uuids_by_hosts", lambda world: (
    [world.cloud.host(world.server())],))

# Beyond the thirty.
CALLS.append(Call("page of %d, all projects" % PAGE,
                  _page(lambda world: {}), False))
_main("service_update", lambda world: (
    1 + world.random.randrange(world.cloud.hosts),
    {"report_count": world.unique() % 2 ** 30,
     "last_seen_up": _some_time(world)}),
    False, "service_update (heartbeat)")
_main("compute_node_update", lambda world: (
    1 + world.random.randrange(world.cloud.hosts),
    {"free_ram_mb": world.unique() % 2 ** 30}), False)

#: What is measured where only the pages are asked for.
PAGES = ("instance_get_all_by_filters_sort",
         "page of %d, all projects" % PAGE)
