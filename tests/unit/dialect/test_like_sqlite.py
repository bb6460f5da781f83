# SPDX-License-Identifier: Apache-2.0
"""Statements that SQLite and the dialect have to answer alike."""

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import pool

from tests import base


@pytest.fixture(params=("sqlite", "kvs"))
def engine(request):
    """Return an engine of an empty database: SQLite's, then the dialect's."""
    if request.param == "kvs":
        made = sa.create_engine(base.memory_url())
    else:
        made = sa.create_engine("sqlite://", poolclass=pool.StaticPool)
    yield made
    made.dispose()


@pytest.fixture
def things(engine):
    """Return a table of six rows."""
    table = sa.Table(
        "things", sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20), unique=True),
        sa.Column("kind", sa.String(20), index=True))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [
            {"id": 1000 + number, "name": "old%d" % number,
             "kind": "old%d" % number} for number in range(6)])
    return table


# Results that are not read to their end -------------------------------------

@pytest.mark.parametrize("first_id", (50, 985, 2000))
def test_a_load_moves_no_rows_under_an_open_result(engine, things, first_id):
    with engine.begin() as connection:
        connection.execute(
            sa.select(things).where(things.c.kind == "old5")).all()
        connection.execute(things.insert(), [
            {"id": first_id + number, "name": "new%d" % number,
             "kind": "new"} for number in range(5)])
        found = []
        for row in connection.execute(
                sa.select(things.c.name).where(things.c.kind == "new")):
            found.append(row.name)
            connection.execute(things.update().where(
                things.c.id == 1000 + len(found) % 5).values(kind="seen"))
    assert found == ["new0", "new1", "new2", "new3", "new4"]


# Generated columns ----------------------------------------------------------

@pytest.mark.parametrize("persisted", (False, True))
@pytest.mark.parametrize("options", ({"unique": True}, {"index": True}))
def test_generated_columns(engine, options, persisted):
    sums = sa.Table(
        "sums", sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("a", sa.Integer),
        sa.Column("b", sa.Integer,
                  sa.Computed("a + 1", persisted=persisted), **options))
    sums.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sums.insert(), [{"a": 1}, {"a": 2}, {"a": 3}])
    with engine.begin() as connection:
        assert connection.execute(
            sa.select(sums).where(sums.c.b == 2)).all() == [(1, 1, 2)]
    other = sums.alias()
    with engine.begin() as connection:
        assert connection.execute(sa.select(sums.c.id, other.c.id).join(
            other, other.c.b == sums.c.a).where(sums.c.id == 3)).all() == [
            (3, 2)]
    with engine.begin() as connection:
        assert connection.execute(sums.update().where(
            sums.c.b == 3).values(a=7)).rowcount == 1
        assert connection.execute(sums.delete().where(
            sums.c.b == 4)).rowcount == 1
    with engine.begin() as connection:
        assert connection.execute(sa.select(sums).order_by(
            sums.c.id)).all() == [(1, 1, 2), (2, 7, 8)]
    if "unique" in options:
        with pytest.raises(exc.IntegrityError), engine.begin() as connection:
            connection.execute(sums.insert().values(a=1))


# Collations -----------------------------------------------------------------

@pytest.mark.parametrize("ddl", (
    ("CREATE TABLE t (id INTEGER PRIMARY KEY, "
     "name TEXT COLLATE NOCASE UNIQUE)",),
    ("CREATE TABLE t (name TEXT COLLATE NOCASE PRIMARY KEY)",),
    ("CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)",
     "CREATE UNIQUE INDEX i ON t (name COLLATE NOCASE)"),
))
def test_unique_keys_with_a_collation(engine, ddl):
    table = sa.table("t", sa.column("name", sa.String))
    with engine.begin() as connection:
        for text in ddl:
            connection.exec_driver_sql(text)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"name": "a"}, {"name": "b"}])
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(table.insert(), {"name": "A"})
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(table.update().where(
            table.c.name == "b").values(name="A"))
    with engine.begin() as connection:
        assert connection.execute(sa.select(table).order_by(
            table.c.name)).all() == [("a",), ("b",)]


# Types ----------------------------------------------------------------------

class Lower(sa.TypeDecorator):
    """Text that SQL turns into lower case."""

    impl = sa.String(20)
    cache_ok = True

    def bind_expression(self, bindvalue):
        return sa.func.lower(bindvalue)


def test_types_that_convert_parameters_in_sql(engine):
    table = sa.Table(
        "lower", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", Lower, unique=True), sa.Column("v", sa.Integer))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"name": "A"}, {"name": "b"}])
    with engine.begin() as connection:
        assert connection.execute(sa.select(table.c.id).where(
            table.c.name == "A")).all() == [(1,)]
    with engine.begin() as connection:
        assert connection.execute(sa.select(table.c.id).where(
            table.c.name.in_(["A", "B"]))).all() == [(1,), (2,)]
    with engine.begin() as connection:
        assert connection.execute(table.update().where(
            table.c.name == "B").values(v=3)).rowcount == 1
    with pytest.raises(exc.IntegrityError), engine.begin() as connection:
        connection.execute(table.insert(), {"name": "A"})


# Text -----------------------------------------------------------------------

def test_names_in_single_quotes(engine, things):
    with engine.begin() as connection:
        assert connection.exec_driver_sql(
            "SELECT id FROM 'things' WHERE id < 1002").all() == [
            (1000,), (1001,)]
    with engine.begin() as connection:
        assert connection.execute(sa.text(
            "DELETE FROM 'things' WHERE id = 1000")).rowcount == 1


@pytest.mark.parametrize("sql", (
    "PRAGMA foreign_keys =", "PRAGMA foreign_keys (",
    "CREATE TABLE n (a INTEGER, PRIMARY KEY)"))
def test_text_that_ends_too_early(engine, sql):
    with pytest.raises(exc.OperationalError), engine.begin() as connection:
        connection.exec_driver_sql(sql)


def test_a_pragma_of_a_schema_is_the_same(engine):
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA main.foreign_keys = ON")
        assert connection.exec_driver_sql(
            "PRAGMA main.foreign_keys").scalar() == 1


# Ids ------------------------------------------------------------------------

@pytest.mark.parametrize("number", ("abc", 1.5))
def test_ids_are_integers(engine, things, number):
    for statement in (
            things.insert().values(id=number, name="new"),
            things.update().where(things.c.id == 1000).values(id=number)):
        with pytest.raises(exc.IntegrityError), engine.begin() as connection:
            connection.execute(statement)
    with engine.begin() as connection:
        assert len(connection.execute(sa.select(things)).all()) == 6
        connection.exec_driver_sql("ALTER TABLE things RENAME id TO \"a b\"")
        inspector = sa.inspect(connection)
        assert inspector.get_check_constraints("things") == []
        assert inspector.get_columns("things")[0]["name"] == "a b"
