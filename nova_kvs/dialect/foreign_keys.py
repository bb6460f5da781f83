# SPDX-License-Identifier: Apache-2.0
"""Foreign keys, where a connection has them enforced.

SQLite enforces them in the workspace, with all of their actions. For that
it needs the rows that they are about: parents of what a statement writes,
and children of what it takes away. Rows that are merely loaded need not have
their parents; SQLite defers what they violate, and that is forgotten.

Between a statement and the commit others go on. The commit makes sure that
the parents of new children are still there and that parents which go have
no new children, when the transaction's own writes are seen by those who make
sure of the opposite: ``RecordTransaction.rely_on`` and ``expect_no_more``.
"""

import contextlib
import sqlite3
import time
import typing

from nova_kvs.dialect import sqltext
from nova_kvs.dialect import tabletext
from nova_kvs import exceptions
from nova_kvs.record import planner

TRIAL = "kvs_trial"
FAILED = "FOREIGN KEY constraint failed"
#: For how long a process takes a parent that it has seen for being there.
SEEN_S = 1


class ForeignKey(typing.NamedTuple):
    """One foreign key."""

    name: str
    table: str
    columns: tuple
    parent: str
    parent_columns: tuple

    def error(self):
        """Return the error of a child without a parent."""
        return exceptions.ForeignKeyError(
            table=self.table, constraint=self.name,
            key=", ".join(self.columns), key_table=self.parent)


class ForeignKeys:
    """The foreign keys of a schema.

    :ivar of: table -> its ForeignKeys.
    :ivar to: table -> the ForeignKeys that refer to it.
    """

    def __init__(self, sqlite):
        self.of = {}
        self.to = {}
        tables = dict(sqlite.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' "
            "AND name NOT LIKE 'sqlite!_%' ESCAPE '!'").fetchall())
        names = {name.lower(): name for name in tables}
        for table, text in tables.items():
            for key in self._read(sqlite, table, text, names):
                self.of.setdefault(table, []).append(key)
                self.to.setdefault(key.parent, []).append(key)

    @staticmethod
    def _read(sqlite, table, text, names):
        rows = sqlite.execute(
            'SELECT id, "table", "from", "to" '
            "FROM pragma_foreign_key_list(?) ORDER BY id DESC, seq",
            (table,)).fetchall()
        if not rows:
            return
        described = tabletext.TableText(sqltext.without_generated_id(text))
        described.give_names()
        clauses = [clause.name for _columns, clause
                   in described.all_constraints("FOREIGN")]
        found = {}
        for number, parent, column, target in rows:
            found.setdefault(number, (parent, [], []))
            found[number][1].append(column)
            found[number][2].append(target)
        for name, (parent, columns, targets) in zip(clauses, found.values()):
            parent = names.get(parent.lower(), parent)
            if None in targets:
                targets = [row[0] for row in sqlite.execute(
                    "SELECT name FROM pragma_table_info(?) WHERE pk "
                    "ORDER BY pk", (parent,)).fetchall()]
            yield ForeignKey(
                name, table, tuple(columns), parent, tuple(targets))

    def around(self, tables):
        """Return tables, those whose rows may follow, and all parents."""
        found = self.below(*tables)
        found.extend(key.parent for table in list(found)
                     for key in self.of.get(table, ()))
        return list(dict.fromkeys(found))

    def below(self, *tables):
        """Return tables and all whose rows may follow changes of them."""
        found = list(tables)
        for name in found:
            for key in self.to.get(name, ()):
                if key.table not in found:
                    found.append(key.table)
        return found


def _quote(name):
    return '"%s"' % name.replace('"', '""')


def _rows(sqlite, table, columns):
    """Return the different values without NULL that columns have."""
    return set(_select(sqlite, table, columns, "DISTINCT "))


