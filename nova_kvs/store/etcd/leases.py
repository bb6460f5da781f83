# SPDX-License-Identifier: Apache-2.0
"""Leases that what is kept for a while shares.

A key goes when its lease ends, so a process needs a lease now and then, not
one for each key. A transaction that names a lease which has ended is refused
as a whole. So the copy of a commit that comes very late finds either its
outcome or that the lease of its outcome is over; it never commits twice. And
a client that stands still when it has looked at the time sends its commit in
vain when that lease has ended.
"""

import os
import threading
import time

from nova_kvs.store.etcd import client as calls
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import messages


def longest_s(life_ms):
    """Return the seconds for which a lease lives that has to live for a life.

    It is given out for half a life.
    """
    life_s = max(1, -(-life_ms // 1000))
    return life_s + -(-life_s // 2)


class Leases:
    """The leases of a process. Safe for threads and forks.

    :param client: nova_kvs.store.etcd.client.Client.
    """

    def __init__(self, client):
        self._client = client
        self._lock = threading.Lock()
        self._forget_all()

    def _forget_all(self):
        self._pid = os.getpid()
        #: Life in ms -> (id, time.monotonic() until which it is given out).
        self._leases = {}

    def lease_for(self, life_ms):
        """Return the id of a lease that lives for at least this long.

        :param life_ms: None: for ever, which is 0.
        :raises nova_kvs.exceptions.KVSError: as ``Client.call``.
        """
        if life_ms is None:
            return 0
        known = self._leases.get(life_ms)
        if known is not None and time.monotonic() < known[1] and (
                self._pid == os.getpid()):
            return known[0]
        return self._grant(life_ms)

    def _grant(self, life_ms):
        if self._pid != os.getpid():
            self._lock = threading.Lock()
            self._forget_all()
        with self._lock:
            known = self._leases.get(life_ms)
            now = time.monotonic()
            if known is not None and now < known[1]:
                return known[0]
            # Given out for as long as it outlives those who get it.
            whole_s = longest_s(life_ms)
            answer, = self._client.call(
                [(calls.LEASE_GRANT,
                  messages.number_field(1, whole_s))], writes=False)
            if isinstance(answer, faults.Refusal):
                raise answer.error(None)
            number = next(
                value for tag, value in messages.fields(answer) if tag == 2)
            self._leases[life_ms] = (number, now + whole_s - life_ms / 1000)
            return number

    def forget(self):
        """Give out the leases no more: one of them does not live any longer.
        """
        self._leases.clear()
