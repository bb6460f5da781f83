# SPDX-License-Identifier: Apache-2.0
"""Archiving of deleted rows in shadow tables, and purging of those.

A deleted row moves with everything that refers to it, in one transaction a
table and batch. A server, what hangs off it and their shadows all live in
the server's partition.

:source: nova.db.main.api.archive_deleted_rows and purge_shadow_tables
"""

import collections
import functools
import heapq
import operator
import typing

from nova.db.main import api as main_db_api
from nova.db.main import models
from nova.i18n import _
from oslo_db import exception as db_exception

from nova_kvs.compatibility import private
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session
from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import runner
from nova_kvs.record import scanning
from nova_kvs.store import freeing

_SHADOW = getattr(main_db_api, private.SHADOW_TABLE_PREFIX)
#: Timestamps of shadow rows that are never formally deleted.
_PURGED_BY = {"shadow_instance_actions": "created_at",
              "shadow_instance_actions_events": "created_at",
              "shadow_task_log": "updated_at"}
#: Rows that one transaction purges.
_PURGE_ROWS = 1000
_BY_KEY = operator.itemgetter(0)
_AS_STORED = rows.table(models.Instance).bind_processors["deleted_at"]


class _Reference(typing.NamedTuple):
    """A foreign key, seen from the table that it refers to."""

    child: rows.Table
    column: str
    parent_column: str


@functools.cache
def _references(name):
    """Return the references to a table."""
    tables = models.BASE.metadata.tables
    by_table = {mapper.local_table.name: mapper.class_
                for mapper in models.BASE.registry.mappers}
    return [_Reference(rows.table(by_table[child.name]), key.parent.key,
                       key.column.key)
            for child in tables.values()
            for key in sorted(child.foreign_keys,
                              key=lambda key: key.parent.key)
            if key.column.table is tables[name]]


class _Tree:
    """A row and all that refers to it, directly or not."""

    def __init__(self, record):
        self.record = record
        #: identity -> Record, children before what they refer to.
        self.related = {}
        #: Nova would have a statement for each of these.
        self.statements = set()


def _trees(s, name, records):
    """Return the trees of rows of one table, in the rows' order."""
    trees = [_Tree(record) for record in records]
    for reference in _references(name):
        child = reference.child
        if _SHADOW + child.name not in s.schema.tables:
            continue
        owners = collections.defaultdict(list)
        for tree in trees:
            value = tree.record.values.get(reference.parent_column)
            if value is not None:
                owners[value].append(tree)
        if not owners:
            continue
        found = s.records(session.find(
            child, **{reference.column: session.In(tuple(owners))}))[0]
        for below in _trees(s, child.name, found):
            for tree in owners[below.record.values[reference.column]]:
                tree.related.update(below.related)
                tree.related[child.name, below.record.key] = below.record
                tree.statements.add((name, reference.column, child.name))
                tree.statements.update(below.statements)
    return trees


def _conditions(name, before, task_log):
    """Return (equalities, test) of the rows of a table to be archived."""
    equal = {"deleted": session.Not((0,))}
    column = "deleted_at"
    if name == "task_log":
        # Nothing ever deletes these.
        column = "updated_at"
        if task_log:
            equal = {}
        else:
            before = None
    if not before:
        return equal, None
    bound = _AS_STORED(before)
    return equal, lambda stored: stored.get(column, bound) < bound


#: Column of a table of which an archive takes more than deleted rows, which
#: grows with time: what is archived comes first.
_GROWS = {"task_log": "period_ending"}
#: (database, kind) -> partition from which the next archive goes on.
_reached = {}


