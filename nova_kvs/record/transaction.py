# SPDX-License-Identifier: Apache-2.0
"""A transaction on records: writes and commit, behind what it reads."""

import time

from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import changes
from nova_kvs.record import children
from nova_kvs.record import evolution
from nova_kvs.record import format as stored_format
from nova_kvs.record import housekeeping
from nova_kvs.record.indexes import covering_index
from nova_kvs.record import reader
from nova_kvs.txn import reading

#: Times that a commit is repeated above a floor, or with the version that a
#: unique key really has.
ATTEMPTS = 5


class RecordTransaction(reader.Reader):
    """One transaction. Not for several threads at once.

    Nothing reaches the store before ``commit``, but for the ids that
    inserted rows take. What was read once keeps its value. After ``commit``
    or ``rollback`` the object holds nothing and may be used again.

    One that ``speculates`` reads a partition that the process remembers from
    memory, if it has nothing else to ask the store then; the commit fails
    with SpeculationFailedError if that is out of date. Whatever else comes of
    it (an exception, nothing to write) must be found again without that as
    long as it ``is_speculative``.

    One that is ``serializable`` commits only if everything that it has read
    is still the same: every row, every range of an index, every "not found".
    This holds against all others that are serializable, and against what any
    transaction writes. (A change of the schema is not.)

    :param database: nova_kvs.record.database.Database.
    :param speculates: whether it does.
    :ivar was_sent: whether a commit has tried to write.
    """

    was_sent = False

    def _reset(self):
        super()._reset()
        self._locks = {}
        self._parents = {}
        #: Of those of them that have changed since.
        self._parent_versions = {}
        self._expected = {}

    # Writing ----------------------------------------------------------------

    def insert(self, table_name, row):
        """Add a row.

        :param row: dict of column -> value; what is missing or None is
            NULL, but for the automatic id.
        :returns: the Record, with version 0: to ``update`` or ``delete`` it
            before the commit.
        :raises nova_kvs.exceptions.DuplicateKeyError: if this transaction
            wrote a row with this primary key. What is stored is compared at
            the commit.
        """
        table = self.new_table(table_name)
        values = _normalise(table, row)
        if table.auto_id is not None:
            number = values.get(table.auto_id)
            if number is None:
                values[table.auto_id] = self.next_id(table_name)
        key = table.record_key(values)
        self._place(table, key, values)
        return access.Record(table_name, key, None, 0, values)

    def next_id(self, table_name):
        """Return a new id: one of those that nothing came of, if there are.

        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer.
        """
        spare = self._spare_ids.get(table_name)
        number = spare.pop(0) if spare else self._database.next_ids(table_name)
        self.ids.setdefault(table_name, []).append(number)
        return number

    def _place(self, table, key, values):
        """Make a row the new content of a primary key."""
        name = (table.name, key)
        write = self.writes.get(name)
        if write is None:
            stored = self._schema.tables.get(table.name, table)
            self.writes[name] = changes.Write(
                stored, table, None, values, key)
        elif write.row is not None:
            raise exceptions.DuplicateKeyError(
                table=table.name, columns=table.key, values=key)
        else:
            write.new_table = table
            write.row = values
            write.key = key

    def update(self, record, row, changed=None):
        """Give a row new values, all of them.

        :param record: what ``load`` or ``insert`` returned.
        :param row: dict of every column that is not NULL from now on.
        :param changed: columns whose values may differ from the record's,
            as a set, if the caller knows: saves looking at all the others.
            The dict belongs to the transaction then.
        :raises nova_kvs.exceptions.DuplicateKeyError: if this transaction
            wrote another row with the new primary key.
        """
        table = self.new_table(record.table)
        if changed is None:
            values = _normalise(table, row)
        else:
            values = row
            part = {column: row[column] for column in changed
                    if column in row}
            normal = _normalise(table, part)
            values.update(normal)
            for column in part.keys() - normal.keys():
                del values[column]
        key = table.record_key(values)
        write = self._write_of(record)
        if key == record.key:
            write.new_table = table
            write.row = values
        else:
            self._clear(write, record)
            self._place(table, key, values)

    def delete(self, record):
        """Remove a row that ``load`` or ``insert`` returned."""
        self._clear(self._write_of(record), record)

    def lock(self, record):
        """Let the commit fail if a row changed since it was read."""
        if record.version:
            self._locks[record.table, record.key] = record

    def rely_on(self, record):
        """Let the commit fail if a row has been removed since it was read.

        Others may change it meanwhile, and rely on it too. It may have been
        read by another transaction.
        """
        if record.version:
            self._parents[record.table, record.key] = record

    def expect_no_more(self, accesses):
        """Let the commit fail if other rows than now are found by accesses.

        :param accesses: as for ``load``, but read now, of masters, whatever
            the transaction has read before.
        :returns: as ``load``.
        :raises nova_kvs.exceptions.KVSError: as ``load``.
        """
        probe = self._database.begin(serializable=True)
        found = probe.load(accesses)
        self._expected.update(probe.to_verify)
        probe.rollback()
        return found

    def _write_of(self, record):
        """Return the entry of a row, made if it is not there."""
        name = (record.table, record.key)
        write = self.writes.get(name)
        if write is None:
            table = self.table(record.table)
            write = self.writes[name] = changes.Write(
                table, table, record if record.version else None,
                record.values, record.key)
        return write

    def _clear(self, write, record):
        """Take a row from its primary key."""
        if record.version and write.original is None:
            # Another row of this transaction has this key already: it
            # stays, and replaces this one.
            write.original = record
        else:
            write.row = None

    def set_schema(self, ddl):
        """Replace the schema in the same commit.

        Rows of tables that are no longer there are removed, rows of tables
        whose columns, keys or indexes change are written again, unless this
        transaction wrote them itself.

        :param ddl: all statements that make the new schema, in order.
        :raises nova_kvs.exceptions.UnsupportedStatementError: if SQLite
            does not accept a statement.
        """
        before = self._new_schema or self._schema
        # What follows may read all there is: not twice.
        self._may_lag = self.serializable = False
        self._new_schema = self._database.make_schema(ddl, before.state)
        evolution.carry(self, before, self._new_schema)

    # The end ----------------------------------------------------------------

    def verify(self):
        """Compare what was read of replicas with their masters.

        :raises nova_kvs.exceptions.ReplicaLaggedError: if it differs.
        """
        if self._may_lag and self.to_verify:
            now = self._database.coordinator.read(list(self.to_verify))
            if now != list(self.to_verify.values()):
                raise exceptions.ReplicaLaggedError()

    @property
    def is_speculative(self):
        """True if it rests on what only a commit can prove."""
        return self.speculation is not None

    def trust_reads(self, but=()):
        """Let the commit compare what is written or locked, and little else.

        The transaction is not serializable any more.

        :param but: partitions: what was read of them, and all members of
            global indexes, are still compared, before the commit point, if
            there are any.
        """
        self.serializable = False
        self.to_verify = {
            read: result for read, result in self.to_verify.items()
            if type(read) is reading.MembersRead
            or getattr(read, "partition", None) in but} if but else {}

    def rollback(self):
        """Forget everything."""
        self.speculation = None
        self._reset()

    def commit(self, accesses=()):
        """Write everything or nothing.

        :param accesses: what to load in the same round trips, if the first
            step of it is enough: what no row of this transaction depends
            on, for it may be of the moment after.
        :returns: as ``load`` of them.
        :raises nova_kvs.exceptions.ConflictError: if another transaction
            changed a row that this one wrote or locked, or a replica was
            behind in what this one read; nothing was applied, run it again
            from the reads.
        :raises nova_kvs.exceptions.SpeculationFailedError: if what it
            remembered is wrong or was not proved; nothing was applied, run
            it again ``after`` this one.
        :raises nova_kvs.exceptions.DuplicateKeyError: if a primary or
            unique key is taken; nothing was applied.
        :raises nova_kvs.exceptions.StoreUnavailableError: nothing was
            applied.
        :raises nova_kvs.exceptions.UndeterminedError: if it is not known
            whether it was applied.
        """
        self._speculates = False
        if self.serializable and self.is_torn:
            self._reset()
            raise exceptions.SerializationError()
        if not self.writes and not self._locks and self._new_schema is None:
            if self.speculation is not None:
                raise exceptions.SpeculationFailedError()
            if self.serializable and self.to_verify:
                to_verify = self.to_verify
                self._reset()
                self._database.coordinator.validate(to_verify.items())
            found = self.load(accesses) if accesses else []
            if self.read_sets:
                self._reset()
            return found
        try:
            return self._commit(accesses)
        finally:
            self._reset()

    def _commit(self, accesses):
        if self._new_schema is None:
            self._database.check_writer(self._schema)
        else:
            evolution.rewrite(self, self._schema, self._new_schema)
        locks = dict(self._locks)
        children.settle(self, self.writes, locks)
        writes = [write for write in self.writes.values()
                  if write.original is not None or write.row is not None]
        self._raise_counters(writes)
        along = {}
        answers = []
        if accesses:
            steps = self._load(accesses)
            try:
                along = next(steps)
            except StopIteration as end:
                answers = end.value
        reads = list(along)
        # A process that only inserts has no other batch for it.
        check = (self._database.schema_read() if self._new_schema is None
                 else None)
        if check is not None:
            reads.append(check)
        speculation = self.speculation
        batch, versions, results = self._send(writes, locks, reads)
        if batch.minimums:
            self.add_included(batch.included())
        if speculation is not None:
            self.remembered.partitions.confirm(speculation.read.partition)
        self.remembered.partitions.write(
            self._schema, batch.mutations, versions)
        self.remembered.lasting.update(batch.lasting)
        self._committed(writes, versions)
        if check is not None:
            self._database.see_schema(results.pop())
        if along:
            self._absorb(along, results)
            answers = self._loaded(steps)
        return answers

    def _send(self, writes, locks, reads):
        """Commit; again above a floor, or with a unique key's real version.

        :returns: the Changes that are committed, the new versions, and the
            results of the reads.
        """
        floors = {}
        unique_versions = {}
        speculation = self.speculation
        for tries_left in reversed(range(ATTEMPTS)):
            batch = self._gather(writes, locks, floors, unique_versions)
            verified, staged = self._conditions(batch)
            # What comes of it is the store's answer.
            self.speculation = None
            self.was_sent = True
            try:
                return batch, *self._database.coordinator.commit_and_read(
                    batch.mutations, self._side_writes(batch), reads,
                    speculation, verified.items(), staged)
            except exceptions.SerializationError:
                raise
            except exceptions.SpeculationFailedError as error:
                self._failed = error
                raise
            except exceptions.FloorError as error:
                if not tries_left:
                    raise
                floors[error.partition] = error.floor
            except exceptions.ConflictError:
                found = self._other_versions(batch, unique_versions)
                if not (self._follow_parents() or found) or not tries_left:
                    raise
                unique_versions.update(found)

    def _conditions(self, batch):
        """Return what has to be so at the commit, beside the mutations.

        :param batch: Changes; rows that are relied on are validated with
            the rest, where one step of the store compares all of them and
            commits.
        :returns: dict of reads and results, and whether they are to be so
            when nobody else can write any more what the transaction writes.
        """
        parents = [record for name, record in self._parents.items()
                   if name not in self.writes and name not in self._locks]
        if not parents and not self._expected:
            return self.to_verify, self.serializable
        fields = [self._place_of_parent(record) for record in parents]
        if not self._expected and not self.serializable and (
                self._database.is_atomic
                or len({record.partition for record in parents}) == 1):
            for where in fields:
                batch.validate(*where)
            return self.to_verify, False
        return {**self.to_verify, **self._expected, **{
            reading.PresenceRead(partition, field): True
            for partition, field, _version in fields}}, True

    def _place_of_parent(self, record):
        """Return (partition, field, version) of a row that is relied on."""
        return (record.partition,
                self.table(record.table).field(record.key),
                self._parent_versions.get(
                    (record.table, record.key), record.version))

    def _follow_parents(self):
        """Look again at the rows that are relied on: they may change.

        :returns: whether all are there, and one has another version.
        """
        if not self._parents:
            return False
        names = list(self._parents)
        places = [self._place_of_parent(self._parents[name])
                  for name in names]
        changed = False
        for name, (_partition, field, version), snapshot in zip(
                names, places, self._database.coordinator.read([
                    reading.FieldsRead(partition, (field,))
                    for partition, field, _version in places])):
            cell = snapshot.cell(field)
            if cell is None:
                return False
            if cell.version != version:
                self._parent_versions[name] = cell.version
                changed = True
        return changed

    def _gather(self, writes, locks, floors, unique_versions):
        batch = changes.Changes(self, floors, unique_versions)
        for write in writes:
            batch.add(write)
        for name, record in locks.items():
            write = self.writes.get(name)
            if write is None or write.original is None:
                batch.validate(
                    record.partition,
                    self.table(record.table).field(record.key),
                    record.version)
        batch.finish()
        if self._new_schema is not None:
            batch.mutations += stored_format.mutations(
                self.database_name, self._schema.version, self._new_schema.ddl,
                self._new_schema.state)
        return batch

    def has_read_lately(self):
        """Tell whether partitions with records are still in the directory.
        """
        return self.read_at is None or (
            time.monotonic() - self.read_at < self._database.listed_s)

    def _side_writes(self, batch):
        """Return what is added to indexes and the queue with the commit."""
        if not (batch.side_writes or batch.index_checks or batch.minimums
                or batch.partition_checks or batch.part_checks):
            return ()
        return [
            *[covering_index.raising(place, version)
              for place, (version, _) in batch.minimums.items()],
            *batch.side_writes,
            *housekeeping.tasks(
                self._database, batch.index_checks,
                [*batch.partition_checks.items(), *batch.part_checks]),
            *self.remembered.take_included()]

    def _other_versions(self, batch, known):
        """Return the versions of unique keys that are not as assumed.

        A unique key whose database moved, or that a row took over from
        another in one transaction, has a version above 1.
        """
        wanted = [where for where in batch.unique_deletes()
                  if where[1] not in known]
        if not wanted:
            return {}
        reads = [reading.FieldsRead(partition, (field,))
                 for partition, field in wanted]
        found = {}
        for (partition, field), snapshot in zip(
                wanted, self._database.coordinator.read(reads)):
            cell = snapshot.cell(field)
            seen = self.read_sets.get(partition)
            assumed = seen and seen.version(field) or 1
            if cell is not None and cell.version != assumed:
                found[field] = cell.version
        return found

    def _raise_counters(self, writes):
        """Keep ids that rows brought along from being given out."""
        highest = {}
        for write in writes:
            table = write.new_table
            if write.row is None or table.auto_id is None:
                continue
            if write.original is None or write.original.key != write.key:
                number = write.row[table.auto_id]
                if type(number) is int and (
                        number > highest.get(table.name, 0)):
                    highest[table.name] = number
        if highest:
            self._database.counters.raise_to(highest)

    def _committed(self, writes, versions):
        for write in writes:
            table = write.new_table
            if table.partition_column is None:
                continue
            if write.row is None:
                self.remembered.locators.pop(
                    (write.table.name, write.original.key), None)
            else:
                self.remembered.locators[
                    table.name, write.key] = write.partition
        if self._new_schema is not None:
            meta = stored_format.partition(self.database_name)
            self._database.adopt_schema(
                self._new_schema, versions[meta, stored_format.VERSION_FIELD])
        self.remembered.trim()
        self._database.keep_house(time.monotonic())


def _normalise(table, row):
    """Return a row as the store has it: affinities applied, no Nones.

    :raises KeyError: for a column that the table does not have.
    """
    native = table.native
    values = {}
    for column, value in row.items():
        if value is None:
            continue
        kind = native[column]
        if type(value) is not kind or kind is float:
            value = table.normalise(column, value)
            if value is None:
                continue
        values[column] = value
    return values
