# SPDX-License-Identifier: Apache-2.0
"""A call costs as many commands and bytes with 500 servers as with 50.

On the dialect likewise. A call that reads more is on a list of exceptions,
with its reason. The lists may only get shorter: a call on one that is cheap by
now fails, too.
"""

import datetime

from nova import conf
from nova.db.api import models as api_models
from nova.db.main import models as main_models
import pytest
import sqlalchemy as sa

from nova_kvs import conf as kvs_conf
from nova_kvs.record import partition_rules
from nova_kvs.record import reader
from tests.differential import clouds

_MAIN = "nova.db.main.api:"
_OBJECTS = "nova.objects."
_A_HOST, _A_PROJECT, _A_VOLUME = "h1", "p1", "v15"
#: Of the tenth host and project, whatever number of servers there are.
_UUID = "%08d-0000-4000-8000-000000000000" % 15
_WHEN = datetime.datetime(2026, 1, 1)
_A_CELL = "00000000-0000-4000-8000-00000000000c"


def _page(filters, after=None, keys=("created_at", "id"), order=None):
    """Return the call for a page of five live servers.

    :param after: UUID of the last one of the page before.
    :param order: "asc" or "desc"; None: as the API asks for its own keys,
        and ascending for others.
    """
    order = order or ("desc" if len(keys) > 1 else "asc")
    return ("instance_get_all_by_filters_sort", {**filters, "deleted": False},
            5, after, None, list(keys), [order] * len(keys))


