# SPDX-License-Identifier: Apache-2.0
"""The steps of the commit protocol, on the client's side.

Invariant: the Commit of a transaction, and nothing else, makes it committed,
in the same atomic step that applies the primary partition's mutations.
Before that nothing is visible, after that nothing is taken back. Where the
store is ATOMIC that step applies the mutations of every partition, and there
are no intents.

A Commit is only valid until a moment of its server's own clock, counted from
before the first prewrite. Everything that is kept for a while on account of
the transaction (an abort, an outcome, index entries without a record) is kept
for longer. So a Commit that comes late, because its client or its packet
stood still, finds that its time is over, not that nothing forbids it.

``at_once`` and ``by_intents`` make commits of these steps.

:source: Percolator (OSDI 2010), section 2.2; the outcome is kept beside the
    primary's records instead of in the primary's lock.
"""

import time
import typing

from nova_kvs import exceptions
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict
from nova_kvs.txn import parts
from nova_kvs.txn import retry

#: A writer looks so many times for the end of a transaction whose intent is
#: in its way; about 100 ms altogether.
POLLS = 7
#: The same for one that holds intents itself and met an older claim: of two
#: that block each other one must give way soon.
YIELDING_POLLS = 1

#: Outcomes that are also found when a commit was forgotten before.
_NOT_COMMITTED = (Verdict.ABORTED, Verdict.TOO_LATE)


def items(side_writes, reads):
    """Return the operations of a batch for side writes and reads."""
    return [*side_writes, *[read.item() for read in reads]]


def flat(groups):
    """Return all mutations of groups in order."""
    if len(groups) == 1:
        return next(iter(groups.values()))
    return [change for changes in groups.values() for change in changes]


def valid_for(commit, now_ms, valid_ms):
    """Return a Commit that does nothing after a time.

    :param now_ms: the time by the clock of the partition's server.
    :param valid_ms: ms from then on for which the Commit is valid.
    """
    return commit._replace(valid_until_ms=now_ms + valid_ms)


class Moment(typing.NamedTuple):
    """A moment before a transaction sent anything."""

    #: By a server's clock, perhaps another one's than its partition's.
    server_ms: int
    #: By the monotonic clock of this process.
    own_s: float

    @classmethod
    def at(cls, server_ms):
        """Return the present moment."""
        return cls(server_ms, time.monotonic())


def valid_since(commit, moment, now_ms, valid_ms):
    """Return a Commit that does nothing after a time, as ``valid_for``.

    What the Commit rests on was sent between the moment and now. Of the two
    clocks that tell when that was, the earlier one counts: this process's own
    may have stood still meanwhile, with its machine, and the moment's server
    may be another one, whose clock is ahead.

    :param moment: Moment before that; None: nothing was sent.
    :param now_ms: the time after that, by the clock of the partition's server.
    :raises nova_kvs.exceptions.HeldUpError: if more time has passed for
        servers than for this process. It stood still, or the moment is of
        another server, whose clock differs.
    """
    if moment is None:
        return valid_for(commit, now_ms, valid_ms)
    passed_ms = 1000 * (time.monotonic() - moment.own_s)
    if now_ms - moment.server_ms - passed_ms > valid_ms / 2:
        raise exceptions.HeldUpError(now_ms, partition=commit.parts[0].key)
    return valid_for(
        commit, int(min(moment.server_ms, now_ms - passed_ms)), valid_ms)


