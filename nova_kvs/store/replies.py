# SPDX-License-Identifier: Apache-2.0
"""Replies that a process remembers of a store, within a number of bytes."""

import collections

#: Bytes that what a process remembers of a store may take.
MOST_BYTES = 16 << 20
#: One reply takes this besides what came for it: for the item, its keys and
#: its parts. 950 were measured, of reads that found nothing.
OVERHEAD_BYTES = 1000


class Replies:
    """Replies to items, each with the proof that tells if it still holds.

    It forgets what it was given first. Several threads may use one without a
    lock, since each call of the dictionary is atomic; what they count
    together may then be a little off, until it is empty.
    """

    def __init__(self):
        #: Item -> (reply, proof, bytes).
        self._known = collections.OrderedDict()
        self._size_bytes = 0

    def get(self, item):
        """Return (reply, proof, bytes) of an item, or None."""
        return self._known.get(item)

    def remember(self, item, reply, proof, received_bytes):
        """Remember the reply to an item.

        :param proof: whatever the driver tells by that the reply holds.
        :param received_bytes: what came for it.
        """
        size_bytes = OVERHEAD_BYTES + received_bytes
        before = self._known.pop(item, None)
        if before is not None:
            self._size_bytes -= before[2]
        self._known[item] = reply, proof, size_bytes
        self._size_bytes += size_bytes
        while self._size_bytes > MOST_BYTES:
            try:
                _item, oldest = self._known.popitem(last=False)
            except KeyError:  # another thread was faster
                self._size_bytes = 0
                break
            self._size_bytes -= oldest[2]
