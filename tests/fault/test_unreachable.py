# SPDX-License-Identifier: Apache-2.0
"""No server answers: an error in time, never a hang, and then on again."""

import concurrent.futures
import time

from oslo_db import exception as db_exception
import pytest
import sqlalchemy as sa

from tests.fault import conductor
from tests.fault import fleet
from tests.fault import workload

#: With the options' defaults.
PROMISED_S = 10
#: An outage ends after so many errors.
FAILURES = 2


class Outage:
    """The cluster, as long as nobody reaches it.

    :param how: ``hang``: connections are there, and nothing answers;
        ``refuse``: all are cut, and none is accepted.
    """

    def __init__(self, cluster, how):
        self._cluster = cluster
        self._how = how

    def __enter__(self):
        if self._how == "hang":
            self._cluster.faults.blocked = True
        else:
            self._cluster.refuse()

    def __exit__(self, *exc_info):
        if self._how == "hang":
            self._cluster.faults.blocked = False
        else:
            self._cluster.accept()


def read(engine):
    with engine.connect() as connection:
        return connection.execute(sa.select(
            workload.services.c.report_count)).all()


def write(engine):
    workload.increment(engine, 0)


def write_several(engine):
    workload.take_name(engine, 1, time.monotonic_ns())


def connect(engine):
    """Read as a process that starts now."""
    fresh = workload.make_engine(engine.url.update_query_dict(
        {"pool_size": str(10 + time.monotonic_ns() % 10 ** 6)}))
    try:
        return read(fresh)
    finally:
        fresh.dispose()


WORK = (read, write, write_several, connect)


def timed(work, engine):
    """Return the error that something raises, and after how many seconds.
    """
    begin = time.monotonic()
    try:
        work(engine)
        error = None
    except db_exception.DBError as exc:
        error = exc
    return error, time.monotonic() - begin


@pytest.mark.parametrize("how", [
    pytest.param("hang", marks=pytest.mark.short), "refuse"])
def test_errors_come_in_time(proxied, show, database_name, how):
    url = proxied.url(database_name)
    workload.create(url)
    engine = workload.make_engine(url)
    for work in WORK:
        work(engine)
    with concurrent.futures.ThreadPoolExecutor(len(WORK)) as threads:
        with Outage(proxied, how):
            results = list(threads.map(
                lambda work: timed(work, engine), WORK))
        for work, (error, seconds) in zip(WORK, results):
            assert isinstance(error, db_exception.DBConnectionError), work
            assert seconds < PROMISED_S, work
        again = list(threads.map(lambda work: timed(work, engine), WORK))
        assert [error for error, _ in again] == [None] * len(WORK)
    engine.dispose()
    show("no server answers (%s)" % how, kinds_of_operation=len(WORK),
         s_at_most_until_DBConnectionError=max(
             seconds for _, seconds in results),
         worked_again_with_the_same_engine=len(again))


@pytest.mark.parametrize("how", ["hang", "refuse"])
def test_a_conductor_goes_on(proxied, show, database_name, how):
    url = proxied.url(database_name)
    conductor.create(url)
    worked = fleet.context.Semaphore(0)
    failed = fleet.context.Semaphore(0)
    with fleet.Fleet(conductor.beat, 1, url, worked, failed) as load:
        assert worked.acquire(timeout=fleet.PATIENCE_S)
        begin = time.monotonic()
        with Outage(proxied, how):
            for _ in range(FAILURES):
                assert failed.acquire(timeout=fleet.PATIENCE_S)
            while worked.acquire(block=False):
                pass
            end = time.monotonic()
        assert worked.acquire(timeout=fleet.PATIENCE_S), "it did not go on"
        (beats, failures), = load.stop()
    assert any(beat < begin for beat in beats)
    assert failures
    after = [beat for beat in beats if beat > end]
    slowest = max(last - first for first, last in failures)
    assert slowest < PROMISED_S
    show("a conductor that was up (%s)" % how,
         beats_before=sum(beat < begin for beat in beats),
         DBConnectionErrors=len(failures),
         s_at_most_until_one=slowest, s_until_it_went_on=after[0] - end)
