# SPDX-License-Identifier: Apache-2.0
"""Checks of minimum versions and included columns of covering indexes."""

from nova_kvs import exceptions
from nova_kvs.inspection import checks
from nova_kvs import keyspace
from nova_kvs.record.indexes import covering_index
from nova_kvs.store import operations


def _score(place):
    key = keyspace.minimums_key(place.bucket)
    return checks.RawRead(operations.GetScore(key, place.member))


def _needed(context, place, partition, field, cell):
    """Return the table and the row of a Place, if the row has that Place."""
    table, row = context.row(field, cell)
    if table is None or place not in covering_index.places(
            context.name, table, row, partition, field):
        return None, None
    return table, row


class _Check(checks.Check):

    def __init__(self, place, partition, field):
        self._place = place
        self._partition = partition
        self._field = field

    def reads(self, context):
        return [_score(self._place),
                checks.CellsRead(self._partition, (self._field,))]

    def describe(self):
        return {"partition": checks.text(self._partition.key),
                "field": checks.text(self._field),
                "index": checks.text(self._place.bucket)}


class MinimumNeeded(_Check):
    """A row of a covering index must have a minimum version.

    Without one the index does not serve: the row is always read.
    """

    def verdict(self, context, results):
        score, snapshot = results
        cell = snapshot.cell(self._field)
        if score is not None or _needed(
                context, self._place, self._partition, self._field,
                cell)[0] is None:
            return None
        return checks.Fault("minimum-missing", cell.version)

    def repair(self, context, fault):
        """Raise it to the version that was read: none later was known."""
        context.store.batch(
            [covering_index.raising(self._place, fault.state)])
        return True


class MinimumHeld(_Check):
    """A minimum version must be of a row in the index.

    :raises ValueError: if it has not the form of one.
    """

    def __init__(self, place, prefix_of_keys):
        partition, field = covering_index.where(place.member)
        if not partition.key.startswith(prefix_of_keys) or (
                field[:1] != keyspace.RECORD):
            raise ValueError("not a minimum version")
        super().__init__(place, partition, field)

    def verdict(self, context, results):
        score, snapshot = results
        cell = snapshot.cell(self._field)
        if score is None or _needed(
                context, self._place, self._partition, self._field,
                cell)[0] is not None:
            return None
        return checks.Fault("minimum-stale", (
            score, None if cell is None else cell.version))

    def promise(self, fault):
        return self._place

    def repair(self, context, fault):
        """Drop it as housekeeping does, unless it was raised meanwhile."""
        context.store.batch([covering_index.dropping(
            self._place, int(fault.state[0]))])
        return True


class IncludedHeld(_Check):
    """Included columns must have a minimum version, and be the row's."""

    def __init__(self, place):
        try:
            partition, field = covering_index.where(place.member)
        except ValueError:
            partition, field = keyspace.Partition(place.bucket), b""
        super().__init__(place, partition, field)

    def reads(self, context):
        key = keyspace.included_key(self._place.bucket)
        return [_score(self._place),
                checks.RawRead(operations.GetField(
                    key, self._place.member)),
                checks.CellsRead(self._partition, (self._field,))]

    def verdict(self, context, results):
        score, stored, snapshot = results
        if stored is None:
            return None
        if score is None:
            return checks.Fault("included-dangling", stored)
        cell = snapshot.cell(self._field)
        table, row = _needed(context, self._place, self._partition,
                             self._field, cell)
        if table is None:
            # MinimumHeld finds that.
            return None
        try:
            version, checksum = covering_index.head_of(
                stored, self._place.member)
            included = table.included
            if version < score or checksum != included.checksum or (
                    included.decode(stored, self._place.member)
                    == included.of(row)):
                return None
        except exceptions.CorruptRecordError:
            return checks.Fault("included-undecodable", stored)
        return checks.Fault("included-stale", stored)

    def promise(self, fault):
        """Return the Place of columns whose minimum version went first.

        A check that an earlier write had queued may remove the minimum
        version of a row that has just left; included columns read before
        that may still be on their way. The check that leaving queued
        removes them.
        """
        return self._place if fault.kind == "included-dangling" else None

    def repair(self, context, fault):
        """Remove them: the next reader of the index reads the row."""
        key = keyspace.included_key(self._place.bucket)
        context.store.batch([
            operations.RemoveField(key, self._place.member)])
        return True
