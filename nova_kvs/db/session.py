# SPDX-License-Identifier: Apache-2.0
"""One native call's transaction: finds, and the changes it makes.

A find names a table and equalities; the session picks the cheapest access
path that the schema offers, reads all finds of a step in one batch, and
filters exactly. Changes follow the two ways in which Nova writes: through a
loaded object (``update``: only real changes count) and through a query
(``update_all``: always counts).
"""

import functools
import itertools
import operator
import typing

from oslo_db import exception as db_exc
from oslo_utils import timeutils

from nova_kvs.db import errors
from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import planner

_by_key = operator.attrgetter("key")
_ONLY_TEXT = {str}


class In(typing.NamedTuple):
    """One of several values; NULL is none of them, as in SQL."""

    values: tuple


class Not(typing.NamedTuple):
    """None of several values, nor NULL, as in SQL."""

    values: tuple


_NOT_ZERO = Not((0,))


class Find(typing.NamedTuple):
    """Rows of a table that satisfy equalities and, if given, a test."""

    table: typing.Any
    #: column name -> value, None, In or Not.
    equal: dict
    #: function of the stored values (a dict without the NULLs), or None.
    test: typing.Any = None
    #: column name -> (lowest, highest stored value, or None), of rows that
    #: can pass the test; None if nothing is known.
    ranges: typing.Any = None
    #: Of which the test is made among others: a column, a function of its
    #: stored value and what that contains if it passes and is text, whatever
    #: the case of its ASCII letters.
    column_tests: tuple = ()
    #: function of a list of Records that returns those that pass, or None: it
    #: looks at other rows of theirs.
    choose: typing.Any = None


def find(table, test=None, **equal):
    """Return a Find."""
    return Find(table, equal, test)


def scope(context, read_deleted=None):
    """Return the equalities that Nova's model_query adds.

    :param read_deleted: 'no', 'yes' or 'only'; None for the context's.
    :raises ValueError: for anything else.
    :source: nova.db.main.api.model_query
    """
    if read_deleted is None:
        read_deleted = context.read_deleted
    if read_deleted == "no":
        return {"deleted": 0}
    if read_deleted == "yes":
        return {}
    if read_deleted == "only":
        return {"deleted": Not((0,))}
    # Not at the top: a process of Placement's may have no Nova.
    from nova.i18n import _

    raise ValueError(_("Unrecognized read_deleted value '%s'")
                     % read_deleted)


def project_scope(context, read_deleted=None):
    """Return ``scope`` and, for a user's context, the user's project.

    :source: nova.db.main.api.model_query with project_only
    """
    import nova.context

    equal = scope(context, read_deleted)
    if nova.context.is_user_context(context):
        equal["project_id"] = context.project_id
    return equal


