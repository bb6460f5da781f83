# SPDX-License-Identifier: Apache-2.0
"""Loads the rows whose entries in an index pass what a statement asks.

Where no index finds a statement's rows, or has their order, the entries of
one that has all rows may tell many of them from those that are wanted. An
entry tells some columns of a row, so what is asked of one of these is asked of
the entry first: whether it is one of some values, or within bounds, and any
other criterion on one column of text, which SQLite evaluates. What an entry
does not tell is evaluated in the workspace, on the rows.

Invariant: as that of :mod:`nova_kvs.dialect.paging`.
"""

import sqlalchemy
from sqlalchemy.sql import elements
from sqlalchemy.sql import operators
from sqlalchemy.sql import visitors

from nova_kvs.dialect import paging
from nova_kvs.record import access
from nova_kvs.record.indexes import entry_columns
from nova_kvs.record.paths import by_entries
from nova_kvs import regexp

_VALUE = "kvs_value"


def _part_of_expression(pattern):
    try:
        return regexp.compiled(pattern).part
    except regexp.error:
        return ""


#: Operator -> function that returns what all that matches a pattern contains.
_PARTS = {
    operators.like_op: entry_columns.part_of_like,
    "LIKE": entry_columns.part_of_like,
    operators.regexp_match_op: _part_of_expression,
    "REGEXP": _part_of_expression}


class ColumnTest(paging.Expression):
    """Asks SQLite whether values of a column pass a criterion of it."""

    def __init__(self, compiled, criterion):
        """Prepare to ask.

        :param compiled: KVSCompiler of the statement.
        :param criterion: of one column of text, otherwise of parameters.
        :raises LookupError: if it has parameters that the statement has not.
        """
        value = sqlalchemy.cast(
            sqlalchemy.bindparam(_VALUE, type_=sqlalchemy.types.NullType()),
            sqlalchemy.Text())

        def replace(element, **_kwargs):
            if isinstance(element, elements.ColumnClause):
                return value
            # A copy would be another parameter.
            return element if isinstance(
                element, elements.BindParameter) else None

        super().__init__(compiled, sqlalchemy.select(
            visitors.replacement_traverse(criterion, {}, replace)), (_VALUE,))
        self._part_of, self._pattern = self._pattern_of(criterion)

    def _pattern_of(self, criterion):
        """Return (function of a pattern, parameter that is the pattern).

        The function returns what all that matches contains.
        """
        if isinstance(criterion, elements.BinaryExpression) and isinstance(
                criterion.left, elements.ColumnClause) and isinstance(
                criterion.right, elements.BindParameter):
            part_of = _PARTS.get(getattr(
                criterion.operator, "opstring", criterion.operator))
            if part_of is not None and not criterion.modifiers.get("escape"):
                return part_of, self._compiled.bind_names[criterion.right]
        return None, None

    def condition(self, workspace, parameters):
        """Return the condition on an entry's value."""
        execute = workspace.sqlite.execute
        sql, names, values = self.expanded(parameters, {_VALUE: None})
        at = [number for number, name in enumerate(names) if name == _VALUE]

        def passes(value):
            for place in at:
                values[place] = value
            return bool(execute(sql, values).fetchone()[0])

        part = ""
        if self._pattern in names:
            pattern = values[names.index(self._pattern)]
            if isinstance(pattern, str):
                part = self._part_of(pattern)
        return entry_columns.text(passes, passes(None), part)


class EntriesStep(paging.PageStep):
    """Loads the rows of a source whose entries in an index pass."""

    def __init__(self, step, path, page, probe, is_alone, tests):
        """Prepare a step.

        :param path: nova_kvs.record.planner.ByEntries.
        :param page: paging.Page, or None: all rows are wanted.
        :param tests: column -> list of ColumnTests.
        """
        super().__init__(step, path, page, probe, is_alone)
        self._tests = tests

    def collect(self, workspace, parameters, loads):
        """Load pages until the limit is full, or all rows that pass."""
        state = workspace.state(self.name)
        if state.complete:
            return
        if self.step.partial_path(parameters) is not None:
            self.step.collect(workspace, parameters, loads)
            return
        wanted = self._page and self._wanted(parameters)
        cursor = self._cursor(workspace, parameters)
        if wanted == 0 or cursor is None:
            return
        if wanted is None:
            loads.add_access(state, access.ByEntries(
                self.name, cursor, None, True))
        else:
            self._load_pages(workspace, parameters, state, wanted, cursor)

    def _cursor(self, workspace, parameters):
        """Return a Cursor of the rows that may pass, or None: none does."""
        source, path = self.source, self.path
        is_one = len(parameters) == 1
        first = path.index.columns[0]
        conditions, where, start = [], {}, None
        for column in sorted(path.columns):
            if column in source.values:
                values = self._values(
                    source.values[column], parameters, column)
                if not values:
                    return None
                conditions.append((column, entry_columns.among(values)))
                if column == first:
                    where["prefixes"] = tuple(values)
            if column in source.unequal and is_one:
                values = self._values(
                    (source.unequal[column],), parameters, column)
                conditions.append((column, entry_columns.unequal(values)))
                if column == first:
                    where["refused"] = tuple(values)
            bounds = self._bounds_of(column, parameters)
            if bounds not in (None, (None, None)):
                low, high = (end and end[0] for end in bounds)
                conditions.append((column, entry_columns.within(low, high)))
                if path.order and path.order[0][0] == column:
                    start = high if path.order[0][1] else low
            conditions += [
                (column, entry_columns.text(_like(workspace, pattern)))
                for pattern in self._patterns(column, parameters)]
            if is_one:
                conditions += [
                    (column, test.condition(workspace, parameters))
                    for test in self._tests.get(column, ())]
        return by_entries.Cursor(
            self.table, path.index, conditions, path.order,
            start=None if start is None else (start,), **where)

    def _patterns(self, column, parameters):
        """Yield patterns of LIKE, each of which a column's value matches."""
        for values in self.source.ranges.get((column, True), ()):
            if values[0].is_pattern:
                found = self._values(values, parameters, column)
                if len(found) == 1:
                    yield found[0]

    def _values(self, values, parameters, column):
        return parameters.values(values, self.table, column)

    def _load_pages(self, workspace, parameters, state, wanted, cursor):
        columns = self._page.order and [
            column for column, _ in self.path.order]
        size = wanted + paging.SLACK
        while True:
            workspace.load([access.ByEntries(
                self.name, cursor, size,
                self._is_alone or size > wanted + paging.SLACK)], [state])
            if cursor.is_done:
                return
            full = self._probe.row(workspace, parameters, wanted - 1)
            if full is not None and (not columns or cursor.precedes(
                    dict(zip(columns, full)))):
                return
            size = min(size * 4, paging.LARGEST_PAGE)

    def explain(self):
        """Return a text, the same for the same statement."""
        return ("first of %s" if self._page else "%s") % self.path.explain()


def _like(workspace, pattern):
    """Return a function that tells whether text matches a pattern."""
    execute = workspace.sqlite.execute
    return lambda value: execute(
        "SELECT ? LIKE ?", (value, pattern)).fetchone()[0]
