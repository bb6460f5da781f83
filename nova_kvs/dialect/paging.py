# SPDX-License-Identifier: Apache-2.0
"""Loads what ORDER BY with LIMIT and ranges need, in an index's order.

A SELECT of one table, or of one and outer joins to others, with an order and
a limit needs the first rows that pass its criteria. If an index has the order,
rows are loaded page by page
until the workspace, where the criteria are evaluated, has enough of them.

Invariant: a row that is not loaded sorts behind the last row that the
SELECT returns. Rows that the transaction changed are loaded, so an unloaded
row is in the index where the store has it: behind what was read of it.
"""

import itertools
import math
import re
import string
import typing

from sqlalchemy.sql import elements
from sqlalchemy.sql import functions
from sqlalchemy.sql import operators
from sqlalchemy.sql import selectable
from sqlalchemy.sql import sqltypes
from sqlalchemy.sql import visitors

from nova_kvs.compatibility import private
from nova_kvs.record import access
from nova_kvs.record.paths import by_entries
from nova_kvs.record.paths import by_range
from nova_kvs.record import planner

# SQLite takes a pattern, and what it is compared with, up to the first NUL.
_WILDCARD = re.compile("[%_\0]")
# LIKE minds the case of all other letters.
_TO_UPPER = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)
_TO_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
#: Sorts behind all that text may go on with.
LAST = chr(0x10ffff) * 2
#: Rows of the first page beyond the limit, and of the largest page.
SLACK = 8
LARGEST_PAGE = 4000
#: Values of an IN whose first rows are read one after the other.
MOST_PAGES = 3


class Page(typing.NamedTuple):
    """The first rows of a source in an order are all that is needed.

    Each of them makes at least one row of the SELECT.

    :ivar order: pairs of column and whether it descends; other tables'
        columns may follow. Empty: any rows will do.
    :ivar limit: sources.Value; None: one row.
    :ivar offset: likewise; None: none.
    :ivar criteria: of the SELECT. :ivar clauses: that say the order.
    :ivar sample: a column of the source.
    :ivar skips_null: rows with NULL in the order's column do not matter.
    :ivar told_by: sets of columns: where a DISTINCT or GROUP BY makes one row
        of those that are equal in these columns.
    """

    order: tuple
    limit: typing.Any
    offset: typing.Any
    criteria: tuple
    clauses: tuple
    sample: typing.Any
    skips_null: bool = False
    told_by: tuple = ()

    def keeps_rows(self, table):
        """Tell whether each row of the table makes a row of the SELECT.

        :param table: record.schema.Table of the source.
        """
        return all([columns.issuperset(table.key)
                    for columns in self.told_by])


#: Attributes of a SELECT that makes one row of several.
_MERGING = (private.DISTINCT, private.GROUP_BY_CLAUSES)
#: Those of one that leaves rows out.
_OTHERS = (private.DISTINCT_ON, private.HAVING_CRITERIA)


def page_of(select, source_of, value_of):
    """Return the Page of a SELECT, or None.

    :param select: as the compiler rendered it.
    :param source_of: function that returns (source, column's name) of a
        column of the SELECT's first table, else (None, None).
    :param value_of: function that returns the Value of an element or None.
    """
    limit = getattr(select, private.LIMIT_CLAUSE)
    if any(getattr(select, name) for name in _OTHERS) or (
            getattr(select, private.FETCH_CLAUSE) is not None):
        return None
    if limit is None:
        if any(getattr(select, name) for name in _MERGING):
            return None
        return _extreme_of(select, source_of)
    limit = value_of(limit)
    offset = getattr(select, private.OFFSET_CLAUSE)
    if offset is not None:
        offset = value_of(offset)
        if offset is None:
            return None
    criteria = getattr(select, private.WHERE_CRITERIA)
    clauses = list(getattr(select, private.ORDER_BY_CLAUSES))
    selected = list(map(_plain, getattr(
        select, private.ALL_SELECTED_COLUMNS)))
    order = []
    for at, clause in enumerate(clauses):
        clause, descends = _direction(clause)
        if isinstance(clause, getattr(elements, private.TEXT_REFERENCE)):
            clause = _named(clause.element, select)
            if clause is not None:
                clauses[at] = clause.desc() if descends else clause.asc()
        if not _is_column(clause):
            return None
        column = source_of(clause)[1]
        if column is None:
            break
        order.append((column, descends))
    sample = next((column for column in selected
                   if source_of(column)[1] is not None), None)
    if limit is None or sample is None or clauses and not order or not all(
            map(_is_column, selected)) or not all(
            [_is_own(criterion, source_of) for criterion in criteria]):
        return None
    return Page(tuple(order), limit, offset, criteria,
                tuple(clauses[:len(order)]), sample, told_by=tuple([
                    frozenset([source_of(_plain(clause))[1]
                               for clause in merged])
                    for merged in (
                        selected if getattr(select, private.DISTINCT) else (),
                        getattr(select, private.GROUP_BY_CLAUSES))
                    if merged]))


