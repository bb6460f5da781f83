# SPDX-License-Identifier: Apache-2.0
"""Loads the rows that a LIKE finds by the beginning of a column's text.

LIKE takes small letters for capital ones, and an index does not: between
"HOST1" and "host1" it has most names that begin with a small letter. So the
beginnings are looked for one after the other: the first row behind one tells
which of those that are left can come next.

Invariant: as that of :mod:`nova_kvs.dialect.analysis`.
"""

from nova_kvs.dialect import paging
from nova_kvs.record.paths import by_range

#: Beginnings that are looked for before a range has all that are left.
_MOST_SEEKS = 16


class PatternStep(paging.RangeStep):
    """Loads the rows whose column is like one of some patterns."""

    def collect(self, workspace, parameters, loads):
        """Add what has to be loaded to a Loads."""
        state = workspace.state(self.name)
        if state.complete:
            return
        prefix = wanted = None
        if self.step.partial_path(parameters) is None:
            prefix = self._prefix(parameters)
        if prefix is not None:
            wanted = self._texts(parameters)
        if wanted is None:
            self.step.collect(workspace, parameters, loads)
            return
        for text, is_start in wanted:
            found = [(text, text)]
            if is_start:
                found = self._of_start(workspace, state, prefix, text)
            for low, high in found:
                loads.add_access(state, self.path.access(
                    self.name, prefix, (low,), (high,)))

    def _texts(self, parameters):
        """Return pairs of a text and whether it only is the beginning.

        :returns: None if the patterns do not tell how the text begins.
        """
        column = self.path.columns[0]
        found = {}
        for value in self.source.patterns[column]:
            for text in parameters.values((value,), self.table, column):
                if value.is_pattern:
                    text = paging.start_of(text)
                if not text or by_range.is_long(text):
                    return None
                found[text, value.is_pattern] = None
        return list(found)

    def _of_start(self, workspace, state, prefix, text):
        """Return pairs of bounds of all values that begin like a text."""
        column = self.path.columns[0]
        lowest, highest = paging.cases_of(text)
        end = highest + paging.LAST
        found = []
        low = lowest
        for _ in range(_MOST_SEEKS):
            rows, = workspace.load([self.path.access(
                self.name, prefix, (low,), (end,), 1, table_only=True)],
                [state])
            if not rows:
                return found
            value = rows[0].values[column]
            start = value[:len(text)]
            if paging.cases_of(start) == (lowest, highest):
                found.append((start, start + paging.LAST))
                low = _next_of(text, start, len(text) - 1)
            else:
                low = _next_of(text, value)
            if low is None:
                return found
        return [*found, (low, end)]

    def explain(self):
        """Return a text, the same for the same statement."""
        return "beginnings in %s" % self.path.explain()


def _next_of(text, value, place=None):
    """Return the least text behind a value that is equal but for the case.

    :param place: of the last letter that may stay as the value has it; None:
        as many as are equal.
    :returns: None if there is none.
    """
    letters = [sorted(set(paging.cases_of(letter))) for letter in text]
    if place is None:
        place = 0
        while place < len(value) and value[place] in letters[place]:
            place += 1
        if place == len(value):
            return value + "".join([found[0] for found in letters[place:]])
    while place >= 0:
        for letter in letters[place]:
            if letter > value[place]:
                return value[:place] + letter + "".join(
                    [found[0] for found in letters[place + 1:]])
        place -= 1
    return None
