# SPDX-License-Identifier: Apache-2.0
"""The SQLAlchemy dialect ``kvs``: SQLite's SQL on a key/value store."""

import re

from sqlalchemy.dialects.sqlite import base as sqlite_base
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.engine import characteristics
from sqlalchemy import exc
from sqlalchemy import pool

from nova_kvs.dialect import compiler
from nova_kvs.dialect import errors
from nova_kvs.dialect import filters
from nova_kvs.dialect import migration  # noqa: F401  registers with alembic
from nova_kvs.dialect import names
from nova_kvs.dialect import native_api
from nova_kvs.dialect import placement
from nova_kvs.dialect import plan
from nova_kvs.dialect import reflection
from nova_kvs.dialect import sqltext
from nova_kvs import regexp

_GENERATED_DEFAULT = re.compile(r"kvs_next_id\(")
_READ_COMMITTED = "READ COMMITTED"
_SERIALIZABLE = "SERIALIZABLE"
_AUTOCOMMIT = "AUTOCOMMIT"


class KVSExecutionContext(sqlite_base.SQLiteExecutionContext):
    """Execution of one statement."""

    def get_lastrowid(self):
        return self.cursor.lastrowid


def _regexp(pattern, value):
    """REGEXP, as oslo.db defines it for SQLite."""
    if value is None or pattern is None:
        return None
    return regexp.compiled(pattern).matches(str(value))


class WorkspacePool(pool.QueuePool):
    """The pool of connections: by default it lets nobody wait.

    A connection is a workspace in this process, of a few hundred kilobytes;
    what is scarce, connections to servers, the store has a pool of. With
    SQLAlchemy's own default, 15 at most, requests of a busy Placement
    waited for each other until they failed.
    """

    def __init__(self, creator, pool_size=20, max_overflow=-1, **options):
        super().__init__(creator, pool_size, max_overflow, **options)


