# SPDX-License-Identifier: Apache-2.0
"""The interface of fsck's checks, and the code that they share.

A check tells what to read and judges the results. A walk makes checks of the
keys that it sees. Since it may see them at different moments, every fault is
looked for again later: the same state found twice is damage.
"""

import abc
import struct
import sys
import typing

from nova_kvs import exceptions
from nova_kvs.inspection import keys
from nova_kvs.record import codec
from nova_kvs.record import housekeeping
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import local_index
from nova_kvs.record.indexes import unique_key
from nova_kvs.txn import coordinator
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

VERSION = struct.Struct(">Q")


class Fault(typing.NamedTuple):
    """Something that is wrong."""

    kind: str
    #: The state that shows it: two looks at the same fault find the same.
    state: object = None


class RawRead(typing.NamedTuple):
    """A read whose result is the reply to one operation."""

    #: Of nova_kvs.store.operations.
    request: tuple

    def item(self):
        """Return the operation."""
        return self.request

    def result(self, reply, met):
        """Return the result."""
        return reply


class CellsRead(reading.FieldsRead):
    """Some fields of a partition, whatever state they are in.

    A cell that is too short to have a version is there and does not decode;
    an intent that cannot be read is not there.
    """

    def result(self, reply, met):
        """Return the Snapshot; appends to ``met`` the intents there."""
        count = len(self.fields)
        cells = [value if value is None or len(value) >= VERSION.size
                 else bytes(VERSION.size) for value in reply[1:count + 1]]
        intents = [value if value is not None and is_intent(value) else None
                   for value in reply[count + 1:]]
        return super().result([reply[0], *cells, *intents], met)


def is_intent(data):
    """Tell whether bytes are an intent that can be read."""
    try:
        mutation.Intent.parse(data)
        mutation.intent_payload(data)
    except (struct.error, ValueError):
        return False
    return True


class Context:
    """The database and the findings that checks work with.

    :param database: nova_kvs.record.database.Database.
    :param lifetime_ms: age from which a transaction counts as abandoned.
    :param quarantine: called with a dict that describes bytes which are
        about to be removed.
    """

    def __init__(self, database, lifetime_ms, quarantine):
        self.database = database
        self.housekeeper = housekeeping.Housekeeper(database)
        self.lifetime_ms = lifetime_ms
        self.name = database.name
        self.store = database.store
        self.quarantine = quarantine
        # Reads through committed transactions as everybody does, but never
        # settles abandoned ones: a look must change nothing.
        self.reader = coordinator.Coordinator(
            database.store, database.name, lifetime_ms=sys.maxsize)

    def table_of(self, field):
        """Return the Table that a field belongs to, or None."""
        return self.database.schema.tables.get(keys.table_of(field))

    def home(self, table):
        """Return the partition of a whole table."""
        return self.database.begin().table_partition(table)

    def row(self, field, cell):
        """Return a record's table and values.

        :param cell: Cell, or None.
        :returns: ``(None, None)`` if there is none that can be read.
        """
        table = self.table_of(field)
        if cell is None or table is None:
            return None, None
        try:
            return table, decode(table, field, cell.payload)
        except exceptions.CorruptRecordError:
            # A check of its own.
            return None, None

    def global_entries(self, table, row, partition, field):
        """Return the set of the GlobalEntries of a row."""
        return set(global_index.entries(
            self.name, table, row, partition, field))

    def needed_global_entries(self, table, row, partition, field):
        """Return the entries that must be there: of indexes that are built."""
        return [entry for index in table.indexes if index.is_global
                if (entry := index.entry(
                    self.name, row, partition, field)) is not None]

    def local_entries(self, table, row, partition, field):
        """Return the entries of a row in the index of its partition."""
        return set(local_index.entries(
            table, row, field, partition == self.home(table)))

    def needed_local_entries(self, table, row, partition, field):
        """Return the entries that must be there: of indexes that are built."""
        return local_index.entries(
            table, row, field, partition == self.home(table),
            indexes=[index for index in table.indexes
                     if not index.is_global])

    def uniques(self, table, row, partition, field):
        """Return the unique keys of a row: (partition, field) -> payload."""
        return unique_key.entries(self.name, table, row, partition, field)

    def commit(self, mutations):
        """Commit a repair.

        :returns: True if everything was still as the check had read it.
        """
        try:
            self.database.coordinator.commit(mutations)
        except exceptions.ConflictError:
            return False
        return True


def decode(table, field, payload):
    """Return the values of a record.

    :raises nova_kvs.exceptions.CorruptRecordError: if they cannot be read,
        or belong to another primary key.
    """
    row = codec.decode(payload, field)
    try:
        matches = table.field(table.record_key(row)) == field
    except (TypeError, OverflowError):
        matches = False
    if not matches:
        raise exceptions.CorruptRecordError(field=field)
    return row


def decode_value(table, field, value):
    """Return the values of a record like ``decode``, from all its bytes."""
    if len(value) < VERSION.size:
        raise exceptions.CorruptRecordError(field=field)
    return decode(table, field, value[VERSION.size:])


class Check(abc.ABC):
    """One thing that may be wrong."""

    #: True if nothing in flight can look like it: one look is enough.
    IS_CERTAIN = False

    @abc.abstractmethod
    def reads(self, context):
        """Return the reads whose results ``verdict`` judges."""

    @abc.abstractmethod
    def verdict(self, context, results):
        """Return the Fault that the reads' results show, or None."""

    @abc.abstractmethod
    def describe(self):
        """Return its place as a dict of str, without values of columns."""

    def repair(self, context, fault):
        """Repair the fault, unless its state has changed.

        :returns: True if it was repaired.
        """
        return False

    def promise(self, fault):
        """Return a sign that housekeeping will repair a fault, or None.

        It will if a task in its queue names this.
        """
        return None


def text(data):
    """Return bytes of a key or field as ASCII text without blanks."""
    return "".join(
        chr(byte) if 32 < byte < 127 and byte != 92 else "\\x%02x" % byte
        for byte in data)
