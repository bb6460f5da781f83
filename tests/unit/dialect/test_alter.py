# SPDX-License-Identifier: Apache-2.0
"""ALTER TABLE: alembic's operations, and the text of other databases."""

from alembic import migration
from alembic import operations
import hypothesis
from hypothesis import strategies as st
import pytest
import sqlalchemy as sa
from sqlalchemy import exc

PARENT = "CREATE TABLE parents (id INTEGER NOT NULL PRIMARY KEY)"
THINGS = (
    "CREATE TABLE things (id INTEGER NOT NULL, name VARCHAR(36), "
    "size INTEGER DEFAULT 5 NOT NULL, parent INTEGER, "
    "price DECIMAL(10, 2), note TEXT, PRIMARY KEY (id), "
    "CONSTRAINT uq_name UNIQUE (name), "
    "CONSTRAINT ck_size CHECK (size < 100), "
    "CONSTRAINT fk_parent FOREIGN KEY(parent) REFERENCES parents (id) "
    "ON DELETE RESTRICT)")
INDEX = "CREATE INDEX ix_size ON things (size, note)"
# Nothing in it has a name.
PLAIN = (
    "CREATE TABLE plain (id INTEGER PRIMARY KEY, a INTEGER UNIQUE "
    "REFERENCES parents (id) ON DELETE RESTRICT ON UPDATE CASCADE, "
    "b INTEGER CHECK (b > 0), c INTEGER, UNIQUE (a, b), "
    "FOREIGN KEY(b) REFERENCES parents (id), "
    "FOREIGN KEY(c) REFERENCES plain (id) ON DELETE SET NULL)")


def prepare(connection):
    for text in (PARENT, THINGS, INDEX, PLAIN):
        connection.exec_driver_sql(text)
    connection.exec_driver_sql("INSERT INTO parents VALUES (1), (2)")
    connection.exec_driver_sql(
        "INSERT INTO things (id, name, parent, price, note) VALUES "
        "(1, 'one', 1, 1.5, 'n'), (2, 'two', 2, NULL, '7'), "
        "(3, NULL, NULL, 3, NULL)")
    connection.commit()


@pytest.fixture
def altered(connection):
    prepare(connection)
    return connection


def operate(connection):
    return operations.Operations(
        migration.MigrationContext.configure(connection))


def described(connection, table="things"):
    """Return all that reflection tells of a table, comparable."""
    inspector = sa.inspect(connection)
    return {
        "columns": [
            (one["name"], str(one["type"]), one["nullable"],
             (one["default"] or "").strip("'()"))
            for one in inspector.get_columns(table)],
        "key": inspector.get_pk_constraint(table)["constrained_columns"],
        "unique": sorted(
            (one["name"], one["column_names"])
            for one in inspector.get_unique_constraints(table)),
        "foreign": sorted(
            (one["name"], one["constrained_columns"], one["referred_table"],
             one["referred_columns"], sorted(one["options"].items()))
            for one in inspector.get_foreign_keys(table)),
        "check": sorted(
            (one["name"], one["sqltext"].replace('"', ""))
            for one in inspector.get_check_constraints(table)),
        "indexes": sorted(
            (one["name"], one["column_names"], bool(one["unique"]))
            for one in inspector.get_indexes(table)),
    }


def rows(connection, table="things"):
    return connection.exec_driver_sql(
        "SELECT * FROM %s ORDER BY id" % table).all()


# Alembic's operations -------------------------------------------------------

def test_nullability(altered):
    alembic = operate(altered)
    alembic.alter_column("things", "size", nullable=True)
    altered.exec_driver_sql("UPDATE things SET size = NULL WHERE id = 3")
    with pytest.raises(exc.IntegrityError, match="NOT NULL"):
        alembic.alter_column("things", "name", nullable=False)
    altered.exec_driver_sql("DELETE FROM things WHERE id = 3")
    alembic.alter_column("things", "name", nullable=False)
    altered.commit()
    assert described(altered)["columns"][1:3] == [
        ("name", "VARCHAR(36)", False, ""), ("size", "INTEGER", True, "5")]
    with pytest.raises(exc.IntegrityError, match="NOT NULL"):
        altered.exec_driver_sql("INSERT INTO things (size) VALUES (1)")


def test_a_column_that_must_not_be_null_is_added(altered):
    alembic = operate(altered)
    alembic.add_column("plain", sa.Column("new", sa.Text, nullable=False))
    with pytest.raises(exc.IntegrityError, match="NOT NULL"):
        alembic.add_column("things", sa.Column(
            "new", sa.Text, nullable=False))
    alembic.add_column("things", sa.Column(
        "new", sa.Text, nullable=False, server_default=sa.text("2 + 2")))
    altered.commit()
    assert [row.new for row in rows(altered)] == ["4", "4", "4"]


