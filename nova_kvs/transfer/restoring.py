# SPDX-License-Identifier: Apache-2.0
"""Restores a database of a backup, and compares it with the backup.

Page by page, in the order of the file. A page is one transaction; how far the
restore is, is noted behind it, as an import notes it: services do not open
half a database, and a restore that was killed goes on.
"""

from nova_kvs import exceptions
from nova_kvs.inspection import keys
from nova_kvs.inspection import walk
from nova_kvs.record import codec
from nova_kvs.transfer import agreement
from nova_kvs.transfer import dump
from nova_kvs.transfer import importing
from nova_kvs.transfer import state as transfer_state
from nova_kvs.transfer import stored
from nova_kvs.transfer import target as transfer_target

_PAGES = "pages"


class Restore:
    """A restore of one database.

    :param head: of the database in the backup.
    :param reader: nova_kvs.transfer.dump.Reader, behind the head.
    :param database: nova_kvs.record.database.Database.
    :param progress: called with a text, a number of rows and the number of
        all (None: unknown), now and then.
    """

    def __init__(self, head, reader, database, progress=None):
        self._head = head
        self._reader = reader
        self._database = database
        self._progress = progress or (lambda text, done, total: None)
        #: The same restore, begun again, would go on.
        self.goes_on = False
        #: Name of the source, as ``check`` tells it.
        self.name = "the backup %s of %s of %s" % (
            head["id"], head["database"], head["made"])

    def run(self, replace=False):
        """Restore what is not restored yet, and verify all of it.

        :param replace: remove what is in the target, if it is not a part of
            this restore.
        :returns: table's name -> number of rows.
        :raises nova_kvs.exceptions.ConfigurationError: if the target holds
            something else.
        :raises nova_kvs.exceptions.KVSError: if the backup is damaged or the
            target is not like it in the end.
        """
        state = transfer_state.State(self._database)
        if state.source is None or state.is_clearing or replace and (
                state.source != self.name or state.differs):
            replace = replace or (
                state.is_clearing and state.source == self.name)
            target = transfer_target.Target(self._database)
            is_empty = target.is_empty()
            if not is_empty and not replace:
                raise exceptions.ConfigurationError(
                    "the target is not empty: say --replace to remove what "
                    "is in it", database=self._database.name)
            state.end()
            if not is_empty:
                state.begin(self.name, is_clearing=True)
                self._progress("removing what is in the target", 0, None)
                target.clear()
            state.begin(self.name)
        elif state.source != self.name:
            raise exceptions.ConfigurationError(
                "the target holds a part of a copy from another source: "
                "complete that, or say --replace", source=state.source)
        elif state.differs:
            raise exceptions.ConfigurationError(
                "what was restored is not like the backup: say --replace to "
                "begin again")
        self.goes_on = True
        self._make_schema()
        counts = self._copy(state)
        difference = self._difference()
        self.goes_on = False
        if difference is not None:
            state.set_differs()
            raise difference
        state.end()
        return counts

    def _make_schema(self):
        """Give the target the schema of the backup."""
        database = self._database
        ddl = tuple(self._head["ddl"])
        if database.schema.ddl != ddl:
            tx = database.begin()
            tx.set_schema(ddl)
            tx.commit()

    def _copy(self, state):
        target = transfer_target.Target(self._database)
        done = state.table(_PAGES)[0]
        done, rows = (done[0] if done else 0), 0
        # Behind the last note a page may be there or not.
        unsure = state.is_resumed
        for page in self._reader.pages():
            rows += len(page.rows)
            if page.number <= done:
                continue
            if unsure or page.table == agreement.REVISION_TABLE:
                self._add(target, page)
            else:
                self._insert(target, page)
            unsure = False
            state.set_table(_PAGES, (page.number,), rows)
            self._progress("restoring", rows, None)
        return {name: count for name, (count, _)
                in self._reader.end["tables"].items()}

    def _insert(self, target, page):
        try:
            target.insert(page.table, page.rows)
        except exceptions.DuplicateKeyError:
            # A backup of a database that was written to may have one twice.
            self._add(target, page)

    def _add(self, target, page):
        """Insert those rows of a page that are not there."""
        table = target.schema.tables[page.table]
        there = target.stored(page.table, page.rows)
        rows = {}
        for row in page.rows:
            key = table.record_key(row)
            if key not in there:
                rows[key] = row
        if rows:
            target.insert(page.table, list(rows.values()))

    def _difference(self):
        """Compare the target with the backup.

        :returns: an error that names what differs, or None.
        """
        database = self._database
        wanted = self._reader.end["tables"]
        total = sum(count for count, _ in wanted.values())
        found = dump.Sums()
        tables = database.schema.tables
        for chunk in walk.partitions(database.store, database.name, tables):
            for pieces in walk.pieces(database.store, [
                    keys.classify(partition.key, database.name)
                    for partition in chunk]):
                for record in stored.records(database, pieces, tables):
                    found.add_row(record.table, codec.decode(
                        record.payload, record.field))
            self._progress("verifying", sum(found.counts.values()), total)
        found = found.as_dict()
        for name in sorted(wanted.keys() | found.keys()):
            if wanted.get(name) == found.get(name):
                continue
            numbers = [one.get(name, [0])[0] for one in (wanted, found)]
            if numbers[0] != numbers[1]:
                return exceptions.KVSError(
                    importing.DIFFERENT_NUMBERS, table=name,
                    source=numbers[0], target=numbers[1])
            return exceptions.KVSError(importing.DIFFERENT, table=name)
        return None


def find(reader, name, default):
    """Return the head of a database in a backup.

    :param reader: nova_kvs.transfer.dump.Reader, which is behind the head
        then.
    :param name: of the database; None for the default, or for the only one.
    :param default: a name.
    :raises nova_kvs.exceptions.ConfigurationError: if the backup has none of
        that name.
    """
    head = reader.head()
    found = []
    while head is not None:
        found.append(head["database"])
        if head["database"] == (name or default) or (
                name is None and head.get("is_only")):
            return head
        for _page in reader.pages():
            pass
        head = reader.head()
    raise exceptions.ConfigurationError(
        "the backup has no database of this name: say one of its own with "
        "--name", name=name or default, has=", ".join(found) or "-")