class _Survey:
    """The rows that an archive may take, at most so many a table.

    The partitions with deleted rows are read once for all tables, page by
    page, until there are as many as the archive takes. Of what was read the
    lowest keys are taken. An archive stops at its number of rows, those that
    follow others included: so the first of each table are enough, though some
    move before their table's turn.

    The next archive of the process begins at the page where this one ends:
    what is archived stays listed for a while.

    :param names: the tables that have a shadow.
    """

    def __init__(self, kvs, names, max_rows, before, task_log):
        self._kvs = kvs
        self._names = names
        self._max_rows = max_rows
        self._before = before
        self._task_log = task_log
        #: Table's name -> list of (primary key, partition), lowest first.
        self._found = {}

    def places(self, name):
        """Return the (primary key, partition) of a table's rows."""
        if name not in self._found:
            self._look(name)
        return self._found[name]

    def _look(self, name):
        tables = self._kvs.schema.tables
        names = [name]
        kind = tables[name].kind
        if tables[name].partition_column is not None:
            names = [other for other in self._names
                     if tables[other].kind == kind]
        self._found.update((other, []) for other in names)
        takes_all = name in _GROWS and self._task_log
        scan = scanning.Scan(self._kvs, names, not takes_all,
                             _GROWS.get(name))
        resume = self._kvs.name, kind
        count = 0
        for page in scan.pages(_reached.get(resume)):
            for other, records in page.items():
                found = session.matching(records, *_conditions(
                    other, self._before, self._task_log))
                if found:
                    self._found[other] = heapq.nsmallest(
                        self._max_rows, {*self._found[other], *[
                            (record.key, record.partition)
                            for record in found]}, key=_BY_KEY)
                    count += len(found)
            if count >= self._max_rows:
                break
        if scan.page:
            _reached[resume] = scan.page[0]


def _condemned(s, table, before, task_log, max_rows, survey):
    """Return the records of a table that are to be archived, by id.

    :param max_rows: at most so many.
    """
    places = survey.places(table.name)
    if not places:
        return []
    records = _records_at(s.transaction, table.name, places)
    records = session.matching(
        records, *_conditions(table.name, before, task_log))
    return sorted(records, key=operator.attrgetter("key"))[:max_rows]


def _records_at(transaction, name, places):
    """Return the records of a table that are at some places.

    :param places: list of (primary key, partition).
    """
    if transaction.table(name).partition_column is None:
        wanted = access.ByKey(name, tuple([key for key, _place in places]))
    else:
        wanted = access.InPartitions(name, tuple(dict.fromkeys(
            [partition for _key, partition in places])))
    chosen = set(places)
    return [record for record in transaction.load([wanted])[0]
            if (record.key, record.partition) in chosen]


def _move(s, record, columns):
    """Move a row to its table's shadow."""
    s.transaction.insert(_SHADOW + record.table, {
        name: value for name, value in record.values.items()
        if name in columns})
    s.transaction.delete(record)


def _archive_table(kvs, table, max_rows, before, task_log, survey,
                   transaction):
    """Archive some rows of a table and what refers to them.

    :returns: (rows of the table, dict of other table -> rows, UUIDs of
        servers).
    """
    s = session.Session(kvs, transaction=transaction)
    records = _condemned(s, table, before, task_log, max_rows, survey)
    count = 0
    moved = {}
    uuids = []
    for tree in _trees(s, table.name, records):
        moved.update(tree.related)
        moved[table.name, tree.record.key] = tree.record
        if table.name == "instances":
            uuids.append(tree.record.values["uuid"])
        count += 1 + len(tree.statements)
        if count >= max_rows:
            break
    archived = collections.Counter()
    columns_of = models.BASE.metadata.tables
    for record in moved.values():
        _move(s, record, columns_of[record.table].columns)
        archived[record.table] += 1
    s.commit()
    own = archived.pop(table.name, 0)
    return own, archived, uuids


def _archive_in_parts(kvs, table, max_rows, *choice):
    """Archive rows of a table, as many at once as the store takes.

    :param choice: the other arguments of ``_archive_table``.
    :returns: yields what that returns, of what was archived.
    """
    most = max_rows
    while max_rows > 0:
        try:
            own, related, uuids = kvs.run(functools.partial(
                _archive_table, kvs, table, min(most, max_rows), *choice))
        except db_exception.DBError as error:
            if most == 1 or not isinstance(
                    error.__cause__, exceptions.TooLargeError):
                raise
            most = (min(most, max_rows) + 1) // 2
            continue
        if own:
            yield own, related, uuids
        max_rows -= own + sum(related.values())
        if not own or most >= max_rows:
            return


