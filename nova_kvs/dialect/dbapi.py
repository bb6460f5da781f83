# SPDX-License-Identifier: Apache-2.0
"""PEP 249 on a workspace: connections and cursors.

The error classes are those of ``sqlite3``, which raises most of them; what
nova-kvs raises itself is in ``nova_kvs.translation``.
"""

import datetime
import sqlite3
from sqlite3 import DatabaseError
from sqlite3 import DataError
from sqlite3 import Error
from sqlite3 import IntegrityError
from sqlite3 import InterfaceError
from sqlite3 import InternalError
from sqlite3 import NotSupportedError
from sqlite3 import OperationalError
from sqlite3 import ProgrammingError
from sqlite3 import sqlite_version
from sqlite3 import sqlite_version_info
from sqlite3 import Warning  # noqa: A004

from nova_kvs.dialect import schema_statements
from nova_kvs.dialect import sqltext
from nova_kvs.dialect import statements
from nova_kvs.dialect import workspace as workspaces
from nova_kvs import exceptions
from nova_kvs.record import database as databases
from nova_kvs import translation

__all__ = [
    "Binary", "Connection", "Cursor", "DataError", "DatabaseError", "Date",
    "DateFromTicks", "Error", "IntegrityError", "InterfaceError",
    "InternalError", "NotSupportedError", "OperationalError",
    "ProgrammingError", "Time", "TimeFromTicks", "Timestamp",
    "TimestampFromTicks", "Warning", "apilevel", "connect", "paramstyle",
    "sqlite_version", "sqlite_version_info", "threadsafety"]

apilevel = "2.0"
paramstyle = "qmark"
#: Threads may share the module, but not connections.
threadsafety = 1

Binary = memoryview
Date = datetime.date
Time = datetime.time
Timestamp = datetime.datetime
DateFromTicks = sqlite3.DateFromTicks
TimeFromTicks = sqlite3.TimeFromTicks
TimestampFromTicks = sqlite3.TimestampFromTicks


def connect(url, **options):
    """Return a Connection.

    :param url: ``kvs+<driver>://...``, str or sqlalchemy URL.
    :param options: as nova_kvs.record.database.open_database.
    :raises OperationalError: if the store does not answer or the URL is
        wrong.
    :raises InternalError: if a newer nova-kvs wrote the database, or an
        import into it is not complete.
    """
    try:
        database = databases.open_database(url, **options)
        database.check_import()
        return Connection(database)
    except exceptions.KVSError as error:
        raise translation.dbapi_error(error) from error


class Cursor(sqlite3.Cursor):
    """A cursor: sqlite3's, with rows loaded before each statement."""

    def __init__(self, owner):
        super().__init__(owner.workspace.sqlite)
        self._owner = owner
        self._last_id = None

    @property
    def observer(self):
        """Observer of the database, or None."""
        return self._owner.workspace.database.observer

    @property
    def lastrowid(self):
        """The id of the row that was inserted last."""
        if self._last_id is not None:
            return self._last_id
        return super().lastrowid

    def execute(self, sql, parameters=()):
        """Run a statement of which only the text is known."""
        self._owner.run_text(self, sql, parameters, False)
        return self

    def executemany(self, sql, parameters):
        """Run a statement with several parameter sets."""
        self._owner.run_text(self, sql, list(parameters), True)
        return self

    def executescript(self, script):
        """Run several statements; parameters are not possible."""
        for sql in _split(script):
            self.execute(sql)
        return self

    def execute_compiled(self, context, sql, parameters, many):
        """Run a statement that SQLAlchemy compiled.

        :param context: its ExecutionContext, with a KVSCompiler.
        """
        self._owner.run_compiled(self, context, sql, parameters, many)

    def run(self, sql, parameters, many):
        """Run a statement in the workspace, whose rows are loaded."""
        space = self._owner.workspace
        given = space.ids.given = []
        try:
            if many:
                super().executemany(sql, parameters)
            else:
                super().execute(sql, parameters)
        except Error as error:
            cause, space.function_error = space.function_error, None
            if cause is not None:
                raise translation.dbapi_error(cause) from cause
            if isinstance(error, IntegrityError):
                space.verify()
            raise
        self._last_id = given[-1] if given else None


