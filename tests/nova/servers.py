# SPDX-License-Identifier: Apache-2.0
"""Starts what holds the state during a run."""


class NoServer:
    """SQLite and the embedded store live in the worker."""

    def __init__(self, url):
        self._url = url

    def url(self):
        """Return the database URL without a name, for one worker."""
        return self._url

    def close(self):
        """Do nothing."""


def start(backend):
    """Start what a backend needs.

    :param backend: ``memory``, ``redis``, ``cluster`` or ``sqlite``.
    :returns: an object with ``url()`` and ``close()``.
    """
    if backend == 'sqlite':
        return NoServer('sqlite')
    return NoServer('kvs+memory:///')
