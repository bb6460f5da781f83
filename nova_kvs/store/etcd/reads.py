# SPDX-License-Identifier: Apache-2.0
"""Operations that read, as ranges of etcd's keys."""

import time

from nova_kvs import cache
from nova_kvs import keyspace
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import layout
from nova_kvs.store.etcd import messages
from nova_kvs.store.etcd import outcomes
from nova_kvs.store.etcd import rounds
from nova_kvs.store import operations

_FLOOR = keyspace.FLOOR_FIELD
#: Fields that are asked for one by one; more are picked out of all.
_MOST_FIELDS = 40

#: Fields that a read of an index asks for that found no record.
_NO_RECORDS = (_FLOOR,)

_range = messages.range_request


class Reads:
    """The reading operations of a store.

    :param heads: nova_kvs.store.etcd.heads.Heads.
    """

    def __init__(self, heads):
        self._heads = heads
        #: ReadIndex -> the fields that it found when it was last run, or
        #: None: more than can be asked for one by one.
        self._last_fields = cache.Cache(cache.INDEX_READS)

    def of(self, operation, serializable):
        """Return the generator that runs an operation, or None.

        :param serializable: whether the member may answer by itself, with
            what it knows.
        """
        method = _METHODS.get(type(operation))
        if method is None:
            return None
        return method(self, operation, serializable)

    def _read_partition(self, operation, serializable):
        key, prefixes = operation
        # A partition is read again and again, mostly unchanged. Its head
        # tells that without a field being sent, or parsed.
        known = self._heads.recall(key)
        condition = None
        if known is not None:
            condition = messages.is_of_revision(layout.head(key), known[0])
        if prefixes:
            found, _ = yield _ranges(
                [_one(layout.field(key, _FLOOR))]
                + [layout.fields(key, prefix) for prefix in prefixes],
                serializable, condition)
            if found is None:
                return _only(known[1], prefixes)
            fields = {}
            for each in found:
                fields.update(_named(key, each))
            return [item for pair in fields.items() for item in pair]
        found, _ = yield _ranges(
            [layout.head_and_fields(key)], serializable, condition)
        if found is None:
            return known[1]
        items = found[0].items
        revision = 0
        if items and items[0].key == layout.head(key):
            revision = items[0].mod_revision
            items = items[1:]
        reply = _flat(key, items)
        self._heads.learn(key, revision, reply)
        return reply

    def _read_fields(self, operation, serializable):
        key, fields = operation
        # No transaction leaves intents.
        nothing = [None] * len(fields)
        if len(fields) > _MOST_FIELDS:
            (found,), _ = yield _ranges([layout.fields(key)], serializable)
            values = dict(_named(key, found))
            return [values.get(field) for field in (_FLOOR, *fields)] + nothing
        found, _ = yield _ranges(
            [_one(layout.field(key, field)) for field in (_FLOOR, *fields)],
            serializable)
        return [_value(each) for each in found] + nothing

    def _read_index(self, operation, serializable):
        while True:
            try:
                return (yield from self._read_index_at(
                    operation, serializable))
            except faults.Refusal as refusal:
                # Somebody has compacted the history in between.
                if not refusal.is_compacted:
                    raise

    def _read_index_at(self, operation, serializable):
        """Read an index and its rows, in one trip if it is as it was.

        The rows that the same read found last time are asked for along with
        the index; what is missing then, in a second trip. That one asks for
        the revision of the first: a member that has it need not hear of
        others what there is since.
        """
        key, index_key, ranges, limit, reverse = operation
        most = rounds.MOST_OPERATIONS - len(ranges)
        revision = 0
        if most < len(_NO_RECORDS):
            _, revision = yield _ranges([_one(layout.head(key))], serializable)
            serializable = True
            most = rounds.MOST_OPERATIONS
        expected = self._last_fields.get(operation, _NO_RECORDS)
        found, latest = yield rounds.Ranges([
            _members(index_key, low, high, limit, reverse, serializable,
                     revision) for low, high in ranges]
            + _fields(key, expected, serializable, revision))
        revision = revision or latest
        members = []
        for each in found[:len(ranges)]:
            members += _names(index_key, each, reverse)
        if limit is not None:
            del members[limit:]
        fields = {_FLOOR: None}
        for member in members:
            size = int.from_bytes(member[-2:], "big")
            fields[member[-2 - size:-2]] = None
        found = found[len(ranges):]
        missing = None
        if expected is not None:
            missing = [field for field in fields if field not in expected]
        if missing:
            if len(missing) > rounds.MOST_OPERATIONS:
                missing = None
            more, _ = yield rounds.Ranges(
                _fields(key, missing, True, revision))
            found += more
        self._last_fields.pop(operation, None)
        self._last_fields[operation] = fields if len(fields) <= most else None
        self._last_fields.trim()
        pairs = {}
        for each in found:
            for field, value in _named(key, each):
                if field in fields:
                    pairs[field] = value
        return members, [item for pair in pairs.items() for item in pair]

    def _read_members(self, operation, serializable):
        key, low, high, limit, reverse, _having = operation
        (found,), _ = yield rounds.Ranges([
            _members(key, low, high, limit, reverse, serializable)])
        return _names(key, found, reverse)

    def _read_scores(self, operation, serializable):
        key, = operation
        (found,), _ = yield _ranges(
            [layout.members(key, b"-", b"+")], serializable)
        return {layout.name_of(key, item.key): float(item.value or 0)
                for item in found.items}

    def _read_all(self, operation, serializable):
        key, = operation
        (found,), _ = yield _ranges([layout.fields(key)], serializable)
        return dict(_named(key, found))

    def _list_fields(self, operation, serializable):
        key, = operation
        (found,), _ = yield rounds.Ranges([_range(
            *layout.fields(key), keys_only=True, serializable=serializable)])
        return [layout.name_of(key, item.key) for item in found.items]

    def _count_fields(self, operation, serializable):
        key, = operation
        (found,), _ = yield rounds.Ranges([_range(
            *layout.fields(key), count_only=True, serializable=serializable)])
        return found.count

    def _get_field(self, operation, serializable):
        key, field = operation
        (found,), _ = yield _ranges(
            [_one(layout.field(key, field))], serializable)
        return _value(found)

    def _has_field(self, operation, serializable):
        return (yield from self._get_field(
            operation, serializable)) is not None

    def _get_score(self, operation, serializable):
        key, member = operation
        (found,), _ = yield _ranges(
            [_one(layout.member(key, member))], serializable)
        return float(found.items[0].value or 0) if found.items else None

    def _get(self, operation, serializable):
        key, = operation
        (found,), _ = yield _ranges([_one(layout.value(key))], serializable)
        return _value(found)

    def _read_outcome(self, operation, serializable):
        return outcomes.parse((yield from self._get(operation, serializable)))

    def _exists(self, operation, serializable):
        key, = operation
        (found,), _ = yield rounds.Ranges([_range(
            *layout.contents(key), limit=1, keys_only=True,
            serializable=serializable)])
        return bool(found.items)

    def _lives_for_ever(self, operation, serializable):
        key, = operation
        (found,), _ = yield rounds.Ranges([_range(
            *layout.contents(key), limit=1, keys_only=True,
            serializable=serializable)])
        return bool(found.items) and not found.items[0].lease

    def _read_clock(self, operation, serializable):
        # etcd has no clock, and nothing here needs a better one.
        return time.time_ns() // 1000000
        yield

    def _read_moment(self, operation, serializable):
        key, = operation
        _, revision = yield _ranges([_one(layout.head(key))], serializable)
        return revision

    def _page_fields(self, operation, serializable):
        key, cursor, count = operation
        (found,), _ = yield rounds.Ranges([_range(
            *layout.fields_from(key, cursor), limit=count,
            serializable=serializable)])
        pairs = list(_named(key, found))
        return (pairs[-1][0] if found.more else None), pairs

    def _page_members(self, operation, serializable):
        key, cursor, count = operation
        low = b"-" if cursor is None else b"(" + cursor
        (found,), _ = yield rounds.Ranges([_members(
            key, low, b"+", count, False, serializable)])
        pairs = [(layout.name_of(key, item.key), item.value or b"0")
                 for item in found.items]
        return (pairs[-1][0] if found.more else None), pairs