class Session:
    """Reads and buffered writes of one native call."""

    def __init__(self, database, writes=True, transaction=None):
        """Begin a transaction, unless there is one.

        :param writes: False if no loaded row will be changed.
        """
        self.database = database
        self.writes = writes
        self.schema = database.schema
        self.transaction = transaction or database.begin(may_lag=not writes)
        self._rows = {}
        self._dirty = {}
        self._compared = set()
        self._done = False

    def load(self, *finds):
        """Return a list of Rows, in primary-key order, for each find.

        :raises nova_kvs.exceptions.StoreUnavailableError:
        """
        return [self.rows(found.table, records)
                for found, records in zip(finds, self.records(*finds))]

    def rows(self, table, records):
        """Return records as Rows: for one record always the same Row."""
        known = self._rows
        make = table.row
        writes = self.writes
        rows = []
        for record in records:
            # A transaction has one Record of a row, and keeps it.
            identity = id(record)
            row = known.get(identity)
            if row is None:
                row = known[identity] = make(record, writes)
            rows.append(row)
        return rows

    def records(self, *finds, table_only=False, only_columns=None, along=()):
        """Return a list of Records for each find, as ``load``.

        :param table_only: nothing else that belongs to the same servers will
            be read or written.
        :param only_columns: names of all the columns that will be looked at,
            or pairs of one and the only value of it that matters, beside the
            equalities of the finds: the answer may be Values.
        :param along: accesses that are made in the same batch. What they find
            comes behind that of the finds.
        """
        bound = [self._bound(found) for found in finds]
        answers = self.transaction.load([
            *[self._access(found, table_only, only_columns)
              for found in bound], *along])
        return _chosen(bound, answers) + answers[len(bound):]

    def all(self, table, test=None, ranges=None, **equal):
        """Return the Rows of one find."""
        return self.load(Find(table, equal, test, ranges))[0]

    def first(self, table, test=None, **equal):
        """Return the first Row of one find, or None."""
        rows = self.load(Find(table, equal, test))[0]
        return rows[0] if rows else None

    def count(self, table, test=None, **equal):
        """Return how many rows one find has."""
        return len(self.records(
            Find(table, equal, test), table_only=True,
            only_columns=frozenset() if test is None else None)[0])

    def schema_table(self, table):
        """Return the record layer's Table.

        :raises nova_kvs.db.errors.Fallback: if the database has none:
            Nova's own function says what is wrong with it.
        """
        found = self.schema.tables.get(table.name)
        if found is None:
            raise errors.Fallback()
        return found

    def _bound(self, found):
        """Return a find with equalities as they are stored."""
        return Find(found.table, self.bind_equal(found), *found[2:])

    def bind_equal(self, found):
        """Return a find's equalities with values as they are stored."""
        table = found.table
        schema_table = self.schema_table(table)
        processors = table.bind_processors
        native = schema_table.native
        bound = {}
        for name, value in found.equal.items():
            kind = type(value)
            # Text is stored as it is, and most of what is looked for.
            is_text = native.get(name) is str and name not in processors
            if kind is str and is_text:
                bound[name] = value
            elif kind is In or kind is Not:
                values = value.values
                if not is_text or set(map(type, values)) != _ONLY_TEXT:
                    values = [_bind(schema_table, table, name, item)
                              for item in values if item is not None]
                bound[name] = kind(tuple(dict.fromkeys(values)))
            elif kind is int or kind is bool:
                bound[name] = _bind_number(schema_table, table, name, value)
            elif value is None:
                bound[name] = None
            else:
                bound[name] = _bind(schema_table, table, name, value)
        return bound

    def _access(self, found, table_only=False, only_columns=None):
        """Return the cheapest access that holds all rows of a find.

        :param found: Find with bound values.
        """
        table, equal = found.table, found.equal
        path = self.path(found)
        if found.ranges and path.rank >= planner.Rank.BROAD:
            ranged = self.range_path(found)
            if ranged is not None:
                return ranged.access(
                    table.name, tuple([equal[name] for name in ranged.prefix]),
                    *[None if end is None else (end,)
                      for end in found.ranges[ranged.columns[0]]],
                    table_only=table_only)
        if path.kind == planner.SCAN and self.finds_deleted(found):
            return access.DeletedRows(table.name)
        return path.access(
            table.name, _tuples([equal[name] for name in path.columns]),
            table_only, frozenset() if only_columns is None
            else only_columns.union(equal))

    def finds_deleted(self, found):
        """Tell whether rows of a find are found as those that are deleted.

        :param found: Find.
        """
        return (found.equal.get(planner.BROAD_COLUMN) == _NOT_ZERO
                and self.schema_table(found.table).finds_parts)

    def path(self, found):
        """Return the best Path to the rows of a find.

        :param found: Find with bound values.
        """
        schema_table = self.schema_table(found.table)
        path = self._path(schema_table, found)
        if path.rank >= planner.Rank.BROAD and schema_table.partial_paths:
            return planner.partial_path(schema_table, {
                name: value.values if type(value) is In else (value,)
                for name, value in found.equal.items()
                if value is not None and type(value) is not Not}) or path
        return path

    @staticmethod
    def _path(schema_table, found):
        """Return the best Path by the columns whose values are known."""
        return planner.known_path(schema_table, tuple([
            name for name, value in found.equal.items()
            if value is not None and type(value) is not Not]))

    def reads_many(self, found):
        """Tell whether an answer is looked for among many rows.

        Then it is better to read these rows alone, and what belongs to those
        that are chosen afterwards.

        :param found: Find.
        """
        return self._path(
            self.schema_table(found.table), found).rank >= planner.Rank.BROAD

    def range_path(self, found):
        """Return the best Ordered path by a find's ranges, or None.

        :param found: Find with bound values.
        """
        equal = found.equal
        path = planner.in_range(
            self.schema_table(found.table),
            [name for name, value in equal.items()
             if value is not None and type(value) not in (In, Not)],
            found.ranges)
        if path is None or not path.holds(
                [equal[name] for name in path.prefix]):
            return None
        return path

    def insert(self, table, values):
        """Add a row, with the model's defaults and an id.

        :returns: the new Row, with Python values as given.
        :raises oslo_db.exception.DBError: if a value is missing or refused.
        """
        schema_table = self.schema_table(table)
        row = table.new(values)
        attributes = row.__dict__
        auto_id = table.auto_id
        if auto_id is not None and attributes[auto_id] is None:
            attributes[auto_id] = self.transaction.next_id(table.name)
        stored = table.bind_row(row)
        if not schema_table.affinities.keys() >= stored.keys():
            # The database is older than the models.
            raise errors.Fallback()
        self.transaction.insert(table.name, stored)
        return row

    def update(self, row, values):
        """Change a loaded row as setting its attributes does.

        Attributes that keep their value do not count; if none is left, the
        row is not written and its ``updated_at`` stays.

        :returns: True if the row changes.
        """
        attributes = row.__dict__
        table = row._table
        changed = {}
        for name, value in values.items():
            if name in table.template and attributes[name] != value:
                changed[name] = value
            else:
                # Also an equal one of another type, such as 1 for 1.0.
                attributes[name] = value
        if changed:
            self._write(row, changed)
        return bool(changed)

    def update_all(self, rows, values):
        """Change loaded rows as an UPDATE does: always, and all of them.

        :returns: number of rows.
        """
        for row in rows:
            self._write(row, values)
        return len(rows)

    def _write(self, row, values):
        table = row._table
        record = row._record
        identity = (record.table, record.key)
        entry = self._dirty.get(identity)
        if entry is None:
            entry = self._dirty[identity] = (
                record, dict(record.values), set())
        _record, stored, changed = entry
        changed.update(values)
        attributes = row.__dict__
        for name, make in table.onupdates:
            if name not in values:
                attributes[name] = make()
                stored[name] = table.bind(name, attributes[name])
                changed.add(name)
        for name, value in values.items():
            attributes[name] = value
            if value is None:
                if name in table.required:
                    raise db_exc.DBError("NOT NULL constraint failed: %s.%s"
                                         % (table.name, name))
                stored.pop(name, None)
            else:
                stored[name] = table.bind(name, value)

    def reread(self, row):
        """Let a changed row's values be what reading it again would give.
        """
        record = row._record
        schema_table = self.schema_table(row._table)
        _record, stored, _changed = self._dirty[record.table, record.key]
        row.__dict__.update(row._table.values(record._replace(values={
            name: schema_table.normalise(name, value)
            for name, value in stored.items()})))

    def soft_delete(self, rows):
        """Mark rows as deleted as oslo.db's Query.soft_delete does.

        :returns: number of rows.
        """
        now = timeutils.utcnow()
        for row in rows:
            self._write(row, {"deleted": row.id,
                              "updated_at": row.updated_at,
                              "deleted_at": now})
        return len(rows)

    def soft_delete_object(self, row):
        """Mark a row as deleted as oslo.db's model objects do."""
        self.update(row, {"deleted": row.id,
                          "deleted_at": timeutils.utcnow()})

    def delete(self, rows):
        """Remove rows.

        :returns: number of rows.
        """
        for row in rows:
            record = row._record
            self._dirty.pop((record.table, record.key), None)
            self.transaction.delete(record)
        return len(rows)

    def compare(self, table, values=None):
        """Let the commit compare once more what was read of a table.

        It is to be as it was shortly before the commit point, and after all
        other reads. The transaction must have begun as a SERIALIZABLE one;
        nothing else that it has read is compared then.

        :param values: of the column that the table is partitioned by: only
            of their partitions.
        """
        schema_table = self.schema_table(table)
        transaction = self.transaction
        self._compared.update(
            [transaction.table_partition(schema_table)] if values is None
            else [transaction.partition_of_value(schema_table, value)
                  for value in values])

    def commit(self, *finds):
        """Apply the changes. The session is used up then.

        :param finds: what to load along with it, of other tables than were
            changed. It must not decide about the changes.
        :returns: a list of Rows, as ``load``, for each of the finds.
        :raises nova_kvs.exceptions.ConflictError: to be retried outside.
        :raises oslo_db.exception.DBDuplicateEntry: and other oslo.db
            errors, for everything else that went wrong.
        """
        if self._done:
            return []
        self._done = True
        for record, stored, changed in self._dirty.values():
            self.transaction.update(record, stored, changed)
        # The versions of what is written are all that matters.
        self.transaction.trust_reads(self._compared)
        bound = [self._bound(found) for found in finds]
        try:
            answers = self.transaction.commit(
                [self._access(found) for found in bound])
        except exceptions.ConflictError:
            raise
        except errors.INTERNAL as error:
            raise errors.translate(error) from error
        return [self.rows(found.table, records)
                for found, records in zip(finds, _chosen(bound, answers))]

    def commit_what_was_missing(self, but=None):
        """Apply changes with rows that were looked for and not found.

        :param but: a column: a duplicate of it is one all the same.
        :raises nova_kvs.exceptions.ConflictError: also if somebody else
            added a row meanwhile: the next attempt finds it.
        :raises oslo_db.exception.DBDuplicateEntry: of ``but``.
        """
        try:
            self.commit()
        except db_exc.DBDuplicateEntry as error:
            if but in error.columns:
                raise
            raise exceptions.ConflictError() from error


