# SPDX-License-Identifier: Apache-2.0
"""Random sequences of calls of nova.db.main.api, on SQLite and on ours."""

import datetime

from hypothesis import stateful
from hypothesis import strategies as st
from nova.db.main import api as main_db_api
from nova.db.main import models as main_models

from tests.differential import clouds

_UUIDS = ["%08d-0000-4000-8000-000000000000" % number
          for number in range(1, 5)]
uuids = st.sampled_from(_UUIDS)
hosts = st.sampled_from(["h1", "h2", "Host_3"])
projects = st.sampled_from(["p1", "p2"])
users = st.sampled_from(["u1", "u2"])
times = st.sampled_from([
    datetime.datetime(2026, 3, 1, 12, 0, second) for second in (1, 5, 20)])
words = st.sampled_from(["a", "b", "key", "A%", "ünï"])
metadata = st.dictionaries(words, words, max_size=3)
ids = st.sampled_from([1, 101, 201, 301, 401])
joins = st.sampled_from([
    None, [], ["metadata"], ["system_metadata", "info_cache"],
    ["metadata", "system_metadata", "extra", "extra.flavor", "services",
     "tags", "security_groups", "pci_devices"]])
list_joins = st.sampled_from([
    None, [], ["metadata"], ["info_cache", "system_metadata"],
    ["metadata", "system_metadata", "extra", "extra.numa_topology",
     "services", "tags", "security_groups", "pci_devices", "fault"]])
contexts = st.fixed_dictionaries({}, optional={
    "project": projects, "user": users, "is_admin": st.booleans(),
    "read_deleted": st.sampled_from(["no", "yes", "only"])})
vm_states = st.sampled_from(["active", "building", "soft-delete", None])
task_states = st.sampled_from(["deleting", "rebooting", None])
instance_values = st.fixed_dictionaries({}, optional={
    "host": st.one_of(st.none(), hosts), "node": hosts,
    "vm_state": vm_states, "task_state": task_states,
    "display_name": words, "hostname": words, "locked": st.booleans(),
    "hidden": st.booleans(), "launched_at": times, "terminated_at": times,
    "access_ip_v4": st.just("10.0.0.1"),
    "access_ip_v6": st.just("2001:0db8:0000::0001"),
    "instance_type_id": ids, "vcpus": ids, "memory_mb": ids,
    "cleaned": st.sampled_from([0, 1]), "image_ref": words,
    "metadata": metadata, "system_metadata": metadata})
filters = st.fixed_dictionaries({}, optional={
    "deleted": st.booleans(), "soft_deleted": st.booleans(),
    "cleaned": st.booleans(), "hidden": st.booleans(),
    "project_id": st.one_of(projects, st.lists(projects, max_size=2)),
    "user_id": users, "host": st.one_of(st.none(), hosts),
    "vm_state": st.one_of(vm_states, st.lists(vm_states, max_size=2)),
    "task_state": task_states, "locked": st.booleans(),
    "uuid": st.one_of(uuids, st.lists(uuids, max_size=3)),
    "display_name": st.sampled_from(["a", "^k.y$", "%"]),
    "metadata": metadata, "system_metadata": st.lists(metadata, max_size=2),
    "tags": st.lists(words, min_size=1, max_size=2),
    "tags-any": st.lists(words, max_size=2),
    "not-tags": st.lists(words, min_size=1, max_size=2),
    "not-tags-any": st.lists(words, max_size=2),
    "changes-since": times, "changes-before": times,
    "unknown": words, "name": words})
sort_keys = st.sampled_from([
    None, ["created_at", "id"], ["created_at", "uuid"], ["display_name"],
    ["host", "created_at"],
    ["vm_state", "id"], ["locked", "uuid"], ["no_such_key"]])
sort_dirs = st.sampled_from([
    None, ["asc"], ["desc"], ["asc", "desc"], ["desc", "asc"]])


