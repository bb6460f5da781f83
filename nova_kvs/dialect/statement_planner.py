# SPDX-License-Identifier: Apache-2.0
"""Makes the plan of a statement: its tables in order, with a path each.

``record/planner`` chooses the path of one table; here is what a statement
adds: joins, alternatives, pages, and what an INSERT or UPDATE must look at.
"""

from sqlalchemy.sql import elements

from nova_kvs.compatibility import private
from nova_kvs.dialect import analysis
from nova_kvs.dialect import narrower_steps
from nova_kvs.dialect import plan
from nova_kvs.dialect import sqltext
from nova_kvs.dialect import subqueries
from nova_kvs.record import planner

_ROWID = "_rowid_"


class StatementPlanner:
    """Makes plans for one schema."""

    def __init__(self, schema, generated, foreign_keys):
        """Prepare for a schema.

        :param schema: nova_kvs.record.schema.Schema.
        :param generated: table -> column that gets ids from the store, or
            None.
        :param foreign_keys: nova_kvs.dialect.foreign_keys.ForeignKeys.
        """
        self._schema = schema
        self.foreign_keys = foreign_keys
        self._generated = generated
        self._unique_paths = {}
        self._names = {name.lower(): name for name in schema.tables}
        self._views = {}
        for text in schema.ddl:
            view = sqltext.view_of(sqltext.parse(text))
            if view is not None:
                self._views[view.lower()] = self.names_in(text)
        # Only where the stored text declares a collation can equal values
        # be stored differently.
        self._collated = {
            sqltext.table_of(statement)
            for statement in map(sqltext.parse, schema.ddl)
            if "collate" in statement.names}

    def _affinity(self, table, column):
        found = self._schema.tables.get(table)
        if found is None or table in self._collated:
            return None
        return found.affinities.get(column)

    def names_in(self, sql):
        """Return the stored tables that SQL text names, itself or by views.

        :returns: tuple of names, sorted.
        """
        return self.names_among(sqltext.parse(sql).names)

    def names_among(self, words):
        """Return the stored tables that lower-case words name.

        :returns: tuple of names, sorted.
        """
        found = set()
        for name in words:
            if name in self._names:
                found.add(self._names[name])
            else:
                found.update(self._views.get(name, ()))
        return tuple(sorted(found))

    def plan(self, compiled):
        """Return the Plan of a compiled statement.

        :param compiled: a KVSCompiler.
        """
        found = analysis.Analysis(compiled, self._names, self._affinity)
        levels = self._levels(found.sources, {
            source: page for source, page in found.pages.items()
            if source.table not in self._schema.tables
            or page.keeps_rows(self._schema.tables[source.table])}, compiled)
        checks, verify = (), False
        dml = compiled.kvs_dml
        target = None
        needs_ids = False
        parents = None
        if dml is not None:
            target = self._names.get(dml.table.name.lower(), dml.table.name)
            table = self._schema.tables.get(target)
            if table is not None and compiled.isinsert:
                checks, verify = self._insert_checks(compiled, dml, table)
                parents = self._parent_checks(compiled, dml, table)
                generated = self._generated[target]
                needs_ids = generated is not None and not _is_given(
                    compiled, dml, _dml_values(compiled), generated)
            elif table is not None and compiled.isupdate:
                changed = _changed_columns(compiled, dml)
                verify = any(
                    changed.intersection(columns)
                    for columns in self._unique_columns(table))
        if checks:
            levels = ([*(levels[0] if levels else ()), *checks],
                      *levels[1:])
        whole = set(found.unrestricted)
        for source in found.sources:
            whole.update(self._views.get(source.table.lower(), ()))
        for text in compiled.kvs_fragments:
            whole.update(self.names_in(text))
        # A construct of a service's own may have written a table's name.
        whole.update(self.names_among(sqltext.named_behind_from(
            sqltext.parse(compiled.string)).difference(
                source.table.lower() for source in found.sources)))
        return plan.Plan(
            levels=tuple(tuple(level) for level in levels),
            whole=tuple(sorted(whole)),
            locked=tuple(found.locked),
            target=target,
            verify=verify,
            is_insert=compiled.isinsert,
            needs_ids=needs_ids,
            parents=parents)

    def table(self, name):
        """Return a stored table, a record.schema.Table, or None."""
        return self._schema.tables.get(name)

    def unique_paths(self, name):
        """Return how to find the rows that a table's rows collide with.

        :returns: list of (Table, columns of the unique key, Path).
        """
        found = self._unique_paths.get(name)
        if found is None:
            table = self._schema.tables.get(name)
            found = [] if table is None else [
                (table, columns, self.path_of_unique(table, columns))
                for columns in self._unique_columns(table)]
            self._unique_paths[name] = found
        return found

    # Levels -----------------------------------------------------------------

    def _levels(self, sources, pages, compiled):
        levels = []
        resolved = set()
        pending = list(sources)
        while pending:
            ranked = [(*self._best(source, resolved), source)
                      for source in pending]
            chosen = [item for item in ranked
                      if item[0] <= planner.Rank.LINKED_UNIQUE]
            # What no join could ever improve need not wait for one.
            chosen.extend(
                item for item in ranked
                if item[0] > planner.Rank.LINKED_UNIQUE
                and not self._may_link(item[2], pending, item[0]))
            if not chosen:
                best = min(ranked, key=lambda item: (
                    item[0] if pages else self._expected(*item),
                    item[2].nullable, item[2].order))
                chosen = [best]
                if best[0] == planner.Rank.LINKED_INDEX:
                    chosen = [item for item in ranked
                              if item[0] == planner.Rank.LINKED_INDEX]
            level = []
            for rank, path, source in sorted(
                    chosen, key=lambda item: item[2].order):
                step, before = self._step(
                    source, path, rank, pages.get(source), compiled,
                    len(sources) == 1)
                if before:
                    levels.append(before)
                level.append(step)
                pending.remove(source)
            resolved.update(step.source for step in level)
            levels.append(level)
        return levels

    def _step(self, source, path, rank, page, compiled, is_alone):
        """Return the step that reads least of a source's rows.

        :param path: plan.Path. :param rank: its Rank.
        :param page: paging.Page, or None.
        :param is_alone: whether the statement has no other table.
        :returns: the step, and Steps of a level before it.
        """
        table = self._schema.tables.get(source.table)
        step = plan.Step(source, table, path)
        if table is None:
            return step, ()
        if page is None:
            found = _union(step, rank) or narrower_steps.by_beginning(
                step, rank)
            before = ()
            if found is None:
                found, before = self._union_of_joins(step, rank)
            if found is not None:
                return found, before
        if rank == planner.Rank.SCAN and (
                table.finds_parts and not table.is_shadow
                and (planner.BROAD_COLUMN in source.unequal
                     or planner.must_be_deleted(
                         source.ranges, source.unequal))):
            return plan.DeletedStep(source, table, path), ()
        return narrower_steps.choose(
            step, rank, page, compiled, is_alone), ()

    def _best(self, source, resolved):
        """Return the best (Rank, plan.Path) that is possible now."""
        table = self._schema.tables.get(source.table)
        if table is None:
            return planner.Rank.SCAN, plan.Path(planner.FULL_SCAN)
        rank, path, origin = planner.choose(
            table, source.values,
            lambda missing: _origin(source, missing, resolved))
        if not origin:
            return rank, plan.Path(path)
        return rank, plan.Path(path, tuple(
            [column for column in path.columns
             if column not in source.values]), origin)

    def _expected(self, rank, path, source):
        """Return the rank by which a source is loaded before others.

        The beginnings of its text may find rows where no values do.
        """
        if rank > planner.Rank.INDEX and narrower_steps.by_beginning(
                plan.Step(source, self._schema.tables.get(source.table),
                          path), rank) is not None:
            return planner.Rank.INDEX
        return rank

    def _union_of_joins(self, step, rank):
        """Return the Union that reads less than a step, over joins, or None.

        An alternative of an OR may restrict another table, that this one is
        joined with: its rows are loaded first.

        :param rank: of the step's path.
        :returns: Union or None, and the Steps of a level before it.
        """
        if step.table is not None and rank >= planner.Rank.BROAD:
            for alternatives in step.source.shared_alternatives:
                before, steps = [], []
                for alternative in alternatives:
                    found = self._steps_of(step, alternative)
                    if found is None:
                        break
                    before += found[:-1]
                    steps.append(found[-1])
                else:
                    return plan.Union(step, steps), before
        return None, []

    def _steps_of(self, step, alternative):
        """Return the Steps to a source's rows in one alternative, or None.

        :param alternative: Source -> the values of its columns.
        """
        source, table = step.source, step.table
        if source in alternative:
            one = source.one_of(alternative[source])
            rank, path, _ = planner.choose(table, one.values)
            if rank < planner.Rank.BROAD:
                return (plan.Step(one, table, plan.Path(path)),)
        for other, values in alternative.items():
            joined = self._schema.tables.get(other.table)
            if other is source or joined is None:
                continue
            one = other.one_of(values)
            rank, path, _ = planner.choose(joined, one.values)
            if rank >= planner.Rank.BROAD:
                continue
            names = {column: name for column, mate, name in (
                *source.outer_links, *(
                    (column, *origin[0])
                    for column, origins in source.links.items()
                    for origin in origins if len(origin) == 1))
                if mate is other}
            rank, linked, origin = planner.choose(
                table, source.values, lambda missing: set(missing).issubset(
                    names) and ((one, tuple(map(names.get, missing))),))
            if rank < planner.Rank.BROAD and origin:
                return (plan.Step(one, joined, plan.Path(path)),
                        plan.Step(source, table, plan.Path(
                            linked, tuple([
                                column for column in linked.columns
                                if column not in source.values]), origin)))
        return None

    def _may_link(self, source, pending, rank):
        """Tell whether loading others first could give a better path."""
        table = self._schema.tables.get(source.table)
        others = set(pending)
        others.discard(source)
        if not others or table is None:
            return False
        reachable = {
            column for column, origins in source.links.items()
            for origin in origins
            if any(others.intersection(_sources_of(other))
                   for other, _name in origin)}
        return any(
            path.linked_rank < rank
            and any(column in reachable for column in path.columns)
            and all(column in source.values or column in source.links
                    for column in path.columns)
            for path in table.paths)

    # Unique keys ------------------------------------------------------------

    @staticmethod
    def _unique_columns(table):
        return (table.key, *(unique.columns for unique in table.uniques))

    def path_of_unique(self, table, columns):
        """Return the Path to the rows that could collide on a unique key.

        :returns: a scan where the store has no better way.
        """
        if columns == table.key and not planner.tells_partition(table):
            # The store keeps such keys unique in a partition.
            return table.paths[0]
        return planner.known_path(table, columns)

    def _parent_checks(self, compiled, dml, table):
        """Return a Check for each foreign key of a new row, or None."""
        text = compiled.string
        if not text.startswith("INSERT INTO ") or "ON CONFLICT" in text:
            # It may remove or change another row.
            return None
        if dml.select is not None or getattr(
                compiled.dml_compile_state,
                private.HAS_MULTI_PARAMETERS) or any(
                compiled.kvs_converts(column.type)
                for column in dml.table.c):
            return None
        given = _dml_values(compiled)
        checks = []
        for key in self.foreign_keys.of.get(table.name, ()):
            parent = self._schema.tables.get(key.parent)
            if parent is None:
                return None
            names = [_parameter(compiled, dml, given, column)
                     for column in key.columns]
            if None in names:
                if all(not _is_given(compiled, dml, given, column)
                       and column not in table.defaults
                       for column, name in zip(key.columns, names)
                       if name is None):
                    # It is NULL, and so refers to nothing.
                    continue
                return None
            path = planner.known_path(parent, key.parent_columns)
            if path.kind == planner.SCAN or (
                    not set(path.columns) <= set(key.parent_columns)):
                return None
            checks.append(plan.Check(
                parent, key.parent_columns, names, path))
        return tuple(checks)

    def _insert_checks(self, compiled, dml, table):
        """Return the Checks of an INSERT, and if it must be verified."""
        if dml.select is not None or (
                getattr(compiled.dml_compile_state,
                        private.HAS_MULTI_PARAMETERS)) or any(
                compiled.kvs_converts(column.type)
                for column in dml.table.c):
            return (), True
        given = _dml_values(compiled)
        checks = []
        for columns in self._unique_columns(table):
            names = []
            for column in columns:
                if column in (self._generated[table.name], _ROWID) and not (
                        _is_given(compiled, dml, given, column)):
                    # A new id collides with nothing.
                    names = None
                    break
                name = _parameter(compiled, dml, given, column)
                if name is None:
                    if (not _is_given(compiled, dml, given, column)
                            and column not in table.defaults):
                        names = None
                        break
                    return (), True
                names.append(name)
            if names is None:
                continue
            path = self.path_of_unique(table, columns)
            if path.kind == planner.SCAN or (
                    not set(path.columns) <= set(columns)):
                return (), True
            checks.append(plan.Check(table, columns, names, path))
        return checks, False


