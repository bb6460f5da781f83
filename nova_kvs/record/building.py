# SPDX-License-Identifier: Apache-2.0
"""Builds the indexes of a newer format in a database that is in use.

First the format is raised: every process writes the new indexes from then
on, and none reads them. When none can be left that did not know of it, each
row that there is gets its entries, page by page; how far that is, is stored
beside the schema, and whoever comes later goes on there. In the end the
indexes are declared built, and processes read them.

Invariant: once built, every row has its entries. One that was written since
the wait has them from its writer. One that was not has them from here: it is
read again behind the entries, and if it is another by then, its writer has
given it its own, and what was added here is checked by housekeeping.
"""

import logging
import time

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from nova_kvs.record import housekeeping
from nova_kvs.record.indexes import base
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import local_index
from nova_kvs.record import partition_rules
from nova_kvs.store import operations
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

LOG = logging.getLogger(__name__)

FIELD = keyspace.record_field("schema", ("build",))
#: Partitions whose rows get their entries in one step.
PARTITIONS = 100
#: Until a row that is being changed is tried again.
_RETRY_S = 0.1
#: Of all entries that are made here: to do a step again adds nothing.
_NONCE = bytes(base.NONCE_BYTES)


class Builder:
    """Raises the format of a database, and builds the indexes for it.

    :param database: nova_kvs.record.database.Database.
    :param report: called with the number of rows that were looked at.
    :param sleep: called with seconds to wait.
    :ivar rows: number of rows that were looked at.
    :ivar before: State in which the database was found, set by ``run``.
    :ivar after: State in which it is, likewise.
    """

    def __init__(self, database, report=None, sleep=time.sleep):
        self._database = database
        self._report = report or (lambda count: None)
        self._sleep = sleep
        self._meta = stored_format.partition(database.name)
        self.rows = 0
        self.before = self.after = None

    def run(self):
        """Do all that is left to do; may be stopped and run again.

        :raises nova_kvs.exceptions.ConfigurationError: if there is no
            schema.
        :raises nova_kvs.exceptions.KVSError: as the store does.
        """
        schema = self._database.refresh_schema()
        if not schema.version:
            raise exceptions.ConfigurationError(
                "the database is empty: there is nothing to upgrade",
                database=self._database.name)
        self.before = schema.state
        while schema.state != stored_format.NEW:
            try:
                if schema.state.version < stored_format.CURRENT:
                    self._declare(schema)
                else:
                    self._build(schema)
            except exceptions.ConflictError:
                # A migration, or another that builds: see what is left.
                LOG.info("The schema or the build has changed meanwhile")
            schema = self._database.refresh_schema()
        self.after = schema.state

    def _declare(self, schema):
        """Let all processes write the indexes from now on."""
        now_ms, = self._database.coordinator.read(
            [reading.ClockRead(self._meta)])
        version, _ = self._progress()
        self._commit(schema, stored_format.State(
            stored_format.CURRENT, schema.state.built), [mutation.Mutation(
                self._meta, FIELD, version, codec.encode(
                    {"since": now_ms, "step": 0, "after": b""}), version=1)])

    def _commit(self, schema, state, others):
        self._database.coordinator.commit([*stored_format.mutations(
            self._database.name, schema.version, schema.ddl, state), *others])

    def _progress(self):
        """Return the version of what is stored about the build, and it."""
        snapshot, = self._database.coordinator.read(
            [reading.FieldsRead(self._meta, (FIELD,))])
        cell = snapshot.cell(FIELD)
        if cell is None:
            return 0, None
        return cell.version, codec.decode(cell.payload, FIELD)

    def _build(self, schema):
        version, progress = self._progress()
        self._wait(progress["since"])
        tables = [table for table in schema.tables.values()
                  if table.unbuilt or _lacks_parts(table)
                  or _lacks_present(table)]
        steps = list(_steps(self._database, tables))
        for number in range(progress["step"], len(steps)):
            names, keys = steps[number]
            after = progress["after"]
            progress["after"] = b""
            for partitions, last in self._pages(keys, after):
                self._add(schema, names, partitions)
                progress.update(step=number, after=last)
                version = self._save(version, progress)
            progress.update(step=number + 1, after=b"")
        self._commit(schema, stored_format.NEW, [mutation.Mutation(
            self._meta, FIELD, version, mutation.DELETE)])

    def _wait(self, since_ms):
        """Wait until nobody is at work who began by the earlier format."""
        until_ms = since_ms + (
            1000 * (record_database.SCHEMA_AGE_S
                    + record_database.SCHEMA_CHECK_S)
            + self._database.grace_ms + self._database.held_up_ms)
        while True:
            now_ms, = self._database.coordinator.read(
                [reading.ClockRead(self._meta)])
            if now_ms >= until_ms:
                return
            self._report(0)
            self._sleep(min(1, (until_ms - now_ms) / 1000))

    def _save(self, version, progress):
        """Store how far it is; return the version of that."""
        self._database.coordinator.commit([mutation.Mutation(
            self._meta, FIELD, version, codec.encode(progress))])
        return version + 1

    def _pages(self, keys, after):
        """Yield lists of partitions, and where to go on behind them.

        :param keys: partitions, or the key of a bucket of a directory.
        """
        if type(keys) is list:
            yield keys, b""
            return
        low = b"(" + after if after else b"-"
        while True:
            members, = self._database.store.batch([operations.ReadMembers(
                keys, low, b"+", PARTITIONS)])
            if not members:
                return
            yield list(dict.fromkeys(map(
                directory.partition_of, members))), members[-1]
            low = b"(" + members[-1]

    def _add(self, schema, names, partitions):
        """Give the rows of some partitions their entries."""
        database = self._database
        home = database.begin().table_partition
        added = {}
        parts = {}
        inside = []
        for records in database.begin().load([
                access.InPartitions(name, tuple(partitions))
                for name in names]):
            for record in records:
                table = schema.tables[record.table]
                field = table.field(record.key)
                entries = [
                    (*entry, global_index.member(
                        entry, record.version, _NONCE))
                    for index in table.unbuilt if index.is_global
                    if (entry := index.entry(
                        database.name, record.values, record.partition,
                        field)) is not None]
                if entries:
                    added[record.partition, field] = record, entries
                part = directory.part_of(table, record.values)
                if part is not None and _lacks_parts(table):
                    parts[record.partition, directory.partial(
                        partition_rules.TABLE if record.partition == home(
                            table) else table.kind, part)] = None
                inside += _local_entries(
                    table, record, field, record.partition == home(table))
                self.rows += 1
        if inside:
            self._add_inside(schema, inside)
        if parts:
            self._list(parts)
        if added:
            database.store.batch([
                operations.Add(key, stored)
                for _, entries in added.values()
                for key, _prefix, stored in entries])
            self._check(added)
        self._report(self.rows)

    def _add_inside(self, schema, missing):
        """Give rows entries in the indexes of their partitions.

        One whose row is being changed, or has been, is tried again with what
        the row is by then.

        :param missing: list of (Record, field, entry).
        """
        database = self._database
        while missing:
            done = database.store.batch([
                operations.CorrectIndex(
                    record.partition.key, record.partition.index_key, field,
                    record.version, entry, True)
                for record, field, entry in missing])
            if not all(done):
                self._sleep(_RETRY_S)
            again = {(record.partition, field): schema.tables[record.table]
                     for (record, field, _), was_done in zip(missing, done)
                     if not was_done}
            missing = []
            for (partition, field), snapshot in zip(
                    again, database.coordinator.read([
                        reading.FieldsRead(*where) for where in (
                            (partition, (field,))
                            for partition, field in again)])):
                cell = snapshot.cell(field)
                if cell is not None:
                    table = again[partition, field]
                    row = codec.decode(cell.payload, field)
                    missing += _local_entries(table, access.Record(
                        table.name, table.record_key(row), partition,
                        cell.version, row), field, False)

    def _list(self, parts):
        """List partitions in partial directories.

        Those of servers are checked, for a row may have gone meanwhile.

        :param parts: pairs of a partition and the kind of the directory.
        """
        database = self._database
        database.store.batch([
            *[directory.adding(database.name, kind, partition, _NONCE)
              for partition, kind in parts],
            *housekeeping.tasks(database, [], [
                (partition, kind) for partition, kind in parts
                if directory.split(kind)[0] != partition_rules.TABLE])])

    def _check(self, added):
        """Have those entries looked at whose rows have changed meanwhile."""
        database = self._database
        checks = []
        for (partition, field), snapshot in zip(
                added, database.coordinator.read([
                    reading.FieldsRead(partition, (field,))
                    for partition, field in added])):
            record, entries = added[partition, field]
            cell = snapshot.cell(field)
            if cell is None or cell.version != record.version:
                checks.append((record.table, partition.key, field, entries))
        if checks:
            database.store.batch(housekeeping.tasks(database, checks, ()))


def _lacks_parts(table):
    """Tell whether partitions with rows of a part may be unlisted."""
    return table.lists_parts and not table.finds_parts


def _lacks_present(table):
    """Tell whether rows may lack the entry of those beside a history."""
    return table.lists_present and not table.finds_present


def _local_entries(table, record, field, at_home):
    """Return (record, field, entry) for each that a row may lack."""
    if at_home:
        return []
    found = [index.entry(record.values, field) for index in table.unbuilt
             if not index.is_global]
    if _lacks_present(table):
        found.append(local_index.present_entry(field))
    return [(record, field, entry) for entry in found]


def _steps(database, tables):
    """Yield the steps of a build, the same ones each time.

    :returns: pairs of the names of tables and either a list of partitions
        or the key of a bucket of the directory that lists them.
    """
    home = database.begin().table_partition
    names = sorted(table.name for table in tables)
    yield names, [home(database.schema.tables[name]) for name in names]
    for kind in partition_rules.LISTED:
        names = sorted(
            table.name for table in tables if table.kind == kind)
        if names:
            for key in directory.bucket_keys(database.name, kind):
                yield names, key
