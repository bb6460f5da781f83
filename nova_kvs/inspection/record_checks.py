# SPDX-License-Identifier: Apache-2.0
"""Checks of records, and of unique keys and indexes of one partition."""

import base64

from nova_kvs import exceptions
from nova_kvs.inspection import checks
from nova_kvs.inspection import keys
from nova_kvs import keyspace
from nova_kvs.record.indexes import unique_key
from nova_kvs.store import operations
from nova_kvs.txn import mutation


def _where(partition, field):
    return {"partition": checks.text(partition.key),
            "field": checks.text(field)}


class Undecodable(checks.Check):
    """A unique key or intent that cannot be read."""

    IS_CERTAIN = True

    def __init__(self, partition, field, value, kind):
        self._partition = partition
        self._field = field
        self._value = value
        self._kind = kind

    def reads(self, context):
        key = self._partition.key
        return [checks.RawRead(operations.GetField(key, self._field))]

    def verdict(self, context, results):
        if results[0] == self._value:
            return checks.Fault(self._kind)
        return None

    def describe(self):
        return _where(self._partition, self._field)

    def repair(self, context, fault):
        """Move its bytes to the quarantine."""
        context.quarantine({
            **self.describe(),
            "value": base64.b64encode(self._value).decode()})
        done, = context.store.batch([operations.DiscardField(
            self._partition.key, self._field, self._value)])
        return done


class UndecodableRecord(Undecodable):
    """A record that cannot be read."""

    # A migration may have stored it, by another primary key, after the
    # schema was read that the walk went by.
    IS_CERTAIN = False

    def __init__(self, partition, field, value):
        super().__init__(partition, field, value, "record-undecodable")

    def verdict(self, context, results):
        table = context.table_of(self._field)
        if table is None:
            return None
        try:
            checks.decode_value(table, self._field, self._value)
        except exceptions.CorruptRecordError:
            return super().verdict(context, results)
        return None


class UnknownTable(checks.Check):
    """A record or unique key of a table that is not in the schema.

    Never removed: it may be the schema that is wrong.
    """

    def __init__(self, partition, field):
        self._partition = partition
        self._field = field

    def reads(self, context):
        return [checks.CellsRead(self._partition, (self._field,))]

    def verdict(self, context, results):
        cell = results[0].cells.get(self._field)
        if cell is None or context.table_of(self._field) is not None:
            return None
        return checks.Fault("table-unknown", cell.version)

    def describe(self):
        return _where(self._partition, self._field)


def _holder_of(context, partition, field, payload, is_inside):
    """Return the holder that a unique key names: partition and field.

    :raises nova_kvs.exceptions.CorruptRecordError: if it names none: what
        is no key of the database must not be read, nor written.
    """
    holder, holder_field = unique_key.holder_of(
        field, payload, partition if is_inside else None)
    if keys.classify(holder.key, context.name).type is not (
            keys.KeyType.PARTITION):
        raise exceptions.CorruptRecordError(field=field)
    return holder, holder_field


class UniqueNeeded(checks.Check):
    """A record must have its unique key."""

    def __init__(self, unique, holder, field):
        self._partition, self._unique_field = unique
        self._holder = holder
        self._field = field

    def reads(self, context):
        return [
            checks.CellsRead(self._partition, (self._unique_field,)),
            checks.CellsRead(self._holder, (self._field,))]

    def verdict(self, context, results):
        stored = results[0].cells.get(self._unique_field)
        cell = results[1].cells.get(self._field)
        payload = self._payload(context, cell)
        if payload is None:
            return None
        if stored is not None:
            if stored.payload == payload:
                return None
            try:
                _holder_of(context, self._partition, self._unique_field,
                           stored.payload, self._partition == self._holder)
            except exceptions.CorruptRecordError:
                # A check of its own.
                return None
        return checks.Fault(
            "unique-missing",
            (cell.version, stored and stored.version, payload))

    def _payload(self, context, cell):
        table, row = context.row(self._field, cell)
        if table is None:
            return None
        return context.uniques(table, row, self._holder, self._field).get(
            (self._partition, self._unique_field))

    def describe(self):
        return {**_where(self._holder, self._field),
                "unique": checks.text(self._unique_field)}

    def repair(self, context, fault):
        """Give the key to the record, unless another one rightly has it."""
        version, stored, payload = fault.state
        if stored:
            other = UniqueHeld.of_stored(
                context, self._partition, self._unique_field,
                self._partition == self._holder)
            if other is None or not other.is_wrong(context):
                return False
        return context.commit([
            mutation.Mutation(
                self._holder, self._field, version, mutation.LOCK),
            mutation.Mutation(
                self._partition, self._unique_field, stored or 0, payload,
                version=1)])


