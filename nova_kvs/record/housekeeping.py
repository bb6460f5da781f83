# SPDX-License-Identifier: Apache-2.0
"""Removes index entries, directory members and floors that nothing needs.

Every check is due a grace period after the commit that queued it. The grace
is longer than any transaction lives, so whatever was in flight then is
decided when the check runs. Only exact members are removed.
"""

import logging
import os

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record.indexes import base as index_base
from nova_kvs.record.indexes import covering_index
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.store import operations
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

LOG = logging.getLogger(__name__)

#: Kinds of tasks, as they are stored.
INDEXES = b"hints"
PARTITIONS = b"partitions"
#: Checks of one task. A store may refuse what is very large.
CHECKS_PER_TASK = 50


def tasks(database, index_checks, partition_checks):
    """Return the operations that queue the checks a commit makes necessary.

    :param database: nova_kvs.record.database.Database.
    :param index_checks: ``(table, partition's key, field, [(bucket, prefix,
        own member or b"")])`` for each row whose global index entries
        change.
    :param partition_checks: pairs of a partition, which may be empty from
        now on, and the kind of the directory that lists it.
    """
    return _tasks(database, INDEXES, index_checks) + _tasks(
        database, PARTITIONS, [
            (partition.key, kind, None, None)
            for partition, kind in partition_checks])


def _tasks(database, kind, checks):
    """Return the operations that queue checks of one kind."""
    return [database.coordinator.queue.enqueue(
        kind, checks[first:first + CHECKS_PER_TASK], database.grace_ms)
        for first in range(0, len(checks), CHECKS_PER_TASK)]


