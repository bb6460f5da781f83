# SPDX-License-Identifier: Apache-2.0
"""Engines, connections, cursors and errors."""

import os
import threading

from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import enginefacade
from oslo_db.sqlalchemy import engines
from oslo_db.sqlalchemy import exc_filters
import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import pool
from stevedore import exception as stevedore_exception

from nova_kvs import conf
from nova_kvs.dialect import base as dialects
from nova_kvs.dialect import dbapi
from nova_kvs.dialect import native_api
from nova_kvs import exceptions
from nova_kvs.record import database as databases
from nova_kvs import translation
from tests import base
from tests.unit.dialect import tables

services = tables.Service.__table__


def open_connection(engine):
    return engine.raw_connection().dbapi_connection


# Engines --------------------------------------------------------------------

@pytest.mark.parametrize("scheme, name", [
    ("kvs", "redis"), ("kvs+redis", "redis"), ("kvs+cluster", "cluster"),
    ("kvs+sentinel", "sentinel"), ("kvs+memory", "memory")])
def test_drivers(scheme, name):
    engine = sa.create_engine(scheme + "://host/name")
    assert engine.dialect.name == "kvs"
    assert engine.dialect.driver == name
    assert isinstance(engine.pool, pool.QueuePool)
    # Not inherited: SQLAlchemy looks at each class.
    assert "supports_statement_cache" in vars(type(engine.dialect))
    assert engine.dialect.supports_statement_cache


def test_an_unknown_driver_is_one_clear_error():
    with pytest.raises(exc.NoSuchModuleError, match="kvs.nosuch"):
        sa.create_engine("kvs+nosuch://host/name")


def test_oslo_db_makes_engines():
    engine = engines.create_engine(
        base.memory_url(), max_pool_size=7, max_overflow=8, pool_timeout=9,
        sqlite_fk=True, max_retries=0)
    assert engine.pool.size() == 7
    with engine.begin() as connection:
        assert connection.scalar(sa.text("SELECT 'abc' REGEXP '^a'")) == 1
        assert connection.scalar(sa.text("SELECT 12 REGEXP '^1'")) == 1
        assert connection.scalar(sa.text("SELECT NULL REGEXP 'a'")) is None


def test_no_request_waits_for_a_connection():
    engine = sa.create_engine(base.memory_url(), pool_timeout=0.01)
    taken = [engine.connect() for _ in range(60)]
    assert {connection.scalar(sa.text("SELECT 1"))
            for connection in taken} == {1}
    for connection in taken:
        connection.close()
    assert engine.pool.checkedout() == 0
    assert engine.pool.checkedin() == engine.pool.size() == 20


def test_options_bound_the_connections():
    engine = engines.create_engine(
        base.memory_url(), max_pool_size=1, max_overflow=1, pool_timeout=0.01)
    with engine.connect(), engine.connect():
        with pytest.raises(exc.TimeoutError, match="overflow 1 reached"):
            engine.connect()


def test_the_password_is_not_shown():
    engine = sa.create_engine(
        "kvs+redis://user:s3cret@127.0.0.1:1/name?nosuch=1")
    assert "s3cret" not in repr(engine)
    with pytest.raises(exc.OperationalError, match="nosuch") as raised:
        engine.connect()
    assert "s3cret" not in str(raised.value)
    assert "s3cret" not in repr(raised.value.orig.kvs_error)


def test_a_wrong_url_is_one_clear_error():
    with pytest.raises(exc.OperationalError, match="database name"):
        sa.create_engine("kvs+memory://").connect()


def test_a_newer_format_is_refused(engine, monkeypatch):
    def refuse(url, **options):
        raise exceptions.FormatVersionError(found=99)

    monkeypatch.setattr(databases, "open_database", refuse)
    with pytest.raises(exc.InternalError, match="newer nova-kvs"):
        sa.create_engine(base.memory_url()).connect()


def test_a_store_that_is_down_at_connect_is_a_disconnect(monkeypatch):
    def refuse(url, **options):
        raise exceptions.StoreUnavailableError()

    monkeypatch.setattr(databases, "open_database", refuse)
    engine = engines.create_engine(base.memory_url(), max_retries=0)
    with pytest.raises(db_exc.DBConnectionError):
        engine.connect()


def test_a_store_that_is_down_invalidates_the_connection(engine,
                                                         monkeypatch):
    with engine.connect() as connection:
        database = connection.connection.dbapi_connection.workspace.database
        with monkeypatch.context() as patch:
            def refuse(reads, near):
                raise exceptions.StoreUnavailableError()

            patch.setattr(database.coordinator, "read", refuse)
            with pytest.raises(exc.OperationalError) as raised:
                connection.execute(sa.select(services))
            assert raised.value.connection_invalidated
        connection.rollback()
        assert connection.execute(sa.select(services)).all() == []


# Native functions -----------------------------------------------------------

def test_native_functions_can_be_left_out(monkeypatch):
    monkeypatch.setattr(native_api.stevedore, "DriverManager", None)
    conf.CONF.set_override("db_api", "none", group="nova_kvs")
    try:
        native_api.install()
    finally:
        conf.CONF.clear_override("db_api", group="nova_kvs")


