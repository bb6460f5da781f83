# SPDX-License-Identifier: Apache-2.0
import uuid

import pytest

from nova_kvs import keyspace
from nova_kvs.store import registry
from nova_kvs import txn
from nova_kvs.txn import retry
from tests.unit.txn import stores


@pytest.fixture
def database():
    return "txn-" + uuid.uuid4().hex


@pytest.fixture
def store(database):
    return registry.get_store("kvs+memory:///" + database)


@pytest.fixture
def coordinator(store, database):
    return stores.knowing(txn.Coordinator(store, database))


@pytest.fixture
def partitions(database):
    return [keyspace.partition(database, "t", "p%d" % number)
            for number in range(5)]


@pytest.fixture
def pauses(monkeypatch):
    """Keep polling from sleeping; returns the list of its rounds."""
    rounds = []
    monkeypatch.setattr(
        retry, "pause", lambda number, sleep=None: rounds.append(number))
    return rounds
