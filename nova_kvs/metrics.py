# SPDX-License-Identifier: Apache-2.0
"""Writes this process's counters to a file for Prometheus.

Off without the option ``metrics_directory``. A file for each process, since
services fork and a WSGI server's workers have no port of their own; a
node_exporter's textfile collector reads them. Nothing here raises: a service
does not fail for its metrics.
"""

import atexit
import collections
import contextlib
import glob
import itertools
import logging
import os
import re
import sys
import threading
import time

from nova_kvs import conf
from nova_kvs import observing

LOG = logging.getLogger(__name__)

#: Files that were not written for so many intervals belong to processes that
#: ended. Their ids would not tell: containers have ids of their own.
STALE_INTERVALS = 3

_STORE = (
    ("round_trips", "Round trips to the store."),
    ("commands", "Commands and scripts sent to the store."),
    ("bytes_out", "Bytes sent to the store."),
    ("bytes_in", "Bytes of the store's replies."),
    ("repeats", "Commands and scripts sent again, after a failover or so."),
    ("near", "Batches that went to a replica near by."),
    ("behind", "Answers of replicas that were behind what was known."),
    ("remembered", "Batches that the process answered from memory."))
_COORDINATOR = (
    ("commits", "Transactions committed."),
    ("conflicts", "Commits refused because others were first."),
    ("speculations", "Commits that rested on what the process remembered."),
    ("wrong_speculations", "Those of them that had to be run again."),
    ("multi_partition", "Commits that spanned partitions."),
    ("recovered", "Intents of other transactions applied or removed."),
    ("aborted", "Abandoned transactions of others that were aborted."),
    ("asked_again", "Reads of replicas that masters were asked again."),
    ("outdated", "Conflicts with what a replica did not have yet."),
    ("lost", "Commits reported as done that a failover has lost."),
    ("lost_unknown", "Commits of which it is unknown if one has lost them."),
    ("brought_back", "Lost commits that another failover has brought back."),
    ("applied_again", "Lost commits that were applied again."))
_DATABASE = (
    ("full_scans", "Tables that were read whole."),)

_CACHE = (
    ("hits", "Lookups of what the process remembered that was right still."),
    ("misses", "Lookups of what it did not remember, or had changed."))

#: Of this process: its Writer.
_writer = None
_lock = threading.Lock()


def _forget():
    """Have a forked process make its own.

    Its parent's thread stayed behind, and may have held the lock.
    """
    global _lock, _writer
    _lock, _writer = threading.Lock(), None


os.register_at_fork(after_in_child=_forget)


def watch(database, settings):
    """Write the counters of a database, and of its store, from now on.

    A process has one file, where the first database's settings say.

    :param database: nova_kvs.record.database.Database of this process.
    :param settings: nova_kvs.store.url.Settings.
    """
    global _writer
    if database.observer is None and (
            settings.metrics_directory or settings.slow_log_threshold):
        observing.Observer(database, settings.slow_log_threshold)
    if not settings.metrics_directory:
        return
    with _lock:
        if _writer is None:
            _writer = Writer(
                settings.metrics_directory, settings.metrics_interval)
            _writer.start()
        _writer.databases.add(database)


def program():
    """Return the name of the program that this process runs."""
    name = getattr(conf.CONF, "prog", None) or os.path.basename(sys.argv[0])
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII) or "python"


