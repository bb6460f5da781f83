# SPDX-License-Identifier: Apache-2.0
"""Checks a database while it is in use, and repairs it.

A walk over all keys makes checks of them. A fault that a task in the
housekeeping queue will repair is no damage. Any other is looked for again when
the transactions in flight are decided: a grace period later, or at once if the
walk met no trace of a transaction of the last minute. Repairs are transactions
or scripts that check the state once more.

Memory: the keys of one round trip, and at most ``SUSPECTS`` checks.
"""

import collections
import itertools
import time

import msgpack

from nova_kvs import exceptions
from nova_kvs.inspection import checks
from nova_kvs.inspection import examination
from nova_kvs.inspection import keys
from nova_kvs.inspection import transaction_checks
from nova_kvs.inspection import walk
from nova_kvs import keyspace
from nova_kvs.record import housekeeping
from nova_kvs.record.indexes import covering_index
from nova_kvs.txn import by_intents

#: Faults that wait for their second check; more interrupt the walk.
SUSPECTS = 20000
#: Checks whose reads share a round trip.
CHUNK = 500
#: Walks over a database to repair it: a repair can show other damage, such as
#: the entries of a record that was removed.
ROUNDS = 5
#: Faults of a kind that a report lists, unless all are asked for.
DETAILS = 10
#: Added to the grace period, for clocks and slow commands.
_MARGIN_MS = 200


class Report:
    """The result of a run of fsck.

    :ivar keys: :ivar records: numbers of those read in one walk.
    :ivar found: kind -> number. :ivar repaired: kind -> number.
    :ivar details: list of dicts, the first ``DETAILS`` of each kind or all.
    :ivar pending: number of faults that the housekeeping of any process
        will repair.
    :ivar is_clean: True if nothing is wrong (any more).
    """

    def __init__(self, is_long=False):
        self._is_long = is_long
        self.keys = 0
        self.records = 0
        self.found = collections.Counter()
        self.repaired = collections.Counter()
        self.details = []
        self.pending = 0
        self.is_clean = True

    def add(self, check, fault, is_repaired):
        """Count a fault."""
        self.found[fault.kind] += 1
        self.repaired[fault.kind] += is_repaired
        if self._is_long or self.found[fault.kind] <= DETAILS:
            self.details.append({
                "kind": fault.kind, **check.describe(),
                "repaired": is_repaired})


