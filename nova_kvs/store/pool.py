# SPDX-License-Identifier: Apache-2.0
"""The idle connections to a server."""

import collections
import os


class Pool:
    """Idle connections, the latest first. Safe for threads and forks.

    :param most: number of them that are kept.
    """

    __slots__ = ("_idle", "_most", "_pid")

    def __init__(self, most):
        self._most = most
        self._idle = collections.deque()
        self._pid = os.getpid()

    def take(self):
        """Return a connection that nobody else uses, or None."""
        if self._pid != os.getpid():
            # The parent goes on using the sockets that a fork copied.
            self._idle = collections.deque()
            self._pid = os.getpid()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def put_back(self, connection):
        """Keep a connection, or close it if there are enough."""
        if len(self._idle) < self._most:
            self._idle.append(connection)
        else:
            connection.close()

    def count_idle(self):
        """Return the number of connections that wait for use."""
        return len(self._idle)

    def drop(self):
        """Close the idle connections."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:  # another thread was faster
                return
