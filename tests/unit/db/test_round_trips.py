# SPDX-License-Identifier: Apache-2.0
"""How many round trips a call may cost."""

from nova.db.main import models
from nova import exception
import pytest

from nova_kvs import cache
from nova_kvs.db import flavors
from nova_kvs.db import instance_joins
from nova_kvs.db import native
from nova_kvs.db import quota_limits
from tests.differential import clouds

_JOINS = ["metadata", "system_metadata", "info_cache", "security_groups",
          "pci_devices", "tags", "services", "extra", "extra.flavor"]


class Caller:
    """Calls native functions and counts."""

    def __init__(self):
        self.cloud = clouds.KVSCloud()
        self.context = clouds.context()
        self.stats = (self.cloud.main.store.stats,
                      self.cloud.api.store.stats)

    def __call__(self, name, *args, **kwargs):
        target = name if ":" in name else "%s:%s" % (native.MAIN, name)
        before = sum(stats.round_trips for stats in self.stats)
        result = self.cloud.call(target, self.context, *args, **kwargs)
        self.cost = sum(stats.round_trips for stats in self.stats) - before
        return result

    def server(self, number, project="p1", host="h1"):
        uuid = "%08d-0000-4000-8000-000000000000" % number
        self("instance_create", {
            "uuid": uuid, "project_id": project, "user_id": "u1",
            "host": host, "metadata": {"a": "b"},
            "system_metadata": {"k%d" % n: "v" for n in range(10)},
            "extra": {"flavor": "{}"}})
        return uuid


@pytest.fixture
def call():
    made = Caller()
    for base in (clouds.main_models.BASE, clouds.api_models.BASE):
        # As a process that took its blocks of ids already.
        made.cloud.set_next_id(base, 1)
    made("service_create", {
        "host": "h1", "binary": "nova-compute", "topic": "compute"})
    made.server(0)
    return made


def test_create_server(call):
    call("security_group_ensure_default")
    call.server(1)
    assert call.cost == 1


def test_create_server_makes_the_default_group(call):
    call.context.project_id = "another"
    call.server(1)
    assert [group.name for group in call("security_group_get_all")
            if group.project_id == "another"] == ["default"]


def test_update_server_of_unknown_host(call, monkeypatch):
    """Its services come with the commit."""
    uuid = call.server(1)
    monkeypatch.setattr(
        instance_joins, "_hosts", cache.Cache(cache.PREFETCHED))
    old, new = call("instance_update_and_get_original", uuid, {
        "vm_state": "active", "host": "h2"}, _JOINS)
    assert call.cost == 2
    assert [[service.host for service in row.services]
            for row in (old, new)] == [["h1"], ["h1"]]


def test_read_server_with_all_joins(call):
    uuid = call.server(1)
    row = call("instance_get_by_uuid", uuid, _JOINS)
    assert call.cost == 1
    assert [service.host for service in row.services] == ["h1"]
    assert len(row.system_metadata) == 10


def test_server_that_moved_costs_one_more(call):
    uuid = call.server(1)
    call("instance_get_by_uuid", uuid, _JOINS)
    call("instance_update", uuid, {"host": "h2"})
    row = call("instance_get_by_uuid", uuid, _JOINS)
    assert call.cost == 2
    assert row.services == []
    call("instance_get_by_uuid", uuid, _JOINS)
    assert call.cost == 1


def test_update_server(call):
    uuid = call.server(1)
    call("instance_update_and_get_original", uuid, {
        "vm_state": "active", "expected_task_state": [None]}, _JOINS)
    assert call.cost <= 2


def test_failed_expectation_writes_nothing(call):
    uuid = call.server(1)
    with pytest.raises(exception.UnexpectedTaskStateError):
        call("instance_update_and_get_original", uuid, {
            "vm_state": "active", "expected_task_state": ["deleting"]})
    assert call("instance_get_by_uuid", uuid).vm_state is None


