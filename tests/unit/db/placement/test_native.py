# SPDX-License-Identifier: Apache-2.0
"""When Placement's functions run natively."""

import pathlib
import subprocess
import sys
from unittest import mock

from oslo_db import exception as db_exc
from placement.db.sqlalchemy import models
from placement import db_api
from placement import lib
from placement.objects import allocation
from placement.objects import allocation_candidate
from placement.objects import research_context
import pytest

from nova_kvs.db.placement import dispatch
from nova_kvs.db.placement import native
from nova_kvs.db.placement import overview
from nova_kvs.db import selection
from nova_kvs import exceptions
from tests.differential import placements

_TARGET = "placement.objects.allocation:_get_allocations_by_consumer_uuid"
_UUID = "00000001-0000-4000-8000-000000000000"
ROWS = {
    models.ResourceClass: [{"id": 0, "name": "VCPU"}],
    models.ResourceProvider: [
        {"id": 1, "uuid": "rp1", "name": "n", "generation": 1,
         "root_provider_id": 1}],
    models.Trait: [{"id": 1, "name": "MISC_SHARES_VIA_AGGREGATE"}],
    models.Inventory: [
        {"id": 1, "resource_provider_id": 1, "resource_class_id": 0,
         "total": 8, "reserved": 0, "min_unit": 1, "max_unit": 8,
         "step_size": 1, "allocation_ratio": 1.0}],
    models.Project: [{"id": 1, "external_id": "p"}],
    models.User: [{"id": 1, "external_id": "u"}],
    models.Consumer: [{"id": 1, "uuid": _UUID, "project_id": 1,
                       "user_id": 1, "generation": 0}],
    models.Allocation: [
        {"id": 1, "resource_provider_id": 1, "consumer_id": _UUID,
         "resource_class_id": 0, "used": 2}]}


@pytest.fixture
def side():
    made = placements.Native()
    made.fill(ROWS)
    with placements.installed():
        yield made


@pytest.fixture
def calls(monkeypatch):
    """Notes the names of native functions that run."""
    made = []
    for target, wrapper in dispatch.load().items():
        if hasattr(wrapper, "native"):
            _spy(monkeypatch, wrapper, target, made)
    return made


def _spy(monkeypatch, wrapper, target, made):
    # The closure is what a call goes through.
    run = dict(zip(wrapper.__code__.co_freevars,
                   wrapper.__closure__))["run"]
    before = run.cell_contents

    def noted(*args):
        made.append(target.rpartition(":")[2])
        return before(*args)

    monkeypatch.setattr(run, "cell_contents", noted)


def used(context):
    return [item.used for item in
            allocation.get_all_by_consumer_id(context, _UUID)]


def test_runs_natively(side, calls):
    assert side.call(used) == [2]
    assert calls == ["_get_allocations_by_consumer_uuid"]


def test_within_a_transaction_placements_own_runs(side, calls):
    def function(context):
        with db_api.placement_context_manager.reader.using(context):
            return used(context)

    assert side.call(function) == [2]
    assert calls == []


def test_sees_what_the_transaction_wrote(side):
    def function(context):
        with db_api.placement_context_manager.writer.using(context):
            context.session.execute(
                models.Allocation.__table__.update().values(used=3))
            return used(context)

    assert side.call(function) == [3]


def test_other_databases_are_left_alone(side, calls):
    sqlite = placements.SQLite()
    sqlite.fill(ROWS)
    assert sqlite.call(used) == [2]
    assert calls == []


def test_url_can_switch_it_off(side, calls):
    off = placements.Native()
    off.url += "?db_api=none"
    off.manager = off._connect(off.url)
    models.BASE.metadata.create_all(off.manager.writer.get_engine())
    assert off.call(used) == []
    assert calls == []


@pytest.mark.parametrize("target", [
    "placement.objects.allocation.sa.join", "sqlalchemy.select"])
def test_gives_way_to_a_patch(side, calls, target):
    with side.active(), mock.patch(target) as patch:
        patch.side_effect = ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            used(placements.context())
    assert calls == []


def test_replaced_function_is_called(side, calls):
    with side.active(), mock.patch.object(
            allocation, "_get_allocations_by_consumer_uuid",
            return_value=[]):
        assert used(placements.context()) == []
    assert calls == []


def test_context_may_be_a_keyword(side, calls):
    def function(context):
        return allocation._get_allocations_by_consumer_uuid(
            consumer_uuid=_UUID, ctx=context)

    assert len(side.call(function)) == 1
    assert len(calls) == 1


@pytest.mark.parametrize("error, expected", [
    (exceptions.StoreUnavailableError(), db_exc.DBConnectionError),
    (exceptions.CorruptRecordError(), db_exc.DBError)])
def test_errors_are_those_of_oslo_db(side, error, expected):
    with mock.patch.object(side.database.coordinator, "read",
                           side_effect=error):
        with pytest.raises(expected):
            side.call(used)


def test_database_without_the_tables(side, calls):
    """Placement's own says what is wrong."""
    empty = placements.Native()
    transaction = empty.database.begin()
    transaction.set_schema(())
    transaction.commit()
    with pytest.raises(db_exc.DBError, match="no such table"):
        empty.call(used)