class Writer:
    """Writes the file of this process.

    :ivar databases: set of Databases to tell about.
    """

    def __init__(self, directory, interval_s):
        self.pid = os.getpid()
        self.databases = set()
        self._directory = directory
        self._interval_s = interval_s
        self._program = program()
        self._prefix = os.path.join(
            directory, "nova-kvs-%s-" % self._program)
        self.path = "%s%d.prom" % (self._prefix, self.pid)
        self._stopped = threading.Event()
        self._writing = threading.Lock()
        #: The last attempt failed: each fault is logged once.
        self._failing = False

    def start(self):
        """Write every interval, in a thread, until the process ends.

        Under eventlet it is a greenthread, as it uses nothing but what
        eventlet replaces.
        """
        threading.Thread(
            target=self._run, name="nova-kvs-metrics", daemon=True).start()
        atexit.register(self.stop)

    def _run(self):
        while not self._stopped.wait(self._interval_s):
            if os.getpid() != self.pid:
                # A greenthread that a fork has copied.
                return
            self.write()

    def write(self):
        """Write the file now, and remove those of ended processes."""
        try:
            import prometheus_client
        except ImportError:
            self._complain("it needs prometheus_client: install "
                           "nova-kvs[prometheus]")
            return
        registry = prometheus_client.CollectorRegistry()
        registry.register(self)
        try:
            with self._writing:
                if self._stopped.is_set():
                    return
                prometheus_client.write_to_textfile(self.path, registry)
            self._remove_stale()
        except OSError as error:
            self._complain(error)
        else:
            self._failing = False

    def _complain(self, reason):
        if not self._failing:
            LOG.error("No metrics are written to [nova_kvs] "
                      "metrics_directory %s: %s", self._directory, reason)
        self._failing = True

    def _remove_stale(self):
        limit = time.time() - STALE_INTERVALS * self._interval_s
        for path, _pid in self._files():
            try:
                if os.stat(path).st_mtime < limit:
                    os.unlink(path)
            except FileNotFoundError:
                # Another process was first.
                continue

    def _files(self):
        """Yield path and process id of each file of this program.

        With what write_to_textfile left when its process was killed.
        """
        for path in glob.glob("%s[0-9]*.prom*" % glob.escape(self._prefix)):
            pid = path[len(self._prefix):].partition(".")[0]
            if pid.isdigit():
                yield path, int(pid)

    def stop(self):
        """Stop, and remove the file, and those of processes that are gone.

        They are a service's workers: those of oslo.service end without a
        word, before their parent. A file that is another container's comes
        back with its next write.
        """
        if os.getpid() != self.pid:
            return
        self._stopped.set()
        with self._writing, contextlib.suppress(OSError):
            for path, pid in self._files():
                if pid == self.pid or not _is_there(pid):
                    os.unlink(path)

    def collect(self):
        """Yield the counters, as a collector of prometheus_client."""
        databases = list(self.databases)
        stores = {id(one.store): one.store for one in databases}.values()
        yield from self._counters("store_", _STORE, ("store",), [
            ((_name(store.url),), store.stats) for store in stores])
        for names, stats in (
                (_COORDINATOR, lambda one: one.coordinator.stats),
                (_DATABASE, lambda one: one.stats)):
            yield from self._counters("", names, ("store", "database"), [
                ((_name(one.store.url), one.name), stats(one))
                for one in databases])
        yield from self._observed(databases)

    def _observed(self, databases):
        """Yield what observers have seen, and the pools of connections."""
        from prometheus_client import core
        calls, commits = {}, {}
        errors, scans = collections.Counter(), collections.Counter()
        for one in databases:
            observer = one.observer
            if observer is None:
                continue
            name = _name(one.store.url)
            where = name, one.name
            # Views of one database, which differ in options, are added up.
            for function, histogram in list(observer.calls.items()):
                calls.setdefault((*where, function), []).append(histogram)
            commits.setdefault(where, []).append(observer.commits)
            for kind, count in list(observer.errors.items()):
                errors[*where, kind] += count
            if one.coordinator.stats.lost:
                errors[*where, "lost"] += one.coordinator.stats.lost
            for text, count in list(observer.scans.items()):
                scans[*where, text] += count
        operations, running, idle = _of_stores(databases, errors)
        own = self._program, str(self.pid)
        for name, text, labels, found in (
                ("store_operation", "Round trips to the store, by their "
                 "first operation.", ("operation",), operations),
                ("call", "Calls of database functions, and statements.",
                 ("database", "function"), calls),
                ("commit", "Commits.", ("database",), commits)):
            metric = core.HistogramMetricFamily(
                "nova_kvs_%s_seconds" % name, text,
                labels=("store", *labels, "program", "pid"))
            for values, histograms in found.items():
                metric.add_metric((*values, *own), *_buckets(histograms))
            yield metric
        for kind, name, text, labels, found in (
                (core.CounterMetricFamily, "errors", "Errors, by their kind.",
                 ("database", "kind"), errors),
                (core.CounterMetricFamily, "scans", "Tables read whole, by "
                 "the call or statement.", ("database", "statement"), scans),
                (core.GaugeMetricFamily, "store_batches_running",
                 "Round trips that are under way.", (), running),
                (core.GaugeMetricFamily, "store_idle_connections",
                 "Connections that wait for use.", ("server",), idle)):
            metric = kind("nova_kvs_" + name, text,
                          labels=("store", *labels, "program", "pid"))
            for values, total in found.items():
                metric.add_metric((*values, *own), total)
            yield metric

        yield from self._counters(
            "cache_", _CACHE, ("store", "database", "cache"), [
                ((_name(one.store.url), one.name, name), found)
                for one in databases
                for name, found in one.remembered.counted.items()])

    def _counters(self, prefix, names, labels, counted):
        """Yield a metric for each name.

        :param counted: list of (labels' values, object with the counters);
            those of the same values, which differ in options, are added up.
        """
        from prometheus_client import core
        for name, text in names:
            sums = {}
            for values, stats in counted:
                sums[values] = sums.get(values, 0) + getattr(stats, name)
            metric = core.CounterMetricFamily(
                "nova_kvs_%s%s" % (prefix, name), text,
                labels=(*labels, "program", "pid"))
            for values, total in sums.items():
                metric.add_metric(
                    (*values, self._program, str(self.pid)), total)
            yield metric


def _of_stores(databases, errors):
    """Return what observers of stores have seen, and idle connections.

    :param errors: Counter that gets theirs.
    :returns: dicts of (store, operation) -> histograms, (store,) -> batches
        that are under way, (store, server) -> idle connections.
    """
    stores = {one.store: one.observer.store for one in databases
              if one.observer is not None}
    operations = {}
    running, idle = collections.Counter(), collections.Counter()
    for store, observer in stores.items():
        name = _name(store.url)
        for kind, count in list(observer.errors.items()):
            errors[name, "", kind] += count
        for operation, histogram in list(observer.operations.items()):
            operations.setdefault((name, operation), []).append(histogram)
        running[name,] += observer.running
        idle.update({(name, server): count for server, count
                     in store.idle_connections().items()})
    return operations, running, idle


def _buckets(histograms):
    """Return buckets and sum of Histograms together, as Prometheus has it."""
    bounds = [*map(str, observing.BOUNDS_S), "+Inf"]
    counts = map(sum, zip(*[histogram.counts for histogram in histograms]))
    return (list(zip(bounds, itertools.accumulate(counts))),
            sum(histogram.total_s for histogram in histograms))


def _is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # Another user's.
        pass
    return True


def _name(url):
    """Return what of a URL names the servers, without the login."""
    return "%s://%s" % (url.driver, ",".join(
        "%s:%d" % node for node in url.nodes) or url.database)
