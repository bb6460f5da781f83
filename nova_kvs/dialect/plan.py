# SPDX-License-Identifier: Apache-2.0
"""Plans: what to load before a statement runs, and how a plan runs.

A plan is made once for a compiled statement and run with the parameters of
each execution. It is a list of levels; the accesses of a level are loaded
together, so the round trips of a statement depend on how deep its joins
are, never on how many rows they have.
"""

import itertools
import typing

from nova_kvs.dialect import paging
from nova_kvs.dialect import sources
from nova_kvs.record import access
from nova_kvs.record import planner

#: More key tuples than this are not asked for one by one.
MAX_TUPLES = 20000
#: More values than this do not narrow what is read from the workspace.
MAX_NARROWING = 200


class Parameters:
    """The parameters of one execution: one dict, or several."""

    __slots__ = ("sets", "_processors", "_expansion")

    def __init__(self, sets, processors, expansion):
        """Take parameters as SQLAlchemy has them.

        :param sets: list of dicts, name -> value before bind processing.
        :param processors: name -> bind processor, or tuple of processors.
        :param expansion: name of a list -> names of its values; those of
            tuples follow each other.
        """
        self.sets = sets
        self._processors = processors
        self._expansion = expansion

    def __len__(self):
        return len(self.sets)

    def values(self, wanted, table, column):
        """Return what a tuple of sources.Value is, as the column stores it.

        :returns: list without duplicates and without None.
        """
        found = {}
        for value in wanted:
            name = value.name
            if name is None:
                found[table.normalise(column, value.constant)] = None
                continue
            process = self._processors.get(name)
            names = (name,)
            if value.is_list:
                names = self._expansion[name]
                if value.position is not None:
                    names = names[value.position::value.width]
                    if process is not None:
                        process = process[value.position]
            for parameters in self.sets:
                for name in names:
                    item = parameters[name]
                    if process is not None:
                        item = process(item)
                    if item is not None:
                        found[table.normalise(column, item)] = None
        found.pop(None, None)
        return list(found)

    def raw(self, name, is_list=False):
        """Return a parameter of the only set, before bind processing.

        :param is_list: the parameter is a list of values.
        """
        parameters, = self.sets
        if is_list:
            return [parameters[one] for one in self._expansion[name]]
        return parameters[name]

    def bound(self, name, is_list=False):
        """Return a parameter of the only set as it is bound: a list of one.

        :param is_list: the parameter is a list of values.
        :raises LookupError: if there is none of that name.
        :raises ValueError: if there are several sets.
        """
        parameters, = self.sets
        process = self._processors.get(name)
        names = self._expansion[name] if is_list else (name,)
        values = [parameters[one] for one in names]
        if isinstance(process, tuple):
            raise ValueError(name)
        return values if process is None else list(map(process, values))

    def tuples(self, values, table, columns):
        """Return the tuples of an IN on several columns, as stored.

        :param values: sources.Value of each column, all of one parameter.
        """
        name, width = values[0].name, values[0].width
        processors = self._processors.get(name) or (None,) * width
        names = self._expansion[name]
        found = {}
        for parameters in self.sets:
            for start in range(0, len(names), width):
                stored = []
                for column, value in zip(columns, values):
                    item = parameters[names[start + value.position]]
                    process = processors[value.position]
                    if process is not None:
                        item = process(item)
                    if item is None:
                        break
                    stored.append(table.normalise(column, item))
                else:
                    found[tuple(stored)] = None
        return list(found)

    def row(self, index, name, table, column):
        """Return one parameter of one set as the column stores it."""
        value = self.sets[index][name]
        process = self._processors.get(name)
        if process is not None:
            value = process(value)
        return None if value is None else table.normalise(column, value)


class Path(typing.NamedTuple):
    """The way to the rows of a source."""

    #: nova_kvs.record.planner.Path.
    chosen: planner.Path
    #: Columns whose values are read from the workspace, and from where: a
    #: tuple of (Source, tuple of columns).
    linked: tuple = ()
    origin: tuple = ()

    @property
    def kind(self):
        """The kind of access."""
        return self.chosen.kind

    @property
    def columns(self):
        """The columns whose values are asked for."""
        return self.chosen.columns