def test_an_unknown_implementation_is_one_clear_error():
    conf.CONF.set_override("db_api", "nosuch", group="nova_kvs")
    try:
        with pytest.raises(exceptions.ConfigurationError, match="db_api"):
            sa.create_engine(base.memory_url())
    finally:
        conf.CONF.clear_override("db_api", group="nova_kvs")


def test_an_implementation_that_fails_is_one_clear_error(monkeypatch):
    def fail(namespace, name, on_load_failure_callback):
        entry_point = type("EntryPoint", (), {"name": name})
        on_load_failure_callback(None, entry_point, ImportError("why"))
        raise stevedore_exception.NoMatches

    monkeypatch.setattr(native_api.stevedore, "DriverManager", fail)
    with pytest.raises(exceptions.ConfigurationError, match="why"):
        native_api.install()


# Connections ----------------------------------------------------------------

def test_isolation_levels(engine):
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"
        assert connection.default_isolation_level == "READ COMMITTED"
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(services.insert(), {"uuid": "a"})
        with engine.connect() as other:
            assert len(other.execute(sa.select(services)).all()) == 1
            other.execute(services.insert(), {"uuid": "b"})
            other.commit()
        assert len(connection.execute(sa.select(services)).all()) == 2
    with engine.connect() as connection:
        assert connection.get_isolation_level() == "READ COMMITTED"
        with pytest.raises(exc.ArgumentError):
            connection.execution_options(isolation_level="REPEATABLE READ")


def test_autocommit_ends_with_a_savepoint(engine):
    connection = engine.connect().execution_options(
        isolation_level="AUTOCOMMIT")
    connection.exec_driver_sql("SAVEPOINT a")
    connection.execute(services.insert(), {"uuid": "a"})
    with engine.connect() as other:
        assert other.execute(sa.select(services)).all() == []
        other.rollback()
        connection.exec_driver_sql("RELEASE a")
        assert len(other.execute(sa.select(services)).all()) == 1
    connection.close()


def test_results_can_be_read_after_the_commit(engine):
    with engine.connect() as connection:
        connection.execute(services.insert(), [{"host": "h"}] * 3)
        result = connection.execute(sa.select(services.c.id))
        first = result.fetchone()
        connection.commit()
        assert [first, *result.fetchall()] == [(1,), (2,), (3,)]


def test_row_counts(engine):
    with engine.connect() as connection:
        connection.execute(services.insert(), [
            {"host": "h%d" % number} for number in range(5)])
        assert connection.execute(services.update().where(
            services.c.id < 4).values(report_count=1)).rowcount == 3
        assert connection.execute(services.update().where(
            services.c.id == 99).values(report_count=1)).rowcount == 0
        assert connection.execute(services.delete()).rowcount == 5


def test_raw_dbapi(engine):
    connection = open_connection(engine)
    cursor = connection.cursor()
    cursor.executemany("INSERT INTO services (uuid) VALUES (?)",
                       [("a",), ("b",)])
    cursor.execute("INSERT INTO services (uuid) VALUES ('c')")
    assert cursor.lastrowid == 3
    assert connection.in_transaction
    connection.commit()
    assert not connection.in_transaction
    assert connection.execute(
        "SELECT uuid FROM services").fetchall() == [("a",), ("b",), ("c",)]
    cursor.executescript(
        "DELETE FROM services WHERE uuid = 'a'; -- ;\n"
        "INSERT INTO services (uuid) VALUES ('x;y')")
    for sql in ("COMMIT", "BEGIN"):
        connection.execute(sql)
    assert connection.execute(
        "SELECT uuid FROM services").fetchall() == [("b",), ("c",), ("x;y",)]
    connection.execute("ROLLBACK")
    assert "services" not in repr(connection)
    connection.close()
    connection.close()
    with pytest.raises(dbapi.ProgrammingError):
        connection.cursor()


def test_functions_stay_when_the_schema_changes(engine):
    connection = open_connection(engine)
    connection.create_function("twice", 1, lambda value: 2 * value)
    connection.create_collation(
        "backwards", lambda one, other: (one < other) - (one > other))

    class Count:
        def __init__(self):
            self.count = 0

        def step(self, value):
            self.count += 1

        def finalize(self):
            return self.count

    connection.create_aggregate("counted", 1, Count)
    with engine.begin() as other:
        other.exec_driver_sql("CREATE TABLE more (a INTEGER)")
    assert connection.execute(
        "SELECT twice(4), counted(1), (SELECT count(*) FROM more)"
    ).fetchall() == [(8, 1, 0)]
    assert connection.execute(
        "SELECT v FROM (SELECT 'a' AS v UNION ALL SELECT 'b') "
        "ORDER BY v COLLATE backwards").fetchall() == [("b",), ("a",)]