_METHODS = {
    operations.ReadPartition: Reads._read_partition,
    operations.ReadFields: Reads._read_fields,
    operations.ReadIndex: Reads._read_index,
    operations.ReadMembers: Reads._read_members,
    operations.ReadScores: Reads._read_scores,
    operations.ReadAll: Reads._read_all,
    operations.ListFields: Reads._list_fields,
    operations.CountFields: Reads._count_fields,
    operations.GetField: Reads._get_field,
    operations.HasField: Reads._has_field,
    operations.GetScore: Reads._get_score,
    operations.Get: Reads._get,
    operations.Exists: Reads._exists,
    operations.LivesForEver: Reads._lives_for_ever,
    operations.ReadClock: Reads._read_clock,
    operations.PageFields: Reads._page_fields,
    operations.PageMembers: Reads._page_members,
    operations.ReadOutcome: Reads._read_outcome,
    operations.ReadMoment: Reads._read_moment,
}


#: Operations that a process may remember the replies to.
WATCHED = frozenset([
    operations.ReadPartition, operations.ReadFields, operations.ReadIndex,
    operations.ReadMembers, operations.ReadAll, operations.GetField])


def _one(key):
    return key, b""


def _ranges(bounds, serializable, condition=None):
    return rounds.Ranges([
        _range(start, end, serializable=serializable)
        for start, end in bounds], condition)


