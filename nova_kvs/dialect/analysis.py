# SPDX-License-Identifier: Apache-2.0
"""From the structure of a statement to what restricts each of its tables.

Invariant: a row that a *source* (one occurrence of a table) may not load
cannot change the statement's result. So a criterion restricts a source only
if

* it must be true for the row to matter: it is one of the criteria joined by
  AND in WHERE or in an ON clause; the ON clause of an outer join says
  nothing about its left side, and that of a full join nothing at all;
* it is an equality, IN or comparison on a plain column, which a NULL does
  not pass (an unloaded row of an outer join's right side reads as NULLs);
* the other side is a value or, of an equality, a column of another source.

A limit restricts a source if nothing but the source's rows decides which of
them are the first, see :mod:`nova_kvs.dialect.paging`.

Everything else is ignored, which loads more and never less.
"""

import typing

from sqlalchemy.sql import elements
from sqlalchemy.sql import operators
from sqlalchemy.sql import selectable

from nova_kvs.compatibility import private
from nova_kvs.dialect import paging
from nova_kvs.dialect import subqueries


class Value(typing.NamedTuple):
    """A value, or list of values, that is known when a statement runs."""

    #: The parameter's name, or None for a constant.
    name: str | None
    #: True for a parameter that is a list of values (IN).
    is_list: bool = False
    #: Position in the tuples of an IN on several columns, or None.
    position: int | None = None
    #: Number of values of each such tuple.
    width: int = 1
    constant: object = None
    #: It is a pattern of LIKE.
    is_pattern: bool = False

    def __str__(self):
        if self.name is None:
            return repr(self.constant)
        text = ":" + self.name
        if self.position is not None:
            text += "[%d]" % self.position
        return "(%s)" % text if self.is_list else text


class Source:
    """One occurrence of a table in a statement."""

    __slots__ = ("table", "label", "nullable", "values", "links", "ranges",
                 "alternatives", "order", "unequal")

    def __init__(self, table, label, nullable, order):
        self.table = table
        self.label = label
        #: Its columns may read as NULL because of an outer join.
        self.nullable = nullable
        #: column -> tuple of Value: the column is one of them.
        self.values = {}
        #: column -> list of origins; an origin is a tuple of (Source,
        #: column) and the column's value is one that they have.
        self.links = {}
        #: (column, whether it is a lower bound) -> list of tuples of Value:
        #: the column is not beyond the farthest of each tuple.
        self.ranges = {}
        #: column -> Value that it does not have: a constant None is NULL.
        self.unequal = {}
        #: Of each OR that restricts it: a dict as ``values`` for each of the
        #: alternatives, of which one is true.
        self.alternatives = []
        self.order = order

    def one_of(self, values):
        """Return this source as one of its alternatives restricts it."""
        found = Source(self.table, self.label, self.nullable, self.order)
        found.values = {**self.values, **values}
        return found

    def __str__(self):
        if self.label == self.table:
            return self.table
        return "%s AS %s" % (self.table, self.label)


