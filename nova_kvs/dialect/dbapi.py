# SPDX-License-Identifier: Apache-2.0
"""PEP 249 on a workspace: connections and cursors.

The error classes are those of ``sqlite3``, which raises most of them; what
nova-kvs raises itself is in ``nova_kvs.translation``.
"""

import contextlib
import datetime
import logging
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

from nova_kvs.compatibility import private
from nova_kvs.dialect import alteration
from nova_kvs.dialect import foreign_keys
from nova_kvs.dialect import plan as plans
from nova_kvs.dialect import sources
from nova_kvs.dialect import sqltext
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

_VERIFY = "kvs_verify"

LOG = logging.getLogger(__name__)
# Why statements could not be planned, for the first of them.
_told = []


def _tell_once(error):
    if not _told:
        _told.append(error)
        LOG.warning("This SQLAlchemy is another than nova-kvs knows. "
                    "Statements that cannot be planned load their tables "
                    "whole: %s: %s", type(error).__name__, error)


def _dictionary_of(owner, name):
    found = getattr(owner, name)
    if not isinstance(found, dict):
        raise TypeError("%s is no dictionary" % name)
    return found


def _reads(sql):
    return sql.lstrip()[:6].upper() == "SELECT" or (
        sqltext.parse(sql).kind == "read")


