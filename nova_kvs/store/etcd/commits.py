# SPDX-License-Identifier: Apache-2.0
"""Commits: one transaction of etcd's each, whatever they span.

The transaction compares what the commit expects and applies it, or does
nothing. It writes the outcome, too, which lives as long as a lease that the
transaction names; so it can be sent again, and a copy that comes late does
nothing: see nova_kvs.store.etcd.leases.
"""

from nova_kvs import exceptions
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import layout
from nova_kvs.store.etcd import messages
from nova_kvs.store.etcd import outcomes
from nova_kvs.store.etcd import partition
from nova_kvs.store.etcd import reads as reading
from nova_kvs.store.etcd import rounds
from nova_kvs.store.etcd import writes
from nova_kvs.store import operations
from nova_kvs.store.operations import Answer
from nova_kvs.store.operations import Verdict

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

_put = messages.put_op


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
        parts = [partition.Part(part, self._heads) for part in operation.parts]
        is_repeated = False
        for _ in range(_TRIES):
            answer = yield from self._check(operation, parts)
            if answer is not None:
                return (yield from self._decide(
                    operation.outcome_key, operation.refused_life_ms, answer))
            request, places = self._request(operation, parts)
            reply = yield rounds.Change(request)
            if isinstance(reply, faults.Refusal):
                if not reply.is_lease_missing:
                    raise reply
                self._leases.forget()
                if is_repeated or reply.is_repeated:
                    raise _forgotten(reply)
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

    def _check(self, operation, parts):
        """Look whether a commit may be sent.

        :returns: the Answer that refuses it, or None.
        """
        if operation.valid_until_ms is not None:
            # Each time: who gets another lease may have stood still.
            now_ms = writes.now_ms()
            if now_ms > operation.valid_until_ms:
                return Answer(Verdict.TOO_LATE, now_ms)
        for part in parts:
            if (part.known is not None and part.revision is None
                    and len(part.known) > _MOST_KNOWN):
                found, _ = yield rounds.Ranges([
                    messages.range_request(*bounds)
                    for bounds in part.ranges()])
                return Answer(
                    Verdict.UNKNOWN,
                    partition.flat(part.look(found, self._heads)))
        return (yield from self._check_parts(parts))

    def _check_parts(self, parts):
        """Look at the partitions of a commit that has many conditions.

        Those with several are read now: that nothing has changed since is
        one condition for each.

        :returns: as ``_check``.
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
        while True:
            _, revision = yield rounds.Ranges(
                [messages.range_request(*bounds[0])])
            try:
                found, _ = yield rounds.Ranges([
                    messages.range_request(
                        *each, revision=revision, serializable=True)
                    for each in bounds])
                break
            except faults.Refusal as refusal:
                # Somebody has compacted the history in between.
                if not refusal.is_compacted:
                    raise
        found = iter(found)
        contents = []
        for part in wide:
            head = next(found)
            part.checked = head.items[0].mod_revision if head.items else 0
            contents.append(part.look(
                [next(found) for _ in part.ranges()], self._heads))
        for part, content in zip(wide, contents):
            if part.known is not None and part.known != content:
                return Answer(Verdict.UNKNOWN, partition.flat(content))
        return partition.judge(parts, [
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
                return Answer(Verdict.UNKNOWN, partition.flat(content))
        return partition.judge(parts, contents)

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


def _forgotten(refusal):
    """Return the error for a copy of a commit whose lease is over.

    An earlier one may have been applied. Its outcome is gone then, so that
    nothing would keep this one, with another lease, from doing it once more.
    """
    error = exceptions.UndeterminedError(cause=refusal)
    error.is_forgotten = True
    return error
