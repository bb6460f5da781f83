# SPDX-License-Identifier: Apache-2.0
"""No text crashes the dialect, and what SQLite takes too means the same."""

import hypothesis
from hypothesis import strategies as st
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import pool

from nova_kvs.dialect import sqltext
from tests import base
from tests.unit.fuzz import amounts

DDL = (
    "CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, a TEXT, b INTEGER "
    "DEFAULT 7, UNIQUE (a))",
    'CREATE TABLE "u v" (x VARCHAR(9) NOT NULL, "select" INTEGER, '
    "PRIMARY KEY (x))")
ROWS = (
    "INSERT INTO t (id, a, b) VALUES (1, 'a', 1), (2, 'B', NULL), "
    "(3, NULL, 3)",
    "INSERT INTO \"u v\" VALUES ('a', 1), ('c', 2)")
#: Where texts are changed from.
STATEMENTS = (
    "SELECT * FROM t WHERE a = 'a' OR b IS NULL ORDER BY id",
    "SELECT t.a, count(*) FROM t JOIN \"u v\" ON t.a = \"u v\".x GROUP BY 1",
    "WITH c AS (SELECT id FROM t) SELECT id + 1 FROM c ORDER BY 1 DESC",
    "SELECT a FROM t UNION SELECT x FROM [u v] ORDER BY 1 LIMIT 2 OFFSET 1",
    "SELECT EXISTS (SELECT 1 FROM t AS o WHERE o.b > 2), -- c\n'it''s'",
    "SELECT id, CASE b WHEN 1 THEN a ELSE x'00ff' END FROM t ORDER BY id",
    "VALUES (1, 'a'), (2, NULL)",
    "INSERT INTO t (a, b) VALUES ('d', 4), ('e', 5)",
    "INSERT OR IGNORE INTO t (id, a) SELECT 1009, x FROM \"u v\"",
    "INSERT INTO t DEFAULT VALUES",
    "REPLACE INTO \"u v\" VALUES ('a', 9)",
    "INSERT INTO t (a) VALUES ('a') ON CONFLICT (a) DO UPDATE SET b = 8",
    "UPDATE t SET b = b + 1, a = upper(a) WHERE id IN (1, 2)",
    "UPDATE OR REPLACE t SET a = 'a' WHERE id = 3",
    "WITH c AS (SELECT 1 AS i) DELETE FROM t WHERE id IN (SELECT i FROM c)",
    "DELETE FROM \"u v\" WHERE \"select\" BETWEEN 1 AND 1",
    "CREATE TABLE IF NOT EXISTS n (id INTEGER, c TEXT DEFAULT ('x,)'), "
    "CONSTRAINT p PRIMARY KEY (id), CHECK (c <> ''))",
    "CREATE TABLE main.n (c BIGINT PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE n AS SELECT a, b FROM t",
    "CREATE UNIQUE INDEX i ON t (a COLLATE NOCASE, b DESC)",
    "CREATE INDEX IF NOT EXISTS i ON t (lower(a)) WHERE b > 1",
    "CREATE VIEW w AS SELECT a FROM t WHERE b = 1",
    "ALTER TABLE t ADD COLUMN c TEXT DEFAULT 'x'",
    "ALTER TABLE t RENAME COLUMN a TO \"n n\"",
    "ALTER TABLE \"u v\" RENAME TO n", "ALTER TABLE t DROP COLUMN b",
    "DROP TABLE IF EXISTS t", "DROP INDEX i", "REINDEX t", "ANALYZE",
    "SAVEPOINT s", "RELEASE SAVEPOINT s", "ROLLBACK TO SAVEPOINT s",
    "BEGIN IMMEDIATE", "COMMIT", "END TRANSACTION", "ROLLBACK",
    "PRAGMA foreign_keys = ON", "PRAGMA foreign_keys", "EXPLAIN SELECT 1",
    "PRAGMA table_info('t')", "ATTACH ':memory:' AS o", "DETACH o", "VACUUM",
    "CREATE TEMP TABLE n (a)", "CREATE TRIGGER r AFTER INSERT ON t BEGIN "
    "DELETE FROM t; END")
#: What a change may put in.
WORDS = sorted(
    {token.text for text in (*STATEMENTS, *DDL)
     for token in sqltext.tokens(text) if token.kind != "space"}
    | {"NULL", "-1", "1.5", "9223372036854775808", "''", '""', "``", "[]",
       "?", ":a", "@a", "$a", "%", "%s", ";", "--", "/*", "*/", "'", '"',
       "[", "(", "(((", ")", ",", ".", "\\", "\n", "\x01", "é", "İ",
       "\U0001f600", "main", "temp", "NOT", "CONSTRAINT", "AUTOINCREMENT",
       "REFERENCES", "GENERATED ALWAYS AS (1)", "kvs_next_id", "RETURNING",
       "COLLATE NOCASE", "CAST(a AS INTEGER)", "LIKE", "GLOB", "IS NOT"})
