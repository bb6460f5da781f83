# SPDX-License-Identifier: Apache-2.0
"""Tells which acknowledged commits a store has lost in a failover.

A process remembers the keys of the commits that it reported as done a moment
ago. A commit leaves its outcome beside its records, in the same step; so
where another server has taken over, or one was lost and is back, the outcomes
of those commits say what it has: a commit whose outcome is not there is lost.
That costs nothing as long as no server is lost, and it does not matter how
many failovers there were. Outcomes are forgotten after a minute: of older
commits it is not known.

To ask is to abort what has no outcome, and to resolve what has. So the answer
is what holds from then on: a copy of a commit that is on its way still cannot
bring back what was told to be lost, and intents that came back with an older
state of their server are not forgotten. Another failover of that server may
lose this, too: then it is asked again, and what is there after all is told.
"""

import collections
import logging
import os
import socket
import sys
import threading
import time

from nova_kvs import exceptions
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict
from nova_kvs.txn import loss_reports
from nova_kvs.txn import mutation
from nova_kvs.txn import recovery

#: Commits that are remembered, and for how long.
REMEMBERED = 4096
REMEMBERED_S = 120
#: Age up to which the outcome of a commit is not forgotten, for sure: clocks
#: of servers may differ by the rest of a minute.
CERTAIN_S = recovery.OUTCOME_LIFE_MS / 1000 - 10
#: Commits asked for in one round trip.
CHUNK = 256
#: Seconds between two looks, and until one is tried again that a silent store
#: has ended, while nothing else is heard of the servers: somebody's call waits
#: for it.
AGAIN_S = 1
SILENT_AGAIN_S = 10
#: Bytes that are remembered: the names of changed fields, at what they take in
#: memory, and the values, if these are to be applied again.
REMEMBERED_BYTES = 4 << 20
FIELD_BYTES = 200
#: Keys that a report names.
NAMED = 20

LOG = logging.getLogger(__name__)


class Done:
    """A commit that was reported as done.

    :ivar servers: dict of partition -> the server that has acknowledged its
        part, or has told since whether it has that: see Store.incarnation.
        None: none has. The first partition is the primary.
    :ivar fields: list of (partition, field).
    :ivar told: partitions that were told to lack it.
    :ivar is_unknown: whether it was told that this is not known.
    """

    __slots__ = ("sent_at", "sent_ms", "txn_id", "servers", "fields",
                 "mutations", "entries", "size", "told", "is_unknown")

    def __init__(self, sent_at, sent_ms, txn_id, servers, mutations, entries,
                 keeps):
        self.sent_at = sent_at
        #: The same by the servers' clock, if that was known.
        self.sent_ms = sent_ms
        self.txn_id = txn_id
        self.servers = servers
        self.fields = [(change.partition, change.field)
                       for change in mutations
                       if change.value is not mutation.LOCK]
        self.mutations = mutations if keeps else None
        self.entries = entries if keeps else None
        self.size = FIELD_BYTES * len(mutations)
        if keeps:
            self.size += sum([len(change.value) for change in mutations
                              if type(change.value) is bytes])
        self.told = set()
        self.is_unknown = False

    @property
    def primary(self):
        """The partition whose outcome decides about the others' intents."""
        return next(iter(self.servers))

    def decided_in(self, partition):
        """Return the changed partitions of which one keeps the outcome.

        A commit in one step leaves one outcome for all of them.
        """
        changed = {changed for changed, _ in self.fields}
        return changed if len(self.servers) == 1 else changed & {partition}

    def keys(self, partitions):
        """Return what it changed in some partitions, as text."""
        return ["%s %s" % (_text(partition.key), _text(field))
                for partition, field in self.fields
                if partition in partitions]


class Found:
    """The result of a look.

    :ivar lost: list of (Done, set of the partitions that lack it by now).
    :ivar back: the same of those that were told to lack it, and have it.
    :ivar whole: number of those back of which nothing is lost any more.
    :ivar unknown: list of Done.
    :ivar again: number of those lost of which other parts were told before.
    :ivar kept: incarnations of servers of which something is there.
    """

    def __init__(self):
        self.lost = []
        self.back = []
        self.whole = 0
        self.unknown = []
        self.again = 0
        self.kept = set()


