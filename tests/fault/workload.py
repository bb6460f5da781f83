# SPDX-License-Identifier: Apache-2.0
"""What the processes of the fault suite do, and what they note down.

*Accounts* are rows of ``instances``, each with a row of ``instance_extra``
in the same partition that is always written together with it. *Cells* are
rows of ``instances`` that come and go. Every write gives a row a *tag* that
no other write uses, so that what was read tells which write it was of.
"""

import itertools
import random
import time
import typing

from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import engines
import sqlalchemy as sa
from sqlalchemy import pool

from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.txn import retry
from tests.fault import fleet

ACCOUNTS = 24
CELLS = 8
START = 1000
COUNTERS = 4
HOSTS = ("alpha", "beta", "gamma")
#: Attempts of what other processes get in the way of.
ATTEMPTS = 400

COMMITTED = "committed"
#: Refused: others were first, or the store did not answer.
REFUSED = "refused"
#: Perhaps applied: the store fell silent.
UNKNOWN = "unknown"

metadata = sa.MetaData()
instances = sa.Table(
    "instances", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(36), unique=True),
    sa.Column("host", sa.String(255)),
    sa.Column("deleted", sa.Integer),
    sa.Column("created_at", sa.String(36)),
    sa.Column("amount", sa.Integer),
    sa.Column("tag", sa.String(36)))
extras = sa.Table(
    "instance_extra", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("instance_uuid", sa.String(36)),
    sa.Column("tag", sa.String(36)))
volumes = sa.Table(
    "block_device_mapping", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("instance_uuid", sa.String(36)),
    sa.Column("uuid", sa.String(36), unique=True))
services = sa.Table(
    "services", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("host", sa.String(255), unique=True),
    sa.Column("report_count", sa.Integer))


class Event(typing.NamedTuple):
    """One transaction as its process saw it; times by the monotonic clock,
    in ns.

    Read from ``begin`` to ``loaded``, committed from ``sent`` to ``end``.
    ``reads`` and ``writes`` are dicts of row's name -> tag, None for a row
    that is not there; ``locked`` are the names of rows that were validated.
    """

    process: int
    begin: int
    loaded: int
    sent: int
    end: int
    status: str
    reads: dict
    writes: dict
    locked: frozenset


def make_engine(url):
    """Return an engine as Nova makes them.

    But for one thing: Nova's tries ten times to connect first, with pauses
    of ten seconds.
    """
    return engines.create_engine(url, max_retries=0)


def create(url):
    """Make the tables and the accounts of a new database.

    :returns: dict of row's name -> tag, of all rows.
    """
    engine = sa.create_engine(url, poolclass=pool.NullPool)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(sa.insert(services), [
            {"host": "counter%d" % number, "report_count": 0}
            for number in range(COUNTERS)])
    database = record_database.open_database(url)
    database.refresh_schema()
    tags = {}
    for number in range(ACCOUNTS):
        name = "account%d" % number
        tx = database.begin()
        tx.insert("instances", {
            "uuid": name, "host": HOSTS[0], "deleted": 0, "amount": START,
            "created_at": "%04d" % number, "tag": "start"})
        tx.insert("instance_extra", {"instance_uuid": name, "tag": "start"})
        tx.commit()
        tags[name] = tags[name + "+"] = "start"
    for number in range(CELLS):
        tags["cell%d" % number] = None
    return tags


def row_name(record):
    """Return the name under which histories have a row."""
    if record.table == "instances":
        return record.values["uuid"]
    return record.values["instance_uuid"] + "+"


