# SPDX-License-Identifier: Apache-2.0
"""Checks of global indexes and directories, which span partitions."""

import os
import struct

from nova_kvs.inspection import checks
from nova_kvs.inspection import keys
from nova_kvs import keyspace
from nova_kvs.record import housekeeping
from nova_kvs.record.indexes import base as index_base
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.record import partition_rules
from nova_kvs.store import operations
from nova_kvs.txn import reading

#: Members of one prefix that are read; more have a longer prefix.
_ENOUGH = 100


def _exactly(key, member):
    return reading.MembersRead(key, b"[" + member, b"[" + member)


def _range(key, low, high):
    return reading.MembersRead(key, low, high, _ENOUGH)


def _add(context, entries):
    context.store.batch(entries)


class GlobalEntryNeeded(checks.Check):
    """A record must have its entries in global indexes."""

    def __init__(self, entry, partition, field):
        self._entry = entry
        self._partition = partition
        self._field = field

    def reads(self, context):
        return [_range(self._entry.key,
                       *global_index.range_of(self._entry.prefix)),
                checks.CellsRead(self._partition, (self._field,))]

    def verdict(self, context, results):
        members, snapshot = results
        if global_index.members_of(self._entry.prefix, members):
            return None
        cell = snapshot.cells.get(self._field)
        table, row = context.row(self._field, cell)
        if table is None or self._entry not in context.global_entries(
                table, row, self._partition, self._field):
            return None
        return checks.Fault("global-index-missing", cell.version)

    def describe(self):
        return {"partition": checks.text(self._partition.key),
                "field": checks.text(self._field),
                "index": checks.text(self._entry.key)}

    def repair(self, context, fault):
        """Add the entry and the task that checks it, as a commit does."""
        stored = global_index.member(
            self._entry, fault.state, os.urandom(index_base.NONCE_BYTES))
        table = context.table_of(self._field)
        _add(context, [
            operations.Add(self._entry.key, stored),
            *housekeeping.tasks(context.database, [
                (table.name, self._partition.key, self._field,
                 [(*self._entry, stored)])], {})])
        return True


class GlobalEntryHeld(checks.Check):
    """An entry of a global index must name a record with its values.

    :raises ValueError: if the member has not the form of an entry.
    """

    def __init__(self, key, member, prefix_of_keys):
        self._key = key
        self._member = member
        self._prefix = global_index.prefix_of(member)
        try:
            self._partition = global_index.partition_of(member)
            self._field = global_index.field_of(member)
        except struct.error as error:
            raise ValueError("not an index entry") from error
        if not self._partition.key.startswith(prefix_of_keys) or (
                self._field[:1] != keyspace.RECORD):
            raise ValueError("not an index entry")

    def reads(self, context):
        return [_exactly(self._key, self._member),
                checks.CellsRead(self._partition, (self._field,))]

    def verdict(self, context, results):
        members, snapshot = results
        if not members:
            return None
        cell = snapshot.cells.get(self._field)
        if cell is None:
            return checks.Fault("global-index-dangling")
        table, row = context.row(self._field, cell)
        if table is None or (self._key, self._prefix) in (
                context.global_entries(
                    table, row, self._partition, self._field)):
            return None
        return checks.Fault("global-index-stale", cell.version)

    def describe(self):
        return {"partition": checks.text(self._partition.key),
                "field": checks.text(self._field),
                "index": checks.text(self._key)}

    def promise(self, fault):
        return self._key, self._prefix

    def repair(self, context, fault):
        """Check the entry as housekeeping does when it is due."""
        table = context.table_of(self._field)
        context.housekeeper.check_indexes([[(
            table.name if table else "", self._partition.key, self._field,
            [(self._key, self._prefix, self._member)])]])
        return True


class Malformed(checks.Check):
    """A member of a sorted set that has not the form of its kind."""

    IS_CERTAIN = True

    def __init__(self, key, member, kind):
        self._key = key
        self._member = member
        self._kind = kind

    def reads(self, context):
        return [checks.RawRead(operations.GetScore(
            self._key, self._member))]

    def verdict(self, context, results):
        return None if results[0] is None else checks.Fault(self._kind)

    def describe(self):
        return {"key": checks.text(self._key),
                "member": checks.text(self._member)}

    def repair(self, context, fault):
        context.store.batch([operations.Remove(self._key, self._member)])
        return True


class DirectoryNeeded(checks.Check):
    """A partition that holds a record must be listed."""

    def __init__(self, partition, kind, field):
        self._partition = partition
        self._kind = kind
        self._field = field

    def reads(self, context):
        key = directory.key_of(context.name, self._kind, self._partition)
        return [_range(key, *directory.range_of(self._partition)),
                checks.CellsRead(self._partition, (self._field,))]

    def verdict(self, context, results):
        members, snapshot = results
        cell = snapshot.cells.get(self._field)
        if cell is None or directory.is_listed(self._partition, members):
            return None
        return checks.Fault("directory-missing", cell.version)

    def describe(self):
        return {"partition": checks.text(self._partition.key)}

    def repair(self, context, fault):
        """List it, and have housekeeping check later if it is empty."""
        _add(context, [
            directory.adding(context.name, self._kind, self._partition,
                             os.urandom(index_base.NONCE_BYTES)),
            *housekeeping.tasks(
                context.database, [], [(self._partition, self._kind)])])
        return True


class PartNeeded(DirectoryNeeded):
    """A partition that holds a row of a part must be listed for it."""

    def verdict(self, context, results):
        fault = super().verdict(context, results)
        if fault is None:
            return None
        table, row = context.row(
            self._field, results[1].cells.get(self._field))
        if table is None or not table.finds_parts or (
                directory.part_of(table, row)
                != directory.split(self._kind)[1]):
            return None
        return fault

    def repair(self, context, fault):
        if directory.split(self._kind)[0] != partition_rules.TABLE:
            return super().repair(context, fault)
        _add(context, [directory.adding(
            context.name, self._kind, self._partition)])
        return True


class _ContentRead(checks.RawRead):
    """Read the fields that hold records, or have an intent."""

    def result(self, reply, met):
        return [field[1:] if field[:1] == keyspace.INTENT else field
                for field in reply
                if field[:1] in (keyspace.RECORD, keyspace.INTENT)]


class DirectoryHeld(checks.Check):
    """A partition that is listed must hold a record."""

    def __init__(self, key, kind, member):
        self._key = key
        self._kind = kind
        self._member = member
        self._partition = directory.partition_of(member)

    def reads(self, context):
        key = self._partition.key
        return [_exactly(self._key, self._member),
                _ContentRead(operations.ListFields(key))]

    def verdict(self, context, results):
        members, fields = results
        if not members or any(map(self._may_be_of, fields)):
            return None
        return checks.Fault("directory-stale")

    def _may_be_of(self, field):
        """Tell whether a record may be of the part that is listed here."""
        part = directory.split(self._kind)[1]
        name = keys.table_of(field)
        return not part or name is None or (
            partition_rules.is_shadow(name) == (part == directory.SHADOW))

    def describe(self):
        return {"partition": checks.text(self._partition.key)}

    def promise(self, fault):
        return self._partition.key

    def repair(self, context, fault):
        """Remove it as housekeeping does with a partition found empty twice.

        The floor stays until the entries that it guards are checked again.
        """
        context.housekeeper.check_partitions([[
            (self._partition.key, self._kind, [self._member], None)]])
        _add(context, housekeeping.tasks(
            context.database, [], [(self._partition, self._kind)]))
        return True
