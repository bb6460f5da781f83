# SPDX-License-Identifier: Apache-2.0
"""Remembers what this process knows of the revisions of partitions.

A commit may rest on a partition being as it was read. To prove that, its
every field would have to be compared. But a partition's head is written with
each of its changes, so its revision proves the same, if it is known which
revision the content is of.
"""

import typing

from nova_kvs import cache
from nova_kvs import keyspace


class _Known(typing.NamedTuple):
    """A partition as it was when it was last seen."""

    #: Of its head, 0: it has none; None: the content is not all of it.
    revision: int | None
    content: dict
    size_bytes: int


class Heads:
    """The revisions of partitions whose content is known. Thread-safe.

    No more of them than the record layer remembers: only what it recalls is
    asked for here.
    """

    def __init__(self):
        self._known = _Partitions(cache.PARTITION_BYTES)

    def learn(self, key, revision, pairs):
        """Take in what a partition holds.

        :param revision: of its head; 0: there is none.
        :param pairs: flat list of fields and values.
        """
        values = iter(pairs)
        self._known.put(key, revision, dict(zip(values, values)))

    def revision(self, key, fields, values):
        """Return the revision at which a partition held just these fields.

        :returns: None if that is not known.
        """
        known = self._known.get(key)
        if known is None or len(known.content) != len(fields):
            return None
        if known.content == dict(zip(fields, values)):
            return known.revision
        return None

    def recall(self, key):
        """Return what a partition held and the revision that proves it.

        It is taken for the last that was seen.

        :returns: revision of its head, and a flat list of fields and values;
            or None if that is not known, or it has no head.
        """
        known = self._known.pop(key, None)
        if known is None:
            return None
        self._known[key] = known
        if not known.revision:
            return None
        return known.revision, [
            item for pair in known.content.items() for item in pair]

    def content(self, key):
        """Return what a partition held when it was last seen, or None.

        Of a large one, only its floor.
        """
        known = self._known.get(key)
        return None if known is None else known.content

    def written(self, key, before, after, puts, removed):
        """Take in that this process has changed a partition.

        :param before: revision of its head before that, 0: none.
        :param after: and now.
        :param puts: dict of field -> value.
        :param removed: fields.
        """
        known = self._known.get(key)
        if known is None or known.revision is None:
            return
        self._known.take(key)
        if known.revision != before:
            return
        content = dict(known.content)
        content.update(puts)
        for field in removed:
            content.pop(field, None)
        self._known.put(key, after, content)

    def forget(self, key):
        """Forget a partition."""
        self._known.take(key)


class _Partitions(cache.Cache):
    """Key -> _Known; those that were seen last stay longest."""

    __slots__ = ("_size_bytes",)

    def __init__(self, limit):
        super().__init__(limit)
        self._size_bytes = 0

    def weigh(self, value):
        return value.size_bytes

    def size(self):
        # Counted anew: threads may have got in each other's way.
        return sum([known.size_bytes for known in list(self.values())])

    def take(self, key):
        """Remove and return what is remembered of a partition, or None."""
        known = self.pop(key, None)
        if known is not None:
            self._size_bytes -= known.size_bytes
        return known

    def put(self, key, revision, content):
        """Remember a partition; of a large one, only its floor."""
        self.take(key)
        # An empty partition takes something, too.
        size_bytes = len(key) + sum(map(len, content.values()))
        if size_bytes > cache.LARGEST_PARTITION_BYTES:
            revision = None
            content = {name: content[name] for name in (keyspace.FLOOR_FIELD,)
                       if name in content}
            size_bytes = len(key)
        self[key] = _Known(revision, content, size_bytes)
        self._size_bytes += size_bytes
        if self._size_bytes > self.limit:
            self.trim()
            self._size_bytes = self.size()