@pytest.mark.parametrize("end", ["", ";"])
def test_a_connection_can_turn_foreign_keys_on(engine, end):
    note = tables.Note.__table__.insert().values(service_id=5, name="n")
    with engine.connect() as connection:
        assert connection.exec_driver_sql(
            "PRAGMA foreign_keys" + end).scalar() == 0
        connection.execute(note)
        connection.rollback()
        connection.exec_driver_sql("PRAGMA foreign_keys = ON" + end)
        assert connection.exec_driver_sql(
            "PRAGMA foreign_keys" + end).scalar() == 1
        with pytest.raises(exc.IntegrityError):
            connection.execute(note)


@pytest.mark.parametrize("sql", [
    "ATTACH 'x' AS y", "VACUUM", "CREATE TEMP TABLE t (a INTEGER)"])
def test_what_cannot_be_run(engine, sql):
    with engine.connect() as connection:
        with pytest.raises(exc.NotSupportedError):
            connection.exec_driver_sql(sql)


def test_an_error_of_the_id_counter_is_not_hidden(engine, monkeypatch):
    with engine.connect() as connection:
        database = connection.connection.dbapi_connection.workspace.database

        def refuse(table, count=1):
            raise exceptions.StoreUnavailableError()

        monkeypatch.setattr(database, "next_ids", refuse)
        with pytest.raises(exc.OperationalError) as raised:
            connection.execute(services.insert(), {"uuid": "a"})
        assert isinstance(raised.value.orig.kvs_error,
                          exceptions.StoreUnavailableError)
        connection.rollback()
        with pytest.raises(exc.OperationalError, match="no such function"):
            connection.exec_driver_sql("SELECT nosuch()")


def test_threads_have_workspaces_of_their_own(engine):
    ready = threading.Barrier(4)
    failed = []

    def work(number):
        try:
            with engine.connect() as connection:
                for _ in range(5):
                    connection.execute(services.insert(), {
                        "uuid": "u%d" % number})
                    ready.wait(30)
                    seen = connection.execute(
                        sa.select(services.c.uuid)).scalars().all()
                    assert seen == ["u%d" % number]
                    connection.rollback()
        except Exception as error:  # Whatever it is fails the test.
            failed.append(error)
            ready.abort()

    threads = [threading.Thread(target=work, args=(number,))
               for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_fork_goes_on_with_engines_of_its_parent():
    engine = engines.create_engine(base.memory_url())
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(services.insert(), {"uuid": "parent"})
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            with engine.begin() as connection:
                connection.execute(services.insert(), {"uuid": "child"})
                ids = connection.execute(
                    sa.select(services.c.id)).scalars().all()
            os.write(write, repr(ids).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        ids = answer.read()
    os.waitpid(child, 0)
    assert ids.startswith("[1, ") and len(ids) > 4


# Errors ---------------------------------------------------------------------

def facade():
    manager = enginefacade.transaction_context()
    manager.configure(connection=base.memory_url())
    tables.metadata.create_all(manager.writer.get_engine())
    return manager.writer.get_engine()


def test_duplicates_have_columns():
    engine = facade()
    with engine.begin() as connection:
        connection.execute(services.insert(), {"host": "h", "binary": "b"})
    with engine.connect() as connection:
        with pytest.raises(db_exc.DBDuplicateEntry) as raised:
            connection.execute(services.insert(), {
                "host": "h", "binary": "b"})
        assert raised.value.columns == ["host", "binary", "deleted"]
    with engine.connect() as connection:
        connection.execute(services.insert(), {"host": "x", "binary": "b"})
        with engine.begin() as other:
            other.execute(services.insert(), {"host": "x", "binary": "b"})
        with pytest.raises(db_exc.DBDuplicateEntry) as raised:
            connection.commit()
        assert raised.value.columns == ["host", "binary", "deleted"]
        assert raised.value.value == "x,b,0"


def test_conflicts_are_deadlocks():
    engine = facade()
    with engine.begin() as connection:
        connection.execute(services.insert(), {"host": "h"})
    with engine.connect() as connection:
        connection.execute(services.update().values(report_count=1))
        with engine.begin() as other:
            other.execute(services.update().values(report_count=2))
        with pytest.raises(db_exc.DBDeadlock):
            connection.commit()


def test_what_sqlite_says_is_filtered_as_sqlites():
    engine = facade()
    with engine.connect() as connection:
        with pytest.raises(db_exc.DBNonExistentTable) as raised:
            connection.exec_driver_sql("SELECT * FROM nosuch")
        assert raised.value.table == "nosuch"
    with engine.connect() as connection:
        with pytest.raises(exc.OperationalError):
            connection.exec_driver_sql("SELECT nosuch FROM services")


def test_filters_are_registered_once():
    sa.create_engine(base.memory_url())
    before = {kind: list(filters) for kind, filters in
              exc_filters._registry["kvs"].items()}
    sa.create_engine(base.memory_url())
    assert before == dict(exc_filters._registry["kvs"])


def test_every_error_that_is_raised_is_a_dbapi_error():
    for cause in translation.TABLE:
        translated = translation.dbapi_error(
            cause(columns=(), table="t", values=(), constraint="c", key="k",
                  key_table="u"))
        assert isinstance(translated, dbapi.Error)
        assert dialects.KVSDialect.is_disconnect(
            None, translated, None, None) is issubclass(
            cause, (exceptions.StoreUnavailableError,
                    exceptions.UndeterminedError))