class Analysis:
    """The sources of a compiled statement.

    :ivar sources: list of Source.
    :ivar unrestricted: names of tables that occur in a way that is not
        understood, so that all their rows may matter.
    :ivar locked: Sources whose rows a FOR UPDATE locks.
    :ivar pages: Source -> nova_kvs.dialect.paging.Page: only its first rows
        matter.
    """

    def __init__(self, compiled, names, affinities):
        """Analyse a statement.

        :param compiled: a KVSCompiler.
        :param names: lower-case name -> name of the stored tables.
        :param affinities: function of (table, column) that returns the
            column's affinity, or None for what is not a column or cannot
            be restricted.
        """
        self._compiled = compiled
        self._names = names
        self._affinities = affinities
        self._scopes = compiled.kvs_selects
        self.sources = []
        self.unrestricted = set()
        self._anonymous = {}
        #: Subquery of a FROM list -> subqueries.Subquery, or None.
        self._limited = {}
        self.locked = []
        self.pages = {}
        # Outer scopes are the last: their sources must be known first, so
        # that correlated criteria of the inner ones find them.
        for scope in compiled.kvs_scopes:
            for element in scope.froms:
                self._add_from(scope, element, False)
        for scope in compiled.kvs_scopes:
            for element in scope.froms:
                self._restrict_by_joins(scope, element)
            own = set(scope.sources.values())
            for criterion in scope.criteria:
                self._restrict(scope, criterion, own)
            if scope.select is not None:
                self._note_locks(scope)
                self._note_page(scope)
        # Where nothing decides which rows are the first, others that are
        # loaded of the table would take their place.
        tables = [source.table for source in self.sources]
        for source, page in list(self.pages.items()):
            if not page.order and tables.count(source.table) > 1:
                del self.pages[source]
        rendered = {}
        for name in map(self._stored_name, compiled.kvs_tables):
            rendered[name] = rendered.get(name, 0) + 1
        for source in self.sources:
            rendered[source.table] = rendered.get(source.table, 0) - 1
        self.unrestricted.update(
            name for name, count in rendered.items() if count > 0)
        self._propagate()

    # Sources ----------------------------------------------------------------

    def _add_from(self, scope, element, nullable):
        if isinstance(element, selectable.FromGrouping):
            self._add_from(scope, element.element, nullable)
        elif isinstance(element, selectable.Join):
            self._add_from(scope, element.left, nullable or element.full)
            self._add_from(scope, element.right,
                           nullable or element.full or element.isouter)
        elif isinstance(element, selectable.TableClause):
            self._add_source(scope, element, element.name, None, nullable)
        elif isinstance(element, (selectable.Alias, selectable.TableSample)):
            inner = element.element
            if isinstance(inner, selectable.TableClause):
                self._add_source(scope, element, inner.name,
                                 self._label(element), nullable)
            else:
                scope.derived.add(element)
        elif isinstance(element, selectable.AliasedReturnsRows):
            scope.derived.add(element)

    def _label(self, element):
        """Return an alias' name, the same for the same statement."""
        name = element.name
        if not isinstance(name, getattr(
                elements, private.ANONYMOUS_LABEL)):
            return str(name)
        base = element.element.name
        number = self._anonymous[base] = self._anonymous.get(base, 0) + 1
        return "%s_%d" % (base, number)

    def _stored_name(self, name):
        return self._names.get(name.lower(), name)

    def _add_source(self, scope, element, table, label, nullable):
        table = self._stored_name(table)
        source = Source(table, label or table, nullable, len(self.sources))
        self.sources.append(source)
        scope.sources[element] = source

    def _sources_in(self, scope, element):
        """Return the sources of a FROM element, without subqueries'."""
        if isinstance(element, selectable.FromGrouping):
            return self._sources_in(scope, element.element)
        if isinstance(element, selectable.Join):
            return (self._sources_in(scope, element.left)
                    | self._sources_in(scope, element.right))
        source = scope.sources.get(element)
        return {source} if source is not None else set()

    def _note_locks(self, scope):
        lock = getattr(scope.select, private.FOR_UPDATE_ARG)
        if lock is None:
            return
        if lock.of:
            tables = {getattr(column, "table", column) for column in lock.of}
            self.locked.extend(
                source for element, source in scope.sources.items()
                if element in tables)
        else:
            self.locked.extend(scope.sources.values())

    def _note_page(self, scope):
        if len(scope.froms) != 1:
            return
        source = scope.sources.get(paging.first_of(scope.froms[0]))
        if source is None:
            return
        page = paging.page_of(
            scope.select,
            lambda element: self._column(scope, element, {source}),
            self._value)
        if page is not None:
            self.pages[source] = page

    # Criteria ---------------------------------------------------------------

    def _restrict_by_joins(self, scope, element):
        if isinstance(element, selectable.FromGrouping):
            self._restrict_by_joins(scope, element.element)
        elif isinstance(element, selectable.Join):
            self._restrict_by_joins(scope, element.left)
            self._restrict_by_joins(scope, element.right)
            if element.full:
                return
            sources = self._sources_in(scope, element.right)
            if not element.isouter:
                sources |= self._sources_in(scope, element.left)
            self._restrict(scope, element.onclause, sources)

    def _restrict(self, scope, criterion, sources):
        """Restrict some sources by a criterion that must be true."""
        for clause in _conjuncts(criterion):
            for source, column, values in self._equalities(
                    scope, clause, sources):
                kept = source.values.get(column)
                if kept is None or _breadth(values) < _breadth(kept):
                    source.values[column] = values
            for (source, column, is_low), values in self._bounds(
                    scope, clause, sources).items():
                source.ranges.setdefault((column, is_low), []).append(values)
            for source, column, value in self._differences(
                    scope, clause, sources):
                source.unequal[column] = value
            for source, column, origin in self._links(scope, clause, sources):
                source.links.setdefault(column, []).append(origin)
            if isinstance(clause, elements.BooleanClauseList):
                self._alternatives(scope, clause, sources)

    def _alternatives(self, scope, clause, sources):
        """Note what each alternative of an OR says of the sources."""
        alternatives = []
        for said in self._said_by_each(scope, clause, sources):
            found = {}
            for (source, column), values in said.items():
                found.setdefault(source, {})[column] = values
            alternatives.append(found)
        for source in alternatives[0]:
            if all(source in found for found in alternatives):
                source.alternatives.append(
                    tuple(found[source] for found in alternatives))

    def _bounds(self, scope, clause, sources):
        """Return the bounds that a clause sets to columns.

        :returns: (source, column, whether it is a lower bound) -> Values:
            none of the column's values is beyond all of them.
        """
        if isinstance(clause, elements.BooleanClauseList):
            # OR: each alternative must bound the column.
            alternatives = []
            for alternative in clause.clauses:
                found = {}
                for part in _conjuncts(alternative):
                    for place, values in self._bounds(
                            scope, part, sources).items():
                        if not values[0].is_pattern:
                            found.setdefault(place, values)
                alternatives.append(found)
            return {place: tuple([value for found in alternatives
                                  for value in found[place]])
                    for place in alternatives[0]
                    if all(place in found for found in alternatives)}
        if not isinstance(clause, elements.BinaryExpression):
            return {}
        left, right = _plain(clause.left), _plain(clause.right)
        if clause.operator is operators.between_op and isinstance(
                right, elements.ExpressionClauseList):
            sides = [(left, _plain(bound), (is_low,)) for bound, is_low
                     in zip(right.clauses, (True, False))]
        elif clause.operator in _SIDES:
            sides = [(left, right, _SIDES[clause.operator]),
                     (right, left, tuple([
                         not is_low for is_low in reversed(
                             _SIDES[clause.operator])]))]
        elif clause.operator is operators.like_op and (
                clause.modifiers.get("escape") is None):
            source, column = self._column(scope, left, sources)
            value = self._value(right)
            if source is None or value is None or self._affinities(
                    source.table, column) != "TEXT":
                return {}
            value = value._replace(is_pattern=True)
            return {(source, column, is_low): (value,)
                    for is_low in (True, False)}
        else:
            return {}
        found = {}
        for one, other, bounds in sides:
            one, bounds = _unless_null(one, bounds)
            source, column = self._column(scope, one, sources)
            value = self._value(other)
            if source is not None and value is not None:
                found.update(((source, column, is_low), (value,))
                             for is_low in bounds)
        return found

    def _said_by_each(self, scope, clause, sources):
        """Return for each alternative of an OR (source, column) -> values."""
        alternatives = []
        for alternative in clause.clauses:
            found = {}
            for part in _conjuncts(alternative):
                for source, column, values in self._equalities(
                        scope, part, sources):
                    found.setdefault((source, column), values)
            alternatives.append(found)
        return alternatives

    def _equalities(self, scope, clause, sources):
        """Yield (source, column, values) that a clause says."""
        if isinstance(clause, elements.BooleanClauseList):
            # OR: a column that every alternative restricts has one of all
            # their values.
            alternatives = self._said_by_each(scope, clause, sources)
            common = set(alternatives[0]).intersection(*alternatives[1:])
            for source, column in sorted(
                    common, key=lambda item: (item[0].order, item[1])):
                yield source, column, tuple(
                    value for found in alternatives
                    for value in found[source, column])
            return
        if not isinstance(clause, elements.BinaryExpression):
            return
        left, right = _plain(clause.left), _plain(clause.right)
        if clause.operator is operators.eq:
            for one, other in ((left, right), (right, left)):
                source, column = self._column(scope, one, sources)
                value = self._value(other)
                if source is not None and value is not None:
                    yield source, column, (value,)
        elif clause.operator is operators.in_op:
            value = self._value(right, True)
            if value is None:
                return
            if isinstance(left, elements.Tuple):
                for position, element in enumerate(left.clauses):
                    source, column = self._column(
                        scope, _plain(element), sources)
                    if source is not None:
                        yield source, column, (
                            value._replace(
                                position=position,
                                width=len(left.clauses)),)
            else:
                source, column = self._column(scope, left, sources)
                if source is not None:
                    yield source, column, (value,)

    def _differences(self, scope, clause, sources):
        """Yield (source, column, value) of what a clause says is unequal."""
        if not isinstance(clause, elements.BinaryExpression):
            return
        left, right = _plain(clause.left), _plain(clause.right)
        if clause.operator is operators.is_not and isinstance(
                right, elements.Null):
            source, column = self._column(scope, left, sources)
            if source is not None:
                yield source, column, Value(None)
        elif clause.operator is operators.ne:
            for one, other in ((left, right), (right, left)):
                source, column = self._column(scope, one, sources)
                value = self._value(other)
                if source is not None and value is not None:
                    yield source, column, value

    def _links(self, scope, clause, sources):
        """Yield (source, column, origin) that a clause says."""
        if not isinstance(clause, elements.BinaryExpression):
            return
        left, right = _plain(clause.left), _plain(clause.right)
        if clause.operator is operators.eq:
            pairs = ((left, self._resolve(scope, right, True)),
                     (right, self._resolve(scope, left, True)))
        elif clause.operator is operators.in_op:
            pairs = ((left, self._resolve_query(right)),)
        else:
            return
        for element, origin in pairs:
            source, column = self._column(scope, element, sources)
            if source is None or not origin:
                continue
            if all(other is not source and self._comparable(
                    source, column, other, name)
                    for other, name in bases(origin)):
                yield source, column, origin

    def _comparable(self, source, column, other, name):
        """Tell whether equal values of two columns are stored equal."""
        mine = self._affinities(source.table, column)
        theirs = self._affinities(other.table, name)
        if mine is None or theirs is None:
            return False
        return mine == theirs or (_is_numeric(mine) and _is_numeric(theirs))

    # Columns and values -----------------------------------------------------

    def _column(self, scope, element, sources):
        """Return (source, column name) that an element is, among some."""
        if isinstance(element, elements.ColumnClause):
            source = scope.sources.get(element.table)
            if (source in sources and self._affinities(
                    source.table, element.name) is not None):
                return source, element.name
        return None, None

    def _resolve(self, scope, element, as_limited=False):
        """Return the origin of a column: where its values come from.

        :param as_limited: of a column of a limited subquery, whether that
            is the origin.
        """
        if not isinstance(element, elements.ColumnClause):
            return ()
        while scope is not None:
            source = scope.sources.get(element.table)
            if source is not None:
                if self._affinities(source.table, element.name) is None:
                    return ()
                return ((source, element.name),)
            if element.table in scope.derived:
                origin = self._resolve_derived(element)
                if as_limited and origin:
                    return self._limited_origin(element, origin)
                return origin
            scope = scope.parent
        return ()

    def _resolve_derived(self, column):
        """Return the origin of a subquery's column."""
        arms = _arms(_query_of(column.table))
        proxies = getattr(column, private.PROXIES)
        if not arms or len(proxies) != len(arms):
            return ()
        origin = ()
        for arm, proxied in zip(arms, proxies):
            found = self._resolve_output(arm, proxied)
            if not found:
                return ()
            origin += found
        return origin

    def _limited_origin(self, column, origin):
        """Return a column's limited subquery as its origin, or its origin."""
        element = column.table
        text = self._compiled.kvs_columns.get(column)
        if element not in self._limited:
            self._limited[element] = self._make_limited(element)
        found = self._limited[element]
        if found is None or text is None:
            return origin
        found.origins[text] = origin
        return ((found, text),)

    def _make_limited(self, element):
        """Return the subqueries.Subquery that a FROM element is, or None."""
        compiled = self._compiled
        text = compiled.kvs_texts.get(element)
        if text is None or compiled.ctes or not subqueries.is_limited(
                element.element):
            return None
        inside = {scope for arm in _arms(element.element)
                  for scope in self._scopes.get(arm, ())}
        sources = set()
        for scope in compiled.kvs_scopes:
            outer = scope
            while outer is not None and outer not in inside:
                outer = outer.parent
            if outer is not None:
                sources.update(scope.sources.values())
        return subqueries.Subquery(text, frozenset(sources), {
            text: name for name, text
            in compiled.escaped_bind_names.items()}) if sources else None

    def _resolve_query(self, element):
        """Return the origin of the only column of an IN's subquery."""
        origin = ()
        for arm in _arms(element):
            found = self._resolve_output(arm)
            if not found:
                return ()
            origin += found
        return origin

    def _resolve_output(self, select, column=None):
        """Return the origin of a SELECT's column, by default its only one.

        One that is rendered in several places may be correlated to another
        source in each: any of them can be meant.
        """
        origin = ()
        for scope in self._scopes.get(select, ()):
            if scope.select is None:
                return ()
            wanted = column
            if wanted is None:
                columns = getattr(
                    scope.select, private.ALL_SELECTED_COLUMNS)
                if len(columns) != 1:
                    return ()
                wanted = columns[0]
            found = self._resolve(scope, _plain(wanted))
            if not found:
                return ()
            origin += found
        return origin

    def _value(self, element, is_list=False):
        """Return the Value that an element is, or None."""
        if isinstance(element, elements.BindParameter):
            name = self._compiled.bind_names.get(element)
            if (name is None or element.literal_execute
                    or self._compiled.kvs_converts(element.type)
                    or bool(element.expanding) is not is_list):
                return None
            return Value(name, is_list)
        if not is_list:
            if isinstance(element, elements.True_):
                return Value(None, constant=1)
            if isinstance(element, elements.False_):
                return Value(None, constant=0)
        return None

    def _propagate(self):
        """Give values on along links: what equals a known value is known."""
        changed = True
        while changed:
            changed = False
            for source in self.sources:
                for column, origins in source.links.items():
                    if column in source.values:
                        continue
                    for origin in origins:
                        known = [other.values.get(name)
                                 for other, name in bases(origin)]
                        if None not in known:
                            source.values[column] = tuple(
                                value for values in known
                                for value in values)
                            changed = True
                            break


