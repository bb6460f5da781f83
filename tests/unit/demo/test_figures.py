# SPDX-License-Identifier: Apache-2.0
import uuid

import sqlalchemy

from nova_kvs.demo import config
from nova_kvs.demo import figures


def test_sql_has_no_figures():
    meter = figures.Meter(config.Databases.from_url("sqlite://"))
    meter.start()
    assert meter.stop() is None


def test_counts_what_was_done():
    databases = config.Databases.from_url(
        "kvs+memory:///f" + uuid.uuid4().hex)
    engine = sqlalchemy.create_engine(databases.cell1)
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "t", metadata, sqlalchemy.Column("a", sqlalchemy.Integer,
                                         primary_key=True))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"a": 1}])
        connection.execute(table.insert(), [{"a": 2}])
    meter = figures.Meter(databases)
    meter.start()
    assert meter.stop() == (0, 0)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"a": 3}, {"a": 4}])
        connection.execute(table.delete().where(table.c.a == 1))
    cost = meter.stop()
    engine.dispose()
    assert cost.records == 1
    assert 1 <= cost.round_trips < 10