def run(database, function, mode):
    """Run a function that writes, and commit.

    :param function: is given the Session, each time a new one.
    :param mode: nova_kvs.record.runner.Mode.
    :returns: what the function returns.
    """
    def work(transaction):
        current = Session(database, transaction=transaction)
        result = function(current)
        current.commit()
        return result

    return database.run(work, mode)


def _chosen(bound, answers):
    """Return which records finds, with bound values, are for, in order."""
    results = []
    for found, records in zip(bound, answers):
        records = passing(records, found)
        records.sort(key=_by_key)
        results.append(records)
    return results


def _bind(schema_table, table, name, value):
    """Return a value as a column stores it."""
    if name in table.booleans and type(value) is not bool:
        # SQLAlchemy compares it as the type that it is.
        return schema_table.normalise(name, value)
    return schema_table.normalise(name, table.bind(name, value))


#: Of numbers there are few: False for ``deleted`` and the like, and ids.
_bind_number = functools.lru_cache(maxsize=1024, typed=True)(_bind)


def matching(records, equal, test):
    """Return the Records that satisfy bound equalities and a test.

    :param test: as of Find.
    """
    for name, value in equal.items():
        kind = type(value)
        if kind is In:
            values = frozenset(value.values)
            records = [record for record in records
                       if record.values.get(name) in values]
        elif kind is Not:
            refused = frozenset(value.values + (None,))
            records = [record for record in records
                       if record.values.get(name) not in refused]
        else:
            records = [record for record in records
                       if record.values.get(name) == value]
    if test is not None:
        return [record for record in records if test(record.values)]
    return records if equal else list(records)


def passing(records, found):
    """Return the Records that pass a Find with bound values."""
    records = matching(records, found.equal, found.test)
    return records if found.choose is None else found.choose(records)


def _tuples(values):
    """Return the product of single values and alternatives as tuples."""
    return tuple(itertools.product(*[
        value.values if type(value) is In else (value,) for value in values]))


def _plan(schema_table, names):
    """Return by which columns to ask a table for rows with known values.

    :param names: tuple of columns.
    :returns: the partition column (str), the key or an indexed tuple of
        columns, or None if only a scan finds them.
    """
    path = planner.known_path(schema_table, names)
    if path.kind == planner.PARTITION:
        return path.columns[0]
    return path.columns or None
