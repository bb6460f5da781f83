# SPDX-License-Identifier: Apache-2.0
"""Pages of lists, read from an index that has their order.

The cost of a page is the page's, not that of all rows before it is sorted.
"""

import operator

from nova_kvs.db import matching
from nova_kvs.db import session
from nova_kvs.record import access
from nova_kvs.record.indexes import entry_columns
from nova_kvs.record.paths import by_entries
from nova_kvs.record import planner

#: Rows that are looked at at once where few pass a list's filters.
LARGEST_CHUNK = 4000
#: Rows that are read beyond a limit, where some of them may not pass.
SLACK = 8


def page(s, found, limit, after, sort_keys, sort_dirs, table_only=False):
    """Return records in an index's order, or in their ids': the page's, and
    some more.

    What else a list is sorted by, after its first key, decides among rows
    that have the same first key: those of the page's last one are all read.

    :param s: nova_kvs.db.session.Session.
    :param found: nova_kvs.db.session.Find of what the list shows.
    :param limit: rows of the page, or None.
    :param after: stored values of the marker's row, or None.
    :param sort_keys: columns. :param sort_dirs: 'asc' or 'desc' for each.
    :param table_only: as of ``Session.records``.
    :returns: list of Records, unsorted, that all pass; None if no index
        begins with this order, or nothing limits the page.
    """
    if limit is None or limit < 0:
        return None
    equal = s.bind_equal(found)
    path = _path(s, found._replace(equal=equal), sort_keys, sort_dirs)
    if path is None:
        return None
    prefix = tuple([equal[name] for name in path.prefix])
    if not path.holds(prefix):
        return None
    key = sort_keys[0]
    columns = path.position
    low = high = last = None
    if after is not None:
        if after.get(key) is None:
            return None
        first = (after[key],)
        low, high = (None, first) if path.reverse else (first, None)
    chosen, others = [], []
    changed = _changed_before(s, found)
    # More than the page: the marker itself, and one with another key.
    chunk = limit + 2
    while True:
        # What belongs to the rows comes along while few are looked at.
        records = s.transaction.load([path.access(
            found.table.name, prefix, low, high, chunk,
            table_only=_are_alone(found, table_only, chunk, limit))])[0]
        if not all([key in record.values for record in records]):
            return None
        positions = [tuple(map(record.values.get, columns))
                     for record in records]
        chosen += session.passing(
            [record for record, position in zip(records, positions)
             if position != last], found._replace(equal=equal))
        if len(records) < chunk:
            return chosen
        last = positions[-1]
        complete = sum([record.values[key] != last[0] for record in chosen])
        if complete >= limit:
            return chosen
        if changed is not None:
            # Whichever comes to an end first: neither reads twice as much.
            others += s.transaction.load([access.ByEntries(
                found.table.name, changed, chunk, True)])[0]
            if changed.is_done:
                return session.passing(others, found._replace(equal=equal))
        low, high = (None, last) if path.reverse else (last, None)
        # Few of the rows pass: look at more of them at once.
        chunk = min(chunk * 4, LARGEST_CHUNK)


def _changed_before(s, found):
    """Return the Cursor of rows below the only bound of a find, or None."""
    for column, (low, high) in (found.ranges or {}).items():
        schema_table = s.schema_table(found.table)
        index = planner.coarse_index(schema_table, column)
        if index is not None and low is None:
            return by_entries.Cursor(schema_table, index, (), [(column, True)],
                                     start=(high,))
    return None


def by_change(s, found, limit, after, sort_keys, sort_dirs,
              table_only=False):
    """Return records of those that changed last: the page's, and more.

    As ``page``, for an order that an index has only roughly.

    :returns: as ``page``; None also if the page has rows that never changed.
    """
    table = s.schema_table(found.table)
    index = planner.coarse_index(table, sort_keys[0])
    if index is None or found.ranges or limit is None or limit < 0 or (
            sort_dirs[0] != "desc"
            or after is not None and after.get(sort_keys[0]) is None):
        return None
    equal = s.bind_equal(found)
    found = found._replace(equal=equal)
    if s.path(found).rank < planner.Rank.BROAD or s.finds_deleted(found):
        return None
    cursor = by_entries.Cursor(
        table, index, (), [(sort_keys[0], True)],
        start=None if after is None else (after[sort_keys[0]],))
    chosen = []
    chunk = limit + 2
    while not cursor.is_done:
        records = s.transaction.load([access.ByEntries(
            table.name, cursor, chunk,
            _are_alone(found, table_only, chunk, limit))])[0]
        chosen += session.passing(records, found)
        if sum([cursor.precedes(record.values)
                for record in chosen]) >= limit:
            return chosen
        chunk = min(chunk * 4, LARGEST_CHUNK)
    return None


