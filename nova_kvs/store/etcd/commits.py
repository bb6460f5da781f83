# SPDX-License-Identifier: Apache-2.0
"""Commits: one transaction of etcd's each, whatever they span.

The transaction compares what the commit expects and applies it, or does
nothing. It writes the outcome, too, which lives as long as a lease that the
transaction names; so it can be sent again, and a copy that comes late does
nothing: see nova_kvs.store.etcd.leases.
"""

import struct

from nova_kvs import keyspace
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import layout
from nova_kvs.store.etcd import messages
from nova_kvs.store.etcd import outcomes
from nova_kvs.store.etcd import reads as reading
from nova_kvs.store.etcd import rounds
from nova_kvs.store.etcd import writes
from nova_kvs.store import operations
from nova_kvs.store.operations import Answer
from nova_kvs.store.operations import Verdict

_FLOOR = keyspace.FLOOR_FIELD
_VERSION = struct.Struct(">Q")
_NO_FLOOR = bytes(8)
#: A partition of which more fields change is read whole when a commit was
#: refused, to see why.
_MOST_FIELDS = 12
#: Fields of a partition that is taken to be known whose values are compared;
#: of more, nothing is known if not by the head.
_MOST_KNOWN = 25
#: A commit whose conditions on floors or lease were wrong is sent so often.
_TRIES = 5
#: Conditions and writes on one level of a transaction; levels below each
#: other are at most 128 together by default, and a write may be two levels.
_MOST_CONDITIONS = 60
_GROUP = 60
_PATH = 124
#: Life of the head of an empty partition.
_EMPTY_LIFE_MS = 60000

_put = messages.put_op
_delete = messages.delete_op


