# SPDX-License-Identifier: Apache-2.0
"""Settles transactions of others: met in the way, or abandoned.

Aborting is safe at any time, since the commit script honours it; that only
intents older than a transaction's lifetime are aborted is for the sake of
those who are still at work. Age is measured by the clock of the server that
holds the intent.
"""

import logging
import typing

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict
from nova_kvs.txn import mutation

#: Life of the outcome of a transaction that has left nothing behind: longer
#: than any store repeats a script whose reply was lost.
OUTCOME_LIFE_MS = 60000
#: Life of an outcome "a": longer than a commit can be on its way.
ABORT_LIFE_MS = 600000

LOG = logging.getLogger(__name__)


class Lives(typing.NamedTuple):
    """How long what is known of transactions is kept.

    Longer than a commit is valid. So one that comes late meets the outcome,
    or finds that its time is over.
    """

    #: The longest time for which a commit is valid.
    valid_ms: int

    @property
    def outcome_ms(self):
        """Life of an outcome that no intent needs any more."""
        return max(OUTCOME_LIFE_MS, self.valid_ms)

    @property
    def abort_ms(self):
        """Life of an outcome "a" of others."""
        return max(ABORT_LIFE_MS, self.valid_ms)

    def may_be_over(self, valid_until_ms, now_ms):
        """Return whether a commit may have been done and be forgotten.

        Outcomes live longer than commits are valid. So there is some time
        after that in which the store still knows.

        :param valid_until_ms: of the Commit.
        :param now_ms: the time by its server's clock.
        """
        return now_ms > valid_until_ms - self.valid_ms + self.outcome_ms


def resolving(partition, txn_id, committed, fields=None):
    """Return the operation that applies or removes intents of a partition.

    All of them, so that what the partition remembers is true of all.

    :param committed: whether the transaction is.
    :param fields: those that it has staged there; None: if not known.
    """
    return operations.Resolve(
        partition.key, partition.index_key, partition.outcome_key(txn_id),
        txn_id, committed, OUTCOME_LIFE_MS, fields)


def is_committed(answer):
    """Return whether an outcome commits a transaction; None: undecided."""
    return None if answer is None else answer.verdict is Verdict.COMMITTED


