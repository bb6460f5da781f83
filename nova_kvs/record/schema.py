# SPDX-License-Identifier: Apache-2.0
"""Tables, as the stored DDL and the partition rules describe them.

SQLite itself reads the DDL: it is executed in an empty database, which is
then asked. So there is no parser here and no hand-copied schema.
"""

import math
import os
import re
import sqlite3
import threading

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import format as stored_format
from nova_kvs.record.indexes import covering_index
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import local_index
from nova_kvs.record.indexes import ordered_index
from nova_kvs.record.indexes import unique_key
from nova_kvs.record import partition_rules
from nova_kvs.record import planner

#: Key column of a table without a primary key.
ROWID = "_rowid_"
#: The types that get an id when they are a table's only key column.
#: SQLite does so for INTEGER only, MySQL for all of these.
ID_TYPES = frozenset(("INTEGER", "BIGINT", "SMALLINT"))

_MAX_INT = 2 ** 63
# Text with any other character, such as a time, is no number to SQLite.
_OF_NUMBERS = re.compile(r"[0-9+\-.eE \t\n\v\f\r]*")


def affinity(declared):
    """Return the affinity of a declared column type.

    :source: SQLite, "Determination Of Column Affinity".
    """
    declared = declared.upper()
    if "INT" in declared:
        return "INTEGER"
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in declared or not declared:
        return "BLOB"
    if any(word in declared for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


def apply_affinity(name, value):
    """Return what SQLite stores when a column is given a value.

    :param name: the column's affinity.
    :param value: None, bool, int, float, str or bytes.
    :raises OverflowError: for an integer beyond 64 bits, as SQLite does.
    """
    kind = type(value)
    if kind is bool:
        value, kind = int(value), int
    if value is None or kind is bytes or kind is str and (
            name == "TEXT" or name == "BLOB"):
        return value
    if kind is int and name != "TEXT":
        if not -_MAX_INT <= value < _MAX_INT:
            raise OverflowError("an integer is beyond 64 bits")
        return float(value) if name == "REAL" else value
    if kind is float and (name == "REAL" or name == "BLOB"):
        return None if math.isnan(value) else value
    if kind is str and not _OF_NUMBERS.fullmatch(value):
        return value
    return _converter.convert(name, value)


class _Converter:
    """Asks SQLite for the conversions that are rare and intricate."""

    def __init__(self):
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(
            ":memory:", check_same_thread=False, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE one (TEXT TEXT, INTEGER INTEGER, REAL REAL, "
            "NUMERIC NUMERIC, BLOB BLOB)")
        self._connection.execute("INSERT INTO one DEFAULT VALUES")

    def convert(self, name, value):
        with self._lock:
            self._connection.execute("UPDATE one SET %s = ?" % name, (value,))
            found, = self._connection.execute(
                "SELECT %s FROM one" % name).fetchone()
        return found


_converter = _Converter()
# Another thread may have held the lock when this process was forked.
os.register_at_fork(after_in_child=_converter.__init__)


class Table:
    """One table: columns, key, partitioning and indexes.

    :ivar name: :ivar columns: names, in the order of the DDL.
    :ivar affinities: column -> TEXT, INTEGER, REAL, NUMERIC or BLOB.
    :ivar defaults: column -> SQL text of its default, where it has one.
    :ivar key: primary-key columns; ``("_rowid_",)`` for a table without.
    :ivar auto_id: the column that gets an id when it is NULL, or None.
    :ivar kind: of its partitions; ``t`` for a table that is one partition.
    :ivar partition_column: or None.
    :ivar parents: tables whose record with the id ``partition_column``
        shares the partition; empty for nearly all tables.
    :ivar uniques: of UniqueKey.
    :ivar indexes: that rows can be found by.
    :ivar global_indexes: that rows are written to; some of them may not be
        built yet, and so not be among ``indexes``.
    :ivar included: IncludedColumns of its covering indexes, or None.
    :ivar is_shadow: it has the archived rows of another table.
    :ivar lists_parts: partitions that get deleted or archived rows of it are
        listed, see nova_kvs.record.indexes.directory.
    :ivar finds_parts: all that have such rows are.
    :ivar lists_present: rows of it have an entry with which they are found
        beside a long history, see nova_kvs.record.indexes.local_index.
    :ivar finds_present: all of them have.
    """

    def __init__(self, name, columns, affinities, defaults, key, auto_id,
                 rule, uniques, indexes, unbuilt, state):
        self.name = name
        self.columns = columns
        self.affinities = affinities
        self.defaults = defaults
        self.key = key
        self.auto_id = auto_id
        self.kind = rule.kind if rule else partition_rules.TABLE
        #: A process keeps its records decoded.
        self.is_cached = self.kind in partition_rules.CACHED
        self.partition_column = rule.column if rule else None
        self.parents = (partition_rules.parent_names(name, rule)
                        if rule and rule.parent else ())
        #: Values of the partition column say where rows are.
        self.names_partitions = rule is not None and not self.parents
        self.uniques = uniques
        self.indexes = indexes
        self.unbuilt = unbuilt
        self.global_indexes = tuple(
            index for index in (*indexes, *unbuilt) if index.is_global)
        self.local_indexes = tuple(
            index for index in (*indexes, *unbuilt) if not index.is_global)
        self.covering_indexes = tuple(
            index for index in indexes if index.is_covering)
        self.included = covering_index.IncludedColumns(
            rule.covered, columns, key, self.covering_indexes
        ) if self.covering_indexes else None
        self.is_shadow = partition_rules.is_shadow(name)
        has_parts = self.is_shadow or "deleted" in columns
        self.lists_parts = has_parts and (
            state.version >= stored_format.FormatVersion.PARTS)
        self.finds_parts = has_parts and (
            state.built >= stored_format.FormatVersion.PARTS)
        is_beside_history = partition_rules.is_beside_history(name, rule)
        self.lists_present = is_beside_history and (
            state.version >= stored_format.FormatVersion.HISTORY)
        self.finds_present = is_beside_history and (
            state.built >= stored_format.FormatVersion.HISTORY)
        #: Columns that an index, a unique key or a directory depends on.
        self.indexed = frozenset(
            column for index in (*indexes, *unbuilt, *uniques)
            for column in index.columns).union(
                self.included.names if self.included else (),
                directory.MARKS if self.lists_parts else ())
        self.prefix = keyspace.record_prefix(name)
        self._coarse = self._coarse_columns()
        #: Few of its rows are asked for along with others of a partition.
        self.is_history = rule is not None and rule.is_history
        self.id_index = next(
            (index for index in indexes
             if index.is_global and index.columns == key), None)
        complete = [index for index in indexes if index.is_global
                    and index.is_ordered and index.is_complete]
        #: One that all rows have an entry in.
        self.complete_index = complete[0] if complete else None
        #: Where all rows are, of a table with few in many partitions.
        self.row_index = next(
            (index for index in complete if index.buckets == 1), None)
        self._single_key = key[0] if len(key) == 1 else None
        #: Of nova_kvs.record.planner.Path, best first.
        self.paths = planner.paths(self)
        self.partial_paths = tuple(
            path for path in self.paths if path.is_partial)
        #: Names of columns -> Path, see nova_kvs.record.planner.known_path.
        self.known_paths = {}
        self._by_name = {index.name: index for index in indexes}
        native = {"TEXT": str, "INTEGER": int, "REAL": float}
        #: Type of a value that the column's affinity leaves as it is.
        self.native = {column: native.get(affinity)
                       for column, affinity in affinities.items()}
        self.native[ROWID] = int

    def _coarse_columns(self):
        """Return columns of which entries have the first characters only.

        :returns: dict, column -> number of these characters.
        """
        lengths = {}
        exact = set()
        for index in (*self.indexes, *self.unbuilt, *self.uniques):
            exact.update(set(index.columns).difference(index.coarse))
            for column, length in index.coarse.items():
                lengths[column] = max(length, lengths.get(column, 0))
        if self.included is not None:
            exact.update(self.included.names)
        return {column: length for column, length in lengths.items()
                if column not in exact}

    def changes_entries(self, old, new, changed):
        """Tell whether a change of a row changes more than its record.

        :param old: stored values of the row. :param new: as they will be.
        :param changed: names of the columns that differ.
        """
        for column in self.indexed.intersection(changed):
            length = self._coarse.get(column)
            if length is None:
                return True
            values = old.get(column), new.get(column)
            if not all([type(value) is str for value in values]) or (
                    values[0][:length] != values[1][:length]):
                return True
        return False

    def __repr__(self):
        return "<Table %s>" % self.name

    def definition(self):
        """Return what decides how its rows are stored, comparable."""
        return (self.columns, self.affinities, self.key, self.kind,
                self.partition_column, self.parents, self.uniques,
                self.indexes, self.unbuilt)

    def normalise(self, column, value):
        """Return a value as the column stores it."""
        if type(value) is str and self.native[column] is str:
            return value
        return apply_affinity(
            self.affinities.get(column, "INTEGER"), value)

    def index(self, name):
        """Return the index of this name.

        :raises KeyError: if there is none.
        """
        return self._by_name[name]

    def record_key(self, values):
        """Return the primary key of a row.

        :param values: dict without Nones.
        """
        if self._single_key is not None:
            return (values.get(self._single_key),)
        return tuple([values.get(column) for column in self.key])

    def field(self, key):
        """Return the field of the record with a primary key."""
        return self.prefix + keyspace.encode_tuple(key)


class Schema:
    """All tables of a database.

    :ivar version: grows with each change; 0 is a database without schema.
    :ivar ddl: tuple of SQLite statements, in order.
    :ivar tables: name -> Table.
    :ivar state: nova_kvs.record.format.State: which indexes there are.
    """

    def __init__(self, version, ddl, tables, state):
        self.version = version
        self.state = state
        self.ddl = ddl
        self.tables = tables
        #: parent's name -> names of the tables that follow its records.
        self.children = {}
        #: Prefixes of the tables beside history.
        self.present_prefixes = tuple(
            table.prefix for table in tables.values()
            if partition_rules.is_beside_history(
                table.name, partition_rules.rule_for(
                    table.name, table.columns)))
        #: Prefixes of the tables that are history.
        self.history_prefixes = frozenset(
            table.prefix for table in tables.values() if table.is_history)
        for table in tables.values():
            for parent in table.parents:
                self.children.setdefault(parent, []).append(table.name)

    @classmethod
    def from_ddl(cls, ddl, state=stored_format.NEW):
        """Return the schema that SQLite statements make.

        :param ddl: statements, each complete, in order.
        :param state: nova_kvs.record.format.State.
        :raises nova_kvs.exceptions.UnsupportedStatementError: if SQLite
            does not accept one.
        """
        ddl = tuple(ddl)
        connection = sqlite3.connect(":memory:")
        try:
            for text in ddl:
                try:
                    connection.execute(text)
                except sqlite3.Error as error:
                    raise exceptions.UnsupportedStatementError(
                        "a DDL statement is not valid",
                        statement=text, error=error) from error
            names = [row[0] for row in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' "
                "AND name NOT LIKE 'sqlite!_%' ESCAPE '!'")]
            tables = {name: _read_table(connection, name, state)
                      for name in names}
        finally:
            connection.close()
        return cls(0, ddl, tables, state)


def _read_table(connection, name, state):
    """Ask SQLite about one table."""
    rows = connection.execute(
        "SELECT name, type, pk, dflt_value FROM pragma_table_xinfo(?) "
        # What SQLite generates is not stored, so nothing is found by it.
        "WHERE NOT hidden ORDER BY cid", (name,)).fetchall()
    columns = tuple(row[0] for row in rows)
    key = tuple(row[0] for row in sorted(
        (row for row in rows if row[2]), key=lambda row: row[2]))
    auto_id = None
    if not key:
        key = (ROWID,)
        auto_id = ROWID
    elif len(key) == 1:
        declared = next(row[1] for row in rows if row[2])
        if declared.upper() in ID_TYPES:
            auto_id = key[0]
    rule = partition_rules.rule_for(name, columns)
    uniques, indexes, unbuilt = _read_indexes(
        connection, name, columns, key, rule, state)
    return Table(name, columns, {row[0]: affinity(row[1]) for row in rows},
                 {row[0]: row[3] for row in rows if row[3] is not None},
                 key, auto_id, rule, uniques, indexes, unbuilt, state)


def _read_indexes(connection, name, stored, key, rule, state):
    """Return a table's uniques, its indexes, and those that are not built.

    Of its stored columns.
    """
    uniques = {}
    wanted = []
    if rule is None and len(key) > 1:
        wanted.append(key)
    for index_name, unique, origin, partial in connection.execute(
            'SELECT name, "unique", origin, partial '
            "FROM pragma_index_list(?) ORDER BY seq DESC",
            (name,)).fetchall():
        parts = connection.execute(
            "SELECT name, upper(coll) FROM pragma_index_xinfo(?) "
            "WHERE key ORDER BY seqno", (index_name,)).fetchall()
        columns = tuple(row[0] for row in parts)
        # An index on an expression, on a generated column or on some rows
        # only cannot be kept as entries of column values; SQLite checks it
        # in the workspace.
        if partial or origin == "pk" or not set(columns).issubset(stored):
            continue
        # Entries compare bytes: they would let pass what a collation takes
        # for a duplicate.
        if unique and all(row[1] == "BINARY" for row in parts):
            uniques[columns] = unique_key.UniqueKey(
                name, _name(columns), columns,
                rule is None or rule.column in columns)
        wanted.append(columns)
    if rule:
        return tuple(uniques.values()), *(
            tuple(_ruled(name, rule, index)
                  for index in (*rule.indexes, *rule.local)
                  if first <= index.since <= last)
            for first, last in ((1, state.built),
                                (state.built + 1, state.version)))
    wanted.extend(
        columns for columns in _foreign_keys(connection, name)
        if set(columns).issubset(stored))
    return tuple(uniques.values()), tuple(
        local_index.LocalIndex(name, _name(columns), columns)
        for columns in _without_prefixes(wanted)), ()


def _ruled(table, rule, index):
    """Return the index that a Global or a Local describes."""
    if type(index) is partition_rules.Local:
        return local_index.PartitionIndex(
            table, _name(index.columns), index.columns,
            names_partition=rule.parent is None)
    definition = (table, index.name or _name(index.columns), index.columns,
                  index.buckets, index.only, index.without)
    if index.ordered:
        return ordered_index.OrderedIndex(*definition, index.coarse)
    if index.covering:
        return covering_index.CoveringIndex(*definition)
    return global_index.GlobalIndex(*definition)


def _name(columns):
    """Return an index's name: stable when SQL renames the index."""
    return "+".join(columns)


def _foreign_keys(connection, name):
    """Return the column tuples that refer to other tables.

    MySQL gives each an index of its own, so Nova declares none.
    """
    found = {}
    for number, column in connection.execute(
            'SELECT id, "from" FROM pragma_foreign_key_list(?) '
            "ORDER BY id, seq", (name,)):
        found.setdefault(number, []).append(column)
    return [tuple(columns) for columns in found.values()]


def _without_prefixes(wanted):
    """Return column tuples without those that another one begins with."""
    kept = []
    for columns in sorted(set(wanted), key=lambda item: (-len(item), item)):
        if not any(other[:len(columns)] == columns for other in kept):
            kept.append(columns)
    return kept