class Step:
    """Loads the rows of one source."""

    __slots__ = ("source", "table", "path", "_key_is_known", "_together",
                 "_states", "name")

    def __init__(self, source, table, path):
        """Prepare a step.

        :param table: record.schema.Table, or None: no table of the schema
            that is stored.
        """
        self.source = source
        self.table = table
        self.path = path
        self.name = source.table if table is None else table.name
        values = source.values
        self._key_is_known = table is not None and all(
            column in values for column in table.key)
        #: Columns of which an index of some values may find the rows.
        self._states = []
        if table is not None and path.chosen.rank >= planner.Rank.BROAD:
            self._states = [one.columns[0] for one in table.paths
                            if one.is_partial and one.columns[0] in values]
        # All columns by one IN on several columns.
        self._together = None
        if path.columns and not path.linked and len(path.columns) > 1:
            items = [values[column] for column in path.columns]
            if (len({item[0].name for item in items}) == 1 and all(
                    len(item) == 1 and item[0].position is not None
                    for item in items)):
                self._together = [item[0] for item in items]

    def collect(self, workspace, parameters, loads):
        """Add what has to be loaded to a Loads."""
        state = workspace.state(self.name)
        if state.complete:
            return
        if self.table is None:
            loads.scan(state)
            return
        if self._key_is_known and self._has_keys(
                workspace, state, parameters):
            return
        path = self.path
        partial = self.partial_path(parameters)
        if partial is not None:
            loads.add(state, partial, partial.columns, [
                (value,) for value in self._values(
                    partial.columns[0], parameters)])
            return
        if path.kind == planner.SCAN:
            loads.scan(state)
            return
        columns, tuples = self._tuples(workspace, parameters)
        if not columns:
            loads.scan(state)
        else:
            loads.add(state, path.chosen, columns, tuples)

    def partial_path(self, parameters):
        """Return the Path by an index of rows with some values, or None.

        :param parameters: Parameters: only they tell which values.
        """
        return self._states and planner.partial_path(self.table, {
            column: self._values(column, parameters)
            for column in self._states}) or None

    def _values(self, column, parameters):
        return parameters.values(
            self.source.values[column], self.table, column)

    def _has_keys(self, workspace, state, parameters):
        """Tell whether every row that a known key names is loaded."""
        table = self.table
        parts = [parameters.values(self.source.values[column], table, column)
                 for column in table.key]
        count = 1
        for part in parts:
            count *= len(part)
        if count > MAX_TUPLES:
            return False
        rows = state.rows
        return all(key in rows or workspace.has_own_row(state, key)
                   for key in itertools.product(*parts))

    def _tuples(self, workspace, parameters):
        """Return the path's columns and the values to ask for."""
        path, table, values = self.path, self.table, self.source.values
        if self._together is not None:
            return path.columns, parameters.tuples(
                self._together, table, path.columns)
        if not path.linked:
            parts = []
            count = 1
            columns = path.columns
            for column in columns:
                part = parameters.values(values[column], table, column)
                count *= len(part)
                if count > MAX_TUPLES and parts:
                    # A prefix is enough for an index, and not for a key.
                    columns = (columns[:len(parts)]
                               if path.kind == planner.INDEX else ())
                    break
                parts.append(part)
            if len(parts) == 1:
                return columns, [(value,) for value in parts[0]]
            return columns, list(itertools.product(*parts))
        linked = self._linked(workspace, parameters)
        if len(linked) > MAX_TUPLES and path.kind != planner.PARTITION:
            return (), []
        if path.columns == path.linked:
            return path.columns, linked
        parts = [[row[path.linked.index(column)] for row in linked]
                 if column in path.linked
                 else parameters.values(values[column], table, column)
                 for column in path.columns]
        if len(path.linked) == 1:
            return path.columns, list(itertools.product(*parts))
        # Several linked columns belong together, row by row.
        fixed = [column for column in path.columns
                 if column not in path.linked]
        found = []
        for row in linked:
            for rest in itertools.product(*(
                    parts[path.columns.index(column)] for column in fixed)):
                known = dict(zip(path.linked, row))
                known.update(zip(fixed, rest))
                found.append(tuple(
                    [known[column] for column in path.columns]))
        return path.columns, found

    def _linked(self, workspace, parameters):
        """Read the values that other sources have for linked columns."""
        table = self.table
        found = {}
        for other, columns in self.path.origin:
            for row in workspace.values_of(other, columns, parameters):
                if None not in row:
                    found[tuple([
                        table.normalise(column, value)
                        for column, value in zip(self.path.linked, row)
                    ])] = None
        return list(found)


class DeletedStep(Step):
    """Loads the rows of one source that are marked as deleted."""

    def collect(self, workspace, parameters, loads):
        """Add what has to be loaded to a Loads."""
        state = workspace.state(self.name)
        if state.complete:
            return
        source, column = self.source, planner.BROAD_COLUMN
        if planner.must_be_deleted(source.ranges, source.unequal) or (
                parameters.values((source.unequal[column],), self.table,
                                  column) == [0]):
            loads.add_access(state, access.DeletedRows(self.name))
        else:
            super().collect(workspace, parameters, loads)


