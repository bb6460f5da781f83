# SPDX-License-Identifier: Apache-2.0
"""The store's side of an import: pages of rows into records."""

import collections
import itertools
import sys
import time

from nova_kvs import exceptions
from nova_kvs.inspection import checks
from nova_kvs.inspection import keys
from nova_kvs.inspection import walk
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record.indexes import directory
from nova_kvs.record import partition_rules
from nova_kvs.record import runner
from nova_kvs.store import operations
from nova_kvs.transfer import agreement
from nova_kvs.txn import reading

#: A page is tried so long: longer than what an import that was killed has
#: left behind is in the way.
PATIENCE_S = 60
PAUSE_S = 0.5
#: Keys removed in one round trip.
CHUNK = 500


class Target:
    """A database in the store that rows are copied into.

    :param database: nova_kvs.record.database.Database.
    """

    def __init__(self, database):
        self._database = database
        self.schema = database.schema
        #: Nothing can be there that belongs to rows to insert.
        self.is_fresh = True
        #: Tables differ in what a row takes.
        self._parts = collections.defaultdict(
            lambda: runner.InParts(sys.maxsize))

    def _in_parts(self, name, write, rows):
        for _ in self._parts[name].run(write, rows):
            pass

    def insert(self, name, rows):
        """Insert rows that are not there.

        :param rows: list of dicts, as they will be stored.
        """
        self._in_parts(
            name, lambda some: self._insert_patiently(name, some), rows)

    def _insert_patiently(self, name, rows):
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._database.run(
                    lambda tx: self._insert(tx, name, rows))
            except exceptions.ConflictError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_S)

    def update(self, name, rows):
        """Give rows that are there other values.

        :param rows: list of dicts, as they will be stored.
        """
        self._change(name, rows, lambda tx, record, row: tx.update(
            record, row))

    def remove(self, name, rows):
        """Remove rows that are there.

        :param rows: list of dicts, as they are stored.
        """
        self._change(
            name, rows, lambda tx, record, row: tx.delete(record))

    def remove_holder(self, name, columns, values):
        """Remove the row that has these values of a unique key."""
        def remove(tx):
            records, = tx.load([access.ByIndex(name, columns, (values,))])
            for record in records:
                tx.delete(record)

        self._database.run(remove)

    def _change(self, name, rows, change):
        self._in_parts(name, lambda some: self._database.run(
            lambda tx: self._change_some(tx, name, some, change)), rows)

    def _change_some(self, tx, name, rows, change):
        table = self.schema.tables[name]
        wanted = {table.record_key(row): row for row in rows}
        column = table.partition_column
        if column is not None:
            # A primary key alone may take a look at all of the table.
            records, = tx.load([access.ByPartition(name, tuple(
                dict.fromkeys(row.get(column) for row in rows)))])
            for record in records:
                if record.key in wanted:
                    change(tx, record, wanted.pop(record.key))
        # Those that are in another partition.
        records, = tx.load([access.ByKey(name, tuple(wanted))])
        for record in records:
            change(tx, record, wanted[record.key])

    def _insert(self, tx, name, rows):
        table = self.schema.tables[name]
        if self.is_fresh and name in self.schema.children:
            # Nothing that belongs to them was copied yet: no need to look.
            self._database.remembered.add_new_ids(
                name, [row[table.auto_id] for row in rows])
        # A transaction that has not read them would list them once more.
        tx.note_listed(self._listed(tx, table, rows))
        for row in rows:
            tx.insert(name, row)

    def _partition(self, tx, table, row):
        if table.partition_column is None:
            return tx.table_partition(table)
        return tx.partition_of_value(table, row.get(table.partition_column))

    def _listed(self, tx, table, rows):
        """Return which partitions of rows are listed and not empty.

        An empty one can be about to be taken from the directory.
        """
        if table.partition_column is None or table.parents:
            return []
        home = tx.table_partition(table)
        partitions = list({self._partition(tx, table, row): None
                           for row in rows} - {home: None}.keys())
        results = iter(self._database.coordinator.read([
            read for partition in partitions for read in (
                checks.RawRead(operations.CountFields(partition.key)),
                checks.RawRead(operations.HasField(
                    partition.key, keyspace.FLOOR_FIELD)),
                reading.MembersRead(
                    directory.key_of(tx.database_name, table.kind, partition),
                    *directory.range_of(partition), 1))]))
        return [partition for partition, count, floors, members
                in zip(partitions, results, results, results)
                if count > floors and members]

    def stored(self, name, rows):
        """Return what is stored under the keys of rows.

        :param rows: list of dicts, as they should be stored.
        :returns: dict of primary key -> values, of those that are there.
        """
        table = self.schema.tables[name]
        tx = self._database.begin()
        if table.parents:
            records, = tx.load([access.ByPartition(name, tuple(dict.fromkeys(
                row.get(table.partition_column) for row in rows)))])
            return {record.key: record.values for record in records}
        wanted = {}
        for row in rows:
            wanted.setdefault(self._partition(tx, table, row), {})[
                table.field(table.record_key(row))] = table.record_key(row)
        found = {}
        for names, snapshot in zip(
                wanted.values(), self._database.coordinator.read([
                    reading.FieldsRead(partition, tuple(names))
                    for partition, names in wanted.items()])):
            for field, cell in snapshot.cells.items():
                found[names[field]] = codec.decode(cell.payload, field)
        return found

    def counts(self, report=None):
        """Return the number of records of each table, by looking at all.

        :param report: called with the number of partitions seen so far.
        """
        return walk.counts(self._database, self.schema.tables, report)

    def is_empty(self):
        """Tell whether no table but alembic's has a record."""
        store, name = self._database.store, self._database.name
        for chunk in walk.keys(store, name):
            for fields in self._fields(chunk):
                if any(keys.table_of(field) != agreement.REVISION_TABLE
                       for field in fields
                       if field[:1] == keyspace.RECORD):
                    return False
        return True

    def _fields(self, chunk):
        """Return lists of the fields of the partitions among Keys."""
        return self._database.store.batch([
            operations.ListFields(key.name) for key in chunk
            if key.type is keys.KeyType.PARTITION
            and key.kind != partition_rules.META])

    def clear(self):
        """Remove all but the schema and its revision."""
        store, name = self._database.store, self._database.name
        kept = keyspace.partition(
            name, partition_rules.TABLE, agreement.REVISION_TABLE).key
        found = store.scan(keyspace.database_pattern(name))
        while chunk := list(itertools.islice(found, CHUNK)):
            store.batch([
                operations.Delete(key) for key in chunk
                if not self._stays(key, kept)])
        self._database.remembered.forget_places()

    def _stays(self, key, kept):
        found = keys.classify(key, self._database.name)
        return found.partition == kept or (
            found.kind == partition_rules.META
            and found.type is not keys.KeyType.DIRECTORY)
