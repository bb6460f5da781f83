# SPDX-License-Identifier: Apache-2.0
"""When a call is native, and when it is Nova's own."""

import importlib.metadata
import inspect
import pathlib
import re
import sys
from unittest import mock

from nova import context as nova_context
from nova.db.api import models as api_models
from nova.db.main import api as main_db_api
from nova.db.main import models as main_models
from nova.db import utils as db_utils
from nova import exception
from nova import objects
from oslo_db.sqlalchemy import enginefacade
import pytest

from nova_kvs.db import api
from nova_kvs.db import dispatch
from nova_kvs.db import engines
from nova_kvs.db import native
from nova_kvs.db import overrides
from nova_kvs.db import server_requests
from nova_kvs.dialect import filters
from tests.differential import clouds

_UUID = "00000001-0000-4000-8000-000000000000"
_GET = native.MAIN + ":instance_get_by_uuid"


@pytest.fixture
def cloud():
    made = clouds.KVSCloud()
    api.install()
    yield made
    dispatch.uninstall()


def _sql_manager():
    manager = enginefacade.transaction_context()
    manager.configure(connection="sqlite://")
    main_models.BASE.metadata.create_all(manager.writer.get_engine())
    return manager


def _context(manager):
    context = nova_context.RequestContext("u1", "p1", is_admin=True)
    context.db_connection = manager
    return context


def _create(context):
    return main_db_api.instance_create(
        context, {"uuid": _UUID, "project_id": "p1", "user_id": "u1"})


def test_kvs_context_is_native(cloud):
    context = _context(cloud.manager)
    _create(context)
    trips = cloud.main.store.stats.round_trips
    row = main_db_api.instance_get_by_uuid(context, _UUID)
    assert row._table.name == "instances"
    assert cloud.main.store.stats.round_trips == trips + 1


def test_sql_context_is_novas(cloud):
    context = _context(_sql_manager())
    _create(context)
    row = main_db_api.instance_get_by_uuid(context, _UUID)
    assert isinstance(row, main_models.Instance)


def test_both_in_one_process(cloud):
    ours, novas = _context(cloud.manager), _context(_sql_manager())
    _create(ours)
    with pytest.raises(exception.InstanceNotFound):
        main_db_api.instance_get_by_uuid(novas, _UUID)
    assert main_db_api.instance_get_by_uuid(ours, _UUID)


def test_replaced_helper_has_its_effect(cloud):
    manager = enginefacade.transaction_context()
    manager.configure(connection=cloud.main_url)
    context = _context(manager)
    _create(context)
    with mock.patch.object(main_db_api, "_instance_get_by_uuid",
                           return_value=mock.sentinel.row):
        assert main_db_api.instance_get_by_uuid(
            context, _UUID) is mock.sentinel.row
    assert main_db_api.instance_get_by_uuid(context, _UUID).uuid == _UUID


def test_replaced_helper_of_a_helper_is_noticed(cloud):
    watched = native.REGISTRY[_GET].nova_callees
    assert not overrides.are_replaced(watched)
    with mock.patch.object(main_db_api, "model_query"):
        assert overrides.are_replaced(watched)
    with mock.patch("sqlalchemy.orm.joinedload"):
        assert overrides.are_replaced(watched)
    with mock.patch.object(main_db_api, "instance_destroy"):
        assert not overrides.are_replaced(watched)


def test_a_helper_that_the_dialect_tells_of_us_is_not_replaced(cloud):
    watched = native.REGISTRY[
        native.MAIN + ":instance_get_all_by_filters_sort"].nova_callees
    helper = db_utils._db_connection_type
    novas = getattr(helper, "__wrapped__", helper)
    watched = [(look_up, name, novas if value is helper else value)
               for look_up, name, value in watched]
    assert any(value is novas for _look_up, _name, value in watched)
    with mock.patch.object(db_utils, "_db_connection_type", novas):
        # The first engine, after the native functions were put in.
        filters.register()
        assert db_utils._db_connection_type is not novas
        assert not overrides.are_replaced(watched)
    with mock.patch.object(db_utils, "_db_connection_type"):
        assert overrides.are_replaced(watched)


def test_open_transaction_is_novas(cloud):
    manager = _sql_manager()
    context = _context(manager)
    context.db_connection = manager
    engines._databases[manager._factory] = (cloud.main, cloud.main)
    with manager.writer.using(context):
        row = _create(context)
    assert isinstance(row, main_models.Instance)
    assert native.main_database(context) is cloud.main


def test_transaction_on_another_database_is_no_obstacle(cloud):
    context = _context(cloud.manager)
    with _sql_manager().writer.using(context):
        assert native.main_database(context) is cloud.main


def test_objects_of_the_api_database(cloud):
    context = _context(cloud.manager)
    with clouds._factories(cloud.manager._factory, cloud.api_factory):
        mapping = objects.InstanceMapping(
            context, instance_uuid=_UUID, project_id="p1", user_id="u1")
        mapping.create()
        found = objects.InstanceMapping.get_by_instance_uuid(context, _UUID)
    assert found.project_id == "p1"
    assert len(cloud.rows(api_models.BASE)["instance_mappings"]) == 1