def test_heartbeat(call):
    call("service_update", 1, {"report_count": 1})
    assert call.cost <= 2
    call("service_update", 1, {"report_count": 2})
    assert call.cost <= 2


@pytest.mark.parametrize("others", [0, 150])
def test_page_of_a_project(call, others):
    for number in range(1, 104):
        call.server(number)
    for number in range(1000, 1000 + others):
        call.server(number, project="p2")
    commands = call.cloud.main.store.stats.commands
    page = call("instance_get_all_by_filters_sort", {
        "deleted": False, "project_id": "p1"}, limit=100,
        columns_to_join=["metadata", "system_metadata", "info_cache",
                         "extra", "extra.flavor", "services"])
    assert len(page) == 100
    assert call.cost <= 3
    # One read for each server of the page, whatever the cloud's size.
    assert call.cloud.main.store.stats.commands - commands < 130
    page = call("instance_get_all_by_filters_sort", {
        "deleted": False, "project_id": "p1"}, limit=100,
        marker=page[-1]["uuid"])
    assert len(page) == 4
    assert call.cost <= 3


@pytest.mark.parametrize("order", [
    {},
    # What the API asks for: by creation time, and what Nova adds to that.
    {"sort_keys": ["created_at", "uuid"], "sort_dirs": ["desc", "asc"]},
])
@pytest.mark.parametrize("filters", [{}, {"project_id": "p1"}])
def test_page_of_a_large_cloud(call, order, filters):
    for number in range(1, 80):
        call.server(number, project=(
            "p1" if filters else "p%d" % (number % 3)))
    page = []
    for expected in (range(80, 70, -1), range(70, 60, -1)):
        commands = call.cloud.main.store.stats.commands
        page = call("instance_get_all_by_filters_sort",
                    {"deleted": False, **filters}, limit=10,
                    marker=page[-1]["uuid"] if page else None, **order)
        assert [row["id"] for row in page] == list(expected)
        # The marker costs one.
        assert call.cost <= 3 + (expected[0] < 80)
        # The page and a few more, not all servers.
        assert call.cloud.main.store.stats.commands - commands < 50
    assert not call.cloud.main.stats.full_scans


@pytest.mark.parametrize("target, args", [
    ("nova.objects.instance:InstanceList._get_counts_in_db", ("p1", "u1")),
    ("nova.objects.instance:InstanceList._get_count_by_hosts", (["h1"],)),
    ("nova.objects.instance:InstanceList._get_uuids_by_host_and_node",
     ("h1", None)),
    ("instance_get_all_uuids_by_hosts", (["h1"],)),
])
def test_counts_and_lists_read_no_server(call, target, args):
    for number in range(1, 30):
        call.server(number)
    call(target, *args)
    call("service_create", {
        "host": "h2", "binary": "nova-compute", "topic": "compute"})
    call.server(99, project="p9", host="h9")
    commands = call.cloud.main.store.stats.commands
    result = call(target, *args)
    assert call.cost == 1
    assert call.cloud.main.store.stats.commands - commands <= 4
    if "counts" in target:
        assert result == {
            "project": {"instances": 30, "cores": 0, "ram": 0},
            "user": {"instances": 30, "cores": 0, "ram": 0}}


def test_aggregates_of_a_host(call):
    module = "nova.objects.aggregate:"
    read = module + "_get_by_host_from_db"
    for number in (1, 2, 3):
        call(module + "_aggregate_create_in_db", {"name": "a%d" % number},
             {"k": str(number)})
    assert call(read, "a-host") == []
    for added, cost in ((1, 2), (2, 2), (None, 1)):
        if added:
            call(module + "_host_add_to_db", added, "a-host")
        found = call(read, "a-host")
        assert call.cost == cost
    assert [(one.name, one.hosts, one.metadetails) for one in found] == [
        ("a1", ["a-host"], {"k": "1"}), ("a2", ["a-host"], {"k": "2"})]
    call(module + "_host_delete_from_db", 1, "a-host")
    assert [one.name for one in call(read, "a-host")] == ["a2"]