class UniqueHeld(checks.Check):
    """A unique key must have a record with its values.

    :raises nova_kvs.exceptions.CorruptRecordError: if it names none.
    """

    def __init__(self, context, partition, field, payload, is_inside):
        self._partition = partition
        self._field = field
        self._payload = payload
        self._holder, self._holder_field = _holder_of(
            context, partition, field, payload, is_inside)

    @classmethod
    def of_stored(cls, context, partition, field, is_inside):
        """Return the check of a unique key as it is stored, or None."""
        snapshot, = context.reader.read(
            [checks.CellsRead(partition, (field,))])
        cell = snapshot.cells.get(field)
        if cell is None:
            return None
        try:
            return cls(context, partition, field, cell.payload, is_inside)
        except exceptions.CorruptRecordError:
            return None

    def is_wrong(self, context):
        """Tell whether nobody rightly has the key, looking now."""
        return self.verdict(
            context, context.reader.read(self.reads(context))) is not None

    def reads(self, context):
        return [
            checks.CellsRead(self._partition, (self._field,)),
            checks.CellsRead(self._holder, (self._holder_field,))]

    def verdict(self, context, results):
        stored = results[0].cells.get(self._field)
        if stored is None or stored.payload != self._payload:
            return None
        cell = results[1].cells.get(self._holder_field)
        if cell is None:
            return checks.Fault("unique-dangling", (stored.version, 0))
        table, row = context.row(self._holder_field, cell)
        if table is None or (self._partition, self._field) in context.uniques(
                table, row, self._holder, self._holder_field):
            return None
        return checks.Fault(
            "unique-dangling", (stored.version, cell.version))

    def describe(self):
        return _where(self._partition, self._field)

    def repair(self, context, fault):
        """Remove the key while its record is as it was seen."""
        version, holder = fault.state
        return context.commit([
            mutation.Mutation(
                self._partition, self._field, version, mutation.DELETE),
            mutation.Mutation(
                self._holder, self._holder_field, holder, mutation.LOCK)])


class _Entry(checks.Check):
    """An entry of the index of a partition."""

    def __init__(self, partition, entry, field):
        self._partition = partition
        self._entry = entry
        self._field = field

    def reads(self, context):
        partition = self._partition
        intent = keyspace.intent_field(self._field)
        return [
            checks.RawRead(operations.GetScore(
                partition.index_key, self._entry)),
            checks.CellsRead(partition, (self._field,)),
            checks.RawRead(operations.HasField(partition.key, intent))]

    def _look(self, context, results):
        """Return whether the entry is there, is needed, and the version.

        None while a transaction is at work on the record: its entries are
        there before it.
        """
        score, snapshot, intent = results
        if intent:
            return None
        cell = snapshot.cells.get(self._field)
        table, row = context.row(self._field, cell)
        if cell is not None and table is None:
            return None
        needed = cell is not None and self._entry in context.local_entries(
            table, row, self._partition, self._field)
        return score is not None, needed, cell.version if cell else 0

    def describe(self):
        return {**_where(self._partition, self._field),
                "entry": checks.text(self._entry)}

    def _correct(self, context, wanted, version):
        done, = context.store.batch([operations.CorrectIndex(
            self._partition.key, self._partition.index_key, self._field,
            version, self._entry, wanted)])
        return done


class EntryNeeded(_Entry):
    """A record must have its entries in the index of its partition."""

    def verdict(self, context, results):
        found = self._look(context, results)
        if found is None or found[0] or not found[1]:
            return None
        return checks.Fault("index-missing", found[2])

    def repair(self, context, fault):
        return self._correct(context, True, fault.state)


class EntryHeld(_Entry):
    """An entry must have a record with its values."""

    def verdict(self, context, results):
        found = self._look(context, results)
        if found is None or not found[0] or found[1]:
            return None
        return checks.Fault("index-stale", found[2])

    def repair(self, context, fault):
        return self._correct(context, False, fault.state)