def test_new_server_is_one_commit(cloud):
    from nova.compute import api as compute_api

    api.install()
    context = _context(cloud.manager)
    spec = objects.RequestSpec(
        context, instance_uuid=_UUID, flavor=objects.Flavor(flavorid="1"),
        num_instances=1)
    request = objects.BuildRequest(
        context, instance_uuid=_UUID, project_id="p1",
        instance=objects.Instance(uuid=_UUID))
    mapping = objects.InstanceMapping(
        context, instance_uuid=_UUID, project_id="p1", user_id="u1")
    with clouds._factories(cloud.manager._factory, cloud.api_factory):
        cloud.set_next_id(api_models.BASE, 1)
        commits = cloud.api.coordinator.stats.commits
        compute_api.API._create_reqspec_buildreq_instmapping(
            context, spec, request, mapping)
        assert cloud.api.coordinator.stats.commits == commits + 1
        assert set(cloud.rows(api_models.BASE)) == {
            "request_specs", "build_requests", "instance_mappings"}


def test_new_server_leaves_nothing_behind(cloud):
    from nova.compute import api as compute_api

    api.install()
    context = _context(cloud.manager)
    spec = objects.RequestSpec(
        context, instance_uuid=_UUID, flavor=objects.Flavor(flavorid="1"),
        num_instances=1)
    with clouds._factories(cloud.manager._factory, cloud.api_factory):
        with pytest.raises(AttributeError):
            compute_api.API._create_reqspec_buildreq_instmapping(
                context, spec, None, None)
        assert cloud.rows(api_models.BASE) == {}


@pytest.mark.parametrize("use_slave", [False, True])
def test_reader_mode_opens_no_transaction(cloud, monkeypatch, use_slave):
    context = _context(cloud.manager)
    _create(context)
    seen = []
    wrapper = native.REGISTRY[_GET]

    def spy(context, *args, **kwargs):
        seen.append(native._use_slave.get())
        return wrapper(context, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(main_db_api, "instance_get_by_uuid", spy)
        found = objects.Instance.get_by_uuid(context, _UUID,
                                             use_slave=use_slave)
    assert found.uuid == _UUID
    assert seen == [use_slave]


def test_no_database_access_in_compute(cloud, monkeypatch):
    context = _context(cloud.manager)
    monkeypatch.setattr(main_db_api, "DISABLE_DB_ACCESS", True)
    with pytest.raises(exception.DBNotAllowed):
        main_db_api.instance_get_by_uuid(context, _UUID)


def test_install_twice(cloud):
    assert api.install() == 0


def test_a_module_that_is_imported_later_is_found(cloud, monkeypatch):
    from nova.compute import api as compute_api

    function = native.REGISTRY[server_requests.TARGET]
    dispatch.uninstall()
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "nova.compute.api")
        api.install()
        _create(_context(cloud.manager))
        assert set(native.awaited) == {"nova.compute.api"}
    found = inspect.getattr_static(
        compute_api.API, "_create_reqspec_buildreq_instmapping")
    assert found.__func__ is not function
    # As soon as its process asks a database for anything.
    main_db_api.instance_get_by_uuid(
        _context(cloud.manager), _UUID)
    found = inspect.getattr_static(
        compute_api.API, "_create_reqspec_buildreq_instmapping")
    assert found.__func__ is function
    assert native.awaited == {}


def test_fallback_calls_novas(cloud, monkeypatch):
    context = _context(cloud.manager)
    wrapper = native.REGISTRY[_GET]
    calls = []
    monkeypatch.setattr(
        native, "original",
        lambda target: lambda *args, **kwargs: calls.append(target))
    # A column that the native function does not know.
    wrapper(context, _UUID, ["console_auth_tokens"])
    assert calls == [_GET]


def test_uninstall_restores(cloud):
    patched = main_db_api.instance_get_by_uuid
    assert patched is native.REGISTRY[_GET]
    novas = patched.nova_original
    dispatch.uninstall()
    assert main_db_api.instance_get_by_uuid is novas
    raw = inspect.getattr_static(objects.Instance, "_db_instance_get_by_uuid")
    assert raw.__func__.__code__ is dispatch._reader_mode_code()


def test_coverage_names_every_function():
    rows = dict(dispatch.coverage())
    assert rows["instance_get_by_uuid"] == "native"
    assert rows["archive_deleted_rows"] in ("native", "dialect")
    assert rows["objects.instance_mapping:InstanceMapping."
                "_get_by_instance_uuid_from_db"] == "native"
    assert len(rows) > 250


def test_documented_table_is_that_of_the_code():
    page = pathlib.Path(__file__).parents[3].joinpath(
        "doc", "source", "contributor", "native.inc").read_text(
            encoding="utf-8")
    assert page == dispatch.table()
    installed = importlib.metadata.version("nova").partition(".")[0]
    header, *rows = re.findall(r"\* - (.+)\n((?: +- .+\n)+)", page)
    column = header[1].split().index(installed) // 2
    runs = {name.strip("`"): re.findall("- (.+)", cells)[column]
            for name, cells in rows}
    assert {name: how for name, how in runs.items() if how != "--"} == dict(
        dispatch.coverage())
