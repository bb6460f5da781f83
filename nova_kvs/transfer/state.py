# SPDX-License-Identifier: Apache-2.0
"""The progress of an import, kept in its target so that it can go on.

One record for each table in a partition of its own, beside the schema. It is
written behind each page of rows, so after a kill at most one page is there
without being noted.
"""

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import importing
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

_SOURCE = "source"


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
        self._save(_SOURCE, {"name": source, "clearing": True}
                   if is_clearing else {"name": source})
        self.is_resumed = False

    @property
    def differs(self):
        """Tell whether the copy was compared and is not like its source."""
        found = self._load(_SOURCE)
        return bool(found and found.get("differs"))

    def set_differs(self):
        """Note that the copy is not like its source."""
        self._save(_SOURCE, {"name": self.source, "differs": True})

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
        self._save("table " + name, {"after": list(after), "rows": rows})

    def end(self):
        """Forget it all: the import is complete."""
        if not self._cells:
            return
        self._commit([
            mutation.Mutation(self._partition, field, cell.version,
                              mutation.DELETE)
            for field, cell in self._cells.items()])
        self._cells = {}

    def _load(self, name):
        field = keyspace.record_field(importing.TABLE, (name,))
        cell = self._cells.get(field)
        return codec.decode(cell.payload, field) if cell else None

    def _save(self, name, values):
        field = keyspace.record_field(importing.TABLE, (name,))
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
