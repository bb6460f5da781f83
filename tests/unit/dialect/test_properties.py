# SPDX-License-Identifier: Apache-2.0
"""Random programs do the same on the dialect as on SQLite."""

import hypothesis
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy import event
from sqlalchemy import exc
from sqlalchemy import pool

from nova_kvs.dialect import base as dialect
from tests import base
from tests.unit.dialect import statements


def _sqlite_engine():
    engine = sa.create_engine("sqlite://", poolclass=pool.StaticPool)

    @event.listens_for(engine, "connect")
    def connect(connection, record):
        # SQLAlchemy's recipe for savepoints that work.
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN")

    return engine


def _order(row):
    return [(value is not None, str(type(value)), value) for value in row]


def _describe(step, engine):
    """Return a failed step as text, with how its rows were loaded."""
    if len(step) == 1:
        return step[0]
    text = step[1].compile(
        dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True})
    return "%s\n%s\n%s" % (
        text, step[2:], dialect.explain(engine, step[1]))


class _Machine:
    """Runs the steps of a program on one engine."""

    def __init__(self, engine):
        self.connection = engine.connect()
        self.savepoints = []

    def run(self, kind, *arguments):
        """Return what a step gave, comparable."""
        try:
            return getattr(self, "_" + kind)(*arguments)
        except exc.DBAPIError as error:
            return type(error).__name__

    def _write(self, statement, parameters):
        # Without RETURNING, sqlite3 gives the count at once.
        result = self.connection.execute(statement, parameters or {})
        return result.rowcount

    def _read(self, statement):
        rows = [tuple(row) for row in self.connection.execute(statement)]
        return sorted(rows, key=_order)

    def _commit(self):
        self.savepoints.clear()
        self.connection.commit()

    def _rollback(self):
        self.savepoints.clear()
        self.connection.rollback()

    def _savepoint(self):
        self.savepoints.append(self.connection.begin_nested())

    def _release(self):
        if self.savepoints:
            self.savepoints.pop().commit()

    def _rollback_to(self):
        if self.savepoints:
            self.savepoints.pop().rollback()


@hypothesis.given(statements.programs())
@hypothesis.settings(
    max_examples=60, deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck))
def test_same_as_sqlite(program):
    metadata, steps = program
    machines = []
    engines = [_sqlite_engine(), sa.create_engine(base.memory_url())]
    try:
        for engine in engines:
            metadata.create_all(engine)
            machines.append(_Machine(engine))
        for step in steps:
            expected, found = [machine.run(*step) for machine in machines]
            assert found == expected, _describe(step, engines[1])
    finally:
        for machine in machines:
            machine.connection.close()
        for engine in engines:
            engine.dispose()
