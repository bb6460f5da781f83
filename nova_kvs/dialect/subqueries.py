# SPDX-License-Identifier: Apache-2.0
"""Joins to the rows of a limited subquery, not to all that it chooses from.

A paging query with joins selects its page in a subquery::

    SELECT ... FROM (SELECT ... ORDER BY ... LIMIT 20) AS a LEFT JOIN b ...

The tables of the subquery are loaded first. Then the workspace is asked for
the rows of the subquery, as SQL text, and what is joined to it is loaded for
these alone.

Invariant: the workspace gives the subquery the same rows then as within the
statement, for all rows that it chooses from are loaded by its own criteria.
Ties do not matter: SQLite materialises it in both statements in the same way.
"""

import re
import sqlite3

from sqlalchemy.sql import elements
from sqlalchemy.sql import functions
from sqlalchemy.sql import selectable
from sqlalchemy.sql import visitors

from nova_kvs.compatibility import private

# A parameter as SQLAlchemy renders it before it knows its position, and one
# that is a list of values.
_PARAMETER = re.compile(
    r"%\(([^)]+?)\)s|__\[POSTCOMPILE_(\S+?)(?:~~.+?~~)?\]")


class Subquery:
    """A limited subquery in a FROM list, whose rows are joined to others.

    It stands where a link has a ``sources.Source``.

    :ivar sources: the Sources that it chooses its rows from.
    :ivar order: place among Sources.
    """

    def __init__(self, text, sources, names):
        """Prepare to ask for its rows.

        :param text: as rendered in the FROM list, with its name.
        :param names: name of a parameter in the text -> its name in the
            statement, where that is another one.
        """
        self._text = text
        self._names = names
        self.sources = sources
        self.order = min(source.order for source in sources)
        #: Column, as rendered -> tuple of (Source, column): where its values
        #: come from.
        self.origins = {}

    def rows(self, workspace, columns, parameters):
        """Return the different values that some of its columns have.

        :param columns: as rendered.
        :returns: list of tuples.
        """
        values = []

        def place(match):
            name = match[1] or match[2]
            found = parameters.bound(
                self._names.get(name, name), match[1] is None)
            values.extend(found)
            return ", ".join("?" * len(found)) or "NULL"

        try:
            text = _PARAMETER.sub(place, self._text)
            return workspace.sqlite.execute("SELECT DISTINCT %s FROM %s" % (
                ", ".join(columns), text), values).fetchall()
        except (sqlite3.Error, LookupError, ValueError):
            # It refers to something outside: what it chooses from will do.
            return self._choice(workspace, columns, parameters)

    def _choice(self, workspace, columns, parameters):
        """Return the values of all rows that it may choose from."""
        found = set()
        for origin in zip(*[self.origins[column] for column in columns]):
            if len({source for source, _name in origin}) == 1:
                found.update(workspace.values_of(
                    origin[0][0], tuple(name for _source, name in origin),
                    parameters))
        return list(found)


def is_limited(query):
    """Tell whether a query, or one that it selects from, has a limit.

    :returns: False, too, for one whose rows depend on chance.
    """
    found = False
    for element in visitors.iterate(query):
        if isinstance(element, functions.FunctionElement) and (
                getattr(element, "name", "").lower() in _BY_CHANCE):
            return False
        if isinstance(element, (elements.TextClause, selectable.CTE)):
            return False
        if isinstance(element, selectable.GenerativeSelect) and getattr(
                element, private.LIMIT_CLAUSE) is not None:
            found = True
    return found


_BY_CHANCE = frozenset(("random", "rand", "randomblob", "uuid"))