def _numbered_rows(sqlite, table, columns):
    """Return pairs of a rowid and its row's values, without NULL."""
    return {(number, tuple(values)) for number, *values in _select(
        sqlite, table, columns, "rowid, ")}


def _select(sqlite, table, columns, what):
    names = [_quote(column) for column in columns]
    return sqlite.execute("SELECT %s%s FROM main.%s WHERE %s" % (
        what, ", ".join(names), _quote(table),
        " AND ".join(name + " IS NOT NULL" for name in names))).fetchall()


def _changes(columns, rows, side):
    """Return the values without NULL that rows lost (0) or got (1).

    :param rows: pairs of an old and a new row.
    """
    found = set()
    for pair in rows:
        values = [row and tuple(map(row.get, columns)) for row in pair]
        if values[0] != values[1] and values[side]:
            found.add(values[side])
    return {value for value in found if None not in value}


class Values:
    """The values of keys in a workspace at one moment.

    :param tables: those that may differ at another one.
    :ivar children: ForeignKey -> set of pairs of a child's rowid and its
        values. By rows, since SQLite asks for the parent of each row that is
        written, and not of one that was loaded with the same values.
    :ivar parents: ForeignKey -> set of values.
    """

    def __init__(self, sqlite, keys, tables):
        self.children = {
            key: _numbered_rows(sqlite, key.table, key.columns)
            for table in tables for key in keys.of.get(table, ())}
        self.parents = {
            key: _rows(sqlite, key.parent, key.parent_columns)
            for table in tables for key in keys.to.get(table, ())}

    def missing(self):
        """Return the values of each ForeignKey that have no parent."""
        return {key: {values for _, values in rows} - self.parents[key]
                for key, rows in self.children.items()
                if key in self.parents}


class Switch:
    """Has SQLite enforce foreign keys, or not: it only listens between its
    own transactions. Off at first.

    :param sqlite: a sqlite3.Connection, outside of a transaction.
    """

    def __init__(self, sqlite):
        sqlite.execute("PRAGMA foreign_keys = OFF")
        self._sqlite = sqlite
        self._left = ()
        self.is_on = False

    def turn_on(self, tables):
        """Enforce them from here on, within a transaction.

        What it holds is committed and stays, results that are being read
        included.

        :param tables: names of all that have rows.
        """
        self._sqlite.execute("COMMIT")
        self._sqlite.execute("PRAGMA foreign_keys = ON")
        self._sqlite.execute("BEGIN")
        self._left = tables
        self.is_on = True

    def turn_off(self):
        """Enforce them no more, outside of a transaction; remove all rows."""
        if self.is_on:
            self._sqlite.execute("PRAGMA foreign_keys = OFF")
            for name in self._left:
                self._sqlite.execute("DELETE FROM main." + _quote(name))
            self.is_on = False


