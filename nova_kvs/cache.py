# SPDX-License-Identifier: Apache-2.0
"""Caches of what a process remembers: one kind, one rule, sizes in one place.

Those of a database's records, and until when each holds, are
``record/remembered``.

Nothing that is remembered is an answer by itself: the store, or a commit,
says whether it still holds. (But for what Placement never changes, see
``db/placement/tables``.) So to forget too much costs time and nothing else,
and no cache needs a lock.

(``cachetools`` was measured: its LRUCache takes 610 ns to set a value and 570
to get one, a dictionary 130 and 90, and several of these are in the way of
each record that is decoded. It is not safe for threads without a lock.)
"""

#: Bytes of the partitions that are remembered whole, as they are stored; in
#: memory they take about eight times that.
PARTITION_BYTES = 4 << 20
#: Larger ones are not remembered. What is allocated of one of Placement's
#: providers takes 150 bytes for each server and class.
LARGEST_PARTITION_BYTES = 256 << 10
#: Of one whose history is longer than this the rest is read without it.
LONG_HISTORY_BYTES = 64 << 10
#: Partitions of which this is known.
LONG = 10000
#: Decoded records, of the tables that are kept.
RECORDS = 50000
#: Bytes of the rows that were read without the rest of their partitions, as
#: they are stored.
ROW_BYTES = 2 << 20
#: Records whose partition is remembered.
LOCATORS = 50000
#: Reads of buckets of a global index, with what their entries named.
ENTRIES = 50000
#: Included columns of the rows of a table.
INCLUDED = 20000
#: Ids of related rows, to be read along with what they belong to.
PREFETCHED = 50000
#: Reads of replicas of which masters have just said that nothing is there.
MISSING = 1000
#: Reads of local indexes in etcd, with the fields that they found.
INDEX_READS = 1000
#: Ids that were given out, to rows that others may belong to.
NEW_IDS = 10000
#: Rows that others refer to, and that were there a moment ago.
PARENTS = 10000


class Cache(dict):
    """A dictionary that forgets what it was given first.

    To set and to get is what it is of a dictionary, and as fast. Whoever sets
    values calls ``trim`` now and then.

    :param limit: greatest size.
    :ivar hits: how often what was remembered was still right, :ivar misses:
        and how often it was not or nothing was, where that is counted.
    """

    __slots__ = ("limit", "hits", "misses")

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.hits = 0
        self.misses = 0

    def weigh(self, value):
        """Return what a value counts."""
        return 1

    def size(self):
        """Return the sum of what the values count."""
        return len(self)

    def trim(self):
        """Forget the oldest quarter, if there is more than ``limit``."""
        left = self.size()
        if left <= self.limit:
            return
        for name in list(self):
            if left <= self.limit * 3 // 4:
                break
            # Another thread may be at it, too.
            value = self.pop(name, None)
            if value is not None:
                left -= self.weigh(value)
