# SPDX-License-Identifier: Apache-2.0
import uuid

import sqlalchemy

from nova_kvs.demo import config
from nova_kvs.demo import figures


def test_sql_has_no_figures():
    assert figures.read(config.Databases.from_url("sqlite://")) is None


def test_counts_what_was_done():
    databases = config.Databases.from_url(
        "kvs+memory:///f" + uuid.uuid4().hex)
    engine = sqlalchemy.create_engine(databases.cell1)
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "t", metadata, sqlalchemy.Column("a", sqlalchemy.Integer,
                                         primary_key=True))
    metadata.create_all(engine)
    before = figures.read(databases)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"a": 1}, {"a": 2}])
    cost = figures.read(databases) - before
    engine.dispose()
    assert cost.records == 2
    assert 1 <= cost.round_trips