class Enforcement:
    """Keeps a workspace's foreign keys while a statement runs.

    :param space: nova_kvs.dialect.workspace.Workspace.
    :param keys: ForeignKeys of its schema.
    """

    def __init__(self, space, keys):
        self._space = space
        self.keys = keys
        self._seen = space.database.remembered.parents
        #: The parents of the statement that is run are assumed.
        self.is_assuming = False
        #: (table's name, columns, values) -> Record, of all that were.
        self._assumed = {}
        #: SQLite was left deferring.
        self._is_deferring = False

    @contextlib.contextmanager
    def deferred(self):
        """Let rows be put in place whose parents are not loaded."""
        sqlite = self._space.sqlite
        sqlite.execute("PRAGMA defer_foreign_keys = ON")
        try:
            yield
        finally:
            sqlite.execute("PRAGMA defer_foreign_keys = OFF")
            self._is_deferring = False

    def defer(self):
        """Let rows be put in place until ``enforce`` is called.

        The pragma has SQLite compile all statements again.
        """
        if self._space.enforces_keys and not self._is_deferring:
            self._space.sqlite.execute("PRAGMA defer_foreign_keys = ON")
            self._is_deferring = True

    def enforce(self):
        """Have SQLite look at the keys of the statements that follow."""
        self._space.enforce_keys()
        if self._is_deferring:
            self._space.sqlite.execute("PRAGMA defer_foreign_keys = OFF")
            self._is_deferring = False

    def assume(self, checks, parameters):
        """Take parents of new rows for being there still, if all may be.

        Then none is loaded, and the commit proves it.

        :param checks: plan.Check of each key.
        :param parameters: plan.Parameters of the INSERT.
        :returns: whether they are.
        """
        since = time.monotonic() - SEEN_S
        found = {}
        self.is_assuming = False
        for check in checks:
            name = check.table.name
            if self._space.state(name).written:
                return False
            for values in check.values(parameters):
                seen = self._seen.get((name, check.columns, values))
                if seen is None or seen[1] < since:
                    return False
                found[name, check.columns, values] = seen[0]
        self._assumed.update(found)
        self.is_assuming = bool(found)
        return self.is_assuming

    def explain(self, error):
        """Raise the error of an assumed parent that is not there, if so.

        :param error: with which the commit has failed.
        :raises nova_kvs.exceptions.ForeignKeyError: if one is missing.
        """
        if not self._assumed:
            return
        tables = {}
        for name, columns, values in self._assumed:
            self._seen.pop((name, columns, values), None)
            tables.setdefault((name, columns), []).append(values)
        transaction = self._space.database.begin()
        answers = transaction.load([
            self._access(name, columns, values)
            for (name, columns), values in tables.items()])
        transaction.rollback()
        for ((name, columns), wanted), records in zip(
                tables.items(), answers):
            left = {tuple(map(record.values.get, columns))
                    for record in records}
            if not left.issuperset(wanted):
                raise next(key for key in self.keys.to[name]
                           if key.parent_columns == columns
                           ).error() from error

    def _access(self, name, columns, tuples):
        """Return the access to the rows whose columns have some values.

        :param tuples: as they are stored, or an equal number.
        """
        table = self._space.planner.table(name)
        path = planner.known_path(table, columns)
        at = [columns.index(column) for column in path.columns
              if column in columns]
        return path.access(name, [
            tuple(table.normalise(columns[index], values[index])
                  for index in at) for values in tuples])

    def follow(self, target, statement, run):
        """Load the rows that the keys of a statement are about.

        :param target: the table that it writes.
        :param statement: its text, for the log.
        :param run: function that runs it.
        """
        tables = self.keys.below(target)
        if len(tables) == 1 and target not in self.keys.of:
            return
        first = None
        while True:
            before = Values(self._space.sqlite, self.keys, tables)
            after = self.try_out(run, tables)
            first = first or before
            loads = self._space.loads(statement)
            self._load_own_parents(loads, first)
            self._load_parents(loads, before, after)
            self._load_children(loads, before, after)
            if not loads.run():
                return

    def try_out(self, run, tables):
        """Return the Values that a statement would leave behind."""
        sqlite = self._space.sqlite
        sqlite.execute("SAVEPOINT " + TRIAL)
        try:
            with self.deferred():
                try:
                    run()
                except sqlite3.Error:
                    # It will be raised again.
                    pass
                return Values(sqlite, self.keys, tables)
        finally:
            sqlite.execute("ROLLBACK TO " + TRIAL)
            sqlite.execute("RELEASE " + TRIAL)

    def _load_own_parents(self, loads, before):
        """Load the parents of rows that refer to rows of their own table.

        SQLite asks for them at each UPDATE of a row, whatever it sets. Rows
        that are only loaded as parents are not written.
        """
        for key, rows in before.children.items():
            if key.table == key.parent:
                self._load(loads, key.parent, key.parent_columns,
                           {values for _, values in rows})

    def _load_parents(self, loads, before, after):
        for key, rows in after.children.items():
            self._load(loads, key.parent, key.parent_columns, {
                values for _, values in rows - before.children[key]})

    def _load_children(self, loads, before, after):
        for key, values in before.parents.items():
            self._load(loads, key.table, key.columns,
                       values - after.parents[key])

    def _load(self, loads, name, columns, tuples):
        table = self._space.planner.table(name)
        state = self._space.state(name)
        if not tuples or state.complete or table is None:
            return
        path = planner.known_path(table, columns)
        if path.kind == planner.SCAN or (
                not set(path.columns) <= set(columns)):
            loads.scan(state)
            return
        at = [columns.index(column) for column in path.columns]
        loads.add(state, path, path.columns, dict.fromkeys(
            tuple(table.normalise(column, row[index])
                  for index, column in zip(at, path.columns))
            for row in tuples))

    def error(self, names, run):
        """Return the error of a statement that SQLite has refused.

        :param names: the tables that it may write.
        :param run: function that runs it.
        :returns: nova_kvs.exceptions.ForeignKeyError, or None.
        """
        tables = [name for name in self.keys.around(names)
                  if self._space.info(name) is not None]
        before = Values(self._space.sqlite, self.keys, tables).missing()
        after = self.try_out(run, tables).missing()
        for key, values in after.items():
            if values - before.get(key, set()):
                return key.error()
        return None

    # The commit -------------------------------------------------------------

    def secure(self, transaction, changed):
        """Have the commit keep the keys of what a transaction changed.

        :param transaction: RecordTransaction.
        :param changed: table -> pairs of an old and a new row, dicts; None
            where there is none.
        :raises nova_kvs.exceptions.ForeignKeyError: if a deferred key is
            violated.
        :raises nova_kvs.exceptions.ConflictError: if a row has got a child
            since it was looked at.
        """
        wanted = {}
        for name, rows in changed.items():
            for key in self.keys.of.get(name, ()):
                self._rely_on_parents(
                    transaction, key, _changes(key.columns, rows, 1))
            for key in self.keys.to.get(name, ()):
                gone = _changes(key.parent_columns, rows, 0)
                if gone:
                    gone -= _rows(
                        self._space.sqlite, name, key.parent_columns)
                for values in gone:
                    self._seen.pop((name, key.parent_columns, values), None)
                if gone:
                    wanted[key] = gone
        if wanted:
            self._expect_no_children(transaction, wanted)

    def _rely_on_parents(self, transaction, key, values):
        loaded = self._space.state(key.parent).rows
        for value in list(values):
            record = self._assumed.get(
                (key.parent, key.parent_columns, value))
            # One that is loaded may have been changed or removed here.
            if record is not None and record.key not in loaded:
                transaction.rely_on(record)
                values.discard(value)
        if not values:
            return
        now = _rows(self._space.sqlite, key.parent, key.parent_columns)
        table = self._space.planner.table(key.parent)
        stored = {}
        for _row, record in self._space.state(key.parent).rows.values():
            stored[tuple(map(
                record.values.get, key.parent_columns))] = record
        for value in values:
            value = tuple(
                table.normalise(column, one) if table is not None else one
                for column, one in zip(key.parent_columns, value))
            if value not in now:
                raise key.error()
            record = stored.get(value)
            if record is not None:
                self._seen[key.parent, key.parent_columns, value] = (
                    record, time.monotonic())
                transaction.rely_on(record)
        self._seen.trim()

    def _expect_no_children(self, transaction, wanted):
        accesses = []
        states = []
        for key, values in wanted.items():
            if values & _rows(self._space.sqlite, key.table, key.columns):
                raise key.error()
            accesses.append(self._access(key.table, key.columns, values))
            states.append(self._space.state(key.table))
        for state, records in zip(
                states, transaction.expect_no_more(accesses)):
            for record in records:
                known = state.rows.get(record.key)
                if known is None or known[1].version != record.version:
                    raise exceptions.ConflictError(table=state.name)
