# SPDX-License-Identifier: Apache-2.0
"""Finds and changes of one native call."""

import datetime

from nova.db.main import models
from oslo_db import exception as db_exc
from oslo_utils import timeutils
import pytest

from nova_kvs.db import errors
from nova_kvs.db import rows
from nova_kvs.db import session
from nova_kvs import exceptions
from nova_kvs.record import access
from tests.differential import clouds

SERVICES = rows.table(models.Service)
INSTANCES = rows.table(models.Instance)
METADATA = rows.table(models.InstanceMetadata)
_NOW = datetime.datetime(2026, 3, 1, 12, 0)
_LATER = datetime.datetime(2026, 3, 1, 13, 0)


@pytest.fixture
def kvs():
    timeutils.set_time_override(_NOW)
    yield clouds.KVSCloud().main
    timeutils.clear_time_override()


def _add(kvs, **values):
    s = session.Session(kvs)
    row = s.insert(SERVICES, values)
    s.commit()
    return row


@pytest.mark.parametrize("table, equal, expected", [
    (SERVICES, {"host": "h"}, access.ByIndex),
    (SERVICES, {"id": 1, "deleted": 0}, access.ByKey),
    (SERVICES, {"report_count": 1}, access.FullScan),
    (SERVICES, {"host": None}, access.FullScan),
    (INSTANCES, {"uuid": "u", "project_id": "p"}, access.ByPartition),
    (INSTANCES, {"project_id": "p", "deleted": 0}, access.ByIndex),
    (INSTANCES, {"project_id": session.Not(("p",))}, access.FullScan),
    (METADATA, {"instance_uuid": session.In(("a", "b"))},
     access.ByPartition),
])
def test_cheapest_access(kvs, table, equal, expected):
    chosen = session.Session(kvs)._access(session.Find(table, equal))
    assert type(chosen) is expected


def test_product_of_alternatives(kvs):
    chosen = session.Session(kvs)._access(
        session.Find(SERVICES, {
            "host": session.In(("a", "b")), "binary": "x"}))
    assert set(chosen.tuples) == {("a", "x"), ("b", "x")}


def test_defaults_and_types(kvs):
    _add(kvs, host="h", disabled=True)
    row = session.Session(kvs).first(SERVICES, host="h")
    assert (row.disabled, row.forced_down, row.report_count) == (
        True, False, 0)
    assert row.created_at == _NOW
    assert row.updated_at is None
    assert row.deleted == 0


def test_filters_are_exact(kvs):
    _add(kvs, host="h", binary="a", topic="a")
    _add(kvs, host="h", binary="b", topic="b", disabled=True)
    s = session.Session(kvs)
    assert [row.binary for row in s.all(SERVICES, host="h")] == ["a", "b"]
    assert s.first(SERVICES, host="h", disabled=True).binary == "b"
    assert s.count(SERVICES, binary=session.In(("a", None))) == 1
    assert s.count(SERVICES, binary=session.Not(("a",))) == 1
    assert s.count(SERVICES, uuid=session.Not(("a",))) == 0
    assert s.count(SERVICES, uuid=None) == 2
    assert s.count(SERVICES, id="1") == 1
    assert s.count(SERVICES, lambda stored: stored["id"] > 1) == 1


def test_update_without_a_change_writes_nothing(kvs):
    _add(kvs, host="h")
    s = session.Session(kvs)
    row = s.first(SERVICES, host="h")
    assert not s.update(row, {"host": "h"})
    s.commit()
    assert session.Session(kvs).first(SERVICES).updated_at is None


def test_update_takes_over_the_type_of_an_equal_value(kvs):
    """As the ORM's objects do."""
    _add(kvs, host="h", report_count=1)
    s = session.Session(kvs)
    row = s.first(SERVICES, host="h")
    assert not s.update(row, {"report_count": 1.0})
    assert type(row.report_count) is float


def test_update_sets_updated_at(kvs):
    _add(kvs, host="h", disabled_reason="x")
    timeutils.set_time_override(_LATER)
    s = session.Session(kvs)
    row = s.first(SERVICES, host="h")
    assert s.update(row, {"disabled_reason": None, "unknown": 1})
    s.commit()
    assert row.unknown == 1
    stored = session.Session(kvs).first(SERVICES)
    assert stored.updated_at == row.updated_at == _LATER
    assert stored.disabled_reason is None
    assert "unknown" not in stored


