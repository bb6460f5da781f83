# SPDX-License-Identifier: Apache-2.0
"""What a call costs does not grow with the history of a server."""

import datetime

from nova import conf
import pytest

from tests.differential import clouds

_MAIN = "nova.db.main.api:"
_UUID = "00000000-0000-4000-8000-000000000001"
_WHEN = datetime.datetime(2026, 1, 1)
_REQUEST = "req-7"

CALLS = {
    "newest fault": (
        "instance_fault_get_by_instance_uuids", [_UUID], True),
    "an action": ("action_get_by_request_id", _UUID, _REQUEST),
    "a page of actions": ("actions_get", _UUID, 5),
    "second page of actions": ("actions_get", _UUID, 5, _REQUEST),
    "events of an action": ("action_events_get", 8),
    "start of an event": ("action_event_start", {
        "instance_uuid": _UUID, "request_id": _REQUEST, "event": "e",
        "start_time": _WHEN}),
    "end of an event": ("action_event_finish", {
        "instance_uuid": _UUID, "request_id": _REQUEST, "event": "e",
        "finish_time": _WHEN, "result": "Success"}),
    "start of an action": ("action_start", {
        "instance_uuid": _UUID, "request_id": "req-more", "action": "a",
        "start_time": _WHEN}),
    "a new fault": ("instance_fault_create", {
        "instance_uuid": _UUID, "code": 1, "message": "m"}),
    "a server": ("instance_get_by_uuid", _UUID),
    "a server by id": ("instance_get", 1),
    "a server with its fault": (
        "instance_get_all_by_filters_sort", {"uuid": [_UUID]}, None, None,
        ["fault", "metadata"]),
    "a list with faults": (
        "instance_get_all_by_filters_sort", {"deleted": False}, 5, None,
        ["fault"], ["created_at", "id"], ["desc", "desc"]),
    "metadata": ("instance_metadata_get", _UUID),
    "a change of a server": (
        "instance_update", _UUID, {"vm_state": "active"}),
}
#: Of each table in one commit: a busy machine would be late with all.
_ROWS = 100


def _cloud(count):
    """Return a cloud with one server that has a history."""
    cloud = clouds.KVSCloud()
    when = [str(_WHEN + datetime.timedelta(seconds=n)) + ".000000"
            for n in range(count)]
    tx = cloud.main.begin()
    tx.insert("instances", {
        "id": 1, "uuid": _UUID, "deleted": 0, "project_id": "p",
        "created_at": when[0], "updated_at": when[0], "vm_state": "active"})
    for n in range(count):
        base = {"instance_uuid": _UUID, "created_at": when[n], "deleted": 0}
        tx.insert("instance_faults", {
            **base, "id": n + 1, "code": 500, "message": "m" * 200})
        tx.insert("instance_actions", {
            **base, "id": n + 1, "request_id": "req-%d" % n,
            "action": "reboot", "updated_at": when[n]})
        tx.insert("instance_actions_events", {
            "id": n + 1, "action_id": n + 1, "event": "e" if n == 7 else "f",
            "created_at": when[n], "deleted": 0, "details": "d" * 100})
        if n % _ROWS == _ROWS - 1:
            tx.commit()
    tx.commit()
    return cloud


@pytest.fixture(scope="module")
def short_and_long():
    return _cloud(20), _cloud(1000)


def _cost(cloud, target, *args):
    """Return (commands, bytes that come) of a call, the second time."""
    conf.CONF.set_override("connection", cloud.main_url, "database")
    stats = cloud.main.store.stats
    costs = []
    # The first call fills what a process remembers.
    for _turn in range(3):
        before = stats.commands, stats.bytes_in
        cloud.call(_MAIN + target, clouds.context(), *[
            dict(arg) if isinstance(arg, dict) else arg for arg in args])
        costs.append((stats.commands - before[0], stats.bytes_in - before[1]))
    conf.CONF.clear_override("connection", "database")
    return min(costs)


@pytest.mark.parametrize("name", CALLS)
def test_a_long_history_costs_no_more_than_a_short_one(short_and_long, name):
    short, long = (_cost(cloud, *CALLS[name]) for cloud in short_and_long)
    print("%s: %s and %s" % (name, short, long))
    assert long[0] <= short[0] + 1
    # The server of a short history is read whole.
    assert long[1] <= short[1] + 2000
