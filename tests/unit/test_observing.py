# SPDX-License-Identifier: Apache-2.0
import logging

import pytest
import sqlalchemy

from nova_kvs import exceptions
from nova_kvs import observing
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from tests import base
from tests.unit.record import databases


@pytest.fixture
def clock(monkeypatch):
    """Let each look at the clock find it a second later."""
    times = iter(range(10 ** 6))
    monkeypatch.setattr(observing, "_clock", lambda: next(times))


def opened(**options):
    """Return a database that a URL with options has opened."""
    url = databases.make().store.url
    return record_database.open_database(
        "kvs+memory:///%s" % url.database, **options)


def test_nothing_is_wrapped_without_an_option():
    found = opened()
    assert found.observer is None
    assert "commit_and_read" not in vars(found.coordinator)


def test_histograms():
    found = observing.Histogram()
    for seconds in (0.0001, 0.0005, 0.0006, 11):
        found.add(seconds)
    assert sum(found.counts) == 4
    assert found.counts[:3] == [1, 1, 1]
    assert found.counts[-1] == 1
    assert found.total_s == pytest.approx(11.0012)


def test_calls_commits_and_operations_are_timed(clock):
    db = opened(slow_log_threshold=1000)
    observer = db.observer

    def work(rows):
        databases.insert(db, "notes", *rows)
        return databases.load(db, access.FullScan("notes"))

    assert len(observer.call("work", work, [{"author": "a"}])) == 1
    assert sum(observer.calls["work"].counts) == 1
    assert sum(observer.commits.counts) == 1
    assert observer.scans == {"work": 1}
    assert sum(sum(found.counts)
               for found in observer.store.operations.values()) > 1
    assert observer.store.running == 0


def test_names_are_bounded(monkeypatch):
    monkeypatch.setattr(observing, "NAMES", 2)
    db = opened(slow_log_threshold=1000)
    for name in "abcd":
        db.observer.call(name, lambda: databases.load(
            db, access.FullScan("notes")))
    assert set(db.observer.calls) == {"a", "b", observing.OTHER}
    assert sum(db.observer.calls[observing.OTHER].counts) == 2
    assert db.observer.scans == {"a": 1, "b": 1, observing.OTHER: 2}


@pytest.mark.parametrize("error, kind", [
    (exceptions.ConflictError(), "conflict"),
    (exceptions.SpeculationFailedError(), "conflict"),
    (exceptions.DuplicateKeyError(), "duplicate"),
    (exceptions.UndeterminedError(), "undetermined"),
    (exceptions.UnreplicatedError(), "unreplicated"),
    (exceptions.StoreUnavailableError(cause=ConnectionError()), "connection"),
    (exceptions.StoreUnavailableError(cause=TimeoutError()), "time-out"),
    (exceptions.StoreReplyError(), "refused"),
    (exceptions.CorruptRecordError(), "other")])
def test_kinds_of_errors(error, kind):
    assert observing.kind_of(error) == kind


def test_errors_are_counted(monkeypatch):
    db = opened(slow_log_threshold=1000)
    databases.insert(db, "services", {"host": "a", "topic": "t"})
    with pytest.raises(exceptions.DuplicateKeyError):
        databases.insert(db, "services", {"host": "a", "topic": "t"})
    assert db.observer.errors == {"duplicate": 1}


def test_the_slow_log_tells_the_plan(clock, caplog):
    db = opened(slow_log_threshold=1)
    with caplog.at_level(logging.WARNING):
        db.observer.call("nova.x:slow", lambda: databases.load(
            db, access.FullScan("notes"),
            access.ByKey("instances", ((1,), (2,)))))
    line, = [record.getMessage() for record in caplog.records
             if record.name == "nova_kvs.observing"]
    assert line.startswith("Slow: nova.x:slow of database %s took " % db.name)
    assert "notes FullScan; instances ByKey, 2 asked for" in line


def test_what_is_fast_is_not_logged(clock, caplog):
    db = opened(slow_log_threshold=1000)
    db.observer.call("x", lambda: None)
    assert not caplog.records


def test_statements_are_slow_too(clock, caplog):
    url = base.memory_url()
    databases.make(url=url)
    engine = sqlalchemy.create_engine(url + "?slow_log_threshold=1")
    with engine.connect() as connection, caplog.at_level(logging.WARNING):
        connection.execute(sqlalchemy.text(
            "SELECT author FROM notes WHERE text LIKE '%a%'"))
    engine.dispose()
    line, = [record.getMessage() for record in caplog.records
             if record.name == "nova_kvs.observing"]
    assert "SELECT author FROM notes" in line
    assert "notes FullScan" in line
