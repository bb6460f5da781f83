# SPDX-License-Identifier: Apache-2.0
"""The cloud that is measured: the same rows for every backend.

Everything follows from the number of servers, so that whoever knows it can
name any server, host or project. Rows hold Python values, as Nova's models
take them; ids are given, so that every backend has the same.
"""

import datetime
import json
import uuid

from nova.db.api import models as api_models
from nova.db.main import models as main_models

SERVERS_OF_HOST = 20
SERVERS_OF_PROJECT = 20
#: Has a tenth of the servers; the others have SERVERS_OF_PROJECT each.
LARGE_PROJECT = "f" * 32
_LARGE_SHARE = 10
FLAVORS = 20
AGGREGATES = 10
HOSTS_OF_AGGREGATE = 20
QUOTAS = ("instances", "cores", "ram", "metadata_items",
          "server_group_members", "key_pairs")
_START = datetime.datetime(2026, 1, 1)
_CELLS = (uuid.UUID(int=0), uuid.UUID(int=1))
_FLAVOR = json.dumps({
    "cur": {"nova_object.name": "Flavor", "nova_object.data": {
        "id": 1, "name": "m1.small", "memory_mb": 2048, "vcpus": 1,
        "root_gb": 20, "ephemeral_gb": 0, "flavorid": "1", "swap": 0,
        "rxtx_factor": 1.0, "vcpu_weight": 0, "disabled": False,
        "is_public": True, "extra_specs": {"hw:cpu_policy": "shared"}}},
    "old": None, "new": None})
_NETWORK = json.dumps([{
    "id": str(uuid.UUID(int=7)), "type": "ovs", "network": {
        "id": str(uuid.UUID(int=8)), "bridge": "br-int", "label": "private",
        "subnets": [{"cidr": "10.0.0.0/16", "ips": [
            {"address": "10.0.0.3", "type": "fixed", "version": 4}]}]},
    "address": "fa:16:3e:00:00:01", "devname": "tap0", "active": True}])
_SPEC = json.dumps({"nova_object.name": "RequestSpec", "nova_object.data": {
    "flavor": json.loads(_FLAVOR)["cur"], "num_instances": 1,
    "image": {"id": str(uuid.UUID(int=9)), "min_disk": 20, "min_ram": 0},
    "project_id": "p", "availability_zone": "nova"}})
_IMAGE = ("image_base_image_ref", "image_min_disk", "image_min_ram",
          "image_hw_disk_bus", "image_hw_machine_type", "image_os_distro",
          "boot_roles", "owner_project_name")


def server_uuid(number):
    """Return the UUID of a server, 0 to the number of servers - 1."""
    # Mixed, so that neighbours are not neighbours in an index.
    return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15 + 1) % 2 ** 64
                         + (4 << 76)))


