# SPDX-License-Identifier: Apache-2.0
"""SERIALIZABLE: how it is asked for, and what it keeps out."""

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from nova_kvs import exceptions
from nova_kvs.record import database as databases
from tests import base
from tests.unit.dialect import tables

instances = tables.Instance.__table__
notes = tables.Note.__table__
services = tables.Service.__table__

SERIALIZABLE = "SERIALIZABLE"
READ_COMMITTED = "READ COMMITTED"


@pytest.fixture
def engine(engine):
    with engine.begin() as connection:
        connection.execute(services.insert(), [
            {"id": number, "uuid": "u%d" % number, "host": "h%d" % number,
             "binary": "b", "report_count": number} for number in (1, 2)])
        connection.execute(instances.insert(), [
            {"id": number, "uuid": "i%d" % number, "host": "h%d" % number,
             "project_id": "p"} for number in (1, 2)])
    return engine


@pytest.fixture
def pair(engine):
    """Return two connections."""
    engine = engine.execution_options(isolation_level=SERIALIZABLE)
    with engine.connect() as first, engine.connect() as second:
        yield first, second


def rows(connection, statement):
    return [tuple(row) for row in connection.execute(statement)]


def fails(connection):
    """Commit what cannot be."""
    with pytest.raises(exc.OperationalError) as caught:
        connection.commit()
    assert isinstance(
        caught.value.orig.kvs_error, exceptions.ConflictError)
    connection.rollback()


# How it is asked for ---------------------------------------------------------

def test_of_an_engine():
    engine = sa.create_engine(
        base.memory_url(), isolation_level=SERIALIZABLE)
    with engine.connect() as connection:
        assert connection.get_isolation_level() == SERIALIZABLE
        connection.execution_options(isolation_level=READ_COMMITTED)
        assert connection.get_isolation_level() == READ_COMMITTED
    with engine.connect() as connection:
        assert connection.get_isolation_level() == SERIALIZABLE
    engine.dispose()


def test_of_a_connection():
    engine = sa.create_engine(base.memory_url(), pool_size=1)
    with engine.connect() as connection:
        connection.execution_options(isolation_level=SERIALIZABLE)
        assert connection.get_isolation_level() == SERIALIZABLE
    with engine.connect() as connection:
        assert connection.get_isolation_level() == READ_COMMITTED
    engine.dispose()


@pytest.mark.parametrize("level", ["CHAOS", "REPEATABLE READ", "SNAPSHOT"])
def test_others_are_not_known(level):
    engine = sa.create_engine(base.memory_url(), isolation_level=level)
    with pytest.raises(exc.ArgumentError, match="READ COMMITTED"):
        engine.connect()


def test_where_masters_are_not_asked_there_is_none():
    engine = sa.create_engine(
        base.memory_url() + "?read_from=replica",
        isolation_level=SERIALIZABLE)
    with pytest.raises(exc.ArgumentError):
        engine.connect()


# What it keeps out -----------------------------------------------------------

HOT = services.c.report_count > 5
#: Name -> (what is read, values of a row of services whose insert changes
#: that).
PREDICATES = {
    "equal": (sa.select(services).where(services.c.host == "h9"), {}),
    "range": (sa.select(services).where(services.c.host > "h8"), {}),
    "scan": (sa.select(services).where(HOT), {"report_count": 6}),
    "count": (sa.select(sa.func.count()).select_from(services), {}),
    "last": (sa.select(services.c.id).order_by(
        services.c.id.desc()).limit(1), {}),
    "key": (sa.select(services).where(services.c.id == 9), {"id": 9}),
    "unique": (sa.select(services).where(services.c.uuid == "u9"), {}),
    "text": (sa.text("SELECT count(*) FROM services"), {}),
}
NEW = {"uuid": "u9", "host": "h9", "binary": "b"}


@pytest.mark.parametrize("name", PREDICATES)
def test_phantoms(engine, pair, name):
    """Both find no such row, both insert another one on account of that."""
    first, second = pair
    predicate, values = PREDICATES[name]
    before = rows(first, predicate)
    assert rows(second, predicate) == before
    first.execute(notes.insert(), {"service_id": 1, "name": "n"})
    second.execute(services.insert(), {**NEW, **values})
    second.commit()
    fails(first)
    with engine.connect() as connection:
        assert rows(connection, sa.select(notes)) == []
        assert rows(connection, predicate) != before


