# SPDX-License-Identifier: Apache-2.0
"""What raw SQL text tells."""

import sqlite3

import pytest

from nova_kvs.dialect import sqltext


@pytest.mark.parametrize("sql, kind", [
    ("SELECT 1", "read"),
    ("-- INSERT\n/* UPDATE */ select * from t", "read"),
    ("VALUES (1)", "read"),
    ("WITH c AS (SELECT 1) SELECT * FROM c", "read"),
    ("WITH c AS (SELECT 1) INSERT INTO t SELECT * FROM c", "write"),
    ("replace into t values (1)", "write"),
    ("DELETE FROM t", "write"),
    ("CREATE INDEX i ON t (a)", "schema"),
    ("alter table t add column b int", "schema"),
    ("SAVEPOINT s", "SAVEPOINT"),
    ("PRAGMA table_info(t)", "PRAGMA"),
    ("", ""),
])
def test_kind(sql, kind):
    assert sqltext.parse(sql).kind == kind


def test_names_are_unquoted_and_not_in_comments():
    names = sqltext.parse(
        'SELECT "We""Ird", [b c], `d` FROM e -- f\n'
        "WHERE x = 'g' /* h */").names
    assert names == {"select", 'we"ird', "b c", "d", "from", "e", "where",
                     "x", "g"}


@pytest.mark.parametrize("sql, name", [
    ("CREATE TABLE a (b INT)", "a"),
    ('CREATE TEMPORARY TABLE IF NOT EXISTS "a b" (c INT)', "a b"),
    ("CREATE TABLE main.a (b INT)", "a"),
    ("ALTER TABLE a RENAME TO b", "a"),
    ("DROP TABLE IF EXISTS a", "a"),
    ("CREATE INDEX i ON a (b)", None),
    ("DROP", None),
])
def test_table_of(sql, name):
    assert sqltext.table_of(sqltext.parse(sql)) == name


def test_view_of():
    assert sqltext.view_of(sqltext.parse(
        "CREATE VIEW v AS SELECT 1")) == "v"


WITH_IDS = [
    "CREATE TABLE t (\n\tid INTEGER NOT NULL,\n\tb TEXT DEFAULT 'x,)',\n"
    "\tPRIMARY KEY (id)\n)",
    "CREATE TABLE t (id BIGINT NOT NULL, b TEXT, "
    "CONSTRAINT pk PRIMARY KEY (id))",
    "CREATE TABLE t (b TEXT DEFAULT 'a ,b' CHECK (b <> 'PRIMARY KEY'), "
    "id INTEGER NOT NULL PRIMARY KEY)",
    'CREATE TABLE "t" ("id" INTEGER NOT NULL PRIMARY KEY, b TEXT)',
]


@pytest.mark.parametrize("sql", WITH_IDS)
def test_ids_come_from_the_store(sql):
    connection = sqlite3.connect(":memory:")
    given = []

    def next_id(table):
        given.append(table)
        return 40 + len(given)

    connection.create_function("kvs_next_id", 1, next_id)
    text = sqltext.with_generated_id(sql)
    connection.execute(text)
    connection.execute("INSERT INTO t (b) VALUES ('a'), ('b')")
    connection.execute("INSERT INTO t (id, b) VALUES (NULL, 'c')")
    connection.execute("INSERT INTO t (id, b) VALUES (0, 'd')")
    assert connection.execute("SELECT id, b FROM t ORDER BY b").fetchall() \
        == [(41, "a"), (42, "b"), (43, "c"), (0, "d")]
    assert given == ["t"] * 3
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO t (id) VALUES (41)")
    assert sqltext.with_generated_id(text) == text
    assert sqltext.without_generated_id(text) == sql


def test_autoincrement_is_ours():
    text = sqltext.with_generated_id(
        "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, b)")
    assert "AUTOINCREMENT" not in text
    assert "kvs_next_id('t')" in text


@pytest.mark.parametrize("sql", [
    "CREATE TABLE t (a INTEGER, b INTEGER, PRIMARY KEY (a, b))",
    "CREATE TABLE t (a TEXT PRIMARY KEY)",
    "CREATE TABLE t (a INTEGER)",
    "CREATE TABLE t (a INTEGER PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE t (a INTEGER DEFAULT 5 PRIMARY KEY)",
    "CREATE TABLE t AS SELECT 1 AS a",
    "CREATE INDEX i ON t (a)",
    "CREATE TABLE t (a INTEGER, PRIMARY KEY)",
    "CREATE TABLE t (1 PRIMARY KEY)",
])
def test_other_tables_stay_as_they_are(sql):
    assert sqltext.with_generated_id(sql) == sql


@pytest.mark.parametrize("sql, source, skipped, count", [
    ("UPDATE t SET a=?, b=? WHERE t.id = ? AND x IN (?, ?)",
     " t  WHERE t.id = ? AND x IN (?, ?)", 2, 3),
    ("update t as u set a=(select x from y where z=?) where u.id=? "
     "returning id", " t as u  where u.id=? ", 1, 1),
    ("UPDATE t SET a=1;", " t ", 0, 0),
    ('UPDATE "a b" SET x = :x WHERE y = :y', ' "a b"  WHERE y = :y', 0, 0),
    ("/* ? */ UPDATE t SET a = ? WHERE b = '?'", " t  WHERE b = '?'", 1, 0),
    ("UPDATE OR IGNORE t SET a=1", None, 0, 0),
    ("UPDATE t SET a=q.b FROM q WHERE q.id=t.id", None, 0, 0),
    ("WITH q AS (SELECT 1) UPDATE t SET a=1 WHERE 1", None, 0, 0),
])
def test_rows_of_an_update(sql, source, skipped, count):
    found = sqltext.updated_by(sql)
    assert (found.skipped, found.count) == (skipped, count)
    assert (found.source and found.source.split()) == (
        source and source.split())


@pytest.mark.parametrize("sql", [
    "DELETE FROM t WHERE a=?", "INSERT INTO t VALUES (1)", "SELECT 1",
    "INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET a=1"])
def test_other_statements_update_nothing(sql):
    assert sqltext.updated_by(sql) is None


@pytest.mark.parametrize(("sql", "names"), [
    ("SAVEPOINT \U0001f600", ["SAVEPOINT", "\U0001f600"]),
    ("SELECT 1 AS \xa0", ["SELECT", "AS", "\xa0"]),
    ("SELECT\xa01", ["SELECT\xa01"]),
    ("SELECT 1 AS \u0663", ["SELECT", "AS", "\u0663"])])
def test_all_behind_ascii_is_a_letter_as_in_sqlite(sql, names):
    assert [token.name for token in sqltext.tokens(sql)
            if token.kind == "word"] == names


def test_letters_that_only_look_like_a_keyword():
    # Its upper case is SELECT.
    assert sqltext.tokens("\u017felect")[0].keyword is None
