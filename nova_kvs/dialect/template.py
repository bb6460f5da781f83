# SPDX-License-Identifier: Apache-2.0
"""Schemas as empty SQLite databases that workspaces are copied from."""

import operator
import sqlite3
import threading
import weakref

from nova_kvs.dialect import foreign_keys
from nova_kvs.dialect import sqltext
from nova_kvs.dialect import statement_planner

#: Row number, and key column of a table without a primary key.
ROWID = "_rowid_"
#: Leaves out what SQLite makes for itself.
NOT_INTERNAL = "name NOT LIKE 'sqlite!_%' ESCAPE '!'"
#: Above all ids, so that rows can be out of the way there.
_FAR = 1 << 48

_templates = weakref.WeakKeyDictionary()
_templates_lock = threading.Lock()


def quote(name):
    """Return a name as an SQL identifier."""
    return '"%s"' % name.replace('"', '""')


class TableInfo:
    """Puts rows of one table into a workspace and reads them back.

    :ivar columns: names, without generated columns, as tuple.
    :ivar key_of: function from such a row to its primary key.
    """

    __slots__ = ("name", "columns", "key_columns", "key_of", "insert",
                 "select", "has_key", "has_other_uniques", "generated",
                 "number_rows", "_sql")

    def __init__(self, name, columns, key_columns, has_other_uniques,
                 generated):
        self.name = name
        #: The column that gets ids from the store, or None.
        self.generated = generated
        self.has_key = bool(key_columns)
        #: Unique indexes on expressions, on generated columns, with a
        #: collation or on some of the rows.
        self.has_other_uniques = has_other_uniques
        if not self.has_key:
            key_columns = (ROWID,)
            columns = (ROWID, *columns)
        self.columns = columns
        self.key_columns = key_columns
        positions = [columns.index(column) for column in key_columns]
        if len(positions) == 1:
            position = positions[0]
            self.key_of = lambda row: (row[position],)
        else:
            self.key_of = operator.itemgetter(*positions)
        names = ", ".join(map(quote, columns))
        marks = ", ".join(
            "?%d" % number for number in range(1, len(columns) + 1))
        numbered = ("", "")
        #: Statements that let the numbers of rows be their ids, as SQLite
        #: has it: so rows without an ORDER BY come in the order of their
        #: ids, in whatever order they were loaded or inserted.
        self.number_rows = ()
        if generated is not None:
            numbered = (ROWID + ", ",
                        "?%d, " % (columns.index(generated) + 1))
            self.number_rows = tuple(
                "UPDATE main.%s SET %s = %s WHERE %s IS NOT %s" % (
                    quote(name), ROWID, number, ROWID, quote(generated))
                for number in ("%s + %d" % (ROWID, _FAR), quote(generated)))
        self.insert = "INSERT INTO main.%s (%s%s) VALUES (%s%s)" % (
            quote(name), numbered[0], names, numbered[1], marks)
        self.select = "SELECT %s FROM main.%s" % (names, quote(name))
        self._sql = {}

    def distinct(self, columns):
        """Return the SELECT of the different values of some columns."""
        found = self._sql.get(columns)
        if found is None:
            found = self._sql[columns] = "SELECT DISTINCT %s FROM main.%s" % (
                ", ".join(map(quote, columns)), quote(self.name))
        return found

    def order_of(self, row):
        """Return what sorts rows by their key, NULLs and numbers first."""
        return [(value is not None, type(value) is str, value)
                for value in self.key_of(row)]

    @classmethod
    def read(cls, sqlite, name):
        """Return the TableInfo of a table, or None if there is none."""
        rows = sqlite.execute(
            "SELECT name, pk, hidden, dflt_value "
            "FROM pragma_table_xinfo(?)", (name,)).fetchall()
        if not rows:
            return None
        others = sqlite.execute(
            "SELECT count(*) FROM pragma_index_list(?) AS i "
            'WHERE i."unique" AND (i.partial OR EXISTS (SELECT 1 '
            "FROM pragma_index_xinfo(i.name) AS c WHERE c.key "
            "AND (c.name IS NULL OR upper(c.coll) <> 'BINARY' "
            "OR c.name IN (SELECT name FROM pragma_table_xinfo(?) "
            "WHERE hidden))))", (name, name)).fetchone()[0]
        return cls(
            name,
            tuple(row[0] for row in rows if not row[2]),
            tuple(row[0] for row in sorted(
                (row for row in rows if row[1]), key=lambda row: row[1])),
            bool(others),
            next((row[0] for row in rows
                  if str(row[3]).startswith("kvs_next_id(")), None))


class Template:
    """A schema as a SQLite database that workspaces are copied from."""

    def __init__(self, schema):
        self.schema = schema
        self._lock = threading.Lock()
        self._sqlite = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False)
        for text in schema.ddl:
            self._sqlite.execute(sqltext.with_generated_id(text))
        self.infos = {
            name: TableInfo.read(self._sqlite, name)
            for name, in self._sqlite.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND "
                + NOT_INTERNAL).fetchall()}
        #: The foreign keys of the schema.
        self.foreign_keys = foreign_keys.ForeignKeys(self._sqlite)
        self.planner = statement_planner.StatementPlanner(
            schema, {name: info.generated
                     for name, info in self.infos.items()},
            self.foreign_keys)

    def copy_to(self, sqlite):
        """Make a SQLite database a copy of this one."""
        with self._lock:
            self._sqlite.backup(sqlite)


def template_of(database):
    """Return the Template of a database's present schema.

    :param database: nova_kvs.record.database.Database.
    """
    schema = database.schema
    found = _templates.get(database)
    if found is None or found.schema is not schema:
        found = Template(schema)
        with _templates_lock:
            _templates[database] = found
    return found
