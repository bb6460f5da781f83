# SPDX-License-Identifier: Apache-2.0
"""Waiting for replicas, behind the writes of a batch."""

from nova_kvs import keyspace
from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import raw

#: Life of the key that is written before WAIT.
_FENCE_TTL_MS = 1000


class Fence:
    """WAIT behind the writes of a batch."""

    def __init__(self, replicas, timeout_ms):
        self.replicas = replicas
        self.timeout_ms = timeout_ms
        #: Items are being sent again. Then a script may have nothing
        #: left to write, and WAIT would wait for nothing: it counts only
        #: what its own connection wrote.
        self.repeated = False
        self._counts = {}
        self._unfenced = set()

    def pack(self, items, indexes, plan, asking=False):
        """Return the packed commands behind a node's items, if it needs any.

        :param plan: what ``wire.pack`` returned, extended.
        :param asking: whether the items follow ASK redirections.
        """
        writes = [index for index in indexes if raw.is_write(items[index])]
        if not writes:
            return []
        pieces = []
        if self.repeated:
            if asking:
                pieces.append(wire.packed((b"ASKING",)))
                plan.append(wire.IGNORED)
            pieces.append(wire.packed((
                b"SET", keyspace.fence_key(raw.key_of(items[writes[-1]])),
                b"", b"PX", _FENCE_TTL_MS)))
            plan.append(wire.FENCE)
        pieces.append(wire.packed((b"WAIT", self.replicas, self.timeout_ms)))
        plan.append(wire.WAIT)
        return pieces

    def note_fence(self, node, reply):
        """Take note of whether WAIT has something to wait for."""
        if isinstance(reply, Exception):
            self._unfenced.add(node)
        else:
            self._unfenced.discard(node)

    def note(self, node, reply):
        """Take note of what WAIT has counted."""
        self._counts[node] = 0 if (
            node in self._unfenced or isinstance(reply, Exception)) else reply

    def acknowledged(self):
        return min(self._counts.values(), default=self.replicas)


def written(items, plan, failures):
    """Return the indexes of writes that a node has run.

    :param plan: of what it has answered.
    :param failures: what it has answered by errors.
    """
    failed = {failure.index for failure in failures}
    return [index for index in plan if index >= 0
            and index not in failed and raw.is_write(items[index])]