class Cloud:
    """Names of what is there."""

    def __init__(self, servers):
        self.servers = servers
        self.hosts = max(1, servers // SERVERS_OF_HOST)
        self.projects = max(1, servers // SERVERS_OF_PROJECT)

    def host(self, number):
        """Return the host of a server."""
        return "compute%05d" % (number % self.hosts)

    def project(self, number):
        """Return the project of a server."""
        if number % _LARGE_SHARE == 0:
            return LARGE_PROJECT
        return "%032x" % (number % self.projects)

    @staticmethod
    def user(number):
        """Return the user of a server."""
        return "%032x" % (number % 5)

    @staticmethod
    def request(number):
        """Return the id of the request that made a server."""
        return "req-" + server_uuid(number)

    # Rows -------------------------------------------------------------------

    def shared_rows(self):
        """Return what belongs to no server: [(model, rows)]."""
        main, api = main_models, api_models
        projects = sorted({self.project(number)
                           for number in range(self.servers)})
        hosts = [{
            "id": number + 1, "created_at": _START,
            "host": "compute%05d" % number} for number in range(self.hosts)]
        services = [{
            **host, "uuid": str(uuid.UUID(int=host["id"])),
            "binary": "nova-compute", "topic": "compute", "version": 70,
            "report_count": 1, "last_seen_up": _START} for host in hosts]
        services += [{
            "id": self.hosts + number, "created_at": _START,
            "host": "controller%d" % number, "binary": binary,
            "uuid": str(uuid.UUID(int=self.hosts + number)),
            "topic": binary[5:], "version": 70, "report_count": 1,
            "last_seen_up": _START}
            for number, binary in enumerate(
                ["nova-scheduler", "nova-conductor"] * 3, 1)]
        nodes = [{
            **host, "uuid": str(uuid.UUID(int=host["id"])),
            "service_id": host["id"], "hypervisor_hostname": host["host"],
            "vcpus": 64, "memory_mb": 262144, "local_gb": 2000,
            "vcpus_used": 20, "memory_mb_used": 40960, "local_gb_used": 400,
            "hypervisor_type": "QEMU", "hypervisor_version": 8002002,
            "cpu_info": "{}", "stats": "{}", "mapped": 1} for host in hosts]
        aggregate_hosts = [{
            "id": aggregate * HOSTS_OF_AGGREGATE + number + 1,
            "created_at": _START, "aggregate_id": aggregate + 1,
            "host": "compute%05d" % (
                (aggregate * HOSTS_OF_AGGREGATE + number) % self.hosts)}
            for aggregate in range(AGGREGATES)
            for number in range(min(HOSTS_OF_AGGREGATE, self.hosts))]
        return [
            (main.Service, services),
            (main.ComputeNode, nodes),
            (main.SecurityGroup, [{
                "id": number + 1, "created_at": _START, "name": "default",
                "description": "default", "user_id": self.user(0),
                "project_id": project}
                for number, project in enumerate(projects)]),
            (api.CellMapping, [{
                "id": number + 1, "created_at": _START, "uuid": str(cell),
                "name": "cell%d" % number, "transport_url": "none:///",
                "database_connection": "none://"}
                for number, cell in enumerate(_CELLS)]),
            (api.HostMapping, [{**host, "cell_id": 2} for host in hosts]),
            (api.Flavors, [{
                "id": number + 1, "created_at": _START,
                "name": "m%d" % number, "flavorid": str(number + 1),
                "memory_mb": 1024 * (number + 1), "vcpus": 1 + number // 4,
                "root_gb": 20, "ephemeral_gb": 0, "vcpu_weight": 0}
                for number in range(FLAVORS)]),
            (api.FlavorExtraSpecs, [{
                "id": 2 * number + which + 1, "created_at": _START,
                "flavor_id": number + 1, "key": key, "value": "x"}
                for number in range(FLAVORS)
                for which, key in enumerate(
                    ("hw:cpu_policy", "hw:mem_page_size"))]),
            (api.Aggregate, [{
                "id": number + 1, "created_at": _START,
                "uuid": str(uuid.UUID(int=number)), "name": "zone%d" % number}
                for number in range(AGGREGATES)]),
            (api.AggregateHost, aggregate_hosts),
            (api.AggregateMetadata, [{
                "id": number + 1, "created_at": _START,
                "aggregate_id": number + 1, "key": "availability_zone",
                "value": "zone%d" % number} for number in range(AGGREGATES)]),
            (api.QuotaClass, [{
                "id": number + 1, "created_at": _START,
                "class_name": "default", "resource": resource,
                "hard_limit": 100000} for number, resource in enumerate(
                    QUOTAS)]),
            (api.Quota, [{
                "id": number * 2 + which + 1, "created_at": _START,
                "project_id": project, "resource": resource,
                "hard_limit": 10000} for number, project in enumerate(
                    projects) for which, resource in enumerate(QUOTAS[:2])]),
            (api.ProjectUserQuota, [{
                "id": number + 1, "created_at": _START,
                "project_id": project, "user_id": self.user(number),
                "resource": "instances", "hard_limit": 5000}
                for number, project in enumerate(projects)]),
        ]

    def server_rows(self, number):
        """Return the rows of one server: [(model, rows)]."""
        main, api = main_models, api_models
        server = server_uuid(number)
        created = _START + datetime.timedelta(seconds=number)
        host = self.host(number)
        base = {"id": number + 1, "created_at": created,
                "instance_uuid": server}
        mine = {"project_id": self.project(number),
                "user_id": self.user(number)}
        system = [{**base, "id": number * len(_IMAGE) + which + 1,
                   "key": key, "value": "value of %s" % key}
                  for which, key in enumerate(_IMAGE)]
        metadata = [{**base, "id": number * 2 + which + 1,
                     "key": "key%d" % which, "value": "value"}
                    for which in range(2)]
        rows = [
            (main.Instance, [{
                "id": number + 1, "created_at": created, "uuid": server,
                "updated_at": created, **mine, "image_ref": str(_CELLS[0]),
                "hostname": "server%d" % number, "power_state": 1,
                "vm_state": "active", "memory_mb": 2048, "vcpus": 1,
                "root_gb": 20, "ephemeral_gb": 0, "host": host,
                "node": host, "launched_on": host, "instance_type_id": 1,
                "compute_id": number % self.hosts + 1, "launch_index": 0,
                "reservation_id": "r-%08x" % number, "locked": False,
                "launched_at": created, "availability_zone": "nova",
                "display_name": "server%d" % number, "progress": 0,
                "display_description": "server%d" % number,
                "root_device_name": "/dev/vda", "config_drive": ""}]),
            (main.InstanceExtra, [{
                **base, "flavor": _FLAVOR, "pci_requests": "[]"}]),
            (main.InstanceInfoCache, [{**base, "network_info": _NETWORK}]),
            (main.InstanceSystemMetadata, system),
            (main.InstanceMetadata, metadata),
            (main.InstanceIdMapping, [{
                "id": number + 1, "created_at": created, "uuid": server}]),
            (main.BlockDeviceMapping, [{
                **base, "uuid": server, "source_type": "image",
                "destination_type": "local", "device_type": "disk",
                "boot_index": 0, "device_name": "/dev/vda",
                "delete_on_termination": True, "no_device": False,
                "image_id": str(_CELLS[0])}]),
            (main.InstanceAction, [{
                **base, **mine, "action": "create",
                "request_id": self.request(number), "start_time": created}]),
            (main.InstanceActionEvent, [{
                "id": 2 * number + which + 1, "created_at": created,
                "action_id": number + 1, "event": event, "host": host,
                "start_time": created} for which, event in enumerate(
                    ("conductor_schedule_and_build_instances",
                     "compute__do_build_and_run_instance"))]),
            (main.Tag, [{"resource_id": server, "tag": "tag"}]),
            (api.InstanceMapping, [{**base, **mine, "cell_id": 2,
                                    "queued_for_delete": False}]),
            (api.RequestSpec, [{**base, "spec": _SPEC}]),
        ]
        if number % 20 == 0:
            rows.append((main.Migration, [{
                **base, **mine, "uuid": server, "source_compute": host,
                "source_node": host, "status": "confirmed",
                "dest_compute": self.host(number + 1),
                "dest_node": self.host(number + 1),
                "migration_type": "migration", "old_instance_type_id": 1,
                "new_instance_type_id": 1, "hidden": False}]))
        return rows

    @staticmethod
    def archived():
        """Return the rows of shadow_instances: [dict as of an instance]."""
        return []

    def all_rows(self, step=500):
        """Yield (model, rows) of everything, of some servers at once."""
        yield from self.shared_rows()
        for first in range(0, self.servers, step):
            merged = {}
            for number in range(first, min(first + step, self.servers)):
                for model, rows in self.server_rows(number):
                    merged.setdefault(model, []).extend(rows)
            yield from merged.items()
