# SPDX-License-Identifier: Apache-2.0
"""LIKE by the beginning of a text, in whatever case, against SQLite."""

import itertools

import hypothesis
from hypothesis import strategies as st
import pytest
import sqlalchemy as sa

from nova_kvs.dialect import base as dialect
from nova_kvs.dialect import patterns
from tests import base

metadata = sa.MetaData()
volumes = sa.Table(
    "volumes", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("deleted", sa.Boolean),
    sa.Column("host", sa.String(36)),
    sa.Index("by_host", "deleted", "host"))
_HOSTS = st.one_of(st.none(), st.text("aAbB#1\u00e4\0", max_size=4))
_STARTS = st.text("aAbB#1\u00e4", max_size=3)


@pytest.mark.parametrize("text", ["a1b", "x", "h#", "aB"])
def test_the_next_beginning_in_another_case(text):
    cases = sorted({"".join(found) for found in itertools.product(
        *[(letter.lower(), letter.upper()) for letter in text])})
    for size in (1, 2, 3):
        for value in map("".join, itertools.product("1aAbBxXhH#~", repeat=(
                size))):
            place = None
            if value[:len(text)] in cases:
                value, place = value[:len(text)], len(text) - 1
            assert patterns._next_of(text, value, place) == min(
                [found for found in cases if found > value], default=None)


def _criterion(start, other):
    return sa.or_(volumes.c.host == other,
                  volumes.c.host.op("LIKE")(start + "%"))


@hypothesis.settings(deadline=None, max_examples=60)
@hypothesis.given(
    rows=st.lists(st.tuples(st.booleans(), _HOSTS), max_size=20),
    queries=st.lists(st.tuples(_STARTS, _STARTS), min_size=1, max_size=4),
    most=st.sampled_from([0, 1, 16]))
def test_the_same_rows_as_sqlite(rows, queries, most):
    engines = (sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool),
               sa.create_engine(base.memory_url()))
    statements = [
        sa.select(volumes).where(~volumes.c.deleted, criterion)
        for start, other in queries for criterion in (
            _criterion(start, other), volumes.c.host.like(start + "_%"),
            sa.func.lower(volumes.c.host) == start,
            sa.func.lower(volumes.c.host).in_([start, other]))]
    answers = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patterns, "_MOST_SEEKS", most)
        for engine in engines:
            metadata.create_all(engine)
            with engine.begin() as connection:
                for deleted, host in rows:
                    connection.execute(volumes.insert(), {
                        "deleted": deleted, "host": host})
            for statement in statements:
                with engine.connect() as connection:
                    answers.append(sorted(
                        row.id for row in connection.execute(statement)))
            engine.dispose()
    assert answers[:len(statements)] == answers[len(statements):]


def test_the_plan_says_so():
    engine = sa.create_engine(base.memory_url())
    metadata.create_all(engine)
    with engine.connect() as connection:
        assert "beginnings in order of deleted+host by (deleted, host)" in (
            dialect.explain(connection, sa.select(volumes).where(
                ~volumes.c.deleted, _criterion("h#", "h"))))


@pytest.mark.parametrize("count", [40, 400])
def test_lower_case_reads_what_may_be_equal(count):
    """A MAC address, as Neutron looks for one."""
    engine = sa.create_engine(base.memory_url())
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(volumes.insert(), [
            {"deleted": False, "host": "FA:16:%04X" % number}
            for number in range(count)])
    query = sa.select(volumes.c.id).where(
        ~volumes.c.deleted,
        sa.func.lower(volumes.c.host).in_(["fa:16:001f", "fa:16:0020"]))
    with engine.connect() as connection:
        assert connection.execute(query).scalars().all() == [32, 33]
        space = connection.connection.dbapi_connection.workspace
        assert sorted(space.state("volumes").rows) == [(32,), (33,)]
    engine.dispose()
