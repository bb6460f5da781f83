# SPDX-License-Identifier: Apache-2.0
"""The progress of an import, kept in its target so that it can go on.

One record for each table in a partition of its own, beside the schema. It is
written behind each page of rows, so after a kill at most one page is there
without being noted. Another record is for each page that was compared.
"""

import typing

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import importing
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

_SOURCE, _PAGE = "source", "page"
#: Records removed at once.
_CHUNK = 500


class Page(typing.NamedTuple):
    """A page of a table that was the same in source and target.

    It begins behind the page before it.
    """

    #: Primary key of its last row.
    last: tuple
    #: Number of its rows.
    rows: int
    #: Digest of the rows of the source; empty if they were not the same.
    digest: bytes


class State:
    """The state of an import into a database.

    :param database: nova_kvs.record.database.Database.
    :ivar is_resumed: whether rows may be there that were not noted.
    """

    def __init__(self, database):
        self._coordinator = database.coordinator
        self._partition = importing.partition(database.name)
        snapshot, = self._coordinator.read(
            [reading.PartitionRead(self._partition)])
        self._cells = dict(snapshot.cells)
        self.is_resumed = bool(self._cells)

    @property
    def source(self):
        """Return the name of the source; None if no import is going on."""
        found = self._load(_SOURCE)
        return found["name"] if found else None

    @property
    def is_clearing(self):
        """Tell whether rows of before the import may be there."""
        found = self._load(_SOURCE)
        return bool(found and found.get("clearing"))

    def begin(self, source, is_clearing=False):
        """Note that an import begins.

        :param is_clearing: whether what is in the target is removed first.
        """
        self._save({"name": source, "clearing": True}
                   if is_clearing else {"name": source}, _SOURCE)
        self.is_resumed = False

    @property
    def differs(self):
        """Tell whether the copy was compared and is not like its source."""
        found = self._load(_SOURCE)
        return bool(found and found.get("differs"))

    def set_differs(self):
        """Note that the copy is not like its source."""
        self._save({"name": self.source, "differs": True}, _SOURCE)

    def table(self, name):
        """Return how far a table is.

        :returns: ``(key, rows)``: the primary key (tuple) of the last row
            that was noted, None without one, and the number of rows.
        """
        found = self._load("table " + name)
        if found is None:
            return None, 0
        return tuple(found["after"]), found["rows"]

    def set_table(self, name, after, rows):
        """Note how far a table is.

        :raises nova_kvs.exceptions.ConfigurationError: if another import
            into the same database goes on at the same time.
        """
        self._save({"after": list(after), "rows": rows}, "table " + name)

    def pages(self, name):
        """Return the Pages of a table, in the order of its key."""
        found = []
        while values := self._load(_PAGE, name, len(found)):
            found.append(Page(
                tuple(values["last"]), values["rows"], values["digest"]))
        return found

    def set_page(self, name, number, page):
        """Note a Page of a table.

        :param number: how many are before it.
        """
        self._save({"last": list(page.last), "rows": page.rows,
                    "digest": page.digest}, _PAGE, name, number)

    def forget_pages(self):
        """Forget which pages were the same."""
        self._remove([
            field for field in self._cells
            if field.startswith(self._field(_PAGE))])

    def end(self):
        """Forget it all: the import is complete."""
        # The source, which says that it is not, goes last.
        self._remove(sorted(self._cells, key=self._field(_SOURCE).__eq__))

    def _remove(self, fields):
        for first in range(0, len(fields), _CHUNK):
            chunk = fields[first:first + _CHUNK]
            self._commit([
                mutation.Mutation(self._partition, field,
                                  self._cells[field].version, mutation.DELETE)
                for field in chunk])
            for field in chunk:
                del self._cells[field]

    @staticmethod
    def _field(*key):
        return keyspace.record_field(importing.TABLE, key)

    def _load(self, *key):
        field = self._field(*key)
        cell = self._cells.get(field)
        return codec.decode(cell.payload, field) if cell else None

    def _save(self, values, *key):
        field = self._field(*key)
        cell = self._cells.get(field)
        payload = codec.encode(values)
        versions = self._commit([mutation.Mutation(
            self._partition, field, cell.version if cell else 0, payload)])
        self._cells[field] = reading.Cell(
            versions[self._partition, field], payload)

    def _commit(self, mutations):
        try:
            return self._coordinator.commit(mutations)
        except exceptions.ConflictError as error:
            raise exceptions.ConfigurationError(
                "another import into this database is running") from error
