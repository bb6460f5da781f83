# SPDX-License-Identifier: Apache-2.0
"""One Redis server, ``kvs+redis://``."""

from nova_kvs.store import connection as wire
from nova_kvs.store import remote


class ServerStore(remote.RemoteStore):
    """A store on one server."""

    def __init__(self, url, settings):
        super().__init__(url, settings)
        self._node = wire.Node(url.nodes[0], settings, self._options)

    def _route(self, items, indexes, deadline, repeated=False):
        return {self._node: indexes}

    def _learn(self, items, failures, deadline):
        return {}

    def _masters(self, deadline):
        return [self._node]

    def close(self):
        self._node.drop()