class _Part:
    """A part of a commit as etcd's conditions, writes and reads.

    :ivar floor: the partition's floor as last seen; None: there is none.
    :ivar revision: of the head that proves ``known``; None: not by that.
    """

    def __init__(self, part, heads):
        self.part = part
        self.key = part.key
        self.revision = None
        self.floor = None
        #: Revision of the head that proves what was checked, or None.
        self.checked = None
        content = heads.content(part.key)
        #: Dict of what it held when it was last looked at, and whether that
        #: is all.
        self.content = None
        self.is_whole = (part.known_fields is not None
                         or len(part.changes) > _MOST_FIELDS)
        #: Dict of all that the partition is taken to hold, or None.
        self.known = None
        if part.known_fields is not None:
            self.revision = heads.revision(
                part.key, part.known_fields, part.known_values)
            content = self.known = dict(
                zip(part.known_fields, part.known_values))
        if content is not None:
            self.floor = content.get(_FLOOR)
        self.inserts = [
            change for change in part.changes
            if change.kind == operations.INSERT_ABOVE_FLOOR]
        self.puts = {
            change.field: change.value for change in part.changes
            if change.kind in (
                operations.PUT, operations.INSERT_ABOVE_FLOOR)}
        self.removed = [
            change.field for change in part.changes
            if change.kind in (
                operations.REMOVE, operations.REMOVE_RAISING_FLOOR)]
        self.raised = max(
            [change.expected for change in part.changes
             if change.kind == operations.REMOVE_RAISING_FLOOR], default=None)

    def conditions(self):
        """Return the conditions that must hold."""
        key, part = self.key, self.part
        if self.checked is not None:
            return [messages.is_of_revision(layout.head(key), self.checked)]
        found = []
        if self.revision is not None:
            found.append(messages.is_of_revision(
                layout.head(key), self.revision))
        elif self.known is not None:
            found += [messages.value_is(
                layout.field(key, field), messages.EQUAL, value)
                for field, value in self.known.items()]
            found += writes.no_other_fields(key, self.known)
        if self.known is None or _judge([self], [self.known]) is not None:
            # What is known, if it is so, says the rest.
            for change in part.changes:
                found += writes.has_version(
                    layout.field(key, change.field), change.expected)
            if self.inserts:
                found.append(self._floor_condition())
        return found

    def _floor_condition(self):
        place = layout.field(self.key, _FLOOR)
        if self.floor is None:
            return messages.is_absent(place)
        return messages.value_is(place, messages.LESS, min(
            change.value[:8] for change in self.inserts))

    def operations(self, txn_id, leases):
        """Return pairs of an etcd key, and the operation that writes it."""
        key, part = self.key, self.part
        found = {}
        for field, value in self.puts.items():
            place = layout.field(key, field)
            found[place] = _put(place, value)
        for field in self.removed:
            place = layout.field(key, field)
            found[place] = _delete(place)
        if self.raised is not None:
            place = layout.field(key, _FLOOR)
            put = _put(place, _VERSION.pack(self.raised))
            # The greater one stays.
            found[place] = messages.nested_op(messages.txn_request(
                [messages.is_absent(place)], [put],
                [messages.nested_op(messages.txn_request(
                    [messages.value_is(place, messages.LESS,
                                       _VERSION.pack(self.raised))],
                    [put]))]))
        place = layout.head(key)
        if self.puts or self.raised is not None:
            found[place] = _put(place, txn_id, wants_previous=True)
        elif self.removed:
            lease = leases.lease_for(_EMPTY_LIFE_MS)
            if self.checked is not None and self.is_whole:
                is_empty = self.content.keys() <= set(self.removed)
                found[place] = _put(place, txn_id, lease if is_empty else 0)
            else:
                found[place] = writes.removal_of_head(
                    key, self.removed, txn_id, lease)
        for member in part.add:
            found.update(writes.blind(operations.Add(
                part.index_key, member)).writes)
        for member in part.remove:
            found.update(writes.blind(operations.Remove(
                part.index_key, member)).writes)
        return found

    def ranges(self):
        """Return the ranges that show why it was refused."""
        if self.known is not None:
            return [layout.fields(self.key), (layout.head(self.key), b"")]
        if self.is_whole:
            return [layout.fields(self.key)]
        fields = [change.field for change in self.part.changes]
        if self.inserts:
            fields.append(_FLOOR)
        return [(layout.field(self.key, field), b"") for field in fields]

    def look(self, found, heads):
        """Return what the partition holds, by the ranges' answers."""
        if self.known is not None:
            found, head = found
            found = (found,)
        start = len(layout.field(self.key, b""))
        content = {item.key[start:]: item.value
                   for each in found for item in each.items}
        self.content = content
        self.floor = content.get(_FLOOR)
        if self.known is not None:
            heads.learn(
                self.key, head.items[0].mod_revision if head.items else 0,
                _flat(content))
        return content


