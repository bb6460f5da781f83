# SPDX-License-Identifier: Apache-2.0
"""Estimates if what is remembered of a partition is likely to be current.

Wrong speculation costs no round trip, but the time to run a function twice.
Where many processes write the same servers in turn most of it would be wrong.
So a process learns from all that it reads anyway of what it remembers. (Four
clients that write 30 servers: if each write is another's than the last,
functions run 1.1 times a call with this, 1.8 times if all that is remembered
is used, 1.2 times if what was found to be changed is not; where every other
write is another's this needs 1.55 round trips a call, the latter 1.68.)
"""

import bisect

#: Bounds of the ages, in seconds, that are told apart.
AGES_S = (0.1, 1, 10)
#: Speculate if at least this share of what was known was current.
WORTH_IT = 0.5
#: The share that is assumed at first.
FIRST = 0.75
#: The weight of the newest observation in the share.
WEIGHT = 1 / 16


class Estimate:
    """The odds of one database, by kind of partition and age.

    Threads may get in each other's way a little.
    """

    def __init__(self):
        #: (kind of partitions, which age) -> share of what was current.
        self._shares = {}

    def is_likely_current(self, partition, age_s):
        """Tell whether to take for current what was known some time ago.

        :param partition: nova_kvs.keyspace.Partition.
        :param age_s: how long ago it was current, in seconds.
        """
        return self._shares.get(_place(partition, age_s), FIRST) >= WORTH_IT

    def learn(self, partition, age_s, was_current):
        """Learn whether what was known was still current."""
        place = _place(partition, age_s)
        share = self._shares.get(place, FIRST)
        self._shares[place] = share + WEIGHT * (was_current - share)


def _place(partition, age_s):
    return partition.key.split(b":", 3)[2], bisect.bisect(AGES_S, age_s)
