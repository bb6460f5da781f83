# SPDX-License-Identifier: Apache-2.0
"""Starts what holds the state during a run."""

import contextlib

from tests import etcd_servers
from tests import fixtures

#: Database name of the URL that a worker makes the real ones from.
TEMPLATE = 'template'


@contextlib.contextmanager
def running(backend):
    """Start what a backend needs and stop it in the end.

    :param backend: ``memory``, ``redis``, ``cluster``, ``cluster-memory``
        (with ``read_from = memory``), ``etcd`` or ``sqlite``.
    :returns: the connection URL with the database name ``template``.
    """
    if backend == 'sqlite':
        yield 'sqlite://'
    elif backend == 'memory':
        yield f'kvs+memory:///{TEMPLATE}'
    elif backend == 'etcd':
        with etcd_servers.EtcdFixture() as members:
            yield members.url(TEMPLATE)
    else:
        servers = (fixtures.RedisServerFixture() if backend == 'redis'
                   else fixtures.RedisClusterFixture(masters=3, replicas=0))
        with servers:
            yield servers.url(TEMPLATE, **(
                {'read_from': 'memory'} if backend == 'cluster-memory'
                else {}))