def bases(origin):
    """Return an origin without subqueries: what these choose from."""
    found = ()
    for other, name in origin:
        found += (other.origins[name] if isinstance(
            other, subqueries.Subquery) else ((other, name),))
    return found


#: Operator -> sides on which the left operand is bounded: True is below.
_SIDES = {operators.eq: (True, False),
          operators.gt: (True,), operators.ge: (True,),
          operators.lt: (False,), operators.le: (False,)}


def _unless_null(element, bounds):
    """Return the column that a CASE is unless that is NULL.

    oslo.db's markers compare ``CASE WHEN a IS NOT NULL THEN a ELSE x END``.

    :param bounds: sides on which the element is bounded.
    :returns: column and the sides on which that is bounded, rows included
        in which it is NULL: NULL is before every bound from above.
    """
    if not isinstance(element, elements.Case) or (
            element.value is not None or len(element.whens) != 1):
        return element, bounds
    condition, result = element.whens[0]
    column = _plain(result)
    condition = _plain(condition)
    if not isinstance(condition, elements.BinaryExpression) or (
            condition.operator is not operators.is_not
            or not _plain(condition.left).compare(column)
            or not isinstance(condition.right, elements.Null)):
        return element, bounds
    return column, bounds if element.else_ is None else tuple(
        [is_low for is_low in bounds if not is_low])


