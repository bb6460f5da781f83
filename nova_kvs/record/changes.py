# SPDX-License-Identifier: Apache-2.0
"""From the rows that a transaction wrote to all that its commit sends.

Invariant: whatever a row's old values put into indexes and unique keys is
taken out, and what its new values need is put in, in the same commit. Only
global index entries are left behind: a check in the housekeeping queue
removes them later.
"""

import functools
import os

from nova_kvs import exceptions
from nova_kvs.record import codec
from nova_kvs.record.indexes import base
from nova_kvs.record.indexes import covering_index
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import local_index
from nova_kvs.record import partition_rules
from nova_kvs.store import operations
from nova_kvs.txn import mutation


class Write:
    """A transaction's change of one row.

    :ivar table: Table by which it was stored, and (``new_table``) will be.
    :ivar original: the Record that was read, or None.
    :ivar row: the new values, dict without Nones; None deletes.
    :ivar key: the row's primary key, the original's if it is deleted.
    :ivar partition: where the new row goes; set before ``Changes``.
    """

    __slots__ = ("table", "new_table", "original", "row", "key", "partition")

    def __init__(self, table, new_table, original, row, key):
        self.table = table
        self.new_table = new_table
        self.original = original
        self.row = row
        self.key = key
        self.partition = None


def _part_of(table, row):
    """Return the part of a row whose partition is listed for it, or None."""
    return directory.part_of(table, row) if table.lists_parts else None


