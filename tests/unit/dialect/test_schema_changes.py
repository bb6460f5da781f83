# SPDX-License-Identifier: Apache-2.0
"""DDL, reflection and alembic."""

from alembic import migration as alembic_migration
from alembic import operations
import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from tests.unit.dialect import tables

services = tables.Service.__table__
notes = tables.Note.__table__


@pytest.fixture
def alembic(connection):
    """Return alembic's operations on the connection."""
    return operations.Operations(
        alembic_migration.MigrationContext.configure(connection))


def ddl(connection):
    return connection.connection.dbapi_connection.workspace.database \
        .schema.ddl


def fill(engine):
    with engine.begin() as connection:
        connection.execute(services.insert(), [
            {"uuid": "u%d" % number, "host": "h%d" % number, "binary": "b"}
            for number in range(3)])


def test_the_stored_schema_is_plain_sqlite(engine, connection):
    texts = ddl(connection)
    assert not any("kvs_" in text for text in texts)
    assert any("id INTEGER NOT NULL" in text for text in texts)


def test_other_connections_see_a_new_schema(engine, connection):
    connection.execute(sa.select(1))
    connection.rollback()
    with engine.begin() as other:
        other.exec_driver_sql("CREATE TABLE more (a INTEGER PRIMARY KEY)")
        other.exec_driver_sql("INSERT INTO more DEFAULT VALUES")
    assert connection.exec_driver_sql("SELECT a FROM more").all() == [(1,)]


def test_ddl_is_undone_by_rollback(engine, connection):
    connection.exec_driver_sql("CREATE TABLE more (a INTEGER)")
    connection.exec_driver_sql("DROP TABLE notes")
    connection.rollback()
    names = sa.inspect(connection).get_table_names()
    assert "more" not in names
    assert "notes" in names


def test_ddl_is_undone_by_a_savepoint(engine, connection):
    fill(engine)
    with connection.begin_nested() as nested:
        connection.exec_driver_sql("DROP TABLE services")
        nested.rollback()
    connection.execute(services.update().values(report_count=1))
    connection.commit()
    with engine.connect() as other:
        assert other.execute(sa.select(
            services.c.report_count)).scalars().all() == [1, 1, 1]


def test_add_column(engine, connection):
    fill(engine)
    connection.exec_driver_sql(
        "ALTER TABLE services ADD COLUMN c INTEGER DEFAULT 7")
    connection.exec_driver_sql("UPDATE services SET c = 8 WHERE id = 2")
    connection.commit()
    with engine.connect() as other:
        assert other.exec_driver_sql(
            "SELECT id, c, uuid FROM services ORDER BY id").all() == [
            (1, 7, "u0"), (2, 8, "u1"), (3, 7, "u2")]


def test_rename_table_and_column(engine, connection):
    fill(engine)
    connection.exec_driver_sql("ALTER TABLE services RENAME TO old_services")
    connection.exec_driver_sql(
        "ALTER TABLE old_services RENAME COLUMN host TO name")
    connection.exec_driver_sql("UPDATE old_services SET name = 'x' "
                               "WHERE id = 1")
    connection.commit()
    with engine.begin() as other:
        assert other.exec_driver_sql(
            "SELECT id, name FROM old_services ORDER BY id").all() == [
            (1, "x"), (2, "h1"), (3, "h2")]
        # Ids go on where they were.
        assert other.exec_driver_sql(
            "INSERT INTO old_services (uuid) VALUES ('n') RETURNING id"
        ).scalar() == 4
        with pytest.raises(exc.OperationalError, match="no such table"):
            other.exec_driver_sql("SELECT * FROM services")


def test_rename_column_only(engine, connection):
    fill(engine)
    connection.exec_driver_sql(
        "ALTER TABLE services RENAME COLUMN host TO name")
    connection.commit()
    with engine.connect() as other:
        assert other.exec_driver_sql(
            "SELECT name FROM services ORDER BY id").scalars().all() == [
            "h0", "h1", "h2"]


def test_drop_and_make_again(engine, connection):
    fill(engine)
    connection.execute(sa.schema.DropTable(services))
    connection.execute(sa.schema.CreateTable(services))
    connection.execute(services.insert(), {"uuid": "new"})
    connection.commit()
    with engine.connect() as other:
        assert other.execute(sa.select(
            services.c.uuid)).scalars().all() == ["new"]


