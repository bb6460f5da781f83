# SPDX-License-Identifier: Apache-2.0
"""Runs of the black-box suite: clients, nemeses, and what comes of it."""

import collections
import glob
import json
import os
import random
import tempfile
import time

from nova_kvs.record import database as databases
from tests.fault.blackbox import checker
from tests.fault.blackbox import client
from tests.fault import fleet
from tests import fixtures

#: Options under which everything that is kept for a while is kept for a
#: short time.
OPTIONS = {"transaction_lifetime": 1, "request_timeout": 2}


class Run:
    """One run: a database, its clients, and nemeses one after the other.

    :param cluster: tests.fault.blackbox.nemeses.Cluster.
    :param database: name.
    :param level: isolation level of all transactions.
    :param options: of the connection's URL.
    """

    def __init__(self, cluster, database, level, seed, clients=4, **options):
        self.cluster = cluster
        self.database = database
        self.level = level
        self.choose = random.Random(seed)
        self.pause_s = 12.0
        self.url = cluster.url(database, **{**OPTIONS, **options})
        self.processes = [None] * clients
        self.nemeses = collections.Counter()
        self._seed = seed
        self._started = 0
        self._directory = tempfile.TemporaryDirectory(prefix="blackbox-")

    def start(self, number):
        """Start a client in the place of another one."""
        self._started += 1
        process = self.processes[number] = fleet.context.Process(
            target=client.work, daemon=True, args=(
                self.url, self.level, "%d-%d" % (self._seed, self._started),
                self._file("%d.log" % self._started), self._file("stop")))
        process.start()

    def _has_begun(self, number):
        name = self._file("%d.log" % number)
        return os.path.exists(name) and os.path.getsize(name)

    def _file(self, name):
        return os.path.join(self._directory.name, name)

    def work(self, seconds, choices):
        """Let clients work, and some nemeses at them.

        :param choices: of nemeses; each comes at least once.
        """
        client.fill(self.url)
        for number in range(len(self.processes)):
            self.start(number)
        for number in range(1, self._started + 1):
            fixtures.wait_for(
                lambda: self._has_begun(number),
                "client %d works" % number, fleet.PATIENCE_S)
        until = time.monotonic() + seconds
        waiting = list(choices)
        self.choose.shuffle(waiting)
        while waiting or time.monotonic() < until:
            nemesis = waiting.pop() if waiting else (
                self.choose.choice(choices))
            self.nemeses[nemesis.__name__] += 1
            nemesis(self)
            time.sleep(self.choose.random())
        open(self._file("stop"), "w").close()
        for process in self.processes:
            process.join(fleet.PATIENCE_S)

    def stop(self):
        """End the processes that are left."""
        for process in self.processes:
            if process is not None and process.exitcode is None:
                process.kill()
                process.join()

    def result(self):
        """Return the Result once everything is whole."""
        self.cluster.wait_healthy()
        database = databases.open_database(self.url)
        time.sleep(2 * OPTIONS["transaction_lifetime"])
        database.housekeep()
        return Result(self._read_log(), client.read_all(self.url))

    def _read_log(self):
        lines = {}
        for name in glob.glob(os.path.join(self._directory.name, "*.log")):
            with open(name) as file:
                for text in file:
                    if text.endswith("\n"):
                        line = json.loads(text)
                        lines[line["name"]] = line
        return list(lines.values())


class Result:
    """Findings of a run.

    :param lines: of the clients' logs, one a transaction.
    :param rows: of all tables at the end, by the table's name.
    :ivar anomalies: Counter, by name.
    :ivar counts: Counter of transactions by status.
    :ivar lost: number of transactions that were reported committed of which
        something is not there.
    """

    def __init__(self, lines, rows):
        self.anomalies = collections.Counter()
        self.examples = {}
        self.counts = collections.Counter(
            line.get("status", checker.UNKNOWN) for line in lines)
        self.lost = 0
        by_work = collections.defaultdict(list)
        for line in lines:
            line.setdefault("status", checker.UNKNOWN)
            by_work[line["work"]].append(line)
        self._check_lists(by_work["lists"], rows)
        self._check_bank(by_work["transfer"], by_work["balances"], rows)
        self._check_names(by_work["names"], rows["name"])
        self._check_roles(rows["role"])

    def _check_lists(self, lines, rows):
        transactions = [
            checker.Transaction(
                line["begin"], line.get("end"), line["status"],
                [(kind, key, tuple(value) if kind == checker.READ else value)
                 for kind, key, value in line["operations"]])
            for line in lines]
        last = max([line.get("end") or line["begin"] for line in lines]) + 1
        for table in client.LISTS:
            for key, text in rows[table.name]:
                transactions.append(checker.Transaction(
                    last, last, checker.COMMITTED, [(
                        checker.READ, "%s.%d" % (table.name, key),
                        tuple(text.split(",")))]))
        history = checker.History(transactions)
        self.anomalies.update(history.anomalies)
        self.examples.update(history.examples)
        self.lost += len(history.lost())

    def _check_bank(self, transfers, balances, rows):
        journal = {row[0]: row[1:] for row in rows["journal"]}
        accounts = {number: balance for table in client.ACCOUNTS
                    for number, balance in rows[table.name]}
        expected = dict.fromkeys(accounts, client.OPENING)
        for source, target, amount in journal.values():
            expected[source] -= amount
            expected[target] += amount
        if accounts != expected:
            self._note("torn transfer", accounts, expected)
        for line in transfers:
            there = [name in journal for name in line["operations"]]
            if line["status"] == checker.COMMITTED:
                self.lost += there.count(False)
            elif line["status"] == checker.REFUSED and any(there):
                self._note("refused, and done", line)
        for line in balances:
            if line["status"] == checker.COMMITTED and line["operations"] != [
                    client.OPENING * len(accounts)]:
                self._note("sum of several moments", line)

    def _check_names(self, lines, rows):
        if len({name for _, name in rows}) < len(rows):
            self._note("duplicate key", rows)
        lives = {}
        for line in lines:
            for what, name, row in line["operations"]:
                life = lives.setdefault(row, [name, None, None])
                if what == "delete" and line["status"] != checker.REFUSED:
                    life[2] = min(line["begin"], life[2] or line["begin"])
                elif what == "insert" and line["status"] == checker.COMMITTED:
                    life[1] = line["end"]
        there = {row for row, _ in rows}
        by_name = collections.defaultdict(list)
        for row, (name, since, until) in lives.items():
            if since is None:
                continue
            if until is None and row not in there:
                self.lost += 1
                continue
            if until is None or until > since:
                by_name[name].append((since, until or float("inf")))
        for name, spans in by_name.items():
            spans.sort()
            for (_, until), (since, _) in zip(spans, spans[1:]):
                if since < until:
                    self._note("duplicate key", name, spans)

    def _check_roles(self, rows):
        counts = collections.Counter(holder for _, holder in rows)
        for holder, count in counts.items():
            if count > 1:
                self._note("phantom", holder, count)

    def _note(self, name, *example):
        self.anomalies[name] += 1
        self.examples.setdefault(name, example)
