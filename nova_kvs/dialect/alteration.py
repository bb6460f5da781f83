# SPDX-License-Identifier: Apache-2.0
"""Runs ALTER TABLE, most of which SQLite does not have.

What PostgreSQL and MySQL call the usual changes is read. SQLite does what it
can; for anything else the table is made again from a changed text, and its
rows are copied within the workspace. At the commit only those records are
written that differ then.
"""

import sqlite3

from nova_kvs.dialect import sqltext
from nova_kvs.dialect import tabletext
from nova_kvs.dialect import template as templates
from nova_kvs import exceptions

_OLD = "_kvs_old_table"
_SAVEPOINT = "kvs_alter"
# What the store has one of, whatever a table says.
_STORAGE = frozenset((
    "CONVERT", "ENGINE", "CHARACTER", "CHARSET", "COLLATE", "COMMENT",
    "AUTO_INCREMENT", "ROW_FORMAT", "DEFAULT"))


class _Unreadable(Exception):
    """An action is none of those that are known."""


def _unsupported(sql):
    return exceptions.UnsupportedStatementError(
        "an ALTER TABLE or DROP INDEX is of a kind that is not supported",
        statement=sql)


class _Words:
    """The tokens of one action, read from the left."""

    def __init__(self, tokens):
        self.rest = list(tokens)

    def _skip_space(self):
        while self.rest and self.rest[0].kind == "space":
            del self.rest[0]

    def take(self, *keywords):
        """Take keywords if they come next, and tell so."""
        self._skip_space()
        words = tabletext.significant(self.rest)
        if [word.keyword for word in words[:len(keywords)]] != list(keywords):
            return False
        for _keyword in keywords:
            self._skip_space()
            del self.rest[0]
        self._skip_space()
        return True

    def name(self):
        """Take the next token, a name."""
        self._skip_space()
        if not self.rest or self.rest[0].name is None:
            raise _Unreadable
        return self.rest.pop(0).name

    def qualified_name(self):
        """Take a name, of a schema or not."""
        name = self.name()
        if self.rest and self.rest[0].text == ".":
            del self.rest[0]
            name = self.name()
        return name

    def peek(self):
        """Return the next keyword, or None."""
        words = tabletext.significant(self.rest)
        return words[0].keyword if words else None