class Commits:
    """Commits, and what asks for their outcomes.

    :param leases: nova_kvs.store.etcd.leases.Leases.
    :param heads: nova_kvs.store.etcd.heads.Heads.
    """

    def __init__(self, leases, heads):
        self._leases = leases
        self._heads = heads

    def of(self, operation):
        """Return the generator that runs an operation, or None."""
        if type(operation) is operations.Commit:
            return self._commit(operation)
        if type(operation) is operations.AbortIfUndecided:
            return self._decide(
                operation.key, operation.life_ms, Answer(Verdict.ABORTED))
        return None

    def _commit(self, operation):
        parts = [_Part(part, self._heads) for part in operation.parts]
        if operation.valid_until_ms is not None:
            now_ms = writes.now_ms()
            if now_ms > operation.valid_until_ms:
                return (yield from self._decide(
                    operation.outcome_key, operation.refused_life_ms,
                    Answer(Verdict.TOO_LATE, now_ms)))
        for part in parts:
            if (part.known is not None and part.revision is None
                    and len(part.known) > _MOST_KNOWN):
                found, _ = yield rounds.Ranges([
                    messages.range_request(*bounds)
                    for bounds in part.ranges()])
                return (yield from self._decide(
                    operation.outcome_key, operation.refused_life_ms, Answer(
                        Verdict.UNKNOWN,
                        _flat(part.look(found, self._heads)))))
        is_repeated = False
        for _ in range(_TRIES):
            answer = yield from self._check(parts)
            if answer is not None:
                return (yield from self._decide(
                    operation.outcome_key, operation.refused_life_ms, answer))
            request, places = self._request(operation, parts)
            reply = yield rounds.Change(request)
            if isinstance(reply, faults.Refusal):
                if not reply.is_lease_missing:
                    raise reply
                self._leases.forget()
                continue
            is_repeated = is_repeated or reply.is_repeated
            if reply.succeeded:
                self._learn(parts, reply, places)
                return Answer(Verdict.COMMITTED)
            outcome, *found = reply.replies
            if outcome.items:
                return outcomes.parse(outcome.items[0].value)
            if not found:
                continue  # what was checked has changed since
            floors = [part.floor for part in parts]
            answer = self._explain(parts, found)
            if answer is None and operation.unchanged and floors == [
                    part.floor for part in parts]:
                answer = Answer(Verdict.CHANGED)
            if answer is not None:
                if not is_repeated:
                    # No copy is on its way that could be applied later.
                    return answer
                return (yield from self._decide(
                    operation.outcome_key, operation.refused_life_ms, answer))
            # Only a floor was another one than it was taken for.
        if operation.unchanged:
            return Answer(Verdict.CHANGED)
        return Answer(Verdict.BLOCKED, [])

    def _check(self, parts):
        """Look at the partitions of a commit that has many conditions.

        Those with several are read now: that nothing has changed since is
        one condition for each.

        :returns: the Answer that refuses the commit, or None.
        """
        counts = [1 if part.checked is not None else len(part.conditions())
                  for part in parts]
        if sum(counts) <= _MOST_CONDITIONS and all(
                [part.checked is None for part in parts]):
            return None
        wide = [part for part, count in zip(parts, counts)
                if count > 1 or part.checked is not None]
        if not wide:
            return None
        bounds = [bounds for part in wide for bounds in (
            (layout.head(part.key), b""), *part.ranges())]
        _, revision = yield rounds.Ranges(
            [messages.range_request(*bounds[0])])
        while True:
            try:
                found, _ = yield rounds.Ranges([
                    messages.range_request(
                        *each, revision=revision, serializable=True)
                    for each in bounds])
                break
            except faults.Refusal as refusal:
                if not refusal.is_compacted:
                    raise
            _, revision = yield rounds.Ranges(
                [messages.range_request(*bounds[0])])
        found = iter(found)
        contents = []
        for part in wide:
            head = next(found)
            part.checked = head.items[0].mod_revision if head.items else 0
            contents.append(part.look(
                [next(found) for _ in part.ranges()], self._heads))
        for part, content in zip(wide, contents):
            if part.known is not None and part.known != content:
                return Answer(Verdict.UNKNOWN, _flat(content))
        return _judge(parts, [
            contents[wide.index(part)] if part in wide else None
            for part in parts])

    def _request(self, operation, parts):
        place = layout.value(operation.outcome_key)
        txn_id = operation.outcome_key[-32:]
        lease = self._leases.lease_for(operation.committed_life_ms)
        conditions = [messages.is_absent(place)]
        found = {place: _put(place, outcomes.COMMITTED, lease)}
        reads = [messages.range_op(messages.range_request(place))]
        for start, end in dict.fromkeys(
                [bounds for read in operation.unchanged
                 for bounds in reading.places(read)]):
            conditions.append(
                messages.is_not_newer(start, operation.since, end))
        is_checked = any([part.checked is not None for part in parts])
        for part in parts:
            conditions += part.conditions()
            found.update(part.operations(txn_id, self._leases))
            if not is_checked:
                reads += [messages.range_op(messages.range_request(*bounds))
                          for bounds in part.ranges()]
        raised = {}
        for write in operation.side_writes:
            if type(write) is operations.Raise:
                before = raised.get(write[:2])
                if before is not None and before > write.score:
                    continue
                raised[write[:2]] = write.score
            found.update(writes.blind(write).writes)
        places = {key: number for number, key in enumerate(found)}
        changes = list(found.values())
        if len(changes) > _GROUP:
            # etcd counts along a path only: what is nested beside each other
            # may be as much as all of it together.
            size = min(_GROUP, _PATH - len(conditions))
            if size < 1:
                # Its limit must be a higher one. Groups are no more than
                # conditions.
                size = -(-len(changes) // len(conditions))
            changes = [messages.nested_op(messages.txn_request(
                (), changes[at:at + size]))
                for at in range(0, len(changes), size)]
            places = {key: divmod(number, size)
                      for key, number in places.items()}
        return messages.txn_request(conditions, changes, reads), places

    def _learn(self, parts, reply, places):
        """Take in what a commit has made of its partitions.

        :param places: etcd's keys -> where the replies to their writes are.
        """
        for part in parts:
            key = part.key
            if part.puts and part.raised is None:
                place = places[layout.head(key)]
                if type(place) is tuple:
                    before = reply.replies[place[0]].replies[place[1]]
                else:
                    before = reply.replies[place]
                self._heads.written(
                    key, before.mod_revision if before else 0,
                    reply.revision, part.puts, part.removed)
            elif part.puts or part.removed:
                self._heads.forget(key)

    def _explain(self, parts, found):
        """Return the Answer of a commit that was refused, or None.

        :param found: answers to the parts' ranges.
        """
        found = iter(found)
        contents = [part.look([next(found) for _ in part.ranges()],
                              self._heads) for part in parts]
        for part, content in zip(parts, contents):
            if part.known is not None and part.known != content:
                return Answer(Verdict.UNKNOWN, _flat(content))
        return _judge(parts, contents)

    def _decide(self, outcome_key, life_ms, answer):
        """Decide an outcome unless it is decided.

        :returns: the Answer that holds.
        """
        place = layout.value(outcome_key)
        for _ in range(_TRIES):
            lease = self._leases.lease_for(life_ms)
            reply = yield rounds.Change(messages.txn_request(
                [messages.is_absent(place)],
                [_put(place, outcomes.pack(answer), lease)],
                [messages.range_op(messages.range_request(place))]))
            if not isinstance(reply, faults.Refusal):
                break
            if not reply.is_lease_missing:
                raise reply
            self._leases.forget()
        else:
            raise reply
        if reply.succeeded:
            return answer
        found, = reply.replies
        decided = outcomes.parse(found.items[0].value)
        # This may be a copy of what has decided it.
        return answer if decided.verdict is answer.verdict else decided


def _judge(parts, contents):
    """Return the Answer that refuses a commit, or None.

    :param contents: dict of field -> value of each part, or None.
    """
    differing = []
    number = 0
    below = None
    for index, (part, content) in enumerate(zip(parts, contents)):
        if content is None:  # not looked at
            number += len(part.part.changes)
            continue
        floor = content.get(_FLOOR, _NO_FLOOR)
        for change in part.part.changes:
            value = content.get(change.field)
            if (0 if value is None else int.from_bytes(
                    value[:8], "big")) != change.expected or (
                        value is not None and not change.expected):
                differing.append(number)
            elif (change.kind == operations.INSERT_ABOVE_FLOOR
                    and change.value[:8] <= floor and below is None):
                below = index, int.from_bytes(floor, "big")
            number += 1
    if differing:
        return Answer(Verdict.DIFFERS, differing)
    if below:
        return Answer(Verdict.BELOW_FLOOR, below)
    return None


def _flat(content):
    return [item for pair in content.items() for item in pair]