#: The same of a table whose rows are in partitions of their own.
SPREAD = {
    "global index": sa.select(instances).where(instances.c.host == "h9"),
    "partition": sa.select(instances).where(instances.c.uuid == "i9"),
    "scan": sa.select(instances.c.project_id),
    "page": sa.select(instances).where(
        instances.c.host == "h9").order_by(instances.c.id).limit(3),
}


@pytest.mark.parametrize("name", SPREAD)
def test_phantoms_of_other_partitions(engine, pair, name):
    first, second = pair
    before = rows(first, SPREAD[name])
    first.execute(services.insert(), NEW)
    second.execute(instances.insert(), {
        "uuid": "i9", "host": "h9", "project_id": "p"})
    second.commit()
    fails(first)
    with engine.connect() as connection:
        assert rows(connection, SPREAD[name]) != before


@pytest.mark.parametrize("level, both", [
    (READ_COMMITTED, True), (SERIALIZABLE, False)])
@pytest.mark.parametrize("table, column", [
    (services, services.c.report_count), (instances, instances.c.deleted)])
def test_write_skew(engine, level, both, table, column):
    engine = engine.execution_options(isolation_level=level)
    with engine.connect() as first, engine.connect() as second:
        for connection, seen, written in ((first, 1, 2), (second, 2, 1)):
            rows(connection, sa.select(table).where(table.c.id == seen))
            connection.execute(sa.update(table).where(
                table.c.id == written).values({column.name: 7}))
        first.commit()
        if both:
            second.commit()
        else:
            fails(second)


def test_a_reader_sees_one_moment(engine, pair):
    first, second = pair
    host = sa.select(services.c.host).order_by(services.c.id)
    rows(first, host.where(services.c.id == 1))
    second.execute(sa.update(services).values(
        host=services.c.host + "x"))
    second.execute(sa.update(instances).values(host="hx"))
    second.commit()
    rows(first, sa.select(instances.c.host))
    fails(first)
    rows(first, host)
    rows(first, sa.select(instances.c.host))
    first.commit()


def test_two_looks_at_one_thing(engine, pair):
    """A statement must not see what another one of before did not."""
    first, second = pair
    found = rows(first, sa.select(services.c.id).where(
        services.c.host > "h8").order_by(services.c.host).limit(2))
    second.execute(services.insert(), NEW)
    second.commit()
    found += rows(first, sa.select(services.c.id).where(
        services.c.host > "h8").order_by(services.c.host).limit(2))
    second.execute(sa.delete(services).where(services.c.uuid == "u9"))
    second.commit()
    first.execute(notes.insert(), {"service_id": 1, "name": "n"})
    if found:
        fails(first)
    else:
        first.commit()


# What it lets through --------------------------------------------------------

def test_its_own_changes(engine, pair):
    connection, other = pair
    rows(connection, sa.select(services))
    rows(connection, sa.select(instances).where(instances.c.host == "h9"))
    rows(connection, sa.select(instances))
    connection.execute(services.insert(), NEW)
    connection.execute(instances.insert(), {
        "uuid": "i9", "host": "h9", "project_id": "p"})
    connection.execute(sa.update(instances).where(
        instances.c.id == 1).values(host="h9"))
    connection.execute(sa.delete(services).where(services.c.id == 1))
    with connection.begin_nested():
        connection.execute(sa.update(services).values(report_count=9))
    connection.commit()
    assert len(rows(other, sa.select(services))) == 2
    assert len(rows(other, sa.select(instances).where(
        instances.c.host == "h9"))) == 2


def test_what_others_do_elsewhere(pair):
    first, second = pair
    rows(first, sa.select(services).where(services.c.id == 1))
    rows(first, sa.select(services).where(services.c.host == "h9"))
    rows(first, sa.select(instances).where(instances.c.host == "h9"))
    second.execute(services.insert(), {**NEW, "host": "h8"})
    second.execute(sa.update(services).where(
        services.c.id == 2).values(report_count=9))
    second.execute(sa.update(instances).values(host="h8"))
    second.commit()
    first.execute(notes.insert(), {"service_id": 1, "name": "n"})
    first.commit()


def test_a_duplicate_costs_no_more(engine, pair):
    connection, _ = pair
    stats = databases.open_database(str(engine.url)).store.stats
    with pytest.raises(exc.IntegrityError):
        connection.execute(services.insert(), {**NEW, "uuid": "u1"})
    connection.rollback()
    before = stats.round_trips
    with pytest.raises(exc.IntegrityError):
        connection.execute(services.insert(), {**NEW, "uuid": "u1"})
    assert stats.round_trips == before + 1