def test_ids_go_on(altered):
    operate(altered).create_unique_constraint(
        "uq_price", "things", ["price"])
    for _time in range(2):
        altered.exec_driver_sql("INSERT INTO things (name) VALUES (NULL)")
        altered.commit()
    assert [row.id for row in rows(altered)] == [1, 2, 3, 4, 5]


def test_a_unique_constraint_holds_for_other_connections(engine, altered):
    operate(altered).create_unique_constraint("uq_price", "things", ["price"])
    altered.commit()
    with engine.connect() as other:
        with pytest.raises(exc.IntegrityError, match="UNIQUE"):
            other.exec_driver_sql("INSERT INTO things (price) VALUES (3)")


def test_a_constraint_that_rows_break(altered):
    alembic = operate(altered)
    altered.exec_driver_sql("UPDATE things SET price = 1")
    altered.commit()
    before = described(altered)
    with pytest.raises(exc.IntegrityError):
        alembic.create_unique_constraint("uq_price", "things", ["price"])
    assert described(altered) == before
    assert len(rows(altered)) == 3


def test_another_primary_key(altered):
    """Neutron drops it by the name that it reflects: here there is none."""
    alembic = operate(altered)
    alembic.drop_constraint(None, "things", type_="primary")
    alembic.create_primary_key("pk", "things", ["id", "size"])
    altered.commit()
    assert described(altered)["key"] == ["id", "size"]
    altered.exec_driver_sql("UPDATE things SET size = 6 WHERE id = 1")
    altered.commit()
    assert [row[:3] for row in rows(altered)] == [
        (1, "one", 6), (2, "two", 5), (3, None, 5)]


def test_a_new_key_writes_rows_at_another_place(engine, altered):
    altered.exec_driver_sql("CREATE TABLE bare (a TEXT NOT NULL, b TEXT)")
    altered.exec_driver_sql("INSERT INTO bare VALUES ('x', 1), ('y', 2)")
    altered.commit()
    operate(altered).create_primary_key("pk", "bare", ["a"])
    altered.commit()
    with engine.begin() as other:
        other.exec_driver_sql("DELETE FROM bare WHERE a = 'x'")
    assert altered.exec_driver_sql("SELECT * FROM bare").all() == [("y", "2")]


def test_batches_change_tables_in_place(altered):
    with operate(altered).batch_alter_table("plain") as batch:
        batch.alter_column("c", nullable=False)
        batch.drop_constraint("plain_ibfk_2", type_="foreignkey")
        batch.create_index("ix", ["c"])
    altered.commit()
    found = described(altered, "plain")
    assert found["columns"][3] == ("c", "INTEGER", False, "")
    assert [key[0] for key in found["foreign"]] == [
        "plain_ibfk_1", "plain_ibfk_3"]
    # A CHECK without a name is lost when SQLite's batches make tables again.
    assert found["check"] == [("plain_chk_1", "b > 0")]


def test_a_type_with_a_constraint_of_its_own(altered):
    alembic = operate(altered)
    alembic.add_column("things", sa.Column(
        "flag", sa.Boolean(name="ck_flag", create_constraint=True)))
    assert ("ck_flag", "flag IN (0, 1)") in described(altered)["check"]
    alembic.alter_column(
        "things", "flag", type_=sa.Integer(), existing_type=sa.Boolean(
            name="ck_flag", create_constraint=True))
    assert "ck_flag" not in dict(described(altered)["check"])


def test_comments_are_left_out(altered):
    before = described(altered)
    operate(altered).alter_column("things", "name", comment="a name")
    assert described(altered) == before


def test_tables_that_refer_to_an_altered_one(altered):
    altered.exec_driver_sql("CREATE VIEW views AS SELECT id FROM parents")
    operate(altered).add_column("parents", sa.Column(
        "n", sa.Integer, nullable=False, server_default="1"))
    altered.commit()
    assert described(altered)["foreign"][0][2] == "parents"
    assert altered.exec_driver_sql("SELECT * FROM views").all() == [
        (1,), (2,)]


# Keys without names ---------------------------------------------------------

