# SPDX-License-Identifier: Apache-2.0
"""Random calls about hosts, migrations, quotas and small resources."""

import datetime

from hypothesis import stateful
from hypothesis import strategies as st
from nova.db.main import api as main_db_api
from nova.db.main import models

from tests.differential import clouds

_UUIDS = ["%08d-0000-4000-8000-000000000000" % number
          for number in range(1, 5)]
uuids = st.sampled_from(_UUIDS)
hosts = st.sampled_from(["h1", "h2"])
projects = st.sampled_from(["p1", "p2"])
users = st.sampled_from(["u1", "u2"])
times = st.sampled_from([
    datetime.datetime(2026, 3, 1, 12, 0, second) for second in (1, 5, 20)])
words = st.sampled_from(["a", "b", "ünï"])
ids = st.sampled_from([1, 101, 201, 301, 401])
counts = st.sampled_from([0, 1, 7])
contexts = st.fixed_dictionaries({}, optional={
    "project": projects, "user": users, "is_admin": st.booleans(),
    "read_deleted": st.sampled_from(["no", "yes", "only"])})
services = st.fixed_dictionaries({
    "host": hosts, "topic": st.sampled_from(["compute", "x"]),
    "binary": st.sampled_from(["nova-compute", "nova-x"])}, optional={
        "disabled": st.booleans(), "forced_down": st.booleans(),
        "version": counts, "report_count": counts, "uuid": uuids})
nodes = st.fixed_dictionaries({
    "vcpus": counts, "memory_mb": counts, "local_gb": counts,
    "vcpus_used": counts, "memory_mb_used": counts, "local_gb_used": counts,
    "hypervisor_type": words, "hypervisor_version": counts,
    "cpu_info": words, "hypervisor_hostname": words, "host": hosts},
    optional={"service_id": ids, "uuid": uuids, "mapped": counts,
              "host_ip": st.just("2001:0db8:0::1"),
              "created_at": st.just("2026-03-01T11:00:00.000000"),
              "disk_available_least": st.none(),
              "cpu_allocation_ratio": st.sampled_from([1, 1.5])})
statuses = st.sampled_from(["queued", "finished", "error", "done"])
migrations = st.fixed_dictionaries({"instance_uuid": uuids}, optional={
    "source_compute": hosts, "dest_compute": hosts, "source_node": hosts,
    "dest_node": hosts, "status": statuses, "hidden": st.booleans(),
    "migration_type": st.sampled_from(["resize", "migration"]),
    "uuid": uuids, "user_id": users, "project_id": projects})
migration_filters = st.fixed_dictionaries({}, optional={
    "uuid": st.one_of(uuids, st.lists(uuids, max_size=2)),
    "status": st.one_of(statuses, st.lists(statuses, max_size=2)),
    "host": hosts, "source_compute": hosts, "node": hosts,
    "migration_type": st.just("resize"),
    "hidden": st.sampled_from([True, False, "0", "1", "x"]),
    "instance_uuid": uuids, "user_id": users, "project_id": projects,
    "changes-since": times, "changes-before": times})


