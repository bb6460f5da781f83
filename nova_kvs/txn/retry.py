# SPDX-License-Identifier: Apache-2.0
"""Runs a transaction again when another one was first."""

import random
import time

from nova_kvs import exceptions

ATTEMPTS = 10
FIRST_PAUSE_MS = 1
LONGEST_PAUSE_MS = 50


def pause(round_number, sleep=None):
    """Sleep a random time that grows with the number of rounds.

    :param round_number: from 0.
    :param sleep: instead of ``time.sleep``, which is looked up late because
        eventlet may replace it.
    """
    longest_ms = min(FIRST_PAUSE_MS << round_number, LONGEST_PAUSE_MS)
    (sleep or time.sleep)(longest_ms * random.uniform(0.5, 1) / 1000)


def run(function, attempts=ATTEMPTS, sleep=None):
    """Call a function until no conflict keeps it from committing.

    :param function: called without arguments; does a whole transaction,
        reads included.
    :param attempts: greatest number of calls.
    :param sleep: instead of ``time.sleep``.
    :returns: what the function returns.
    :raises nova_kvs.exceptions.ConflictError: if the last call still met
        one.
    """
    for round_number in range(attempts - 1):
        try:
            return function()
        except exceptions.ConflictError:
            pause(round_number, sleep)
    return function()
