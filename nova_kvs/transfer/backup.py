# SPDX-License-Identifier: Apache-2.0
"""Writes a database of the store into a backup.

It is read twice. The first time rows that others live with are written, the
second time all others, so that a reader has the former first. Both times each
record's version goes into a checksum: where the two are equal nothing changed
from the end of the first to the beginning of the second, and what was written
is what the database held at that moment.
"""

import datetime
import uuid

from nova_kvs.inspection import keys
from nova_kvs.inspection import walk
from nova_kvs.record import codec
from nova_kvs.transfer import dump
from nova_kvs.transfer import stored


class Backup:
    """A backup of one database.

    :param database: nova_kvs.record.database.Database.
    :param progress: called with a text, a number of rows and the number of
        all, now and then.
    :param is_only: whether the file has no other.
    """

    def __init__(self, database, progress=None, is_only=True):
        self._database = database
        self._progress = progress or (lambda text, done, total: None)
        self._is_only = is_only
        self.tables = list(database.schema.tables)

    def run(self, writer):
        """Write the database.

        :param writer: nova_kvs.transfer.dump.Writer.
        :returns: ``(counts, is_consistent)``: table's name -> number of
            rows, and whether all of them were there at one moment.
        """
        database = self._database
        counts = walk.counts(database, self.tables)
        total = 2 * sum(counts.values())
        writer.head({
            "id": uuid.uuid4().hex, "database": database.name,
            "made": datetime.datetime.now(datetime.timezone.utc).strftime(
                "%Y-%m-%dT%H:%M:%SZ"),
            "is_only": self._is_only, "ddl": list(database.schema.ddl)})
        first = {name for name in self.tables
                 if database.schema.children.get(name)}
        written = dump.Sums()
        seen = [self._pass(writer, tables, written, done, total)
                for tables, done in (
                    (first, 0), (set(self.tables) - first, total // 2))]
        is_consistent = seen[0] == seen[1]
        writer.end({"tables": written.as_dict(),
                    "is_consistent": is_consistent})
        return written.counts, is_consistent

    def _pass(self, writer, tables, written, done, total):
        """Read all there is, and write the rows of some tables.

        :returns: checksums of all that was read.
        """
        seen = dump.Sums()
        page = _Pages(writer)
        for record in self._records():
            seen.add(record.table, record.field,
                     b"%d" % record.version, record.payload)
            done += 1
            if record.table in tables:
                values = codec.decode(record.payload, record.field)
                written.add_row(record.table, values)
                page.add(record, values)
            if not done % dump.PAGE:
                self._progress("reading", done, total)
        page.flush()
        return seen.as_dict()

    def _records(self):
        """Yield every record of the database, each once."""
        database = self._database
        store = database.store
        for chunk in walk.partitions(store, database.name, self.tables):
            wanted = [keys.classify(partition.key, database.name)
                      for partition in chunk]
            for pieces in walk.pieces(store, wanted):
                # A hash that grows meanwhile is paged through with fields
                # that come twice, but not in one piece.
                yield from stored.records(database, pieces, self.tables)


class _Pages:
    """Collects rows into pages."""

    def __init__(self, writer):
        self._writer = writer
        self._rows = {}
        self._sizes = {}

    def add(self, record, values):
        rows = self._rows.setdefault(record.table, [])
        rows.append(values)
        size = self._sizes.get(record.table, 0) + len(record.payload)
        self._sizes[record.table] = size
        if len(rows) >= dump.PAGE or size >= dump.PAGE_BYTES:
            self._write(record.table)

    def flush(self):
        for table in list(self._rows):
            self._write(table)

    def _write(self, table):
        self._sizes.pop(table)
        self._writer.page(table, self._rows.pop(table))


def write(databases, stream, progress=None):
    """Write a backup of databases, one after the other.

    :param databases: nova_kvs.record.database.Database each.
    :param stream: binary file.
    :returns: what ``Backup.run`` returns, for each.
    """
    writer = dump.Writer(stream)
    found = [Backup(database, progress, len(databases) == 1).run(writer)
             for database in databases]
    writer.close()
    return found
