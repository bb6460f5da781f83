# SPDX-License-Identifier: Apache-2.0
"""The commit protocol, on the client's side.

Invariant: the Commit of a transaction, and nothing else, makes it committed,
in the same atomic step that applies the primary partition's mutations.
Before that nothing is visible, after that nothing is taken back. Where the
store is ATOMIC that step applies the mutations of every partition, and there
are no intents.

A Commit is only valid until a moment of its server's own clock, which is
read with the prewrites. All that is kept for a while on account of the
transaction (an abort, an outcome, index entries without a record) is kept
for longer. So a Commit that comes late, because its client stood still or its
packet did, finds that its time is over, not that nothing forbids it.

:source: Percolator (OSDI 2010), section 2.2; the outcome is kept beside the
    primary's records instead of in the primary's lock.
"""

import collections
import logging
import os
import time

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict
from nova_kvs.txn import parts
from nova_kvs.txn import reading
from nova_kvs.txn import recovery
from nova_kvs.txn import retry
from nova_kvs.txn import validation

#: A writer looks so many times for the end of a transaction whose intent is
#: in its way; about 100 ms altogether.
POLLS = 7
#: The same for one that holds intents itself and met an older claim: of two
#: that block each other one must give way soon.
YIELDING_POLLS = 1
SETTLE = b"settle"
#: Tries of a commit whose server's clock is only assumed.
CLOCK_TRIES = 2

LOG = logging.getLogger(__name__)


def _items(side_writes, reads):
    """Return the operations of a batch for side writes and reads."""
    return [*side_writes, *[read.item() for read in reads]]


def _flat(groups):
    """Return all mutations of groups in order."""
    if len(groups) == 1:
        return next(iter(groups.values()))
    return [change for changes in groups.values() for change in changes]


def _valid_for(commit, now_ms, valid_ms):
    """Return a Commit that does nothing after a time.

    The outcome that it writes lives for longer, so that a copy finds one of
    the two.

    :param now_ms: what the clock of the partition's server shows; None: if
        that is not known, the Commit is returned as it is.
    :param valid_ms: the time.
    """
    if now_ms is None:
        return commit
    committed_ms = commit.committed_life_ms
    return commit._replace(
        committed_life_ms=committed_ms and max(committed_ms, valid_ms),
        refused_life_ms=max(commit.refused_life_ms, valid_ms),
        valid_until_ms=now_ms + valid_ms)


def _check_fields(versions, count):
    if len(versions) != count:
        raise ValueError("two mutations of one field in a transaction")


def _verify(verified, replies):
    """Raise ConflictError unless reads have the results that they had.

    :param verified: pairs of a read and its result.
    :param replies: theirs, and others behind them.
    """
    for (read, before), reply in zip(verified, replies):
        if getattr(before, "pairs", None) == reply:
            continue
        met = []
        # An intent may be committed: whoever runs this again will know.
        if read.result(reply, met) != before or met:
            raise exceptions.ReplicaLaggedError()


class ServerClock:
    """The clock of a store's servers, as last told."""

    def __init__(self):
        self._offset_ms = None

    def learn(self, server_ms):
        """Take in what a server's clock showed a moment ago.

        :param server_ms: ms since the epoch.
        :returns: the same.
        """
        self._offset_ms = server_ms - 1000 * time.monotonic()
        return server_ms

    def now(self):
        """Return the time in ms, or None if nobody told it yet."""
        if self._offset_ms is None:
            return None
        return int(self._offset_ms + 1000 * time.monotonic())


