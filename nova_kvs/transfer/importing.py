# SPDX-License-Identifier: Apache-2.0
"""Copies an SQL database into the store, and compares the two.

Table by table, in pages in the order of the primary key. A page is one
transaction; where the copy is, is noted behind it. So a copy that was killed
goes on with the page it was at, of which everything or nothing is there.

A copy that is not like its source, for that was written to meanwhile, catches
up: every row is compared, and what differs is written. So most of a copy can
be made while services run. A page that was compared then is noted with a
digest of its rows: the copy behind it, for which services are stopped, reads
of the target only those pages whose rows have another one.
"""

import hashlib

from nova_kvs import exceptions
from nova_kvs.inspection import keys
from nova_kvs.inspection import walk
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.transfer import agreement
from nova_kvs.transfer import conversion
from nova_kvs.transfer import refusals
from nova_kvs.transfer import sql
from nova_kvs.transfer import state as transfer_state
from nova_kvs.transfer import stored
from nova_kvs.transfer import target as transfer_target

DIFFERENT = ("a row of source and target differs: was the source or the "
             "target written to meanwhile?")
#: So many rows may be what migrations have inserted.
MADE_ROWS = 20
DIFFERENT_NUMBERS = "source and target have different numbers of rows"


class Import:
    """A copy from SQL to the store.

    :param source: nova_kvs.transfer.sql.Database.
    :param database: nova_kvs.record.database.Database.
    :param progress: called with a text, a number of rows and the number of
        all, now and then.
    :ivar goes_on: whether the same copy, begun again, would go on.
    """

    def __init__(self, source, database, progress=None):
        self._source = source
        self._database = database
        self._progress = progress or (lambda text, done, total: None)
        self.goes_on = False
        self._done = 0
        agreement.check_kinds(source.tables, database.schema.tables)
        agreement.check_revisions(
            source.revision(), agreement.stored_revision(database),
            source.tables)
        self.tables = agreement.tables(
            database.schema, source, sql_is_source=True)
        self._target = transfer_target.Target(database)
        self._convert = conversion.Conversion(database.schema)
        self._refusals = refusals.Refusals()

    def counts(self):
        """Return table's name -> number of rows in the source."""
        with self._source.reading() as connection:
            return {name: self._source.count(connection, name)
                    for name in self.tables}

    def try_out(self):
        """Look for rows that the target would refuse, and write nothing.

        :returns: table's name -> number of rows in the source.
        :raises nova_kvs.exceptions.KVSError: naming the rows, if there are
            any.
        """
        counts = self.counts()
        done = 0
        for name in self.tables:
            for rows in self._source.pages(name):
                self._stored(name, rows)
                done += len(rows)
                self._progress(
                    "trying " + name, done, sum(counts.values()))
        self._refusals.check()
        return counts

    def run(self, replace=False, is_early=False):
        """Copy what is not copied yet, and verify all of it.

        :param replace: remove what is in the target, if it is not a part of
            this copy.
        :param is_early: the source is still written to: do not verify, and
            leave the copy one that is not complete.
        :returns: table's name -> number of rows.
        :raises nova_kvs.exceptions.ConfigurationError: if the target holds
            something else.
        :raises nova_kvs.exceptions.KVSError: if source and target differ
            in the end, or if the target refuses rows; it names them. The
            copy is not complete then.
        """
        state = transfer_state.State(self._database)
        if not self._begin(state, replace):
            return self._finished()
        self.goes_on = True
        counts = self.counts()
        if state.differs:
            difference = self._catch_up(state, counts, is_early)
        else:
            for name in self.tables:
                # Every row is read twice.
                self._copy(name, state, 2 * sum(counts.values()))
            difference = None
        self.goes_on = not self._refusals
        self._refusals.check()
        if is_early:
            if not state.differs:
                state.set_differs()
                self._catch_up(state, counts, True)
                self._refusals.check()
            return counts
        if not state.differs:
            difference = self._difference(counts)
            if difference is not None and state.is_resumed:
                # What was copied first may be older than what came last.
                difference = self._catch_up(state, counts, is_early)
        if difference is not None:
            # It stays an import that is not complete, for services and
            # checks.
            state.set_differs()
            # What was noted may not be so any more.
            state.forget_pages()
            raise difference
        self.goes_on = False
        state.end()
        return counts

    def _begin(self, state, replace):
        """Make the target one that holds a part of this copy.

        :param state: transfer_state.State. :param replace: as of ``run``.
        :returns: whether it is. If not it has something of which nobody
            knows where it is from, and that was not to be removed.
        """
        if state.source is None or state.is_clearing or replace and (
                state.source != self._source.name or state.differs):
            replace = replace or (
                state.is_clearing and state.source == self._source.name)
            is_empty = self._target.is_empty()
            if not is_empty and not replace and not self._holds_a_part():
                return False
            state.end()
            if not is_empty:
                # So that a kill meanwhile leaves no half a database that
                # passes as a whole one.
                state.begin(self._source.name, is_clearing=True)
                self._progress("removing what is in the target", 0, None)
                self._target.clear()
            state.begin(self._source.name)
        elif state.source != self._source.name:
            raise exceptions.ConfigurationError(
                "the target holds a part of a copy from another source: "
                "complete that, or say --replace", source=state.source)
        return True

    def _holds_a_part(self):
        """Return whether the target has few rows, all of them the source's.

        Keystone's migrations insert the root of all domains. Such rows may
        be removed: they are copied like the others.
        """
        wanted, found = self.counts(), self._target.counts()
        full = [name for name in self.tables if found[name]]
        if sum(found[name] for name in full) > MADE_ROWS or all(
                found[name] == wanted[name] for name in self.tables):
            return False
        for name in full:
            table = self._database.schema.tables[name]
            records, = self._database.begin().load([access.FullScan(name)])
            rows = [record.values for record in records]
            there = {table.record_key(row): row
                     for row in self._of_source(name, rows)}
            if any(there.get(table.record_key(row)) != row for row in rows):
                return False
        return True

    def _finished(self):
        """Return what ``run`` does if the whole copy is there.

        One that was killed after its end left no sign of it.
        """
        counts = self.counts()
        if self._difference(counts) is not None:
            raise exceptions.ConfigurationError(
                "the target is not empty: say --replace to remove what is "
                "in it", database=self._database.name,
                holds=agreement.name_contents(self._target.counts()))
        return counts

    def _copy(self, name, state, total):
        after, done = state.table(name)
        self._done += done
        # What is behind the last note may be there or not: a page of it.
        unsure = sql.PAGE if state.is_resumed else 0
        table = self._database.schema.tables[name]
        key = self._source.key(name)
        for rows in self._source.pages(name, after):
            found = self._stored(name, rows)
            self._done += len(rows)
            self._progress("copying " + name, self._done, total)
            if self._refusals:
                # Nothing behind a row that is left out may be noted. What
                # else is refused is found in the same run.
                continue
            if unsure > 0:
                there = self._target.stored(name, found)
                found = [row for row in found
                         if table.record_key(row) not in there]
                unsure -= len(rows)
            if found:
                self._target.insert(name, found)
            after = tuple(rows[-1][column] for column in key)
            done += len(rows)
            state.set_table(name, after, done)

    def _catch_up(self, state, counts, is_early):
        """Write what differs, and compare that once more.

        :param is_early: note what was compared.
        :returns: an error if the target is not like the source then, or
            None.
        """
        self._target.is_fresh = False
        self._done = 0
        for name in self.tables:
            difference = self._catch_up_table(
                name, state, is_early, sum(counts.values()))
            if difference is not None and not is_early:
                return difference
        if is_early:
            return None
        # All rows of the source are in the target, so it has the same ones
        # if it has as many.
        found = self._target.counts()
        wrong = {name for name in self.tables if found[name] != counts[name]}
        if wrong:
            self._remove_gone(wrong)
            found = self._target.counts()
        return self._wrong_number(counts, found)

    def _catch_up_table(self, name, state, is_early, total):
        """Do so for one table.

        :returns: the first error of a page, or None.
        """
        error, after = None, None
        noted = state.pages(name)
        for number, note in enumerate(noted):
            pages = self._source.pages(name, after, note.last, note.rows + 1)
            rows = next(pages, [])
            digest = _digest(rows)
            if digest != note.digest:
                # Not so any more, once the target is changed.
                state.set_page(name, number, note._replace(digest=b""))
                found = self._mend(name, self._stored(name, rows))
                error = error or found
                if is_early and found is None and not self._refusals:
                    state.set_page(name, number, note._replace(
                        rows=len(rows), digest=digest))
            self._tell(name, rows, total)
            # What came between keys that were there.
            for rows in pages:
                error = error or self._mend(name, self._stored(name, rows))
                self._tell(name, rows, total)
            after = note.last
        key = self._source.key(name)
        for number, rows in enumerate(
                self._source.pages(name, after), len(noted)):
            found = self._mend(name, self._stored(name, rows))
            error = error or found
            if is_early:
                is_same = found is None and not self._refusals
                state.set_page(name, number, transfer_state.Page(
                    tuple(rows[-1][column] for column in key), len(rows),
                    _digest(rows) if is_same else b""))
            self._tell(name, rows, total)
        return error

    def _tell(self, name, rows, total):
        self._done += len(rows)
        self._progress("comparing " + name, self._done, total)

    def _mend(self, name, wanted):
        """Give the target a page of rows, as far as it has others.

        :returns: an error if it does not have them then, or None.
        """
        if self._refusals:
            return None
        table = self._database.schema.tables[name]
        found = self._target.stored(name, wanted)
        new, changed = [], []
        for row in wanted:
            there = found.get(table.record_key(row))
            if there is None:
                new.append(row)
            elif there != row:
                changed.append(row)
        if not new and not changed:
            return None
        self._write(name, new, changed)
        found = self._target.stored(name, new + changed)
        for row in new + changed:
            key = table.record_key(row)
            if found.get(key) != row:
                return exceptions.KVSError(DIFFERENT, table=name, key=key)
        return None

    def _write(self, name, new, changed):
        try:
            if changed:
                self._target.update(name, changed)
            if new:
                self._target.insert(name, new)
            return
        except exceptions.DuplicateKeyError:
            # Of a row that is gone, or of one that comes later.
            self._remove_gone(self.tables)
        self._target.remove(name, changed)
        new = new + changed
        for _row in new:
            try:
                return self._target.insert(name, new)
            except exceptions.DuplicateKeyError as error:
                # Its own page gives that one its values.
                self._target.remove_holder(name, error.columns, error.values)
        self._target.insert(name, new)

    def _remove_gone(self, tables):
        """Remove the rows of some tables that the source has not."""
        database = self._database
        for chunk in walk.partitions(database.store, database.name, tables):
            for pieces in walk.pieces(database.store, [
                    keys.classify(partition.key, database.name)
                    for partition in chunk]):
                rows = {}
                for record in stored.records(database, pieces, tables):
                    rows.setdefault(record.table, []).append(
                        codec.decode(record.payload, record.field))
                for name, values in rows.items():
                    self._remove_gone_of(name, values)

    def _remove_gone_of(self, name, rows):
        table = self._database.schema.tables[name]
        there = set(map(table.record_key, self._of_source(name, rows)))
        gone = [row for row in rows if table.record_key(row) not in there]
        if gone:
            self._target.remove(name, gone)

    def _of_source(self, name, rows):
        """Return the source's rows with the keys of stored rows, as stored.

        Those that the target would refuse are left out.
        """
        columns = [self._source.tables[name].columns[column]
                   for column in self._source.key(name)]
        wanted = [tuple(self._convert.loaded(name, row, columns).values())
                  for row in rows]
        with self._source.reading() as connection:
            return self._stored(
                name, self._source.find(connection, name, wanted))

    def _wrong_number(self, counts, found):
        """Return an error if numbers of rows are not the same, or None."""
        for name in self.tables:
            if found[name] != counts[name]:
                return exceptions.KVSError(
                    DIFFERENT_NUMBERS, table=name, source=counts[name],
                    target=found[name])
        return None

    def _stored(self, name, rows):
        """Return rows as they are stored, without those that are refused."""
        found = []
        for row in rows:
            try:
                found.append(self._convert.stored(name, row))
            except exceptions.ConfigurationError as error:
                self._refusals.add(
                    name, error.key, error.column, error.args[0])
        return found

    def _difference(self, counts):
        """Compare every row.

        :returns: an error that names the first that differs, or None.
        """
        for name in self.tables:
            table = self._database.schema.tables[name]
            done = 0
            for rows in self._source.pages(name):
                wanted = [self._convert.stored(name, row) for row in rows]
                found = self._target.stored(name, wanted)
                for row in wanted:
                    key = table.record_key(row)
                    if found.get(key) != row:
                        return exceptions.KVSError(
                            DIFFERENT, table=name, key=key)
                done += len(rows)
                self._done += len(rows)
                self._progress(
                    "verifying " + name, self._done, 2 * sum(counts.values()))
            if done != counts[name]:
                return exceptions.KVSError(
                    "rows came or went while they were copied: stop the "
                    "services of the source and begin again", table=name)
        return self._wrong_number(counts, self._target.counts())


def _digest(rows):
    """Return what tells rows of SQL from others."""
    return hashlib.blake2b(
        repr([tuple(row.values()) for row in rows]).encode(
            errors="surrogatepass"), digest_size=16).digest()