def _plan(planner, compiled):
    """Return the Plan of a compiled statement, or None.

    A construct of a service's own may have rendered an INSERT, UPDATE or
    DELETE as a part of something else: then only its text tells what it does.
    """
    dml = compiled.kvs_dml
    if dml is not None:
        target = sqltext.target_of(sqltext.parse(compiled.string))
        if target is None or target.lower() != dml.table.name.lower():
            return None
    return planner.plan(compiled)


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
                self._run_schema(cursor, statement, sql, names)
            else:
                self._run_text(cursor, statement, names, sql, parameters, many)
            if statement.kind != "read":
                self._end_statement()
        except exceptions.KVSError as error:
            raise translation.dbapi_error(error) from error

    def _run_text(self, cursor, statement, names, sql, parameters, many):
        """Run a statement that is no DDL on whole tables."""
        space = self.workspace
        if statement.kind == "read":
            space.scan(names, sql)
            cursor.run(sql, parameters, many)
            return
        target = (sqltext.target_of(statement) or "").lower()
        target = next((name for name in names if name.lower() == target),
                      None)
        if space.enforcement is not None:
            names = space.enforcement.keys.around(names)
        space.scan(names, sql)
        for name in names:
            space.state(name).note_write()
        with self._explaining_keys(cursor, names, sql, parameters, many):
            self._run(cursor, target, sql, parameters, many)

    @contextlib.contextmanager
    def _explaining_keys(self, cursor, names, sql, parameters, many):
        """Tell which foreign key it is that SQLite has enforced.

        :param names: the tables that the statement may write.
        """
        space = self.workspace
        if space.enforcement is not None:
            space.enforcement.enforce()
        try:
            yield
        except IntegrityError as error:
            if space.enforcement is None or not str(error).startswith(
                    foreign_keys.FAILED):
                raise
            found = space.enforcement.error(names, lambda: (
                self._try(cursor, sql, parameters, many)))
            if found is None:
                raise
            raise translation.dbapi_error(found) from error

    @staticmethod
    def _try(cursor, sql, parameters, many):
        """Run a statement that is going to be undone."""
        cursor.run(sql, parameters, many)
        if cursor.description is not None:
            cursor.fetchall()

    def run_compiled(self, cursor, context, sql, parameters, many):
        """Run a statement that SQLAlchemy compiled."""
        try:
            self._begin()
            space = self.workspace
            plan, values = self._load_planned(context, sql)
        except exceptions.KVSError as error:
            raise translation.dbapi_error(error) from error
        if plan is None:
            self._run_unplanned(cursor, context.compiled, sql, parameters,
                                many)
            return
        try:
            target = plan.target
            if target is not None:
                state = space.state(target)
                info = space.info(target)
                if info is not None and (
                        info.has_other_uniques or not info.has_key):
                    space.scan((target,), sql)
                state.note_write()
                if space.enforcement is not None:
                    self._follow_keys(cursor, plan, sql, parameters, many)
                if plan.verify and not state.complete:
                    self._verify(cursor, plan, sql, parameters, many)
                elif plan.needs_ids and len(values) > 1:
                    space.ids.reserve(target, values.sets)
            else:
                space.number_rows()
            written = None if plan.is_insert else target
            if space.enforcement is None:
                self._run(cursor, written, sql, parameters, many)
            elif plan.parents and space.enforcement.is_assuming:
                space.enforcement.defer()
                self._run(cursor, written, sql, parameters, many)
            else:
                with self._explaining_keys(
                        cursor, (target,), sql, parameters, many):
                    self._run(cursor, written, sql, parameters, many)
            if plan.locked:
                for source in plan.locked:
                    space.writing.hold(source, values)
            if target is not None:
                self._end_statement()
        except exceptions.KVSError as error:
            raise translation.dbapi_error(error) from error

    def _load_planned(self, context, sql):
        """Load the rows that a compiled statement touches.

        :returns: (Plan, its Parameters), or (None, None) if only the text
            tells what the statement does, or this release of SQLAlchemy is
            another than the planner knows.
        """
        compiled = context.compiled
        planner = self.workspace.planner
        try:
            if compiled.kvs_failure is not None:
                raise compiled.kvs_failure
            if compiled.kvs_dml is None and not _reads(sql):
                # A construct of a service's own, whose text writes.
                return None, None
            if compiled.kvs_plan is None or (
                    compiled.kvs_plan[0] is not planner):
                compiled.kvs_plan = (planner, _plan(planner, compiled))
            plan = compiled.kvs_plan[1]
            if plan is None:
                return None, None
            values = plans.Parameters(
                context.compiled_parameters,
                _dictionary_of(compiled, private.BIND_PROCESSORS),
                _dictionary_of(context, private.EXPANDED_PARAMETERS))
            plan.load(self.workspace, values, sql)
            return plan, values
        except (AttributeError, LookupError, TypeError) as error:
            _tell_once(error)
            return None, None

    def _run_unplanned(self, cursor, compiled, sql, parameters, many):
        """Run a statement on whole tables, and lock these if it locks."""
        self.run_text(cursor, sql, parameters, many)
        if compiled.kvs_locks:
            for name in self._names(sqltext.parse(sql)):
                self.workspace.writing.hold(
                    sources.Source(name, name, False, 0), None)

    def _run(self, cursor, target, sql, parameters, many):
        """Run a statement whose rows are loaded.

        :param target: the table whose rows it may update, or None.
        """
        keys = ()
        if target is not None:
            keys = self.workspace.writing.rows_to_update(
                target, sql, parameters if many else (parameters,))
        cursor.run(sql, parameters, many)
        if keys:
            self.workspace.writing.note_updated(target, keys)

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

    def _verify(self, cursor, plan, sql, parameters, many):
        """Load the rows that those a statement writes could collide with.

        The statement is run, its rows are looked at, and it is undone.
        """
        space = self.workspace
        sqlite = space.sqlite
        before = space.writing.unique_values(plan.target)
        sqlite.execute("SAVEPOINT " + _VERIFY)
        try:
            try:
                self._try(cursor, sql, parameters, many)
            except Error:
                # It will be raised again. What an executemany() did before
                # remains, so that is looked at too.
                pass
            loads = space.writing.collisions(plan.target, before, sql)
        finally:
            sqlite.execute("ROLLBACK TO " + _VERIFY)
            sqlite.execute("RELEASE " + _VERIFY)
        space.ids.repeat(plan.target, space.ids.given)
        loads.run()

    def _follow_keys(self, cursor, plan, sql, parameters, many):
        """Load the rows that foreign keys of a statement are about."""
        space = self.workspace
        for name in space.enforcement.keys.below(plan.target):
            if space.info(name) is not None:
                space.state(name).note_write()
        if plan.parents is None:
            # Those of the statement before: this one may not be tried.
            space.ids.given = []
            space.enforcement.follow(plan.target, sql, lambda: (
                self._try(cursor, sql, parameters, many)))
            space.ids.repeat(plan.target, space.ids.given)

    def _run_schema(self, cursor, statement, sql, names):
        space = self.workspace
        # SQLite keeps the text, and adds to it at an ALTER.
        sql = sqltext.without_comments(sql)
        words = [token.keyword for token in statement.tokens]
        if words[1:2] in (["TEMP"], ["TEMPORARY"]):
            # A workspace keeps nothing beyond its transaction.
            raise exceptions.UnsupportedStatementError(
                "temporary tables are not supported")
        if words[:2] == ["CREATE", "TRIGGER"]:
            # It would fire for rows that are loaded, and what it writes
            # would not be looked for.
            raise exceptions.UnsupportedStatementError(
                "triggers are not supported")
        if not sqltext.is_unique_index_of_columns(statement):
            # Two transactions could each add one of two rows that collide.
            raise exceptions.UnsupportedStatementError(
                "unique indexes on expressions or on some of the rows are "
                "not supported")
        table = sqltext.table_of(statement)
        if table is not None and words[0] == "ALTER":
            self._alter_table(table, sql)
            return
        if words[:2] == ["DROP", "INDEX"]:
            self._drop_index(statement, sql)
            return
        if table is not None and words[0] == "CREATE":
            sql = sqltext.with_generated_id(sql)
            if "SELECT" not in words:
                # Tables that it merely refers to.
                names = ()
        space.before_schema_change(names, sql)
        cursor.run(sql, (), False)
        changed = set(names)
        if table is not None:
            changed.add(table)
        space.after_schema_change(changed)

    def _alter_table(self, table, sql):
        space = self.workspace
        change = alteration.Alteration(space.sqlite, sql)
        names = space.names_of({table.lower()})
        space.before_schema_change(names, sql)
        try:
            change.run()
        except IntegrityError:
            space.verify()
            raise
        for name in names:
            if change.table != name:
                space.after_rename(name, change.table)
        space.after_schema_change({*names, change.table})

    def _drop_index(self, statement, sql):
        space = self.workspace
        table = alteration.owner_of_index(space.sqlite, statement)
        names = [] if table is None else [table]
        space.before_schema_change(names, sql)
        alteration.drop_index(space.sqlite, statement, table)
        space.after_schema_change(names)

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
