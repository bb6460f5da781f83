# SPDX-License-Identifier: Apache-2.0
"""SQL's comparisons and orders, checked against SQLite itself."""

import sqlite3

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception
from oslo_db.sqlalchemy import utils as sqlalchemyutils
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from nova_kvs.db import errors
from nova_kvs.db import matching
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.record import access

INSTANCES = rows.table(models.Instance)
_letters = st.text("aAbÄä%_.\n", max_size=5)


@settings(max_examples=200, deadline=None)
@given(value=st.one_of(st.none(), st.integers(0, 20), _letters),
       pattern=_letters)
def test_like_is_sqlites(value, pattern):
    with sqlite3.connect(":memory:") as connection:
        expected = connection.execute(
            "SELECT ? LIKE ?", (value, pattern)).fetchone()[0]
    assert matching.like(pattern)(value) == bool(expected)


def test_matches():
    test = matching.matches("^a.c$")
    assert test("abc")
    assert not test("xabc")
    assert not test(None)
    with pytest.raises(native.Fallback):
        matching.matches("a(")


def _record(number, **values):
    values = {name: value for name, value in values.items()
              if value is not None}
    return access.Record("instances", (number,), None, 1,
                         {"id": number, **values})


_values = st.lists(st.tuples(
    st.sampled_from([None, "a", "b"]), st.sampled_from([None, 1, 2])),
    min_size=1, max_size=6)
_orders = st.sampled_from([
    (["host", "vcpus", "id"], dirs) for dirs in (
        ["asc", "asc", "asc"], ["desc", "desc", "desc"],
        ["asc", "desc", "asc"])])


@settings(max_examples=60, deadline=None)
@given(found=_values, order=_orders, limit=st.sampled_from([None, 1, 3]),
       marker=st.integers(0, 5))
def test_pages_are_oslo_dbs(found, order, limit, marker):
    engine = sa.create_engine("sqlite://")
    models.Instance.__table__.create(engine)
    records = []
    with orm.Session(engine) as orm_session:
        for number, (host, vcpus) in enumerate(found, 1):
            orm_session.add(models.Instance(
                id=number, uuid=str(number), host=host, vcpus=vcpus))
            records.append(_record(number, host=host, vcpus=vcpus))
        orm_session.flush()
        marked = orm_session.get(models.Instance, marker)
        expected = [row.id for row in sqlalchemyutils.paginate_query(
            orm_session.query(models.Instance), models.Instance, limit,
            order[0], marker=marked, sort_dirs=order[1])]
    if marked is not None:
        test = matching.after_marker(records[marker - 1].values, *order)
        records = [record for record in records if test(record.values)]
    matching.sort(records, *order)
    assert [record.key[0] for record in matching.limited(
        records, limit)] == expected


def test_sort_keys():
    matching.check_sort_keys(INSTANCES, ["host", "id"])
    with pytest.raises(exception.InvalidSortKey):
        matching.check_sort_keys(INSTANCES, ["name"])
    with pytest.raises(errors.Fallback):
        matching.check_sort_keys(INSTANCES, ["tags"])


@pytest.mark.parametrize("condition, value, met", [
    (main_db_api.equal_any("a", None), "a", True),
    (main_db_api.equal_any("a", None), None, True),
    (main_db_api.equal_any("a"), "b", False),
    (main_db_api.not_equal("a", "b"), "c", True),
    (main_db_api.not_equal("a", "b"), "b", False),
    (main_db_api.not_equal("a"), None, False),
    (main_db_api.not_equal(None), "a", True),
    (main_db_api.not_equal(None), None, False),
])
def test_constraint(condition, value, met):
    row = INSTANCES.new({"host": value})
    constraint = main_db_api.constraint(host=condition)
    assert matching.constraint_met(constraint, row) is met
    assert matching.constraint_met(None, row)
