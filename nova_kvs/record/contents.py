# SPDX-License-Identifier: Apache-2.0
"""What a process remembers of the partitions that it read last.

Servers are read again and again, mostly unchanged; so their records stay
decoded. Nothing here is an answer: it is used if what the store has just
answered is the same, byte for byte.
"""

import collections

from nova_kvs import keyspace
from nova_kvs.record import access

_RECORD = keyspace.RECORD[0]
# What a named tuple's class does, without a call in between.
_make = tuple.__new__

#: Bytes of the contents that a process remembers, as they are stored; in
#: memory they take about eight times that.
CONTENTS_BYTES = 4 << 20
#: Larger partitions are not remembered. What is allocated of one of
#: Placement's providers takes 150 bytes for each server and class.
LARGEST_CONTENT_BYTES = 256 << 10


class Content:
    """What a partition held when it was last read whole.

    Several transactions may use one: none changes it, but that records, and
    what is made of them, are added as they are asked for.

    :ivar schema: by which its records are decoded.
    :ivar snapshot: nova_kvs.txn.reading.Snapshot.
    :ivar groups: prefix of a table's fields -> list of them.
    :ivar records: field -> Record.
    :ivar tables: prefix of a table's fields -> list of its Records, of
        tables that were asked for.
    :ivar derived: (Table, function) -> what the function made of the
        table's Records.
    :ivar record_class: of its records: KeptRecord once the same was read
        again. Most of what is read once is not, and need not pay for it.
    """

    __slots__ = ("schema", "snapshot", "groups", "records", "tables",
                 "derived", "size_bytes", "record_class")

    def __init__(self, schema, snapshot, before=None):
        """Take in what was read.

        :param before: Content of the partition that is out of date, or
            None: the records that did not change are taken from it.
        """
        self.schema = schema
        self.snapshot = snapshot
        stored = snapshot.stored
        self.groups = group(stored)
        self.records = {}
        self.tables = {}
        self.derived = {}
        self.record_class = access.Record
        if before is not None and before.schema is schema:
            known = before.snapshot.stored
            # Another thread may be decoding one.
            for field, record in list(before.records.items()):
                if stored.get(field) == known[field]:
                    self.records[field] = record
        self.size_bytes = sum(map(len, stored.values()))

    def keep(self):
        """Note that the same was read again."""
        if self.record_class is not access.KeptRecord:
            self.record_class = access.KeptRecord
            self.tables = {}
            self.records = {
                field: record if type(record) is access.KeptRecord
                else _make(access.KeptRecord, record)
                for field, record in list(self.records.items())}


class Contents:
    """The contents of partitions that a process read last."""

    def __init__(self):
        self._contents = collections.OrderedDict()
        self._size_bytes = 0

    def get(self, partition):
        """Return the Content of a partition when it was last read, or None.
        """
        return self._contents.get(partition)

    def take(self, schema, partition, snapshot):
        """Return the Content of a partition that was read.

        :param snapshot: what was read: that of ``get`` itself where the
            partition did not change.
        """
        # Taken out and put in again: it is the newest then.
        known = self._contents.pop(partition, None)
        if known is not None:
            self._size_bytes -= known.size_bytes
        if known is not None and known.schema is schema and (
                known.snapshot is snapshot):
            content = known
            content.keep()
        else:
            content = Content(schema, snapshot, known)
        if snapshot.pairs is not None and (
                content.size_bytes <= LARGEST_CONTENT_BYTES):
            self._contents[partition] = content
            self._size_bytes += content.size_bytes
            if self._size_bytes > CONTENTS_BYTES:
                self._trim()
        return content

    def _trim(self):
        """Drop those that were not read for longest: a quarter."""
        contents = self._contents
        # Counted anew: threads may have got in each other's way.
        left = sum(content.size_bytes for content in list(contents.values()))
        while left > CONTENTS_BYTES * 3 // 4:
            try:
                _partition, content = contents.popitem(last=False)
            except KeyError:  # other threads were faster
                break
            left -= content.size_bytes
        self._size_bytes = left


def group(stored):
    """Return the fields of records by the prefix of their table."""
    groups = {}
    for field in stored:
        if field[0] == _RECORD:
            prefix = field[:field.index(b"\0") + 1]
            if prefix in groups:
                groups[prefix].append(field)
            else:
                groups[prefix] = [field]
    return groups