#: What the two cannot have alike: numbers of rows that have none of their
#: own, and the text of a schema.
OTHERWISE = {"rowid", "oid", "_rowid_", "sqlite_master", "sqlite_schema",
             "pragma", "explain", "analyze", "kvs_next_id", "reindex",
             "returning"}


@st.composite
def texts(draw):
    """Draw a statement with some words lost, doubled, moved or others."""
    words = [token.text for token in sqltext.tokens(
        draw(st.sampled_from(STATEMENTS))) if token.kind != "space"]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(words) - 1)))
        change = draw(st.integers(0, 4))
        if change == 0:
            del words[at:at + 1]
        elif change == 1:
            words[at:at] = [draw(st.sampled_from(WORDS))]
        elif change == 2:
            words[at:at + 1] = [draw(st.sampled_from(WORDS))]
        elif change == 3:
            del words[at:]
        else:
            words[at:at] = words[at:at + 2]
    return draw(st.sampled_from([" ", " ", "\n", "/**/"])).join(words)


any_text = st.one_of(texts(), texts(), texts(), st.lists(
    st.sampled_from(WORDS), max_size=6).map(" ".join), st.text(max_size=9))


#: Ids that the texts name.
GIVEN = {0, 1, 2, 3, -1, 1009}


class Databases:
    """The same two tables on SQLite and on the dialect."""

    def __init__(self):
        self.engines = []

    def make(self):
        """Make both anew."""
        self.close()
        self.engines = [
            sa.create_engine("sqlite://", poolclass=pool.StaticPool),
            sa.create_engine(base.memory_url())]
        # By itself sqlite3 begins no transaction before a DDL statement.
        sa.event.listen(self.engines[0], "connect", lambda connection, _:
                        setattr(connection, "isolation_level", None))
        sa.event.listen(self.engines[0], "begin", lambda connection:
                        connection.exec_driver_sql("BEGIN"))
        for engine in self.engines:
            with engine.begin() as connection:
                for text in (*DDL, *ROWS):
                    connection.exec_driver_sql(text)

    def close(self):
        """Let go of both."""
        for engine in self.engines:
            engine.dispose()
        self.engines = []

    def run(self, engine, sql):
        """Return what a text gives: (error or None, rows, tables)."""
        with engine.connect() as connection:
            rows = None
            try:
                result = connection.exec_driver_sql(sql)
                if result.returns_rows:
                    rows = sorted(map(repr, result.all()))
            except Exception as error:
                return error, None, None
            return None, rows, [
                self._rows(connection, name) for name in ('t', '"u v"', 'n')]

    def _rows(self, connection, name):
        """Return a table's rows as text, without ids that were made up."""
        try:
            return sorted(
                repr((row[0] if row[0] in GIVEN or type(row[0]) is not int
                      else "new", *row[1:]))
                for row in connection.exec_driver_sql(
                    "SELECT * FROM %s" % name))
        except exc.DBAPIError:
            return None

    def is_as_made(self):
        """Tell whether nothing was committed."""
        try:
            return [self.run(engine, "SELECT 1")[2]
                    for engine in self.engines] == 2 * [AS_MADE]
        except exc.DBAPIError:
            return False


AS_MADE = [["(1, 'a', 1)", "(2, 'B', None)", "(3, None, 3)"],
           ["('a', 1)", "('c', 2)"], None]


@pytest.fixture(scope="module")
def both():
    databases = Databases()
    databases.make()
    yield databases
    databases.close()


def check(both, sql):
    """Assert that a text is refused in an orderly way, or means the same."""
    if not both.is_as_made():
        both.make()
    assert both.is_as_made()
    (expected, *reference), (error, *found) = [
        both.run(engine, sql) for engine in both.engines]
    if error is not None:
        assert isinstance(error, exc.SQLAlchemyError) or (
            type(error) is type(expected)), (sql, error)
    words = {token.text.lower() for token in sqltext.tokens(sql)}
    if words & OTHERWISE:
        return
    if error is None and expected is None:
        assert found == reference, sql
    elif expected is None:
        assert isinstance(error, exc.NotSupportedError), (sql, error)


@amounts.some(400)
@hypothesis.given(sql=any_text)
def test_text_means_what_it_means_to_sqlite(sql, both):
    check(both, sql)


@amounts.some(300)
@hypothesis.given(sql=any_text)
def test_what_reads_text_takes_any(sql):
    statement = sqltext.parse(sql)
    for read in (sqltext.table_of, sqltext.view_of, sqltext.target_of,
                 sqltext.is_unique_index_of_columns):
        read(statement)
    made = sqltext.with_generated_id(sql)
    sqltext.without_generated_id(made)
    sqltext.without_comments(sql)
    assert "".join(token.text for token in sqltext.tokens(sql)) == sql