class Committer:
    """Commits transactions of a database.

    :param store: nova_kvs.store.base.Store.
    :param settler: nova_kvs.txn.recovery.Recovery.
    :param queue: nova_kvs.txn.queue.Queue.
    :param options: nova_kvs.txn.coordinator.Options.
    :param lost: nova_kvs.txn.lost_commits.LostCommits, or None if the store
        loses nothing that it has acknowledged.
    :ivar clock: ServerClock of the store.
    """

    def __init__(self, store, settler, queue, options, lost):
        self._store = store
        self._lost = lost
        self._settler = settler
        self._queue = queue
        self._options = options
        self._failpoint = options.failpoint
        self.clock = ServerClock()
        #: Commands that tidy up after transactions; they go with the next
        #: one's prewrite instead of costing a round trip. If they get lost
        #: the settle task in the queue does the same.
        self._leftovers = collections.deque()

    def commit_validated(self, groups, side_writes, reads, verified):
        """Commit if everything that was read is still so: no intents.

        Three round trips: what was read is compared as of a moment, and the
        commit requires that nothing of it has changed since.

        :param verified: pairs of a read and the result that it must have.
        :returns: as ``commit_at_once``.
        :raises nova_kvs.exceptions.SerializationError: if it is not so.
        """
        key = next(iter(groups)).key
        mutations = _flat(groups)
        for round_number in range(POLLS + 1):
            since, = self._store.batch([operations.ReadMoment(key)])
            comparison = validation.Validation(
                verified, None, mutations, side_writes)
            unchanged = comparison.operations()
            self.validate(comparison)
            try:
                return self.commit_at_once(
                    groups, side_writes, reads, None, (), unchanged, since)
            except exceptions.SerializationError:
                # Perhaps only something near what was read has changed.
                if round_number == POLLS:
                    raise
            retry.pause(round_number)

    def commit_at_once(self, groups, side_writes, reads, speculation, verified,
                       unchanged=(), since=0):
        """Commit in one step of the store: one round trip.

        Two, if something is to be verified, or there are side writes and the
        store is not ATOMIC.

        :param groups: dict of partition -> its mutations; one partition
            where the store is not ATOMIC.
        :param speculation: nova_kvs.txn.reading.Speculation that must be
            right, or None.
        :param unchanged: as of nova_kvs.store.operations.Commit, like
            ``since``.
        :returns: as ``Coordinator.commit_and_read``, but the replies to the
            reads; None where they were lost.
        """
        # Side writes or verified reads go before the commit, and the clock is
        # read with them. Else it is assumed, so "too late" may be a mistake:
        # by then nothing is applied, and the clock is known.
        partitions = list(groups)
        mutations = _flat(groups)
        staged = bool(verified or side_writes and not self._options.atomic)
        for _ in range(1 if staged else CLOCK_TRIES):
            answer, replicated, versions, replies = self._commit_at_once(
                groups, mutations, side_writes, reads, speculation, verified,
                unchanged, since)
            if answer.verdict is not Verdict.TOO_LATE:
                break
        if answer.verdict is not Verdict.COMMITTED:
            raise parts.failure(partitions, mutations, answer, speculation)
        self._reach("after_commit")
        if not replicated:
            raise exceptions.UnreplicatedError()
        return versions, replies

    def _commit_at_once(self, groups, mutations, side_writes, reads,
                        speculation, verified, unchanged, since):
        """Try to commit in one step.

        :param mutations: of all groups.
        :returns: ``(answer, replicated, versions, replies to reads)``.
        """
        versions = {}
        txn_id = os.urandom(16)
        together = self._options.atomic
        assumed = None if speculation is None else speculation.read.partition
        commit = operations.Commit(
            next(iter(groups)).outcome_key(txn_id), [
                parts.commit_part(
                    partition, changes, versions,
                    speculation if partition == assumed else None)
                for partition, changes in groups.items()],
            side_writes if together else (), recovery.OUTCOME_LIFE_MS,
            recovery.OUTCOME_LIFE_MS, unchanged=unchanged, since=since)
        _check_fields(versions, len(mutations))
        early = bool(side_writes) and not together
        started = time.monotonic()
        if early or verified:
            self._reach("before_prewrite")
            now_ms, *replies = self._stage(
                {}, {}, txn_id, verified, [
                    reading.ClockRead(mutations[0].partition).item(),
                    *(_items(side_writes, reads) if early else ())],
                deadline=None)
            self._reach("after_prewrite")
            # There are no intents by whose age others would take it for
            # abandoned, and a failover may have kept the side writes waiting.
            # But not when a check of them may have taken them away again.
            commit = _valid_for(
                commit, self.clock.learn(now_ms),
                self._options.side_write_life_ms)
        else:
            commit = _valid_for(
                commit, self.clock.now(), self._options.lifetime_ms)
        deadline = min(
            time.monotonic() + self._options.lifetime_ms / 1000,
            started + self._options.side_write_life_ms / 1000)
        begun = self._lost and self._lost.begin(
            (next(iter(groups)),), self.clock.now())
        answer, replicated, along = self._decide(
            mutations, txn_id, commit, deadline, holds=False,
            along=() if early else _items((), reads))
        if answer.verdict is Verdict.TOO_LATE:
            self.clock.learn(answer.detail)
        elif begun and replicated and answer.verdict is Verdict.COMMITTED:
            self._lost.note(begun, txn_id, mutations, side_writes)
        return answer, replicated, versions, (
            replies[len(side_writes):] if early else along)

    def commit_several(self, groups, side_writes, reads, verified,
                       serializable=False):
        """Commit in several partitions by intents: two round trips.

        A third, if replicas are to have it: else nobody waits until intents
        are records. One more, if it is to be serializable. Then one
        partition may be all.

        :param groups: dict of partition -> its mutations.
        :param serializable: what is verified is compared when all partitions
            have their intents: see ``nova_kvs.txn.validation``.
        :returns: as ``commit_at_once``.
        """
        versions = {}
        txn_id = os.urandom(16)
        deadline = time.monotonic() + self._options.lifetime_ms / 1000
        comparison = None
        if serializable:
            # The primary partition has no intents, so it is another one.
            primary = keyspace.outcome_partition(
                keyspace.database_of(next(iter(groups)).key), txn_id)
            comparison = validation.Validation(
                verified, txn_id, _flat(groups), side_writes)
            verified = ()
        else:
            primary = max(groups, key=lambda partition: len(groups[partition]))
        own = groups.get(primary, ())
        others = {partition: mutations
                  for partition, mutations in groups.items()
                  if partition is not primary}
        prewrites = {
            partition: parts.prewrite(
                partition, mutations, txn_id, primary, versions)
            for partition, mutations in others.items()}
        commit = operations.Commit(
            primary.outcome_key(txn_id),
            [parts.commit_part(primary, own, versions)],
            refused_life_ms=recovery.OUTCOME_LIFE_MS)
        _check_fields(versions, sum(map(len, groups.values())))
        task = self._queue.task(SETTLE, [
            txn_id, primary.key, [partition.key for partition in others]])
        extras = [reading.ClockRead(primary).item(),
                  *_items(side_writes, reads)]
        extras.append(
            self._queue.add(task, 2 * self._options.lifetime_ms))
        extras += self._take_leftovers()
        begun = self._lost and self._lost.begin(
            (primary, *others), self.clock.now())
        self._reach("before_prewrite")
        try:
            now_ms, *replies = self._stage(
                prewrites, others, txn_id, verified, extras, deadline)
            self._reach("after_prewrite")
            commit = _valid_for(
                commit, self.clock.learn(now_ms), self._options.lifetime_ms)
            if comparison is not None:
                self.validate(comparison, txn_id, deadline)
            answer, replicated, _ = self._decide(
                own, txn_id, commit, deadline, holds=True)
            if answer.verdict is not Verdict.COMMITTED:
                raise parts.failure([primary], own, answer)
        except exceptions.UndeterminedError:
            # Perhaps it is committed: whoever reads the outcome next knows.
            raise
        except exceptions.KVSError as exc:
            self._roll_back(others, txn_id, task, deadline, exc)
            raise
        self._reach("after_commit")
        if not replicated:
            # As long as the intents are there, a failover that loses the
            # outcome loses the whole transaction, not half of it.
            raise exceptions.UnreplicatedError()
        self._apply(primary, others, txn_id, task, begun and self._lost.note(
            begun, txn_id, _flat(groups), side_writes))
        first = len(side_writes)
        return versions, replies[first:first + len(reads)]

    def validate(self, comparison, txn_id=b"", deadline=None):
        """Return if what a serializable transaction has read is the same.

        :param comparison: nova_kvs.txn.validation.Validation.
        :param txn_id: of the transaction, if it holds intents.
        :param deadline: by the monotonic clock; None: the lifetime from now.
        :raises nova_kvs.exceptions.ConflictError: if it is not, or intents
            of another transaction stay in the way.
        """
        if deadline is None:
            deadline = time.monotonic() + self._options.lifetime_ms / 1000
        for round_number in range(POLLS + 1):
            found = comparison.run(self._store)
            if comparison.is_done:
                return
            if not self._wait(found, round_number, txn_id, deadline,
                              holds=bool(txn_id)):
                break
        raise exceptions.ConflictError(
            "another transaction was in the way for too long",
            partition=found[0][0].key)

    def _stage(self, prewrites, groups, txn_id, verified, extras, deadline):
        """Stage intents, and send what must be there before the commit.

        :param prewrites: dict of partition -> its Prewrite.
        :param verified: pairs of a read and the result that it must have.
        :param extras: items of the same batch.
        :param deadline: None if there are no prewrites.
        :returns: the replies to ``extras``.
        :raises nova_kvs.exceptions.KVSError: not UndeterminedError.
        """
        try:
            return self._stage_all(
                prewrites, groups, txn_id, verified, extras, deadline)
        except exceptions.UndeterminedError as exc:
            # The commit was not sent, so it is certain that nothing is
            # committed.
            raise exceptions.StoreUnavailableError(cause=exc) from exc

    def _stage_all(self, prewrites, groups, txn_id, verified, extras,
                   deadline):
        waiting = prewrites
        answers = None
        for round_number in range(POLLS + 1):
            # Before the prewrites, whose intents would be in the answers.
            replies, replicated = self._write([
                *[read.item() for read, _ in verified],
                *waiting.values(), *extras])
            _verify(verified, replies)
            replies = replies[len(verified):]
            verified = ()
            if not replicated:
                raise exceptions.StoreUnavailableError(
                    "too few replicas acknowledged what a commit rests on: "
                    "nothing was applied")
            if answers is None:
                answers = replies[len(waiting):]
            extras = ()
            found = []
            failures = []
            blocked = {}
            for (partition, prewrite), answer in zip(
                    waiting.items(), replies):
                if answer.verdict is Verdict.BLOCKED:
                    blocked[partition] = prewrite
                    found += parts.blocking_intents(
                        groups[partition], answer)
                elif answer.verdict is not Verdict.STAGED:
                    failures.append(parts.failure(
                        [partition], groups[partition], answer))
            if failures:
                raise next(
                    (error for error in failures
                     if isinstance(error, exceptions.ConflictError)),
                    failures[0])
            if not blocked:
                return answers
            waiting = blocked
            if not self._wait(found, round_number, txn_id, deadline,
                              holds=True):
                break
        partition = next(iter(waiting))
        raise parts.failure(
            [partition], groups[partition], operations.Answer(
                Verdict.ABORTED))

    def _decide(self, mutations, txn_id, commit, deadline, holds, along=()):
        """Send a Commit until there is an outcome.

        :param mutations: of all its parts.
        :param holds: whether the transaction has staged intents.
        :param along: items that are sent with it, the first time.
        :returns: ``(answer, replicated, replies to along)``; None for the
            latter where they were lost.
        """
        answers = None
        sent = None
        self._reach("before_commit")
        for round_number in range(POLLS + 1):
            now = time.monotonic()
            if now >= deadline:
                break
            try:
                (answer, *others), replicated = self._write((commit, *along))
                sent = now
                if answers is None:
                    answers, along = others, ()
                if answer.verdict is not Verdict.BLOCKED:
                    return answer, replicated, answers
                if not self._wait(
                        parts.blocking_intents(mutations, answer),
                        round_number, txn_id, deadline, holds):
                    break
            except exceptions.KVSError as exc:
                if sent is None and (
                        isinstance(exc, exceptions.StoreUnavailableError)
                        or getattr(exc, "nothing_applied", False)):
                    raise
                return *self._shut(commit, now, exc), answers
        if sent is None:
            raise exceptions.ConflictError(
                "the transaction was held up for too long",
                partition=commit.parts[0].key)
        return *self._shut(commit, sent, None), answers

    def _shut(self, commit, sent, cause):
        """Return what was decided; without that, abort the transaction.

        Its Commit was sent and nothing is known to have come of it: it
        may be run still, or once more, and must not commit any more what
        the caller takes for not committed.

        :param sent: when it was sent, by the monotonic clock.
        :param cause: what the store raised, if it did.
        :raises nova_kvs.exceptions.UndeterminedError: if the store does not
            tell.
        """
        # A store that was silent for long has repeated it itself;
        # asking once more would only keep the caller waiting longer.
        elapsed_ms = (time.monotonic() - sent) * 1000
        if elapsed_ms > self._options.lifetime_ms / 2:
            raise exceptions.UndeterminedError(cause=cause) from cause
        try:
            (answer,), replicated = self._settler.decide([commit.outcome_key])
            if answer.verdict is Verdict.ABORTED and (
                    commit.valid_until_ms is not None):
                # Outcomes last for longer than commits are valid. Is that
                # over, one may have been forgotten: a client that stood
                # still does not know by its own clock.
                now_ms, = self._store.batch(
                    [operations.ReadClock(commit.outcome_key)])
                if now_ms > commit.valid_until_ms:
                    raise exceptions.UndeterminedError(cause=cause)
        except exceptions.UndeterminedError:
            raise
        except exceptions.KVSError as exc:
            raise exceptions.UndeterminedError(cause=exc) from exc
        if answer.verdict is Verdict.ABORTED and isinstance(cause, (
                exceptions.ConfigurationError, exceptions.StoreReplyError)):
            raise cause
        return answer, replicated

    def _wait(self, found, round_number, txn_id, deadline, holds):
        """Get others' intents out of the way, or wait a little for them.

        :returns: whether to try again.
        """
        pending = self._settler.clear(found)
        if not pending:
            return True
        polls = POLLS
        if holds and min(pending) < txn_id:
            polls = YIELDING_POLLS
        if round_number >= polls or time.monotonic() >= deadline:
            return False
        retry.pause(round_number)
        return True

    def _apply(self, primary, others, txn_id, task, noted):
        """Turn the intents of a committed transaction into records.

        Nobody waits for it, unless replicas are to have it: until then
        readers ask for the outcome.

        :param noted: what LostCommits.note returned, or None.
        """
        def applied(answers, replicated=True):
            # Else a failover may bring intents back: they need the outcome,
            # and somebody to settle them.
            if replicated:
                self._leftovers.append(
                    self._settler.expiry(primary.outcome_key(txn_id)))
                self._leftovers.append(self._queue.remove(task))
            # Where they were not there any more their server has lost them in
            # a failover. Or another has, before it committed this
            # transaction, that it was aborted.
            lost = {partition for partition, answer in zip(others, answers)
                    if answer.verdict is not Verdict.COMMITTED}
            if noted and lost:
                self._lost.note_missing(noted, lost)

        self._reach("before_apply")
        resolves = [
            recovery.resolving(partition, txn_id, True,
                               [change.field for change in mutations])
            for partition, mutations in others.items()]
        try:
            if self._options.commit_replicas:
                applied(*self._write(resolves))
            else:
                self._store.post(resolves, applied)
        except exceptions.KVSError as exc:
            LOG.warning("Transaction %s is committed but not applied "
                        "everywhere: this is left to readers and "
                        "housekeeping: %s", txn_id.hex(), exc)
            return
        self._reach("after_apply")

    def _roll_back(self, others, txn_id, task, deadline, cause):
        """Remove the intents of a transaction that cannot commit."""
        left_ms = (deadline - time.monotonic()) * 1000
        if (isinstance(cause, exceptions.StoreUnavailableError)
                and left_ms < self._options.lifetime_ms / 2):
            # The caller has waited for the store long enough, and others
            # may do this soon.
            return
        try:
            self._store.batch([
                recovery.resolving(
                    partition, txn_id, False,
                    [change.field for change in mutations])
                for partition, mutations in others.items()])
        except exceptions.KVSError as exc:
            LOG.warning("Could not roll back transaction %s: this is left "
                        "to housekeeping: %s", txn_id.hex(), exc)
            return
        self._leftovers.append(self._queue.remove(task))

    def _write(self, items):
        """Send a batch and have it replicated as the options say.

        :returns: ``(replies, replicated)``.
        """
        wanted = self._options.commit_replicas
        if not wanted:
            return self._store.batch(items), True
        replies = self._store.batch(
            items, wanted, self._options.replica_timeout_ms)
        return replies, replies.pop() >= wanted

    def _take_leftovers(self):
        leftovers = self._leftovers
        taken = []
        while leftovers:
            try:
                taken.append(leftovers.popleft())
            except IndexError:  # Another thread was faster.
                break
        return taken

    def _reach(self, name):
        if self._failpoint is not None:
            self._failpoint(name)