class LostCommits:
    """The latest commits of a process to one database. Safe for threads.

    :param store: nova_kvs.store.base.Store.
    :param database: the database's name.
    :param settler: nova_kvs.txn.recovery.Recovery.
    :param stats: counters ``lost``, ``lost_unknown``, ``brought_back``,
        ``applied_again``.
    :param commit: function of mutations and entries that commits them, to
        apply lost commits again; None: they stay lost.
    """

    def __init__(self, store, database, settler, stats, commit=None):
        self._store = store
        self._database = database
        self._settler = settler
        self._stats = stats
        self._commit = commit
        self._forget()

    def _forget(self):
        self._pid = os.getpid()
        self._done = collections.deque()
        self._size = 0
        #: When the newest commit was sent that was dropped for want of room.
        self._dropped_at = None
        self._looking = threading.Lock()
        self._seen = self._tried = self._store.successions
        self._look_at = self._again_at = 0.0

    # Commits ----------------------------------------------------------------

    def begin(self, partitions, now_ms):
        """Return what ``note`` needs to know, before a commit is sent.

        :param partitions: those with an outcome, the primary first.
        :param now_ms: the time by the servers' clock; None if not known.
        """
        store = self._store
        return time.monotonic(), now_ms, store.successions, {
            partition: store.incarnation(partition.key)
            for partition in partitions}

    def note(self, begun, txn_id, mutations, entries):
        """Remember a commit that is about to be reported as done.

        :param begun: what ``begin`` returned.
        :returns: what ``note_missing`` needs to know.
        """
        if self._pid != os.getpid():
            # Forked: the parent tells of what it has committed.
            self._forget()
        sent_at, sent_ms, successions, servers = begun
        done = self._done
        while done and (
                len(done) >= REMEMBERED or self._size > REMEMBERED_BYTES
                or done[0].sent_at < sent_at - REMEMBERED_S):
            try:
                dropped = done.popleft()
            except IndexError:  # Another thread was faster.
                break
            self._size -= dropped.size
            if dropped.sent_at > sent_at - CERTAIN_S:
                self._dropped_at = dropped.sent_at
        added = Done(sent_at, sent_ms, txn_id, servers, mutations, entries,
                     self._commit is not None)
        self._size += added.size
        done.append(added)
        if successions != self._store.successions:
            # Perhaps somebody has looked while this was under way.
            self._seen = None
        return added

    def note_missing(self, done, partitions):
        """Take in that some partitions lack their part of a commit.

        :param done: what ``note`` returned.
        """
        done.servers.update(dict.fromkeys(partitions))
        self._seen = None

    # Losses -----------------------------------------------------------------

    def look(self):
        """Tell of lost commits, if a server was lost since the last look.

        Raises nothing; without news it costs nothing.
        """
        successions = self._store.successions
        if successions == self._seen or self._pid != os.getpid():
            return
        now = time.monotonic()
        if now < self._look_at or (
                successions == self._tried and now < self._again_at):
            return
        if not self._looking.acquire(blocking=False):
            return
        found = Found()
        try:
            # What comes meanwhile is looked at again.
            self._seen = self._tried = successions
            self._look_at = now + AGAIN_S
            try:
                self._find(found)
            except exceptions.KVSError as exc:
                self._seen = None
                self._again_at = time.monotonic() + SILENT_AGAIN_S
                LOG.warning("Which commits a failover has lost will be asked "
                            "again: %s", exc)
            except BaseException:
                # Of a timeout in the caller's thread, say: the rest is left to
                # who calls next.
                self._seen = None
                raise
            finally:
                self._tell(found)
        finally:
            self._looking.release()

    def _find(self, found):
        """Ask for the outcomes of all commits on servers that were lost."""
        recent, old = {}, {}
        now = time.monotonic()
        for done in list(self._done):
            age_s = now - done.sent_at
            suspicious = self._suspicious(done)
            if suspicious and age_s < CERTAIN_S:
                recent[done] = suspicious
            elif suspicious and age_s < REMEMBERED_S:
                old[done] = suspicious
        chunk = list(recent)
        for first in range(0, len(recent), CHUNK):
            self._ask({done: recent[done]
                       for done in chunk[first:first + CHUNK]}, found)
        # What a server has kept is all that it did up to some moment. And one
        # that is back has its own disk, with what is as old as this.
        for done, suspicious in old.items():
            if any(before is not None and before not in found.kept
                   and partition not in done.told
                   and self._store.is_replaced(before)
                   for partition, (before, _) in suspicious.items()):
                self._note_unknown(done, found)
            else:
                done.servers.update(_present(suspicious))
        if found.lost and self._dropped_at is not None and (
                found.lost[0][0] is chunk[0]
                and now - self._dropped_at < CERTAIN_S):
            LOG.error(
                "Database %s: a failover may have lost more commits than "
                "are told: no more than %d are remembered",
                self._database, REMEMBERED)
            self._dropped_at = None

    def _suspicious(self, done):
        """Return the parts whose server is not the one that told of them.

        :returns: dict of partition -> (that server, the present one).
        """
        if done.is_unknown:
            return {}
        suspicious = {}
        for partition, before in list(done.servers.items()):
            server = self._store.incarnation(partition.key)
            if server is not before:
                suspicious[partition] = before, server
        return suspicious

    @staticmethod
    def _note_unknown(done, found):
        done.is_unknown = True
        found.unknown.append(done)

    def _ask(self, chunk, found):
        """Add to ``found`` what servers say of some commits.

        The outcome in the primary partition decides about the intents that
        are not applied in the others.

        :param chunk: dict of Done -> its suspicious parts.
        """
        missing = {}
        asked = [(done, done.primary) for done, suspicious in chunk.items()
                 if done.primary in suspicious]
        if asked:
            answers, _ = self._settler.decide([
                primary.outcome_key(done.txn_id) for done, primary in asked])
            self._sort(chunk, asked, answers, missing, found)
        asked = [
            (done, partition) for done, suspicious in chunk.items()
            for partition in list(done.servers)[1:]
            # Where the primary's server was lost it may have lost somebody's
            # abort, too, before it committed: then the intents here had been
            # removed.
            if partition in suspicious or done.primary in suspicious]
        if asked:
            # A failover may have lost no more than that intents were applied.
            # Nobody would do that again when the outcome has gone.
            answers = self._store.batch([
                recovery.resolving(
                    partition, done.txn_id, done not in missing
                    and done.primary not in done.told)
                for done, partition in asked])
            self._sort(chunk, asked, answers, missing, found)
        is_old = self._old(missing)
        for done, suspicious in chunk.items():
            # Those of before they were asked: if another one has answered,
            # it is asked again.
            done.servers.update(_present(suspicious))
        for done, partitions in missing.items():
            lost = set().union(
                *map(done.decided_in, partitions)) - done.told
            if is_old[done]:
                if lost:
                    self._note_unknown(done, found)
                continue
            if lost:
                found.again += bool(done.told)
                found.lost.append((done, lost))
            done.told.update(partitions, lost)

    @staticmethod
    def _sort(chunk, asked, answers, missing, found):
        """Take in the answers of servers about parts of commits.

        :param chunk: as of ``_ask``.
        :param asked: list of (Done, partition).
        :param missing: gets Done -> partitions that lack it.
        :param found: gets the servers that do not, and what is there that
            was told to be lost.
        """
        for (done, partition), answer in zip(asked, answers):
            if answer.verdict is not Verdict.COMMITTED:
                missing.setdefault(done, set()).add(partition)
                continue
            if partition in chunk[done]:
                found.kept.add(chunk[done][partition][0])
            if partition in done.told:
                back = done.decided_in(partition)
                done.told -= {partition, *back}
                if back:
                    found.back.append((done, back))
                    found.whole += not done.told

    def _old(self, missing):
        """Return if outcomes may have been forgotten before they were asked.

        By the servers' clocks, too: while a machine is suspended its own
        stands still.

        :param missing: dict of Done -> partitions.
        :returns: dict of Done -> bool.
        """
        if not missing:
            return {}
        clocks = self._store.batch([
            operations.ReadClock(done.primary.key)
            for done in missing])
        now = time.monotonic()
        return {
            done: now - done.sent_at >= CERTAIN_S
            or done.sent_ms is not None
            and now_ms - done.sent_ms >= 1000 * CERTAIN_S
            for done, now_ms in zip(missing, clocks)}

    def _tell(self, found):
        """Log, count and store what was found, and apply it again."""
        for done, partitions in found.back:
            LOG.warning(
                "Database %s: another failover has brought back what was told "
                "to be lost of transaction %s: %s", self._database,
                done.txn_id.hex(), ", ".join(done.keys(partitions)))
        self._stats.brought_back += found.whole
        if not found.lost and not found.unknown:
            return
        lost = len(found.lost) - found.again
        self._stats.lost += lost
        self._stats.lost_unknown += len(found.unknown)
        now = time.monotonic()
        names = []
        for done, partitions in found.lost:
            keys = done.keys(partitions)
            names += keys
            LOG.error(
                "Database %s: a failover has lost transaction %s, which was "
                "reported as committed %.1f s ago: %s", self._database,
                done.txn_id.hex(), now - done.sent_at, ", ".join(keys))
        for done in found.unknown:
            LOG.warning(
                "Database %s: whether a failover has lost transaction %s, "
                "which was committed %.1f s ago, is unknown: %s",
                self._database, done.txn_id.hex(), now - done.sent_at,
                ", ".join(done.keys(done.servers)))
        applied = sum(self._applies_again(done, partitions)
                      for done, partitions in found.lost)
        self._stats.applied_again += applied
        loss_reports.store_report(self._store, self._database, {
            "at": int(time.time()), "lost": lost,
            "unknown": len(found.unknown), "applied_again": applied,
            "process": "%s %s %d" % (
                socket.gethostname(), os.path.basename(sys.argv[0]),
                os.getpid()),
            "keys": names[:NAMED]})

    def _applies_again(self, done, partitions):
        """Apply a lost commit again.

        :returns: whether that was possible, and wanted.
        """
        if self._commit is None:
            return False
        try:
            self._commit([change for change in done.mutations
                          if change.partition in partitions], done.entries)
        except exceptions.KVSError as exc:
            LOG.error("Database %s: lost transaction %s is not applied "
                      "again: %s", self._database, done.txn_id.hex(), exc)
            return False
        LOG.warning("Database %s: lost transaction %s is applied again",
                    self._database, done.txn_id.hex())
        return True


def _present(suspicious):
    """Return the present servers of suspicious parts."""
    return {partition: server
            for partition, (_, server) in suspicious.items()}


def _text(data):
    return str(data)[2:-1]
