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

from sqlalchemy.sql import elements
from sqlalchemy.sql import selectable

from nova_kvs.compatibility import private
from nova_kvs.dialect import columns
from nova_kvs.dialect import criteria
from nova_kvs.dialect import paging
from nova_kvs.dialect import sources


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
        self._names = names
        self._columns = columns.Columns(compiled, affinities)
        self._criteria = criteria.Criteria(self._columns)
        self.sources = []
        self.unrestricted = set()
        self._anonymous = {}
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
            there = set()
            for criterion in scope.criteria:
                there |= self._restrict(scope, criterion, own)
            for source in own:
                for column, other, name in source.outer_links:
                    if other in there:
                        source.links.setdefault(column, []).append(
                            ((other, name),))
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
        source = sources.Source(
            table, label or table, nullable, len(self.sources))
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
            lambda element: self._columns.stored(
                scope, element, {source}),
            self._columns.value)
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
            among = self._sources_in(scope, element.right)
            if element.isouter:
                self._note_outer_links(scope, element, among)
            else:
                among |= self._sources_in(scope, element.left)
            self._restrict(scope, element.onclause, among)

    def _note_outer_links(self, scope, element, right):
        """Note what a row of the right side says of the left one."""
        left = self._sources_in(scope, element.left)
        for clause in criteria.conjuncts(element.onclause):
            for source, column, origin in self._criteria.links(
                    scope, clause, left):
                other, name = origin[0]
                if len(origin) == 1 and other in right:
                    source.outer_links.append((column, other, name))

    def _restrict(self, scope, criterion, among):
        """Restrict some sources by a criterion that must be true.

        :returns: those of them that must have a row.
        """
        there = set()
        for clause in criteria.conjuncts(criterion):
            for source, column, values in self._criteria.equalities(
                    scope, clause, among):
                there.add(source)
                kept = source.values.get(column)
                if kept is None or _breadth(values) < _breadth(kept):
                    source.values[column] = values
            for (source, column, is_low), values in self._criteria.bounds(
                    scope, clause, among).items():
                source.ranges.setdefault((column, is_low), []).append(values)
            for source, column, values in self._criteria.patterns(
                    scope, clause, among):
                source.patterns[column] = values
            for source, column, value in self._criteria.differences(
                    scope, clause, among):
                source.unequal[column] = value
            for source, column, origin in self._criteria.links(
                    scope, clause, among):
                source.links.setdefault(column, []).append(origin)
            if isinstance(clause, elements.BooleanClauseList):
                self._alternatives(scope, clause, among)
        return there

    def _alternatives(self, scope, clause, among):
        """Note what each alternative of an OR says of the sources."""
        alternatives = []
        for said in self._criteria.said_by_each(scope, clause, among):
            found = {}
            for (source, column), values in said.items():
                found.setdefault(source, {})[column] = values
            alternatives.append(found)
        for source in alternatives[0]:
            if all(source in found for found in alternatives):
                source.alternatives.append(
                    tuple(found[source] for found in alternatives))
        if all(alternatives):
            for source in among:
                source.shared_alternatives.append(tuple(alternatives))

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
                                 for other, name in sources.bases(origin)]
                        if None not in known:
                            source.values[column] = tuple(
                                value for values in known
                                for value in values)
                            changed = True
                            break


def _breadth(values):
    """Return a number that is greater for what restricts less."""
    return len(values) + 1000 * sum(value.is_list for value in values)
