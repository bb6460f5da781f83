# SPDX-License-Identifier: Apache-2.0
"""Which functions native ones stand for, with a Nova that is another."""

import functools
import logging
import sys
from unittest import mock

from nova.db.main import api as main_db_api
from oslo_db.sqlalchemy import enginefacade
import pytest

from nova_kvs.compatibility import private
from nova_kvs.compatibility import releases
from nova_kvs.db import api
from nova_kvs.db import dispatch
from nova_kvs.db import engines
from nova_kvs.db import native
from nova_kvs.db import overrides
from nova_kvs.db.placement import dispatch as placement_dispatch
from nova_kvs.db import selection
from nova_kvs.dialect import native_api

_NAME = "service_get"
_TARGET = "%s:%s" % (native.MAIN, _NAME)
_OTHER = native.MAIN + ":migration_get"


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for one in (dispatch, placement_dispatch):
        one.uninstall()
        monkeypatch.setattr(one.selection, "_is_told", False)
    yield
    for one in (dispatch, placement_dispatch):
        one.uninstall()


@pytest.fixture
def unknown(monkeypatch):
    """Have one function of Nova's changed."""
    real = releases.Release.is_known
    monkeypatch.setattr(
        releases.Release, "is_known", lambda self, target:
        target != _TARGET and real(self, target))


def _is_native(target):
    owner, name = native.lookup(target)
    return getattr(owner, name) is native.REGISTRY[target]


def test_what_is_not_known_stays(unknown, caplog):
    caplog.set_level(logging.WARNING)
    api.install()
    api.install()
    assert not _is_native(_TARGET)
    assert _is_native(_OTHER)
    told, = [record.getMessage() for record in caplog.records
             if record.name == selection.__name__]
    assert told.startswith("1 functions of nova ")
    assert _TARGET in told


def test_all_is_known(caplog):
    api.install()
    assert _is_native(_TARGET)
    assert [record for record in caplog.records
            if record.name == selection.__name__] == []


@pytest.mark.parametrize("how", ["argument", "option", "query"])
def test_what_is_trusted(unknown, monkeypatch, how):
    if how == "argument":
        api.install(True)
    elif how == "option":
        monkeypatch.setattr(native_api, "conf", mock.Mock())
        native_api.conf.CONF.nova_kvs.trust_unknown_releases = True
        native_api.install("kvs")
    else:
        native_api.install("kvs", "false")
        assert not _is_native(_TARGET)
        native_api.install("kvs", "true")
    assert _is_native(_TARGET)


def test_other_parameters_are_never_trusted(unknown, monkeypatch):
    def changed(context, service_id, and_more):
        pass

    changed = _as_if_of_nova(changed)
    monkeypatch.setattr(main_db_api, _NAME, changed)
    api.install(True)
    assert main_db_api.service_get is changed


def _as_if_of_nova(function):
    return type(function)(
        function.__code__, {"__name__": native.MAIN}, function.__name__,
        function.__defaults__)


def _patched(function):
    @functools.wraps(function)
    def patch(*args, **kwargs):
        return function(*args, **kwargs)

    return patch


def test_a_patched_function_stays():
    own = main_db_api.service_get
    with mock.patch.object(main_db_api, _NAME, _patched(own)) as patch:
        api.install()
        assert main_db_api.service_get is patch
        assert _is_native(_OTHER)
    # A test's patch has an end.
    assert api.install() > 0
    assert _is_native(_TARGET)


def test_a_function_with_a_patched_helper_stays():
    target = native.MAIN + ":instance_get_by_uuid"
    with mock.patch.object(main_db_api, "_instance_get_by_uuid", _patched(
            main_db_api._instance_get_by_uuid)):
        api.install()
        assert not _is_native(target)
        assert _is_native(_TARGET)


def test_decorators_of_libraries_are_no_patches():
    assert overrides.is_own(main_db_api.instance_update)
    assert overrides.is_own(enginefacade.transaction_context)
    assert not overrides.is_own(mock.Mock())
    assert not overrides.is_own(len)
    assert not overrides.is_own(_patched(main_db_api.instance_update))


def test_a_module_that_does_not_load_is_left_out(monkeypatch, caplog):
    """And what was registered by it until then."""
    caplog.set_level(logging.WARNING)
    name = "nova_kvs.db.quotas"
    before = dict(native.REGISTRY)
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(private, "DEFAULT_QUOTA_NAME", "_gone")
    again = selection.Selection("nova", [name, "nova_kvs.db.services"], {
        target: wrapper for target, wrapper in before.items()
        if wrapper.__module__ != name})
    monkeypatch.setattr(native, "REGISTRY", again._registry)
    again.load()
    assert isinstance(again.failures[name], AttributeError)
    assert native.MAIN + ":quota_get" not in again.load()
    again.tell(False)
    told, = [record.getMessage() for record in caplog.records]
    assert native.MAIN + ":quota_get" in told
    assert "nova_kvs.db.quotas does not load: AttributeError: " in told
    assert _TARGET not in told


@pytest.mark.parametrize("name", ["FACTORY", "ENGINEFACADE_CONTEXT"])
def test_nothing_is_native_without_oslo_dbs_names(monkeypatch, caplog, name):
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(private, name, "_gone")
    engines.can_tell.cache_clear()
    try:
        assert api.install() == 0
        assert not _is_native(_TARGET)
    finally:
        monkeypatch.undo()
        engines.can_tell.cache_clear()
    assert caplog.text.count("Every function runs on the dialect") == 1
    assert api.install() > 0


def test_a_layer_that_does_not_load(monkeypatch, caplog):
    monkeypatch.setattr(api, "_failed", set())
    monkeypatch.setattr(dispatch, "install", mock.Mock(
        side_effect=AttributeError("gone")))
    api.install()
    api.install()
    assert caplog.text.count("AttributeError: gone") == 1


def test_a_reader_mode_that_is_not_known_keeps_its_transaction(monkeypatch):
    """It may ask the session of that."""
    from nova.objects import service
    real = releases.Release.is_known
    name = "_db_service_get_by_compute_host"
    monkeypatch.setattr(
        releases.Release, "is_known", lambda self, target:
        not target.endswith(name) and real(self, target))
    api.install()
    assert not hasattr(getattr(service.Service, name), "reader_mode")
    assert hasattr(service.Service._db_service_get_minimum_version,
                   "reader_mode")
    target = "nova.objects.service:Service." + name
    assert target in dispatch.selection.left_out()


def test_no_reader_mode(monkeypatch):
    monkeypatch.delattr(main_db_api, "select_db_reader_mode")
    assert api.install() > 0
    assert _is_native(_TARGET)
