# SPDX-License-Identifier: Apache-2.0
"""Commits in one step of the store, without intents.

One partition can be committed so, or several where the store is ATOMIC.
"""

import os
import time

from nova_kvs import exceptions
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict
from nova_kvs.txn import commit
from nova_kvs.txn import parts
from nova_kvs.txn import reading
from nova_kvs.txn import retry
from nova_kvs.txn import validation

#: Tries of a commit whose server's clock is only assumed.
CLOCK_TRIES = 2


class AtOnce:
    """Commits transactions in one step.

    :param steps: nova_kvs.txn.commit.Steps.
    :param lost: nova_kvs.txn.lost_commits.LostCommits, or None if the store
        loses nothing that it has acknowledged.
    """

    def __init__(self, steps, lost):
        self._steps = steps
        self._lost = lost

    def commit_validated(self, groups, side_writes, reads, verified):
        """Commit if everything that was read is unchanged.

        Three round trips: the results of the reads are compared as of a
        moment, and the commit requires that none has changed since.

        :param verified: pairs of a read and the result that it must have.
        :returns: as ``commit``.
        :raises nova_kvs.exceptions.SerializationError: if one has changed.
        """
        key = next(iter(groups)).key
        mutations = commit.flat(groups)
        for round_number in range(commit.POLLS + 1):
            since, = self._steps.store.batch([operations.ReadMoment(key)])
            comparison = validation.Validation(
                verified, None, mutations, side_writes)
            unchanged = comparison.operations()
            self._steps.validate(comparison)
            try:
                return self.commit(
                    groups, side_writes, reads, None, (), unchanged, since)
            except exceptions.SerializationError:
                # Perhaps only something near what was read has changed.
                if round_number == commit.POLLS:
                    raise
            retry.pause(round_number)

    def commit(self, groups, side_writes, reads, speculation, verified,
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
        :returns: as ``Coordinator.commit_and_read``, but with the replies to
            the reads instead of results; None if they were lost.
        """
        # The clock is assumed, so "too late" may be a mistake: then nothing
        # is applied, and the clock is known. Side writes and verified reads go
        # before the commit, and the clock is read with them.
        partitions = list(groups)
        mutations = commit.flat(groups)
        staged = bool(
            verified or side_writes and not self._steps.options.atomic)
        for tries_left in reversed(range(CLOCK_TRIES)):
            try:
                answer, replicated, versions, replies = self._try(
                    groups, mutations, side_writes, reads, speculation,
                    verified, unchanged, since)
            except exceptions.HeldUpError as exc:
                if exc.now_ms is None or not tries_left:
                    raise
                continue
            if staged or answer.verdict is not Verdict.TOO_LATE:
                break
        if answer.verdict is not Verdict.COMMITTED:
            raise parts.failure(partitions, mutations, answer, speculation)
        self._steps.reach("after_commit")
        if not replicated:
            raise exceptions.UnreplicatedError()
        return versions, replies

    def _try(self, groups, mutations, side_writes, reads, speculation,
             verified, unchanged, since):
        """Commit, unless the clock that is assumed is wrong.

        :param mutations: of all groups.
        :returns: ``(answer, replicated, versions, replies to reads)``.
        """
        steps = self._steps
        options = steps.options
        versions = {}
        txn_id = os.urandom(16)
        together = options.atomic
        life_ms = steps.settler.lives.outcome_ms
        assumed = None if speculation is None else speculation.read.partition
        request = operations.Commit(
            next(iter(groups)).outcome_key(txn_id), [
                parts.commit_part(
                    partition, changes, versions,
                    speculation if partition == assumed else None)
                for partition, changes in groups.items()],
            side_writes if together else (), life_ms, life_ms,
            unchanged=unchanged, since=since)
        commit.check_fields(versions, len(mutations))
        early = bool(side_writes) and not together
        first = mutations[0].partition
        moment = steps.moment() if early else None
        started = time.monotonic()
        if early or verified:
            steps.reach("before_prewrite")
            now_ms, *replies = steps.stage(
                {}, {}, txn_id, verified, [
                    reading.ClockRead(first).item(),
                    *(commit.items(side_writes, reads) if early else ())],
                deadline=None)
            steps.reach("after_prewrite")
            # Nobody can take it for abandoned, since it has no intents, and a
            # failover may have held up the side writes. But it must not
            # commit once housekeeping may have removed these.
            steps.clock.learn(now_ms)
            request = commit.valid_since(
                request, moment, now_ms, options.side_write_life_ms
                if early else options.lifetime_ms)
        else:
            request = commit.valid_for(
                request, steps.clock.now(), options.lifetime_ms)
        deadline = min(
            time.monotonic() + options.lifetime_ms / 1000,
            started + options.side_write_life_ms / 1000)
        begun = self._lost and self._lost.begin(
            (next(iter(groups)),), steps.clock.now())
        answer, replicated, along = steps.decide(
            mutations, txn_id, request, deadline, holds=False,
            along=() if early else commit.items((), reads))
        if answer.verdict is Verdict.TOO_LATE:
            steps.clock.learn(answer.detail)
        elif begun and replicated and answer.verdict is Verdict.COMMITTED:
            self._lost.note(begun, txn_id, mutations, side_writes)
        return answer, replicated, versions, (
            replies[len(side_writes):] if early else along)