class Client:
    """One process's transactions, and the history of them.

    :param number: of the process.
    :param url: of the database.
    :ivar history: list of Event.
    """

    def __init__(self, number, url):
        self.database = record_database.open_database(url)
        self.history = []
        self.errors = []
        self._number = number
        self._choose = random.Random(number)
        self._tags = itertools.count()

    def new_tag(self):
        return "%d-%d" % (self._number, next(self._tags))

    def attempt(self, names, change):
        """Run one transaction and note it down.

        :param names: of accounts or cells, to be read.
        :param change: called with the transaction and the records by name;
            returns ``(writes, locked)`` as in Event.
        :returns: whether it was committed.
        """
        tx = self.database.begin()
        begin = time.monotonic_ns()
        reads = dict.fromkeys(names)
        try:
            found = [record for records in tx.load([
                access.ByPartition("instances", tuple(names)),
                access.ByPartition("instance_extra", tuple(names))])
                for record in records]
        except exceptions.StoreUnavailableError as exc:
            self.errors.append((time.monotonic_ns(), repr(exc)))
            return False
        records = {row_name(record): record for record in found}
        reads.update((name, record.values["tag"])
                     for name, record in records.items())
        loaded = time.monotonic_ns()
        writes, locked = change(tx, records)
        sent = time.monotonic_ns()
        status = COMMITTED
        try:
            tx.commit()
        except (exceptions.ConflictError, exceptions.DuplicateKeyError):
            status = REFUSED
        except exceptions.StoreUnavailableError as exc:
            status = REFUSED
            self.errors.append((time.monotonic_ns(), repr(exc)))
        except exceptions.UndeterminedError as exc:
            status = UNKNOWN
            self.errors.append((time.monotonic_ns(), repr(exc)))
        self.history.append(Event(
            self._number, begin, loaded, sent, time.monotonic_ns(), status,
            reads, writes, frozenset(locked)))
        return status == COMMITTED

    def step(self):
        """Do one transaction of some kind, again until it is committed."""
        kind = self._choose.random()
        if kind < 0.4:
            work, size = self._transfer, 2
        elif kind < 0.5:
            work, size = self._look_and_write, 3
        elif kind < 0.6:
            work, size = self._write, 1
        elif kind < 0.75:
            work, size = None, 1
        elif kind < 0.85:
            work, size = None, 4
        else:
            name = "cell%d" % self._choose.randrange(CELLS)
            self.attempt(
                [name], lambda tx, records: self._toggle(tx, records, name))
            return
        names = ["account%d" % number for number in
                 self._choose.sample(range(ACCOUNTS), size)]
        if work is None:
            self.attempt(names, lambda tx, records: ({}, ()))
            return
        for round_number in range(ATTEMPTS):
            if self.attempt(names, work) or self.errors:
                return
            retry.pause(min(round_number, 6))

    def _put(self, tx, records, name, tag, change=0):
        """Write an account's two rows."""
        record = records[name]
        values = {**record.values, "tag": tag,
                  "amount": record.values["amount"] + change}
        if self._choose.random() < 0.2:
            values["host"] = self._choose.choice(HOSTS)
        tx.update(record, values)
        extra = records[name + "+"]
        tx.update(extra, {**extra.values, "tag": tag})
        return {name: tag, name + "+": tag}

    def _transfer(self, tx, records):
        names = [name for name in records if not name.endswith("+")]
        self._choose.shuffle(names)
        amount = self._choose.randrange(1, 10)
        tag = self.new_tag()
        return {**self._put(tx, records, names[0], tag, -amount),
                **self._put(tx, records, names[1], tag, amount)}, ()

    def _write(self, tx, records):
        name = next(name for name in records if not name.endswith("+"))
        return self._put(tx, records, name, self.new_tag()), ()

    def _look_and_write(self, tx, records):
        """Write one account, and lock all that was read."""
        name = self._choose.choice(
            [name for name in records if not name.endswith("+")])
        written = self._put(tx, records, name, self.new_tag())
        locked = [other for other in records if other not in written]
        for other in locked:
            tx.lock(records[other])
        return written, locked

    def _toggle(self, tx, records, name):
        """Insert, change or delete a cell."""
        tag = self.new_tag()
        if not records:
            tx.insert("instances", {
                "uuid": name, "host": HOSTS[0], "deleted": 0,
                "created_at": "9", "tag": tag})
            return {name: tag}, ()
        record, = records.values()
        if self._choose.random() < 0.5:
            tx.delete(record)
            return {name: None}, ()
        tx.update(record, {**record.values, "tag": tag})
        return {name: tag}, ()


def bank(number, ready, stop, url, names):
    """Transfers, reads, counters and contended names, until told to stop.

    :param names: number of unique keys that all processes want.
    :returns: dict of ``history``, ``errors``, ``counts`` (of increments, by
        counter), ``won`` (names), ``lost`` (their number) and ``stats``.
    """
    client = Client(number, url)
    engine = make_engine(url)
    choose = random.Random(-number)
    counts = dict.fromkeys(range(COUNTERS), 0)
    won, lost, deadlocks = [], 0, 0
    order = [name for first in range(0, names, 10)
             for name in choose.sample(range(first, first + 10), 10)]
    ready.wait(fleet.PATIENCE_S)
    while order or not stop.is_set():
        client.step()
        counter = choose.randrange(COUNTERS)
        deadlocks += repeat(lambda: increment(engine, counter))
        counts[counter] += 1
        for _ in range(min(len(order), 2)):
            name = order.pop(0)
            try:
                deadlocks += repeat(lambda: take_name(engine, number, name))
                won.append(name)
            except db_exception.DBDuplicateEntry as exc:
                assert exc.columns == ["uuid"], exc.columns
                lost += 1
    return {"history": client.history, "errors": client.errors,
            "counts": counts, "won": won, "lost": lost,
            "deadlocks": deadlocks,
            "stats": client.database.coordinator.stats}


def repeat(work):
    """Run something again until no conflict keeps it from committing.

    :returns: number of conflicts.
    """
    for round_number in range(ATTEMPTS):
        try:
            work()
            return round_number
        except db_exception.DBDeadlock:
            retry.pause(min(round_number, 6))
    raise AssertionError("conflicts without end")


def increment(engine, counter):
    """Add one to a counter, as SQL does."""
    with engine.begin() as connection:
        result = connection.execute(
            sa.update(services)
            .where(services.c.host == "counter%d" % counter)
            .values(report_count=services.c.report_count + 1))
        assert result.rowcount == 1


def take_name(engine, number, name):
    """Insert a row with a unique key across partitions."""
    with engine.begin() as connection:
        connection.execute(sa.insert(volumes).values(
            instance_uuid="server%d" % number, uuid="name%d" % name))
