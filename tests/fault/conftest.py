# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs.store import registry
from tests import fixtures


@pytest.fixture(scope="session")
def cluster():
    """A cluster of three masters that every test of the session uses."""
    with fixtures.RedisClusterFixture(masters=3, replicas=1) as cluster:
        yield cluster


@pytest.fixture
def store(cluster):
    return registry.get_store(cluster.url("fault"))
