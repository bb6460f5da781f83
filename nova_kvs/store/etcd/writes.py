# SPDX-License-Identifier: Apache-2.0
"""Operations that write, but for commits."""

import struct
import time

from nova_kvs import keyspace
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import layout
from nova_kvs.store.etcd import messages
from nova_kvs.store.etcd import rounds
from nova_kvs.store import operations

#: Tasks that are leased by one transaction: three operations each.
_TASKS = 30
#: Of scores that are compared: etcd compares bytes.
_DIGITS = 20
_FLOOR = keyspace.FLOOR_FIELD
_VERSION = struct.Struct(">Q")
#: No value of a field begins with so many of these behind its version.
_HIGHEST = b"\xff" * 32

_put = messages.put_op
_delete = messages.delete_op
_is_absent = messages.is_absent


# Writes that need not be looked at first ------------------------------------

def blind(operation):
    """Return the Blind of an operation, or None if it is none."""
    method = _BLIND.get(type(operation))
    return None if method is None else method(operation)


def is_blind(operation):
    """Return whether an operation need not look at what there is."""
    return type(operation) in _BLIND


def _add(operation):
    key, member, due_in_ms = operation
    place = layout.member(key, member)
    if due_in_ms is None:
        return rounds.Blind(_both(key, member, b""))
    due_ms = now_ms() + int(due_in_ms)
    return rounds.Blind([(place, messages.nested_op(messages.txn_request(
        [_is_absent(place)],
        [_put(place, b"%d" % due_ms),
         _put(layout.due(key, due_ms, member), b"")])))], 3)


def _raise(operation):
    key, member, score = operation
    place = layout.member(key, member)
    score = padded(score)
    puts = [write for _, write in _both(key, member, score)]
    return rounds.Blind([(place, messages.nested_op(messages.txn_request(
        [_is_absent(place)], puts, [messages.nested_op(messages.txn_request(
            [messages.value_is(place, messages.LESS, score)], puts))])))], 4)


def _both(key, member, score):
    """Return the writes of a member, in both orders if the set has two."""
    place = layout.member(key, member)
    writes = [(place, _put(place, score))]
    if layout.has_turned(key):
        place = layout.turned(key, member)
        writes.append((place, _put(place, b"")))
    return writes


def _remove(operation):
    key, member = operation
    places = [layout.member(key, member)]
    if layout.has_turned(key):
        places.append(layout.turned(key, member))
    return rounds.Blind([(place, _delete(place)) for place in places])


def _put_field(operation):
    key, field, value = operation
    place = layout.field(key, field)
    return rounds.Blind([(place, _put(place, value))])


def _remove_field(operation):
    place = layout.field(*operation)
    return rounds.Blind([(place, _delete(place))])


_BLIND = {
    operations.Add: _add,
    operations.Raise: _raise,
    operations.Remove: _remove,
    operations.PutField: _put_field,
    operations.RemoveField: _remove_field,
}


def run_blind(blinds):
    """Return the generators that make up one wave each, in order."""
    for wave in rounds.in_waves(blinds):
        yield [_change(messages.txn_request(
            (), [operation for number in numbers
                 for _, operation in blinds[number].writes]))
            for numbers in wave]


def _change(request):
    reply = yield rounds.Change(request)
    if isinstance(reply, faults.Refusal):
        raise reply
    return reply


# Conditions on fields -------------------------------------------------------

def has_version(place, version):
    """Return the conditions that a field is of a version; 0: is absent."""
    if not version:
        return [_is_absent(place)]
    # A value is longer than its version, and conditions compare whole values.
    conditions = [messages.value_is(
        place, messages.GREATER, _VERSION.pack(version - 1) + _HIGHEST)]
    if version < 2 ** 64 - 1:
        conditions.append(messages.value_is(
            place, messages.LESS, _VERSION.pack(version + 1)))
    return conditions


def no_other_fields(key, fields):
    """Return the conditions that a partition has no field but these."""
    conditions = []
    start, end = layout.fields(key)
    for field in sorted(fields):
        place = layout.field(key, field)
        if start != place:
            conditions.append(_is_absent(start, place))
        start = place + b"\0"
    return [*conditions, _is_absent(start, end)]


def removal_of_head(key, removed, value, lease):
    """Return the operation that writes a head when fields are removed.

    It goes with the lease if the partition has no other field.
    """
    place = layout.head(key)
    return messages.nested_op(messages.txn_request(
        no_other_fields(key, removed), [_put(place, value, lease)],
        [_put(place, value)]))


def _affordable(items):
    """Return the first of the tasks to lease: as many as one request takes.

    :param items: their KeyValues.
    """
    size_bytes = 0
    for number, item in enumerate(items):
        # What is compared and written has the task five times.
        size_bytes += 5 * len(item.key)
        if number and size_bytes > rounds.MOST_BYTES:
            return items[:number]
    return items


def padded(score):
    """Return a score so that its bytes compare as it does."""
    return b"%0*d" % (_DIGITS, score)


def now_ms():
    """Return this host's time: ms since the epoch."""
    return time.time_ns() // 1000000


# Others ---------------------------------------------------------------------

