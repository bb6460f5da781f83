# SPDX-License-Identifier: Apache-2.0
"""Chooses the step that reads least of a table's rows.

The planner ranks a path by the columns that equal known values. A statement
may ask for more: an order and a limit, bounds, a pattern. These are looked at
here, in this order:

* ``in_order``: a page in the order of an index;
* ``in_range``: a range of an index;
* ``in_few_orders``: such pages of each value of an IN, if it has few;
* ``by_entries``: rows whose entries in an index pass, where none of these is
  better than an index that most rows are in;
* ``by_beginning``: ranges of what a pattern can match, in place of a union.
"""

from sqlalchemy.sql import elements
from sqlalchemy.sql import visitors

from nova_kvs.dialect import entry_paging
from nova_kvs.dialect import paging
from nova_kvs.dialect import patterns
from nova_kvs.record import planner


def choose(step, rank, page, compiled, is_alone):
    """Return the step that reads least: at worst the one that is given.

    :param step: plan.Step of a table that there is.
    :param rank: of its path.
    :param page: paging.Page, or None: all rows that pass are wanted.
    :param compiled: a KVSCompiler.
    :param is_alone: whether the statement has no other table.
    """
    if step.path.linked:
        return step
    found = None
    if rank > planner.Rank.LINKED_UNIQUE:
        found = in_order(step, rank, page, compiled, is_alone) or (
            in_range(step, rank))
        found = in_few_orders(
            step, found or step, rank, page, compiled, is_alone) or found
    if rank >= planner.Rank.BROAD and (found is None or (
            type(found) is paging.PageStep
            and found.path.rank >= planner.Rank.BROAD)):
        found = by_entries(step, found, page, compiled, is_alone) or found
    return found or step


def in_order(step, rank, page, compiled, is_alone):
    """Return a PageStep in the order of an index, or None.

    Parameters are those of ``choose``.
    """
    if page is None:
        return None
    table, bounds = step.table, step.source.ranges
    single = _single(step.source)
    ranged = _ranged(step)
    if not page.order:
        # Of equals the first.
        path = min([path for path in (
            ranged, planner.in_any_order(table, single))
            if path is not None], key=lambda path: path.rank)
    else:
        path = planner.in_order(table, single, page.order)
        if path is not None and _passes_over_more(ranged, path, bounds):
            path = None
    if path is None or path.rank > rank:
        return None
    try:
        return paging.PageStep(step, path, page, paging.Probe(
            compiled, page, path.columns if page.order else ()),
            is_alone, _rival_of(table, path, bounds))
    except LookupError:
        return None


def in_few_orders(step, otherwise, rank, page, compiled, is_alone):
    """Return a FewPagesStep, or None.

    Of what most rows have, entries of an index may tell more.

    :param otherwise: the step for an IN of many values. Other parameters are
        those of ``choose``.
    """
    if page is None or not page.order:
        return None
    source = step.source
    lists = {column for column, values in source.values.items()
             if len(values) == 1 and values[0].is_list}
    path = lists and planner.in_order(
        step.table, lists | _single(source), page.order)
    if not path or path.rank > rank or path.rank >= planner.Rank.BROAD or (
            lists.isdisjoint(path.prefix)):
        return None
    try:
        return paging.FewPagesStep(otherwise, step, path, page, paging.Probe(
            compiled, page, path.columns), is_alone)
    except LookupError:
        return None


def in_range(step, rank):
    """Return a RangeStep, or None.

    :param step: plan.Step. :param rank: of its path.
    """
    path = _ranged(step)
    # The longer one of two prefixes of one index, or the only one. A range
    # is narrower than what most rows have in common, not than a key.
    if path is not None and (path.rank < rank or path.rank == rank and (
            rank == planner.Rank.BROAD and step.path.kind == planner.INDEX
            or set(path.prefix).issuperset(step.path.columns))):
        return paging.RangeStep(step, path)
    return None


def by_entries(step, paged, page, compiled, is_alone):
    """Return an EntriesStep, or None.

    :param paged: PageStep, if there is one; it is better where entries tell
        nothing beyond its order. Other parameters are those of ``choose``.
    """
    source, table = step.source, step.table
    tests = _tests(source, table, page, compiled)
    # Without an order the first ids are read, as in planner.in_any_order.
    order = () if page is None else page.order or (
        (table.auto_id, False),) * (table.auto_id in table.columns)
    path = planner.by_entries(
        table, {*source.values, *source.unequal, *tests,
                *[column for column, _is_low in source.ranges]}, order)
    if path is None or paged is not None and not path.columns.difference(
            path.index.columns[:1], paged.path.prefix, paged.path.columns):
        return None
    if page is not None and page.order and not path.order:
        # Entries do not tell which rows come first.
        if paged is not None:
            return None
        page = None
    try:
        return entry_paging.EntriesStep(
            step, path, page, None if page is None else paging.Probe(
                compiled, page, [column for column, _ in path.order]
                if page.order else ()), is_alone, tests)
    except LookupError:
        return None


def by_beginning(step, rank):
    """Return a PatternStep that reads less than a step, or None.

    :param step: plan.Step. :param rank: of its path.
    """
    source, table = step.source, step.table
    if table is None or not source.patterns or step.path.linked or (
            rank <= planner.Rank.LINKED_UNIQUE):
        return None
    path = planner.in_range(table, _single(source), source.patterns)
    if path is None or not path.columns or path.rank > rank or (
            path.rank == rank
            and not set(path.prefix).issuperset(step.path.columns)):
        return None
    return patterns.PatternStep(step, path)


def _single(source):
    """Return the columns of a source that equal one known value."""
    return {column for column, values in source.values.items()
            if len(values) == 1 and not values[0].is_list}


def _ranged(step):
    """Return the planner's path by the bounds of a step's source, or None.
    """
    return planner.in_range(
        step.table, _single(step.source),
        {column for column, _is_low in step.source.ranges})


def _rival_of(table, path, bounds):
    """Return an index that may have fewer rows than a page goes over.

    :param path: a planner path, of the page.
    :param bounds: as of ``_passes_over_more``.
    :returns: as PageStep takes it, or None.
    """
    if path.rank >= planner.Rank.BROAD:
        for column, is_low in sorted(bounds):
            index = planner.coarse_index(table, column)
            if index is not None and not is_low and (
                    path.columns[:1] != (column,)):
                return index
    return None


def _passes_over_more(ranged, path, bounds):
    """Tell whether an order's rows are many more than those of a range.

    What has changed since a moment is little: more than a page in the order
    of something else passes over it.

    :param ranged: planner.Ordered by a range, or None.
    :param path: planner.Ordered by the order.
    :param bounds: pairs of column and whether it is a lower bound.
    """
    return ranged is not None and ranged.rank <= path.rank and (
        type(ranged) is planner.Ordered
        and ranged.columns[0] != path.columns[0]
        and (ranged.columns[0], True) in bounds)


def _tests(source, table, page, compiled):
    """Return column -> list of ColumnTests of what a page asks of text.

    What is known of the column in another way is not tested.
    """
    found = {}
    for criterion in () if page is None else page.criteria:
        named = {element.name for element in visitors.iterate(criterion)
                 if isinstance(element, elements.ColumnClause)}
        column = min(named, default=None)
        if len(named) == 1 and column not in source.values and (
                column, True) not in source.ranges and (
                table.affinities.get(column) == "TEXT"):
            try:
                test = entry_paging.ColumnTest(compiled, criterion)
            except LookupError:
                continue
            found.setdefault(column, []).append(test)
    return found
