# SPDX-License-Identifier: Apache-2.0
"""Runs the operations of a batch side by side, in as few trips as can be.

An operation is a generator that yields what it wants of etcd next: Ranges or
a Change. In each round, what all of them want is sent together: ranges share
transactions that only read, so that those of one operation are of one
moment. Operations of which one writes what another one reads or writes run
one after the other.
"""

import typing

from nova_kvs.store.etcd import client as calls
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import messages

#: Operations of one transaction. etcd's own limit is 128 by default.
MOST_OPERATIONS = 100
#: Bytes of one transaction that could as well be several. etcd's own limit is
#: 1.5 MiB by default.
MOST_BYTES = 1 << 20
#: Conditions of one transaction that reads: if one does not hold, all that
#: hang on them is read.
_MOST_CONDITIONS = 16


class Ranges(typing.NamedTuple):
    """A wish to read ranges at one moment.

    It is answered with the list of Found, and the revision they are of; a
    Refusal is raised. More than ``MOST_OPERATIONS`` must name a revision.
    """

    #: As nova_kvs.store.etcd.messages.range_request returns them.
    requests: list
    #: If it holds, what was found may be None instead of a list: whoever
    #: wishes knows it. Then there are at most ``MOST_OPERATIONS``.
    condition: bytes | None = None


class Change(typing.NamedTuple):
    """A wish to run a transaction that may write.

    It is answered with TxnReply, or with a Refusal.
    """

    request: bytes


class Blind(typing.NamedTuple):
    """Writes that do not depend on what there is, or say it themselves."""

    #: Pairs of etcd's keys and an operation of a transaction on them.
    writes: list
    #: Operations along the longest path of one of them: 1, or more for
    #: nested transactions.
    depth: int = 1


class Behind(Exception):
    """A member that answered by itself does not know enough yet."""


def run(client, generators, least=0):
    """Run generators of operations side by side.

    :param client: nova_kvs.store.etcd.client.Client.
    :param generators: list of generators.
    :param least: revision that what is read must be of, or a later one.
    :raises Behind: if a member answers with an earlier one.
    :returns: list of what they return; where one was refused, the
        nova_kvs.exceptions.KVSError.
    :raises nova_kvs.exceptions.KVSError: as ``Client.call``.
    """
    results = [None] * len(generators)
    wishes = {}

    def resume(number, answer):
        generator = generators[number]
        try:
            if type(answer) is faults.Refusal and (
                    type(wishes[number]) is Ranges):
                wishes[number] = generator.throw(answer)
            else:
                wishes[number] = generator.send(answer)
        except StopIteration as stop:
            wishes.pop(number, None)
            results[number] = stop.value
        except faults.Refusal as refusal:
            wishes.pop(number, None)
            results[number] = refusal.error(None)

    for number in range(len(generators)):
        resume(number, None)
    while wishes:
        for number, answer in _answer(client, list(wishes.items()), least):
            resume(number, answer)
    return results


class _Group:
    """Ranges that share a transaction.

    :ivar requests: all of them.
    :ivar always: those that are wanted whatever the conditions.
    """

    __slots__ = ("requests", "always", "conditions", "size_bytes")

    def __init__(self):
        self.size_bytes = 0
        self.requests = []
        self.always = []
        self.conditions = []

    def has_room(self, count, size_bytes, condition):
        """Return whether it takes some ranges more."""
        return (len(self.requests) + count <= MOST_OPERATIONS
                and self.size_bytes + size_bytes <= MOST_BYTES
                and (condition is None
                     or len(self.conditions) < _MOST_CONDITIONS))

    def request(self):
        """Return the transaction's request."""
        return messages.txn_request(
            self.conditions, map(messages.range_op, self.always),
            map(messages.range_op, self.requests) if self.conditions else ())


def _answer(client, wishes, least):
    """Yield pairs of a number and the answer to its wish: one round trip."""
    groups = []
    places = []
    changes = []
    for number, wish in wishes:
        if type(wish) is Change:
            changes.append((number, wish.request))
            continue
        condition = wish.condition
        # Where the replies will be: group, numbers of the first in it among
        # all and among those that are always wanted, count.
        pieces = []
        for at in range(0, len(wish.requests), MOST_OPERATIONS):
            piece = wish.requests[at:at + MOST_OPERATIONS]
            size_bytes = sum(map(len, piece))
            if not groups or not groups[-1].has_room(
                    len(piece), size_bytes, condition):
                groups.append(_Group())
            group = groups[-1]
            group.size_bytes += size_bytes
            pieces.append((
                len(groups) - 1, len(group.requests),
                len(group.always) if condition is None else None, len(piece)))
            group.requests += piece
            if condition is None:
                group.always += piece
            else:
                group.conditions.append(condition)
        places.append((number, pieces))
    replies = _send(client, [
        *[group.request() for group in groups],
        *[request for _, request in changes]], bool(changes), least)
    for number, pieces in places:
        yield number, _found(replies, pieces)
    for (number, _), reply in zip(changes, replies[len(groups):]):
        yield number, reply


def _send(client, requests, writes, least):
    """Return a TxnReply or a Refusal for each transaction."""
    replies = []
    if not requests:
        return replies
    for answer in client.call(
            [(calls.TXN, request) for request in requests], writes):
        if not isinstance(answer, Exception):
            is_repeated = type(answer) is calls.Repeated
            answer = messages.parse_txn(answer)
            if is_repeated:
                answer = answer._replace(is_repeated=True)
            if answer.revision < least:
                raise Behind()
            if answer.revision > client.seen_revision:
                client.seen_revision = answer.revision
        replies.append(answer)
    return replies


def _found(replies, pieces):
    """Return what the ranges of a wish have found, and the revision.

    :returns: or the Refusal of one of them.
    """
    found = []
    revision = 0
    for group, first, first_always, count in pieces:
        reply = replies[group]
        if isinstance(reply, Exception):
            return reply
        revision = reply.revision
        if reply.succeeded:
            # All conditions hold.
            first = first_always
        if first is None:
            return None, revision
        found += reply.replies[first:first + count]
    return found, revision


def in_waves(blind):
    """Return transactions for blind writes, in waves that follow each other.

    :param blind: list of Blind, in order.
    :returns: list of waves; a wave is a list of transactions, a transaction
        a list of numbers of ``blind``.
    """
    waves = []
    touched = None
    count = size_bytes = 0
    for number, (writes, depth) in enumerate(blind):
        keys = [key for key, _ in writes]
        size = sum([len(operation) for _, operation in writes])
        if touched is None or not touched.isdisjoint(keys):
            waves.append([])
            touched = set()
            count = MOST_OPERATIONS
        touched.update(keys)
        if (count + len(writes) + depth > MOST_OPERATIONS
                or size_bytes + size > MOST_BYTES):
            waves[-1].append([])
            count = size_bytes = 0
        waves[-1][-1].append(number)
        count += len(writes)
        size_bytes += size
    return waves
