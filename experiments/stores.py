# SPDX-License-Identifier: Apache-2.0
"""What an experiment keeps Nova's state on: KVS, MariaDB or Galera.

Each store has ``processes``, ``databases_of(site)``, the mappings of the
cells (``cell0`` and ``cell``) and ``counters()``: figures that only grow.
"""

import os

from experiments import network as networks
from experiments import redis_servers
from nova_kvs.demo import config
from nova_kvs import keyspace
from tests.cloud import backends
from tests.cloud import processes

_GALERA = "/usr/lib/galera/libgalera_smm.so"
_SCAN_COUNT = 1000
#: How a site's own [database] is filled into the mapping of a cell.
_LOCAL = "{scheme}://{username}:{password}@{hostname}:{port}/"
_STATUS = {
    "Innodb_deadlocks": "deadlocks",
    "Com_commit": "commits",
    "Com_rollback": "rollbacks",
    "wsrep_local_cert_failures": "certification_failures",
    "wsrep_local_bf_aborts": "brute_force_aborts",
}


class KVS:
    """A Redis Cluster across the sites, and perhaps a Redis for each cell.

    :param arguments: ``cells`` is ``one`` or ``site``, ``replicas`` those of
        each of the cluster's masters, ``cell_replicas`` those of a cell's
        server, ``kvs_option`` a list of pairs for the query of the URLs.
    """

    def __init__(self, group, directory, network, arguments):
        cells = arguments.cells
        self._options = arguments.kvs_option
        self.cluster = redis_servers.Cluster(
            group, directory, network, arguments.replicas)
        self.servers = [
            redis_servers.Server(
                group, directory, network, site, arguments.cell_replicas)
            for site in (network.sites if cells == "site" else ())]
        self.processes = self.cluster.processes + [
            process for server in self.servers
            for process in server.processes]

    def databases_of(self, site):
        found = config.Databases._make(
            self.cluster.url("nova_" + role, site, self._options)
            for role in config.Databases._fields)
        if self.servers:
            found = found._replace(cell1=self.servers[site].url(
                self.cell_database(site), self._options))
        return found

    def cell_database(self, site):
        """Return the name of the database of a site's cell."""
        return "nova_cell%d" % (site + 1) if self.servers else "nova_cell1"

    def mappings(self, site):
        """Return the URLs of cell0 and of a site's cell for all sites."""
        found = self.databases_of(site)
        return found.cell0, found.cell1

    def counters(self):
        """Return commands run by the servers."""
        counters = {"scripts": 0, "commands": 0}
        for node in self._nodes():
            with node.client() as client:
                info = client.info("commandstats")
            for name, figures in info.items():
                counters["commands"] += figures["calls"]
                if name.startswith("cmdstat_evalsha"):
                    counters["scripts"] += figures["calls"]
        return counters

    def _nodes(self):
        return self.cluster.masters() + [
            server.node for server in self.servers]

    def outcomes(self):
        """Count the transactions of the last minute by their outcome.

        Redis keeps those of one partition that long.
        """
        counts = {"committed": 0, "refused": 0}
        for node in self._nodes():
            with node.client() as client:
                keys = list(client.scan_iter(
                    keyspace.PREFIX + b"{*}t*", count=_SCAN_COUNT))
                if keys:
                    for value in self._values(client, keys):
                        if value:
                            counts["committed" if value[:1] == b"c"
                                   else "refused"] += 1
        return counts

    @staticmethod
    def _values(client, keys):
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
        return pipeline.execute(raise_on_error=False)

    def homes(self, servers):
        """Return the sites whose masters hold the partitions of servers.

        :param servers: server's UUID -> site on which it was booted.
        :returns: server's UUID -> list of sites.
        """
        homes = {server_id: [] for server_id in servers}
        for node in self._nodes():
            with node.client() as client:
                pipeline = client.pipeline(transaction=False)
                for server_id, site in servers.items():
                    pipeline.exists(keyspace.partition(
                        self.cell_database(site), "s", server_id).key)
                # A cluster's node refuses keys that are not its own.
                for server_id, found in zip(
                        servers, pipeline.execute(raise_on_error=False)):
                    if found == 1:
                        homes[server_id].append(node.site)
        return homes


def _create(server):
    for role in config.Databases._fields:
        server.create("nova_" + role)


class SQL:
    """What MariaDB and Galera have in common."""

    servers = ()

    @property
    def processes(self):
        return [server.process for server in self.servers]

    def databases_of(self, site):
        server = self.servers[site % len(self.servers)]
        return config.Databases._make(
            server.url("nova_" + role) for role in config.Databases._fields)

    def counters(self):
        counters = dict.fromkeys(_STATUS.values(), 0)
        for server in self.servers:
            for name, value in server.execute("SHOW GLOBAL STATUS"):
                if name in _STATUS:
                    counters[_STATUS[name]] += int(value)
        return counters

    def outcomes(self):
        return {}


class MariaDB(SQL):
    """One MariaDB, on the first site."""

    def __init__(self, group, directory, network, arguments):
        server = backends.MariaDB(
            group, directory, host=networks.address(0))
        network.serve(0, server.port)
        _create(server)
        self.servers = [server]

    def mappings(self, site):
        """Return the URLs of cell0 and of the cell for all sites."""
        found = self.databases_of(site)
        return found.cell0, found.cell1


class Galera(SQL):
    """A Galera cluster with a node on each site, which the site uses."""

    def __init__(self, group, directory, network, arguments):
        # Its rsync gives up root's rights, and then has to get there.
        os.chmod(directory, 0o711)
        ports = processes.free_ports(2 * len(network.sites))
        for site in network.sites:
            network.serve(site, ports[site])
        self.servers = []
        for site in network.sites:
            home = os.path.join(directory, "site%d" % site)
            host = networks.address(site)
            others = ",".join(
                "%s:%d" % (network.seen_from(site, other), ports[other])
                for other in network.sites if other < site)
            self.servers.append(backends.MariaDB(group, home, [
                "--wsrep-on=ON", "--wsrep-provider=" + _GALERA,
                "--wsrep-cluster-name=nova", "--binlog-format=ROW",
                "--innodb-autoinc-lock-mode=2", "--wsrep-sst-method=rsync",
                "--wsrep-cluster-address=gcomm://" + others,
                "--wsrep-node-address=" + host,
                "--wsrep-provider-options="
                "gmcast.listen_addr=tcp://%s:%d;ist.recv_addr=%s:%d" % (
                    host, ports[site], host, ports[-1 - site]),
                *([] if others else ["--wsrep-new-cluster"]),
            ], host, "mysql"))
        _create(self.servers[0])

    def mappings(self, site):
        """Return templates: each site uses the node of its own."""
        return _LOCAL + "nova_cell0", _LOCAL + "nova_cell1"


STORES = {"kvs": KVS, "mariadb": MariaDB, "galera": Galera}
