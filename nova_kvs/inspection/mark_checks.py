# SPDX-License-Identifier: Apache-2.0
"""Checks of marks and covers: what an index tells of its rows."""

from nova_kvs import exceptions
from nova_kvs.inspection import checks
from nova_kvs import keyspace
from nova_kvs.record import marks
from nova_kvs.store import base


def _score(mark):
    key = keyspace.marks_key(mark.slot)
    return checks.RawRead(base.Command(key, (b"ZSCORE", key, mark.member)))


def _needed(context, mark, partition, field, cell):
    """Return the row of a mark if it needs it, and its table."""
    table, row = context.row(field, cell)
    if table is None or mark not in marks.needed(
            context.name, table, row, partition, field):
        return None, None
    return table, row


class _Check(checks.Check):

    def __init__(self, mark, partition, field):
        self._mark = mark
        self._partition = partition
        self._field = field

    def reads(self, context):
        return [_score(self._mark),
                checks.CellsRead(self._partition, (self._field,))]

    def describe(self):
        return {"partition": checks.text(self._partition.key),
                "field": checks.text(self._field),
                "index": checks.text(self._mark.slot)}


class MarkNeeded(_Check):
    """A row of a marked index must have a mark, or it is always read."""

    def verdict(self, context, results):
        score, snapshot = results
        cell = snapshot.cell(self._field)
        if score is not None or _needed(
                context, self._mark, self._partition, self._field,
                cell)[0] is None:
            return None
        return checks.Fault("mark-missing", cell.version)

    def repair(self, context, fault):
        """Mark the version that was read: nobody marked a later one."""
        context.store.batch(
            [marks.raising(self._mark, fault.state).item()])
        return True


class MarkHeld(_Check):
    """A mark must be of a row in the index.

    :raises ValueError: if it is not made like a mark.
    """

    def __init__(self, mark, prefix_of_keys):
        partition, field = marks.where(mark.member)
        if not partition.key.startswith(prefix_of_keys) or (
                field[:1] != keyspace.RECORD):
            raise ValueError("not a mark")
        super().__init__(mark, partition, field)

    def verdict(self, context, results):
        score, snapshot = results
        cell = snapshot.cell(self._field)
        if score is None or _needed(
                context, self._mark, self._partition, self._field,
                cell)[0] is not None:
            return None
        return checks.Fault("mark-stale", (
            score, None if cell is None else cell.version))

    def promise(self, fault):
        return self._mark

    def repair(self, context, fault):
        """Do what housekeeping does, but for a mark raised meanwhile."""
        context.store.run([marks.dropping(
            self._mark, int(float(fault.state[0])))])
        return True


class Cover(_Check):
    """A cover must belong to a mark, and hold what its row holds."""

    def __init__(self, mark):
        try:
            partition, field = marks.where(mark.member)
        except ValueError:
            partition, field = keyspace.Partition(mark.slot), b""
        super().__init__(mark, partition, field)

    def reads(self, context):
        key = keyspace.covers_key(self._mark.slot)
        return [_score(self._mark),
                checks.RawRead(base.Command(
                    key, (b"HGET", key, self._mark.member))),
                checks.CellsRead(self._partition, (self._field,))]

    def verdict(self, context, results):
        score, cover, snapshot = results
        if cover is None:
            return None
        if score is None:
            return checks.Fault("cover-dangling", cover)
        cell = snapshot.cell(self._field)
        table, row = _needed(context, self._mark, self._partition,
                             self._field, cell)
        if table is None:
            # A check of its mark.
            return None
        try:
            version, check = marks.head_of(cover, self._mark.member)
            if version < float(score) or check != table.covered.check or (
                    table.covered.read(cover, self._mark.member)
                    == table.covered.of(row)):
                return None
        except exceptions.CorruptRecordError:
            return checks.Fault("cover-undecodable", cover)
        return checks.Fault("cover-stale", cover)

    def promise(self, fault):
        """Return the mark of a cover that came after its mark had gone.

        A check that an earlier write had queued may remove the marks of a
        row that has just left; a cover read before that may still be on its
        way. The check that leaving queued removes it.
        """
        return self._mark if fault.kind == "cover-dangling" else None

    def repair(self, context, fault):
        """Remove it: whoever needs it next reads the row."""
        key = keyspace.covers_key(self._mark.slot)
        context.store.execute([base.Command(
            key, (b"HDEL", key, self._mark.member))])
        return True
