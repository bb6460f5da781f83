# SPDX-License-Identifier: Apache-2.0
"""Runs statements in a workspace, after loading the rows that they need."""

import contextlib
import logging
from sqlite3 import Error
from sqlite3 import IntegrityError

from nova_kvs.compatibility import private
from nova_kvs.dialect import foreign_keys
from nova_kvs.dialect import plan as plans
from nova_kvs.dialect import sqltext
from nova_kvs import translation

_VERIFY = "kvs_verify"

LOG = logging.getLogger(__name__)
# The error of the first statement that could not be planned.
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


class Statements:
    """Runs the statements of a connection.

    Cursors are ``nova_kvs.dialect.dbapi.Cursor``.

    :param space: nova_kvs.dialect.workspace.Workspace.
    """

    def __init__(self, space):
        self._space = space

    def run_text(self, cursor, statement, names, sql, parameters, many):
        """Run a statement on whole tables: not one that changes the schema.

        :param statement: the parsed ``sql``, a
            nova_kvs.dialect.sqltext.Statement.
        :param names: the tables that it names, itself or by views.
        """
        space = self._space
        if statement.kind == "read":
            locked = sqltext.locked_by(sql)
            if locked is not None:
                sql = locked.sql
            space.scan(names, sql)
            cursor.run(sql, parameters, many)
            if locked is not None:
                space.writing.hold_text(names, locked, parameters)
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
        """Name the foreign key in the error of a statement that broke one.

        :param names: the tables that the statement may write.
        """
        space = self._space
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
        """Run a statement that will be undone."""
        cursor.run(sql, parameters, many)
        if cursor.description is not None:
            cursor.fetchall()

    def run_planned(self, cursor, plan, values, sql, parameters, many):
        """Run a statement that SQLAlchemy compiled.

        :param plan: its Plan, like ``values`` its Parameters, from ``load``.
        """
        space = self._space
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
        if space.enforcement is None or target is None or plan.parents == ():
            # There is nothing that SQLite could refuse.
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

    def load(self, context, sql):
        """Load the rows that a compiled statement touches.

        :returns: (Plan, its Parameters), or (None, None) if only the text
            tells what the statement does, or this release of SQLAlchemy is
            another than the planner knows.
        """
        compiled = context.compiled
        planner = self._space.planner
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
            plan.load(self._space, values, sql)
            return plan, values
        except (AttributeError, LookupError, TypeError) as error:
            _tell_once(error)
            return None, None

    def _run(self, cursor, target, sql, parameters, many):
        """Run a statement whose rows are loaded.

        :param target: the table whose rows it may update, or None.
        """
        keys = ()
        if target is not None:
            keys = self._space.writing.rows_to_update(
                target, sql, parameters if many else (parameters,))
        cursor.run(sql, parameters, many)
        if keys:
            self._space.writing.note_updated(target, keys)

    def _verify(self, cursor, plan, sql, parameters, many):
        """Load the rows with which the rows of a statement could collide.

        The statement is run, its rows are looked at, and it is undone.
        """
        space = self._space
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
        space = self._space
        for name in space.enforcement.keys.below(plan.target):
            if space.info(name) is not None:
                space.state(name).note_write()
        if plan.parents is None:
            # These are of the statement before: this one may not be tried.
            space.ids.given = []
            space.enforcement.enforce()
            space.enforcement.follow(plan.target, sql, lambda: (
                self._try(cursor, sql, parameters, many)))
            space.ids.repeat(plan.target, space.ids.given)