def test_a_unique_index_is_checked(engine, connection):
    with engine.begin() as other:
        other.execute(services.insert(), [{"host": "h"}, {"host": "h"}])
    with pytest.raises(exc.IntegrityError):
        connection.exec_driver_sql("CREATE UNIQUE INDEX i ON services (host)")


def test_a_new_index_finds_old_rows(engine, connection):
    fill(engine)
    connection.exec_driver_sql("CREATE INDEX i ON services (binary)")
    connection.commit()
    with engine.connect() as other:
        assert len(other.execute(sa.select(services).where(
            services.c.binary == "b")).all()) == 3


def test_create_table_as(engine, connection):
    fill(engine)
    connection.exec_driver_sql(
        "CREATE TABLE copy AS SELECT id, uuid FROM services")
    connection.commit()
    with engine.connect() as other:
        assert other.exec_driver_sql(
            "SELECT * FROM copy ORDER BY id").all() == [
            (1, "u0"), (2, "u1"), (3, "u2")]


def test_views(engine, connection):
    fill(engine)
    connection.exec_driver_sql(
        "CREATE VIEW names AS SELECT id, host FROM services")
    connection.exec_driver_sql("CREATE VIEW ids AS SELECT id FROM names")
    assert connection.exec_driver_sql(
        "SELECT id FROM Ids WHERE id < 3").all() == [(1,), (2,)]
    connection.commit()
    with engine.connect() as other:
        view = sa.table("ids", sa.column("id"))
        assert other.execute(sa.select(view.c.id).where(
            view.c.id == 2)).all() == [(2,)]
        other.rollback()
        assert other.exec_driver_sql("SELECT max(id) FROM ids").all() == [
            (3,)]


def test_tables_of_an_uncommitted_schema(engine, connection):
    fill(engine)
    table = sa.Table(
        "more", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("service_id", sa.Integer))
    table.create(connection)
    connection.execute(table.insert().from_select(
        ["service_id"], sa.select(services.c.id)))
    assert connection.execute(sa.select(table.c.id, services.c.uuid).join(
        services, services.c.id == table.c.service_id).where(
        table.c.id == 2)).all() == [(2, "u1")]
    connection.commit()
    with engine.connect() as other:
        assert len(other.execute(sa.select(table)).all()) == 3


# Reflection -----------------------------------------------------------------

def test_reflected_tables_are_as_declared(engine):
    found = sa.MetaData()
    found.reflect(engine)
    assert set(found.tables) == set(tables.metadata.tables)
    table = found.tables["services"]
    assert [(column.name, type(column.type), column.nullable,
             column.server_default, column.primary_key)
            for column in table.c][:2] == [
        ("id", sa.INTEGER, False, None, True),
        ("uuid", sa.VARCHAR, True, None, False)]
    inspector = sa.inspect(engine)
    assert inspector.get_pk_constraint("services")[
        "constrained_columns"] == ["id"]
    assert inspector.get_unique_constraints("services") == [
        {"name": "uniq_services0host0binary0deleted",
         "column_names": ["host", "binary", "deleted"]}]
    assert [(one["name"], one["column_names"], one["unique"])
            for one in inspector.get_indexes("services")] == [
        ("services_uuid_idx", ["uuid"], 1)]
    assert inspector.get_foreign_keys("notes")[0]["referred_table"] == (
        "services")
    assert inspector.get_check_constraints("services") == []


def test_a_unique_key_like_the_primary_one_is_not_reflected(engine):
    """As in MariaDB and PostgreSQL, so Keystone's models are in sync."""
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE tags (project VARCHAR(9) NOT NULL, "
            "name VARCHAR(9) NOT NULL, PRIMARY KEY (project, name), "
            "UNIQUE (project, name), UNIQUE (name, project))")
    assert sa.inspect(engine).get_unique_constraints("tags") == [
        {"name": "name", "column_names": ["name", "project"]}]


def test_wide_ids(engine):
    table = sa.Table(
        "wide", sa.MetaData(),
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"),
                  primary_key=True), sa.Column("a", sa.Integer))
    table.create(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), {"id": 1, "a": 1})
    with engine.begin() as connection:
        assert connection.execute(
            table.insert(), {"a": 2}).inserted_primary_key == (2,)
    assert type(sa.inspect(engine).get_columns("wide")[0]["type"]) is (
        sa.BIGINT)


# Alembic --------------------------------------------------------------------