def test_keys_without_names_have_those_of_mysql(altered):
    found = described(altered, "plain")
    assert found["foreign"] == [
        ("plain_ibfk_1", ["a"], "parents", ["id"],
         [("ondelete", "RESTRICT"), ("onupdate", "CASCADE")]),
        ("plain_ibfk_2", ["b"], "parents", ["id"], []),
        ("plain_ibfk_3", ["c"], "plain", ["id"], [("ondelete", "SET NULL")])]
    assert found["unique"] == [("a", ["a"]), ("a_2", ["a", "b"])]
    assert found["columns"][0] == ("id", "INTEGER", False, "")


def test_names_stay_while_others_are_dropped(altered):
    names = sorted(one["name"] for one in sa.inspect(
        altered).get_foreign_keys("plain"))
    for name in names[:2]:
        operate(altered).drop_constraint(name, "plain", type_="foreignkey")
    altered.commit()
    assert described(altered, "plain")["foreign"] == [
        ("plain_ibfk_3", ["c"], "plain", ["id"], [("ondelete", "SET NULL")])]


def test_an_index_of_a_constraint_is_dropped_as_in_mysql(altered):
    altered.exec_driver_sql("DROP INDEX uq_name ON things")
    altered.exec_driver_sql("DROP INDEX a_2")
    altered.exec_driver_sql("DROP INDEX IF EXISTS nothing")
    altered.commit()
    assert described(altered)["unique"] == []
    assert described(altered, "plain")["unique"] == [("a", ["a"])]
    with pytest.raises(exc.OperationalError, match="no such index"):
        altered.exec_driver_sql("DROP INDEX nothing")


# Text of other databases ----------------------------------------------------

@pytest.mark.parametrize("text, column", (
    ("MODIFY name VARCHAR(9) CHARACTER SET utf8 NOT NULL COMMENT 'x'",
     ("name", "VARCHAR(9)", False, "")),
    ("MODIFY COLUMN size BIGINT UNSIGNED", ("size", "BIGINT", True, "")),
    ("CHANGE note name_2 VARCHAR(5) DEFAULT 'a'",
     ("name_2", "VARCHAR(5)", True, "a")),
    ("ADD new TEXT FIRST", ("new", "TEXT", True, "")),
    ("ADD COLUMN new TEXT AFTER id, DROP price",
     ("new", "TEXT", True, "")),
    ("ALTER note SET DATA TYPE VARCHAR(1) USING note::varchar",
     ("note", "VARCHAR(1)", True, "")),
    ("RENAME note TO new", ("new", "TEXT", True, "")),
    ("ADD COLUMN IF NOT EXISTS note INTEGER", ("note", "TEXT", True, "")),
))
def test_text_of_columns(altered, text, column):
    altered.exec_driver_sql("UPDATE things SET name = 'x' WHERE id = 3")
    altered.exec_driver_sql("ALTER TABLE things " + text)
    altered.commit()
    assert column in described(altered)["columns"]
    assert len(rows(altered)) == 3


@pytest.mark.parametrize("text", (
    "CONVERT TO CHARACTER SET utf8 COLLATE utf8_bin", "ENGINE=InnoDB",
    "CHARACTER SET utf8mb3 COLLATE utf8mb3_bin"))
def test_text_about_storage_changes_nothing(altered, text):
    before = described(altered)
    altered.exec_driver_sql("ALTER TABLE things " + text)
    altered.commit()
    assert described(altered) == before


def test_text_of_keys(altered):
    altered.exec_driver_sql(
        "ALTER TABLE things DROP FOREIGN KEY fk_parent, DROP KEY uq_name, "
        "ADD UNIQUE KEY uq_price (price), ADD INDEX ix_name (name), "
        "RENAME INDEX ix_size TO ix_both, DROP CHECK ck_size, "
        "ADD CONSTRAINT fk FOREIGN KEY (size) REFERENCES plain (id)")
    altered.commit()
    found = described(altered)
    assert found["unique"] == [("uq_price", ["price"])]
    assert found["check"] == []
    assert [key[0] for key in found["foreign"]] == ["fk"]
    assert [index[0] for index in found["indexes"]] == ["ix_both", "ix_name"]


@pytest.mark.parametrize("text", (
    "PARTITION BY HASH (id)", "ALTER COLUMN note", "ADD", "RENAME",
    "DISABLE KEYS", "ADD COLUMN new TEXT, ORDER BY new"))
def test_other_text_is_one_clear_error(altered, text):
    before = described(altered)
    with pytest.raises(exc.NotSupportedError, match="not supported"):
        altered.exec_driver_sql("ALTER TABLE things " + text)
    assert described(altered) == before