def _fields(key, names, serializable, revision):
    """Return the requests for fields, or for all that there are."""
    places = [layout.fields(key)]
    if names is not None:
        places = [_one(layout.field(key, name)) for name in names]
    return [_range(start, end, revision=revision, serializable=serializable)
            for start, end in places]


def _members(key, low, high, limit, reverse, serializable, revision=0):
    turned = reverse and layout.has_turned(key)
    start, end = layout.members(key, low, high, turned)
    return _range(start, end, limit or 0, revision,
                  descending=reverse and not turned,
                  serializable=serializable)


def _names(key, found, reverse):
    name = layout.name_of
    if reverse and layout.has_turned(key):
        name = layout.turned_name
    return [name(key, item.key) for item in found.items]


def _named(key, found):
    """Return pairs of field and value."""
    start = len(layout.field(key, b""))
    return [(item.key[start:], item.value) for item in found.items]


def _only(pairs, prefixes):
    """Return the floor and the fields that begin with a prefix."""
    values = iter(pairs)
    return [item for pair in zip(values, values)
            if pair[0] == _FLOOR or pair[0].startswith(prefixes)
            for item in pair]


def _flat(key, items):
    start = len(layout.field(key, b""))
    reply = []
    for item in items:
        reply.append(item.key[start:])
        reply.append(item.value)
    return reply


def _value(found):
    return found.items[0].value if found.items else None


def places(operation):
    """Return ranges that are written if the reply to a read may change.

    Of members, if there are more.
    """
    kind = type(operation)
    key = operation.key
    if kind in (operations.ReadPartition, operations.ReadFields,
                operations.ReadIndex):
        return [_one(layout.head(key))]
    if kind is operations.ReadMembers:
        return [layout.members(key, operation.low, operation.high)]
    if kind is operations.ReadScores:
        return [layout.members(key, b"-", b"+")]
    if kind is operations.ReadAll:
        return [layout.fields(key)]
    if kind is operations.GetField:
        return [_one(layout.field(key, operation.field))]
    return [layout.contents(key)]


def watched(operation):
    """Return ranges that are written if the reply to a read changes.

    Whoever writes: ``places`` leaves out what only housekeeping does.

    :param operation: one of ``WATCHED``.
    """
    kind = type(operation)
    if kind is operations.ReadMembers or kind is operations.GetField:
        return places(operation)
    found = [layout.everything(operation.key)]
    if kind is operations.ReadIndex:
        found.append(layout.everything(operation.index_key))
    return found


def is_read(operation):
    """Return whether an operation reads, and nothing else."""
    return type(operation) in _METHODS
