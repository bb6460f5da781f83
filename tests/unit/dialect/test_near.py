# SPDX-License-Identifier: Apache-2.0
"""Statements on a replica that is behind: late perhaps, but not wrong."""

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from nova_kvs import exceptions
from nova_kvs.record import database as databases
from nova_kvs.txn import coordinator as coordinators
from tests import base
from tests import replicas
from tests.unit.dialect import tables

services = tables.Service.__table__
instances = tables.Instance.__table__


@pytest.fixture
def engine():
    made = sa.create_engine(base.memory_url() + "?read_from=nearest")
    tables.metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(services.insert(), [
            {"id": number, "uuid": "u%d" % number, "host": "h%d" % number,
             "binary": "b"} for number in (1, 2)])
    yield made
    made.dispose()


@pytest.fixture
def replica(engine, monkeypatch):
    # As if all that is written here were another process's.
    monkeypatch.setattr(coordinators, "MISSED_S", -1)
    return replicas.Replica(_database(engine).store)


def _database(engine):
    return databases.open_database(str(engine.url))


def _run(engine, *statements):
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(statement)
        return [tuple(row) for row in result] if (
            result.returns_rows) else result.rowcount


def _set_host(host, number=1, before=None):
    statement = sa.update(services).where(services.c.id == number)
    if before is not None:
        statement = statement.where(services.c.host == before)
    return statement.values(host=host)


def _host(number=1):
    return sa.select(services.c.host).where(services.c.id == number)


def _outdated(engine, *statements):
    with pytest.raises(exc.OperationalError) as caught:
        _run(engine, *statements)
    assert isinstance(
        caught.value.orig.kvs_error, exceptions.ReplicaLaggedError)


def test_reads_may_lag(engine, replica):
    _run(engine, _set_host("new"))
    assert _run(engine, _host()) == [("h1",)]
    replica.catch_up()
    assert _run(engine, _host()) == [("new",)]


def test_a_new_row_is_found_by_its_key(engine, replica):
    _run(engine, services.insert().values(
        id=3, uuid="u3", host="h3", binary="b"))
    assert _run(engine, _host(3)) == [("h3",)]
    assert _run(engine, sa.select(services.c.id).where(
        services.c.uuid == "u3")) == [(3,)]
    _run(engine, instances.insert().values(id=1, uuid="i", host="h"))
    assert _run(engine, sa.select(instances.c.id).where(
        instances.c.uuid == "i")) == [(1,)]


def test_no_update_is_lost(engine, replica):
    _run(engine, _set_host("new"))
    _outdated(engine, _set_host("other"))
    replica.catch_up()
    assert _run(engine, _set_host("other", before="new")) == 1


def test_what_was_only_read_is_verified(engine, replica):
    _run(engine, _set_host("new"))
    _outdated(engine, _host(), _set_host("other", 2))
    replica.catch_up()
    _run(engine, _host(), _set_host("other", 2))


def test_a_change_of_nothing_is_not_believed(engine, replica):
    _run(engine, _set_host("new"))
    _outdated(engine, _set_host("other", before="new"))
    # There is nothing like it on the master, either.
    assert _run(engine, _set_host("other", 2, before="new")) == 0


def test_masters_only(engine, replica):
    _run(engine, _set_host("new"))
    with databases.reading_masters():
        assert _run(engine, _host()) == [("new",)]
        assert not databases.may_lag()
    assert _run(engine, _host()) == [("h1",)]
    assert databases.may_lag()


def test_a_delete_of_nothing_is_not_believed(engine, replica):
    _run(engine, _set_host("new"))
    statement = sa.delete(services).where(services.c.host == "new")
    _outdated(engine, statement)
    replica.catch_up()
    assert _run(engine, statement) == 1
    replica.catch_up()
    assert _run(engine, statement) == 0


def test_a_duplicate_is_not_believed(engine, replica):
    insert = services.insert().values(
        id=9, uuid="u1", host="h1", binary="b")
    _run(engine, sa.delete(services).where(services.c.id == 1))
    _outdated(engine, insert)
    replica.catch_up()
    _run(engine, insert)
    replica.catch_up()
    with pytest.raises(exc.IntegrityError):
        _run(engine, insert)


def test_schema_changes_read_masters(engine, replica):
    replica.reads.clear()
    _run(engine, sa.text("ALTER TABLE services ADD COLUMN note TEXT"))
    # Its rows were written again.
    assert b"rservices" not in str(replica.reads).encode()
    replica.catch_up()
    assert _run(engine, sa.text("SELECT note FROM services")) == [
        (None,), (None,)]


def test_by_default_masters_are_read():
    made = sa.create_engine(base.memory_url())
    tables.metadata.create_all(made)
    replica = replicas.Replica(_database(made).store)
    _run(made, services.insert().values(
        id=1, uuid="u1", host="h1", binary="b"))
    assert _run(made, sa.select(services.c.host)) == [("h1",)]
    assert replica.reads == []
