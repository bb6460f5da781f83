# SPDX-License-Identifier: Apache-2.0
"""Removes hints, directory entries and floors that nothing needs any more.

Every check is due a grace period after the commit that queued it. The grace
is longer than any transaction lives, so whatever was in flight then is
decided when the check runs. Only exact members are removed.
"""

import logging
import os

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import index as indexing
from nova_kvs.record import marks
from nova_kvs.store import base
from nova_kvs.store.redis import scripts
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

DROP_FLOOR = scripts.load("nova_kvs.record", "drop_floor")

LOG = logging.getLogger(__name__)

HINTS = b"hints"
PARTITIONS = b"partitions"


def entries(owner, hint_checks, partition_checks):
    """Return the Entries that queue what a commit makes necessary.

    :param owner: nova_kvs.record.database.Database.
    :param hint_checks: ``(table, partition's key, field, [(slot, prefix,
        own member or b"")])`` for each row whose hints change.
    :param partition_checks: partition -> kind, of those that may be empty
        from now on.
    """
    queue = owner.coordinator.queue
    found = []
    if hint_checks:
        found.append(queue.entry(HINTS, hint_checks, owner.grace_ms))
    if partition_checks:
        found.append(queue.entry(PARTITIONS, [
            (partition.key, kind, None, None)
            for partition, kind in partition_checks.items()],
            owner.grace_ms))
    return found