def _union(step, rank):
    """Return the Union that reads less than a step, or None.

    :param rank: of the step's path.
    """
    if step.table is None or rank < planner.Rank.BROAD:
        return None
    best = None
    for alternatives in step.source.alternatives:
        worst, steps = planner.Rank.PARTITION, []
        for values in alternatives:
            source = step.source.one_of(values)
            found, path, _ = planner.choose(step.table, source.values)
            worst = max(worst, found)
            steps.append(plan.Step(source, step.table, plan.Path(path)))
        if worst < planner.Rank.BROAD and (best is None or worst < best[0]):
            best = worst, steps
    return None if best is None else plan.Union(step, best[1])


def _origin(source, columns, resolved):
    """Return where linked columns' values can be read now, or nothing."""
    if len(columns) == 1:
        for origin in source.links.get(columns[0], ()):
            if all(_sources_of(other) <= resolved
                   for other, _name in origin):
                return tuple((other, (name,)) for other, name in origin)
        return ()
    shared = None
    names = []
    for column in columns:
        by_source = {
            origin[0][0]: origin[0][1]
            for origin in source.links.get(column, ())
            if len(origin) == 1 and _sources_of(origin[0][0]) <= resolved}
        names.append(by_source)
        shared = (set(by_source) if shared is None
                  else shared.intersection(by_source))
    if not shared:
        return ()
    other = min(shared, key=lambda item: item.order)
    return ((other, tuple(by_source[other] for by_source in names)),)


