# SPDX-License-Identifier: Apache-2.0
"""Copies a database of the store into SQL, and compares the two.

Partition by partition, as SCAN finds them, in any order; rows that are in
the target already are left out. So a copy that was killed looks through all
of the source again, and writes what is missing.
"""

from nova_kvs import exceptions
from nova_kvs.inspection import keys
from nova_kvs.inspection import walk
from nova_kvs.record import codec
from nova_kvs.record import partition_rules
from nova_kvs.transfer import agreement
from nova_kvs.transfer import conversion
from nova_kvs.transfer import importing
from nova_kvs.transfer import stored
from nova_kvs.transfer import target as transfer_target


class Export:
    """A copy from the store to SQL.

    :param database: nova_kvs.record.database.Database.
    :param target: nova_kvs.transfer.sql.Database.
    :param name: of the source, without a password.
    :param progress: called with a text, a number of rows and the number of
        all, now and then.
    :ivar goes_on: whether the same copy, begun again, would go on.
    """

    def __init__(self, database, target, name, progress=None):
        self._database = database
        self._target = target
        self._name = name[:255]
        self._progress = progress or (lambda text, done, total: None)
        self.goes_on = False
        agreement.check_kinds(database.schema.tables, target.tables)
        agreement.check_revisions(
            agreement.stored_revision(database), target.revision(),
            database.schema.tables)
        self.tables = agreement.tables(
            database.schema, target, sql_is_source=False)
        self._convert = conversion.Conversion(database.schema)

    def counts(self):
        """Return table's name -> number of rows in the source."""
        found = walk.counts(
            self._database, self._database.schema.tables,
            lambda seen: self._progress(
                "counting (%d partitions)" % seen, 0, None))
        return {name: found[name] for name in self.tables}

    def try_out(self):
        """Look for rows that the target would refuse, and leave it as it is.

        Writes all of them into temporary tables.

        :returns: table's name -> number of rows in the source.
        :raises nova_kvs.exceptions.KVSError: naming the rows, if there are
            any.
        """
        counts = self.counts()
        total = sum(counts.values())
        done = 0
        with self._target.rehearsing(self.tables) as connection:
            for rows in self._rows():
                for name, values in rows.items():
                    self._write(connection, name, values)
                    done += len(values)
                connection.commit()
                self._progress("trying", done, total)
        self._target.refused.check()
        return counts

    def run(self, replace=False):
        """Copy what is not copied yet, and verify all of it.

        :param replace: remove what is in the target, if it is not a part of
            this copy.
        :returns: table's name -> number of rows.
        :raises nova_kvs.exceptions.ConfigurationError: if the target holds
            something else.
        :raises nova_kvs.exceptions.KVSError: if source and target differ
            in the end, or if the target refuses rows; it names them. The
            copy is not complete then.
        """
        mark = self._target.mark()
        if mark is None or replace and mark != self._name:
            full = self._full()
            is_part = full and not replace and self._holds_a_part(full)
            if full and not replace and not is_part:
                return self._finished(full)
            if full and not is_part:
                self._progress("removing what is in the target", 0, None)
                self._target.clear(full)
            self._target.set_mark(self._name)
        elif mark != self._name:
            raise exceptions.ConfigurationError(
                "the target holds a part of a copy from another source: "
                "complete that, or say --replace", source=mark)
        self.goes_on = True
        counts = self.counts()
        total = sum(counts.values())
        done = 0
        for rows in self._rows():
            with self._target.writing() as connection:
                for name, values in rows.items():
                    self._write(connection, name, values)
                    done += len(values)
            # Every row is read twice.
            self._progress("copying", done, 2 * total)
        self.goes_on = not self._target.refused
        self._target.refused.check()
        difference = self._difference(counts, total)
        self.goes_on = False
        if difference is None:
            # Before the mark goes, so that a copy killed here is completed.
            self._target.finish()
        # Also if they differ: going on would not help.
        self._target.remove_mark()
        if difference is not None:
            raise difference
        return counts

    def _full(self):
        """Return the names of the target's tables that have rows."""
        with self._target.reading() as connection:
            return [name for name in self.tables
                    if not self._target.is_empty(connection, name)]

    def _holds_a_part(self, full):
        """Return whether the target has few rows, all of them the source's.

        Such are those that migrations insert.

        :param full: names of the target's tables that have rows.
        """
        wanted = self.counts()
        with self._target.reading() as connection:
            found = {name: self._target.count(connection, name)
                     for name in full}
        if sum(found.values()) > importing.MADE_ROWS or all(
                found.get(name, 0) == wanted[name] for name in self.tables):
            return False
        source = transfer_target.Target(self._database)
        for name in full:
            key = self._database.schema.tables[name].record_key
            for page in self._target.pages(name):
                rows = [self._convert.stored(name, row) for row in page]
                there = source.stored(name, rows)
                if not all(key(row) in there and conversion.equal(
                        row, there[key(row)]) for row in rows):
                    return False
        return True

    def _finished(self, full):
        """Return what ``run`` does if the whole copy is there.

        One that was killed after its end left no sign of it.
        """
        counts = self.counts()
        if self._difference(counts, sum(counts.values())) is not None:
            raise exceptions.ConfigurationError(
                "the target is not empty: say --replace to remove what is "
                "in it", tables=", ".join(full))
        self._target.finish()
        return counts

    def _rows(self):
        """Yield name of a table -> list of rows (as stored), in chunks."""
        store, name = self._database.store, self._database.name
        for chunk in walk.keys(store, name):
            wanted = [key for key in chunk
                      if key.type is keys.KeyType.PARTITION
                      and key.kind != partition_rules.META]
            for pieces in walk.pieces(store, wanted):
                yield self._decode(pieces)

    def _decode(self, pieces):
        rows = {}
        for record in stored.records(self._database, pieces, self.tables):
            rows.setdefault(record.table, []).append(
                codec.decode(record.payload, record.field))
        return rows

    def _write(self, connection, name, rows):
        columns = self._target.tables[name].columns
        new = {}
        for row in rows:
            try:
                row = self._convert.loaded(name, row, columns)
            except exceptions.ConfigurationError as error:
                self._target.refused.add(
                    name, error.key, error.column, error.args[0])
                continue
            if self._target.takes(name, row):
                new[self._key(name, row)] = row
        for row in self._target.find(connection, name, list(new)):
            new.pop(self._key(name, row), None)
        if new:
            self._target.insert(connection, name, list(new.values()))

    def _key(self, name, row):
        return tuple(row[column] for column in self._target.key(name))

    def _difference(self, counts, total):
        """Compare every row.

        :returns: an error that names the first that differs, or None.
        """
        done = 0
        for rows in self._rows():
            with self._target.reading() as connection:
                for name, values in rows.items():
                    key = self._different_key(connection, name, values)
                    if key is not None:
                        return exceptions.KVSError(
                            importing.DIFFERENT, table=name, key=key)
                    done += len(values)
            self._progress("verifying", total + done, 2 * total)
        with self._target.reading() as connection:
            for name in self.tables:
                found = self._target.count(connection, name)
                if found != counts[name]:
                    return exceptions.KVSError(
                        importing.DIFFERENT_NUMBERS, table=name,
                        source=counts[name], target=found)
        return None

    def _different_key(self, connection, name, rows):
        columns = self._target.tables[name].columns
        wanted = {}
        for row in rows:
            row = self._convert.loaded(name, row, columns)
            wanted[self._key(name, row)] = self._convert.stored(name, row)
        found = {self._key(name, row): self._convert.stored(name, row)
                 for row in self._target.find(
                     connection, name, list(wanted))}
        for key, row in wanted.items():
            if key not in found or not conversion.equal(found[key], row):
                return key
        return None