class Fsck:
    """One run over one database.

    :param database: nova_kvs.record.database.Database.
    :param lifetime_ms: age from which a transaction counts as abandoned.
    :param quarantine: with it, damage is repaired; called with a dict that
        describes bytes which are about to be removed for good.
    :param progress: called with a text now and then.
    :param is_long: True to list every fault in the report.
    """

    def __init__(self, database, lifetime_ms, quarantine=None,
                 progress=None, is_long=False):
        self._context = checks.Context(database, lifetime_ms, quarantine)
        self._is_repairing = quarantine is not None
        self._progress = progress or (lambda text: None)
        self.report = Report(is_long)
        self._suspects = []
        self._suspected_at = 0.0

    def run(self):
        """Return the Report.

        :raises nova_kvs.exceptions.KVSError: if the store does not answer.
        """
        report = self.report
        for _ in range(ROUNDS if self._is_repairing else 1):
            report.keys = report.records = report.pending = 0
            found = sum(report.found.values())
            repaired = sum(report.repaired.values())
            self._round()
            report.is_clean = sum(report.found.values()) == found
            if report.is_clean or (
                    sum(report.repaired.values()) == repaired):
                break
        if self._is_repairing:
            self._progress("doing the housekeeping that is due")
            self._context.database.housekeep()
        return report

    def _round(self):
        context = self._context
        context.database.refresh_schema()
        is_quiet = True
        self._progress("counting the keys")
        total = sum(1 for _ in context.store.scan(
            keyspace.database_pattern(context.name)))
        examiner = examination.Examiner(context)
        outcomes = []
        for chunk in walk.keys(context.store, context.name):
            self.report.keys += len(chunk)
            self._look(examiner.of_keys(chunk))
            found = examiner.outcomes(chunk)
            outcomes += self._wrong(found)
            for pieces in walk.pieces(context.store, chunk):
                self._look(check for piece in pieces
                           for check in examiner.of_piece(piece))
            # Outcomes live for a minute.
            is_quiet = not found and not examiner.transactions and is_quiet
            # What has come meanwhile was not counted.
            self._progress("%d %%, keys: %d, records: %d, suspects: %d" % (
                min(99, 100 * self.report.keys // max(total, 1)),
                self.report.keys, examiner.records, len(self._suspects)))
            if len(self._suspects) >= SUSPECTS:
                self._settle()
            # More of them than transactions at work: the next run's.
            del outcomes[SUSPECTS:]
        self.report.records = examiner.records
        self._look(transaction_checks.Counter(context, table, highest)
                   for table, highest in examiner.highest.items())
        # An outcome may go only when no intent needs it any more.
        self._suspects += [
            check for check in outcomes
            if not self._is_repairing or (
                check.txn_id not in examiner.transactions)]
        self._settle(is_quiet)

    def _look(self, found):
        """Keep the checks that find a fault."""
        self._suspects += self._wrong(found)

    def _wrong(self, found):
        """Return the checks that find a fault, for the first time."""
        wrong = [check for check, _ in self._ask(found)]
        if wrong:
            self._suspected_at = time.monotonic()
        return wrong

    def _ask(self, found):
        """Yield (check, Fault) of the checks that find one."""
        context = self._context
        found = iter(found)
        while chunk := list(itertools.islice(found, CHUNK)):
            reads = [check.reads(context) for check in chunk]
            results = iter(context.reader.read(
                [read for wanted in reads for read in wanted]))
            for check, wanted in zip(chunk, reads):
                fault = check.verdict(
                    context, list(itertools.islice(results, len(wanted))))
                if fault is not None:
                    yield check, fault

    def _settle(self, is_quiet=False):
        """Look for the faults again, and repair those that are still there.

        :param is_quiet: True if nothing is known to be in flight.
        """
        suspects, self._suspects = self._unpromised(self._suspects), []
        if not suspects:
            return
        if not is_quiet and not all(check.IS_CERTAIN for check in suspects):
            self._wait(len(suspects))
        self._context.database.refresh_schema()
        before = suspects = self._unpromised(suspects)
        # A third time: repairs made since the second look show in this one,
        # and those that were due before it stood in the queue.
        for check, fault in self._ask(suspects):
            if before[check] == fault:
                self.report.add(check, fault, self._repair(check, fault))

    def _unpromised(self, suspects):
        """Run suspects again, and count those that housekeeping will repair.

        :returns: dict of check -> Fault of the other faults.
        """
        wrong = dict(self._ask(suspects))
        promised = self._promised({
            check.promise(fault) for check, fault in wrong.items()} - {None})
        left = {check: fault for check, fault in wrong.items()
                if check.promise(fault) not in promised}
        self.report.pending += len(wrong) - len(left)
        return left

    def _wait(self, count):
        deadline = self._suspected_at + (
            self._context.database.grace_ms + _MARGIN_MS) / 1000
        while (left := deadline - time.monotonic()) > 0:
            self._progress(
                "suspects: %d, looking again in %d s" % (count, left + 1))
            time.sleep(min(left, 1))

    def _repair(self, check, fault):
        if not self._is_repairing:
            return False
        try:
            is_done = check.repair(self._context, fault)
        except exceptions.UndeterminedError:
            is_done = False
        # If its state has changed, the repair of another fault may have
        # repaired this one.
        return is_done or not list(self._ask([check]))

    def _promised(self, wanted):
        """Return the set of the promises that the queue keeps."""
        found = set()
        if not wanted:
            return found
        queues = [
            keys.classify(keyspace.gc_key(self._context.name, bucket),
                          self._context.name)
            for bucket in range(keyspace.GC_BUCKETS)]
        for pieces in walk.pieces(self._context.store, queues):
            for piece in pieces:
                for member, _ in piece.pairs:
                    found.update(wanted.intersection(_promises(member)))
        return found


def _promises(member):
    """Return the promises that a task of the queue keeps."""
    try:
        kind, value, _ = msgpack.unpackb(member)
        if kind == housekeeping.INDEXES:
            return [promise for _, partition, field, buckets in value
                    for bucket, prefix, _ in buckets
                    for promise in ((bucket, prefix), covering_index.Place(
                        bucket, partition + field))]
        if kind == housekeeping.PARTITIONS:
            return [item[0] for item in value]
        if kind == by_intents.SETTLE:
            return [value[0]]
    except (ValueError, TypeError, IndexError,
            msgpack.exceptions.UnpackException):
        # Another check finds that.
        pass
    return []
