# SPDX-License-Identifier: Apache-2.0
"""One Redis server, ``kvs+redis://``."""

from nova_kvs.store.redis import connection as wire
from nova_kvs.store.redis import remote


class ServerStore(remote.RemoteStore):
    """A store on one server, and perhaps replicas that it tells of."""

    _replicas = ()

    def __init__(self, url, settings):
        super().__init__(url, settings)
        self._node = wire.Node(url.nodes[0], settings, self._options)

    def _route(self, items, indexes, deadline, repeated=False):
        return {self._node: indexes}

    def _route_near(self, items, deadline):
        near = self._near
        if near.must_measure():
            self._take_replicas(near.addresses_of_replicas(self._node))
            near.measure([self._node, *self._replicas])
        return {near.choose(self._node, self._replicas): range(len(items))}

    def _take_replicas(self, addresses):
        known = {node.address: node for node in self._replicas}
        replicas = []
        for address in addresses:
            node = known.pop(address, None)
            if node is None:
                node = wire.Node(address, self.settings, self._options)
                node.master = self._node
            replicas.append(node)
        self._replicas = tuple(replicas)
        for node in known.values():
            node.drop()

    def _learn(self, items, failures, deadline):
        return {}

    def _masters(self, deadline):
        return [self._node]

    def incarnation(self, key):
        return self._incarnation(self._node)

    def _known_nodes(self):
        return (self._node, *self._replicas)

    def close(self):
        super().close()
        for node in (self._node, *self._replicas):
            node.drop()