class Writes:
    """The other writing operations of a store, but for commits.

    :param leases: nova_kvs.store.etcd.leases.Leases.
    :param heads: nova_kvs.store.etcd.heads.Heads.
    """

    def __init__(self, leases, heads):
        self._leases = leases
        self._heads = heads

    def of(self, operation):
        """Return the generator that runs an operation, or None."""
        method = _METHODS.get(type(operation))
        return None if method is None else method(self, operation)

    def _delete(self, operation):
        key, = operation
        self._heads.forget(key)
        reply = yield from _change(messages.txn_request(
            (), [_delete(*layout.everything(key))]))
        return bool(reply.replies[0])

    def _increment(self, operation):
        key, by = operation
        place = layout.value(key)
        read = messages.range_op(messages.range_request(place))
        (found,), _ = yield rounds.Ranges([messages.range_request(place)])
        while True:
            if found.items:
                before = found.items[0].value
                condition = messages.value_is(place, messages.EQUAL, before)
            else:
                before = 0
                condition = _is_absent(place)
            number = int(before) + by
            reply = yield from _change(messages.txn_request(
                [condition], [_put(place, b"%d" % number)], [read]))
            if reply.succeeded:
                return number
            found, = reply.replies

    def _set_life(self, operation):
        key, life_ms = operation
        request = messages.range_request(*layout.contents(key))
        while True:
            (found,), _ = yield rounds.Ranges([request])
            if not found.items:
                return None
            lease = self._leases.lease_for(life_ms)
            reply = yield from _change(messages.txn_request(
                [messages.is_of_revision(item.key, item.mod_revision)
                 for item in found.items],
                [_put(item.key, item.value, lease) for item in found.items]))
            if reply.succeeded:
                return None

    def _lease_tasks(self, operation):
        key, limit, lease_ms = operation
        leased = []
        more = True
        while more and len(leased) < limit:
            now = now_ms()
            (found,), revision = yield rounds.Ranges([messages.range_request(
                *layout.due_until(key, now),
                limit=min(limit - len(leased), _TASKS))])
            if not found.items:
                break
            items = _affordable(found.items)
            tasks = [layout.task(key, item.key) for item in items]
            places = [layout.member(key, member) for member, _ in tasks]
            scores, _ = yield rounds.Ranges([
                messages.range_request(place, revision=revision)
                for place in places])
            conditions = []
            writes = []
            taken = []
            for item, (member, due_ms), place, score in zip(
                    items, tasks, places, scores):
                conditions.append(messages.is_of_revision(
                    item.key, item.mod_revision))
                writes.append(_delete(item.key))
                # One that is removed leaves its due time behind.
                if not score.items or int(score.items[0].value) != due_ms:
                    continue
                conditions.append(messages.is_of_revision(
                    place, score.items[0].mod_revision))
                due_ms = max(now + lease_ms, due_ms + 1)
                writes.append(_put(place, b"%d" % due_ms))
                writes.append(_put(layout.due(key, due_ms, member), b""))
                taken.append(member)
            reply = yield from _change(
                messages.txn_request(conditions, writes))
            # Else another process was faster.
            if reply.succeeded:
                leased += taken
                more = found.more or len(items) < len(found.items)
        return leased

    def _drop_floor(self, operation):
        key, floor = operation
        self._heads.forget(key)
        field = layout.field(key, _FLOOR)
        reply = yield from _change(messages.txn_request(
            [messages.value_is(field, messages.EQUAL, floor),
             *no_other_fields(key, [_FLOOR])],
            [_delete(*layout.everything(key))]))
        return reply.succeeded

    def _drop_included(self, operation):
        key, included_key, member, version = operation
        place = layout.member(key, member)
        reply = yield from _change(messages.txn_request(
            [messages.value_is(place, messages.GREATER, padded(version))],
            (), [write for _, write in _remove((key, member)).writes]
            + [_delete(layout.field(included_key, member))]))
        return not reply.succeeded

    def _discard_field(self, operation):
        key, field, seen = operation
        self._heads.forget(key)
        place = layout.field(key, field)
        reply = yield from _change(messages.txn_request(
            [messages.value_is(place, messages.EQUAL, seen)],
            [_delete(place), removal_of_head(
                key, [field], b"", self._leases.lease_for(60000))]))
        return reply.succeeded

    def _correct_index(self, operation):
        key, index_key, field, version, entry, wanted = operation
        place = layout.field(key, field)
        change = _add((index_key, entry, None)) if wanted else _remove(
            (index_key, entry))
        reply = yield from _change(messages.txn_request(
            has_version(place, version),
            [write for _, write in change.writes]))
        return reply.succeeded

    def _resolve(self, operation):
        # A commit is one transaction, so there are no intents.
        return operations.Answer(operations.Verdict.ABORTED)
        yield


_METHODS = {
    operations.Delete: Writes._delete,
    operations.Increment: Writes._increment,
    operations.SetLife: Writes._set_life,
    operations.LeaseTasks: Writes._lease_tasks,
    operations.DropFloor: Writes._drop_floor,
    operations.DropIncluded: Writes._drop_included,
    operations.DiscardField: Writes._discard_field,
    operations.CorrectIndex: Writes._correct_index,
    operations.Resolve: Writes._resolve,
}