class Recovery:
    """Settles the transactions of a database.

    :param store: nova_kvs.store.base.Store.
    :param lifetime_ms: age from which a transaction counts as abandoned.
    :param stats: counters ``recovered`` and ``aborted``.
    :param replicas: replicas that must have what was settled before the
        outcome may go.
    :param replica_timeout_ms: how long to wait for them.
    :param lives: Lives.
    """

    def __init__(self, store, lifetime_ms, stats, replicas=0,
                 replica_timeout_ms=0, lives=Lives(0)):
        self._store = store
        self._lifetime_ms = lifetime_ms
        self._stats = stats
        self._replicas = replicas
        self._replica_timeout_ms = replica_timeout_ms
        self.lives = lives

    def expiry(self, outcome_key):
        """Return the operation that lets an outcome go, once all is resolved.
        """
        return operations.SetLife(outcome_key, self.lives.outcome_ms)

    def ask(self, found):
        """Return what holds for the transactions of some intents.

        One round trip.

        :param found: list of (partition, field, intent as stored).
        :returns: ``(outcomes, old)``: dict of txn id -> whether it is
            committed, None if undecided, and dict of txn id -> outcome key
            for those that are older than the lifetime.
        """
        keys = {}
        starts = {}
        for partition, _, data in found:
            head = mutation.Intent.parse(data)
            txn_id = head.txn_id
            keys[txn_id] = keyspace.Partition(
                head.primary).outcome_key(txn_id)
            starts[txn_id, partition] = min(
                head.start_ms,
                starts.get((txn_id, partition), head.start_ms))
        partitions = list({partition for _, partition in starts})
        replies = self._store.batch(
            [operations.ReadOutcome(key) for key in keys.values()]
            + [operations.ReadClock(partition.key)
               for partition in partitions])
        outcomes = {txn_id: is_committed(reply)
                    for txn_id, reply in zip(keys, replies)}
        now_ms = dict(zip(partitions, replies[len(keys):]))
        old = {txn_id: keys[txn_id]
               for (txn_id, partition), start_ms in starts.items()
               if now_ms[partition] - start_ms >= self._lifetime_ms}
        return outcomes, old

    def abort(self, old, outcomes):
        """Abort those that are not decided; updates ``outcomes``."""
        undecided = {txn_id: key for txn_id, key in old.items()
                     if outcomes[txn_id] is None}
        if not undecided:
            return
        replies, replicated = self.decide(list(undecided.values()))
        if not replicated:
            # After a failover the commit might find no outcome and go
            # ahead, when its other intents are rolled back.
            return
        for txn_id, reply in zip(undecided, replies):
            outcomes[txn_id] = is_committed(reply)
            if not outcomes[txn_id]:
                self._stats.aborted += 1

    def resolve(self, found, outcomes):
        """Apply or remove those intents whose transaction is decided.

        And all others that these transactions have in the same partitions.
        Updates ``outcomes``: one that too few replicas have counts as
        undecided. A failover must not lose a commit when its other intents
        are applied, nor an abort when they are removed: its client may
        still send the commit.
        """
        self._confirm(found, outcomes)
        decided = {}
        for partition, _, data in found:
            txn_id = mutation.Intent.parse(data).txn_id
            if outcomes[txn_id] is not None:
                decided[partition, txn_id] = outcomes[txn_id]
        if not decided:
            return
        self._store.batch([
            resolving(partition, txn_id, committed)
            for (partition, txn_id), committed in decided.items()])
        self._stats.recovered += len(decided)

    def _confirm(self, found, outcomes):
        if not self._replicas:
            return
        keys = {}
        for _, _, data in found:
            head = mutation.Intent.parse(data)
            if outcomes[head.txn_id] is not None:
                keys[head.txn_id] = keyspace.Partition(
                    head.primary).outcome_key(head.txn_id)
        if not keys:
            return
        # Asked again, not only waited for: the server that told the outcome
        # may have failed since, and the new one has replicas, too.
        answers, replicated = self.decide(list(keys.values()))
        outcomes.update(
            zip(keys, map(is_committed, answers)) if replicated
            else dict.fromkeys(keys))

    def decide(self, outcome_keys):
        """Abort those of some transactions that are undecided.

        :returns: ``(answers, replicated)``: the outcomes that hold, of
            nova_kvs.store.operations.Answer, and whether enough replicas
            have all of them, also of those that were decided before.
        :raises nova_kvs.exceptions.KVSError: as ``Store.batch``.
        """
        items = [operations.AbortIfUndecided(key, self.lives.abort_ms)
                 for key in outcome_keys]
        if self._replicas:
            # What finds an outcome writes nothing that could be waited for.
            items += [operations.Fence(key) for key in outcome_keys]
        replies, replicated = self._write(items)
        return replies[:len(outcome_keys)], replicated

    def clear(self, found):
        """Get intents out of the way, where that is possible now.

        :param found: list of (partition, field, intent as stored).
        :returns: set of the ids of transactions that are at work still.
        :raises nova_kvs.exceptions.KVSError: as ``Store.batch``.
        """
        outcomes, old = self.ask(found)
        self.abort(old, outcomes)
        self.resolve(found, outcomes)
        return {txn_id for txn_id, outcome in outcomes.items()
                if outcome is None}

    def read_through(self, met):
        """Put into snapshots what committed intents say.

        Abandoned transactions are settled on the way; if that fails it is
        nothing to a reader.

        :param met: list of nova_kvs.txn.reading.Met.
        :raises nova_kvs.exceptions.KVSError: as ``Store.batch`` for reads.
        """
        found = [(item.partition, item.field, item.data) for item in met]
        outcomes, old = self.ask(found)
        if old:
            try:
                self.abort(old, outcomes)
                self.resolve(
                    [item for item in found
                     if mutation.Intent.parse(item[2]).txn_id in old],
                    dict(outcomes))
            except exceptions.KVSError as exc:
                LOG.warning("Could not settle abandoned transactions: %s",
                            exc)
        for item in met:
            head = mutation.Intent.parse(item.data)
            if outcomes[head.txn_id]:
                item.snapshot.apply(item.field, head, item.data)

    def settle(self, items):
        """Settle transactions whose clients did not: the queue's handler.

        :param items: list of ``[txn id, primary key, other partitions'
            keys]``, due: their lifetime has passed.
        :raises nova_kvs.exceptions.KVSError: as ``Store.batch``, and
            StoreUnavailableError if too few replicas have it: the items are
            to be settled again.
        """
        keys = [keyspace.Partition(primary).outcome_key(txn_id)
                for txn_id, primary, _ in items]
        outcomes, replicated = self.decide(keys)
        if replicated:
            # Not before: a failover that loses an outcome must not find
            # half of its intents gone.
            _, replicated = self._write([
                resolving(
                    keyspace.Partition(key), txn_id, is_committed(outcome))
                for (txn_id, _, others), outcome in zip(items, outcomes)
                for key in others])
        if not replicated:
            raise exceptions.StoreUnavailableError(
                "too few replicas acknowledged what was settled")
        # An outcome may only go when no intent needs it any more.
        self._store.batch([self.expiry(key) for key in keys])
        self._stats.recovered += len(items)

    def _write(self, items):
        """Send a batch and have them replicated as commits are.

        :returns: ``(replies, replicated)``.
        """
        wanted = self._replicas
        if not wanted:
            return self._store.batch(items), True
        replies = self._store.batch(
            items, wanted, self._replica_timeout_ms)
        return replies, replies.pop() >= wanted