@pytest.mark.parametrize("text", (
    "DROP INDEX", "DROP INDEX IF EXISTS", "DROP INDEX uq_name ON",
    "ALTER TABLE IF EXISTS ONLY"))
def test_text_that_ends_too_soon_is_one_clear_error(altered, text):
    before = described(altered)
    with pytest.raises(exc.NotSupportedError, match="not supported"):
        altered.exec_driver_sql(text)
    assert described(altered) == before


@pytest.mark.parametrize("text", (
    "DROP COLUMN nothing", "DROP CONSTRAINT nothing",
    "ALTER nothing SET NOT NULL", "ADD COLUMN note TEXT",
    "ADD CONSTRAINT uq_name UNIQUE (note)", "ADD PRIMARY KEY (size)",
    "RENAME INDEX nothing TO more"))
def test_what_is_not_there(altered, text):
    with pytest.raises(exc.OperationalError):
        altered.exec_driver_sql("ALTER TABLE things " + text)


# Against SQLite -------------------------------------------------------------

COLUMNS = st.sampled_from(("name", "size", "price", "note", "parent"))
CHANGES = st.lists(st.one_of(
    st.tuples(st.just("alter_column"), COLUMNS, st.sampled_from((
        {"nullable": True}, {"nullable": False}, {"server_default": "4"},
        {"server_default": None}, {"type_": sa.String(80)}))),
    st.tuples(st.just("drop_column"), COLUMNS),
    st.tuples(st.just("add_column"), st.sampled_from(("more", "name")),
              st.booleans()),
    st.tuples(st.just("create_unique_constraint"),
              st.sampled_from(("uq_1", "uq_2")), COLUMNS),
    st.tuples(st.just("create_foreign_key"), st.sampled_from(("fk_1",)),
              COLUMNS),
    st.tuples(st.just("drop_constraint"), st.sampled_from((
        "uq_name", "ck_size", "fk_parent", "uq_1", "fk_1"))),
    st.tuples(st.just("create_index"), st.sampled_from(("ix_1", "ix_2")),
              COLUMNS),
), max_size=5)


def change(connection, step):
    """Run a step; return False if the database refuses it."""
    name, first, *rest = step
    try:
        with connection.begin_nested(), operate(
                connection).batch_alter_table("things") as batch:
            if name == "alter_column":
                batch.alter_column(first, **rest[0])
            elif name == "add_column":
                batch.add_column(sa.Column(
                    first, sa.Integer, nullable=rest[0],
                    server_default=None if rest[0] else "8"))
            elif name == "create_foreign_key":
                batch.create_foreign_key(
                    first, "parents", rest, ["id"], ondelete="CASCADE")
            elif rest:
                getattr(batch, name)(first, rest)
            else:
                getattr(batch, name)(first)
    # Alembic's refusals are KeyError, ValueError and errors of its own.
    except Exception:
        return False
    return True


def _fits(sqlite, step):
    """Tell whether a key's column is there, and its name and columns not.

    Batches leave such a key out or replace another one, without a word.
    """
    found = described(sqlite)
    keys = [*found["unique"], *found["foreign"], *found["indexes"]]
    return any(column[0] == step[2] for column in found["columns"]) and (
        not any(key[0] == step[1] or key[1] == [step[2]] for key in keys))


@pytest.fixture
def sqlite():
    engine = sa.create_engine("sqlite://")
    # The driver would commit before DDL.
    sa.event.listen(engine, "connect", lambda connection, _record: setattr(
        connection, "isolation_level", None))
    sa.event.listen(engine, "begin", lambda connection: (
        connection.exec_driver_sql("BEGIN")))
    with engine.connect() as connection:
        yield connection


@hypothesis.given(CHANGES)
@hypothesis.settings(max_examples=10, deadline=None, suppress_health_check=[
    hypothesis.HealthCheck.function_scoped_fixture])
def test_as_sqlite_in_batches(engine, sqlite, changes):
    with engine.connect() as connection:
        for one in (connection, sqlite):
            for name in ("things", "plain", "parents"):
                one.exec_driver_sql("DROP TABLE IF EXISTS " + name)
            prepare(one)
        for step in changes:
            if step[0].startswith("create") and not _fits(sqlite, step):
                continue
            done = change(sqlite, step)
            # A column goes with what names it; batches leave an index or a
            # CHECK that the new table then cannot have.
            if done or step[0] != "drop_column":
                assert change(connection, step) == done, step
        sqlite.commit()
        connection.commit()
        assert described(connection) == described(sqlite)
        assert sorted(map(repr, rows(connection))) == sorted(
            map(repr, rows(sqlite)))
