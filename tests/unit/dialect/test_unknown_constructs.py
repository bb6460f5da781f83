# SPDX-License-Identifier: Apache-2.0
"""Statements of which only the text tells that they write."""

import pytest
import sqlalchemy as sa
from sqlalchemy.ext import compiler
from sqlalchemy import orm
from sqlalchemy.sql import expression

from nova_kvs.dialect import sqltext
from tests import base

METADATA = sa.MetaData()
THINGS, OTHERS = (
    sa.Table(name, METADATA, sa.Column("id", sa.Integer, primary_key=True),
             sa.Column("value", sa.Integer))
    for name in ("things", "others"))
ODD = sa.select(THINGS.c.id, THINGS.c.value).where(THINGS.c.value == 1)


class Thing:
    """A row of the first table."""


orm.registry(metadata=METADATA).map_imperatively(Thing, THINGS)


class Construct(expression.Executable, expression.ClauseElement):
    """Text around what SQLAlchemy renders of its parts."""

    inherit_cache = False

    def __init__(self, text, *parts):
        self.text = text
        self.parts = parts


@compiler.compiles(Construct)
def _construct(element, compiling, **kwargs):
    return element.text % tuple(
        compiling.process(part) for part in element.parts)


class Count(expression.ColumnElement):
    """A function of a query."""

    inherit_cache = False
    type = sa.Integer()


@compiler.compiles(Count)
def _count(element, compiling, **kwargs):
    return "(SELECT count(*) FROM (%s))" % compiling.process(ODD)


class Everything(expression.FromClause):
    """A table that only text names."""

    inherit_cache = False
    named_with_column = False

    def __init__(self, text):
        self.text = text


@compiler.compiles(Everything)
def _everything(element, compiling, **kwargs):
    return element.text


def _all_of(text):
    return sa.select(sa.literal_column("id")).select_from(Everything(text))


STATEMENTS = {
    "a table that text names": _all_of("main.things"),
    "a table that text names within": _all_of("(SELECT * FROM things)"),
    "a table that text names in a list": _all_of("(SELECT 1), things"),
    "a table that text joins": sa.select(OTHERS.c.id, sa.literal_column(
        "t.value")).select_from(OTHERS, Everything(
            "(others AS o JOIN things AS t ON o.id = t.id)")),
    "delete": Construct(
        "DELETE FROM things WHERE id IN (SELECT id FROM (%s))", ODD),
    "lower case": Construct(
        "delete from things where id in (select id from (%s))", ODD),
    "behind comments": Construct(
        "/* SELECT */ -- SELECT\n"
        "DELETE FROM things WHERE id IN (SELECT id FROM (%s))", ODD),
    "update": Construct(
        "UPDATE things SET value = 9 WHERE id IN (SELECT id FROM (%s))", ODD),
    "update or": Construct(
        "UPDATE OR IGNORE things SET id = 0 WHERE id IN "
        "(SELECT id FROM (%s))", ODD),
    "insert": Construct(
        "INSERT INTO others (id, value) SELECT id + 9, 5 FROM (%s)", ODD),
    "replace": Construct(
        "REPLACE INTO others (id, value) %s", ODD),
    "common table expression": Construct(
        "WITH odd AS (%s) DELETE FROM things WHERE id IN "
        "(SELECT id FROM odd)", ODD),
    "a DELETE within": Construct(
        "%s /* and no more */",
        THINGS.delete().where(THINGS.c.value == 1)),
    "a DELETE of another table within": Construct(
        "/* not %s */ DELETE FROM things WHERE value = 1", OTHERS.delete()),
    "a DELETE of another table behind a common table expression": Construct(
        "WITH odd AS (SELECT 1 AS one) DELETE FROM main.things "
        "WHERE value IN (SELECT one FROM odd) /* not %s */",
        OTHERS.delete()),
    "explained": Construct("EXPLAIN QUERY PLAN %s", THINGS.delete()),
    "a read with a common table expression":
        sa.select(ODD.add_columns(sa.func.replace("a", "a", "b")).cte()),
    "a function of a query": sa.select(Count()),
    "a read within": Construct("SELECT * FROM (%s)", ODD),
    "from_statement of text": sa.select(Thing.id).from_statement(sa.text(
        "DELETE FROM things WHERE value = 1 RETURNING id, value")),
    "from_statement of a DELETE": sa.select(Thing.id).from_statement(
        THINGS.delete().where(THINGS.c.value == 1).returning(THINGS.c.id)),
    "text with columns": sa.text(
        "DELETE FROM things WHERE value = 1 RETURNING id, value").columns(
            THINGS.c.id, THINGS.c.value),
    "text with a common table expression": sa.text(
        "with odd as (select replace(1, 2, 3) as one) "
        "delete from things where value in (select one + 0 from odd)"),
    "text that renames a column to a verb": sa.text(
        'WITH x AS (SELECT id AS "delete" FROM things) '
        "SELECT count(*) FROM x"),
    "prefix of a DELETE": THINGS.delete().where(
        THINGS.c.value == 1).prefix_with("/* fast */"),
    "prefix of an INSERT": OTHERS.insert().prefix_with(
        "OR REPLACE").values(id=1, value=7),
    "prefix of a SELECT": sa.select(THINGS.c.id).prefix_with(
        "/* DELETE */"),
    "behind a semicolon": sa.text(" ; DELETE FROM things WHERE value = 1"),
    "two statements": sa.text(
        "SELECT 1 FROM others; DELETE FROM things WHERE value = 1"),
    "a suffix that writes": ODD.suffix_with("; DELETE FROM things"),
    "parentheses": sa.text("(DELETE FROM things WHERE value = 1)"),
    "a pragma": sa.text("PRAGMA user_version = 5"),
}


