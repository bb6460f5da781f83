# SPDX-License-Identifier: Apache-2.0
"""Rules for the tables of services that have no partition rules of ours.

A service's rules are one dictionary, table's name -> ``Rule``, in one module
that an entry point of the group ``nova_kvs.rules`` names. So a service's owner
can add one, or a package of its own.

What a rule adds is an index in the stored schema, like any other: whoever
knows the database keeps it, with this package or without, in this release or
an earlier one.
"""

import functools
import importlib.metadata
import logging
import typing

LOG = logging.getLogger(__name__)

GROUP = "nova_kvs.rules"
#: Of the names of indexes that rules add, which services do not see.
PREFIX = "kvs_"


class Rule(typing.NamedTuple):
    """The indexes that the dialect adds to a table when it is made."""

    #: Columns by which the table is told from others of its name.
    has: tuple
    #: Tuples of columns: equalities first, then what lists are sorted by.
    indexes: tuple


@functools.lru_cache(maxsize=1)
def installed():
    """Return all rules that are installed.

    :returns: table's name -> list of Rule; what does not load is left out,
        with a warning.
    """
    found = {}
    points = importlib.metadata.entry_points(group=GROUP)
    for point in sorted(points, key=lambda point: point.name):
        try:
            for table, rule in point.load().items():
                found.setdefault(table, []).append(Rule(*rule))
        except Exception as error:  # of a package that is not ours
            LOG.warning("The rules %s of the group %s do not load: %s",
                        point.name, GROUP, error)
    return found


def indexes_for(table, columns):
    """Return what rules add to a table.

    :param columns: names of the columns that it has.
    :returns: pairs of an index's name and its columns; those are left out
        that name a column which this release of the service does not have.
    """
    columns = set(columns)
    return [
        (PREFIX + "_".join((table, *names)), names)
        for rule in installed().get(table, ())
        if columns.issuperset(rule.has)
        for names in rule.indexes if columns.issuperset(names)]
