# SPDX-License-Identifier: Apache-2.0
"""From what a walk sees to the checks that it makes necessary."""

import struct

import msgpack

from nova_kvs import exceptions
from nova_kvs.inspection import checks
from nova_kvs.inspection import covering_checks
from nova_kvs.inspection import index_checks
from nova_kvs.inspection import keys
from nova_kvs.inspection import record_checks
from nova_kvs.inspection import transaction_checks
from nova_kvs import keyspace
from nova_kvs.record.indexes import covering_index
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import local_index
from nova_kvs.record import partition_rules

_VERSION_BYTES = checks.VERSION.size


class Examiner:
    """Makes the checks of one walk.

    :param context: nova_kvs.inspection.checks.Context.
    :ivar records: number of records seen.
    :ivar highest: table's name -> highest automatic id seen.
    :ivar transactions: ids of the transactions that had intents.
    """

    def __init__(self, context):
        self._context = context
        self._keys = keyspace.database_pattern(context.name)[:-1]
        self.records = 0
        self.highest = {}
        self.transactions = set()
        self._of = {
            keys.KeyType.PARTITION: self._partition,
            keys.KeyType.INDEX: self._index,
            keys.KeyType.GLOBAL_INDEX: self._global_entries,
            keys.KeyType.MINIMUMS: self._marks,
            keys.KeyType.INCLUDED: self._covers,
            keys.KeyType.DIRECTORY: self._directory,
            keys.KeyType.QUEUE: self._queue,
        }

    def of_keys(self, found):
        """Return the checks that keys alone make necessary."""
        return [transaction_checks.UnknownKey(key.name) for key in found
                if key.type is keys.KeyType.UNKNOWN]

    def outcomes(self, found):
        """Return the checks of outcomes."""
        made = []
        for key in found:
            if key.type is keys.KeyType.OUTCOME:
                try:
                    txn_id = keys.transaction_of(key)
                except ValueError:
                    continue
                made.append(transaction_checks.Outcome(key.name, txn_id))
        return made

    def of_piece(self, piece):
        """Return the checks of some of what a key holds."""
        return self._of[piece.key.type](piece)

    # Partitions -------------------------------------------------------------

    def _partition(self, piece):
        kind = piece.key.kind
        if kind == partition_rules.META:
            # Opening the database has read it.
            return []
        partition = keyspace.Partition(piece.key.name)
        made = []
        listed = None
        #: Part -> field of a row that belongs to it.
        parts = {}
        for field, value in piece.pairs:
            start = field[:1]
            if start == keyspace.RECORD:
                listed = field
                part = self._record(made, partition, field, value)
                if part is not None:
                    parts[part] = field
            elif start == keyspace.UNIQUE:
                self._unique(made, partition, field, value,
                             kind != partition_rules.UNIQUE)
            elif start == keyspace.INTENT:
                self._intent(made, partition, field, value)
        if listed is not None and kind in partition_rules.LISTED:
            made.append(index_checks.DirectoryNeeded(partition, kind, listed))
        made.extend(
            index_checks.PartNeeded(
                partition, directory.partial(kind, part), field)
            for part, field in parts.items())
        return made

    def _record(self, made, partition, field, value):
        """Add the checks of a record, and return the part of its row."""
        context = self._context
        self.records += 1
        table = context.table_of(field)
        if table is None:
            made.append(record_checks.UnknownTable(partition, field))
            return None
        try:
            row = checks.decode_value(table, field, value)
        except exceptions.CorruptRecordError:
            made.append(record_checks.UndecodableRecord(
                partition, field, value))
            return None
        if table.auto_id is not None:
            number = row.get(table.auto_id)
            if type(number) is int and (
                    number > self.highest.get(table.name, 0)):
                self.highest[table.name] = number
        for entry in context.needed_global_entries(
                table, row, partition, field):
            made.append(index_checks.GlobalEntryNeeded(
                entry, partition, field))
        for place in covering_index.places(
                context.name, table, row, partition, field):
            made.append(covering_checks.MinimumNeeded(
                place, partition, field))
        for entry in context.needed_local_entries(
                table, row, partition, field):
            made.append(record_checks.EntryNeeded(partition, entry, field))
        for unique in context.uniques(table, row, partition, field):
            made.append(record_checks.UniqueNeeded(unique, partition, field))
        return (directory.part_of(table, row) if table.finds_parts
                else None)

    def _unique(self, made, partition, field, value, is_inside):
        if self._context.table_of(field) is None:
            made.append(record_checks.UnknownTable(partition, field))
            return
        try:
            if len(value) < _VERSION_BYTES:
                raise exceptions.CorruptRecordError(field=field)
            made.append(record_checks.UniqueHeld(
                self._context, partition, field, value[_VERSION_BYTES:],
                is_inside))
        except exceptions.CorruptRecordError:
            made.append(record_checks.Undecodable(
                partition, field, value, "unique-undecodable"))

    def _intent(self, made, partition, field, value):
        try:
            check = transaction_checks.Intent(
                partition, field[1:], value, self._keys)
        except ValueError:
            made.append(record_checks.Undecodable(
                partition, field, value, "intent-undecodable"))
        else:
            self.transactions.add(check.head.txn_id)
            made.append(check)

    # Sorted sets ------------------------------------------------------------

    def _index(self, piece):
        partition = keyspace.Partition(piece.key.partition)
        made = []
        for entry, _ in piece.pairs:
            try:
                field = local_index.field_of(entry)
            except struct.error:
                field = b""
            if field[:1] == keyspace.RECORD:
                made.append(record_checks.EntryHeld(partition, entry, field))
            else:
                made.append(index_checks.Malformed(
                    piece.key.name, entry, "index-undecodable"))
        return made

    @staticmethod
    def _of_members(piece, make, malformed):
        """Return a check of each member of a sorted set.

        :param make: function of a member; ValueError: it is malformed.
        :param malformed: kind of the fault then.
        """
        made = []
        for member, _ in piece.pairs:
            try:
                made.append(make(member))
            except ValueError:
                made.append(index_checks.Malformed(
                    piece.key.name, member, malformed))
        return made

    def _global_entries(self, piece):
        return self._of_members(
            piece, lambda member: index_checks.GlobalEntryHeld(
                piece.key.name, member, self._keys),
            "global-index-undecodable")

    def _marks(self, piece):
        bucket = keyspace.bucket_beside(piece.key.name)
        return self._of_members(
            piece, lambda member: covering_checks.MinimumHeld(
                covering_index.Place(bucket, member), self._keys),
            "minimum-undecodable")

    def _covers(self, piece):
        bucket = keyspace.bucket_beside(piece.key.name)
        return [covering_checks.IncludedHeld(
            covering_index.Place(bucket, member))
            for member, _ in piece.pairs]

    def _directory(self, piece):
        made = []
        for member, _ in piece.pairs:
            listed = keys.classify(
                directory.partition_of(member).key, self._context.name)
            kind, part = directory.split(piece.key.kind)
            if listed.type is keys.KeyType.PARTITION and (
                    listed.kind == kind):
                if kind != partition_rules.TABLE or not part:
                    made.append(index_checks.DirectoryHeld(
                        piece.key.name, piece.key.kind, member))
            else:
                made.append(index_checks.Malformed(
                    piece.key.name, member, "directory-undecodable"))
        return made

    def _queue(self, piece):
        made = []
        for member, _ in piece.pairs:
            try:
                kind, _, _ = msgpack.unpackb(member)
                is_item = type(kind) is bytes
            except (ValueError, TypeError,
                    msgpack.exceptions.UnpackException):
                is_item = False
            if not is_item:
                made.append(index_checks.Malformed(
                    piece.key.name, member, "queue-undecodable"))
        return made