def _is_numeric(affinity):
    return affinity in ("INTEGER", "REAL", "NUMERIC")


def _breadth(values):
    """Return a number that is greater for what restricts less."""
    return len(values) + 1000 * sum(value.is_list for value in values)


def _plain(element):
    """Return an element without what does not change its value."""
    while isinstance(element, (elements.Grouping, elements.Label,
                               selectable.SelectStatementGrouping)):
        element = element.element
    return element


def _conjuncts(clause):
    """Yield the criteria that a clause joins by AND."""
    clause = _plain(clause)
    if (isinstance(clause, elements.BooleanClauseList)
            and clause.operator is operators.and_):
        for part in clause.clauses:
            yield from _conjuncts(part)
    elif (isinstance(clause, elements.BooleanClauseList)
            and clause.operator is not operators.or_):
        return
    else:
        yield clause


def _query_of(element):
    """Return the query that a FROM element names, if it is a plain one."""
    while isinstance(element, selectable.AliasedReturnsRows):
        if isinstance(element, selectable.CTE) and element.recursive:
            # Its values also come from its own rows.
            return None
        element = element.element
    return element


def _arms(query):
    """Return the SELECTs whose rows a query has, or nothing."""
    if isinstance(query, selectable.ScalarSelect):
        query = query.element
    query = _plain(query)
    if isinstance(query, selectable.Select):
        return (query,)
    if isinstance(query, selectable.CompoundSelect):
        arms = ()
        for part in query.selects:
            found = _arms(part)
            if not found:
                return ()
            arms += found
        return arms
    return ()