@native.main_reader()
@freeing.freeing_memory()
def archive_deleted_rows(s, context=None, max_rows=None, before=None,
                         task_log=False):
    """Move up to max_rows rows from production tables to shadow tables."""
    archived = collections.defaultdict(int)
    uuids = []
    total = 0
    by_table = {mapper.local_table: mapper.class_
                for mapper in models.BASE.registry.mappers}
    stored = s.database.schema.tables
    tables = [table for table in models.BASE.metadata.sorted_tables
              if table.name in stored and _SHADOW + table.name in stored]
    survey = _Survey(s.database, [table.name for table in tables], max_rows,
                     before, task_log)
    for sql_table in tables:
        name = sql_table.name
        for own, related, found in _archive_in_parts(
                s.database, rows.table(by_table[sql_table]), max_rows - total,
                before, task_log, survey):
            uuids += found
            archived[name] += own
            total += own
            for other, count in related.items():
                archived[other] += count
                total += count
        if total >= max_rows:
            break
    return archived, uuids, total


def _purge(kvs, columns, before):
    """Remove rows of shadow tables, page by page.

    :param columns: table's name -> the column that is compared, or None for
        all rows; of tables that are spread over partitions of one kind.
    :returns: table's name -> how many rows.
    """
    counts = collections.Counter()
    parts = runner.InParts(_PURGE_ROWS)
    for page in scanning.pages(kvs, list(columns)):
        records = [record for name, found in page.items() for record in found
                   if columns[name] is None
                   or record.values.get(columns[name], before) < before]
        for found in parts.run(
                lambda some: kvs.run(functools.partial(
                    _purge_some, kvs, some)), records):
            counts.update(found)
    return counts


def _purge_some(kvs, records, transaction):
    """Remove those of some records that are still there.

    :param records: a list: where another process was first, those that are
        left replace its items.
    :returns: table's name -> how many rows.
    """
    for record in records:
        transaction.delete(record)
    try:
        transaction.commit()
    except exceptions.ConflictError:
        places = collections.defaultdict(list)
        for record in records:
            places[record.table].append((record.key, record.partition))
        reading = kvs.begin()
        records[:] = [record for name, found in places.items()
                      for record in _records_at(reading, name, found)]
        raise
    return collections.Counter([record.table for record in records])


@native.main_reader()
@freeing.freeing_memory()
def purge_shadow_tables(s, context, before_date, status_fn=None):
    """Purge rows of shadow tables that were archived before a date."""
    report = status_fn or (lambda message: None)
    before = before_date and _AS_STORED(before_date)
    #: Tables that are read together -> their names -> the columns.
    passes = collections.defaultdict(dict)
    for name, table in sorted(s.schema.tables.items()):
        if not name.startswith(_SHADOW):
            continue
        column = None
        if before_date is not None:
            candidates = ([_PURGED_BY[name]] if name in _PURGED_BY else
                          ["deleted_at", "updated_at", "created_at"])
            column = next((candidate for candidate in candidates
                           if candidate in table.columns), None)
            if column is None:
                report(_("Unable to purge table %(table)s because it "
                         "has no timestamp column") % {"table": name})
                continue
        passes[name if table.partition_column is None else table.kind][
            name] = column
    total = 0
    for columns in passes.values():
        # Rows that follow a parent move where they are left behind by it.
        columns = dict(sorted(columns.items(), key=lambda item: not (
            s.schema.tables[item[0]].parents)))
        for name, deleted in sorted(
                _purge(s.database, columns, before).items()):
            report(_("Deleted %(rows)i rows from %(table)s based on "
                     "timestamp column %(col)s") % {
                         "rows": deleted, "table": name,
                         "col": columns[name] or "(n/a)"})
            total += deleted
    return total