class Housekeeper:
    """Handles the record layer's items of the queue.

    :param owner: nova_kvs.record.database.Database.
    """

    def __init__(self, owner):
        self._owner = owner
        queue = owner.coordinator.queue
        queue.register(HINTS, self.check_hints)
        queue.register(PARTITIONS, self.check_partitions)

    # Hints ------------------------------------------------------------------

    def check_hints(self, items):
        """Remove hints that do not name a row with their values.

        Those of a version above the row's stay, for the transaction that
        wrote them may still commit; but for the item's own, whose
        transaction is decided. They are looked at again a grace later, when
        theirs is, too: the floor that told so of a removed row may be gone
        when its hints are checked late.

        :param items: lists of hint checks, as queued.
        """
        checks = [check for item in items for check in item]
        listed = self._list(checks)
        records = self._read(checks)
        commands = {}
        again = {}
        for table_name, partition, field, slots in checks:
            try:
                version, needed, marked = self._state(
                    table_name, keyspace.Partition(partition), field,
                    records[partition, field])
            except exceptions.CorruptRecordError as error:
                # Nobody can tell what it needs, but that is no reason to
                # leave the others' hints.
                LOG.warning("The indexes of a record are left as they are "
                            "until nova-kvs fsck --repair: %s", error)
                continue
            # Up to this version nobody is at work who has raised a mark.
            left = marks.HIGHEST
            if records[partition, field][1] is not None:
                left = max([version] + [
                    indexing.version_of(own) for _, _, own in slots if own])
            for slot, prefix, own in slots:
                members = listed[slot, prefix]
                mark = marks.Mark(slot, partition + field)
                if (slot, prefix) not in needed and (
                        marked is not None and mark not in marked):
                    commands[mark] = marks.dropping(mark, left)
                # One must stay: the newest that is the row's. A check that
                # stopped when the row had left the index may still remove
                # those of before. Nobody can tell which of several of one
                # version that is: the others' transactions, which made the
                # same move, failed, and checks of theirs may be about to
                # remove their own. All of them stay until the row leaves.
                keep = None
                if (slot, prefix) in needed:
                    versions = [indexing.version_of(member)
                                for member in members]
                    keep = max([number for number in versions
                                if number <= version] or versions,
                               default=None)
                for member in members:
                    number = indexing.version_of(member)
                    if number == keep:
                        continue
                    if member == own or number <= version:
                        commands[slot, member] = base.Command(
                            slot, (b"ZREM", slot, member))
                    else:
                        again.setdefault(
                            (table_name, partition, field), {})[
                                slot, prefix, member] = None
        calls = list(commands.values())
        if again:
            calls.append(self._owner.coordinator.queue.entry(HINTS, [
                (*where, list(slots)) for where, slots in again.items()],
                self._owner.grace_ms).item())
        if calls:
            self._owner.store.batch(calls)

    def _list(self, checks):
        """Return (slot, prefix) -> members, read before the records."""
        wanted = list({(slot, prefix): None for _, _, _, slots in checks
                       for slot, prefix, _ in slots})
        members = self._owner.coordinator.read([
            reading.HintRead(slot, b"[" + prefix,
                             b"(" + prefix + indexing.AFTER_TAIL)
            for slot, prefix in wanted])
        size = indexing.MEMBER_TAIL_BYTES
        return {(slot, prefix): [member for member in found
                                 if len(member) == len(prefix) + size]
                for (slot, prefix), found in zip(wanted, members)}

    def _read(self, checks):
        """Return (partition's key, field) -> (floor, Cell or None)."""
        wanted = list({(partition, field): None
                       for _, partition, field, _ in checks})
        snapshots = self._owner.coordinator.read([
            reading.FieldsRead(keyspace.Partition(partition), (field,))
            for partition, field in wanted])
        return {where: (snapshot.floor, snapshot.cell(where[1]))
                for where, snapshot in zip(wanted, snapshots)}

    def _state(self, table_name, partition, field, stored):
        """Return the version up to which hints are decided, and what the
        row needs: a set of (slot, prefix) and one of Marks, None if rows of
        its table have no marks.
        """
        name = self._owner.name
        floor, cell = stored
        table = self._owner.schema.tables.get(table_name)
        if table is None:
            table = self._owner.refresh_schema().tables.get(table_name)
        is_marked = table is None or table.covered is not None
        if cell is None or table is None:
            return (floor if cell is None else cell.version), (), (
                () if is_marked else None)
        row = codec.decode(cell.payload, field)
        hints = {
            hint for hint in (
                indexing.hint_of(name, table, index, row, partition, field)
                for index in table.hints) if hint is not None}
        return cell.version, hints, (
            marks.needed(name, table, row, partition, field)
            if is_marked else None)

    # Partitions -------------------------------------------------------------

    def check_partitions(self, items):
        """Take partitions that hold no record out of the directory.

        A partition must be found empty twice, a grace apart, before the
        entries go that were seen the first time: whoever found a record in
        it, and so did not list it again, is decided by then. Its floor goes
        too, for all hints that it guards against were checked.

        One that has records but several entries, of transactions that did
        not look before they inserted, keeps those that were not there a
        grace before, or a new one: an older one may be among those that a
        late second look at the empty partition takes out.

        :param items: lists of ``(partition's key, kind, members, floor)``;
            the latter two are None the first time. The partition of a
            whole table is in no directory.
        """
        checks = [check for item in items for check in item]
        directories = {
            check[0]: indexing.directory_key_of(
                self._owner.name, check[1], keyspace.Partition(check[0]))
            for check in checks}
        results = iter(self._owner.coordinator.read([
            read for key, directory in directories.items()
            for read in (
                reading.PartitionRead(keyspace.Partition(key)),
                reading.HintRead(directory, b"[" + key,
                                 b"(" + key + indexing.AFTER_TAIL))]))
        found = dict(zip(directories, zip(results, results)))
        commands = []
        again = {}
        for key, kind, members, floor in checks:
            snapshot, listed = found[key]
            if members is None:
                if not snapshot.stored or len(listed) > 1:
                    again[key] = (key, kind, listed, snapshot.floor)
                continue
            directory = directories[key]
            if not snapshot.stored:
                if floor and floor == snapshot.floor:
                    # A record may have come since, and the floor risen
                    # again: the script looks once more.
                    commands.append(base.ScriptCall(
                        DROP_FLOOR, (key,), (mutation.VERSION.pack(floor),)))
            elif len(members) < 2:
                continue
            elif set(listed) <= set(members):
                entry = indexing.directory_member(
                    keyspace.Partition(key),
                    os.urandom(indexing.NONCE_BYTES))
                commands.append(base.Command(
                    directory, (b"ZADD", directory, 0, entry)))
                listed.append(entry)
            commands += [base.Command(directory, (b"ZREM", directory, member))
                         for member in members]
        if again:
            commands.append(self._owner.coordinator.queue.entry(
                PARTITIONS, list(again.values()),
                self._owner.grace_ms).item())
        if commands:
            self._owner.store.batch(commands)
