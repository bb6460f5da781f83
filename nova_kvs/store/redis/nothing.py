# SPDX-License-Identifier: Apache-2.0
"""Asks masters where a replica of a cluster says "nothing".

While a hash slot moves, its keys are taken to the new master one by one. The
old master answers ASK for those that have gone. Its replicas have seen the
keys go and do not know that the slot is moving, so they answer as if there
had never been such keys. Masters know.
"""

import time

from nova_kvs import cache

#: Seconds for which a master's "nothing" is remembered: a replica that says
#: the same is believed meanwhile.
REMEMBERED_S = 1


class Unsure(Exception):
    """A replica says "nothing": ask the master."""


class Nothing:
    """Items that masters just said "nothing" to. Safe for threads."""

    def __init__(self):
        #: Item -> when its master said so, by the monotonic clock.
        self._said_at = cache.Cache(cache.MISSING)

    def is_unsure(self, item, reply):
        """Tell whether a replica's reply must be asked for at the master.

        :param item: Command or ScriptCall that only reads.
        """
        if not says_nothing(reply):
            return False
        said_at = self._said_at.get(item)
        return said_at is None or time.monotonic() > said_at + REMEMBERED_S

    @staticmethod
    def among(failures):
        """Return the indexes of the items of which a replica was unsure."""
        return [failure.index for failure in failures
                if isinstance(failure.error, Unsure)]

    def learn(self, items, indexes, replies):
        """Remember which items their masters said "nothing" to, too.

        :param indexes: those of which a replica was unsure.
        """
        self._said_at.trim()
        now = time.monotonic()
        for index in indexes:
            if says_nothing(replies[index]):
                self._said_at[items[index]] = now


def says_nothing(reply):
    """Tell whether a reply could be that of a server without the key.

    An index and its records are two keys, so a reply that has members and no
    records says so, too.
    """
    if type(reply) is not list:
        return reply is None or reply == 0
    return all(item is None for item in reply) or any(
        type(item) is list and not item for item in reply)