class Connection:
    """A connection: one workspace, and at most one transaction."""

    def __init__(self, database):
        self.workspace = workspaces.Workspace(database)
        self._statements = statements.Statements(self.workspace)
        #: True if each statement is a transaction.
        self.autocommit = False
        self._is_closed = False

    def __repr__(self):
        return "<Connection %s>" % self.workspace.database.name

    # PEP 249 ----------------------------------------------------------------

    def cursor(self):
        """Return a new Cursor."""
        if self._is_closed:
            raise ProgrammingError("the connection is closed")
        return Cursor(self)

    def execute(self, sql, parameters=()):
        """Run a statement on a new cursor, as sqlite3 does."""
        return self.cursor().execute(sql, parameters)

    def commit(self):
        """Commit.

        :raises Error: as ``translation.dbapi_error``; the transaction is
            over then too.
        """
        try:
            self.workspace.commit()
        except exceptions.KVSError as error:
            raise translation.dbapi_error(error) from error

    def rollback(self):
        """Roll back. Costs nothing when no transaction is open."""
        self.workspace.rollback()

    def close(self):
        """Close; an open transaction is rolled back."""
        if not self._is_closed:
            self._is_closed = True
            self.workspace.close()

    def create_function(self, name, narg, function, **options):
        """Define an SQL function, as sqlite3 does."""
        self.workspace.sqlite.create_function(
            name, narg, function, **options)

    def create_aggregate(self, name, narg, aggregate):
        """Define an SQL aggregate, as sqlite3 does."""
        self.workspace.sqlite.create_aggregate(name, narg, aggregate)

    def create_collation(self, name, function):
        """Define a collation, as sqlite3 does."""
        self.workspace.sqlite.create_collation(name, function)

    @property
    def in_transaction(self):
        """True while a transaction is open."""
        return self.workspace.is_begun

    # Statements -------------------------------------------------------------

    def run_text(self, cursor, sql, parameters, many):
        """Run a statement of which only the text is known."""
        statement = sqltext.parse(sql)
        try:
            run = _SPECIAL.get(statement.kind)
            if run is not None:
                run(self, cursor, statement, sql, parameters)
                return
            self._begin()
            names = self._names(statement)
            if statement.kind == "schema":
                schema_statements.run(
                    self.workspace, cursor, statement, sql, names)
            else:
                self._statements.run_text(
                    cursor, statement, names, sql, parameters, many)
            if statement.kind != "read":
                self._end_statement()
        except exceptions.KVSError as error:
            raise translation.dbapi_error(error) from error

    def run_compiled(self, cursor, context, sql, parameters, many):
        """Run a statement that SQLAlchemy compiled."""
        try:
            self._begin()
            plan, values = self._statements.load(context, sql)
        except exceptions.KVSError as error:
            raise translation.dbapi_error(error) from error
        if plan is None:
            self._run_unplanned(cursor, context.compiled, sql, parameters,
                                many)
            return
        try:
            self._statements.run_planned(
                cursor, plan, values, sql, parameters, many)
            if plan.target is not None:
                self._end_statement()
        except exceptions.KVSError as error:
            raise translation.dbapi_error(error) from error

    def _run_unplanned(self, cursor, compiled, sql, parameters, many):
        """Run a statement on whole tables, and lock these if it locks."""
        self.run_text(cursor, sql, parameters, many)
        if compiled.kvs_locks:
            self.workspace.writing.hold_all(
                self._names(sqltext.parse(sql)))

    def _begin(self):
        space = self.workspace
        if self.autocommit and space.is_begun and not space.has_savepoints:
            space.rollback()
        if not space.is_begun:
            space.begin()

    def _end_statement(self):
        if self.autocommit and not self.workspace.has_savepoints:
            self.workspace.commit()

    def _names(self, statement):
        """Return the tables that a statement names, itself or by views."""
        return self.workspace.names_of(statement.names)

    # Statements that are not run as they are --------------------------------

    def _run_begin(self, cursor, statement, sql, parameters):
        self._begin()
        cursor.run("SELECT 1 WHERE 0", (), False)

    def _run_commit(self, cursor, statement, sql, parameters):
        self.commit()

    def _run_rollback(self, cursor, statement, sql, parameters):
        words = [token.keyword for token in statement.tokens]
        if "TO" not in words:
            self.rollback()
            return
        self._begin()
        cursor.run(sql, (), False)
        self.workspace.rolled_back_to(statement.tokens[-1].name)

    def _run_savepoint(self, cursor, statement, sql, parameters):
        self._begin()
        # It could not begin below it.
        self.workspace.enforce_keys()
        cursor.run(sql, (), False)
        self.workspace.savepoint(statement.tokens[-1].name)

    def _run_release(self, cursor, statement, sql, parameters):
        self._begin()
        cursor.run(sql, (), False)
        self.workspace.release(statement.tokens[-1].name)
        self._end_statement()

    def _run_pragma(self, cursor, statement, sql, parameters):
        words = statement.tokens[1:]
        if len(words) > 2 and words[1].text == ".":
            words = words[2:]
        name = (words[0].name or "").lower() if words else ""
        if name == "foreign_keys" and len(words) != 2:
            space = self.workspace
            if len(words) > 1:
                # As in SQLite, it does nothing within a transaction.
                if not space.is_begun:
                    space.checks_foreign_keys = words[2].text.lower() in (
                        "on", "1", "true", "yes")
                cursor.run("SELECT 1 WHERE 0", (), False)
            else:
                cursor.run("SELECT %d AS foreign_keys"
                           % space.checks_foreign_keys, (), False)
            return
        self._begin()
        cursor.run(sql, parameters, False)

    def _refuse(self, cursor, statement, sql, parameters):
        raise exceptions.UnsupportedStatementError(
            statement=statement.kind)


_SPECIAL = {
    "BEGIN": Connection._run_begin,
    "COMMIT": Connection._run_commit,
    "END": Connection._run_commit,
    "ROLLBACK": Connection._run_rollback,
    "SAVEPOINT": Connection._run_savepoint,
    "RELEASE": Connection._run_release,
    "PRAGMA": Connection._run_pragma,
    "ATTACH": Connection._refuse,
    "DETACH": Connection._refuse,
    "VACUUM": Connection._refuse,
}


def _split(script):
    """Split a script into statements."""
    found = ""
    for part in script.split(";"):
        found += part + ";"
        if sqlite3.complete_statement(found):
            if found.strip(" \t\r\n;"):
                yield found
            found = ""
    if found.strip(" \t\r\n;"):
        yield found
