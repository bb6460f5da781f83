# SPDX-License-Identifier: Apache-2.0
"""The store that is compared with SQLite.

It is the embedded one, or etcd if KVS_TEST_DIFFERENTIAL_STORE says so.
"""

import atexit
import functools
import itertools
import os

from tests import etcd_servers

_STORE = os.environ.get("KVS_TEST_DIFFERENTIAL_STORE", "memory")
_numbers = itertools.count()


def new_url(name):
    """Return the URL of a database that there is not yet.

    :param name: what the database's name begins with.
    """
    name = "%s%d" % (name, next(_numbers))
    if _STORE == "etcd":
        return _member().url(name)
    return "kvs+memory:///" + name


@functools.cache
def _member():
    """Return a member of etcd that runs until this process ends."""
    servers = etcd_servers.EtcdFixture()
    servers.start()
    atexit.register(servers.stop)
    return servers
