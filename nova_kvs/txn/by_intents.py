# SPDX-License-Identifier: Apache-2.0
"""Commits by intents: in several partitions of a store that is not ATOMIC.

Every partition but the primary one gets intents. The Commit of the primary
partition decides, and afterwards the intents become records.
"""

import collections
import logging
import os
import time

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict
from nova_kvs.txn import commit
from nova_kvs.txn import mutation
from nova_kvs.txn import parts
from nova_kvs.txn import reading
from nova_kvs.txn import recovery
from nova_kvs.txn import validation

#: Kind of the queue's tasks that settle transactions.
SETTLE = b"settle"

LOG = logging.getLogger(__name__)


def _is_validated(mutations):
    """Return whether one of a partition's mutations only validates."""
    return any([change.value is mutation.LOCK for change in mutations])


class ByIntents:
    """Commits transactions that stage intents first.

    :param steps: nova_kvs.txn.commit.Steps.
    :param queue: nova_kvs.txn.queue.Queue.
    :param lost: nova_kvs.txn.lost_commits.LostCommits, or None if the store
        loses nothing that it has acknowledged.
    """

    def __init__(self, steps, queue, lost):
        self._steps = steps
        self._queue = queue
        self._lost = lost
        #: Commands that tidy up after transactions; they go with the next
        #: one's prewrite instead of costing a round trip. If they get lost
        #: the settle task in the queue does the same.
        self._leftovers = collections.deque()

    def commit(self, groups, side_writes, reads, verified,
               serializable=False):
        """Commit in several partitions: two round trips.

        Where records are validated is the primary partition, of several one:
        the Commit itself compares them, so that others may do so meanwhile.

        A third, if replicas are to have it: else nobody waits until intents
        are records. One more, if it is to be serializable: then a single
        partition has intents, too.

        :param groups: dict of partition -> its mutations.
        :param serializable: True to compare the verified reads when all
            partitions have their intents: see ``nova_kvs.txn.validation``.
        :returns: as ``nova_kvs.txn.at_once.AtOnce.commit``.
        """
        txn_id = os.urandom(16)
        if serializable:
            # The primary partition has no intents, so none of these is it.
            primary = keyspace.outcome_partition(
                keyspace.database_of(next(iter(groups)).key), txn_id)
        else:
            primary = max(groups, key=lambda partition: (
                _is_validated(groups[partition]), len(groups[partition])))
        moment = self._steps.moment()
        rest = groups, side_writes, reads, verified, serializable
        try:
            return self._try(txn_id, primary, moment, *rest)
        except exceptions.HeldUpError as exc:
            if exc.now_ms is None:
                raise
            moment = commit.Moment.at(exc.now_ms)
        return self._try(os.urandom(16), primary, moment, *rest)

    def _try(self, txn_id, primary, moment, groups, side_writes, reads,
             verified, serializable):
        """Commit, unless the time at which it began is mistaken.

        :param moment: nova_kvs.txn.commit.Moment, or None.
        """
        steps = self._steps
        versions = {}
        deadline = time.monotonic() + steps.options.lifetime_ms / 1000
        comparison = None
        if serializable:
            comparison = validation.Validation(
                verified, txn_id, commit.flat(groups), side_writes)
            verified = ()
        own = groups.get(primary, ())
        others = {partition: mutations
                  for partition, mutations in groups.items()
                  if partition is not primary}
        prewrites = {
            partition: parts.prewrite(
                partition, mutations, txn_id, primary, versions)
            for partition, mutations in others.items()}
        request = operations.Commit(
            primary.outcome_key(txn_id),
            [parts.commit_part(primary, own, versions)],
            refused_life_ms=steps.settler.lives.outcome_ms)
        commit.check_fields(versions, sum(map(len, groups.values())))
        task = self._queue.task(SETTLE, [
            txn_id, primary.key, [partition.key for partition in others]])
        extras = [reading.ClockRead(primary).item(),
                  *commit.items(side_writes, reads)]
        extras.append(
            self._queue.add(task, 2 * steps.options.lifetime_ms))
        extras += self._take_leftovers()
        begun = self._lost and self._lost.begin(
            (primary, *others), steps.clock.now())
        steps.reach("before_prewrite")
        try:
            now_ms, *replies = steps.stage(
                prewrites, others, txn_id, verified, extras, deadline)
            steps.reach("after_prewrite")
            request = commit.valid_since(
                request, moment, steps.clock.learn(now_ms),
                steps.options.lifetime_ms)
            if comparison is not None:
                steps.validate(comparison, txn_id, deadline)
            answer, replicated, _ = steps.decide(
                own, txn_id, request, deadline, holds=True)
            if answer.verdict is not Verdict.COMMITTED:
                raise parts.failure([primary], own, answer)
        except exceptions.UndeterminedError:
            # Perhaps it is committed: the outcome tells.
            raise
        except exceptions.KVSError as exc:
            self._roll_back(others, txn_id, task, deadline, exc)
            raise
        steps.reach("after_commit")
        if not replicated:
            # As long as the intents are there, a failover that loses the
            # outcome loses the whole transaction, not half of it.
            raise exceptions.UnreplicatedError()
        self._apply(primary, others, txn_id, task, begun and self._lost.note(
            begun, txn_id, commit.flat(groups), side_writes))
        first = len(side_writes)
        return versions, replies[first:first + len(reads)]

    def _apply(self, primary, others, txn_id, task, noted):
        """Turn the intents of a committed transaction into records.

        Nobody waits for it, unless replicas are to have it: until then
        readers ask for the outcome.

        :param noted: the result of LostCommits.note, or None.
        """
        def applied(answers, replicated=True):
            # Otherwise a failover may bring intents back: they need the
            # outcome, and somebody to settle them.
            if replicated:
                self._leftovers.append(
                    self._steps.settler.expiry(primary.outcome_key(txn_id)))
                self._leftovers.append(self._queue.remove(task))
            # If intents are gone, a failover of their server has lost them.
            # Or another process aborted this transaction before its commit,
            # and a failover has lost that.
            lost = {partition for partition, answer in zip(others, answers)
                    if answer.verdict is not Verdict.COMMITTED}
            if noted and lost:
                self._lost.note_missing(noted, lost)

        self._steps.reach("before_apply")
        resolves = [
            recovery.resolving(partition, txn_id, True,
                               [change.field for change in mutations])
            for partition, mutations in others.items()]
        try:
            if self._steps.options.commit_replicas:
                applied(*self._steps.write(resolves))
            else:
                self._steps.store.post(resolves, applied)
        except exceptions.KVSError as exc:
            LOG.warning("Transaction %s is committed but not applied "
                        "everywhere: this is left to readers and "
                        "housekeeping: %s", txn_id.hex(), exc)
            return
        self._steps.reach("after_apply")

    def _roll_back(self, others, txn_id, task, deadline, cause):
        """Remove the intents of a transaction that cannot commit."""
        left_ms = (deadline - time.monotonic()) * 1000
        if (isinstance(cause, exceptions.StoreUnavailableError)
                and left_ms < self._steps.options.lifetime_ms / 2):
            # The caller has waited for the store long enough, and others
            # may do this soon.
            return
        try:
            self._steps.store.batch([
                recovery.resolving(
                    partition, txn_id, False,
                    [change.field for change in mutations])
                for partition, mutations in others.items()])
        except exceptions.KVSError as exc:
            LOG.warning("Could not roll back transaction %s: this is left "
                        "to housekeeping: %s", txn_id.hex(), exc)
            return
        self._leftovers.append(self._queue.remove(task))

    def _take_leftovers(self):
        leftovers = self._leftovers
        taken = []
        while leftovers:
            try:
                taken.append(leftovers.popleft())
            except IndexError:  # Another thread was faster.
                break
        return taken