def _extreme_of(select, source_of):
    """Return the Page that a SELECT of a MIN or MAX needs, or None.

    :param source_of: as of ``page_of``.
    """
    selected = list(map(_plain, getattr(
        select, private.ALL_SELECTED_COLUMNS)))
    criteria = getattr(select, private.WHERE_CRITERIA)
    if len(selected) != 1 or not isinstance(selected[0], (
            functions.min, functions.max)) or getattr(
                select, private.OFFSET_CLAUSE) is not None:
        return None
    arguments = list(map(_plain, selected[0].clauses))
    if len(arguments) != 1 or not _is_column(arguments[0]) or not all(
            [_is_own(criterion, source_of) for criterion in criteria]):
        return None
    argument, = arguments
    column = source_of(argument)[1]
    if column is None:
        return None
    descends = isinstance(selected[0], functions.max)
    return Page(((column, descends),), None, None,
                (*criteria, argument.is_not(None)),
                (argument.desc() if descends else argument.asc(),),
                argument, True)


def is_of_rows(select):
    """Tell whether a SELECT without a row of its tables has none itself.

    An aggregate has one; text may be an aggregate.
    """
    return not getattr(select, private.HAVING_CRITERIA) and all([
        _is_column(column) or isinstance(column, elements.BindParameter)
        or isinstance(column, elements.ColumnClause)
        and column.name in ("1", "*")
        or isinstance(column, elements.TextClause)
        and column.text in ("1", "*")
        for column in map(_plain, getattr(
            select, private.ALL_SELECTED_COLUMNS))])


def first_of(element):
    """Return the table of whose rows each makes a row of a FROM element.

    :returns: the left side of outer joins, which adds nothing to an order
        by its columns and lets every row through; None for other joins.
    """
    while isinstance(element, (selectable.Join, selectable.FromGrouping)):
        if isinstance(element, selectable.FromGrouping):
            element = element.element
        elif element.full or not element.isouter:
            return None
        else:
            element = element.left
    return element


def _is_column(element):
    return isinstance(element, elements.ColumnClause) and (
        not element.is_literal)


def _plain(element):
    while isinstance(element, (elements.Grouping, elements.Label)):
        element = element.element
    return element


def _direction(clause):
    """Return (element, whether it descends) of an ORDER BY's clause."""
    descends = False
    reference = getattr(elements, private.LABEL_REFERENCE)
    while isinstance(clause, (reference, elements.Grouping, elements.Label,
                              elements.UnaryExpression)):
        if isinstance(clause, elements.UnaryExpression):
            if clause.modifier is operators.desc_op:
                descends = True
            elif clause.modifier is not operators.asc_op:
                return None, False
        clause = clause.element
    return clause, descends


def _named(name, select):
    """Return the column that an ORDER BY means by a name, or None.

    With several tables, or labels, it may be another one's.
    """
    selected = getattr(select, private.ALL_SELECTED_COLUMNS)
    tables = {getattr(column, "table", None) for column in selected}
    if len(tables) != 1 or not set(select.get_final_froms()) <= tables:
        return None
    found = [column for column in selected if name in (
        column.key, "%s_%s" % (column.table.name, column.key))]
    return found[0] if len(found) == 1 and _is_column(found[0]) else None


def _is_own(criterion, source_of):
    """Tell whether a criterion depends on nothing but the row itself."""
    for element in visitors.iterate(criterion):
        if isinstance(element, elements.ColumnClause):
            if source_of(element)[0] is None:
                return False
        elif isinstance(element, elements.BindParameter):
            if element.literal_execute or isinstance(
                    element.type, sqltypes.TupleType):
                return False
        elif not isinstance(element, _PURE):
            return False
    return True


_PURE = (elements.BinaryExpression, elements.BooleanClauseList,
         elements.ClauseList, elements.Grouping, elements.UnaryExpression,
         elements.ExpressionClauseList, elements.Label, elements.Null,
         elements.True_, elements.False_, elements.Case)