class Housekeeper:
    """Handles the record layer's items of the queue.

    :param database: nova_kvs.record.database.Database.
    """

    def __init__(self, database):
        self._database = database
        queue = database.coordinator.queue
        queue.register(INDEXES, self.check_indexes)
        queue.register(PARTITIONS, self.check_partitions)

    # Global indexes ---------------------------------------------------------

    def check_indexes(self, items):
        """Remove entries that do not name a row with their values.

        Those of a version above the row's are looked at again a grace
        later, except for the item's own, whose transaction is decided. By
        then theirs is decided too, even if the floor that would say so of a
        removed row is gone.

        :param items: lists of checks of global index entries, as queued.
        """
        checks = [check for item in items for check in item]
        listed = self._list(checks)
        records = self._read(checks)
        commands = {}
        again = {}
        for table_name, partition, field, buckets in checks:
            try:
                version, needed, places = self._state(
                    table_name, keyspace.Partition(partition), field,
                    records[partition, field])
            except exceptions.CorruptRecordError as error:
                # Nobody can tell what it needs, but that is no reason to
                # leave the others' entries.
                LOG.warning("The indexes of a record are left as they are "
                            "until nova-kvs fsck --repair: %s", error)
                continue
            commands.update(self._droppings(
                partition + field, buckets, needed, places,
                version if records[partition, field][1] is not None
                else None))
            for bucket, prefix, own in buckets:
                is_needed = (bucket, prefix) in needed
                removed, later = global_index.sort_out(
                    listed[bucket, prefix], version, is_needed, own)
                for member in removed:
                    commands[bucket, member] = operations.Remove(
                        bucket, member)
                for member in later:
                    again.setdefault((table_name, partition, field), {})[
                        bucket, prefix, member] = None
        calls = list(commands.values())
        calls += _tasks(self._database, INDEXES, [
            (*where, list(buckets)) for where, buckets in again.items()])
        if calls:
            self._database.store.batch(calls)

    @staticmethod
    def _droppings(where, buckets, needed, places, version):
        """Return {Place: operation} for the included columns to remove.

        :param where: the partition's key and the field, joined.
        :param buckets: of a check. :param needed: entries that the row has.
        :param places: where it has included columns; None: not in such an
            index.
        :param version: of the row; None: it is gone.
        """
        if places is None:
            return {}
        # Up to this version nobody is at work who has raised the minimum
        # version.
        left = covering_index.HIGHEST
        if version is not None:
            left = max([version] + [
                global_index.version_of(own) for _, _, own in buckets if own])
        found = {}
        for bucket, prefix, _ in buckets:
            place = covering_index.Place(bucket, where)
            if (bucket, prefix) not in needed and place not in places:
                found[place] = covering_index.dropping(place, left)
        return found

    def _list(self, checks):
        """Return (bucket, prefix) -> members, read before the records."""
        wanted = list({(bucket, prefix): None for _, _, _, buckets in checks
                       for bucket, prefix, _ in buckets})
        members = self._database.coordinator.read([
            reading.MembersRead(bucket, *global_index.range_of(prefix))
            for bucket, prefix in wanted])
        return {where: global_index.members_of(where[1], found)
                for where, found in zip(wanted, members)}

    def _read(self, checks):
        """Return (partition's key, field) -> (floor, Cell or None)."""
        wanted = list({(partition, field): None
                       for _, partition, field, _ in checks})
        snapshots = self._database.coordinator.read([
            reading.FieldsRead(keyspace.Partition(partition), (field,))
            for partition, field in wanted])
        return {where: (snapshot.floor, snapshot.cell(where[1]))
                for where, snapshot in zip(wanted, snapshots)}

    def _state(self, table_name, partition, field, stored):
        """Return the version up to which entries are decided, the set of
        the row's GlobalEntries and the set of its Places, None if rows of
        its table have none.
        """
        floor, cell = stored
        table = self._database.schema.tables.get(table_name)
        if table is None:
            table = self._database.refresh_schema().tables.get(table_name)
        is_covered = table is None or table.included is not None
        if cell is None or table is None:
            return (floor if cell is None else cell.version), (), (
                () if is_covered else None)
        where = (self._database.name, table, codec.decode(cell.payload, field),
                 partition, field)
        return cell.version, set(global_index.entries(*where)), (
            covering_index.places(*where) if is_covered else None)

    # Partitions -------------------------------------------------------------

    def check_partitions(self, items):
        """Take partitions that hold no record out of the directory.

        A partition must be found empty twice, a grace apart, before the
        entries go that were seen the first time: whoever found a record in
        it, and so did not list it again, is decided by then. Its floor goes
        too, for all entries that it guards against were checked.

        One that has records but several entries, of transactions that did
        not look before they inserted, keeps those that were not there a
        grace before, or a new one: an older one may be among those that a
        late second look at the empty partition takes out.

        Of a partial directory a partition is empty that has no row of the
        part.

        :param items: lists of ``(partition's key, kind, members, floor)``;
            the latter two are None the first time. The partition of a
            whole table is in no directory that loses it.
        """
        checks = [check for item in items for check in item]
        found = self._look_at_partitions(checks)
        commands = []
        again = {}
        for key, kind, members, floor in checks:
            bucket, snapshot, listed = found[key, kind]
            is_empty = not self._has_content(snapshot, kind)
            if members is None:
                if is_empty or len(listed) > 1:
                    again[key, kind] = (key, kind, listed, snapshot.floor)
                continue
            if is_empty:
                if floor and floor == snapshot.floor and (
                        not snapshot.stored):
                    # A record may have come since, and the floor risen
                    # again: the script looks once more.
                    commands.append(operations.DropFloor(
                        key, mutation.VERSION.pack(floor)))
            elif len(members) < 2:
                continue
            elif set(listed) <= set(members):
                added = directory.adding(
                    self._database.name, kind, keyspace.Partition(key),
                    os.urandom(index_base.NONCE_BYTES))
                commands.append(added)
                listed.append(added.member)
                # Another process may be adding one of its own.
                again.setdefault((key, kind), (key, kind, None, None))
            commands += [operations.Remove(bucket, member)
                         for member in members]
        commands += _tasks(
            self._database, PARTITIONS, list(again.values()))
        if commands:
            self._database.store.batch(commands)

    def _look_at_partitions(self, checks):
        """Return (partition's key, kind of a directory) -> key of its bucket,
        Snapshot of the partition, members that list it.
        """
        buckets = {
            (key, kind): directory.key_of(
                self._database.name, kind, keyspace.Partition(key))
            for key, kind, _, _ in checks}
        results = iter(self._database.coordinator.read([
            read for (key, _), bucket in buckets.items()
            for read in (
                reading.PartitionRead(keyspace.Partition(key)),
                reading.MembersRead(bucket, *directory.range_of(
                    keyspace.Partition(key))))]))
        return {where: (bucket, next(results), next(results))
                for where, bucket in buckets.items()}

    def _has_content(self, snapshot, kind):
        """Tell whether a partition holds what a directory lists it for.

        :param kind: of the directory.
        """
        part = directory.split(kind)[1]
        if not part:
            return bool(snapshot.stored)
        tables = self._database.schema.tables
        for field, cell in snapshot.cells.items():
            if field[:1] != keyspace.RECORD:
                continue
            name, _, _ = field[1:].partition(b"\0")
            table = tables.get(name.decode(errors="replace"))
            if table is not None and directory.part_of(
                    table, codec.decode(cell.payload, field)) == part:
                return True
        return False
