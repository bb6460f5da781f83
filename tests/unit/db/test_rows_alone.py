# SPDX-License-Identifier: Apache-2.0
"""Calls that want one table's rows read these, not all of each server."""

import datetime

from nova import conf
from nova.db.main import models
import pytest
import sqlalchemy as sa

from tests.differential import clouds

#: Bytes of what else each server has.
_ELSE = 4000
_COUNT = 40
_WHEN = datetime.datetime(2026, 1, 1)
_BY_TIME = ["created_at", "id"], ["desc", "desc"]
_MAIN = "nova.db.main.api:"
_LIST = _MAIN + "instance_get_all_by_filters_sort"
_MIGRATIONS = _MAIN + "migration_get_all_by_filters"
_UUIDS = ["%08d-0000-4000-8000-000000000000" % n for n in range(_COUNT)]
_LIVE = {"deleted": False}

#: A call, and the rows that it returns.
CALLS = {
    "a page": ((_LIST, _LIVE, 10, None, [], *_BY_TIME), 10),
    "a page with services": (
        (_LIST, _LIVE, 10, None, ["services"], *_BY_TIME), 10),
    "a page behind a marker": (
        (_LIST, _LIVE, 10, _UUIDS[30], [], *_BY_TIME), 10),
    "a host's": ((_LIST, {**_LIVE, "host": "h1"}, 10, None, [],
                  *_BY_TIME), 10),
    "a project's, by name": (
        (_LIST, {**_LIVE, "project_id": "p1", "display_name": "s1"}, None,
         None, [], *_BY_TIME), 10),
    "active in a time": (
        (_MAIN + "instance_get_active_by_window_joined", _WHEN, None, "p1",
         None, []), 10),
    "a page of migrations": (
        (_MIGRATIONS, {}, *_BY_TIME, 10), 10),
    "a page of migrations behind a marker": (
        (_MIGRATIONS, {}, *_BY_TIME, 10, "m30"), 10),
    "a page of migrations by status": (
        (_MIGRATIONS, {"status": "running"}, *_BY_TIME, 10), 10),
    "migrations of a host": ((_MIGRATIONS, {"host": "h1"}), 10),
    "faults": (
        (_MAIN + "instance_fault_get_by_instance_uuids", _UUIDS[:10]), 10),
    "latest faults": (
        (_MAIN + "instance_fault_get_by_instance_uuids", _UUIDS[:10], True),
        10),
}
#: A server of another cell is looked for by nothing but its place.
MARKERS = {
    "a server": (_MAIN + "instance_get_by_sort_filters",
                 ["created_at", "uuid"], ["desc", "desc"],
                 [_WHEN + datetime.timedelta(seconds=9), _UUIDS[9]]),
    "a migration": (_MAIN + "migration_get_by_sort_filters",
                    ["created_at", "id"], ["desc", "desc"],
                    [_WHEN + datetime.timedelta(seconds=9), 10]),
}


def _cloud(make):
    """Return a cloud of servers, ten on each host, with much metadata."""
    cloud = make()
    tx = cloud.main.begin()
    for n, uuid in enumerate(_UUIDS):
        when = str(_WHEN + datetime.timedelta(seconds=n)) + ".000000"
        place = {"instance_uuid": uuid, "deleted": 0, "created_at": when}
        tx.insert("instances", {
            "id": n + 1, "uuid": uuid, "deleted": 0, "created_at": when,
            "updated_at": when, "launched_at": when, "vm_state": "active",
            "host": "h%d" % (n // 10), "project_id": "p%d" % (n // 10),
            "display_name": "s1"})
        tx.insert("instance_metadata", {
            **place, "key": "k", "value": "v" * _ELSE})
        tx.insert("migrations", {
            **place, "id": n + 1, "uuid": "m%d" % n, "status": "running",
            "source_compute": "h%d" % (n // 10), "dest_compute": "h9"})
        tx.insert("instance_faults", {
            **place, "id": n + 1, "code": 500, "message": "m"})
    tx.commit()
    return cloud


@pytest.fixture(scope="module")
def cloud():
    return _cloud(clouds.KVSCloud)


def _cost(cloud, target, *args):
    """Return what a call returns and the bytes and commands that it takes.

    The second time; the first one fills what a process remembers.
    """
    conf.CONF.set_override("connection", cloud.main_url, "database")
    stats = cloud.main.store.stats
    for _turn in range(2):
        before = stats.bytes_in, stats.commands
        found = cloud.call(target, clouds.context(), *args)
        cost = stats.bytes_in - before[0], stats.commands - before[1]
    conf.CONF.clear_override("connection", "database")
    return found, *cost


@pytest.mark.parametrize("name", CALLS)
def test_cost_of_a_call(cloud, name):
    call, count = CALLS[name]
    found, size, commands = _cost(cloud, *call)
    print("%s: %d bytes, %d commands" % (name, size, commands))
    assert len(found) == count
    # And entries of indexes.
    assert size < count * 1200 + 6000
    assert commands <= count + 24


@pytest.mark.parametrize("name", MARKERS)
def test_cost_of_a_marker_of_another_cell(cloud, name):
    found, size, _commands = _cost(cloud, *MARKERS[name])
    assert found in (_UUIDS[9], "m9")
    assert size < _ELSE


_I, _M = models.Instance.__table__, models.Migration.__table__
_METADATA = models.InstanceMetadata.__table__
#: Statements of one table, which return ten rows.
STATEMENTS = {
    "a page": sa.select(_I).where(_I.c.deleted == 0).order_by(
        _I.c.created_at.desc(), _I.c.id.desc()).limit(10),
    "a page of migrations": sa.select(_M).order_by(
        _M.c.created_at.desc(), _M.c.id.desc()).limit(10),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_cost_of_a_statement(cloud, name):
    engine = sa.create_engine(cloud.main_url)
    for _turn in range(2):
        before = cloud.main.store.stats.bytes_in
        with engine.connect() as connection:
            found = connection.execute(STATEMENTS[name]).fetchall()
            size = cloud.main.store.stats.bytes_in - before
            # What else belongs to the rows is there for those who ask.
            metadata = connection.execute(sa.select(_METADATA).where(
                _METADATA.c.instance_uuid == found[0].uuid)).fetchall()
            connection.rollback()
    engine.dispose()
    print("%s: %d bytes" % (name, size))
    assert len(found) == 10
    assert size < 10 * 1200 + 8000
    assert len(metadata) == (name == "a page")