class Expression:
    """SQL of the workspace, with the parameters of a statement."""

    def __init__(self, compiled, select, own=()):
        """Compile it.

        :param compiled: KVSCompiler of the statement.
        :param select: a SELECT of elements of the statement.
        :param own: names of parameters that the statement does not have.
        :raises LookupError: if it has others that the statement has not.
        """
        self._compiled = select.compile(dialect=compiled.dialect)
        #: (name here, name in the statement, whether it is a list).
        self._names = [
            (name, compiled.bind_names[element], bool(element.expanding))
            for element, name in self._compiled.bind_names.items()
            if name not in own]
        self._processors = getattr(self._compiled, private.BIND_PROCESSORS)

    def expanded(self, parameters, own=()):
        """Return the text, and the names and values of its parameters.

        :param own: name -> value of those that the statement does not have.
        """
        state = self._compiled.construct_expanded_state({
            **{name: parameters.raw(other, is_list)
               for name, other, is_list in self._names}, **dict(own)})
        values = []
        for name in state.positiontup:
            value = state.parameters[name]
            process = state.processors.get(name) or (
                self._processors.get(name))
            values.append(value if process is None else process(value))
        return state.statement, state.positiontup, values


class Probe(Expression):
    """Asks the workspace for a row of a SELECT, by its number."""

    def __init__(self, compiled, page, columns):
        """Prepare to ask.

        :param compiled: KVSCompiler of the statement that has the SELECT.
        :param columns: names of those that are of interest.
        :raises LookupError: if it has parameters that the statement has not.
        """
        elements_of = {
            column: _direction(clause)[0]
            for (column, _descends), clause in zip(page.order, page.clauses)}
        super().__init__(compiled, getattr(
            selectable.Select, private.CREATE_RAW_SELECT)(
            _raw_columns=[elements_of[column] for column in columns] or [
                page.sample],
            **{private.WHERE_CRITERIA: page.criteria,
               private.ORDER_BY_CLAUSES: page.clauses}))

    def row(self, workspace, parameters, number):
        """Return the columns of a row that is loaded, or None.

        :param number: of the row, from 0.
        """
        sql, _names, values = self.expanded(parameters)
        rows = workspace.sqlite.execute(
            "%s\n LIMIT 1 OFFSET %d" % (sql, number), values).fetchall()
        return rows[0] if rows else None


class RangeStep:
    """Loads the rows of a source that are in a range of an index."""

    def __init__(self, step, path):
        """Prepare a step.

        :param step: plan.Step that loads the source in another way.
        :param path: nova_kvs.record.planner.Ordered.
        """
        self.step = step
        self.path = path
        self.source = step.source
        self.table = step.table
        self.name = step.name

    def collect(self, workspace, parameters, loads):
        """Add what has to be loaded to a Loads."""
        state = workspace.state(self.name)
        if state.complete:
            return
        prefix = None
        if self.step.partial_path(parameters) is None:
            prefix = self._prefix(parameters)
        bounds = None if prefix is None else self._bounds(parameters)
        if bounds is None or bounds == (None, None):
            self.step.collect(workspace, parameters, loads)
        else:
            # Of many rows few are joined: a limit chooses among them.
            loads.add_access(state, self.path.access(
                self.name, prefix, *bounds,
                table_only=self.path.rank == planner.Rank.BROAD))

    def _prefix(self, parameters):
        """Return the values of the path's first columns.

        :returns: None if the path does not find the rows.
        """
        prefix = []
        for column in self.path.prefix:
            found = parameters.values(
                self.source.values[column], self.table, column)
            if len(found) != 1:
                return None
            prefix += found
        prefix = tuple(prefix)
        return prefix if self.path.holds(prefix) else None

    def _bounds(self, parameters):
        """Return (low, high) of the first column behind the prefix.

        :returns: a tuple of one value for each, or None without a bound;
            None if nothing is known about a bound.
        """
        if not self.path.columns:
            return None, None
        return self._bounds_of(self.path.columns[0], parameters)

    def _bounds_of(self, column, parameters):
        """Return (low, high) of a column, as ``_bounds``."""
        bounds = []
        for is_low in (True, False):
            ends = []
            for values in self.source.ranges.get((column, is_low), ()):
                # A NULL is no bound; none of the values may be missing.
                found = parameters.values(values, self.table, column)
                if values[0].is_pattern:
                    found = [_end_of(pattern, is_low) for pattern in found]
                if len(found) == 0:
                    return None
                ends.append((min if is_low else max)(
                    found, key=by_range.sortable))
            bounds.append((((max if is_low else min)(
                ends, key=by_range.sortable)),) if ends else None)
        return tuple(bounds)

    def explain(self):
        """Return a text, the same for the same statement."""
        return "range in %s" % self.path.explain()


def _end_of(pattern, is_low):
    """Return a bound of the text that a pattern of LIKE lets pass.

    Small letters sort behind capital ones, which LIKE takes for the same.
    """
    lowest, highest = cases_of(start_of(pattern))
    return lowest if is_low else highest + LAST


def start_of(pattern):
    """Return how the text begins that a pattern of LIKE lets pass."""
    return _WILDCARD.split(pattern, 1)[0]


def cases_of(text):
    """Return the first and the last text that LIKE takes for a text."""
    return text.translate(_TO_UPPER), text.translate(_TO_LOWER)


