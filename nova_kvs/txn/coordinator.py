# SPDX-License-Identifier: Apache-2.0
"""Reads and commits: what the layers above call."""

import dataclasses
import time
import typing

from nova_kvs import cache
from nova_kvs import exceptions
from nova_kvs.store import base
from nova_kvs.store import freeing
from nova_kvs.txn import at_once
from nova_kvs.txn import by_intents
from nova_kvs.txn import commit
from nova_kvs.txn import lost_commits
from nova_kvs.txn import mutation
from nova_kvs.txn import queue as housekeeping
from nova_kvs.txn import recovery
from nova_kvs.txn import validation

#: Named points of a commit, in order; one in one step, without anything to
#: stage before it, passes the third and fourth.
FAILPOINTS = ("before_prewrite", "after_prewrite", "before_commit",
              "after_commit", "before_apply", "after_apply")

#: Seconds for which a master's "not found" is remembered.
MISSED_S = 1


@dataclasses.dataclass(slots=True)
class Stats:
    """Counters of a coordinator."""

    commits: int = 0
    #: Commits refused because others were first, unique keys included.
    conflicts: int = 0
    #: Commits that rested on what the process remembered instead of a read.
    speculations: int = 0
    #: Refused speculations: what was remembered was out of date.
    wrong_speculations: int = 0
    #: Commits that spanned partitions.
    multi_partition: int = 0
    #: Applications or removals of other transactions' intents.
    recovered: int = 0
    #: Other transactions aborted because they were abandoned.
    aborted: int = 0
    #: Reads that may lag that masters were asked again, see ``read``.
    asked_again: int = 0
    #: Commits among them of what rested on a replica that was behind.
    outdated: int = 0
    #: Commits that were reported as done and that a failover has lost, those
    #: of which that is not known, lost ones that another failover has brought
    #: back as a whole, and those that were applied again.
    lost: int = 0
    lost_unknown: int = 0
    brought_back: int = 0
    applied_again: int = 0


class Options(typing.NamedTuple):
    """The options of commits."""

    lifetime_ms: int
    side_write_life_ms: int
    commit_replicas: int
    replica_timeout_ms: int
    atomic: bool
    failpoint: typing.Callable | None


