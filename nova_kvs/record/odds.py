# SPDX-License-Identifier: Apache-2.0
"""Learns if a process's memory of a partition is likely to be current.

A wrong guess costs no round trip, but the time to run a call twice. Where
many processes write the same servers in turn most guesses would be wrong. A
process learns that from what it reads anyway: each time that it hears of a
partition that it remembers, it learns whether that was so still.
"""

import bisect

#: Bounds of the ages, in seconds, that are told apart.
AGES_S = (0.1, 1, 10)
#: The share of what was current from which a guess is worth it.
WORTH_IT = 0.5
#: What is assumed at first.
FIRST = 0.75
#: How much what is heard next counts.
WEIGHT = 1 / 16


class Odds:
    """Of one database. Threads may get in each other's way a little."""

    def __init__(self):
        #: (kind of partitions, which age) -> share of what was current.
        self._shares = {}

    def are_good(self, partition, age_s):
        """Tell whether to take for current what was known some time ago.

        :param partition: nova_kvs.keyspace.Partition.
        :param age_s: how long ago it was current, in seconds.
        """
        return self._shares.get(_place(partition, age_s), FIRST) >= WORTH_IT

    def learn(self, partition, age_s, was_current):
        """Take note of whether what was known was still current."""
        place = _place(partition, age_s)
        share = self._shares.get(place, FIRST)
        self._shares[place] = share + WEIGHT * (was_current - share)


def _place(partition, age_s):
    return partition.key.split(b":", 3)[2], bisect.bisect(AGES_S, age_s)