def check_fields(versions, count):
    """Raise ValueError if two mutations concern one field."""
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
        """Take in the time that a server's clock showed a moment ago.

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


class Steps:
    """The steps that commits of a database are made of.

    :param store: nova_kvs.store.base.Store.
    :param settler: nova_kvs.txn.recovery.Recovery.
    :param options: nova_kvs.txn.coordinator.Options.
    :ivar clock: ServerClock of the store.
    """

    def __init__(self, store, settler, options):
        self.store = store
        self.settler = settler
        self.options = options
        self.clock = ServerClock()

    def hear(self, key):
        """Ask for a server's clock, unless one is known.

        Without it a commit would have no end, and could come at any time.

        :param key: one of that server.
        :raises nova_kvs.exceptions.StoreUnavailableError: if it does not
            answer.
        """
        if self.clock.now() is None:
            self.clock.learn(*self.store.batch([operations.ReadClock(key)]))

    def moment(self):
        """Return the Moment before a commit.

        It is earlier than it should be if this machine's own clock has stood
        still, never later.
        """
        return Moment.at(self.clock.now())

    def validate(self, comparison, txn_id=b"", deadline=None):
        """Return if what a serializable transaction has read is unchanged.

        :param comparison: nova_kvs.txn.validation.Validation.
        :param txn_id: of the transaction, if it holds intents.
        :param deadline: by the monotonic clock; None: the lifetime from now.
        :raises nova_kvs.exceptions.ConflictError: if one has changed, or
            intents of another transaction stay in the way.
        """
        if deadline is None:
            deadline = time.monotonic() + self.options.lifetime_ms / 1000
        for round_number in range(POLLS + 1):
            found = comparison.run(self.store)
            if comparison.is_done:
                return
            if not self._wait(found, round_number, txn_id, deadline,
                              holds=bool(txn_id)):
                break
        raise exceptions.ConflictError(
            "another transaction was in the way for too long",
            partition=found[0][0].key)

    def stage(self, prewrites, groups, txn_id, verified, extras, deadline):
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
            replies, replicated = self.write([
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

    def decide(self, mutations, txn_id, commit, deadline, holds, along=()):
        """Send a Commit until there is an outcome.

        :param mutations: of all its parts.
        :param holds: whether the transaction has staged intents.
        :param along: items that are sent with it, the first time.
        :returns: ``(answer, replicated, replies to along)``; None for the
            latter where they were lost.
        """
        answers = None
        sent = None
        self.reach("before_commit")
        for round_number in range(POLLS + 1):
            now = time.monotonic()
            if now >= deadline:
                break
            try:
                (answer, *others), replicated = self.write((commit, *along))
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
            raise exceptions.HeldUpError(partition=commit.parts[0].key)
        return *self._shut(commit, sent, None), answers

    def _shut(self, commit, sent, cause):
        """Return what was decided; without that, abort the transaction.

        Its Commit was sent and nothing is known to have come of it: it
        may be run still, or once more, and must not commit any more what
        the caller takes for not committed.

        :param sent: when it was sent, by the monotonic clock.
        :param cause: what the store raised; None: it refused the Commit for
            the time being.
        :raises nova_kvs.exceptions.UndeterminedError: if the store does not
            tell, or may have forgotten it.
        """
        # A store that was silent for long has repeated it itself;
        # asking once more would only keep the caller waiting longer.
        is_silent = isinstance(cause, exceptions.StoreUnavailableError) or (
            isinstance(cause, exceptions.UndeterminedError)
            and not cause.store_answers)
        elapsed_ms = (time.monotonic() - sent) * 1000
        if getattr(cause, "is_forgotten", False) or (
                is_silent and elapsed_ms > self.options.lifetime_ms / 2):
            raise exceptions.UndeterminedError(cause=cause) from cause
        try:
            (answer,), replicated = self.settler.decide([commit.outcome_key])
            if answer.verdict in _NOT_COMMITTED and (
                    commit.valid_until_ms is not None):
                # By the server's clock: that of a client that stood still
                # may have stood still, too.
                now_ms, = self.store.batch(
                    [operations.ReadClock(commit.outcome_key)])
                if self.settler.lives.may_be_over(
                        commit.valid_until_ms, now_ms):
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
        pending = self.settler.clear(found)
        if not pending:
            return True
        polls = POLLS
        if holds and min(pending) < txn_id:
            polls = YIELDING_POLLS
        if round_number >= polls or time.monotonic() >= deadline:
            return False
        retry.pause(round_number)
        return True

    def write(self, items):
        """Send a batch and have it replicated as the options say.

        :returns: ``(replies, replicated)``.
        """
        wanted = self.options.commit_replicas
        if not wanted:
            return self.store.batch(items), True
        replies = self.store.batch(
            items, wanted, self.options.replica_timeout_ms)
        return replies, replies.pop() >= wanted

    def reach(self, name):
        """Pass a failpoint."""
        if self.options.failpoint is not None:
            self.options.failpoint(name)
