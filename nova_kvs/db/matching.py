# SPDX-License-Identifier: Apache-2.0
"""SQL's comparisons, orders and pages in Python, NULL rules included."""

import functools
import re

from nova.db.main import api as main_db_api
from nova.db import utils as db_utils
from nova import exception
from oslo_utils import timeutils

from nova_kvs.compatibility import private
from nova_kvs.db import native
from nova_kvs import regexp


@functools.lru_cache(maxsize=512)
def _like_expression(pattern):
    parts = []
    for character in pattern:
        if character == "%":
            parts.append(".*")
        elif character == "_":
            parts.append(".")
        else:
            parts.append(re.escape(character))
    return re.compile("".join(parts), re.DOTALL | re.IGNORECASE | re.ASCII)


def like(pattern):
    """Return a test for SQLite's LIKE, which ignores the case of ASCII.

    :returns: function of a stored value; NULL never matches.
    """
    expression = _like_expression(pattern)

    def test(value):
        return value is not None and (
            expression.fullmatch(_text(value)) is not None)
    return test


def _text(value):
    return value if isinstance(value, str) else str(value)


def constraint_met(constraint, row):
    """Return whether a row meets one of Nova's constraint objects."""
    if constraint is None:
        return True
    for name, condition in constraint.conditions.items():
        value = getattr(row, name)
        values = list(condition.values)
        if isinstance(condition, main_db_api.EqualityCondition):
            if value not in values:
                return False
        elif any(_not_unequal(value, other) for other in values):
            return False
    return True


def _not_unequal(value, other):
    """Return whether SQLAlchemy's ``value != other`` is not true."""
    if other is None:
        return value is None  # IS NOT NULL
    return value is None or value == other


def matches(pattern):
    """Return a test for REGEXP as the dialect has it; NULL never matches.

    :raises nova_kvs.db.native.Fallback: if it is no regular expression.
    """
    try:
        expression = regexp.compiled(pattern)
    except regexp.error as exc:
        raise native.Fallback() from exc
    return lambda value: value is not None and (
        expression.matches(str(value)))


def part_of_expression(pattern):
    """Return text that all that a regular expression finds contains."""
    return regexp.compiled(pattern).part


def regexp_ops(connection):
    """Return Nova's (function that makes a pattern safe, SQL operator).

    It was private to nova.db.main.api until Nova 33.

    :raises nova_kvs.db.native.Fallback: if this Nova has neither.
    """
    get = getattr(db_utils, "get_regexp_ops", None)
    if get is None:
        get = getattr(main_db_api, private.GET_REGEXP_OPS, None)
    if get is None:
        raise native.Fallback()
    return get(connection)


def check_sort_keys(table, sort_keys):
    """Raise if a table cannot be sorted by these keys.

    :raises nova.exception.InvalidSortKey:
    :raises nova_kvs.db.native.Fallback: for a relationship.
    """
    for name in sort_keys:
        if name not in table.template:
            if name in table.relationships:
                raise native.Fallback()
            raise exception.InvalidSortKey()


def sort(records, sort_keys, sort_dirs):
    """Sort records in place, as SQLite does: NULL is the smallest."""
    for name, direction in reversed(list(zip(sort_keys, sort_dirs))):
        records.sort(key=lambda record: _sort_key(record.values.get(name)),
                     reverse=direction == "desc")


def _sort_key(value):
    return (0, 0) if value is None else (1, value)


def after_marker(marker, sort_keys, sort_dirs):
    """Return a test for the rows that follow a marker.

    :param marker: stored values of the marker's row.
    :returns: function of stored values.
    :source: oslo_db.sqlalchemy.utils.paginate_query
    """
    criteria = []
    for position, name in enumerate(sort_keys):
        bound = marker.get(name)
        if bound is None:
            continue
        equal = [(other, marker[other]) for other in sort_keys[:position]
                 if marker.get(other) is not None]
        criteria.append((equal, name, bound,
                         sort_dirs[position].startswith("desc")))

    def test(stored):
        for equal, name, bound, descending in criteria:
            value = stored.get(name)
            if value is None:
                continue
            if value < bound if descending else value > bound:
                if all(stored.get(other) == wanted
                       for other, wanted in equal):
                    return True
        return False
    return test


def changes_tests(table, filters):
    """Return tests of stored values for changes-since and -before.

    :source: nova.db.main.api._get_query_nova_resource_by_changes_time
    """
    tests = []
    since, before = _changes(table, filters)
    if since is not None:
        tests.append(lambda stored: stored.get("updated_at", "") >= since)
    if before is not None:
        tests.append(lambda stored: "updated_at" in stored
                     and stored["updated_at"] <= before)
    return tests


def changes_ranges(table, filters):
    """Return the ranges of a Find with changes-since or -before, or None."""
    ends = _changes(table, filters)
    return None if ends == [None, None] else {"updated_at": tuple(ends)}


def _changes(table, filters):
    """Return changes-since and changes-before as stored, None without."""
    process = table.bind_processors["updated_at"]
    return [process(timeutils.normalize_time(filters[name]))
            if filters and filters.get(name) else None
            for name in ("changes-since", "changes-before")]


def limited(found, limit):
    """Return the first rows, as LIMIT does: none of them below zero."""
    return found if limit is None or limit < 0 else found[:limit]


def from_position(sort_keys, sort_dirs, values):
    """Return a test for the rows at or after a position.

    :param values: stored values, one for each sort key.
    :returns: function of stored values.
    :source: nova.db.main.api._model_get_uuid_by_sort_filters
    """
    last = sort_keys[-1]

    def test(stored):
        for position, name in enumerate(sort_keys):
            value = stored.get(name)
            bound = values[position]
            if value is None:
                continue
            ascending = sort_dirs[position] == "asc"
            if name == last:
                matches = value >= bound if ascending else value <= bound
            else:
                matches = value > bound if ascending else value < bound
            if matches and all(
                    stored.get(sort_keys[other]) == values[other]
                    for other in range(position)):
                return True
        return False
    return test
