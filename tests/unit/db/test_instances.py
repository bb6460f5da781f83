# SPDX-License-Identifier: Apache-2.0
"""Servers: what the comparison with Nova's functions does not say aloud."""

import datetime

from nova import context as nova_context
from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception
from oslo_db import exception as db_exc
import pytest
from sqlalchemy.orm import exc as orm_exc

from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session
from tests.differential import clouds

_UUID = "00000001-0000-4000-8000-000000000000"
_OTHER = "00000002-0000-4000-8000-000000000000"


class _Calls:
    """Native functions as attributes, on one cloud."""

    def __init__(self):
        self.cloud = clouds.KVSCloud()
        self.context = clouds.context()

    def __getattr__(self, name):
        def call(*args, **kwargs):
            return self.cloud.call("%s:%s" % (native.MAIN, name),
                                   self.context, *args, **kwargs)
        return call

    def all(self, model, **equal):
        return session.Session(self.cloud.main).all(
            rows.table(model), **equal)


@pytest.fixture
def db():
    made = _Calls()
    made.instance_create({
        "uuid": _UUID, "project_id": "p1", "user_id": "u1", "host": "h",
        "metadata": {"a": "1", "b": "2"}, "system_metadata": {"s": "1"},
        "task_state": "spawning"})
    return made


def test_create_makes_what_hangs_off_it(db):
    for model in (models.InstanceExtra, models.InstanceInfoCache):
        assert len(db.all(model, instance_uuid=_UUID)) == 1
    assert len(db.all(models.InstanceIdMapping, uuid=_UUID)) == 1
    assert [group.name for group in db.all(models.SecurityGroup)] == [
        "default"]


def test_create_is_all_or_nothing(db):
    with pytest.raises(db_exc.DBDuplicateEntry) as raised:
        db.instance_create({"uuid": _UUID, "project_id": "p1"})
    assert raised.value.columns == ["uuid"]
    assert len(db.all(models.InstanceExtra)) == 1


def test_unexpected_task_state(db):
    with pytest.raises(exception.UnexpectedTaskStateError) as raised:
        db.instance_update(_UUID, {"expected_task_state": [None, "x"]})
    assert raised.value.kwargs["actual"] == {"task_state": "spawning"}
    assert raised.value.kwargs["expected"] == {"task_state": [None, "x"]}
    db.instance_update(_UUID, {"task_state": "deleting"})
    with pytest.raises(exception.UnexpectedDeletingTaskStateError):
        db.instance_update(_UUID, {"expected_task_state": None})


def test_metadata_is_replaced_in_place(db):
    old, new = db.instance_update_and_get_original(
        _UUID, {"metadata": {"a": "9", "c": "3"}, "system_metadata": {}})
    assert {item.key: item.value for item in old.metadata} == {
        "a": "1", "b": "2"}
    assert {item.key: item.value for item in new.metadata
            if not item.deleted} == {"a": "9", "c": "3"}
    assert new.system_metadata == []
    # User metadata is kept as deleted, system metadata is not.
    assert len(db.all(models.InstanceMetadata)) == 3
    assert db.all(models.InstanceSystemMetadata) == []


def test_other_project_does_not_see_it(db):
    db.context = nova_context.RequestContext("u2", "p2", is_admin=False)
    with pytest.raises(exception.InstanceNotFound):
        db.instance_get_by_uuid(_UUID)
    with pytest.raises(exception.InstanceNotFound):
        db.instance_update(_UUID, {"host": "x"})
    with pytest.raises(exception.InstanceNotFound):
        db.instance_tag_add(_UUID, "t")


def test_destroy_keeps_actions(db):
    db.action_start({"instance_uuid": _UUID, "request_id": "r",
                     "action": "create"})
    db.instance_destroy(_UUID)
    assert db.all(models.InstanceAction)[0].deleted == 0
    assert db.all(models.InstanceExtra)[0].deleted == 1
    with pytest.raises(exception.InstanceNotFound):
        db.instance_destroy(_UUID)


def test_hard_delete_leaves_nothing(db):
    db.action_start({"instance_uuid": _UUID, "request_id": "r",
                     "action": "create"})
    db.action_event_start({"instance_uuid": _UUID, "request_id": "r",
                           "event": "e", "start_time": None})
    db.instance_destroy(_UUID, hard_delete=True)
    left = db.cloud.rows(models.BASE)
    assert set(left) == {"security_groups"}


def test_constraint(db):
    condition = main_db_api.constraint(host=main_db_api.equal_any("x"))
    with pytest.raises(exception.ConstraintNotMet):
        db.instance_destroy(_UUID, constraint=condition)
    assert db.instance_get_by_uuid(_UUID).host == "h"