class Changes:
    """All that one commit sends.

    :param tx: nova_kvs.record.transaction.RecordTransaction.
    :param floors: partition -> floor that a refused commit reported.
    :param unique_versions: field of a unique key -> its version, for those
        that are not what they are expected to be.
    """

    def __init__(self, tx, floors, unique_versions):
        self._database_name = tx.database_name
        self._read_sets = tx.read_sets
        self._are_listed = tx.has_read_lately()
        self._listed = tx.listed
        self._home = tx.table_partition
        self._floors = floors
        self._unique_versions = unique_versions
        self._nonce = os.urandom(base.NONCE_BYTES)
        self.mutations = []
        #: (partition, field) of unique keys -> [to delete, payload to put,
        #: the error if it is taken].
        self._uniques = {}
        #: Operations that add global index entries and directory members.
        self.side_writes = []
        #: ``(table, partition, field, [(bucket, prefix, member), ...])``.
        self.index_checks = []
        self._dropped = {}
        self._kept = set()
        #: Partitions that may be empty: of deletes, and of inserts that
        #: fail.
        self.partition_checks = {}
        #: (partition, kind) of partial directories that may have to lose it.
        self.part_checks = {}
        #: (partition, kind) of those that list a whole table.
        self.lasting = {}
        self._known_lasting = tx.remembered.lasting
        #: Place -> (minimum version, included columns or None).
        self.minimums = {}

    def add(self, write):
        """Add the changes of one row."""
        original = write.original
        if original is None:
            self._insert(write)
        elif write.row is None:
            self._delete(write)
        elif (original.partition == write.partition
              and original.key == write.key
              and write.table.name == write.new_table.name):
            self._update(write)
        else:
            self._delete(write)
            self._insert(write)

    def validate(self, partition, field, version):
        """Let the commit fail unless a record still has its version."""
        self.mutations.append(mutation.Mutation(
            partition, field, version, mutation.LOCK))

    def finish(self):
        """Add what can be told only when all rows are known."""
        for (partition, field), state in self._uniques.items():
            deleted, payload, duplicate = state
            if deleted:
                expected = self._unique_versions.get(field)
                if expected is None:
                    read_set = self._read_sets.get(partition)
                    expected = read_set and read_set.version(field) or 1
                self.mutations.append(mutation.Mutation(
                    partition, field, expected,
                    mutation.DELETE if payload is None else payload))
            else:
                self.mutations.append(mutation.Mutation(
                    partition, field, 0, payload, version=1,
                    duplicate=duplicate))
        for partition, (kind, fields) in self._dropped.items():
            read_set = self._read_sets.get(partition)
            left = read_set.record_fields() - fields if read_set else ()
            if partition not in self._kept and not left:
                self.partition_checks[partition] = kind

    def included(self):
        """Return the side writes of included columns that hold once this is
        committed.
        """
        return [covering_index.including(place, stored)
                for place, (_, stored) in self.minimums.items()
                if stored is not None]

    def unique_deletes(self):
        """Return (partition, field) of the unique keys to be taken out."""
        return [where for where, state in self._uniques.items() if state[0]]

    # Rows -------------------------------------------------------------------

    def _insert(self, write):
        table = write.new_table
        row = write.row
        partition = write.partition
        field = table.field(write.key)
        at_home = partition == self._home(table)
        read_set = self._read_sets.get(partition)
        self._kept.add(partition)
        version = None
        if table.global_indexes:
            version = 1 + self._floors.get(
                partition, read_set.floor if read_set else 0)
            self._change_global(
                table, partition, field, version, global_index.entries(
                    self._database_name, table, row, partition, field), ())
            self._raise_minimums(table, row, partition, field, version, row)
        self.mutations.append(mutation.Mutation(
            partition, field, 0, codec.encode(row),
            index_add=local_index.entries(table, row, field, at_home),
            uses_floor=bool(table.global_indexes), version=version,
            duplicate=functools.partial(
                exceptions.DuplicateKeyError,
                table=table.name, columns=table.key, values=write.key)))
        for unique in table.uniques:
            values = unique.values(row)
            if values is not None:
                self._put_unique(unique, values, partition, field)
        is_listed = self._are_listed and (
            partition in self._listed
            or read_set is not None and read_set.has_records())
        if not at_home and not is_listed:
            self._list(partition, table.kind)
        self._change_part(
            partition, at_home, table.kind, None, _part_of(table, row))

    def _list(self, partition, kind):
        """Put a partition into the directory of its kind."""
        if self.partition_checks.get(partition) is None:
            self.partition_checks[partition] = kind
            self.side_writes.append(directory.adding(
                self._database_name, kind, partition, self._nonce))

    def _change_part(self, partition, at_home, kind, old, new):
        """List a partition that gets a row of a part, check one that loses
        one.

        :param kind: of the table's partitions.
        :param old: part that the row belonged to, or None. :param new: to
            which it belongs now.
        """
        if old == new:
            return
        for part in filter(None, (old, new)):
            where = partition, directory.partial(
                partition_rules.TABLE if at_home else kind, part)
            if at_home:
                if part == new and where not in self.lasting and (
                        where not in self._known_lasting):
                    self.lasting[where] = None
                    self.side_writes.append(directory.adding(
                        self._database_name, where[1], partition))
            else:
                self.part_checks.setdefault(where, False)
                if part == new and not self.part_checks[where]:
                    self.part_checks[where] = True
                    self.side_writes.append(directory.adding(
                        self._database_name, where[1], partition,
                        self._nonce))

    def _delete(self, write):
        table = write.table
        original = write.original
        partition = original.partition
        field = table.field(original.key)
        row = original.values
        at_home = partition == self._home(table)
        self.mutations.append(mutation.Mutation(
            partition, field, original.version, mutation.DELETE,
            index_remove=local_index.entries(table, row, field, at_home),
            uses_floor=bool(table.global_indexes)))
        for unique in table.uniques:
            values = unique.values(row)
            if values is not None:
                self._take_unique(unique, values, partition)
        if table.global_indexes:
            self._change_global(
                table, partition, field, 0, (), global_index.entries(
                    self._database_name, table, row, partition, field))
            self._raise_minimums(
                table, row, partition, field, original.version + 1, None)
        if table.global_indexes or not at_home:
            # Of the table's own partition only the floor may have to go.
            self._dropped.setdefault(partition, (
                partition_rules.TABLE if at_home else table.kind,
                set()))[1].add(field)
        self._change_part(
            partition, at_home, table.kind, _part_of(table, row), None)

    def _update(self, write):
        """Change a row in its place."""
        original = write.original
        partition = original.partition
        field = write.table.field(original.key)
        old, new = original.values, write.row
        same_rules = write.table is write.new_table
        changed = {column for column, value in new.items()
                   if old.get(column) != value}
        changed.update(old.keys() - new.keys())
        if not changed and same_rules:
            self.validate(partition, field, original.version)
            return
        if same_rules and not write.table.changes_entries(old, new, changed):
            # Most of what Nova writes.
            self.mutations.append(mutation.Mutation(
                partition, field, original.version, codec.encode(new),
                uses_floor=bool(write.table.global_indexes)))
            return
        if not same_rules:
            changed = None
        self._change_part(
            partition, partition == self._home(write.new_table),
            write.new_table.kind, _part_of(write.table, old),
            _part_of(write.new_table, new))
        if write.table.global_indexes or write.new_table.global_indexes:
            self._update_global(write, partition, field, changed)
        removed, added = (
            set(local_index.entries(
                table, row, field, partition == self._home(table), changed))
            for table, row in ((write.table, old), (write.new_table, new)))
        self.mutations.append(mutation.Mutation(
            partition, field, original.version, codec.encode(new),
            index_add=list(added - removed),
            index_remove=list(removed - added),
            uses_floor=bool(write.new_table.global_indexes)))
        self._change_uniques(write, partition, field, changed)

    def _update_global(self, write, partition, field, changed):
        """Change the global index entries and minimum versions of a row.

        :param changed: names of its columns that change; None: any may.
        """
        old, new = write.original.values, write.row
        version = write.original.version + 1
        before, after = (
            global_index.entries(
                self._database_name, table, row, partition, field, changed)
            for table, row in ((write.table, old), (write.new_table, new)))
        self._change_global(
            write.new_table, partition, field, version,
            [found for found in after if found not in before],
            [found for found in before if found not in after])
        included = write.table.included
        if changed is None or included is not None and (
                included.are_changed(old, new, changed)):
            # Where the row was, too: its included columns are no more.
            self._raise_minimums(
                write.table, old, partition, field, version, new)
            self._raise_minimums(
                write.new_table, new, partition, field, version, new)

    def _change_uniques(self, write, partition, field, changed):
        taken, put = (
            {(unique, values) for unique in table.uniques
             if changed is None or not changed.isdisjoint(unique.columns)
             for values in (unique.values(row),)
             if values is not None}
            for table, row in ((write.table, write.original.values),
                               (write.new_table, write.row)))
        for unique, values in taken - put:
            self._take_unique(unique, values, partition)
        for unique, values in put - taken:
            self._put_unique(unique, values, partition, field)

    # Unique keys ------------------------------------------------------------

    def _unique(self, unique, values, partition):
        return self._uniques.setdefault(
            unique.place(self._database_name, values, partition),
            [False, None, None])

    def _take_unique(self, unique, values, partition):
        self._unique(unique, values, partition)[0] = True

    def _put_unique(self, unique, values, partition, field):
        state = self._unique(unique, values, partition)
        duplicate = functools.partial(
            exceptions.DuplicateKeyError,
            table=unique.table, columns=unique.columns, values=values)
        if state[1] is not None:
            raise duplicate()
        state[1] = unique.payload(partition, field)
        state[2] = duplicate

    # Global indexes ---------------------------------------------------------

    def _raise_minimums(self, table, row, partition, field, version, new):
        """Raise the minimum version of a row in each covering index.

        :param new: the row as it will be; None: it will be gone.
        """
        places = covering_index.places(
            self._database_name, table, row, partition, field)
        if places:
            included = None if new is None else table.included.encode(
                new, version)
            self.minimums.update(dict.fromkeys(places, (version, included)))

    def _change_global(self, table, partition, field, version, added,
                       removed):
        check = []
        for added_entry in added:
            stored = global_index.member(added_entry, version, self._nonce)
            self.side_writes.append(operations.Add(added_entry.key, stored))
            check.append((*added_entry, stored))
        for removed_entry in removed:
            check.append((*removed_entry, b""))
        if check:
            self.index_checks.append(
                (table.name, partition.key, field, check))
