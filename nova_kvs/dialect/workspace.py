# SPDX-License-Identifier: Apache-2.0
"""Workspaces: an in-memory SQLite database with a schema and few rows.

Invariant: within a transaction a workspace holds, of every table, the rows
that were loaded with this transaction's changes applied, and nothing else;
between transactions it holds no rows. All of it happens inside one SQLite
transaction that is always rolled back, or two: see foreign_keys.Switch.

:mod:`nova_kvs.dialect.writing` finds the changes at the commit.
"""

import sqlite3

from nova_kvs.dialect import foreign_keys
from nova_kvs.dialect import ids
from nova_kvs.dialect import loading
from nova_kvs.dialect import plan
from nova_kvs.dialect import sqltext
from nova_kvs.dialect import subqueries
from nova_kvs.dialect import template as templates
from nova_kvs.dialect import writing
from nova_kvs import exceptions
from nova_kvs.record import database as databases
from nova_kvs import rules


class Workspace:
    """The workspace of one connection. Not for several threads at once."""

    def __init__(self, database):
        self.database = database
        #: True: transactions are serializable, from the next one on.
        self.serializable = False
        self.sqlite = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False,
            cached_statements=256)
        #: Gives ids to the rows that are inserted.
        self.ids = ids.Ids(self)
        self.sqlite.create_function("kvs_next_id", 1, self.ids.next)
        #: The error behind "user-defined function raised exception".
        self.function_error = None
        #: True: foreign keys are enforced, from the next transaction on.
        self.checks_foreign_keys = database.checks_foreign_keys
        #: Of the transaction: foreign_keys.Enforcement, or None.
        self.enforcement = None
        self._switch = foreign_keys.Switch(self.sqlite)
        self._template = None
        self._transaction = None
        self._is_begun = False
        self._forget()
        self._follow_schema()

    def _forget(self):
        self._states = {}
        self._infos = None
        #: Of the transaction: writing.Writing.
        self.writing = writing.Writing(self)
        #: Name in the text of a table -> its name now.
        self.renamed = {}
        self.ids.end()
        self._savepoints = []
        self._journal = []
        #: The error after which some rows are missing.
        self._lost = None

    def _follow_schema(self):
        template = templates.template_of(self.database)
        if template is not self._template:
            template.copy_to(self.sqlite)
            self._template = template

    # The transaction --------------------------------------------------------

    @property
    def is_begun(self):
        """True while a transaction is open."""
        return self._is_begun

    @property
    def planner(self):
        """The planner of the schema that the transaction began with."""
        return self._template.planner

    @property
    def has_savepoints(self):
        """True while a savepoint is set."""
        return bool(self._savepoints)

    def begin(self):
        """Begin a transaction unless one is open."""
        if self._is_begun:
            return
        self.clear()
        self._follow_schema()
        self._begin_enforcing()
        self.sqlite.execute("BEGIN")
        self._transaction = self.database.begin(
            may_lag=True, serializable=self.serializable
            or databases.asks_serializable())
        self._is_begun = True

    def _begin_enforcing(self):
        """See to foreign keys in the transaction, if there are any."""
        self.enforcement = None
        if self.checks_foreign_keys:
            keys = self._template.foreign_keys
            if keys.of:
                self.enforcement = foreign_keys.Enforcement(self, keys)

    @property
    def enforces_keys(self):
        """True while SQLite itself enforces foreign keys."""
        return self._switch.is_on

    def enforce_keys(self):
        """Have SQLite enforce foreign keys, for the rest of the transaction.

        Rows that are read, and children whose parents are assumed, go
        without: they would have to be deferred.
        """
        if self.enforcement is not None and not self._switch.is_on:
            self._switch.turn_on([
                state.name for state in self._states.values()
                if state.rows or state.written])

    def _end_enforcing(self):
        """Have SQLite enforce nothing for the rest of the transaction.

        To drop or to make a table again would run the actions of keys. The
        rows move to another transaction of SQLite's.
        """
        if self.enforcement is None:
            return
        if self._savepoints:
            raise exceptions.UnsupportedStatementError(
                "a change of the schema under a savepoint is not supported "
                "where foreign keys are enforced")
        self.enforcement = None
        if not self._switch.is_on:
            return
        rows = [(info, self.sqlite.execute(info.select).fetchall())
                for info in map(self.info, self._states) if info is not None]
        self.sqlite.execute("ROLLBACK")
        self._switch.turn_off()
        self.sqlite.execute("BEGIN")
        for info, values in rows:
            self.sqlite.executemany(info.insert, values)

    def clear(self):
        """Forget all rows, once nobody reads a finished transaction's."""
        if self._transaction is not None and not self._is_begun:
            self._transaction = None
            if self.sqlite.in_transaction:
                self.sqlite.execute("ROLLBACK")
            self._switch.turn_off()
            self._forget()

    def rollback(self):
        """End the transaction without a trace."""
        if self._is_begun:
            self._is_begun = False
            self._transaction.rollback()
        self.clear()

    def commit(self):
        """Write what was changed, in one commit.

        The rows stay until the next transaction begins, for results that
        are not read to their end.

        :raises nova_kvs.exceptions.KVSError: as RecordTransaction.commit.
        """
        if not self._is_begun:
            return
        self._is_begun = False
        transaction = self._transaction
        if self._lost is not None:
            # What is missing would be taken for deleted.
            transaction.rollback()
            raise self._lost
        if self._infos is not None:
            self._apply_rules()
            ddl = self._schema_text()
            if ddl != self._template.schema.ddl:
                transaction.set_schema(ddl)
        has_changes = self._infos is not None
        changed = {}
        for state in self._states.values():
            if state.written:
                has_changes |= self.writing.write(
                    transaction, state, changed.setdefault(state.name, []))
        if self.enforcement is not None and has_changes:
            try:
                self.enforcement.secure(transaction, changed)
            except exceptions.KVSError:
                transaction.rollback()
                raise
        if not has_changes and not self.writing.holds_rows and (
                not transaction.serializable):
            if any(state.written for state in self._states.values()):
                # Perhaps there was nothing to change on a replica only.
                self.verify()
            transaction.rollback()
            return
        self.writing.hold_in(transaction)
        try:
            transaction.commit()
        except exceptions.ConflictError as error:
            if self.enforcement is not None:
                self.enforcement.explain(error)
            raise
        except exceptions.DuplicateKeyError as error:
            self.ids.explain(error)
            raise

    def verify(self):
        """Make sure that no replica was behind in what was loaded.

        For what the application is to be told before the commit, or
        without one.

        :raises nova_kvs.exceptions.ReplicaLaggedError: if one was.
        """
        self._transaction.verify()

    # Rows -------------------------------------------------------------------

    def state(self, name):
        """Return what is known of a table."""
        found = self._states.get(name)
        if found is None:
            info = self.info(name)
            found = self._states[name] = loading.State(
                name, info.columns if info is not None else ())
            if name not in self._template.infos:
                # Not stored, but made by this transaction.
                found.complete = True
        return found

    def loads(self, statement):
        """Return a Loads.

        :param statement: SQL text, for the log.
        """
        return loading.Loads(self, statement)

    def load(self, accesses, states):
        """Load rows that are not loaded yet.

        :param accesses: of nova_kvs.record.access.
        :param states: the State of each one's table.
        :returns: what the store answered to each: lists of Records.
        :raises nova_kvs.exceptions.ConflictError: if a row that another
            transaction committed meanwhile collides with one of this.
        :raises nova_kvs.exceptions.CorruptRecordError: if SQLite cannot hold
            a row.
        """
        if self._lost is not None:
            # Some of these rows may be taken for loaded.
            raise self._lost
        answers = self._transaction.load(accesses)
        for state, records in zip(states, answers):
            rows = state.rows
            info = self._template.infos[state.name]
            columns = info.columns
            fresh = []
            for record in records:
                if record.key not in rows:
                    row = tuple(map(record.values.get, columns))
                    if not info.has_key:
                        row = (record.key[0], *row[1:])
                    rows[record.key] = (row, record)
                    fresh.append(row)
            if not fresh:
                continue
            if info.generated is None and len(fresh) > 1:
                # A key without a number: rows come in its order, as they
                # would from MySQL.
                fresh.sort(key=info.order_of)
            if self._savepoints:
                self._journal.append((state, info, fresh))
            self._put(state, info, fresh)
        return answers

    def _put(self, state, info, rows):
        """Put loaded rows into the workspace."""
        self._number(state, info)
        try:
            if not self._switch.is_on:
                self.sqlite.executemany(info.insert, rows)
            else:
                with self.enforcement.deferred():
                    self.sqlite.executemany(info.insert, rows)
        except sqlite3.IntegrityError as error:
            self._lost = exceptions.ConflictError(
                table=state.name, error=error)
            raise self._lost from error
        except Exception as error:
            # What SQLite cannot hold, such as text that is not Unicode.
            self._lost = exceptions.CorruptRecordError(
                table=state.name, error=error)
            raise self._lost from error

    def _number(self, state, info):
        if not state.numbered:
            for statement in info.number_rows:
                self.sqlite.execute(statement)
            state.numbered = True

    def number_rows(self):
        """Let no later load move rows, for a SELECT is about to run."""
        for state in self._states.values():
            # Nothing is loaded any more into a table that is complete.
            if not state.numbered and not state.complete:
                info = self.info(state.name)
                if info is not None:
                    self._number(state, info)

    def scan(self, names, statement):
        """Load whole tables."""
        loads = self.loads(statement)
        for name in names:
            state = self.state(name)
            if not state.complete:
                loads.scan(state)
        loads.run()

    def has_own_row(self, state, key):
        """Tell whether this transaction inserted a row with a key."""
        if not state.written:
            return False
        info = self.info(state.name)
        return info is not None and bool(self.sqlite.execute(
            "SELECT 1 FROM main.%s WHERE %s" % (
                templates.quote(info.name),
                " AND ".join("%s = ?" % templates.quote(column)
                             for column in info.key_columns)),
            key).fetchall())

    def values_of(self, source, columns, parameters):
        """Return the different values that a source's columns have.

        :param source: sources.Source whose rows are loaded, or a
            subqueries.Subquery of such.
        :returns: list of tuples.
        """
        if isinstance(source, subqueries.Subquery):
            return source.rows(self, columns, parameters)
        info = self.info(source.table)
        if info is None:
            return []
        where, values = self.narrow(source, parameters)
        return self.sqlite.execute(
            info.distinct(columns) + where, values).fetchall()

    def narrow(self, source, parameters):
        """Return the WHERE clause that a source's known values make."""
        table = self._template.schema.tables.get(source.table)
        clauses = []
        values = []
        if table is not None:
            for column, wanted in source.values.items():
                found = parameters.values(wanted, table, column)
                if len(values) + len(found) <= plan.MAX_NARROWING:
                    clauses.append("%s IN (%s)" % (
                        templates.quote(column), ", ".join("?" * len(found))))
                    values.extend(found)
        return (" WHERE " + " AND ".join(clauses) if clauses else ""), values

    # Schema -----------------------------------------------------------------

    def info(self, name):
        """Return a table's TableInfo, or None if there is none."""
        if self._infos is None:
            return self._template.infos.get(name)
        if name not in self._infos:
            self._infos[name] = templates.TableInfo.read(self.sqlite, name)
        return self._infos[name]

    def before_schema_change(self, names, statement):
        """Load the tables that a DDL statement is about, whole."""
        self._end_enforcing()
        self.scan([name for name in names if self.info(name) is not None],
                  statement)

    def after_rename(self, old, new):
        """Note the new name of a table."""
        for first, name in list(self.renamed.items()):
            if name == old:
                self.renamed[first] = new
        self.renamed[old] = new

    def after_schema_change(self, names):
        """See the schema anew.

        :param names: the tables that the statement may have changed.
        """
        self._infos = {}
        for name in names:
            self.state(name).note_write()

    def names_of(self, words):
        """Return the tables that lower-case words name, views expanded."""
        if self._infos is None:
            return self._template.planner.names_among(words)
        found = set()
        for name, kind, text in self.sqlite.execute(
                "SELECT name, type, sql FROM sqlite_master "
                "WHERE type IN ('table', 'view') AND " + templates.NOT_INTERNAL
        ).fetchall():
            if name.lower() in words:
                if kind == "table":
                    found.add(name)
                else:
                    found.update(self.names_of(
                        sqltext.parse(text).names - {name.lower()}))
        return sorted(found)

    def _apply_rules(self):
        """Give tables that are made the indexes that rules add.

        So are those that are made again. Tables of which there are rows
        without such an index keep being so.
        """
        before = {name for text in self._template.schema.ddl
                  for name in sqltext.parse(text).names
                  if name.startswith(rules.PREFIX)}
        there = dict(self.sqlite.execute(
            "SELECT name, type FROM sqlite_master").fetchall())
        for table, kind in there.items():
            if kind != "table" or table.startswith("_alembic_tmp_"):
                continue
            info = self.info(table)
            if info is None:
                continue
            for name, columns in rules.indexes_for(table, info.columns):
                if name not in there and (
                        name in before or table not in self._template.infos):
                    self.sqlite.execute("CREATE INDEX %s ON %s (%s)" % (
                        templates.quote(name), templates.quote(table),
                        ", ".join(map(templates.quote, columns))))

    def _schema_text(self):
        """Return the workspace's schema as it is stored."""
        return tuple(
            sqltext.without_generated_id(text)
            for text, in self.sqlite.execute(
                "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND "
                + templates.NOT_INTERNAL + " ORDER BY rowid").fetchall())

    # Savepoints -------------------------------------------------------------

    def savepoint(self, name):
        """Note a savepoint that was set."""
        self._savepoints.append((name.lower(), len(self._journal)))

    def release(self, name):
        """Note a savepoint that was released, with all later ones."""
        at = self._find_savepoint(name)
        if at is not None:
            del self._savepoints[at:]
        if not self._savepoints:
            self._journal.clear()

    def rolled_back_to(self, name):
        """Put rows back that were loaded after a savepoint.

        :raises nova_kvs.exceptions.ConflictError: as ``load``.
        """
        at = self._find_savepoint(name)
        if at is None:
            return
        del self._savepoints[at + 1:]
        if self._infos is not None:
            self._infos = {}
        for state in self._states.values():
            state.numbered = False
        for state, info, rows in self._journal[self._savepoints[at][1]:]:
            self._put(state, info, rows)

    def _find_savepoint(self, name):
        name = name.lower()
        for at in range(len(self._savepoints) - 1, -1, -1):
            if self._savepoints[at][0] == name:
                return at
        return None

    def close(self):
        """Give the memory back."""
        self.rollback()
        self.sqlite.close()