CALLS = {
    # Servers.
    "a server": ("instance_get_by_uuid", _UUID),
    "a server by id": ("instance_get", 16),
    "a host's": ("instance_get_all_by_host", _A_HOST),
    "a host's UUIDs": ("instance_get_all_uuids_by_hosts", [_A_HOST]),
    "a node's": ("instance_get_all_by_host_and_node", _A_HOST, "n"),
    "a project's page": _page({"project_id": _A_PROJECT}),
    "all projects' page": _page({}),
    "all projects' page behind a marker": _page({}, after=_UUID),
    "a project's changes": (
        "instance_get_all_by_filters",
        {"project_id": _A_PROJECT, "changes-since": _WHEN}),
    "all projects' changes": (
        "instance_get_all_by_filters", {"changes-since": _WHEN}),
    "all projects' servers of a status": _page({"vm_state": "error"}),
    "all projects' page by name": _page({}, keys=["display_name"]),
    "all projects' page by UUID": _page({}, keys=["uuid"]),
    "all projects' page by host": _page({}, keys=["host"]),
    "all projects' page by state": _page({}, keys=["vm_state"]),
    "all projects' page by change": _page(
        {}, keys=["updated_at"], order="desc"),
    "a host's page": _page({"host": _A_HOST}),
    "servers of a name": (
        "instance_get_all_by_filters",
        {"display_name": "n15-", "deleted": False}),
    "a page of a name": _page({"display_name": "n15-"}),
    "servers of an image": (
        "instance_get_all_by_filters",
        {"image_ref": "i15", "deleted": False}),
    "changed before": (
        "instance_get_all_by_filters",
        {"changes-before": _WHEN - datetime.timedelta(days=900)}),
    "servers of a tag": (
        "instance_get_all_by_filters", {"tags": ["t15"], "deleted": False}),
    "a page of several tags": _page({"tags-any": ["t15", "t16"]}),
    "a page without a tag": _page({"not-tags-any": ["t15"]}),
    "a page of metadata": _page({"metadata": {"all": "1"}}),
    "a page of rare metadata": _page({"metadata": {"k": "v15"}}),
    "a page of a task": _page({"task_state": "migrating"}),
    "a page of some tasks": _page(
        {"vm_state": ["active", "stopped"],
         "task_state": ["migrating", "rebooting"]}),
    "a page of a state": _page({"vm_state": ["resized"]}),
    "a page of booting servers": _page({"vm_state": ["building"]}),
    "a page of a boot's task": _page({"task_state": "spawning"}),
    "a page of a reservation": _page({"reservation_id": "r-15"}),
    "a page without a host": _page({"host": None}),
    "deleted servers": (
        "instance_get_all_by_filters",
        {"deleted": True, "soft_deleted": False}),
    "deleted and soft-deleted servers": (
        "instance_get_all_by_filters", {"deleted": True}),
    "marker of another cell": (
        "instance_get_by_sort_filters", ["created_at", "uuid"],
        ["desc", "desc"], [_WHEN, _UUID]),
    "hung in a reboot": ("instance_get_all_hung_in_rebooting", 60),
    "active in a time": (
        "instance_get_active_by_window_joined", _WHEN),
    "a project's, active in a time": (
        "instance_get_active_by_window_joined", _WHEN, None, _A_PROJECT),
    "a project's usage": (
        "nova.objects.instance:InstanceList._get_counts_in_db", _A_PROJECT),
    # What hangs off them.
    "metadata": ("instance_metadata_get", _UUID),
    "faults": ("instance_fault_get_by_instance_uuids", [_UUID]),
    "newest fault": (
        "instance_fault_get_by_instance_uuids", [_UUID], True),
    "newest faults of a page": (
        "instance_fault_get_by_instance_uuids",
        ["%08d-0000-4000-8000-000000000000" % n for n in range(10, 40)],
        True),
    "actions": ("actions_get", _UUID),
    "volumes of a server": (
        "block_device_mapping_get_all_by_instance", _UUID),
    "servers of a volume": (
        "block_device_mapping_get_all_by_volume_id", _A_VOLUME),
    "an interface": ("virtual_interface_get_by_uuid", "vif15"),
    "an interface by id": ("virtual_interface_get", 10 ** 6),
    "a token": ("console_auth_token_get_valid", "token"),
    "expired tokens": ("console_auth_token_destroy_expired",),
    "a host's expired tokens": (
        "console_auth_token_destroy_expired_by_host", _A_HOST),
    "a period's log": (
        "task_log_get_all", "t", _WHEN - datetime.timedelta(minutes=1),
        _WHEN - datetime.timedelta(minutes=1)),
    "a share": ("share_mapping_get_by_share_id", "s"),
    "a server's devices": ("pci_device_get_all_by_instance_uuid", _UUID),
    # Hosts.
    "page of compute nodes": (
        "compute_node_get_all_by_pagination", 5, None),
    "page of compute nodes behind a marker": (
        "compute_node_get_all_by_pagination", 5, 3),
    "usage of a volume": (
        "vol_usage_update", _A_VOLUME, 1, 2, 3, 4, _UUID, _A_PROJECT, "u",
        "z"),
    # Migrations.
    "a migration": ("migration_get", 16),
    "page of migrations by id": (
        "migration_get_all_by_filters", {}, ["id"], ["desc"], 5),
    "a migration by UUID": ("migration_get_by_uuid", "m15"),
    "a node's migrations": (
        "migration_get_in_progress_and_error_by_host_and_node", _A_HOST,
        "n"),
    "a host's migrations": (
        "migration_get_all_by_filters", {"host": _A_HOST}),
    "unconfirmed migrations": (
        "migration_get_unconfirmed_by_dest_compute", 60, _A_HOST),
    "page of migrations": (
        "migration_get_all_by_filters", {}, ["created_at", "id"],
        ["desc", "desc"], 5),
    "marker of another cell's migration": (
        "migration_get_by_sort_filters", ["created_at", "id"],
        ["desc", "desc"], [_WHEN, 1]),
    "archive of nothing": ("archive_deleted_rows", 10),
    "archive of nothing old": (
        "archive_deleted_rows", 10, _WHEN, True),
    "purge of nothing": ("purge_shadow_tables", None),
    "purge of nothing old": ("purge_shadow_tables", _WHEN),
    # The API database.
    "a mapping": (
        "nova.objects.instance_mapping:InstanceMapping."
        "_get_by_instance_uuid_from_db", _UUID),
    "a project's mappings": (
        "nova.objects.instance_mapping:InstanceMappingList."
        "_get_by_project_id_from_db", _A_PROJECT),
    "a cell's mappings": (
        "nova.objects.instance_mapping:InstanceMappingList."
        "_get_not_deleted_by_cell_and_project_from_db", _A_CELL, None, 5),
    "a request spec": (
        "nova.objects.request_spec:RequestSpec."
        "_get_by_instance_uuid_from_db", _UUID),
    "all build requests": (
        "nova.objects.build_request:BuildRequestList._get_all_from_db",),
}