class Union:
    """Loads the rows of one source: of an OR each alternative's."""

    __slots__ = ("source", "table", "path", "steps")

    def __init__(self, step, steps):
        """Prepare a step.

        :param step: Step that would load more.
        :param steps: a Step for each alternative.
        """
        self.source = step.source
        self.table = step.table
        self.path = step.path
        self.steps = steps

    def collect(self, workspace, parameters, loads):
        """Add what has to be loaded to a Loads."""
        for step in self.steps:
            step.collect(workspace, parameters, loads)


class Check:
    """Loads the rows that an INSERT's unique key could collide with."""

    __slots__ = ("table", "columns", "names", "_path", "_at")

    def __init__(self, table, columns, names, path):
        """Prepare a check.

        :param names: the parameters that are the columns' values.
        :param path: nova_kvs.record.planner.Path by some of the columns.
        """
        self.table = table
        self.columns = columns
        self.names = names
        self._path = path
        self._at = [columns.index(column) for column in path.columns]

    def values(self, parameters):
        """Return the values of the key, without those that have NULL."""
        table = self.table
        found = []
        for index in range(len(parameters)):
            row = [parameters.row(index, name, table, column)
                   for name, column in zip(self.names, self.columns)]
            if None not in row:
                found.append(tuple(row))
        return found

    def collect(self, workspace, parameters, loads):
        """Add what has to be loaded to a Loads."""
        table = self.table
        state = workspace.state(table.name)
        if state.complete:
            return
        wanted = {tuple([row[at] for at in self._at]): None
                  for row in self.values(parameters)}
        if self.columns == table.key:
            wanted = [key for key in wanted if key not in state.rows]
        loads.add(state, self._path, self._path.columns, wanted)


class Plan(typing.NamedTuple):
    """The rows that a statement needs, and the ways to them."""

    #: Tuple of levels, each a tuple of Step and Check.
    levels: tuple
    #: Names of tables that are loaded whole.
    whole: tuple
    #: Sources whose rows are locked.
    locked: tuple
    #: The table that an INSERT, UPDATE or DELETE writes, or None.
    target: str | None
    #: The rows that were written are compared with the store's unique keys
    #: after the statement, and it is run again if there are any.
    verify: bool
    is_insert: bool
    #: Inserted rows get their ids from the store.
    needs_ids: bool
    #: Where foreign keys are enforced: a Check for each one's parents, or
    #: None if the statement tells them only when it is run.
    parents: tuple | None = None

    def load(self, workspace, parameters, statement):
        """Load every row that the statement could touch.

        :raises nova_kvs.exceptions.KVSError: as RecordTransaction.load.
        """
        loads = workspace.loads(statement)
        for name in self.whole:
            state = workspace.state(name)
            if not state.complete:
                loads.scan(state)
        if self.parents and workspace.enforcement is not None and (
                not workspace.enforcement.assume(self.parents, parameters)):
            for check in self.parents:
                check.collect(workspace, parameters, loads)
        for level in self.levels:
            for step in level:
                step.collect(workspace, parameters, loads)
            loads.run()
        if not self.levels:
            loads.run()


def describe(plan):
    """Return the text of a plan, the same for the same statement."""
    lines = []
    for number, level in enumerate(plan.levels):
        lines.append("level %d" % number)
        lines.extend("  " + _describe(step) for step in level)
    for name in plan.whole:
        lines.append("whole table %s" % name)
    if plan.target is not None:
        lines.append("writes %s%s" % (
            plan.target, ", unique keys verified" if plan.verify else ""))
    lines.extend("locks %s" % source for source in plan.locked)
    return "\n".join(lines) or "nothing to load"


def _describe(step):
    if isinstance(step, Check):
        return "%s: unique (%s)" % (step.table.name, ", ".join(step.columns))
    if isinstance(step, Union):
        return " or ".join(map(_describe, step.steps))
    if isinstance(step, paging.RangeStep):
        return "%s: %s" % (step.source, step.explain())
    path = step.path
    if isinstance(step, DeletedStep):
        source = step.source
        if planner.must_be_deleted(source.ranges, source.unequal):
            return "%s: rows marked as deleted" % source
        return "%s: rows marked as deleted if %s is 0, else full scan" % (
            source, source.unequal[planner.BROAD_COLUMN])
    if path.kind == planner.SCAN:
        return "%s: full scan" % step.source
    parts = []
    for column in path.columns:
        if column in path.linked:
            at = path.linked.index(column)
            text = " | ".join(
                "%s.%s" % (source.label, name) for source, name in
                sources.bases((other, columns[at])
                              for other, columns in path.origin))
        else:
            text = " | ".join(
                str(value) for value in step.source.values[column])
        parts.append("%s = %s" % (column, text))
    return "%s: %s (%s)" % (step.source, path.kind, ", ".join(parts))
