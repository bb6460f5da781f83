# SPDX-License-Identifier: Apache-2.0
"""A Nova cloud on several sites."""

from tests.cloud import deployment


class Cloud(deployment.Deployment):
    """Controllers and computes dealt out to sites in turn.

    With one cell there is one message broker, on the first site. With one
    cell a site each has its own: what its API is asked for is done by its
    own conductor and scheduler, which write to the cells that the servers
    are in. Every site has a Placement of its own, of the same state, and is
    an availability zone.

    :param brokers: transport URLs, one for all sites or one a site.
    """

    def __init__(self, group, directory, network, store, brokers,
                 controllers, computes, options=None):
        self._network = network
        self._store = store
        self._brokers = brokers
        self.placements = ["placement%d" % site for site in network.sites]
        self._sites = {
            host: number % len(network.sites) for names in (
                controllers, computes, self.placements)
            for number, host in enumerate(names)}
        super().__init__(
            group, directory, store.databases_of(0), brokers[0], controllers,
            computes, options)

    def site_of(self, host):
        """Return the number of the site that a host is on."""
        return self._sites[host]

    def zone_of(self, host):
        """Return the availability zone of a host's site, None for one site.
        """
        if len(self._network.sites) == 1:
            return None
        return "site%d" % self.site_of(host)

    def databases_of(self, host):
        return self._store.databases_of(self.site_of(host))

    def transport_url_of(self, host):
        return self._brokers[self.site_of(host) % len(self._brokers)]

    def placement_of(self, host):
        return self.placements[self.site_of(host)]

    def env_of(self, host):
        return self._network.env(self.site_of(host))

    def set_up(self):
        self.manage("api_db", "sync")
        for site in self._network.sites[:len(self._brokers)]:
            cell0, cell = self._store.mappings(site)
            if site == 0:
                self.manage("cell_v2", "map_cell0",
                            "--database_connection", cell0)
            self.manage(
                "cell_v2", "create_cell", "--name", "cell%d" % (site + 1),
                "--database_connection", cell,
                "--transport-url", self._brokers[site])
        for site in self._network.sites[1:len(self._brokers)]:
            self.manage("db", "sync", "--local_cell",
                        host=self.controllers[site])
        self.manage("db", "sync")
        self.placement_manage("db", "sync")

    def start(self):
        super().start()
        if len(self._network.sites) > 1:
            self._make_zones()

    def _make_zones(self):
        for site in self._network.sites:
            name = "site%d" % site
            aggregate = self.client.request("POST", "/os-aggregates", {
                "aggregate": {"name": name, "availability_zone": name}})
            for host in self.computes:
                if self.site_of(host) == site:
                    self.client.request(
                        "POST", "/os-aggregates/%d/action" % (
                            aggregate["aggregate"]["id"]),
                        {"add_host": {"host": host}})
