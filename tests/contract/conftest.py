# SPDX-License-Identifier: Apache-2.0
"""Every driver, with what it needs, for one suite."""

import contextlib

import pytest

from nova_kvs.store import base as store_base
from nova_kvs.store import registry
from tests import base
from tests import etcd_servers
from tests import fixtures


#: Names of the drivers that speak Redis's commands.
REDIS_FAMILY = ("cluster_server", "memory", "redis_server", "sentinel_server")


class _Embedded:
    """Stands in for servers where a driver has none."""

    def url(self, database, **query):
        return "kvs+memory:///" + database


_SERVERS = {
    "etcd": etcd_servers.EtcdFixture,
    "memory": lambda: contextlib.nullcontext(_Embedded()),
    "redis_server": lambda: fixtures.RedisServerFixture(replicas=1),
    "cluster_server": fixtures.RedisClusterFixture,
    "sentinel_server": fixtures.RedisSentinelFixture,
}


@pytest.fixture(scope="session")
def running():
    """Yield a function that returns the servers of a driver, by its name.

    They are started when they are first asked for, and shared by all tests
    of a run.
    """
    started = {}
    with contextlib.ExitStack() as stack:
        def start(name):
            if name not in started:
                started[name] = stack.enter_context(_SERVERS[name]())
            return started[name]

        yield start


@pytest.fixture(scope="session", params=sorted(_SERVERS))
def servers(request, running):
    """Return the servers of one driver."""
    return running(request.param)


@pytest.fixture
def database():
    return base.database_name()


@pytest.fixture
def url(servers, database):
    return servers.url(database)


@pytest.fixture
def store(url):
    return registry.get_store(url)


@pytest.fixture
def keys(store, database):
    """Return a function that makes keys of one slot, or of one for each tag.

    No other test has them.
    """
    def make(name, tag="0"):
        return b"kvs:{%s:c:%s}%s" % (
            database.encode(), tag.encode(), name.encode())

    return make


@pytest.fixture
def has_servers(servers):
    """Return whether the driver's data is outside of the process."""
    return not isinstance(servers, _Embedded)


@pytest.fixture
def requires(store):
    """Return a function that tells whether the driver promises something."""
    return lambda name: (
        store_base.Characteristics[name] in store.CHARACTERISTICS)
