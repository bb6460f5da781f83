# SPDX-License-Identifier: Apache-2.0
"""Redis servers on the sites of an experiment."""

import os
import secrets
import typing
from urllib import parse

import redis

from experiments import network as networks
from tests.cloud import processes

_START_TIMEOUT_S = 60
#: The smallest Redis Cluster that survives the loss of a node.
MIN_MASTERS = 3
#: Longer than a busy machine keeps a process waiting.
_NODE_TIMEOUT_MS = 5000
_SLOTS = 16384


class Node(typing.NamedTuple):
    """One server."""

    site: int
    port: int
    bus_port: int
    id: str

    @property
    def host(self):
        return networks.address(self.site)

    def client(self):
        """Return a client of this node alone."""
        return redis.Redis(self.host, self.port, socket_timeout=30)


def _launch(group, directory, node, settings, view=None):
    home = os.path.join(directory, "redis-%d" % node.port)
    os.makedirs(home)
    if view:
        with open(os.path.join(home, "nodes.conf"), "w") as stream:
            stream.write(view)
    config = os.path.join(home, "redis.conf")
    settings = {
        "bind": node.host, "port": node.port, "dir": home, "save": '""',
        # Nodes know each other by where connections come from.
        "bind-source-addr": node.host,
        # To it, only 127.0.0.1 is loopback.
        "protected-mode": "no",
        "appendonly": "yes", "appendfsync": "everysec",
        "repl-diskless-sync-delay": 0, **settings}
    with open(config, "w") as stream:
        stream.writelines("%s %s\n" % item for item in settings.items())
    return group.start(processes.Process(
        "redis-%d.site%d" % (node.port, node.site),
        ["redis-server", config], directory))


class Server:
    """One Redis server of a site.

    :param replicas: it has on the sites that follow its own.
    """

    def __init__(self, group, directory, network, site, replicas=0):
        count = len(network.sites)
        self.nodes = [
            Node((site + number) % count, port, 0, "") for number, port
            in enumerate(processes.free_ports(1 + replicas))]
        self.node = self.nodes[0]
        self.processes = []
        for node in self.nodes:
            network.serve(node.site, node.port)
            self.processes.append(_launch(group, directory, node, {
                # What it tells clients of, who have routes.
                "replica-announce-ip": node.host,
                "replicaof": "%s %d" % (network.seen_from(
                    node.site, site), self.node.port),
            } if node is not self.node else {}))
        for node in self.nodes:
            processes.wait_for(
                lambda: self._is_healthy(node), "Redis answers",
                _START_TIMEOUT_S, self.processes)

    @staticmethod
    def _is_healthy(node):
        with node.client() as client:
            try:
                info = client.info("replication")
            except redis.RedisError:
                return False
        return info["role"] == "master" or info["master_link_status"] == "up"

    def url(self, database, options):
        """Return the URL of a database.

        :param options: pairs for its query.
        """
        return "kvs+redis://%s:%d/%s?%s" % (
            self.node.host, self.node.port, database,
            parse.urlencode(options))


class Cluster:
    """A Redis Cluster with a master and replicas of others on each site.

    With fewer than three sites the masters are three all the same.

    :param replicas: of each master, on the sites that follow its own.
    """

    def __init__(self, group, directory, network, replicas=1):
        count = max(MIN_MASTERS, len(network.sites))
        ports = processes.free_ports(2 * (1 + replicas) * count)
        #: Masters first, then the first replica of each, and so on.
        self.nodes = [
            Node((number + number // count) % len(network.sites),
                 ports[2 * number], ports[2 * number + 1],
                 secrets.token_hex(20))
            for number in range((1 + replicas) * count)]
        self._masters = count
        self._network = network
        for node in self.nodes:
            network.serve(node.site, node.port)
            network.serve(node.site, node.bus_port)
        self.processes = [
            _launch(group, directory, node, {
                "cluster-enabled": "yes", "cluster-port": node.bus_port,
                "cluster-node-timeout": _NODE_TIMEOUT_MS,
                # Clients on every site are told the same, and have routes;
                # the nodes go by the addresses under which they know each
                # other.
                "cluster-announce-hostname": node.host,
                "cluster-preferred-endpoint-type": "hostname",
            }, self._view(node)) for node in self.nodes]
        for node in self.nodes:
            processes.wait_for(
                lambda: self._is_healthy(node), "the cluster is complete",
                _START_TIMEOUT_S, self.processes)

    def _view(self, viewer):
        """Return the nodes.conf of a node: it knows all others at once."""
        lines = []
        for number, node in enumerate(self.nodes):
            flags, master, epoch, slots = "slave", "-", 0, ""
            if number < self._masters:
                flags, epoch = "master", number + 1
                slots = " %d-%d" % (
                    _SLOTS * number // self._masters,
                    _SLOTS * (number + 1) // self._masters - 1)
            else:
                master = self.nodes[number % self._masters].id
            if node is viewer:
                flags = "myself," + flags
            lines.append("%s %s:%d@%d,%s %s %s 0 0 %d connected%s\n" % (
                node.id, self._network.seen_from(viewer.site, node.site),
                node.port, node.bus_port, node.host, flags, master, epoch,
                slots))
        return "".join(lines) + "vars currentEpoch %d lastVoteEpoch 0\n" % (
            len(self.nodes))

    def _is_healthy(self, node):
        with node.client() as client:
            try:
                info = client.info("replication")
                state = client.cluster("INFO")
            except redis.RedisError:
                return False
        return state["cluster_state"] == "ok" and (
            info["role"] == "master" or info["master_link_status"] == "up")

    def url(self, database, site, options):
        """Return the URL of a database, a site's own nodes first.

        :param options: pairs for its query.
        """
        near = sorted(self.nodes[:self._masters],
                      key=lambda node: node.site != site)
        return "kvs+cluster://%s:%d/%s?%s" % (
            near[0].host, near[0].port, database, parse.urlencode(
                [("node", "%s:%d" % (node.host, node.port))
                 for node in near[1:]] + options, safe=":"))

    def masters(self):
        """Return the nodes that are masters now."""
        found = []
        for node in self.nodes:
            with node.client() as client:
                if client.info("replication")["role"] == "master":
                    found.append(node)
        return found