@pytest.mark.parametrize("target, args", [
    ("service_get_minimum_version", (["nova-compute"],)),
    ("service_get_by_compute_host", ("h1",)),
    ("instance_info_cache_get", ("00000000-0000-4000-8000-000000000000",)),
    ("block_device_mapping_get_all_by_instance",
     ("00000000-0000-4000-8000-000000000000",)),
    ("nova.objects.quotas:Quotas._get_all_class_from_db_by_name",
     ("default",)),
    ("nova.objects.cell_mapping:CellMappingList._get_all_from_db", ()),
    ("nova.objects.instance_mapping:InstanceMappingList."
     "_get_by_instance_uuids_from_db", (["a", "b", "c"],)),
])
def test_simple_reads(call, target, args):
    call(target, *args)
    assert call.cost == 1


def test_with_one_flavor_the_ids_of_all_are_learned(call, monkeypatch):
    monkeypatch.setattr(flavors, "_ids", cache.Cache(cache.PREFETCHED))
    module = "nova.objects.flavor:"
    for name in ("a", "b"):
        call(module + "_flavor_create", {
            "name": name, "flavorid": "id-" + name, "memory_mb": 1,
            "vcpus": 1, "extra_specs": {"k": name}})
    costs = []
    for function, value in (("_flavor_get_by_flavor_id_from_db", "id-a"),
                            ("_flavor_get_by_flavor_id_from_db", "id-b"),
                            ("_flavor_get_by_name_from_db", "b"),
                            ("_flavor_get_from_db", 1)):
        found = call(module + "Flavor." + function, value)
        assert found["extra_specs"] == {"k": found["name"]}
        costs.append(call.cost)
    assert costs == [2, 1, 1, 1]


_LIMITS = "nova.objects.quotas:Quotas."
#: What a check of quotas asks for, twice.
_CHECK = ((_LIMITS + "_get_all_from_db_by_project_and_user", "p1", "u1"),
          ("quota_get_all_by_project_and_user", "p1", "u1"),
          (_LIMITS + "_get_all_from_db_by_project", "p1"),
          ("quota_get_all_by_project", "p1"),
          (_LIMITS + "_get_all_class_from_db_by_name", "default"))


def _check(call):
    """Check quotas; return what is found and what it costs."""
    found, cost = [], 0
    for name, *args in _CHECK:
        found.append(call(name, *args))
        cost += call.cost
    return found, cost


def test_a_check_of_quotas(call):
    found, cost = _check(call)
    assert cost == 2
    assert _check(call) == (found, 0)
    # Another request.
    call.context = clouds.context()
    assert _check(call) == (found, 2)


def test_a_check_after_a_change_of_limits(call):
    create = _LIMITS + "_create_limit_in_db"
    call.cloud.insert(models.Quota, {
        "project_id": "p1", "resource": "ram", "hard_limit": 4})
    _check(call)
    for number, (target, *args) in enumerate((
            (create, "p1", "ram", 1), (create, "p1", "cores", 2, "u1"),
            (_LIMITS + "_create_class_in_db", "default", "cores", 3),
            (_LIMITS + "_update_limit_in_db", "p1", "ram", 5),
            (_LIMITS + "_update_class_in_db", "default", "cores", 6),
            ("quota_update", "p1", "ram", 7),
            ("quota_destroy_all_by_project", "p1"),
            (_LIMITS + "_destroy_all_in_db_by_project_and_user", "p1", "u1"),
            (_LIMITS + "_destroy_all_in_db_by_project", "p1"))):
        before, _cost = _check(call)
        call(target, *args)
        after, cost = _check(call)
        assert after != before and cost == 2, target


def test_a_check_a_while_later(call, monkeypatch):
    _check(call)
    monkeypatch.setattr(quota_limits, "_CHECK_S", 0)
    assert _check(call)[1] == 5