def test_event_of_an_unknown_request(db):
    db.action_start({"instance_uuid": _UUID, "request_id": "r",
                     "action": "create"})
    values = {"instance_uuid": _UUID, "request_id": "other", "event": "e",
              "start_time": None}
    with pytest.raises(exception.InstanceActionNotFound):
        db.action_event_start(dict(values))
    # Without a project it is nova-compute after a restart.
    db.context = nova_context.get_admin_context()
    assert db.action_event_start(dict(values)).action_id == 1


def test_page_is_not_thrown_by_servers_that_left(db):
    for number in range(2, 12):
        db.instance_create({
            "uuid": "%08d-0000-4000-8000-000000000000" % number,
            "project_id": "p1"})
    for number in range(5, 9):
        db.instance_destroy("%08d-0000-4000-8000-000000000000" % number)
    page = db.instance_get_all_by_filters(
        {"deleted": False, "project_id": "p1"}, limit=4)
    assert [row["id"] for row in page] == [11, 10, 9, 4]
    page = db.instance_get_all_by_filters(
        {"deleted": False, "project_id": "p1"}, limit=4,
        marker=page[-1]["uuid"])
    assert [row["id"] for row in page] == [3, 2, 1]


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_pages_of_servers_of_one_moment(db, direction):
    """As of an imported cell, whose times were in whole seconds."""
    uuids = [_UUID]
    for number in range(2, 12):
        uuid = "%08d-0000-4000-8000-000000000000" % (100 - number)
        db.instance_create({
            "uuid": uuid, "project_id": "p1", "created_at":
            datetime.datetime(2026, 1, 1, 0, 0, number // 4)})
        uuids.append(uuid)
    wanted = {"sort_keys": ["created_at", "uuid"],
              "sort_dirs": [direction, "asc"]}
    filters = {"deleted": False, "project_id": "p1"}
    expected = [row["uuid"] for row in db.instance_get_all_by_filters_sort(
        filters, **wanted)]
    assert sorted(expected) == sorted(uuids)
    for limit in (1, 2, 3, 5):
        found = []
        for _page in range(len(expected)):
            found += [row["uuid"]
                      for row in db.instance_get_all_by_filters_sort(
                          filters, limit=limit,
                          marker=found[-1] if found else None, **wanted)]
        assert found == expected


def test_page_with_a_server_of_no_time(db):
    db.instance_update(_UUID, {"created_at": None})
    db.instance_create({"uuid": _OTHER, "project_id": "p1"})
    for direction, expected in (("asc", [_UUID, _OTHER]),
                                ("desc", [_OTHER, _UUID])):
        page = db.instance_get_all_by_filters_sort(
            {"deleted": False}, limit=2, sort_keys=["created_at"],
            sort_dirs=[direction])
        assert [row["uuid"] for row in page] == expected


def test_newest_fault_has_a_lower_id(db):
    """Another process gave it, whose block of ids was an earlier one."""
    for number, message in ((21, "older"), (1, "newer")):
        db.cloud.set_next_id(models.BASE, number)
        db.instance_fault_create({
            "instance_uuid": _UUID, "code": 500, "message": message})
    faults = db.instance_fault_get_by_instance_uuids([_UUID])[_UUID]
    assert [fault["message"] for fault in faults] == ["newer", "older"]
    fault, = db.instance_fault_get_by_instance_uuids(
        [_UUID], latest=True)[_UUID]
    assert fault["message"] == "newer"
    server, = db.instance_get_all_by_filters({}, columns_to_join=["fault"])
    assert server["fault"]["message"] == "newer"


def test_rare_servers_are_found_page_by_page(db):
    for number in range(2, 40):
        db.instance_create({
            "uuid": "%08d-0000-4000-8000-000000000000" % number,
            "project_id": "p1", "vm_state": "error" if number in (3, 30)
            else "active"})
    page = db.instance_get_all_by_filters(
        {"deleted": False, "vm_state": "error"}, limit=2)
    assert [row["id"] for row in page] == [30, 3]


def test_share_mapping_gets_an_id(db):
    row = db.share_mapping_update(_OTHER, _UUID, "s", "active", "t", "e",
                                  "NFS")
    assert row.id == 1
    with pytest.raises(db_exc.DBDuplicateEntry) as raised:
        db.share_mapping_update(_OTHER, _UUID, "s2", "active", "t", "e",
                                "NFS")
    assert "share_mapping.instance_uuid, share_mapping.tag" in str(
        raised.value)


def test_extra_columns_that_were_not_asked_for(db):
    row = db.instance_extra_get_by_instance_uuid(_UUID, ["flavor"])
    assert row.flavor is None
    with pytest.raises(orm_exc.DetachedInstanceError):
        row.numa_topology


def test_rebooting_servers_come_without_joins(db):
    db.instance_update(_UUID, {"task_state": "rebooting"})
    found, = db.instance_get_all_hung_in_rebooting(-10)
    assert found["uuid"] == _UUID
    assert not {"info_cache", "security_groups"} & found.keys()
