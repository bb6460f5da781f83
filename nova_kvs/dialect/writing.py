# SPDX-License-Identifier: Apache-2.0
"""From the rows of a workspace to the changes of its transaction.

Changes are found at the commit by comparing the rows of the tables that
were written with the records that were loaded, by primary key. So
savepoints, REPLACE and upserts need no book-keeping of their own. A row that
is to be as it was, since FOR UPDATE locks it or an UPDATE left it so, is
*held*: the commit fails if it has changed since.
"""

import sqlite3

from nova_kvs.dialect import sources
from nova_kvs.dialect import sqltext
from nova_kvs.dialect import template as templates
from nova_kvs.record import planner


class Writing:
    """The changes of one transaction of a workspace."""

    def __init__(self, space):
        self._space = space
        #: (table's name, key) -> Record that must not change until commit.
        self._held = {}
        #: Table's name -> keys of rows that an UPDATE was about.
        self._updated = {}

    @property
    def holds_rows(self):
        """True if rows must be at the commit as they were loaded."""
        return bool(self._held)

    def hold(self, source, parameters):
        """Let the commit fail if rows of a source change until then."""
        info = self._space.info(source.table)
        if info is None:
            return
        where, values = self._narrow_deep(source, parameters, set())
        rows = self._space.state(source.table).rows
        for key in self._space.sqlite.execute(
                info.distinct(info.key_columns) + where, values).fetchall():
            loaded = rows.get(key)
            if loaded is not None:
                self._held[source.table, key] = loaded[1]

    def hold_all(self, names):
        """Let the commit fail if any row that is loaded changes until then.

        :param names: of the tables.
        """
        for name in names:
            self._held.update(
                ((name, key), record) for key, (_row, record)
                in self._space.state(name).rows.items())

    def hold_text(self, names, locked, parameters):
        """Let the commit fail if the rows that a text locks change.

        :param names: of the tables that it names.
        :param locked: sqltext.Locked. :param parameters: of the text.
        """
        info = self._space.info(names[0]) if len(names) == 1 else None
        if info is None or not info.has_key or (
                (locked.table or "").lower() != info.name.lower()):
            self.hold_all(names)
            return
        if isinstance(parameters, (tuple, list)):
            parameters = parameters[locked.skipped:]
        rows = self._space.state(info.name).rows
        try:
            keys = self._space.sqlite.execute("SELECT %s %s" % (
                ", ".join(map(templates.quote, info.key_columns)),
                locked.source), parameters).fetchall()
        except sqlite3.Error:
            # It names a column that the SELECT makes.
            self.hold_all(names)
        else:
            self._held.update(
                ((info.name, key), rows[key][1])
                for key in keys if key in rows)

    def hold_in(self, transaction):
        """Let a transaction's commit fail if a row that is held changed."""
        for record in self._held.values():
            transaction.lock(record)

    def _narrow_deep(self, source, parameters, seen):
        """Return as ``narrow`` does, links to other sources included."""
        where, values = self._space.narrow(source, parameters)
        clauses = [where[len(" WHERE "):]] if where else []
        seen = seen | {source}
        for column, origins in source.links.items():
            for origin in map(sources.bases, origins):
                if len(origin) != 1 or origin[0][0] in seen:
                    continue
                other, name = origin[0]
                info = self._space.info(other.table)
                if info is None or (other.nullable and not source.nullable):
                    continue
                inner, more = self._narrow_deep(other, parameters, seen)
                clauses.append("%s IN (%s)" % (
                    templates.quote(column), info.distinct((name,)) + inner))
                values = [*values, *more]
        return (" WHERE " + " AND ".join(clauses) if clauses else ""), values

    def rows_to_update(self, name, sql, sets):
        """Return the keys of the rows that an UPDATE is about to change.

        :param name: of the table. :param sets: parameters: one, or several.
        :returns: a set; if the text does not simply tell, all that are loaded.
        """
        found = sqltext.updated_by(sql)
        info = self._space.info(name)
        if found is None or info is None:
            return set()
        if found.source is None:
            return set(self._space.state(name).rows)
        statement = "SELECT %s FROM %s" % (
            ", ".join(map(templates.quote, info.key_columns)), found.source)
        keys = set()
        for values in sets:
            if isinstance(values, (tuple, list)):
                values = values[found.skipped:found.skipped + found.count]
            try:
                keys.update(self._space.sqlite.execute(
                    statement, values).fetchall())
            except sqlite3.Error:
                # The UPDATE itself will tell.
                return set()
        return keys

    def note_updated(self, name, keys):
        """Let the commit check rows that an UPDATE has left as they were."""
        self._updated.setdefault(name, set()).update(keys)

    def unique_values(self, name):
        """Return the values of a table's unique keys as they are now.

        :returns: for each unique key the set of its rows' values, those of
            the columns that it is looked for by included.
        """
        return [
            set(self._space.sqlite.execute(self._space.info(name).distinct(
                (*columns, *path.columns))).fetchall())
            for _table, columns, path
            in self._space.planner.unique_paths(name)]

    def collisions(self, name, before, statement):
        """Return Loads of what the rows just written could collide with.

        :param before: what ``unique_values`` returned before.
        """
        loads = self._space.loads(statement)
        state = self._space.state(name)
        for (table, columns, path), old, new in zip(
                self._space.planner.unique_paths(name), before,
                self.unique_values(name)):
            if path.kind == planner.SCAN:
                loads.scan(state)
                continue
            width = len(columns)
            is_key = columns == table.key
            loads.add(state, path, path.columns, {
                row[width:]: None for row in new - old
                if None not in row[:width]
                and not (is_key and row[:width] in state.rows)})
        return loads

    def write(self, transaction, state, changed):
        """Give the changes of one table to the transaction.

        :param changed: takes pairs of what a row was and what it is; None
            where it is not there.
        """
        info = self._space.info(state.name)
        rows = state.rows
        if info is None:
            for _row, record in rows.values():
                transaction.delete(record)
            return bool(rows)
        updated = self._updated.get(state.name, ())
        same_columns = info.columns == state.columns
        columns = info.columns
        key_of = info.key_of
        left = dict(rows)
        added = []
        has_changes = False
        for row in self._space.sqlite.execute(info.select).fetchall():
            key = key_of(row)
            loaded = left.pop(key, None)
            if loaded is None:
                added.append(row)
                continue
            if not (same_columns and row == loaded[0]):
                values = _values(columns, row)
                if values != loaded[1].values:
                    changed.append((loaded[1].values, values))
                    transaction.update(loaded[1], values)
                    has_changes = True
                    continue
            if key in updated:
                # It was to be what it was: the commit sees to that.
                self._held[state.name, key] = loaded[1]
        for _row, record in left.values():
            changed.append((record.values, None))
            transaction.delete(record)
        for row in added:
            values = _values(columns, row)
            changed.append((None, values))
            if not info.has_key:
                # A number that only this workspace knows.
                del values[templates.ROWID]
            transaction.insert(info.name, values)
        return has_changes or bool(left) or bool(added)


def _values(columns, row):
    """Return a row as a dict without Nones."""
    return {column: value for column, value in zip(columns, row)
            if value is not None}