class Alteration:
    """Changes of one table in a workspace.

    :ivar table: its name, the new one after a rename.
    """

    def __init__(self, sqlite, sql):
        self._sqlite = sqlite
        self._sql = sql
        words = _Words(sqltext.tokens(sql))
        words.take("ALTER", "TABLE")
        words.take("IF", "EXISTS")
        words.take("ONLY")
        try:
            self.table = words.qualified_name()
        except _Unreadable as error:
            raise _unsupported(sql) from error
        self._actions = tabletext.split(words.rest)

    def run(self):
        """Do all of it, or nothing.

        :raises nova_kvs.exceptions.UnsupportedStatementError: if a part of
            the statement is of another kind than those that are known.
        :raises sqlite3.Error: as SQLite does, such as IntegrityError if
            rows break a new constraint.
        """
        self._sqlite.execute("SAVEPOINT " + _SAVEPOINT)
        try:
            for action in self._actions:
                try:
                    self._run(_Words(action))
                except (_Unreadable, IndexError, StopIteration) as error:
                    raise _unsupported(self._sql) from error
        except BaseException:
            self._sqlite.execute("ROLLBACK TO " + _SAVEPOINT)
            raise
        finally:
            self._sqlite.execute("RELEASE " + _SAVEPOINT)

    def _run(self, words):
        if words.take("ADD"):
            self._add(words)
        elif words.take("DROP"):
            self._drop(words)
        elif words.take("ALTER"):
            self._alter_column(words)
        elif words.take("MODIFY"):
            words.take("COLUMN")
            self._modify(words.rest)
        elif words.take("CHANGE"):
            words.take("COLUMN")
            old = words.name()
            new = tabletext.Column(words.rest).name
            if old.lower() != new.lower():
                self._rename_column(old, new)
            self._modify(words.rest)
        elif words.take("RENAME"):
            self._rename(words)
        elif words.peek() not in _STORAGE:
            raise _Unreadable

    # Names ------------------------------------------------------------------

    def _rename(self, words):
        if words.take("INDEX") or words.take("KEY"):
            old = words.name()
            words.take("TO")
            self._rename_index(old, words.name())
        elif words.take("TO") or words.take("AS"):
            new = words.qualified_name()
            self._sqlite.execute("ALTER TABLE %s RENAME TO %s" % (
                templates.quote(self.table), templates.quote(new)))
            self.table = new
        else:
            words.take("COLUMN")
            old = words.name()
            if not words.take("TO"):
                raise _Unreadable
            self._rename_column(old, words.name())

    def _rename_column(self, old, new):
        self._sqlite.execute("ALTER TABLE %s RENAME COLUMN %s TO %s" % tuple(
            map(templates.quote, (self.table, old, new))))

    def _rename_index(self, old, new):
        text = self._indexes().get(old)
        if text is None:
            raise sqlite3.OperationalError("no such index: %s" % old)
        tokens = sqltext.tokens(text)
        at = next(at for at, token in enumerate(tokens) if token.name == old)
        tokens[at] = sqltext.Token("quoted", templates.quote(new))
        self._sqlite.execute("DROP INDEX " + templates.quote(old))
        self._sqlite.execute(tabletext.text_of(tokens))

    def _indexes(self):
        """Return the table's own indexes: name -> text."""
        return dict(self._sqlite.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' "
            "AND lower(tbl_name) = lower(?) AND sql IS NOT NULL",
            (self.table,)).fetchall())

    # Columns and constraints ------------------------------------------------

    def _add(self, words):
        kind = words.peek()
        if kind in ("CONSTRAINT", "PRIMARY", "UNIQUE", "FOREIGN", "CHECK"):
            self._add_constraint(words.rest)
        elif words.take("INDEX") or words.take("KEY"):
            name = words.name()
            self._sqlite.execute("CREATE INDEX %s ON %s %s" % (
                templates.quote(name), templates.quote(self.table),
                tabletext.text_of(words.rest)))
        else:
            words.take("COLUMN")
            optional = words.take("IF", "NOT", "EXISTS")
            self._add_column(words.rest, optional)

    def _add_constraint(self, tokens):
        clause = tabletext.Clause(tokens)
        if clause.kind == "UNIQUE" and clause.words[1] in ("INDEX", "KEY"):
            # MySQL's way to name it.
            words = _Words(clause.tokens)
            words.take("UNIQUE")
            _ = words.take("INDEX") or words.take("KEY")
            name = clause.name or (
                None if words.rest[0].text == "(" else words.name())
            clause = tabletext.Clause(sqltext.tokens(
                "UNIQUE " + tabletext.text_of(words.rest)))
            clause.name = name
        if clause.kind not in ("UNIQUE", "PRIMARY", "FOREIGN", "CHECK"):
            raise _Unreadable
        text = self._read()
        if clause.kind == "PRIMARY" and text.all_constraints("PRIMARY"):
            raise sqlite3.OperationalError(
                "table %s has a primary key" % self.table)
        if clause.name and any(
                other.name and other.name.lower() == clause.name.lower()
                for _columns, other in text.all_constraints(
                    "UNIQUE", "CHECK", "FOREIGN", "PRIMARY")):
            raise sqlite3.OperationalError(
                "constraint %s already exists" % clause.name)
        text.constraints.append(clause)
        self._recreate(text)

    def _add_column(self, tokens, optional):
        text = self._read()
        tokens, after = _position(tokens)
        column = tabletext.Column(tokens)
        column.clauses = column.without("COMMENT", "AUTO_INCREMENT", "NULL")
        if any(other.name.lower() == column.name.lower()
               for other in text.columns):
            if optional:
                return
            raise sqlite3.OperationalError(
                "duplicate column name: %s" % column.name)
        if after is None and not column.has(
                "NOT", "UNIQUE", "PRIMARY", "REFERENCES", "DEFAULT",
                "GENERATED", "AS", "CHECK"):
            # The rows stay where they are.
            self._sqlite.execute("ALTER TABLE %s ADD COLUMN %s" % (
                templates.quote(self.table), column.text))
            return
        at = len(text.columns)
        if after == "":
            at = 0
        elif after is not None:
            at = text.columns.index(_column_of(text, after)) + 1
        text.columns.insert(at, column)
        self._recreate(text)

    def _drop(self, words):
        if words.take("PRIMARY", "KEY"):
            text = self._read()
            for _columns, clause in text.all_constraints("PRIMARY"):
                for owner in (text.constraints, *(
                        column.clauses for column in text.columns)):
                    if clause in owner:
                        owner.remove(clause)
            self._recreate(text)
        elif (words.take("CONSTRAINT") or words.take("FOREIGN", "KEY")
                or words.take("CHECK") or words.take("INDEX")
                or words.take("KEY")):
            optional = words.take("IF", "EXISTS")
            name = words.name()
            if not self._drop_key(name) and not optional:
                raise sqlite3.OperationalError(
                    "no such constraint: %s" % name)
        else:
            words.take("COLUMN")
            optional = words.take("IF", "EXISTS")
            self._drop_column(words.name(), optional)

    def _drop_key(self, name):
        """Drop the constraint or the index of a name.

        :returns: False if there is none.
        """
        for index in self._indexes():
            if index.lower() == name.lower():
                self._sqlite.execute("DROP INDEX " + templates.quote(index))
                return True
        text = self._read()
        if not text.drop_constraint(name):
            return False
        self._recreate(text)
        return True

    def has_constraint(self, name):
        """Tell whether the table has a constraint of a name."""
        return self._read().drop_constraint(name)

    def _drop_column(self, name, optional):
        text = self._read()
        try:
            text.drop_column(name)
        except KeyError:
            if optional:
                return
            raise sqlite3.OperationalError(
                "no such column: %s" % name) from None
        indexes = {
            index: sql for index, sql in self._indexes().items()
            if name.lower() not in [
                column.lower() for column, in self._sqlite.execute(
                    "SELECT name FROM pragma_index_info(?) "
                    "WHERE name IS NOT NULL", (index,)).fetchall()]}
        self._recreate(text, indexes)

    def _alter_column(self, words):
        words.take("COLUMN")
        text = self._read()
        column = _column_of(text, words.name())
        if words.take("SET", "NOT", "NULL"):
            column.set("NOT NULL", "NOT", "NULL")
        elif words.take("DROP", "NOT", "NULL"):
            column.set(None, "NOT", "NULL")
        elif words.take("SET", "DEFAULT"):
            column.set("DEFAULT " + _default(words.rest), "DEFAULT")
        elif words.take("DROP", "DEFAULT"):
            column.set(None, "DEFAULT")
        elif words.take("TYPE") or words.take("SET", "DATA", "TYPE"):
            rest = words.rest
            for at, token in enumerate(rest):
                if token.keyword == "USING":
                    rest = rest[:at]
                    break
            column.type = tabletext.text_of(rest)
        else:
            raise _Unreadable
        self._recreate(text)

    def _modify(self, tokens):
        """Give a column another type, nullability and default; no key."""
        tokens, _after = _position(tokens)
        new = tabletext.Column(tokens)
        text = self._read()
        column = _column_of(text, new.name)
        column.type = new.type
        column.clauses = [
            *(clause for clause in new.clauses
              if clause.kind in ("NOT", "DEFAULT", "COLLATE", "CHECK")),
            *column.without("NOT", "NULL", "DEFAULT", "COLLATE")]
        self._recreate(text)

    # The table --------------------------------------------------------------

    def _read(self):
        """Return the TableText, all of whose constraints have names."""
        row = self._sqlite.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' "
            "AND lower(name) = lower(?)", (self.table,)).fetchone()
        if row is None:
            raise sqlite3.OperationalError(
                "no such table: %s" % self.table)
        text = tabletext.TableText(sqltext.without_generated_id(row[0]))
        text.give_names(self._indexes())
        return text

    def _stored_columns(self, name):
        rows = self._sqlite.execute(
            "SELECT name, pk FROM pragma_table_xinfo(?) WHERE NOT hidden",
            (name,)).fetchall()
        return ([row[0] for row in rows], any(row[1] for row in rows))

    def _recreate(self, text, indexes=None):
        """Make the table again, with its rows and indexes.

        :param text: its new TableText.
        :param indexes: those to keep, if not all: name -> text.
        """
        sqlite = self._sqlite
        if indexes is None:
            indexes = self._indexes()
        old, old_has_key = self._stored_columns(self.table)
        # Other tables and views go on meaning the name.
        sqlite.execute("PRAGMA legacy_alter_table = ON")
        try:
            sqlite.execute("ALTER TABLE %s RENAME TO %s" % (
                templates.quote(self.table), _OLD))
        finally:
            sqlite.execute("PRAGMA legacy_alter_table = OFF")
        sqlite.execute(sqltext.with_generated_id(text.text))
        new, has_key = self._stored_columns(self.table)
        kept = {column.lower() for column in old}
        common = [templates.quote(column) for column in new
                  if column.lower() in kept]
        if not (has_key or old_has_key):
            # The number that a row without a key is known by.
            common.insert(0, templates.ROWID)
        if common:
            names = ", ".join(common)
            sqlite.execute("INSERT INTO %s (%s) SELECT %s FROM %s" % (
                templates.quote(self.table), names, names, _OLD))
        sqlite.execute("DROP TABLE " + _OLD)
        for sql in indexes.values():
            sqlite.execute(sql)