_NO_INDEX = "SQL has no index for it either; of each server one row is read"
_NO_ORDER = "no index of SQL's has this order either: all are sorted"
EXCEPTIONS = {
    "all projects' page by host": _NO_ORDER,
    "all projects' page by state": _NO_ORDER,
    "all projects' page by change": "the index has the hour: all that changed "
    "in the last one or two are read",
    "a page of rare metadata": "SQL has no index by a value either: both look "
    "at servers in the page's order until it is full",
    "a page of booting servers": "a boot would write an entry more",
    "a page of a boot's task": "a boot would write four entries more",
    "a page of a reservation": "compared by a regular expression",
    "a page without a host": "no query of Nova's asks for it",
    "a page of a name": "the first entries, and all if these are not enough",
    "active in a time": "the answer is all servers of that time",
}
#: Calls that read more bytes, but no more commands.
WIDE = {
    "all projects' page by name": "of each server an entry is sorted",
    "all projects' page by UUID": "of each server an entry is sorted",
    "archive of nothing old": "the log has no index by when a row changed",
    "usage of a volume": "SQL has no index by volume; hosts do not report it "
    "unless volume_usage_poll_interval is set",
}
DIALECT_EXCEPTIONS = {
    **{name: EXCEPTIONS[name] for name in EXCEPTIONS},
    "all projects' page by change": _NO_ORDER,
    "a page without a tag": "a subquery decides which rows pass",
    "a page of metadata": "a subquery decides which rows pass",
    "deleted and soft-deleted servers": _NO_INDEX,
    "deleted servers": "an OR of two columns",
    "servers of a name": "without a limit SQLite looks at the rows",
    "a cell's mappings": "a limit over an inner join is not pushed down; "
    "the native function reads what it returns",
}


_I, _M, _B = main_models.Instance, main_models.Migration, (
    main_models.BlockDeviceMapping)
_LOG, _MAPPING = main_models.TaskLog, api_models.InstanceMapping
_SPEC = api_models.RequestSpec
_A_DAY = datetime.timedelta(days=1)
#: Statements on the dialect that SQL answers by an index.
STATEMENTS = {
    "count of a project": sa.select(sa.func.count()).select_from(_I).where(
        _I.project_id == _A_PROJECT, _I.deleted == 0),
    "oldest": sa.select(sa.func.min(_I.created_at)),
    "newest": sa.select(sa.func.max(_I.created_at)),
    "newest row": sa.select(_I).order_by(_I.created_at.desc()).limit(1),
    "highest id": sa.select(sa.func.max(_M.id)),
    "by id behind a marker": sa.select(_I.id).where(_I.id > 20).order_by(
        _I.id).limit(5),
    "live by id": sa.select(_I.id).where(_I.deleted == 0).order_by(
        _I.id.desc()).limit(5).offset(3),
    "devices by id": sa.select(_B.id).where(_B.id > 20).order_by(
        _B.id).limit(5),
    "specs by id": sa.select(_SPEC.id).order_by(_SPEC.id).limit(5),
    "some specs": sa.select(_SPEC.id).limit(5),
    "some of a cell": sa.select(_MAPPING.id).where(
        _MAPPING.cell_id == 1).limit(5),
    "is any deleted": sa.select(sa.exists().where(_I.deleted != 0)),
    "deleted before": sa.select(_I.id).where(_I.deleted_at < _WHEN),
    "deleted in a time": sa.select(_I.id).where(
        _I.deleted_at.between(_WHEN - _A_DAY, _WHEN)),
    "migrations of a time": sa.select(_M.id).where(
        _M.created_at.between(_WHEN, _WHEN + _A_DAY)),
    "newest migration": sa.select(_M).order_by(
        _M.created_at.desc(), _M.id.desc()).limit(1),
    "log of a period": sa.select(_LOG.id).where(
        _LOG.period_beginning == _WHEN),
    "first of the log": sa.select(_LOG.id).order_by(_LOG.id).limit(5),
    "old of the log": sa.delete(_LOG).where(
        _LOG.period_ending < _WHEN - 900 * _A_DAY),
    "update of a time": sa.update(_I).where(
        _I.updated_at > _WHEN + _A_DAY).values(vm_state="x"),
    "delete of ids": sa.delete(_B).where(_B.id > 10 ** 6),
}


