# SPDX-License-Identifier: Apache-2.0
"""From the rows that a transaction wrote to mutations, hints and checks.

Invariant: whatever a row's old values put into indexes and unique keys is
taken out, and what its new values need is put in, in the same commit. Only
hints are left behind: a check in the housekeeping queue removes them later.
"""

import functools
import os

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import index as indexing
from nova_kvs.record import marks
from nova_kvs.record import partition_rules
from nova_kvs.txn import entry
from nova_kvs.txn import mutation


class Write:
    """What a transaction does to one row.

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


class Changes:
    """All that one commit sends.

    :param tx: nova_kvs.record.record_store.RecordTransaction.
    :param floors: partition -> floor that a refused commit reported.
    :param unique_versions: field of a unique key -> its version, for those
        that are not what they are expected to be.
    """

    def __init__(self, tx, floors, unique_versions):
        self._database = tx.database
        self._views = tx.views
        self._are_listed = tx.has_read_lately()
        self._home = tx.table_partition
        self._floors = floors
        self._unique_versions = unique_versions
        self._nonce = os.urandom(indexing.NONCE_BYTES)
        self.mutations = []
        #: (partition, field) of unique keys -> [to delete, owner to put,
        #: whose insert a duplicate is].
        self._uniques = {}
        #: Of Entry: hints and directory entries to add.
        self.entries = []
        #: ``[table, partition, field, [[slot, prefix, tail], ...]]``.
        self.hint_checks = []
        self._dropped = {}
        self._kept = set()
        #: Partitions that may be empty: of deletes, and of inserts that
        #: fail.
        self.partition_checks = {}
        #: Mark -> (version to raise it to, cover or None).
        self.marks = {}

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
            deleted, owner, duplicate = state
            if deleted:
                expected = self._unique_versions.get(field)
                if expected is None:
                    view = self._views.get(partition)
                    expected = view and view.version(field) or 1
                self.mutations.append(mutation.Mutation(
                    partition, field, expected,
                    mutation.DELETE if owner is None else owner))
            else:
                self.mutations.append(mutation.Mutation(
                    partition, field, 0, owner, version=1,
                    duplicate=duplicate))
        for partition, (kind, fields) in self._dropped.items():
            view = self._views.get(partition)
            left = view.record_fields() - fields if view else ()
            if partition not in self._kept and not left:
                self.partition_checks[partition] = kind

    def covers(self):
        """Return the Entries of covers that hold once this is committed."""
        return [marks.covering(mark, cover)
                for mark, (_, cover) in self.marks.items()
                if cover is not None]

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
        view = self._views.get(partition)
        self._kept.add(partition)
        version = None
        if table.hints:
            version = 1 + self._floors.get(
                partition, view.floor if view else 0)
            hints = self._hints(table, row, partition, field)
            self._change_hints(table, partition, field, version, hints, ())
            self._mark(table, row, partition, field, version, row)
        self.mutations.append(mutation.Mutation(
            partition, field, 0, codec.encode(row),
            index_add=[indexing.inner_entry(index, row, field)
                       for index in table.inner] if at_home else (),
            hinted=bool(table.hints), version=version,
            duplicate=functools.partial(
                exceptions.DuplicateKeyError,
                table=table.name, columns=table.key, values=write.key)))
        for unique in table.uniques:
            values = indexing.unique_values(unique, row)
            if values is not None:
                self._put_unique(table, unique, values, partition, field)
        if not at_home and (view is None or not view.has_records()
                            or not self._are_listed):
            self._list(partition, table.kind)

    def _list(self, partition, kind):
        """Put a partition into the directory of its kind."""
        if self.partition_checks.get(partition) is None:
            self.partition_checks[partition] = kind
            self.entries.append(entry.Entry(
                indexing.directory_key_of(self._database, kind, partition),
                indexing.directory_member(partition, self._nonce)))

    def _delete(self, write):
        table = write.table
        original = write.original
        partition = original.partition
        field = table.field(original.key)
        row = original.values
        at_home = partition == self._home(table)
        self.mutations.append(mutation.Mutation(
            partition, field, original.version, mutation.DELETE,
            index_remove=[indexing.inner_entry(index, row, field)
                          for index in table.inner] if at_home else (),
            hinted=bool(table.hints)))
        for unique in table.uniques:
            values = indexing.unique_values(unique, row)
            if values is not None:
                self._take_unique(table, unique, values, partition)
        if table.hints:
            self._change_hints(
                table, partition, field, 0, (),
                self._hints(table, row, partition, field))
            self._mark(table, row, partition, field, original.version + 1,
                       None)
        if table.hints or not at_home:
            # Of the table's own partition only the floor may have to go.
            self._dropped.setdefault(partition, (
                partition_rules.TABLE if at_home else table.kind,
                set()))[1].add(field)

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
        if same_rules and changed.isdisjoint(write.table.indexed):
            # Most of what Nova writes.
            self.mutations.append(mutation.Mutation(
                partition, field, original.version, codec.encode(new),
                hinted=bool(write.table.hints)))
            return
        if not same_rules:
            changed = None
        version = original.version + 1
        if write.table.hints or write.new_table.hints:
            before = self._hints(
                write.table, old, partition, field, changed)
            after = self._hints(
                write.new_table, new, partition, field, changed)
            self._change_hints(
                write.new_table, partition, field, version,
                [hint for hint in after if hint not in before],
                [hint for hint in before if hint not in after])
            covered = write.table.covered
            if changed is None or covered is not None and (
                    covered.are_changed(old, new, changed)):
                # Where it was, its cover tells that it is no more.
                self._mark(write.table, old, partition, field, version, new)
                self._mark(
                    write.new_table, new, partition, field, version, new)
        removed, added = (
            {indexing.inner_entry(index, row, field)
             for index in table.inner
             if changed is None or not changed.isdisjoint(index.columns)}
            if partition == self._home(table) else set()
            for table, row in ((write.table, old), (write.new_table, new)))
        self.mutations.append(mutation.Mutation(
            partition, field, original.version, codec.encode(new),
            index_add=list(added - removed),
            index_remove=list(removed - added),
            hinted=bool(write.new_table.hints)))
        self._change_uniques(write, partition, field, changed)

    def _change_uniques(self, write, partition, field, changed):
        taken, put = (
            {(unique, values) for unique in table.uniques
             if changed is None or not changed.isdisjoint(unique.columns)
             for values in (indexing.unique_values(unique, row),)
             if values is not None}
            for table, row in ((write.table, write.original.values),
                               (write.new_table, write.row)))
        for unique, values in taken - put:
            self._take_unique(write.table, unique, values, partition)
        for unique, values in put - taken:
            self._put_unique(
                write.new_table, unique, values, partition, field)

    # Unique keys ------------------------------------------------------------

    def _unique(self, table, unique, values, partition):
        if not unique.inside:
            partition = indexing.unique_partition(
                self._database, table, unique, values[0])
        return self._uniques.setdefault(
            (partition,
             keyspace.unique_field(table.name, unique.name, values)),
            [False, None, None])

    def _take_unique(self, table, unique, values, partition):
        self._unique(table, unique, values, partition)[0] = True

    def _put_unique(self, table, unique, values, partition, field):
        state = self._unique(table, unique, values, partition)
        duplicate = functools.partial(
            exceptions.DuplicateKeyError,
            table=table.name, columns=unique.columns, values=values)
        if state[1] is not None:
            raise duplicate()
        state[1] = indexing.owner_payload(unique, partition, field)
        state[2] = duplicate

    # Hints ------------------------------------------------------------------

    def _hints(self, table, row, partition, field, changed=None):
        found = []
        for index in table.hints:
            # A partial index also depends on a column that is one of its
            # own.
            if changed is None or not changed.isdisjoint(index.columns):
                hint = indexing.hint_of(
                    self._database, table, index, row, partition, field)
                if hint is not None:
                    found.append(hint)
        return found

    def _mark(self, table, row, partition, field, version, new):
        """Raise the marks of a row.

        :param new: the row as it will be; None: it will be gone.
        """
        found = marks.needed(self._database, table, row, partition, field)
        if found:
            cover = None if new is None else table.covered.cover(
                new, version)
            self.marks.update(dict.fromkeys(found, (version, cover)))

    def _change_hints(self, table, partition, field, version, added, removed):
        check = []
        for hint in added:
            stored = indexing.member(hint, version, self._nonce)
            self.entries.append(entry.Entry(hint.key, stored))
            check.append((hint.key, hint.prefix, stored))
        for hint in removed:
            check.append((hint.key, hint.prefix, b""))
        if check:
            self.hint_checks.append(
                (table.name, partition.key, field, check))