def _column_of(text, name):
    try:
        return text.column(name)
    except KeyError:
        raise sqlite3.OperationalError("no such column: %s" % name) from None


def _default(tokens):
    """Return a default's text; SQLite wants parentheses around most."""
    words = tabletext.significant(tokens)
    text = tabletext.text_of(tokens)
    if len(words) == 1 or words[0].text in ("+", "-") and len(words) == 2 or (
            words[0].text == "(" and not tabletext.group(tokens)[1]):
        return text
    return "(%s)" % text


def _position(tokens):
    """Return tokens without MySQL's FIRST or AFTER at their end.

    :returns: (tokens, the column in front, "" for FIRST or None).
    """
    words = tabletext.significant(tokens)
    if len(words) > 2 and words[-1].keyword == "FIRST":
        return tokens[:_last(tokens, words[-1])], ""
    if len(words) > 3 and words[-2].keyword == "AFTER":
        return tokens[:_last(tokens, words[-2])], words[-1].name
    return tokens, None


def _last(tokens, wanted):
    return next(at for at in range(len(tokens) - 1, -1, -1)
                if tokens[at] == wanted)


def _dropped_index(statement):
    """Return what a DROP INDEX names: (index, table or None, IF EXISTS)."""
    words = _Words(statement.tokens)
    words.take("DROP", "INDEX")
    optional = words.take("IF", "EXISTS")
    try:
        name = words.qualified_name()
        return name, words.name() if words.take("ON") else None, optional
    except _Unreadable as error:
        raise _unsupported("".join(
            token.text for token in statement.tokens)) from error


