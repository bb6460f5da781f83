# SPDX-License-Identifier: Apache-2.0
"""A database on a store that never loses what it acknowledged."""

import copy

import pytest

from nova_kvs.record import database as record_database
from nova_kvs.store import base as store_base
from nova_kvs.store import registry
from tests import base
from tests.unit.record import databases


@pytest.mark.parametrize("durable", [False, True])
def test_replicas_are_waited_for_where_something_could_be_lost(durable):
    url = registry.parse_url(base.memory_url())
    databases.make(url=str(url))
    store = copy.copy(registry.get_store(url))
    if durable:
        store.CHARACTERISTICS = store.CHARACTERISTICS | {
            store_base.Characteristics.DURABLE}
    batch, waits = store.batch, []

    def batch_noting(items, replicas=0, *args, **kwargs):
        waits.append(replicas)
        return batch(items, replicas, *args, **kwargs)

    store.batch = batch_noting
    database = record_database.Database(
        store, url.database, url.settings(commit_replicas=1))
    database.refresh_schema()
    databases.insert(database, "notes", {"author": "a", "text": "t"})
    assert set(waits) == ({0} if durable else {0, 1})
