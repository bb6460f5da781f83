# SPDX-License-Identifier: Apache-2.0
"""Archiving of deleted rows in shadow tables, and purging of those.

A deleted row moves with everything that refers to it, in one transaction a
table and batch. A server, what hangs off it and their shadows all live in
the server's partition.

:source: nova.db.main.api.archive_deleted_rows and purge_shadow_tables
"""

import collections
import functools
import typing

from nova.db.main import api as main_db_api
from nova.db.main import models
from nova.i18n import _

from nova_kvs.compatibility import private
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session
from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.txn import retry

_SHADOW = getattr(main_db_api, private.SHADOW_TABLE_PREFIX)
#: Timestamps of shadow rows that are never formally deleted.
_PURGED_BY = {"shadow_instance_actions": "created_at",
              "shadow_instance_actions_events": "created_at",
              "shadow_task_log": "updated_at"}
#: Rows that one transaction purges.
_PURGE_ROWS = 1000
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
        #: What Nova would have a statement for.
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


def _condemned(s, table, before, task_log):
    """Return the records of a table that are to be archived, by id."""
    equal = {"deleted": session.Not((0,))}
    column = "deleted_at"
    if table.name == "task_log":
        # Nothing ever deletes these.
        column = "updated_at"
        if task_log:
            equal = {}
        else:
            before = None
    test = None
    if before:
        bound = _AS_STORED(before)
        test = lambda stored: stored.get(column, bound) < bound  # noqa: E731
    return s.records(session.Find(table, equal, test))[0]


def _move(s, record, columns):
    """Move a row to its table's shadow."""
    s.transaction.insert(_SHADOW + record.table, {
        name: value for name, value in record.values.items()
        if name in columns})
    s.transaction.delete(record)


def _archive_table(kvs, table, max_rows, before, task_log):
    """Archive some rows of a table and what refers to them.

    :returns: (rows of the table, dict of other table -> rows, UUIDs of
        servers).
    """
    s = session.Session(kvs)
    records = _condemned(s, table, before, task_log)
    if max_rows is not None:
        records = records[:max_rows]
    count = 0
    moved = {}
    uuids = []
    for tree in _trees(s, table.name, records):
        moved.update(tree.related)
        moved[table.name, tree.record.key] = tree.record
        if table.name == "instances":
            uuids.append(tree.record.values["uuid"])
        count += 1 + len(tree.statements)
        if max_rows is not None and count >= max_rows:
            break
    archived = collections.Counter()
    columns_of = models.BASE.metadata.tables
    for record in moved.values():
        _move(s, record, columns_of[record.table].columns)
        archived[record.table] += 1
    s.commit()
    own = archived.pop(table.name, 0)
    return own, archived, uuids


@native.main_reader()
def archive_deleted_rows(s, context=None, max_rows=None, before=None,
                         task_log=False):
    """Move up to max_rows rows from production tables to shadow tables."""
    archived = collections.defaultdict(int)
    uuids = []
    total = 0
    by_table = {mapper.local_table: mapper.class_
                for mapper in models.BASE.registry.mappers}
    for sql_table in models.BASE.metadata.sorted_tables:
        name = sql_table.name
        tables = s.database.schema.tables
        if name not in tables or _SHADOW + name not in tables:
            continue
        own, related, found = retry.run(functools.partial(
            _archive_table, s.database, rows.table(by_table[sql_table]),
            max_rows - total, before, task_log))
        total += own
        if name == "instances":
            uuids = found
        if own:
            archived[name] = own
            for other, count in related.items():
                archived[other] += count
                total += count
        if total >= max_rows:
            break
    return archived, uuids, total


def _purge_some(kvs, name, column, before):
    """Remove rows of a shadow table, until one is in another's way.

    :returns: (how many rows, whether none is left).
    :raises nova_kvs.exceptions.ConflictError: if it was the first.
    """
    records = kvs.begin().load([access.FullScan(name)])[0]
    if column is not None:
        records = [record for record in records
                   if record.values.get(column, before) < before]
    for first in range(0, len(records), _PURGE_ROWS):
        transaction = kvs.begin()
        for record in records[first:first + _PURGE_ROWS]:
            transaction.delete(record)
        try:
            transaction.commit()
        except exceptions.ConflictError:
            if not first:
                raise
            return first, False
    return len(records), True


@native.main_reader()
def purge_shadow_tables(s, context, before_date, status_fn=None):
    """Purge rows of shadow tables that were archived before a date."""
    report = status_fn or (lambda message: None)
    before = before_date and _AS_STORED(before_date)
    total = 0
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
        deleted = 0
        done = False
        while not done:
            some, done = retry.run(functools.partial(
                _purge_some, s.database, name, column, before))
            deleted += some
        if deleted:
            report(_("Deleted %(rows)i rows from %(table)s based on "
                     "timestamp column %(col)s") % {
                         "rows": deleted, "table": name,
                         "col": column or "(n/a)"})
        total += deleted
    return total
