# SPDX-License-Identifier: Apache-2.0
"""Statements that SQLite and the dialect have to answer alike."""

import pytest
import sqlalchemy as sa
from sqlalchemy import pool

from tests import base


@pytest.fixture(params=("sqlite", "kvs"))
def engine(request):
    """Return an engine of an empty database: SQLite's, then the dialect's."""
    if request.param == "kvs":
        made = sa.create_engine(base.memory_url())
    else:
        made = sa.create_engine("sqlite://", poolclass=pool.StaticPool)
    yield made
    made.dispose()


@pytest.fixture
def things(engine):
    """Return a table of six rows."""
    table = sa.Table(
        "things", sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(20), unique=True),
        sa.Column("kind", sa.String(20), index=True))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [
            {"id": 1000 + number, "name": "old%d" % number,
             "kind": "old%d" % number} for number in range(6)])
    return table


# Results that are not read to their end -------------------------------------

@pytest.mark.parametrize("first_id", (50, 985, 2000))
def test_a_load_moves_no_rows_under_an_open_result(engine, things, first_id):
    with engine.begin() as connection:
        connection.execute(
            sa.select(things).where(things.c.kind == "old5")).all()
        connection.execute(things.insert(), [
            {"id": first_id + number, "name": "new%d" % number,
             "kind": "new"} for number in range(5)])
        found = []
        for row in connection.execute(
                sa.select(things.c.name).where(things.c.kind == "new")):
            found.append(row.name)
            connection.execute(things.update().where(
                things.c.id == 1000 + len(found) % 5).values(kind="seen"))
    assert found == ["new0", "new1", "new2", "new3", "new4"]
