# SPDX-License-Identifier: Apache-2.0
"""Lists that no index answers read servers without what belongs to them."""

import datetime

from nova import conf
import pytest

from nova_kvs import conf as kvs_conf
from tests.differential import clouds

_COUNT = 60
_WHEN = datetime.datetime(2026, 1, 1)
_BY_TIME = ["created_at", "id"], ["desc", "desc"]

#: Servers on a page of three.
FOUND = {"by name": 3, "by state": 3, "changes-since": 3, "changes-before": 1}
LISTS = {
    "status": ({"vm_state": "error", "deleted": False}, *_BY_TIME),
    "name": ({"display_name": "no", "deleted": False}, *_BY_TIME),
    "image": ({"image_ref": "no", "deleted": False}, *_BY_TIME),
    "by name": ({"deleted": False}, ["display_name"], ["asc"]),
    "by state": ({"deleted": False}, ["vm_state", "uuid"], ["asc", "desc"]),
    "changes-since": ({"changes-since": _WHEN}, *_BY_TIME),
    "changes-before": ({"changes-before": _WHEN}, *_BY_TIME),
    "deleted or soft-deleted": ({"deleted": True}, *_BY_TIME),
    "deleted": ({"deleted": True, "soft_deleted": False}, *_BY_TIME),
}


class _OnDialect(clouds.DialectCloud):
    """Nova's own functions, on the embedded store."""

    main = property(lambda self: self.cloud.main)
    main_url = property(lambda self: self.cloud.main_url)


@pytest.fixture(scope="module", params=[clouds.KVSCloud, _OnDialect],
                ids=["native", "dialect"])
def cloud(request):
    """Return a cloud of servers with much metadata."""
    made = request.param()
    tx = made.main.begin()
    for n in range(_COUNT):
        uuid = "%08d-0000-4000-8000-000000000000" % n
        when = str(_WHEN + datetime.timedelta(seconds=n)) + ".000000"
        tx.insert("instances", {
            "id": n + 1, "uuid": uuid, "deleted": 0, "created_at": when,
            "updated_at": when, "vm_state": "active",
            "display_name": "s%d" % (n * 7 % _COUNT)})
        tx.insert("instance_metadata", {
            "instance_uuid": uuid, "key": "k", "value": "v" * 4000,
            "deleted": 0})
    tx.commit()
    yield made
    kvs_conf.CONF.clear_override("db_api", "nova_kvs")


@pytest.mark.parametrize("name", LISTS)
def test_bytes_of_a_list(cloud, name):
    filters, keys, directions = LISTS[name]
    conf.CONF.set_override("connection", cloud.main_url, "database")
    stats = cloud.main.store.stats
    for _turn in range(2):
        before = stats.bytes_in
        found = cloud.call(
            "nova.db.main.api:instance_get_all_by_filters_sort",
            clouds.context(), dict(filters), 3, None, None, keys, directions)
        size = stats.bytes_in - before
    conf.CONF.clear_override("connection", "database")
    print("%s: %d bytes" % (name, size))
    # The rows of a first page come with what belongs to them.
    assert size < _COUNT * 700 + 18 * 4200
    assert len(found) == FOUND.get(name, 0)


CHANGES = {
    "last changed": ({"deleted": False}, ["updated_at", "uuid"]),
    "changed before": (
        {"changes-before": _WHEN}, ["created_at", "id"]),
    "changed before, of a name": (
        {"changes-before": _WHEN + datetime.timedelta(days=9),
         "display_name": "s29"}, ["created_at", "id"]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_commands_of_a_page_of_changes(name):
    made = clouds.KVSCloud()
    costs = []
    for count in (30, 120):
        tx = made.main.begin()
        for n in range(len(costs) * 30, count):
            when = str(_WHEN + datetime.timedelta(hours=n)) + ".000000"
            tx.insert("instances", {
                "id": n + 1, "uuid": "%08d-0000-4000-8000-000000000000" % n,
                "deleted": 0, "created_at": when, "updated_at": when,
                "vm_state": "active", "display_name": "s%d" % n})
        tx.commit()
        conf.CONF.set_override("connection", made.main_url, "database")
        filters, keys = CHANGES[name]
        for _turn in range(2):
            before = made.main.store.stats.commands
            found = made.call(
                "nova.db.main.api:instance_get_all_by_filters_sort",
                clouds.context(), dict(filters), 3, None, [], keys,
                ["desc", "desc"])
        costs.append(made.main.store.stats.commands - before)
        conf.CONF.clear_override("connection", "database")
        assert [row["display_name"] for row in found] == (
            ["s%d" % (count - 1 - n) for n in range(3)]
            if name == "last changed" else
            ["s29"] if "name" in name else ["s0"])
    assert costs[1] <= costs[0] + 4
