# SPDX-License-Identifier: Apache-2.0
"""The failed items of a batch, and those that must be sent again."""

from redis import exceptions as redis_exceptions

from nova_kvs import keyspace
from nova_kvs.store.redis import raw

#: After these an item can be sent again at once.
_IMMEDIATE = (redis_exceptions.AskError, redis_exceptions.NoScriptError)


class NotSent(Exception):
    """An item was not sent: its node could not be connected."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class Failure:
    """An item that has no reply yet, and why."""

    __slots__ = ("index", "error", "node")

    def __init__(self, index, error, node):
        self.index = index
        self.error = error
        self.node = node


def is_immediate(error):
    """Return whether an item can be sent again without a pause.

    Its new place is known, or a connection broke that may only have been
    idle for too long.
    """
    return not isinstance(error, NotSent) and (
        isinstance(error, _IMMEDIATE)
        or not isinstance(error, redis_exceptions.ResponseError))


def not_run(failures):
    """Return the indexes of items that certainly were not run."""
    return {failure.index for failure in failures if isinstance(
        failure.error, (NotSent, redis_exceptions.ResponseError))}


def with_followers(items, failures):
    """Return the indexes to send again, in order.

    With each failed item go those of the same slot behind it, so that they
    keep their order.
    """
    first = {}
    for failure in failures:
        slot = keyspace.slot(raw.key_of(items[failure.index]))
        first[slot] = min(failure.index, first.get(slot, failure.index))
    if not first:
        return []
    again = []
    for index, item in enumerate(items):
        start = first.get(keyspace.slot(raw.key_of(item)))
        if start is not None and index >= start:
            again.append(index)
    return again