def test_alembic_alters(engine, connection, alembic):
    fill(engine)
    alembic.add_column("services", sa.Column("c", sa.Integer))
    alembic.rename_table("services", "renamed")
    alembic.create_index("i", "renamed", ["c"])
    connection.commit()
    with engine.connect() as other:
        assert len(other.exec_driver_sql(
            "SELECT c FROM renamed WHERE c IS NULL").all()) == 3


def test_alembic_copies_and_moves(engine, connection, alembic):
    fill(engine)
    with alembic.batch_alter_table("services") as batch:
        batch.alter_column("host", type_=sa.Text, nullable=False)
        batch.drop_constraint("uniq_services0host0binary0deleted",
                              type_="unique")
        batch.add_column(sa.Column("extra", sa.String(9)))
    connection.execute(sa.text(
        "INSERT INTO services (uuid, host) VALUES ('new', 'h0')"))
    connection.commit()
    with engine.connect() as other:
        assert other.exec_driver_sql(
            "SELECT id, uuid, host, extra FROM services ORDER BY id"
        ).all() == [(1, "u0", "h0", None), (2, "u1", "h1", None),
                    (3, "u2", "h2", None), (4, "new", "h0", None)]
        inspector = sa.inspect(other)
        assert "_alembic_tmp_services" not in inspector.get_table_names()
        assert inspector.get_unique_constraints("services") == []
        assert not any("_alembic_tmp_" in text for text in ddl(other))
    assert alembic.get_context().impl.__dialect__ == "kvs"


def test_ids_go_on_where_a_table_was_recreated(connection, alembic):
    """Within the migration too: the new table's text has its first name."""
    connection.execute(services.insert(), [{"uuid": "a"}, {"uuid": "b"}])
    with alembic.batch_alter_table("services", recreate="always") as batch:
        batch.add_column(sa.Column("more", sa.Text))
    ids = sa.select(services.c.id).order_by(services.c.id)
    connection.execute(services.insert(), {"uuid": "c"})
    assert len(connection.execute(ids).all()) == 3
    connection.commit()
    connection.execute(services.insert(), {"uuid": "d"})
    assert len(connection.execute(ids).all()) == 4


@pytest.mark.parametrize("rows", [
    [{"uuid": "d"}], [{"uuid": "d"}, {"uuid": "e"}]], ids=["one", "two"])
def test_ids_go_on_behind_those_that_rows_brought(connection, rows):
    connection.execute(services.insert(), [
        {"id": number, "uuid": "u%d" % number} for number in range(1, 40)])
    connection.execute(services.insert(), rows)
    connection.commit()
    assert connection.execute(sa.select(sa.func.max(
        services.c.id))).scalar() == 39 + len(rows)


def test_comments_of_ddl_are_not_kept(connection):
    connection.exec_driver_sql(
        "CREATE TABLE traced ( -- of what?\n id INTEGER /* a */ "
        "PRIMARY KEY)  -- File: x.py (1)")
    for name in ("a", "b"):
        connection.exec_driver_sql(
            "ALTER TABLE traced ADD COLUMN %s TEXT  -- File: x.py (2)" % name)
    connection.commit()
    assert [column["name"] for column in sa.inspect(
        connection).get_columns("traced")] == ["id", "a", "b"]
    assert not any("File" in text or "what" in text
                   for text in ddl(connection))


def test_alembic_keeps_an_upgrade_in_one_transaction(alembic):
    assert alembic.get_context().impl.transactional_ddl


@pytest.mark.parametrize("text", (
    "CREATE UNIQUE INDEX i ON services (host) WHERE deleted = 0",
    'CREATE UNIQUE INDEX IF NOT EXISTS "i" ON services (uuid, lower(host))',
    "create unique index i on services (report_count + 1)",
))
def test_unique_indexes_that_the_store_cannot_keep(connection, text):
    with pytest.raises(exc.NotSupportedError):
        connection.exec_driver_sql(text)
    for index in (text.lower().replace("unique ", ""),
                  "CREATE UNIQUE INDEX k ON services ("
                  "uuid COLLATE NOCASE DESC, [host] ASC)"):
        connection.exec_driver_sql(index)


def test_triggers_are_refused(connection):
    with pytest.raises(exc.NotSupportedError):
        connection.exec_driver_sql(
            "CREATE TRIGGER t AFTER INSERT ON services BEGIN "
            "DELETE FROM notes; END")
