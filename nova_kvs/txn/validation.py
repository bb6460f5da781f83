# SPDX-License-Identifier: Apache-2.0
"""Compares what a serializable transaction has read with what is stored now.

All that the transaction writes has its intents by then, in every partition,
and none of them is applied before the last comparison. So there is a moment,
between the last intent and the first comparison, at which everything that it
has read was still so, and at which nobody else was about to change it:
another transaction's intent on it is waited for. Two transactions that each
read what the other one writes have such moments in one order only: the later
one meets the intent, or the new record, of the earlier.

An index is compared by what has been added to the range that was read.
Entries may go at any time, for they only say where a row may be: the row
itself is compared by its record. A range that was read up to a limit is
compared up to the last entry that came.

:source: Silo (SOSP 2013), section 4.4, with intents for its write locks.
"""

from nova_kvs import exceptions
from nova_kvs.store import operations
from nova_kvs.txn import mutation
from nova_kvs.txn import reading

#: Reads that are compared in one batch.
CHUNK = 400


class Validation:
    """The comparison of one transaction's reads.

    :param reads: pairs of a read (of nova_kvs.txn.reading) and the result
        that it had.
    :param txn_id: of the transaction; None if it has no intents.
    :param mutations: of the transaction, in all partitions.
    :param side_writes: side writes that were sent with its intents.
    """

    def __init__(self, reads, txn_id=None, mutations=(), side_writes=()):
        self._txn_id = txn_id
        self._left = [(_as_far_as_seen(read, before), before)
                      for read, before in reads]
        #: Key of an index -> the members that the transaction added itself.
        self._own = {}
        #: Partition -> the fields that it writes there.
        self._written = {}
        for change in mutations:
            self._written.setdefault(change.partition, set()).add(change.field)
            if change.index_add:
                self._own.setdefault(change.partition.index_key, set()).update(
                    change.index_changes()[0])
        for entry in side_writes:
            if type(entry) is operations.Add:
                self._own.setdefault(entry.key, set()).add(entry.member)

    def operations(self):
        """Return what is asked of the store to compare, as a tuple."""
        return tuple([read.item() for read, _ in self._left])

    @property
    def is_done(self):
        """True once everything that was read is known to be the same."""
        return not self._left

    def run(self, store):
        """Compare what is left to compare.

        :param store: nova_kvs.store.base.Store; masters are asked.
        :returns: intents of other transactions in the way, a list of
            (partition, field, intent as stored): what they are on is left.
        :raises nova_kvs.exceptions.SerializationError: if something is not
            as it was.
        :raises nova_kvs.exceptions.KVSError: as ``Store.batch``.
        """
        left, found, added = [], [], []
        for first in range(0, len(self._left), CHUNK):
            part = self._left[first:first + CHUNK]
            replies = store.batch([read.item() for read, _ in part])
            for pair, reply in zip(part, replies):
                read, before = pair
                if getattr(before, "pairs", None) == reply:
                    continue
                met = []
                now = read.result(reply, met)
                foreign = self._foreign(met)
                if foreign:
                    found += foreign
                    left.append(pair)
                elif type(read) is reading.MembersRead:
                    news = self._news(read.key, before, now)
                    if news and read.names is None:
                        raise exceptions.SerializationError()
                    if news:
                        added.append((pair, news))
                elif not self._is_same(read, before, now):
                    raise exceptions.SerializationError()
        if added:
            self._look_up(store, added, left, found)
        self._left = left
        return found

    def _foreign(self, met):
        """Return the intents of others that may change something."""
        return [(item.partition, item.field, item.data) for item in met
                if mutation.Intent.parse(item.data).txn_id != self._txn_id
                and mutation.Intent.parse(item.data).operation
                != operations.VALIDATE]

    def _news(self, key, before, now):
        """Return the members of an index that others have added."""
        return set(now).difference(before, self._own.get(key, ()))

    def _is_same(self, read, before, now):
        if type(read) is reading.IndexRead:
            if self._news(read.partition.index_key, before[0], now[0]):
                return False
            # What its own entries name may come along; of the others one may
            # have been there before its record was.
            own = self._written.get(read.partition, ())
            stored, known = now[1].stored, before[1].stored
            return known.items() <= stored.items() and all(
                field in known or field in own for field in stored)
        if isinstance(now, reading.Snapshot):
            return now.stored == before.stored
        return now == before

    def _look_up(self, store, added, left, found):
        """Look at the records that new entries of global indexes name.

        An entry comes before its record does, and stays if that never
        comes.
        """
        wanted = {}
        for pair, members in added:
            for member in members:
                partition, field, version = pair[0].names(member)
                wanted.setdefault(
                    reading.FieldsRead(partition, (field,)), []).append(
                        (pair, version))
        reads = list(wanted)
        for first in range(0, len(reads), CHUNK):
            part = reads[first:first + CHUNK]
            replies = store.batch([read.item() for read in part])
            for read, reply in zip(part, replies):
                met = []
                cell = read.result(reply, met).cell(read.fields[0])
                if cell is not None and any(
                        version <= cell.version
                        for _pair, version in wanted[read]):
                    raise exceptions.SerializationError()
                foreign = self._foreign(met)
                if foreign:
                    found += foreign
                    for pair, _version in wanted[read]:
                        if not any(pair is one for one in left):
                            left.append(pair)


def _as_far_as_seen(read, before):
    """Return the read of the whole range that a limited read has covered.
    """
    if getattr(read, "limit", None) is None:
        return read
    if type(read) is reading.MembersRead:
        low, high = _covered(read, before, read.low, read.high)
        return read._replace(low=low, high=high, limit=None)
    members, _ = before
    if len(read.ranges) > 1 and len(members) >= read.limit:
        return read
    if len(read.ranges) == 1:
        read = read._replace(
            ranges=(_covered(read, members, *read.ranges[0]),))
    return read._replace(limit=None)


def _covered(read, members, low, high):
    if len(members) < read.limit or not members:
        return low, high
    if read.reverse:
        return b"[" + members[-1], high
    return low, b"[" + members[-1]
