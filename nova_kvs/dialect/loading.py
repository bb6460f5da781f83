# SPDX-License-Identifier: Apache-2.0
"""Rows that a transaction has loaded, and those that it will load."""

import logging

from nova_kvs.record import access
from nova_kvs.record import planner

LOG = logging.getLogger(__name__)


class State:
    """The rows of one table that a transaction knows.

    :ivar rows: primary key -> (row as tuple, Record), as loaded.
    :ivar complete: every stored row is loaded.
    :ivar written: its rows may differ from what was loaded.
    :ivar numbered: the numbers of its rows are their ids.
    """

    __slots__ = ("name", "rows", "complete", "written", "numbered", "seen",
                 "columns")

    def __init__(self, name, columns):
        self.name = name
        self.rows = {}
        self.complete = False
        self.written = False
        self.numbered = True
        #: columns -> set of values that were asked for.
        self.seen = {}
        self.columns = columns

    def note_write(self):
        """Note that a statement may change the table."""
        self.written = True
        self.numbered = False


class Loads:
    """Accesses that are collected to be loaded together."""

    __slots__ = ("_workspace", "_statement", "_scans", "_found",
                 "_others")

    def __init__(self, workspace, statement):
        self._workspace = workspace
        self._statement = statement
        self._scans = {}
        self._found = {}
        self._others = []

    def scan(self, state):
        """Ask for all rows of a table."""
        self._scans[state.name] = state

    def add(self, state, path, columns, tuples):
        """Ask for rows by values that were not asked for before.

        :param path: nova_kvs.record.planner.Path.
        :param columns: those of the path, or the first of them.
        :param tuples: values of these columns.
        """
        seen = state.seen.get(columns)
        if seen is not None:
            tuples = [item for item in tuples if item not in seen]
        if tuples:
            path = path._replace(columns=columns)
            entry = self._found.get((state.name, path))
            if entry is None:
                self._found[state.name, path] = (
                    state, dict.fromkeys(tuples))
            else:
                entry[1].update(dict.fromkeys(tuples))

    def add_access(self, state, wanted):
        """Ask for the rows of an access of any other kind."""
        self._others.append((state, wanted))

    def run(self):
        """Load what was asked for, in as few round trips as it takes.

        :returns: whether anything was asked for.
        """
        if not self._scans and not self._found and not self._others:
            return False
        accesses = []
        states = []
        asked = []
        for name, state in self._scans.items():
            LOG.debug("Full scan of table %s for: %s", name, self._statement)
            accesses.append(access.FullScan(name))
            states.append(state)
        for (name, path), (state, tuples) in self._found.items():
            if name not in self._scans:
                # Of many rows few are joined: a limit chooses among them.
                accesses.append(path.access(
                    name, tuples,
                    table_only=path.rank == planner.Rank.BROAD))
                states.append(state)
                asked.append((state, path.columns, tuples))
        for state, wanted in self._others:
            if state.name not in self._scans:
                accesses.append(wanted)
                states.append(state)
        self._others = []
        scans = list(self._scans.values())
        self._scans = {}
        self._found = {}
        self._workspace.load(accesses, states)
        for state in scans:
            state.complete = True
        for state, columns, tuples in asked:
            state.seen.setdefault(columns, set()).update(tuples)
        return True
