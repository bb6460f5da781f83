# SPDX-License-Identifier: Apache-2.0
"""Times what a process does with a database: for metrics and the slow log.

Only where an option asks for it (``metrics_directory``, ``slow_log``): else
nothing is wrapped, and nothing costs anything. Counts of several threads may
miss one another's now and then, as all counters here.
"""

import bisect
import collections
import contextvars
import logging
import time
import weakref

from nova_kvs import exceptions

LOG = logging.getLogger(__name__)

#: Upper bounds of a histogram's buckets, in seconds.
BOUNDS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,
            0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: Different statements, or calls, that are told apart; the rest is "other".
NAMES = 500
OTHER = "other"
#: Characters of a statement that are shown.
_TEXT = 300
#: Accesses of one call that the slow log tells.
_STEPS = 20

#: Store -> StoreObserver.
_stores = weakref.WeakKeyDictionary()
#: The call that this code runs for.
_current = contextvars.ContextVar("nova_kvs_call", default=None)
#: Of an error, by what to do about it -> its kind; the first that fits.
_KINDS = (
    (exceptions.DuplicateKeyError, "duplicate"),
    (exceptions.ConflictError, "conflict"),
    (exceptions.UnreplicatedError, "unreplicated"),
    (exceptions.UndeterminedError, "undetermined"),
    (exceptions.StoreUnavailableError, "connection"),
    (exceptions.StoreReplyError, "refused"),
    (exceptions.KVSError, OTHER))
_clock = time.perf_counter


class Histogram:
    """Counts how often something took how long."""

    __slots__ = ("counts", "total_s")

    def __init__(self):
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0

    def add(self, seconds):
        """Count one that took so long."""
        self.counts[bisect.bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


class _Histograms(dict):
    """Name -> Histogram, of a bounded number of names."""

    def __missing__(self, name):
        if len(self) >= NAMES:
            name = OTHER
        return self.setdefault(name, Histogram())


def kind_of(error):
    """Return the kind of one of our errors."""
    kind = next((kind for cls, kind in _KINDS if isinstance(error, cls)),
                OTHER)
    cause = getattr(error, "cause", None)
    if kind == "connection" and "Timeout" in type(cause).__name__:
        return "time-out"
    return kind


class StoreObserver:
    """Times the batches of a store.

    :ivar operations: name of a batch's first operation -> Histogram.
    :ivar errors: kind -> number.
    """

    def __init__(self, store):
        self.operations = _Histograms()
        self.errors = collections.Counter()
        #: Batches that are under way: connections in use.
        self.running = 0
        self._batch = store.batch
        store.batch = self._timed

    def _timed(self, items, *args, **kwargs):
        started = _clock()
        self.running += 1
        try:
            return self._batch(items, *args, **kwargs)
        except (exceptions.StoreUnavailableError,
                exceptions.StoreReplyError) as error:
            self.errors[kind_of(error)] += 1
            raise
        finally:
            self.running -= 1
            if items:
                self.operations[type(items[0]).__name__].add(
                    _clock() - started)


class _Call:
    """One call or statement, while it runs."""

    __slots__ = ("steps",)

    def __init__(self):
        self.steps = []


class Observer:
    """Times what is done with one Database.

    :param database: nova_kvs.record.database.Database.
    :param slow_s: duration in seconds from which a call or statement is
        logged with what it read; 0: none is.
    :ivar calls: name of a function of Nova's or Placement's, or a
        statement's first word -> Histogram.
    :ivar commits: Histogram of commits.
    :ivar errors: kind -> number, of commits.
    :ivar scans: call or statement -> number of full scans.
    """

    def __init__(self, database, slow_s=0.0):
        self.store = _stores.get(database.store)
        if self.store is None:
            self.store = _stores[database.store] = StoreObserver(
                database.store)
        self.calls = _Histograms()
        self.commits = Histogram()
        self.errors = collections.Counter()
        self.scans = collections.Counter()
        self._database = database
        self._slow_s = slow_s
        self._commit = database.coordinator.commit_and_read
        database.coordinator.commit_and_read = self._timed_commit
        if slow_s:
            self._begin = database.begin
            database.begin = self._traced_begin
        database.observer = self

    def _timed_commit(self, mutations, *args, **kwargs):
        started = _clock()
        try:
            return self._commit(mutations, *args, **kwargs)
        except exceptions.KVSError as error:
            self.errors[kind_of(error)] += 1
            raise
        finally:
            if mutations:
                self.commits.add(_clock() - started)

    def call(self, name, function, *args, text=None):
        """Run a function and time it.

        :param name: of the function of Nova's, or a statement's first word.
        :param text: the statement; None for a function.
        :returns: what the function returns.
        """
        stats = self._database.store.stats
        trips, sent = stats.round_trips, stats.commands
        scans = self._database.stats.full_scans
        running = _Call()
        token = _current.set(running)
        started = _clock()
        try:
            return function(*args)
        finally:
            seconds = _clock() - started
            _current.reset(token)
            self.calls[name].add(seconds)
            if self._database.stats.full_scans != scans:
                self._count_scans(
                    text or name, self._database.stats.full_scans - scans)
            if self._slow_s and seconds >= self._slow_s:
                # Of other threads, too: who is slow is seldom alone.
                LOG.warning(
                    "Slow: %s of database %s took %.3f s; meanwhile %d round "
                    "trips and %d commands; read: %s", _short(text or name),
                    self._database.name, seconds, stats.round_trips - trips,
                    stats.commands - sent, _plan(running.steps))

    def _count_scans(self, text, count):
        text = _short(text)
        if text not in self.scans and len(self.scans) >= NAMES:
            text = OTHER
        self.scans[text] += count

    def _traced_begin(self, *args, **kwargs):
        transaction = self._begin(*args, **kwargs)
        load = transaction.load

        def traced(accesses, *args, **kwargs):
            running = _current.get()
            if running is not None:
                running.steps.extend(map(describe, accesses))
            return load(accesses, *args, **kwargs)

        transaction.load = traced
        return transaction


def _short(text):
    text = " ".join(text.split())
    return text if len(text) <= _TEXT else text[:_TEXT - 3] + "..."


def _plan(steps):
    if not steps:
        return "nothing"
    counted = collections.Counter(steps)
    shown = ["%s%s" % (step, " (%d times)" % count if count > 1 else "")
             for step, count in list(counted.items())[:_STEPS]]
    if len(counted) > _STEPS:
        shown.append("and %d more" % (len(counted) - _STEPS))
    return "; ".join(shown)


def describe(access):
    """Return the text of an access path, without values.

    :param access: of nova_kvs.record.access.
    """
    # Not attributes: a tuple has an ``index`` of its own.
    fields = access._asdict()
    columns = fields.get("columns")
    if columns is None and "index" in fields:
        columns = (fields["index"],)
    count = next((len(fields[name]) for name in (
        "values", "keys", "tuples", "partitions") if name in fields), None)
    return "%s %s%s%s" % (
        fields.get("table"), type(access).__name__,
        " (%s)" % ", ".join(map(str, columns)) if columns else "",
        "" if count is None else ", %d asked for" % count)
