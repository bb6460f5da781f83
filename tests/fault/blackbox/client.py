# SPDX-License-Identifier: Apache-2.0
"""One client of the black-box suite: a process that knows only SQLAlchemy.

It writes a line into a log before each commit and one after it. Outcomes are
kept for seconds, instead of for minutes, so that a client can stand still for
longer. Its own clock is wrong by hours, and that of servers seems to go ahead
in the middle of a commit.
"""

import json
import os
import random
import time

import sqlalchemy as sa

from nova_kvs import exceptions
from nova_kvs.txn import commit
from nova_kvs.txn import recovery
from tests.fault.blackbox import checker

metadata = sa.MetaData()
#: Tables are partitions: these are on all masters.
LISTS = [sa.Table(
    "list%d" % number, metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text)) for number in range(6)]
ACCOUNTS = [sa.Table(
    "account%d" % number, metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("balance", sa.Integer)) for number in range(3)]
JOURNAL = sa.Table(
    "journal", metadata, sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("source", sa.Integer), sa.Column("target", sa.Integer),
    sa.Column("amount", sa.Integer))
NAMES = sa.Table(
    "name", metadata, sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("name", sa.String(20), unique=True))
#: At most one row of a group is meant to be.
ROLES = sa.Table(
    "role", metadata, sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("holder", sa.String(20), index=True))

OPENING = 1000
#: How long outcomes are kept, if transactions are not valid for longer.
GRACE_MS = 5000
#: A list is used for so long, then the next one.
LIST_S = 2


class Client:
    """Runs transactions and notes what came of them."""

    def __init__(self, url, level, seed, log):
        self._engine = sa.create_engine(url, isolation_level=level)
        self._random = random.Random(seed)
        self._prefix = seed
        self._number = 0
        self._log = open(log, "a", buffering=1)
        self._operations = []

    def _write(self, **line):
        self._log.write(json.dumps(line) + "\n")

    def _fresh(self):
        self._number += 1
        return "%s-%d" % (self._prefix, self._number)

    def run(self, work):
        """Run one transaction; what it notes is its list of operations."""
        name = self._fresh()
        self._operations = operations = []
        begin = time.monotonic_ns()
        status = checker.REFUSED
        try:
            with self._engine.connect() as connection:
                work(connection)
                self._write(name=name, work=work.__name__, begin=begin,
                            operations=operations)
                status = checker.UNKNOWN
                connection.commit()
                status = checker.COMMITTED
        except sa.exc.SQLAlchemyError as error:
            cause = getattr(
                getattr(error, "orig", None), "kvs_error", None)
            if not isinstance(cause, exceptions.UndeterminedError):
                status = checker.REFUSED
        self._write(name=name, work=work.__name__, begin=begin,
                    operations=operations, status=status,
                    end=time.monotonic_ns())

    def go_on(self):
        """Run one transaction of any kind."""
        self.run(self._random.choices(
            (self.lists, self.transfer, self.balances, self.names,
             self.roles), (10, 4, 1, 3, 2))[0])

    # What clients do --------------------------------------------------------

    def lists(self, connection):
        epoch = time.monotonic_ns() // 10 ** 9 // LIST_S
        for _ in range(self._random.randint(1, 4)):
            table = self._random.choice(LISTS)
            key = epoch * 2 + self._random.randrange(2)
            if self._random.random() < 0.6:
                self._read(connection, table, key)
            if self._random.random() < 0.5:
                self._append(connection, table, key)

    def _read(self, connection, table, key):
        text = connection.execute(sa.select(table.c.text).where(
            table.c.id == key)).scalar()
        self._operations.append((
            checker.READ, "%s.%d" % (table.name, key),
            text.split(",") if text else []))

    def _append(self, connection, table, key):
        value = self._fresh()
        self._operations.append((
            checker.APPEND, "%s.%d" % (table.name, key), value))
        if not connection.execute(sa.update(table).where(
                table.c.id == key).values(
                    text=table.c.text + ("," + value))).rowcount:
            connection.execute(table.insert(), {"id": key, "text": value})

    def transfer(self, connection):
        source, target = self._random.sample(range(len(ACCOUNTS) * 3), 2)
        amount = self._random.randint(1, 9)
        name = self._fresh()
        for account, change in ((source, -amount), (target, amount)):
            table = ACCOUNTS[account % len(ACCOUNTS)]
            connection.execute(sa.update(table).where(
                table.c.id == account).values(
                    balance=table.c.balance + change))
        connection.execute(JOURNAL.insert(), {
            "id": name, "source": source, "target": target,
            "amount": amount})
        self._operations.append(name)

    def balances(self, connection):
        self._operations.append(sum(
            balance for table in ACCOUNTS for balance in
            connection.execute(sa.select(table.c.balance)).scalars()))

    def names(self, connection):
        name = "n%d" % self._random.randrange(20)
        row = connection.execute(sa.select(NAMES.c.id).where(
            NAMES.c.name == name)).scalar()
        if row is not None and self._random.random() < 0.5:
            connection.execute(sa.delete(NAMES).where(NAMES.c.id == row))
            self._operations.append(("delete", name, row))
        else:
            # Perhaps a duplicate, which has to be refused.
            row = self._fresh()
            connection.execute(NAMES.insert(), {"id": row, "name": name})
            self._operations.append(("insert", name, row))

    def roles(self, connection):
        holder = "r%d" % (time.monotonic_ns() // 10 ** 8 % 1000)
        rows = connection.execute(sa.select(ROLES.c.id).where(
            ROLES.c.holder == holder)).all()
        if not rows:
            row = self._fresh()
            connection.execute(ROLES.insert(), {"id": row, "holder": holder})
            self._operations.append((holder, row))


def fill(url):
    """Make the tables, and what is in them at first."""
    engine = sa.create_engine(url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number in range(len(ACCOUNTS) * 3):
            connection.execute(ACCOUNTS[number % len(ACCOUNTS)].insert(), {
                "id": number, "balance": OPENING})
    engine.dispose()


def read_all(url):
    """Return the rows of every table: name -> list of tuples."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        found = {table.name: [tuple(row) for row in connection.execute(
            sa.select(table))] for table in metadata.sorted_tables}
    engine.dispose()
    return found


def _shorten_graces(grace_ms):
    for name in ("OUTCOME_LIFE_MS", "ABORT_LIFE_MS"):
        assert getattr(recovery, name) > grace_ms
        setattr(recovery, name, grace_ms)


def _step_clocks(choose):
    """Let this machine's clock be wrong, and servers' step forwards.

    (A server under libfaketime does not start: its allocator asks for the
    time too early.)
    """
    now, now_ns, learn = time.time, time.time_ns, commit.ServerClock.learn
    ahead_s = [0]

    def step(clock, told):
        ahead_s[0] = choose.choice((-7200, -5, 0, 5, 7200))
        # By the time of the commit the server has gone on by so much.
        return learn(clock, int(told) - choose.choice(
            (0, 0, 0, 0, 0, 0, 0, 200, 800, 3000)))

    time.time = lambda: now() + ahead_s[0]
    time.time_ns = lambda: now_ns() + ahead_s[0] * 10 ** 9
    commit.ServerClock.learn = step


def work(url, level, seed, log, stop):
    """Run transactions until a file is there: a process's function.

    :param seed: also makes the values that it writes its own.
    :param log: name of the file that it writes.
    :param stop: name of the file that ends it.
    """
    _shorten_graces(GRACE_MS)
    _step_clocks(random.Random(seed))
    client = Client(url, level, seed, log)
    while not os.path.exists(stop):
        client.go_on()
