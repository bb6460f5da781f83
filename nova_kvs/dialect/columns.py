# SPDX-License-Identifier: Apache-2.0
"""From the elements of a statement to stored columns and known values.

An *origin* is a tuple of (Source, column): the element's values are some of
those that the columns have. It is empty where that is not known.
"""

from sqlalchemy.sql import elements
from sqlalchemy.sql import functions
from sqlalchemy.sql import selectable

from nova_kvs.compatibility import private
from nova_kvs.dialect import sources
from nova_kvs.dialect import subqueries


class Columns:
    """The columns and values of a compiled statement."""

    def __init__(self, compiled, affinities):
        """Take a statement whose scopes know their sources.

        :param compiled: a KVSCompiler.
        :param affinities: function of (table, column) that returns the
            column's affinity, or None for what is not a column or cannot
            be restricted.
        """
        self._compiled = compiled
        self._affinities = affinities
        self._scopes = compiled.kvs_selects
        #: Subquery of a FROM list -> subqueries.Subquery, or None.
        self._limited = {}

    def stored(self, scope, element, among):
        """Return (source, column name) that an element is, among some."""
        if isinstance(element, elements.ColumnClause):
            source = scope.sources.get(element.table)
            if source in among and self._affinities(
                    source.table, element.name) is not None:
                return source, element.name
        return None, None

    def value(self, element, is_list=False):
        """Return the Value that an element is, or None."""
        if isinstance(element, elements.BindParameter):
            name = self._compiled.bind_names.get(element)
            if (name is None or element.literal_execute
                    or self._compiled.kvs_converts(element.type)
                    or bool(element.expanding) is not is_list):
                return None
            return sources.Value(name, is_list)
        if not is_list:
            if isinstance(element, elements.True_):
                return sources.Value(None, constant=1)
            if isinstance(element, elements.False_):
                return sources.Value(None, constant=0)
        return None

    def affinity(self, source, column):
        """Return a column's affinity, or None if it cannot be restricted."""
        return self._affinities(source.table, column)

    def are_comparable(self, source, column, other, name):
        """Tell whether equal values of two columns are stored equal."""
        mine = self.affinity(source, column)
        theirs = self.affinity(other, name)
        if mine is None or theirs is None:
            return False
        return mine == theirs or (_is_numeric(mine) and _is_numeric(theirs))

    def origin(self, scope, element, as_limited=False):
        """Return the origin of a column: where its values come from.

        :param element: a column, or the highest or lowest value of one.
        :param as_limited: of a column of a limited subquery, whether that
            is the origin.
        """
        element = _of_extreme(element)
        if not isinstance(element, elements.ColumnClause):
            return ()
        while scope is not None:
            source = scope.sources.get(element.table)
            if source is not None:
                if self._affinities(source.table, element.name) is None:
                    return ()
                return ((source, element.name),)
            if element.table in scope.derived:
                origin = self._origin_of_derived(element)
                if as_limited and origin:
                    return self._limited_origin(element, origin)
                return origin
            scope = scope.parent
        return ()

    def origin_of_query(self, element):
        """Return the origin of the only column of an IN's subquery."""
        origin = ()
        for arm in _arms(element):
            found = self._origin_of_output(arm)
            if not found:
                return ()
            origin += found
        return origin

    def only_scope(self, query):
        """Return the scope of a query that is one SELECT, in one place.

        :returns: None of any other.
        """
        arms = _arms(query)
        scopes = self._scopes.get(arms[0], ()) if len(arms) == 1 else ()
        if len(scopes) != 1:
            return None
        scope, = scopes
        return scope if scope.select is not None else None

    def _origin_of_derived(self, column):
        """Return the origin of a subquery's column."""
        arms = _arms(_query_of(column.table))
        proxies = getattr(column, private.PROXIES)
        if len(arms) == 1:
            # A label stands behind what it labels.
            proxies = proxies[-1:]
        if not arms or len(proxies) != len(arms):
            return ()
        origin = ()
        for arm, proxied in zip(arms, proxies):
            found = self._origin_of_output(arm, proxied)
            if not found:
                return ()
            origin += found
        return origin

    def _origin_of_output(self, select, column=None):
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
            found = self.origin(scope, plain(wanted))
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
        chosen = set()
        for scope in compiled.kvs_scopes:
            outer = scope
            while outer is not None and outer not in inside:
                outer = outer.parent
            if outer is not None:
                chosen.update(scope.sources.values())
        return subqueries.Subquery(text, frozenset(chosen), {
            text: name for name, text
            in compiled.escaped_bind_names.items()}) if chosen else None


def _of_extreme(element):
    """Return the column whose MAX or MIN an element is, or the element."""
    if isinstance(element, functions.FunctionElement) and (
            element.name.lower() in ("max", "min")):
        arguments = list(element.clauses)
        if len(arguments) == 1:
            return plain(arguments[0])
    return element


def _is_numeric(affinity):
    return affinity in ("INTEGER", "REAL", "NUMERIC")


def plain(element):
    """Return an element without what does not change its value."""
    while isinstance(element, (elements.Grouping, elements.Label,
                               selectable.SelectStatementGrouping)):
        element = element.element
    return element


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
    query = plain(query)
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