class KVSDialect(reflection.Reflection, pysqlite.SQLiteDialect_pysqlite):
    """The part of the dialect that all drivers share."""

    name = "kvs"
    supports_statement_cache = True
    statement_compiler = compiler.KVSCompiler
    execution_ctx_cls = KVSExecutionContext
    # A workspace is a connection's own.
    default_isolation_level = _READ_COMMITTED
    connection_characteristics = {
        "isolation_level": characteristics.IsolationLevelCharacteristic()}

    @classmethod
    def import_dbapi(cls):
        from nova_kvs.dialect import dbapi

        errors.register()
        placement.register()
        filters.register()
        names.register()
        return dbapi

    @classmethod
    def get_pool_class(cls, url):
        return WorkspacePool

    def create_connect_args(self, url):
        native_api.install(
            url.query.get("db_api"), url.query.get("trust_unknown_releases"))
        return [url.render_as_string(hide_password=False)], {}

    def connect(self, *cargs, **cparams):
        # oslo.db and others pass what SQLite's driver wants.
        for name in ("check_same_thread", "isolation_level", "timeout",
                     "detect_types", "cached_statements"):
            cparams.pop(name, None)
        return self.loaded_dbapi.connect(*cargs, **cparams)

    def on_connect(self):
        base = super().on_connect()

        def connect(connection):
            base(connection)
            connection.create_function(
                "regexp", 2, _regexp, deterministic=True)

        return connect

    # Transactions -----------------------------------------------------------

    def get_isolation_level_values(self, dbapi_connection):
        levels = [_READ_COMMITTED, _AUTOCOMMIT]
        if dbapi_connection.workspace.database.reads_masters:
            levels.append(_SERIALIZABLE)
        return levels

    def get_default_isolation_level(self, dbapi_connection):
        # What create_engine() asked for is set by now.
        return self.get_isolation_level(dbapi_connection)

    def set_isolation_level(self, dbapi_connection, level):
        dbapi_connection.autocommit = level == _AUTOCOMMIT
        dbapi_connection.workspace.serializable = level == _SERIALIZABLE

    def get_isolation_level(self, dbapi_connection):
        if dbapi_connection.autocommit:
            return _AUTOCOMMIT
        if dbapi_connection.workspace.serializable:
            return _SERIALIZABLE
        return _READ_COMMITTED

    def detect_autocommit_setting(self, dbapi_conn):
        return dbapi_conn.autocommit

    def do_ping(self, dbapi_connection):
        # The workspace is in this process; a store that went away is
        # noticed by the statement that needs it.
        return True

    def is_disconnect(self, e, connection, cursor):
        return getattr(e, "is_disconnect", False)

    # Statements -------------------------------------------------------------

    def do_execute(self, cursor, statement, parameters, context=None):
        self._execute(cursor, statement, parameters, context, False)

    def do_executemany(self, cursor, statement, parameters, context=None):
        self._execute(cursor, statement, parameters, context, True)

    def do_execute_no_params(self, cursor, statement, context=None):
        self._execute(cursor, statement, (), context, False)

    @classmethod
    def _execute(cls, cursor, statement, parameters, context, many):
        observer = cursor.observer
        if observer is None:
            cls._run(cursor, statement, parameters, context, many)
        else:
            observer.call(statement.split(None, 1)[0].upper()[:12], cls._run,
                          cursor, statement, parameters, context, many,
                          text=statement)

    @staticmethod
    def _run(cursor, statement, parameters, context, many):
        compiled = context.compiled if context is not None else None
        if compiled is None or context.isddl or not compiled.kvs_is_planned:
            if many:
                cursor.executemany(statement, parameters)
            else:
                cursor.execute(statement, parameters)
            return
        cursor.execute_compiled(context, statement, parameters, many)

    # Reflection -------------------------------------------------------------

    def _get_table_pragma(self, connection, pragma, table_name, schema=None):
        rows = super()._get_table_pragma(
            connection, pragma, table_name, schema=schema)
        if pragma not in ("table_info", "table_xinfo"):
            return rows
        return [
            (row[0], row[1], "INTEGER" if row[2] == "INT" else row[2],
             row[3], None, *row[5:])
            if row[4] is not None and _GENERATED_DEFAULT.match(str(row[4]))
            else row for row in rows]

    def _get_table_sql(self, connection, table_name, schema=None, **kw):
        text = super()._get_table_sql(
            connection, table_name, schema=schema, **kw)
        return None if text is None else sqltext.without_generated_id(text)


class KVSDialect_redis(KVSDialect):
    """One Redis server."""

    driver = "redis"
    supports_statement_cache = True


class KVSDialect_cluster(KVSDialect):
    """A Redis Cluster."""

    driver = "cluster"
    supports_statement_cache = True


class KVSDialect_sentinel(KVSDialect):
    """A Redis server that Sentinel watches."""

    driver = "sentinel"
    supports_statement_cache = True


class KVSDialect_etcd(KVSDialect):
    """An etcd cluster."""

    driver = "etcd"
    supports_statement_cache = True


class KVSDialect_memory(KVSDialect):
    """The store that is embedded in the process."""

    driver = "memory"
    supports_statement_cache = True


def explain(bind, statement):
    """Return how the rows that a statement touches would be loaded.

    :param bind: Engine or Connection of this dialect.
    :param statement: SQLAlchemy statement.
    :returns: text, the same each time for the same statement and schema.
    :raises sqlalchemy.exc.ArgumentError: for another dialect.
    """
    if bind.dialect.name != KVSDialect.name:
        raise exc.ArgumentError("explain needs a kvs engine or connection")
    if hasattr(bind, "connect") and not hasattr(bind, "connection"):
        with bind.connect() as connection:
            return explain(connection, statement)
    compiled = statement.compile(bind)
    workspace = bind.connection.dbapi_connection.workspace
    workspace.begin()
    return plan.describe(workspace.planner.plan(compiled))
