# SPDX-License-Identifier: Apache-2.0
"""Copies an SQL database into the store, and compares the two.

Table by table, in pages in the order of the primary key. A page is one
transaction; where the copy is, is noted behind it. So a copy that was killed
goes on with the page it was at, of which everything or nothing is there.
"""

from nova_kvs import exceptions
from nova_kvs.transfer import agreement
from nova_kvs.transfer import conversion
from nova_kvs.transfer import refusals
from nova_kvs.transfer import sql
from nova_kvs.transfer import state as transfer_state
from nova_kvs.transfer import target as transfer_target

DIFFERENT = ("a row of source and target differs: was the source or the "
             "target written to meanwhile?")
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
        state = transfer_state.State(self._database)
        if state.source is None or state.is_clearing or replace and (
                state.source != self._source.name or state.differs):
            replace = replace or (
                state.is_clearing and state.source == self._source.name)
            is_empty = self._target.is_empty()
            if not is_empty and not replace:
                return self._finished()
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
        elif state.differs:
            raise exceptions.ConfigurationError(
                "the copy is not what the source was: say --replace to begin "
                "again")
        self.goes_on = True
        counts = self.counts()
        for name in self.tables:
            # Every row is read twice.
            self._copy(name, state, 2 * sum(counts.values()))
        self.goes_on = not self._refusals
        self._refusals.check()
        difference = self._difference(counts)
        self.goes_on = False
        if difference is not None:
            # It stays an import that is not complete, for services and
            # checks, but going on would not help.
            state.set_differs()
            raise difference
        state.end()
        return counts

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
            stored = self._stored(name, rows)
            self._done += len(rows)
            self._progress("copying " + name, self._done, total)
            if self._refusals:
                # Nothing behind a row that is left out may be noted. What
                # else is refused is found in the same run.
                continue
            if unsure > 0:
                there = self._target.stored(name, stored)
                stored = [row for row in stored
                          if table.record_key(row) not in there]
                unsure -= len(rows)
            if stored:
                self._target.insert(name, stored)
            after = tuple(rows[-1][column] for column in key)
            done += len(rows)
            state.set_table(name, after, done)

    def _stored(self, name, rows):
        """Return rows as they are stored, without those that are refused."""
        stored = []
        for row in rows:
            try:
                stored.append(self._convert.stored(name, row))
            except exceptions.ConfigurationError as error:
                self._refusals.add(
                    name, error.key, error.column, error.args[0])
        return stored

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
        found = self._target.counts()
        for name in self.tables:
            if found[name] != counts[name]:
                return exceptions.KVSError(
                    DIFFERENT_NUMBERS, table=name, source=counts[name],
                    target=found[name])
        return None