def _sources_of(other):
    """Return the Sources that must be loaded to read a link's other end."""
    return (other.sources if isinstance(other, subqueries.Subquery)
            else {other})


def _dml_values(compiled):
    """Return column key -> value of a statement's VALUES or SET."""
    return {getattr(column, "key", column): value
            for column, value in (
                getattr(compiled.dml_compile_state,
                        private.DICT_PARAMETERS) or {}).items()}


def _column_key(dml, name):
    """Return the key of the column that has a name."""
    for column in dml.table.c:
        if column.name == name:
            return column.key
    return name


def _is_given(compiled, dml, given, name):
    key = _column_key(dml, name)
    return key in given or key in compiled.binds or (
        key in (compiled.column_keys or ()))


def _parameter(compiled, dml, given, name):
    """Return the name of the parameter that a column is set to."""
    key = _column_key(dml, name)
    value = given.get(key)
    if isinstance(value, elements.BindParameter):
        # The compiler may have replaced it by a copy with the column's
        # type; one of no name of its own has the column's.
        name = compiled.bind_names.get(value)
        if name is not None:
            return name
        key = key if value.unique else value.key
    elif isinstance(value, elements.ClauseElement):
        return None
    bound = compiled.binds.get(key)
    return None if bound is None else compiled.bind_names.get(bound)


def _changed_columns(compiled, dml):
    """Return the names of the columns that an UPDATE may set."""
    keys = set(_dml_values(compiled))
    keys.update(compiled.column_keys or ())
    keys.update(column.key for column in compiled.update_prefetch or ())
    return {column.name for column in dml.table.c if column.key in keys}
