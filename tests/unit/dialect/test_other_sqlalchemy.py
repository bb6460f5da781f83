# SPDX-License-Identifier: Apache-2.0
"""Statements on a SQLAlchemy that lacks what the planner reads."""

import logging

from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import enginefacade
import pytest
import sqlalchemy as sa
from sqlalchemy.ext import compiler as sa_compiler
from sqlalchemy.sql import expression

from nova_kvs.compatibility import private
from nova_kvs.dialect import compiler
from nova_kvs.dialect import statements
from tests import base

NAMES = sorted(
    constant for constant, name in private.all_names().items()
    if name.owner.startswith("sqlalchemy."))

METADATA = sa.MetaData()
PARENTS = sa.Table(
    "parents", METADATA, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(20), unique=True),
    sa.Column("at", sa.DateTime))
CHILDREN = sa.Table(
    "children", METADATA, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.ForeignKey("parents.id")),
    sa.Column("kind", sa.String(20)))


@pytest.fixture(autouse=True)
def told(monkeypatch):
    monkeypatch.setattr(statements, "_told", [])


def _lose(monkeypatch, constant, becomes):
    """Have SQLAlchemy lack a name, or have something else there."""
    name = getattr(private, constant)
    if name in vars(compiler.KVSCompiler):
        monkeypatch.delattr(compiler.KVSCompiler, name)
    monkeypatch.setattr(private, constant, private.Name(
        name.owner, becomes))


def _work(engine):
    """Run statements of each kind; return what they say."""
    METADATA.create_all(engine)
    found = []
    with engine.begin() as connection:
        def run(statement, *args):
            result = connection.execute(statement, *args)
            found.append(result.rowcount if not result.returns_rows
                         else [tuple(row) for row in result])

        run(PARENTS.insert().values(name="a"))
        run(PARENTS.insert(), [{"name": "b"}, {"name": "c"}])
        run(CHILDREN.insert().values(
            [{"parent_id": 1, "kind": "x"}, {"parent_id": 2, "kind": "y"}]))
        run(PARENTS.select().where(PARENTS.c.name == "a")
            .with_for_update())
        joined = PARENTS.outerjoin(CHILDREN)
        run(sa.select(PARENTS.c.name, CHILDREN.c.kind).select_from(joined)
            .where(PARENTS.c.id.in_([1, 3])).order_by(PARENTS.c.id))
        inner = sa.select(CHILDREN.c.parent_id).where(CHILDREN.c.kind == "y")
        run(PARENTS.select().where(PARENTS.c.id.in_(inner)))
        some = inner.union(sa.select(CHILDREN.c.parent_id)).subquery()
        run(sa.select(PARENTS.c.name).join(
            some, some.c.parent_id == PARENTS.c.id).order_by(PARENTS.c.id))
        alias = PARENTS.alias()
        run(sa.select(alias.c.name).where(alias.c.name == "c"))
        run(PARENTS.update().values(name="d").where(PARENTS.c.name == "c"))
        run(CHILDREN.insert().from_select(
            ["parent_id", "kind"], sa.select(PARENTS.c.id, sa.literal("z"))))
        run(CHILDREN.delete().where(CHILDREN.c.kind == "x"))
        run(sa.select(sa.func.count()).select_from(CHILDREN))
    with engine.begin() as connection:
        found.append(connection.execute(
            PARENTS.select().order_by(PARENTS.c.id)).fetchall())
    return found


@pytest.fixture
def facade():
    manager = enginefacade.transaction_context()
    manager.configure(connection=base.memory_url())
    return manager.writer.get_engine()


@pytest.fixture(scope="module")
def expected():
    return _work(sa.create_engine("sqlite://"))


def test_as_sqlite(facade, expected, caplog):
    caplog.set_level(logging.WARNING)
    assert _work(facade) == expected
    assert "cannot be planned" not in caplog.text


@pytest.mark.parametrize("becomes", ["_gone", "__doc__", "__class__"])
@pytest.mark.parametrize("constant", NAMES)
def test_without_a_name(facade, expected, monkeypatch, caplog, constant,
                        becomes):
    caplog.set_level(logging.WARNING)
    _lose(monkeypatch, constant, becomes)
    assert _work(facade) == expected
    with facade.begin() as connection:
        with pytest.raises(db_exc.DBDuplicateEntry):
            connection.execute(PARENTS.insert().values(name="a"))


@pytest.mark.parametrize("constant, becomes", [
    ("WHERE_CRITERIA", "_gone"), ("COMPOSE_SELECT_BODY", "_gone"),
    ("BIND_PROCESSORS", "_gone"), ("EXPANDED_PARAMETERS", "_gone")])
def test_it_is_told_once(facade, monkeypatch, caplog, constant, becomes):
    caplog.set_level(logging.WARNING)
    name = getattr(private, constant)
    _lose(monkeypatch, constant, becomes)
    _work(facade)
    told = [record.getMessage() for record in caplog.records
            if "cannot be planned" in record.getMessage()]
    assert len(told) == 1
    assert becomes in told[0] or name in told[0]


@pytest.mark.parametrize("constant", ["COMPOSE_SELECT_BODY",
                                      "WHERE_CRITERIA"])
def test_locks_hold(facade, monkeypatch, constant):
    METADATA.create_all(facade)
    with facade.begin() as connection:
        connection.execute(PARENTS.insert().values(name="a"))
    _lose(monkeypatch, constant, "_gone")
    with pytest.raises(db_exc.DBDeadlock):
        with facade.begin() as connection:
            connection.execute(PARENTS.select().where(
                PARENTS.c.name == "a").with_for_update())
            connection.execute(CHILDREN.insert().values(parent_id=1))
            with facade.begin() as other:
                other.execute(PARENTS.update().values(name="b"))


class DeleteFromSelect(expression.UpdateBase):
    """As Glance and Cinder have it: its text begins with DELETE."""

    inherit_cache = False

    def __init__(self, table, select, column):
        self.table = table
        self.select = select
        self.column = column


@sa_compiler.compiles(DeleteFromSelect)
def _delete(element, compiling, **kwargs):
    return "DELETE FROM %s WHERE %s IN (SELECT x.id FROM (%s) x)" % (
        compiling.process(element.table, asfrom=True, **kwargs),
        compiling.process(element.column, **kwargs),
        compiling.process(element.select, **kwargs))


def test_a_construct_whose_text_writes(facade):
    METADATA.create_all(facade)
    with facade.begin() as connection:
        connection.execute(PARENTS.insert(), [{"name": "a"}, {"name": "b"}])
    with facade.begin() as connection:
        done = connection.execute(DeleteFromSelect(
            PARENTS, sa.select(PARENTS.c.id).where(PARENTS.c.name == "a"),
            PARENTS.c.id))
        assert done.rowcount == 1
    with facade.begin() as connection:
        assert connection.execute(
            sa.select(PARENTS.c.name)).scalars().all() == ["b"]
