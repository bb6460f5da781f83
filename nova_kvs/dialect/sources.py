# SPDX-License-Identifier: Apache-2.0
"""The tables of a statement, and what is known of their rows.

A :class:`Source` is one occurrence of a table. :mod:`.analysis` makes them
and notes what restricts each; the plan reads it.
"""

import typing

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
    #: It is a pattern of LIKE, or what the column is in lower case.
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
                 "alternatives", "order", "unequal", "outer_links",
                 "shared_alternatives", "patterns")

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
        #: column -> tuple of Value: it is one of them, or like one of those
        #: that are patterns.
        self.patterns = {}
        #: column -> Value that it does not have: a constant None is NULL.
        self.unequal = {}
        #: Of each OR that restricts it: a dict as ``values`` for each of the
        #: alternatives, of which one is true.
        self.alternatives = []
        #: (column, Source on the right side of an outer join, its column):
        #: they are equal where that side has a row.
        self.outer_links = []
        #: Of each OR that restricts it or what it is joined with: a dict of
        #: Source -> as ``values`` for each of the alternatives.
        self.shared_alternatives = []
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


def bases(origin):
    """Return an origin without subqueries: what these choose from."""
    found = ()
    for other, name in origin:
        found += (other.origins[name] if isinstance(
            other, subqueries.Subquery) else ((other, name),))
    return found