def _outcome(engine, statement):
    """Return what a statement answers and what it leaves."""
    METADATA.create_all(engine)
    with engine.begin() as connection:
        connection.execute(THINGS.insert(), [
            {"id": number, "value": number % 2} for number in range(1, 7)])
        connection.execute(OTHERS.insert(), [
            {"id": 1, "value": 1}, {"id": 2, "value": 2}])
    try:
        with engine.begin() as connection:
            result = connection.execute(statement)
            answer = (sorted(map(tuple, result)) if result.returns_rows
                      else result.rowcount)
    except sa.exc.DBAPIError as error:
        answer = str(error.orig)
    with engine.connect() as connection:
        return answer, [
            connection.execute(sa.select(table).order_by(
                table.c.id)).fetchall() for table in (THINGS, OTHERS)]


@pytest.mark.parametrize("name", STATEMENTS)
def test_it_does_what_sqlite_does(name):
    statement = STATEMENTS[name]
    expected = _outcome(sa.create_engine("sqlite://"), statement)
    assert _outcome(
        sa.create_engine(base.memory_url()), statement) == expected


@pytest.mark.parametrize("sql, target", [
    ("DELETE FROM a WHERE b = 1", "a"),
    ("UPDATE OR REPLACE \"a b\" SET c = 1", "a b"),
    ("INSERT OR IGNORE INTO main.a (b) VALUES (1)", "a"),
    ("replace into [a] values (1)", "a"),
    ("WITH b AS (SELECT replace(c, 'x', 'y') FROM d) UPDATE a SET e = 1",
     "a"),
    ("SELECT 1", None),
    ("EXPLAIN DELETE FROM a", None),
    ("WITH b AS (SELECT replace(c, 'x', 'y') FROM d) SELECT * FROM b", None),
    ("WITH b AS (SELECT 1 AS c) SELECT replace(c, 1, 2) FROM b", None),
    ("DELETE", None),
    ("(DELETE FROM a)", None),
    ("WITH delete", None),
])
def test_the_target_is_the_table_behind_the_verb(sql, target):
    assert sqltext.target_of(sqltext.parse(sql)) == target


@pytest.mark.parametrize("sql, kind", [
    ("WITH b AS (SELECT replace(c, 1, 2) FROM d) SELECT * FROM b", "read"),
    ("WITH b AS (SELECT 1 AS c) SELECT replace(c, 1, 2) FROM b", "read"),
    ("WITH b AS (SELECT 1) VALUES (2)", "read"),
    ("WITH b AS (SELECT 1) DELETE FROM d", "write"),
    ("WITH b AS (SELECT 1) REPLACE INTO d SELECT * FROM b", "write"),
])
def test_the_verb_is_behind_common_table_expressions(sql, kind):
    assert sqltext.parse(sql).kind == kind