def test_update_all_counts_without_a_change(kvs):
    _add(kvs, host="h")
    s = session.Session(kvs)
    assert s.update_all(s.all(SERVICES), {"host": "h"}) == 1
    s.commit()
    assert session.Session(kvs).first(SERVICES).updated_at == _NOW


def test_soft_delete_keeps_updated_at(kvs):
    _add(kvs, host="h")
    s = session.Session(kvs)
    s.soft_delete(s.all(SERVICES))
    s.commit()
    row = session.Session(kvs).first(SERVICES)
    assert (row.deleted, row.deleted_at, row.updated_at) == (1, _NOW, None)


def test_one_row_for_one_record(kvs):
    _add(kvs, host="h", binary="b")
    s = session.Session(kvs)
    first, second = s.load(session.find(SERVICES, host="h"),
                           session.find(SERVICES, binary="b"))
    assert first[0] is second[0]


def test_rows_of_a_session_that_only_reads_are_values(kvs):
    _add(kvs, host="h", binary="b")
    s = session.Session(kvs, writes=False)
    first, second = s.load(session.find(SERVICES, host="h"),
                           session.find(SERVICES, binary="b"))
    assert first[0] is second[0]
    assert vars(first[0]).keys() == SERVICES.template.keys()


@pytest.mark.parametrize("value, stored", [
    (1, 1), (True, 1), (1.0, 1), ("1", 1), (session.In((True, 2, None)),
                                            session.In((1, 2)))])
def test_values_are_bound_as_they_are_stored(kvs, value, stored):
    bound = session.Session(kvs).bind_equal(
        session.find(SERVICES, report_count=value, host=None))
    assert bound == {"report_count": stored, "host": None}
    assert type(bound["report_count"]) is type(stored)


def test_delete_forgets_changes(kvs):
    _add(kvs, host="h")
    s = session.Session(kvs)
    found = s.all(SERVICES)
    s.update(found[0], {"host": "other"})
    assert s.delete(found) == 1
    s.commit()
    assert session.Session(kvs).all(SERVICES) == []


def test_duplicate_key(kvs):
    _add(kvs, host="h", binary="b", topic="t")
    with pytest.raises(db_exc.DBDuplicateEntry) as raised:
        _add(kvs, host="h", binary="other", topic="t")
    assert raised.value.columns == ["host", "topic", "deleted"]


def test_missing_value(kvs):
    with pytest.raises(db_exc.DBError):
        session.Session(kvs).insert(INSTANCES, {"host": "h"})


def test_refused_value(kvs):
    with pytest.raises(db_exc.DBError):
        session.Session(kvs).insert(SERVICES, {"disabled": "maybe"})


def test_conflict_is_left_to_the_caller(kvs):
    _add(kvs, host="h")
    first, second = session.Session(kvs), session.Session(kvs)
    first.update(first.first(SERVICES), {"report_count": 1})
    second.update(second.first(SERVICES), {"report_count": 1})
    first.commit()
    with pytest.raises(exceptions.ConflictError):
        second.commit()


def test_table_that_is_not_there(kvs):
    empty = clouds.database.open_database("kvs+memory:///test-no-tables")
    with pytest.raises(errors.Fallback):
        session.Session(empty).all(SERVICES, host="h")
    with pytest.raises(errors.Fallback):
        session.Session(empty).insert(SERVICES, {})


@pytest.mark.parametrize("error, expected", [
    (exceptions.ConflictError(), db_exc.DBDeadlock),
    (exceptions.FloorError(), db_exc.DBDeadlock),
    (exceptions.UndeterminedError(), db_exc.DBConnectionError),
    (exceptions.StoreUnavailableError(), db_exc.DBConnectionError),
    (exceptions.UnsupportedStatementError(), db_exc.DBNotSupportedError),
    (exceptions.CorruptRecordError(), db_exc.DBError),
    (exceptions.FormatVersionError(), db_exc.DBError),
    (exceptions.StoreReplyError(), db_exc.DBError),
])
def test_translation(error, expected):
    assert type(errors.translate(error)) is expected