def passing_entries(s, found, limit, after, sort_keys, sort_dirs,
                    table_only=False):
    """Return records whose entries in an index pass: the page's, and more.

    :param limit: rows of the page; None: all of them. Others as of ``page``.
    :returns: list of Records, unsorted, that all pass; None if another way
        is better.
    """
    equal = s.bind_equal(found)
    found = found._replace(equal=equal)
    if limit is not None and limit < 0 or (
            s.path(found).rank < planner.Rank.BROAD):
        return None
    if _is_from_below(found) and s.range_path(found) is not None:
        return None
    table = s.schema_table(found.table)
    conditions = [*_conditions(equal), *[
        (name, entry_columns.text(test, part=part))
        for name, test, part in found.column_tests]]
    order = [] if limit is None else [
        (name, direction == "desc")
        for name, direction in zip(sort_keys, sort_dirs)]
    path = planner.by_entries(
        table, [name for name, _ in conditions], order)
    if path is None:
        return None
    first = path.index.columns[:1]
    if path.columns.issubset(first) and (
            _path(s, found, sort_keys, sort_dirs) is not None):
        return None
    start = None
    if after is not None:
        start = [after.get(name) for name, _ in path.order]
    cursor = by_entries.Cursor(
        table, path.index, [(name, test) for name, test in conditions
                            if name in path.columns], path.order,
        **_prefixes(equal, *first),
        start=None if start is None or None in start else start)
    chosen = []
    chunk = limit if limit is None else limit + 2
    while True:
        records = s.transaction.load([access.ByEntries(
            table.name, cursor, chunk,
            _are_alone(found, table_only, chunk, limit))])[0]
        chosen += session.passing(records, found)
        if cursor.is_done or sum(
                [cursor.precedes(record.values)
                 for record in chosen]) >= limit:
            return chosen
        chunk = min(chunk * 4, LARGEST_CHUNK)


def _are_alone(found, table_only, chunk, limit):
    """Tell whether so many rows are read without what belongs to them."""
    return found.choose is None and (
        table_only or limit is not None and chunk > limit + 2)


def _conditions(equal):
    """Return pairs of a column and a condition on entries.

    :param equal: bound equalities.
    """
    for name, value in equal.items():
        if type(value) is session.Not:
            yield name, entry_columns.unequal(value.values)
        else:
            yield name, entry_columns.among(
                value.values if type(value) is session.In else (value,))


def _prefixes(equal, column):
    """Return what a Cursor takes of an index's first column."""
    if column not in equal:
        return {}
    value = equal[column]
    if type(value) is session.Not:
        return {"refused": value.values}
    return {"prefixes": value.values if type(value) is session.In
            else (value,)}


def some(s, found, limit):
    """Return records of a find, in the keys' order: some, if that is enough.

    :param found: nova_kvs.db.session.Find whose equalities an index begins
        with.
    :param limit: rows that are wanted, or None.
    :returns: list of Records: all that pass, or at least ``limit`` of them.
    """
    equal = s.bind_equal(found)
    path = planner.in_any_order(s.schema_table(found.table), list(equal))
    values = tuple([equal[name] for name in path.prefix])
    if limit is None or limit < 0 or not values or not path.holds(values):
        return s.records(found)[0]
    chunk = limit + SLACK
    while True:
        records = s.transaction.load([path.access(
            found.table.name, values, limit=chunk)])[0]
        chosen = session.matching(records, equal, found.test)
        if len(chosen) >= limit or len(records) < chunk:
            return sorted(chosen, key=operator.attrgetter("key"))
        chunk *= 4


def first(s, table, sort_keys, sort_dirs, values):
    """Return the first record of a table at or after a position, or None.

    :param values: one for each sort key, as the model has them.
    """
    bound = [table.bind(name, value)
             for name, value in zip(sort_keys, values)]
    found = session.Find(table, {}, matching.from_position(
        sort_keys, sort_dirs, bound))
    records = page(s, found, 1, dict(zip(sort_keys, bound)), sort_keys,
                   sort_dirs, table_only=True)
    if records is None:
        records = s.records(found, table_only=True)[0]
    matching.sort(records, sort_keys, sort_dirs)
    return records[0] if records else None


def _is_from_below(found):
    """Tell whether a find has a range with a lower bound."""
    return any([low is not None
                for low, _high in (found.ranges or {}).values()])


def _path(s, found, sort_keys, sort_dirs):
    """Return the Ordered path for a list, or None if another is better.

    :param found: Find with bound values.
    """
    schema_table, equal = s.schema_table(found.table), found.equal
    known = tuple([name for name, value in equal.items()
                   if value is not None and type(value) is not session.Not])
    single = [name for name in known if type(equal[name]) is not session.In]
    if sort_keys[0] in known:
        return None
    path = planner.in_order(schema_table, single, [
        (name, direction == "desc")
        for name, direction in zip(sort_keys, sort_dirs)])
    if path is None or (
            s.path(found).rank < path.rank):
        return None
    if path.rank >= planner.Rank.BROAD and s.finds_deleted(found):
        return None
    if found.ranges and sort_keys[0] not in found.ranges and (
            _is_from_below(found)):
        # What has changed since is little: more than a page passes over it.
        ranged = s.range_path(found)
        if ranged is not None and ranged.rank <= path.rank:
            return None
    return path