class PageStep(RangeStep):
    """Loads the first rows of a source, in an order that an index has."""

    def __init__(self, step, path, page, probe, is_alone, rival=None):
        """Prepare a step.

        :param page: Page. :param probe: Probe, of the columns of the path.
        :param is_alone: whether the statement has no other table.
        :param rival: an ordered index that has rows roughly by a column with
            an upper bound: all of these may be fewer than come first.
        """
        super().__init__(step, path)
        #: What loads the source where the parameters allow for no page.
        self._otherwise = step
        self._page = page
        self._probe = probe
        self._is_alone = is_alone
        self._rival = rival

    def collect(self, workspace, parameters, loads):
        """Load pages until the limit is full."""
        state = workspace.state(self.name)
        if state.complete:
            return
        wanted = prefixes = bounds = None
        if self.step.partial_path(parameters) is None:
            wanted = self._wanted(parameters)
            prefixes = self._prefixes(parameters)
        if wanted is not None and prefixes is not None:
            bounds = self._bounds(parameters)
        if bounds is None:
            self._otherwise.collect(workspace, parameters, loads)
        elif wanted:
            for prefix in prefixes:
                self._load(
                    workspace, parameters, state, wanted, prefix, *bounds)

    def _prefixes(self, parameters):
        """Return what the path's first columns may be, or None."""
        prefix = self._prefix(parameters)
        return None if prefix is None else [prefix]

    def _wanted(self, parameters):
        """Return how many rows are needed, or None if it is not known."""
        if len(parameters) != 1:
            return None
        if self._page.limit is None:
            return 1
        limit = parameters.raw(self._page.limit.name)
        offset = 0
        if self._page.offset is not None:
            offset = parameters.raw(self._page.offset.name)
        if type(limit) is not int or type(offset) is not int or limit < 0:
            return None
        return limit and limit + max(offset, 0)

    def _load(self, workspace, parameters, state, wanted, prefix, low, high):
        path = self.path
        size = wanted + SLACK
        if self._page.skips_null and low is None and not path.reverse:
            column = path.columns[0]
            if type(path) is not planner.ById:
                low = ("" if self.table.affinities.get(column) == "TEXT"
                       else -math.inf,)
        rival = self._rival and self._below(parameters)
        while True:
            rows, = workspace.load([path.access(
                self.name, prefix, low, high, size,
                table_only=self._is_alone or size > wanted + SLACK)],
                [state])
            if len(rows) < size:
                return
            values = rows[-1].values
            last = tuple([values.get(column) for column in path.columns])
            full = self._probe.row(workspace, parameters, wanted - 1)
            if full is not None and (not self._page.order or _is_before(
                    full, last, path.reverse)):
                return
            if rival is not None:
                # Whichever ends first: neither reads twice as much.
                workspace.load([access.ByEntries(
                    self.name, rival, size, True)], [state])
                if rival.is_done:
                    return
            # From the last row on: others may have the same values.
            if last and path.reverse:
                high = last
            elif last:
                low = last
            size = max(size, min(size * 4, LARGEST_PAGE)) + (
                len(rows) if size >= LARGEST_PAGE else 0)

    def _below(self, parameters):
        """Return a Cursor of the rows below the rival's bound, or None."""
        column = self._rival.columns[0]
        bounds = self._bounds_of(column, parameters)
        if bounds is None or bounds[1] is None:
            return None
        return by_entries.Cursor(self.table, self._rival, (),
                                 [(column, True)], start=bounds[1])

    def explain(self):
        """Return a text, the same for the same statement."""
        text = "first of %s" % self.path.explain()
        if self._rival is not None:
            text += ", or all below a bound of %s" % self._rival.columns[0]
        return text


def _is_before(values, others, reverse):
    """Tell whether a row comes before another one in an order."""
    first, second = (tuple(map(by_range.sortable, row))
                     for row in (values, others))
    return second < first if reverse else first < second


class FewPagesStep(PageStep):
    """Loads the first rows of each value of an IN, if it has few.

    :param otherwise: the step that loads the source if it has many.
    """

    def __init__(self, otherwise, *others):
        super().__init__(*others)
        self._otherwise = otherwise

    def _prefixes(self, parameters):
        found = [list(dict.fromkeys(parameters.values(
            self.source.values[column], self.table, column)))
            for column in self.path.prefix]
        if not 0 < math.prod(map(len, found)) <= MOST_PAGES:
            return None
        prefixes = list(itertools.product(*found))
        return prefixes if all(map(self.path.holds, prefixes)) else None

    def explain(self):
        """Return a text, the same for the same statement."""
        return "%s; of many values: %s" % (
            super().explain(), self._otherwise.explain())