def owner_of_index(sqlite, statement):
    """Return the table that a DROP INDEX is about, or None.

    As in MySQL, the index may be that of a UNIQUE constraint, and the table
    may be told.

    :param statement: sqltext.Statement.
    """
    name, table, _optional = _dropped_index(statement)
    found = sqlite.execute(
        "SELECT tbl_name FROM sqlite_master WHERE type = 'index' "
        "AND lower(name) = lower(?) AND sql IS NOT NULL", (name,)).fetchone()
    if found is not None:
        return found[0]
    for owner, in sqlite.execute(
            "SELECT tbl_name FROM sqlite_master WHERE type = 'index' "
            "AND sql IS NULL GROUP BY 1").fetchall():
        if table is None or owner.lower() == table.lower():
            if Alteration(sqlite, "ALTER TABLE " + templates.quote(
                    owner)).has_constraint(name):
                return owner
    return None


def drop_index(sqlite, statement, table):
    """Run a DROP INDEX.

    :param statement: sqltext.Statement.
    :param table: as owner_of_index.
    :raises sqlite3.OperationalError: if there is no such index.
    """
    name, _table, optional = _dropped_index(statement)
    if table is not None:
        Alteration(sqlite, "ALTER TABLE %s DROP INDEX %s" % (
            templates.quote(table), templates.quote(name))).run()
    elif not optional:
        raise sqlite3.OperationalError("no such index: %s" % name)
