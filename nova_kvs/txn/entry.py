# SPDX-License-Identifier: Apache-2.0
"""Members of sorted sets outside of the partitions: hints and the like."""

import typing

from nova_kvs.store import base
from nova_kvs.store import scripts

ENQUEUE = scripts.load("nova_kvs.txn", "enqueue")


class Entry(typing.NamedTuple):
    """A member that is to be in a sorted set."""

    key: bytes
    member: bytes
    #: Its score is the time at which this is over, by the clock of the
    #: server that holds the key; None: the score is 0.
    due_in_ms: int | None = None

    def item(self):
        """Return the item of a batch that adds it."""
        if self.due_in_ms is None:
            return base.Command(self.key, (b"ZADD", self.key, 0, self.member))
        return base.ScriptCall(
            ENQUEUE, (self.key,), (self.member, self.due_in_ms))
