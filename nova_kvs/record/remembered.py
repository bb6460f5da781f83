# SPDX-License-Identifier: Apache-2.0
"""All that a process remembers of a database's records, and until when.

A Database has one ``Remembered``; readers, writers and the dialect's foreign
keys ask it. Each attribute says until when it holds; what is full forgets its
oldest quarter (``nova_kvs.cache``, which has the sizes). Nothing in here is an
answer: the store's reply, or a commit, proves it.

Elsewhere: layers above keep ids to prefetch, and Placement's rows that last,
in ``Cache``s of their modules (``nova_kvs/db``); decoded included columns live
as long as the schema (``indexes/covering_index``); what replicas and etcd said
is in ``store``.
"""

import collections
import time

from nova_kvs import cache
from nova_kvs.record import partition_cache

#: Included columns of rows that may wait for a commit to go with; older ones
#: get lost.
WAITING_INCLUDED = 1000


class RowCache(cache.Cache):
    """Decoded rows that were read without the rest of their partitions.

    Field -> (Table, what is stored, Record). It takes nothing while it is
    full: of a scan of more rows than it can hold the first ones stay.

    :ivar size_bytes: of what is stored.
    """

    __slots__ = ("size_bytes",)

    def __init__(self):
        super().__init__(cache.ROW_BYTES)
        self.size_bytes = 0

    @property
    def is_full(self):
        """Whether it has to be trimmed before it takes more."""
        return self.size_bytes > self.limit

    def weigh(self, value):
        return len(value[1])

    def size(self):
        # Counted anew: threads may have got in each other's way.
        return sum(map(self.weigh, list(self.values())))

    def trim(self):
        super().trim()
        self.size_bytes = self.size()


class Remembered:
    """What one process remembers of one database. Safe for threads.

    :ivar partitions: PartitionCache: what they held, until the store answers
        something else. :ivar records: of tables of one partition and the
        like, field -> (Table, what is stored, Record): until other bytes
        come. :ivar rows: RowCache, likewise.
    :ivar entries: read of a global index -> (entries, where they are), until
        the read finds other entries.
    :ivar locators: (table's name, key) -> partition, until the record is not
        found there.
    :ivar lasting: (partition, kind): whole tables that a partial directory
        lists, until the schema changes.
    :ivar new_ids: (table's name, id) that were given out and no row can
        refer to, until a row takes the id.
    :ivar parents: (table's name, columns, values) -> (Record, when it was
        read), of rows that foreign keys refer to: for a second.
    :ivar counted: name in the metrics -> Cache whose hits are counted.
    """

    def __init__(self):
        self.partitions = partition_cache.PartitionCache()
        self.records = cache.Cache(cache.RECORDS)
        self.rows = RowCache()
        self.entries = cache.Cache(cache.ENTRIES)
        self.locators = cache.Cache(cache.LOCATORS)
        self.lasting = set()
        self.new_ids = cache.Cache(cache.NEW_IDS)
        self.parents = cache.Cache(cache.PARENTS)
        self.counted = {"partitions": self.partitions,
                        "records": self.records, "rows": self.rows,
                        "index_entries": self.entries}
        # (until when, side write).
        self._included = collections.deque(maxlen=WAITING_INCLUDED)

    def trim(self):
        """Forget the oldest of what is remembered, where it is much."""
        for one in (self.records, self.locators, self.entries, self.parents):
            if len(one) > one.limit:
                one.trim()
        if self.rows.is_full:
            self.rows.trim()

    def forget_places(self):
        """Forget where records are, which are all gone."""
        self.locators.clear()
        self.lasting.clear()

    def add_new_ids(self, table_name, ids):
        """Remember ids of rows that nothing can belong to yet."""
        self.new_ids.trim()
        for number in ids:
            self.new_ids[table_name, number] = True

    def add_included(self, entries, life_s):
        """Let included columns be written with a commit, or get lost.

        :param life_s: seconds after which they are not written any more.
        """
        until = time.monotonic() + life_s
        self._included.extend([(until, entry) for entry in entries])

    def take_included(self):
        """Return the side writes that are to go with a commit, each once.
        """
        waiting = self._included
        now = time.monotonic()
        taken = []
        while waiting:
            try:
                until, entry = waiting.popleft()
            except IndexError:  # Another thread was faster.
                break
            if now < until:
                taken.append(entry)
        return taken
