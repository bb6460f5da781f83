# SPDX-License-Identifier: Apache-2.0
"""Clients stand still at each step of a commit, for longer than any grace."""

import itertools
import os
import signal
import time

import pytest
import sqlalchemy

from nova_kvs.record import database as record_database
from tests.fault import checks
from tests.fault import fleet
from tests import fixtures

OPTIONS = {"transaction_lifetime": 1, "request_timeout": 1}
#: Longer than transactions live, and entries without a row.
PAUSE_S = 12
#: As many as most commits have: who is not stopped is done.
STEPS = 4
DONE, REFUSED, UNKNOWN = "done", "refused", "unknown"

metadata = sqlalchemy.MetaData()
left, right = [
    sqlalchemy.Table(
        name, metadata,
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True,
                          autoincrement=False),
        sqlalchemy.Column("value", sqlalchemy.Integer))
    for name in ("left_half", "right_half")]
# Rules put each row into a partition of its server: entries name it.
mappings = sqlalchemy.Table(
    "instance_mappings", metadata,
    sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
    sqlalchemy.Column("instance_uuid", sqlalchemy.String(36), unique=True),
    sqlalchemy.Column("project_id", sqlalchemy.String(40)))


def change(connection, number):
    for table in (left, right):
        connection.execute(table.update().where(
            table.c.id == number).values(value=table.c.value + 1))


def remove(connection, number):
    for table in (left, right):
        connection.execute(table.delete().where(table.c.id == number))


def insert(connection, number):
    connection.execute(mappings.insert().values(
        instance_uuid="u%d" % number, project_id="p%d" % number))


def is_changed(connection, number):
    """Return what each place says: all the same, unless something is torn."""
    return [connection.scalar(sqlalchemy.select(table.c.value).where(
        table.c.id == number)) == 1 for table in (left, right)]


def is_removed(connection, number):
    return [connection.scalar(sqlalchemy.select(table.c.value).where(
        table.c.id == number)) is None for table in (left, right)]


def is_inserted(connection, number):
    uuid = "u%d" % number
    columns = mappings.c
    return [
        uuid in connection.scalars(
            sqlalchemy.select(columns.instance_uuid).where(*where)).all()
        for where in ((), (columns.instance_uuid == uuid,),
                      (columns.project_id == "p%d" % number,))]


CASES = list(itertools.product(
    ((change, is_changed), (remove, is_removed), (insert, is_inserted)),
    ("READ COMMITTED", "SERIALIZABLE"), range(1, STEPS + 1), (True, False)))


def commit(url, number, pipe):
    """Run a transaction; stand still before or after a step of its commit."""
    (work, _), level, step, is_before = CASES[number]
    store = record_database.open_database(url).store
    taken = itertools.count(1)

    def stopping(method):
        def run(*args, **kwargs):
            stops = next(taken) == step
            if stops and is_before:
                os.kill(os.getpid(), signal.SIGSTOP)
            result = method(*args, **kwargs)
            if stops and not is_before:
                os.kill(os.getpid(), signal.SIGSTOP)
            return result
        return run

    engine = sqlalchemy.create_engine(url, isolation_level=level)
    with engine.connect() as connection:
        transaction = connection.begin()
        work(connection, number)
        store.batch = stopping(store.batch)
        store.post = stopping(store.post)
        try:
            transaction.commit()
        except sqlalchemy.exc.DBAPIError as exc:
            refused = type(exc.orig).__name__.startswith("Conflict")
            pipe.send(REFUSED if refused else UNKNOWN)
        else:
            pipe.send(DONE)


def stands_still(process):
    """Return whether a process is stopped, or has ended."""
    if process.exitcode is not None:
        return True
    with open("/proc/%d/stat" % process.pid) as file:
        return file.read().rpartition(")")[2].split()[0] in "TZ"


@pytest.fixture
def clients(cluster, database_name):
    """Start all clients; return (url, list of (process, pipe))."""
    url = cluster.url(database_name, **OPTIONS)
    engine = sqlalchemy.create_engine(url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for table in (left, right):
            connection.execute(table.insert(), [
                {"id": number, "value": 0} for number in range(len(CASES))])
    started = []
    for number in range(len(CASES)):
        receiving, sending = fleet.context.Pipe(duplex=False)
        process = fleet.context.Process(
            target=commit, args=(url, number, sending), daemon=True)
        process.start()
        started.append((process, receiving))
    yield url, started
    for process, _ in started:
        process.kill()
        process.join()


def test_who_stands_still_tears_nothing(clients, show):
    url, started = clients
    for process, _ in started:
        fixtures.wait_for(lambda: stands_still(process),
                          "a client stands still", fleet.PATIENCE_S)
    stopped = sum(process.is_alive() for process, _ in started)
    database = record_database.open_database(url)
    engine = sqlalchemy.create_engine(url)
    begun = time.monotonic()

    def others_work():
        database.housekeep()
        with engine.connect() as connection:
            for table in metadata.sorted_tables:
                connection.execute(table.select()).all()
        return time.monotonic() > begun + PAUSE_S

    fixtures.wait_for(others_work, "all graces are over")
    told = []
    for process, pipe in started:
        if process.is_alive():
            os.kill(process.pid, signal.SIGCONT)
        assert pipe.poll(fleet.PATIENCE_S)
        told.append(pipe.recv())
    checks.tidy(database)
    with engine.connect() as connection:
        for number, answer in enumerate(told):
            (_, look), *_ = CASES[number]
            found = set(look(connection, number))
            assert len(found) == 1, (CASES[number], answer, found)
            if answer != UNKNOWN:
                assert found == {answer == DONE}, (CASES[number], answer)
    # Some of each: else nobody stood where it matters.
    assert stopped > len(CASES) / 2
    assert {DONE, REFUSED} <= set(told)
    show("clients stand still at each step of a commit", clients=len(told),
         stopped=stopped, **{name: told.count(name) for name in set(told)})
    checks.fsck(url, show)