def _insert(database, table, rows):
    tx = database.begin()
    for row in rows:
        tx.insert(table, row)
    tx.commit()


def _cloud(count, make=clouds.KVSCloud):
    """Return a cloud of servers, ten on each host and in each project."""
    cloud = make()
    uuids = ["%08d-0000-4000-8000-000000000000" % n for n in range(count)]
    when = [str(_WHEN - datetime.timedelta(minutes=count - n)) + ".000000"
            for n in range(count)]
    for first in range(0, count, 50):
        some = range(first, first + 50)
        _insert(cloud.main, "instances", [
            {"id": n + 1, "uuid": uuids[n], "deleted": 0, "node": "n",
             "project_id": "p%d" % (n // 10), "host": "h%d" % (n // 10),
             "created_at": when[n], "updated_at": when[n],
             "display_name": "n%d-" % n, "image_ref": "i%d" % n,
             "vm_state": "active",
             "task_state": "migrating" if n == 15 else None} for n in some])
        _insert(cloud.main, "instance_faults", [
            {"id": n + 1, "instance_uuid": uuids[n], "deleted": 0,
             "code": 500, "created_at": when[n]} for n in some])
        _insert(cloud.main, "tags", [
            {"resource_id": uuids[n], "tag": "t%d" % n} for n in some])
        _insert(cloud.main, "instance_metadata", [
            {"id": 2 * n + at, "instance_uuid": uuids[n], "deleted": 0,
             "key": key, "value": value}
            for n in some for at, (key, value) in enumerate(
                (("k", "v%d" % n), ("all", "1")), 1)])
        _insert(cloud.main, "migrations", [
            {"id": n + 1, "uuid": "m%d" % n, "instance_uuid": uuids[n],
             "source_compute": "h%d" % (n // 10), "source_node": "n",
             "dest_compute": "h%d" % (n // 10), "dest_node": "n",
             "status": "running", "created_at": when[n], "deleted": 0}
            for n in some])
        _insert(cloud.main, "block_device_mapping", [
            {"id": n + 1, "instance_uuid": uuids[n], "deleted": 0,
             "volume_id": "v%d" % n} for n in some])
        _insert(cloud.main, "virtual_interfaces", [
            {"id": n + 1, "instance_uuid": uuids[n], "deleted": 0,
             "uuid": "vif%d" % n, "address": "a%d" % n} for n in some])
        _insert(cloud.api, "instance_mappings", [
            {"id": n + 1, "instance_uuid": uuids[n], "cell_id": 1,
             "project_id": "p%d" % (n // 10), "queued_for_delete": 0}
            for n in some])
        _insert(cloud.api, "request_specs", [
            {"id": n + 1, "instance_uuid": uuids[n], "spec": "{}"}
            for n in some])
        _insert(cloud.main, "compute_nodes", [
            {"id": n + 1, "uuid": "n%d" % n, "host": "h%d" % n,
             "hypervisor_hostname": "n%d" % n, "deleted": 0, "mapped": 0,
             "cpu_info": "", "hypervisor_type": "q", **dict.fromkeys((
                 "vcpus", "memory_mb", "local_gb", "vcpus_used",
                 "memory_mb_used", "local_gb_used", "hypervisor_version"), 1)}
            for n in some])
        _insert(cloud.main, "volume_usage_cache", [
            {"id": n + 1, "volume_id": "v%d" % n, "deleted": 0,
             **dict.fromkeys((total + counted for total in ("tot_", "curr_")
                              for counted in ("reads", "read_bytes", "writes",
                                              "write_bytes")), 1)}
            for n in some])
        _insert(cloud.main, "task_log", [
            {"id": n + 1, "task_name": "t", "state": "DONE", "message": "m",
             "host": "h%d" % (n // 10), "period_beginning": when[n],
             "period_ending": when[n], "deleted": 0} for n in some])
    _insert(cloud.api, "cell_mappings", [
        {"id": 1, "uuid": _A_CELL, "name": "c"}])
    return cloud


@pytest.fixture(scope="module")
def few_and_many():
    return _cloud(50), _cloud(500)


def _cost(cloud, monkeypatch, target, *args):
    """Return (commands of a call, bytes, tables of servers that it scans)."""
    target = target if ":" in target else _MAIN + target
    # Filters of servers look at it.
    conf.CONF.set_override("connection", cloud.main_url, "database")
    scanned = set()
    count_scan = reader.Reader.count_scan

    def counting(self, table):
        if table.kind != partition_rules.TABLE:
            scanned.add(table.name)
        return count_scan(self, table)

    stats = cloud.main.store.stats, cloud.api.store.stats
    with monkeypatch.context() as patch:
        patch.setattr(reader.Reader, "count_scan", counting)
        costs = []
        # The first call fills what a process remembers.
        for _turn in range(2):
            before = _used(stats)
            cloud.call(target, clouds.context(), *args)
            costs.append([now - then for now, then in zip(
                _used(stats), before)])
    conf.CONF.clear_override("connection", "database")
    return *map(min, zip(*costs)), scanned


def _used(stats):
    return (sum(one.commands for one in stats),
            sum(one.bytes_in for one in stats))


@pytest.mark.parametrize("name", CALLS)
def test_commands_of_a_call(few_and_many, monkeypatch, name):
    (few, few_bytes, scanned), (many, many_bytes, _) = (
        _cost(cloud, monkeypatch, *CALLS[name]) for cloud in few_and_many)
    grows = many > few + 2
    is_wide = many_bytes > 2 * few_bytes + 6000
    print("%s: %d commands, %d bytes with 50 servers, %d, %d with 500%s" % (
        name, few, few_bytes, many, many_bytes,
        "; " + {**WIDE, **EXCEPTIONS}[name] if grows or is_wide else ""))
    assert (grows or bool(scanned)) == (name in EXCEPTIONS)
    assert name in EXCEPTIONS or is_wide == (name in WIDE)


def _statement_cost(cloud, statement, url):
    """Return (commands, bytes that come) of a statement, the second time."""
    database = cloud.api if url == "api_url" else cloud.main
    engine = sa.create_engine(getattr(cloud, url))
    for _turn in range(2):
        stats = database.store.stats
        commands, size = stats.commands, stats.bytes_in
        with engine.connect() as connection:
            connection.execute(statement)
            connection.rollback()
        cost = stats.commands - commands, stats.bytes_in - size
    engine.dispose()
    return cost


@pytest.mark.parametrize("name", STATEMENTS)
def test_cost_of_a_statement(few_and_many, name):
    statement = STATEMENTS[name]
    url = "api_url" if name in (
        "specs by id", "some specs", "some of a cell") else "main_url"
    few, many = (_statement_cost(cloud, statement, url)
                 for cloud in few_and_many)
    print("%s: %s with 50 servers, %s with 500" % (name, few, many))
    assert many[0] <= few[0] + 4
    # Of each of an index's eight buckets as many entries are read as a page
    # could need: with 50 servers there are fewer.
    assert many[1] <= 2 * few[1] + 6000


def test_exceptions_are_calls():
    assert EXCEPTIONS.keys() | WIDE.keys() <= CALLS.keys()
    assert DIALECT_EXCEPTIONS.keys() <= CALLS.keys()


class _OnDialect(clouds.DialectCloud):
    """Nova's own functions, on the embedded store."""

    main = property(lambda self: self.cloud.main)
    api = property(lambda self: self.cloud.api)
    main_url = property(lambda self: self.cloud.main_url)


@pytest.fixture(scope="module")
def on_dialect():
    found = _cloud(50, _OnDialect), _cloud(150, _OnDialect)
    yield found
    kvs_conf.CONF.clear_override("db_api", "nova_kvs")


@pytest.mark.parametrize("name", CALLS)
def test_commands_of_a_call_on_the_dialect(on_dialect, monkeypatch, name):
    (few, _, scanned), (many, _, _) = (
        _cost(cloud, monkeypatch, *CALLS[name]) for cloud in on_dialect)
    grows = many > few + 2
    print("%s: %d commands with 50 servers, %d with 150%s" % (
        name, few, many, "; " + DIALECT_EXCEPTIONS[name] if grows else ""))
    assert (grows or bool(scanned)) == (name in DIALECT_EXCEPTIONS), (
        few, many, scanned)
