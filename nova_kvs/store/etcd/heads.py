# SPDX-License-Identifier: Apache-2.0
"""Remembers what this process knows of the revisions of partitions.

A commit may rest on a partition being as it was read. To prove that, its
every field would have to be compared. But a partition's head is written with
each of its changes, so its revision proves the same, if it is known which
revision the content is of.
"""

import collections

#: Partitions that are remembered.
_MOST = 4096


class Heads:
    """The revisions of partitions whose content is known. Thread-safe."""

    def __init__(self):
        #: Key -> (revision of the head, dict of all fields).
        self._known = collections.OrderedDict()

    def learn(self, key, revision, pairs):
        """Take in what a partition holds.

        :param revision: of its head; 0: there is none.
        :param pairs: flat list of fields and values.
        """
        values = iter(pairs)
        self._put(key, revision, dict(zip(values, values)))

    def revision(self, key, fields, values):
        """Return the revision at which a partition held just these fields.

        :returns: None if that is not known.
        """
        known = self._known.get(key)
        if known is None or len(known[1]) != len(fields):
            return None
        if known[1] == dict(zip(fields, values)):
            return known[0]
        return None

    def content(self, key):
        """Return what a partition held when it was last seen, or None."""
        known = self._known.get(key)
        return None if known is None else known[1]

    def written(self, key, before, after, puts, removed):
        """Take in that this process has changed a partition.

        :param before: revision of its head before that, 0: none.
        :param after: and now.
        :param puts: dict of field -> value.
        :param removed: fields.
        """
        known = self._known.pop(key, None)
        if known is None or known[0] != before:
            return
        content = dict(known[1])
        content.update(puts)
        for field in removed:
            content.pop(field, None)
        self._put(key, after, content)

    def forget(self, key):
        """Forget a partition."""
        self._known.pop(key, None)

    def _put(self, key, revision, content):
        known = self._known
        known.pop(key, None)
        known[key] = (revision, content)
        while len(known) > _MOST:
            try:
                known.popitem(last=False)
            except KeyError:  # another thread was faster
                return