@pytest.mark.parametrize("target", sorted(dispatch.load()))
def test_signature_is_placements(target):
    assert selection.has_parameters_of(
        native.original(target), native.REGISTRY[target])


def test_function_of_other_parameters_stays():
    def changed(ctx, consumer_uuid, and_more):
        pass

    with mock.patch.object(
            allocation, "_get_allocations_by_consumer_uuid", changed):
        dispatch.install()
        try:
            assert (allocation._get_allocations_by_consumer_uuid
                    is changed)
        finally:
            dispatch.uninstall()


def test_function_that_is_not_there():
    own = allocation._get_allocations_by_provider_id
    del allocation._get_allocations_by_provider_id
    try:
        assert dispatch.install() == len(native.REGISTRY) - 1
    finally:
        allocation._get_allocations_by_provider_id = own
        dispatch.uninstall()


def test_install_and_uninstall():
    before = native.lookup(_TARGET)[2]
    assert dispatch.install() == len(native.REGISTRY)
    assert dispatch.install() == 0
    assert native.lookup(_TARGET)[2] is native.REGISTRY[_TARGET]
    dispatch.uninstall()
    assert native.lookup(_TARGET)[2] is before


def test_does_not_import_nova():
    code = ("import sys\n"
            "from placement import handler\n"
            "from nova_kvs.db import api\n"
            "assert api.install() > 0\n"
            "from nova_kvs.dialect import dbapi\n"
            "wrong = [name for name in sys.modules\n"
            "         if name.partition('.')[0] == 'nova']\n"
            "assert wrong == [], wrong\n")
    subprocess.run([sys.executable, "-c", code], check=True)


def test_novas_processes_do_not_import_placement():
    code = ("import sys\n"
            "from nova.db.main import api as main_db_api\n"
            "from nova_kvs.db import api\n"
            "assert api.install() > 0\n"
            "assert 'placement' not in sys.modules\n")
    subprocess.run([sys.executable, "-c", code], check=True)


def candidates(context):
    """Return what is used of each candidate."""
    found = allocation_candidate.AllocationCandidates.get_by_requests(
        context, {"": lib.RequestGroup(resources={"VCPU": 1})},
        lib.RequestWideParams())
    return [resource.used for summary in found.provider_summaries
            for resource in summary.resources]


def test_search_shares_one_session(side, calls, monkeypatch):
    sessions = []
    begin = type(side.database).begin

    def noted(self, *args, **kwargs):
        sessions.append(self)
        return begin(self, *args, **kwargs)

    monkeypatch.setattr(type(side.database), "begin", noted)
    assert side.call(candidates) == [2]
    assert len(sessions) == 1
    assert {"_has_provider_trees", "get_sharing_providers",
            "get_providers_with_resource", "get_usages_by_provider_trees",
            "_provider_ids_from_root_ids",
            "get_traits_by_provider_tree"} <= set(calls)


def test_search_falls_back_as_a_whole(side, calls, monkeypatch):
    def refuse(*args):
        raise native.Fallback()

    monkeypatch.setattr(overview, "usages", refuse)
    assert side.call(candidates) == [2]
    # Once natively, and not again within the transaction.
    assert calls.count("get_providers_with_resource") == 1


def test_search_gives_way_to_a_patch(side, calls):
    with side.active(), mock.patch.object(
            research_context, "get_providers_with_resource",
            return_value=set()):
        assert candidates(placements.context()) == []
    assert calls == []


def test_search_within_a_transaction(side, calls):
    def function(context):
        with db_api.placement_context_manager.writer.using(context):
            context.session.execute(
                models.Allocation.__table__.update().values(used=3))
            return candidates(context)

    assert side.call(function) == [3]
    assert calls == []


def test_search_meets_an_error(side):
    with mock.patch.object(
            side.database.coordinator, "read",
            side_effect=exceptions.StoreUnavailableError()):
        with pytest.raises(db_exc.DBConnectionError):
            side.call(candidates)
    assert native._shared.get() is None


def test_sums_are_those_of_now(side):
    assert side.call(candidates) == [2]
    assert side.call(candidates) == [2]
    other = placements.Dialect()
    other.database = side.database
    other.fill({models.Allocation: [
        dict(ROWS[models.Allocation][0], used=5)]})
    assert side.call(candidates) == [5]


def test_names_of_the_classes_that_are_allocated(side):
    side.fill({models.ResourceClass: [
        {"id": 0, "name": "VCPU"}, {"id": 1, "name": "MEMORY_MB"}]})

    def look(context):
        found = allocation.get_all_by_consumer_id(context, _UUID)
        read = dict(context.rc_cache._str_cache)
        return ([one.resource_class for one in found], read,
                context.rc_cache.string_from_id(1),
                context.rc_cache.id_from_string("VCPU"),
                len(list(context.rc_cache.get_all())))

    for _turn in range(2):
        assert side.call(look) == (
            ["VCPU"], {0: "VCPU"}, "MEMORY_MB", 0, 2)


def test_documentation_lists_the_functions():
    page = pathlib.Path(__file__).resolve().parents[4].joinpath(
        "doc", "source", "contributor", "placement.inc")
    assert page.read_text() == dispatch.table()