class Coordinator:
    """Reads and commits records of a database. Safe for threads.

    :param store: nova_kvs.store.base.Store.
    :param database: the database's name.
    :param lifetime_ms: age from which a transaction that spans partitions
        counts as abandoned; the same in every process.
    :param commit_replicas: replicas that must have a commit, on each server
        concerned, before it is reported as done.
    :param replica_timeout_ms: how long to wait for them.
    :param side_write_life_ms: how long after side writes were sent the commit
        that they are for may be sent, before housekeeping takes it for
        decided.
    :param atomic: whether the store is ATOMIC: a commit is one step,
        however many partitions it concerns.
    :param failpoint: for tests: called with each of ``FAILPOINTS`` when it
        is reached.
    :param reapplies: whether commits that a failover has lost are applied
        again where what they changed is as they found it.
    :ivar queue: nova_kvs.txn.queue.Queue of the database, with the
        settling of abandoned transactions registered.
    :ivar recovery: nova_kvs.txn.recovery.Recovery of the database.
    :ivar stats: Stats.
    """

    def __init__(self, store, database, *, lifetime_ms=10000,
                 commit_replicas=0, replica_timeout_ms=1000,
                 side_write_life_ms=50000, atomic=False, failpoint=None,
                 reapplies=False):
        self.store = store
        self._atomic = atomic
        characteristics = getattr(store, "CHARACTERISTICS", ())
        self._validates = base.Characteristics.VALIDATES in characteristics
        self.stats = Stats()
        #: Read -> when its master had nothing for it.
        self._missed = cache.Cache(cache.MISSING)
        self.queue = housekeeping.Queue(store, database)
        self.recovery = recovery.Recovery(
            store, lifetime_ms, self.stats, commit_replicas,
            replica_timeout_ms,
            recovery.Lives(max(lifetime_ms, side_write_life_ms)))
        self.queue.register(by_intents.SETTLE, self.recovery.settle)
        self._lost = None
        if base.Characteristics.REPLICAS in characteristics:
            self._lost = lost_commits.LostCommits(
                store, database, self.recovery, self.stats,
                self.commit if reapplies else None)
        self._steps = commit.Steps(store, self.recovery, Options(
            lifetime_ms, side_write_life_ms, commit_replicas,
            replica_timeout_ms, atomic, failpoint))
        self._at_once = at_once.AtOnce(self._steps, self._lost)
        self._by_intents = by_intents.ByIntents(
            self._steps, self.queue, self._lost)

    def learn_clock(self, server_ms):
        """Take in what a server's clock shows, as a ClockRead tells.

        The first commit of a process that heard of none asks for it.
        """
        self._steps.clock.learn(server_ms)

    def tell_losses(self):
        """Tell which commits are lost, if a server was lost just now.

        They are logged, counted and reported in the database. Reads and
        commits do so, too. Without a loss it costs nothing.
        """
        if self._lost is not None:
            self._lost.look()

    def read(self, reads, may_lag=False):
        """Return what is committed: one round trip.

        One more, for all reads together, if intents are met; never waits
        for another transaction. Each partition's answer is one snapshot of
        it; those of several are not of the same moment.

        :param reads: sequence of PartitionRead, FieldsRead, IndexRead and
            MembersRead.
        :param may_lag: whether the answers may be behind, as for
            ``Store.batch``. Where one may miss what its reader was told of,
            or has intents, whose outcomes only masters tell for sure, the
            master is asked again.
        :returns: list of their results, in order.
        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer.
        :raises nova_kvs.exceptions.CorruptRecordError: if a record has no
            version.
        """
        if not may_lag:
            results = self.results(
                reads, self.store.batch([read.item() for read in reads]))
            self.tell_losses()
            return results
        replies = self.store.batch(
            [read.item() for read in reads], may_lag=True)
        results = []
        again = []
        for number, (read, reply) in enumerate(zip(reads, replies)):
            met = []
            results.append(read.result(reply, met))
            if met or not self.store.confirms_nothing and (
                    read.is_missing(results[-1]) and self._is_news(read)):
                again.append(number)
        if again:
            self.stats.asked_again += len(again)
            for number, result in zip(again, self.read(
                    [reads[number] for number in again])):
                results[number] = result
                if reads[number].is_missing(result):
                    self._missed[reads[number]] = time.monotonic()
        self.tell_losses()
        return results

    def _is_news(self, read):
        """Return whether masters were not asked just now.

        A replica that answers has at least what they had then.
        """
        asked_at = self._missed.get(read)
        self._missed.trim()
        return asked_at is None or time.monotonic() > asked_at + MISSED_S

    def results(self, reads, replies):
        """Return the results of reads that the store has answered.

        :param replies: to the items of ``reads``.
        :raises nova_kvs.exceptions.KVSError: as ``read``.
        """
        met = []
        results = [
            read.result(reply, met) for read, reply in zip(reads, replies)]
        if met:
            self.recovery.read_through(met)
        return results

    def commit(self, mutations, side_writes=()):
        """Apply every mutation, or none: ``commit_and_read`` without reads.

        :returns: dict of (partition, field) -> new version, 0 for a delete.
        """
        return self.commit_and_read(mutations, side_writes, ())[0]

    def validate(self, verified):
        """Return if what a transaction without writes has read is the same.

        Then there was one moment at which all of it was so. One round trip;
        waits for transactions that are changing some of it.

        :param verified: as for ``commit_and_read``.
        :raises nova_kvs.exceptions.ConflictError: if it is not.
        :raises nova_kvs.exceptions.StoreUnavailableError: if the store does
            not answer.
        """
        try:
            self._steps.validate(validation.Validation(verified))
        except exceptions.ConflictError:
            self.stats.conflicts += 1
            raise

    def commit_and_read(self, mutations, side_writes, reads, speculation=None,
                        verified=(), serializable=False):
        """Apply every mutation, or none, and read in the same round trips.

        :param mutations: sequence of Mutation, not two for one field.
        :param side_writes: of Add, Raise and PutField of
            nova_kvs.store.operations: global index entries, minimum versions,
            included columns and tasks. They are added, and replicated if the
            commit is, at the commit point or before it. Then they may stay
            when the commit fails.
        :param reads: as for ``read``, of other partitions. They see what is
            committed shortly before or after this transaction.
        :param speculation: nova_kvs.txn.reading.Speculation: the assumed
            content of the mutations' partition, which must be so at the
            commit.
        :param verified: pairs of a read and its result: what was read of
            replicas or memory. It is read again before the commit point, of
            masters, and must be the same. What the transaction writes is
            then as if it had been read there at that moment.
        :param serializable: ``verified`` is all that the transaction has
            read, and is to be so when nobody else can write any more what
            it writes: of two that each read what the other one writes, one
            is refused. Without anything verified there is no difference.
        :returns: dict of (partition, field) -> new version, 0 for a delete,
            and the list of the reads' results.
        :raises nova_kvs.exceptions.ConflictError: if a version or something
            verified differs, or another transaction is in the way; nothing
            was applied.
        :raises nova_kvs.exceptions.SpeculationFailedError: if the speculation
            is wrong, or cannot be proved: the mutations are not all of its
            partition, or there are none; nothing was applied.
        :raises nova_kvs.exceptions.FloorError: if an insert that
            ``uses_floor`` is not above the floor; nothing was applied.
        :raises nova_kvs.exceptions.DuplicateKeyError: the ``duplicate`` of
            a mutation; nothing was applied.
        :raises nova_kvs.exceptions.StoreUnavailableError: nothing was
            applied.
        :raises nova_kvs.exceptions.UndeterminedError: if the store fell
            silent before it told.
        :raises nova_kvs.exceptions.UnreplicatedError: if it was applied,
            but not on ``commit_replicas`` replicas.
        """
        groups = {}
        for change in mutations:
            group = groups.get(change.partition)
            if group is None:
                groups[change.partition] = [change]
            else:
                group.append(change)
        if mutations and not freeing.is_freeing() and all(
                change.value is mutation.DELETE for change in mutations):
            with freeing.freeing_memory():
                return self._commit_groups(
                    groups, side_writes, reads, speculation, verified,
                    serializable)
        return self._commit_groups(
            groups, side_writes, reads, speculation, verified,
            serializable)

    def _commit_groups(self, groups, side_writes, reads, speculation, verified,
                       serializable):
        """Commit mutations that are grouped by their partitions."""
        if groups:
            self._steps.hear(next(iter(groups)).key)
        in_one_step = len(groups) == 1 or self._atomic
        if speculation is not None and not (
                in_one_step and speculation.read.partition in groups):
            # What is only read of a partition, its commit does not prove.
            raise exceptions.SpeculationFailedError()
        stats = self.stats
        stats.speculations += speculation is not None
        try:
            stats.multi_partition += len(groups) > 1
            if serializable and verified and groups and self._validates:
                versions, replies = self._at_once.commit_validated(
                    groups, side_writes, reads, verified)
            elif serializable and verified and groups:
                versions, replies = self._by_intents.commit(
                    groups, side_writes, reads, verified, True)
            elif groups and in_one_step:
                versions, replies = self._at_once.commit(
                    groups, side_writes, reads, speculation, verified)
            elif groups:
                versions, replies = self._by_intents.commit(
                    groups, side_writes, reads, verified)
            else:
                if side_writes:
                    self.store.batch(side_writes)
                return {}, self.read(reads) if reads else []
        except exceptions.SpeculationFailedError:
            stats.wrong_speculations += 1
            raise
        except (exceptions.ConflictError, exceptions.DuplicateKeyError) as exc:
            stats.conflicts += 1
            if isinstance(exc, exceptions.ReplicaLaggedError):
                stats.outdated += 1
            raise
        stats.commits += 1
        self.tell_losses()
        if not reads:
            return versions, []
        try:
            if replies is None:
                return versions, self.read(reads)
            return versions, self.results(reads, replies)
        except exceptions.StoreUnavailableError as exc:
            # That would tell that nothing was applied.
            raise exceptions.UndeterminedError(
                "the commit is applied, but what was to be read along with "
                "it is not known", cause=exc) from exc