class Machine(stateful.RuleBasedStateMachine):
    """Calls both clouds at each step; their rows stay the same."""

    reference = clouds.SQLiteCloud

    def __init__(self):
        super().__init__()
        self.pair = clouds.Pair(self.reference)

    def teardown(self):
        self.pair.compare_rows()
        self.pair.close()

    def call(self, function, context, *args, **kwargs):
        self.pair.call(function, clouds.context(**context),
                       *args, **kwargs)

    @stateful.initialize()
    def first_servers(self):
        for uuid in _UUIDS[:2]:
            self.call("instance_create", {}, {
                "uuid": uuid, "project_id": "p1", "host": "h1",
                "system_metadata": {"a": "b"}})

    # Hosts

    @stateful.rule(values=services)
    def create_service(self, values):
        self.call("service_create", {}, values)

    @stateful.rule(context=contexts, id_=ids, values=st.fixed_dictionaries(
        {}, optional={"report_count": counts, "disabled": st.booleans(),
                      "host": hosts, "version": counts}))
    def update_service(self, context, id_, values):
        self.call("service_update", context, id_, values)

    @stateful.rule(context=contexts, id_=ids)
    def destroy_service(self, context, id_):
        self.call("service_destroy", context, id_)

    @stateful.rule(context=contexts, id_=ids, host=hosts, uuid=uuids,
                   flag=st.booleans())
    def read_services(self, context, id_, host, uuid, flag):
        self.call("service_get", context, id_)
        self.call("service_get_by_uuid", context, uuid)
        self.call("service_get_minimum_version", context,
                  ["nova-compute", "nova-x"])
        self.call("service_get_all", context, flag)
        self.call("service_get_all_by_topic", context, "compute")
        self.call("service_get_by_host_and_topic", context, host, "compute")
        self.call("service_get_all_by_binary", context, "nova-compute",
                  flag)
        self.call("service_get_all_computes_by_hv_type", context, "a", flag)
        self.call("service_get_by_host_and_binary", context, host, "nova-x")
        self.call("service_get_all_by_host", context, host)
        self.call("service_get_by_compute_host", context, host)

    @stateful.rule(values=nodes)
    def create_node(self, values):
        self.call("compute_node_create", {}, values)

    @stateful.rule(context=contexts, id_=ids, values=st.fixed_dictionaries(
        {}, optional={"vcpus": counts, "stats": words, "mapped": counts,
                      "host_ip": st.just("2001:0db8:0::1")}))
    def update_node(self, context, id_, values):
        self.call("compute_node_update", context, id_, values)

    @stateful.rule(context=contexts, id_=ids,
                   count=st.one_of(st.none(), counts))
    def delete_node(self, context, id_, count):
        condition = None
        if count is not None:
            condition = main_db_api.constraint(
                mapped=main_db_api.not_equal(count))
        self.call("compute_node_delete", context, id_, condition)

    @stateful.rule(context=contexts, id_=ids, host=hosts, name=words,
                   some=st.lists(uuids, max_size=2),
                   limit=st.sampled_from([None, 0, 1]),
                   marker=st.one_of(st.none(), ids))
    def read_nodes(self, context, id_, host, name, some, limit, marker):
        objects = "nova.objects.compute_node:ComputeNodeList."
        self.call("compute_node_get", context, id_)
        self.call("compute_node_get_model", context, id_)
        self.call("compute_nodes_get_by_service_id", context, id_)
        self.call("compute_node_get_by_host_and_nodename", context, host,
                  name)
        self.call("compute_node_get_by_nodename", context, name)
        self.call("compute_node_get_all", context)
        self.call("compute_node_get_all_by_host", context, host)
        self.call("compute_node_get_all_mapped_less_than", context, 1)
        self.call("compute_node_get_all_by_pagination", context, limit,
                  marker)
        self.call("compute_node_search_by_hypervisor", context, name)
        self.call("compute_node_statistics", context)
        self.call(objects + "_db_compute_node_get_all_by_uuids", context,
                  some)
        self.call(objects + "_db_compute_node_get_by_hv_type", context,
                  name)

    # Migrations

    @stateful.rule(values=migrations)
    def create_migration(self, values):
        self.call("migration_create", {}, values)

    @stateful.rule(id_=ids, values=st.fixed_dictionaries({}, optional={
        "status": statuses, "memory_total": counts, "dest_compute": hosts}))
    def update_migration(self, id_, values):
        self.call("migration_update", {}, id_, values)

    @stateful.rule(context=contexts, id_=ids, uuid=uuids, host=hosts,
                   node=hosts, status=statuses)
    def read_migrations(self, context, id_, uuid, host, node, status):
        name = "migration_get"
        self.call(name, context, id_)
        self.call(name + "_by_uuid", context, uuid)
        self.call(name + "_by_id_and_instance", context, id_, uuid)
        self.call(name + "_by_instance_and_status", context, uuid, status)
        self.call(name + "_unconfirmed_by_dest_compute", context, 2, host)
        self.call(name + "_in_progress_by_host_and_node", context, host,
                  node)
        self.call(name + "_in_progress_and_error_by_host_and_node", context,
                  host, node)
        self.call(name + "_in_progress_by_instance", context, uuid)
        self.call(name + "_in_progress_by_instance", context, uuid, "resize")

    @stateful.rule(
        context=contexts, wanted=migration_filters,
        keys=st.sampled_from([None, ["status"], ["created_at", "uuid"]]),
        directions=st.sampled_from([None, ["asc"], ["desc"]]),
        limit=st.sampled_from([None, 0, 1, 2]),
        marker=st.one_of(st.none(), uuids))
    def list_migrations(self, context, wanted, keys, directions, limit,
                        marker):
        self.call("migration_get_all_by_filters", context, wanted, keys,
                  directions, limit, marker)

    @stateful.rule(context=contexts, when=times, id_=ids,
                   directions=st.sampled_from(
                       [["asc", "asc"], ["desc", "desc"]]))
    def find_migration(self, context, when, id_, directions):
        self.call("migration_get_by_sort_filters", context,
                  ["created_at", "id"], directions, [when, id_])

    # Devices, interfaces, tokens, shares

    @stateful.rule(uuid=uuids, address=words, vif=uuids)
    def create_interface(self, uuid, address, vif):
        self.call("virtual_interface_create", {}, {
            "instance_uuid": uuid, "address": address, "uuid": vif,
            "network_id": 1})

    @stateful.rule(context=contexts, uuid=uuids, address=words, vif=uuids,
                   id_=ids)
    def read_interfaces(self, context, uuid, address, vif, id_):
        name = "virtual_interface_get"
        self.call(name, context, id_)
        self.call(name + "_by_address", context, address)
        self.call(name + "_by_uuid", context, vif)
        self.call(name + "_by_instance", context, uuid)
        self.call(name + "_by_instance_and_network", context, uuid, 1)
        self.call(name + "_all", context)

    @stateful.rule(uuid=uuids, id_=ids, one=st.booleans())
    def delete_interfaces(self, uuid, id_, one):
        if one:
            self.call("virtual_interface_delete", {}, id_)
        else:
            self.call("virtual_interface_delete_by_instance", {}, uuid)

    @stateful.rule(context=contexts, uuid=uuids, token=words,
                   expires=st.sampled_from([1, 4000000000]), host=hosts)
    def tokens(self, context, uuid, token, expires, host):
        self.call("console_auth_token_create", context, {
            "token_hash": token, "console_type": "novnc", "host": host,
            "port": 1, "instance_uuid": uuid, "expires": expires})
        self.call("console_auth_token_get_valid", context, token, uuid)
        self.call("console_auth_token_get_valid", context, token)

    @stateful.rule(uuid=uuids, host=hosts, kind=st.sampled_from("abc"))
    def fewer_tokens(self, uuid, host, kind):
        name = "console_auth_token_destroy_"
        if kind == "a":
            self.call(name + "all_by_instance", {}, uuid)
        elif kind == "b":
            self.call(name + "expired", {})
        else:
            self.call(name + "expired_by_host", {}, host)

    @stateful.rule(context=contexts, node=st.sampled_from([1, 2]),
                   address=words, uuid=st.one_of(st.none(), uuids),
                   status=st.sampled_from(["allocated", "available"]))
    def update_device(self, context, node, address, uuid, status):
        self.call("pci_device_update", context, node, address, {
            "compute_node_id": node, "address": address, "vendor_id": "v",
            "product_id": "p", "dev_type": "t", "label": "l",
            "status": status, "instance_uuid": uuid, "parent_addr": "a"})

    @stateful.rule(context=contexts, node=st.sampled_from([1, 2]),
                   address=words, uuid=uuids, id_=ids)
    def read_devices(self, context, node, address, uuid, id_):
        self.call("pci_device_get_by_addr", context, node, address)
        self.call("pci_device_get_by_id", context, id_)
        self.call("pci_device_get_all_by_node", context, node)
        self.call("pci_device_get_all_by_parent_addr", context, node, "a")
        self.call("pci_device_get_all_by_instance_uuid", context, uuid)
        self.call("instance_get_all", context, ["pci_devices"])
        self.call("instance_get_by_uuid", context, uuid, ["pci_devices"])

    @stateful.rule(context=contexts, address=words)
    def destroy_device(self, context, address):
        self.call("pci_device_destroy", context, 1, address)

    @stateful.rule(context=contexts, uuid=uuids, share=words, tag=words)
    def shares(self, context, uuid, share, tag):
        name = "share_mapping_"
        self.call(name + "update", context, uuid, uuid, share, "active",
                  tag, "here", "NFS")
        self.call(name + "get_by_share_id", context, share)
        self.call(name + "get_by_instance_uuid", context, uuid)
        self.call(name + "get_by_instance_uuids", context, [uuid])
        self.call(name + "get_by_instance_uuid_and_share_id", context, uuid,
                  share)

    @stateful.rule(uuid=uuids, share=words)
    def delete_share(self, uuid, share):
        self.call("share_mapping_delete_by_instance_uuid_and_share_id", {},
                  uuid, share)

    # Quotas and small resources

    @stateful.rule(context=contexts, project=projects,
                   user=st.one_of(st.none(), users),
                   resource=st.sampled_from(["cores", "fixed_ips"]),
                   limit=counts)
    def quotas(self, context, project, user, resource, limit):
        if user:
            self.pair.insert(models.ProjectUserQuota, project_id=project,
                             resource=resource, hard_limit=limit,
                             user_id=user)
        else:
            self.pair.insert(models.Quota, project_id=project,
                             resource=resource, hard_limit=limit)
        self.call("quota_update", context, project, resource, limit, user)
        self.call("quota_get", context, project, resource, user)
        self.call("quota_get_all", context, project)
        self.call("quota_get_all_by_project", context, project)
        self.call("quota_get_all_by_project_and_user", context, project,
                  user)

    @stateful.rule(project=projects, user=users, all_=st.booleans())
    def destroy_quotas(self, project, user, all_):
        if all_:
            self.call("quota_destroy_all_by_project", {}, project)
        else:
            self.call("quota_destroy_all_by_project_and_user", {}, project,
                      user)

    @stateful.rule(name=st.sampled_from(["default", "x"]), resource=words,
                   limit=counts)
    def quota_classes(self, name, resource, limit):
        self.call("quota_class_update", {}, name, resource, limit)
        self.pair.insert(models.QuotaClass, class_name=name,
                         resource=resource, hard_limit=limit)
        self.call("quota_class_get", {}, name, resource)
        self.call("quota_class_get_default", {})
        self.call("quota_class_get_all_by_name", {}, name)

    @stateful.rule(context=contexts, uuid=uuids, id_=ids)
    def ec2_ids(self, context, uuid, id_):
        self.call("ec2_instance_create", context, uuid)
        self.call("ec2_instance_get_by_uuid", context, uuid)
        self.call("ec2_instance_get_by_id", context, id_)
        self.call("s3_image_create", context, uuid)
        self.call("s3_image_get", context, id_)
        self.call("s3_image_get_by_uuid", context, uuid)

    @stateful.rule(context=contexts, begin=times, end=times, host=hosts,
                   message=st.sampled_from([None, "m"]))
    def task_log(self, context, begin, end, host, message):
        self.call("task_log_begin_task", context, "t", begin, end, host, 3,
                  message)
        self.call("task_log_end_task", context, "t", begin, end, host, 2,
                  message)
        self.call("task_log_get", context, "t", begin, end, host, "DONE")
        self.call("task_log_get_all", context, "t", begin, end)

    @stateful.rule(context=contexts, volume=words, reads=counts,
                   writes=counts, totals=st.booleans(), begin=times)
    def volume_usage(self, context, volume, reads, writes, totals, begin):
        self.call("vol_usage_update", context, volume, reads, reads * 2,
                  writes, writes * 2, _UUIDS[0], "p1", "u1", "az", totals)
        self.call("vol_get_usage_by_time", context, begin)

    @stateful.rule(context=contexts, name=words, project=projects, id_=ids,
                   uuid=uuids)
    def security_groups(self, context, name, project, id_, uuid):
        base = "security_group_"
        self.pair.insert(models.SecurityGroup, name=name,
                         project_id=project, user_id="u1")
        self.call(base + "get_all", context)
        self.call(base + "get", context, id_)
        self.call(base + "get", context, id_, ["rules"])
        self.call(base + "get_by_project", context, project)
        self.call(base + "get_by_name", context, project, name)
        self.pair.insert(models.SecurityGroupInstanceAssociation,
                         instance_uuid=uuid, security_group_id=id_)
        self.call(base + "get_by_instance", context, uuid)
        self.call(base + "in_use", context, id_)
        self.call(base + "ensure_default", context)
        self.call("instance_get_by_uuid", context, uuid,
                  ["security_groups"])

    @stateful.rule(context=contexts, name=words, id_=ids)
    def change_security_group(self, context, name, id_):
        self.call("security_group_update", context, id_, {"name": name})


TestOnSQLite, TestOnDialect = clouds.cases_of(Machine)