class Machine(stateful.RuleBasedStateMachine):
    """Calls both clouds at each step; their rows stay the same."""

    reference = clouds.SQLiteCloud

    def __init__(self):
        super().__init__()
        self.pair = clouds.Pair(self.reference)

    def teardown(self):
        # The ORM inserts these links without the ids that the test gives.
        self.pair.compare_rows((
            "security_group_instance_association.id",
            "security_group_instance_association.deleted"))
        self.pair.close()

    def call(self, function, context, *args, **kwargs):
        self.pair.call(function, clouds.context(**context),
                       *args, **kwargs)

    def _has_server(self, uuid):
        """Tell whether a foreign key would hold, which SQLite's do not."""
        rows = self.pair.kvs.rows(main_models.BASE).get("instances", [])
        return any(row["uuid"] == uuid for row in rows)

    # Servers

    @stateful.initialize()
    def first_servers(self):
        for uuid in _UUIDS[:2]:
            self.create_instance({}, uuid, {
                "host": "h1", "metadata": {"a": "b"},
                "system_metadata": {"a": "b"}}, {"flavor": "x"}, [])
        self.call("service_create", {}, {
            "host": "h1", "binary": "nova-compute", "topic": "compute"})

    @stateful.rule(context=contexts, uuid=uuids, values=instance_values,
                   extra=st.dictionaries(
                       st.sampled_from(["flavor", "numa_topology"]), words),
                   groups=st.sampled_from([[], ["default"], ["nope"]]))
    def create_instance(self, context, uuid, values, extra, groups):
        self.call("instance_create", context, {
            "uuid": uuid, "project_id": context.get("project", "p1"),
            "user_id": "u1", "extra": extra, "security_groups": groups,
            "info_cache": {"network_info": "[]"}, "deleted": 0, **values})

    @stateful.rule(context=contexts, uuid=uuids, columns=joins)
    def get_instance(self, context, uuid, columns):
        self.call("instance_get_by_uuid", context, uuid, columns)

    @stateful.rule(context=contexts, id_=ids, columns=joins)
    def get_instance_by_id(self, context, id_, columns):
        self.call("instance_get", context, id_, columns)

    @stateful.rule(context=contexts, uuid=uuids, values=instance_values,
                   columns=joins, expected=st.fixed_dictionaries(
                       {}, optional={
                           "task_state": task_states,
                           "vm_state": st.lists(vm_states, max_size=2)}),
                   task=st.one_of(st.none(), st.lists(
                       task_states, min_size=1, max_size=2)))
    def update_instance(self, context, uuid, values, columns, expected,
                        task):
        if task is not None:
            values = {**values, "expected_task_state": task}
        self.call("instance_update_and_get_original", context, uuid, values,
                  columns, expected)

    @stateful.rule(context=contexts, uuid=st.one_of(
        uuids, st.just("no-uuid")), values=instance_values)
    def update_instance_alone(self, context, uuid, values):
        self.call("instance_update", context, uuid, values)

    @stateful.rule(context=contexts, uuid=uuids, hard=st.booleans(),
                   host=st.sampled_from([None, "h1"]))
    def destroy_instance(self, context, uuid, hard, host):
        condition = None
        if host is not None:
            condition = main_db_api.constraint(
                host=main_db_api.equal_any(host, None))
        self.call("instance_destroy", context, uuid, condition, hard)

    @stateful.rule(context=contexts, wanted=filters, columns=list_joins,
                   keys=sort_keys, directions=sort_dirs,
                   limit=st.sampled_from([None, 0, 1, 2, 3]),
                   marker=st.one_of(st.none(), uuids))
    def list_instances(self, context, wanted, columns, keys, directions,
                       limit, marker):
        self.call("instance_get_all_by_filters_sort", context, wanted,
                  limit=limit, marker=marker, columns_to_join=columns,
                  sort_keys=keys, sort_dirs=directions)

    @stateful.rule(context=contexts, limit=st.sampled_from([1, 2]),
                   project=st.one_of(st.none(), projects),
                   direction=st.sampled_from(["asc", "desc"]),
                   marker=st.one_of(st.none(), uuids))
    def page_of_instances(self, context, limit, project, direction, marker):
        wanted = {"deleted": False}
        if project:
            wanted["project_id"] = project
        self.call("instance_get_all_by_filters", context, wanted,
                  "created_at", direction, limit, marker)

    @stateful.rule(context=contexts, host=hosts, node=hosts,
                   columns=st.sampled_from([
                       None, ["metadata"], ["system_metadata", "extra"]]))
    def list_by_host(self, context, host, node, columns):
        self.call("instance_get_all_by_host", context, host, columns)
        self.call("instance_get_all_by_host_and_node", context, host, node,
                  columns)
        self.call("instance_get_all_by_host_and_not_type", context, host, 1)
        self.call("instance_get_all_uuids_by_hosts", context, [host, node])
        self.call("instance_get_all", context, columns)
        self.call("instance_get_all_hung_in_rebooting", context, 3)

    @stateful.rule(context=contexts, begin=times,
                   end=st.one_of(st.none(), times),
                   project=st.one_of(st.none(), projects),
                   limit=st.sampled_from([None, 1]),
                   marker=st.one_of(st.none(), uuids))
    def list_active(self, context, begin, end, project, limit, marker):
        self.call("instance_get_active_by_window_joined", context, begin,
                  end, project, limit=limit, marker=marker)

    @stateful.rule(context=contexts, when=times, id_=ids,
                   directions=st.sampled_from(
                       [["asc", "asc"], ["desc", "desc"], ["asc", "desc"]]))
    def find_by_sort(self, context, when, id_, directions):
        self.call("instance_get_by_sort_filters", context,
                  ["created_at", "id"], directions, [when, id_])

    @stateful.rule(project=projects, user=st.one_of(st.none(), users),
                   host=hosts)
    def count_instances(self, project, user, host):
        objects = "nova.objects.instance:InstanceList."
        self.call(objects + "_get_counts_in_db", {}, project, user)
        self.call(objects + "_get_count_by_vm_state_in_db", {}, project,
                  "u1", "active")
        self.call(objects + "_get_count_by_hosts", {}, [host, "h2"])
        self.call(objects + "_get_uuids_by_host_and_node", {}, host, "h1")

    # What hangs off them

    @stateful.rule(context=contexts, uuid=uuids, info=words)
    def info_cache(self, context, uuid, info):
        self.call("instance_info_cache_get", context, uuid)
        if self._has_server(uuid):
            self.call("instance_info_cache_update", context, uuid,
                      {"network_info": info})

    @stateful.rule(context=contexts, uuid=uuids)
    def delete_info_cache(self, context, uuid):
        self.call("instance_info_cache_delete", context, uuid)

    @stateful.rule(context=contexts, uuid=uuids, updates=st.dictionaries(
        st.sampled_from(["flavor", "pci_requests"]), words, min_size=1))
    def extra(self, context, uuid, updates):
        if self._has_server(uuid):
            self.call("instance_extra_update_by_uuid", context, uuid,
                      updates)
        self.call("instance_extra_get_by_instance_uuid", context, uuid)
        self.call("instance_extra_get_by_instance_uuid", context, uuid,
                  ["flavor"])

    @stateful.rule(context=contexts, uuid=uuids, key=words)
    def delete_metadata(self, context, uuid, key):
        self.call("instance_metadata_get", context, uuid)
        self.call("instance_metadata_delete", context, uuid, key)

    @stateful.rule(context=contexts, uuid=uuids,
                   tags=st.lists(words, max_size=3), tag=words)
    def tags(self, context, uuid, tags, tag):
        self.call("instance_tag_set", context, uuid, tags)
        self.call("instance_tag_add", context, uuid, tag)
        self.call("instance_tag_exists", context, uuid, tag)
        self.call("instance_tag_delete", context, uuid, "a")
        self.call("instance_tag_get_by_instance_uuid", context, uuid)

    @stateful.rule(context=contexts, uuid=uuids)
    def no_tags(self, context, uuid):
        self.call("instance_tag_delete_all", context, uuid)

    @stateful.rule(uuid=uuids, code=ids, some=st.lists(uuids, max_size=3,
                                                       unique=True),
                   latest=st.booleans())
    def faults(self, uuid, code, some, latest):
        self.call("instance_fault_create", {}, {
            "instance_uuid": uuid, "code": code, "message": "m"})
        self.call("instance_fault_get_by_instance_uuids", {}, some, latest)

    @stateful.rule(context=contexts, uuid=uuids,
                   request=st.sampled_from(["req-1", "req-2"]),
                   event=st.sampled_from(["e1", "e2"]), when=times,
                   result=st.sampled_from(["Success", "Error"]))
    def actions(self, context, uuid, request, event, when, result):
        base = {"instance_uuid": uuid, "request_id": request}
        self.call("action_start", context, {
            **base, "action": "create", "start_time": when,
            "updated_at": when, "project_id": "p1"})
        self.call("action_event_start", context, {
            **base, "event": event, "start_time": when})
        self.call("action_event_finish", context, {
            **base, "event": event, "finish_time": when, "result": result})

    @stateful.rule(context=contexts, uuid=uuids, when=times,
                   request=st.sampled_from(["req-1", "req-3"]),
                   limit=st.sampled_from([None, 0, 1]),
                   marker=st.sampled_from([None, "req-1", "req-3"]),
                   wanted=st.fixed_dictionaries({}, optional={
                       "changes-since": times, "changes-before": times}))
    def read_actions(self, context, uuid, when, request, limit, marker,
                     wanted):
        base = {"instance_uuid": uuid, "request_id": request}
        self.call("action_event_start", context, {
            **base, "event": "lone", "start_time": when})
        self.call("action_event_finish", context, {
            **base, "event": "none", "finish_time": when, "result": "x"})
        self.call("action_finish", context, {
            **base, "finish_time": when, "message": "m"})
        self.call("actions_get", context, uuid, limit, marker, wanted)
        self.call("action_get_by_request_id", context, uuid, request)

    @stateful.rule(context=contexts, action=ids, event=ids)
    def read_events(self, context, action, event):
        self.call("action_events_get", context, action)
        self.call("action_event_get_by_id", context, action, event)

    @stateful.rule(context=contexts, uuid=uuids, bdm=st.sampled_from(
        _UUIDS + [None, ""]), device=st.sampled_from(["", "/dev/a", None]),
        swap=st.booleans(), create=st.booleans())
    def block_devices(self, context, uuid, bdm, device, swap, create):
        values = {"instance_uuid": uuid, "device_name": device,
                  "volume_id": "v1", "source_type": "blank",
                  "destination_type": "local", "volume_size": "",
                  "guest_format": "swap" if swap else None}
        if bdm is not None:
            values["uuid"] = bdm
        if create:
            self.call("block_device_mapping_create", context, values, False)
        else:
            self.call("block_device_mapping_update_or_create", context,
                      values, False)

    @stateful.rule(context=contexts, uuid=uuids, id_=ids,
                   some=st.lists(uuids, max_size=2))
    def more_block_devices(self, context, uuid, id_, some):
        name = "block_device_mapping_"
        self.call(name + "update", context, id_, {"tag": "t"}, False)
        self.call(name + "get_all_by_instance", context, uuid)
        self.call(name + "get_all_by_instance_uuids", context, some)
        self.call(name + "get_all_by_volume_id", context, "v1",
                  ["instance"])
        self.call(name + "get_by_instance_and_volume_id", context, "v1",
                  uuid)

    @stateful.rule(context=contexts, id_=ids)
    def fewer_block_devices(self, context, id_):
        self.call("block_device_mapping_destroy", context, id_)


TestOnSQLite, TestOnDialect = clouds.cases_of(Machine)
