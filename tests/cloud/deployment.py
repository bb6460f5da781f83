# SPDX-License-Identifier: Apache-2.0
"""Nova's services as real processes that know only their nova.conf."""

import os
import sys
import time

from nova_kvs.demo import client
from nova_kvs.demo import config
from tests.cloud import backends
from tests.cloud import processes

TOKEN = "e2e-token"
#: Roles of the services that open a database.
_CONTROLLER_ROLES = ("api", "scheduler", "conductor", "placement")
_CELL0_UUID = "00000000-0000-0000-0000-000000000000"
_COMMAND_TIMEOUT_S = 180
_START_TIMEOUT_S = 120


class Deployment:
    """A cloud with one cell.

    ``set_up`` makes the databases with Nova's own commands, ``start`` starts
    the services; both can be followed in ``log`` files of the directory.

    :param group: processes.Group that all processes join.
    :param directory: existing directory for configuration, state and logs.
    :param databases: nova_kvs.demo.config.Databases.
    :param transport_url: of the message broker.
    :param controllers: names of hosts with API, conductor and scheduler.
    :param computes: names of hosts with nova-compute.
    :param options: dict of section to dict of option to value, for every
        nova.conf and placement.conf.
    :param env: variables for every process.
    """

    def __init__(self, group, directory, databases, transport_url,
                 controllers=("controller1",),
                 computes=("compute1", "compute2"), options=None, env=None):
        self.group = group
        self.databases = databases
        self.controllers = list(controllers)
        self.computes = list(computes)
        #: Processes by role: api, conductor, scheduler, compute, placement.
        self.services = {}
        self._cell1_uuid = None
        self._directory = directory
        self._options = options or {}
        self._env = {
            # Children import the checkout under test.
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "PYTHONWARNINGS": "ignore", **(env or {})}
        self._transport_url = transport_url
        ports = iter(processes.free_ports(
            1 + len(self.placements) + len(self.controllers)))
        self._other_port = next(ports)
        self._placement_ports = dict(zip(self.placements, ports))
        self._api_ports = dict(zip(self.controllers, ports))
        self.client = client.Client(
            [self.api_url(host) for host in self.controllers], TOKEN)
        self._write_configuration()

    # What depends on the host, and may differ in a cloud of several sites.

    #: Names of the processes of Placement.
    placements = ("placement",)

    def databases_of(self, host):
        """Return the Databases that a host's services use."""
        return self.databases

    def transport_url_of(self, host):
        """Return the message broker that a host's services use."""
        return self._transport_url

    def placement_of(self, host):
        """Return the name of the Placement that a host's services ask."""
        return self.placements[0]

    def env_of(self, host):
        """Return variables for a host's processes."""
        return {}

    # Of all clouds.

    def api_url(self, host):
        """Return the URL of a controller's API, without a path."""
        return "http://127.0.0.1:%d" % self._api_ports[host]

    def _endpoints_of(self, host):
        other = "http://127.0.0.1:%d" % self._other_port
        return config.Endpoints(
            transport_url=self.transport_url_of(host),
            placement_url="http://127.0.0.1:%d" % (
                self._placement_ports[self.placement_of(host)]),
            image_url=other, network_url=other)

    def _home(self, host):
        return os.path.join(self._directory, host)

    def _write(self, host, name, sections):
        for section, options in self._options.items():
            sections.setdefault(section, {}).update(options)
        path = os.path.join(self._home(host), name)
        return config.write_conf(path, sections)

    def _write_configuration(self):
        for host in self.controllers + self.computes:
            os.makedirs(self._home(host), exist_ok=True)
            is_controller = host in self._api_ports
            self._write(host, "nova.conf", config.nova_sections(
                self._endpoints_of(host),
                self.databases_of(host) if is_controller else None, host,
                self._home(host)))
            if is_controller:
                config.write_api_paste(
                    os.path.join(self._home(host), "api-paste.ini"), TOKEN)
        for name in self.placements:
            os.makedirs(self._home(name), exist_ok=True)
            self._write(name, "placement.conf", config.placement_sections(
                self.databases_of(name), self._home(name)))

    def _program(self, name):
        return os.path.join(os.path.dirname(sys.executable), name)

    def _run(self, program, host, conf, arguments, status):
        return processes.run(
            [self._program(program), "--config-file",
             os.path.join(self._home(host), conf), *arguments],
            _COMMAND_TIMEOUT_S, {**self._env, **self.env_of(host)}, status)

    def manage(self, *arguments, host=None, status=0):
        """Run nova-manage; return its output.

        :param host: the controller, by default the first.
        :param status: the exit status it must have.
        """
        return self._run("nova-manage", host or self.controllers[0],
                         "nova.conf", arguments, status)

    def status(self, *arguments, status=0):
        """Run nova-status on the first controller; return its output."""
        return self._run("nova-status", self.controllers[0], "nova.conf",
                         arguments, status)

    def placement_manage(self, *arguments):
        """Run placement-manage; return its output."""
        return self._run("placement-manage", self.placements[0],
                         "placement.conf", arguments, 0)

    def set_up(self):
        """Make the databases and the cells."""
        self.manage("api_db", "sync")
        self.manage("cell_v2", "map_cell0",
                    "--database_connection", self.databases.cell0)
        created = self.manage(
            "cell_v2", "create_cell", "--name", "cell1", "--verbose")
        # Behind what it says about the URLs that it uses.
        self._cell1_uuid = created.split()[-1]
        self.manage("db", "sync")
        self.placement_manage("db", "sync")

    def _spawn(self, role, name, command, env=None):
        process = self.group.start(processes.Process(
            name, command, self._directory, {**self._env, **(env or {})}))
        self.services.setdefault(role, []).append(process)
        return process

    def _spawn_wsgi(self, role, name, app, port, env=None):
        return self._spawn(role, name, [
            sys.executable, "-m", "nova_kvs.demo.wsgi", app, str(port)], env)

    def _spawn_service(self, role, host):
        program = "nova-" + role
        return self._spawn(role, "%s.%s" % (program, host), [
            self._program(program), "--config-file",
            os.path.join(self._home(host), "nova.conf")], self.env_of(host))

    def start(self):
        """Start all services and map the computes to the cell."""
        self._spawn_wsgi(
            "standins", "standins", "nova_kvs.demo.standins:application",
            self._other_port)
        self._start_controllers()
        for host in self.computes:
            self._spawn_service("compute", host)
        self._wait_until_up()
        self.manage("cell_v2", "discover_hosts")

    def _start_controllers(self):
        self._start_placements()
        for host in self.controllers:
            self.start_conductor(host)
            self._spawn_service("scheduler", host)
            self._spawn_wsgi(
                "api", "nova-api." + host,
                "nova.wsgi.osapi_compute:application",
                self._api_ports[host],
                {"OS_NOVA_CONFIG_DIR": self._home(host),
                 **self.env_of(host)})

    def stop_controllers(self):
        """Stop what opens a database; computes go on."""
        stopped = [process for role in _CONTROLLER_ROLES
                   for process in self.services.pop(role)]
        for process in stopped:
            process.terminate()
        for process in stopped:
            process.stop()
            # It is not to run any more.
            self.group.processes.remove(process)

    def move(self, databases):
        """Start the controllers, stopped before, on other databases.

        :param databases: nova_kvs.demo.config.Databases with a copy of what
            the cloud had.
        """
        self.databases = databases
        self._write_configuration()
        self.manage("cell_v2", "update_cell", "--cell_uuid", _CELL0_UUID,
                    "--database_connection", databases.cell0,
                    "--transport-url", "none:///")
        # The new URL comes from nova.conf.
        self.manage("cell_v2", "update_cell", "--cell_uuid",
                    self._cell1_uuid)
        self._start_controllers()
        self._wait_until_up()

    def _start_placements(self):
        for name, port in self._placement_ports.items():
            process = self._spawn_wsgi(
                "placement", name, "placement.wsgi.api:application", port,
                {"OS_PLACEMENT_CONFIG_DIR": self._home(name),
                 **self.env_of(name)})
            # The first one fills tables that others would fill, too, and
            # one that comes second in that may end.
            if name == self.placements[0]:
                processes.wait_for(
                    lambda: backends.connects("127.0.0.1", port),
                    "Placement answers", _START_TIMEOUT_S, [process])

    def start_conductor(self, host):
        """Start the conductor of a host."""
        return self._spawn_service("conductor", host)

    def _wait_until_up(self):
        expected = {("nova-compute", host) for host in self.computes}
        expected |= {(binary, host) for host in self.controllers
                     for binary in ("nova-conductor", "nova-scheduler")}

        def all_up():
            services = self.client.request("GET", "/os-services")["services"]
            return expected <= {
                (service["binary"], service["host"]) for service in services
                if service["state"] == "up"}

        # As many calls as there are endpoints: every API must answer.
        for _ in self.controllers:
            processes.wait_for(all_up, "all services are up",
                               _START_TIMEOUT_S, self.group.processes, 0.5)

    def stop(self):
        """Stop the services, leaving what they stand on."""
        services = [p for group in self.services.values() for p in group]
        for process in services:
            process.terminate()
        for process in reversed(services):
            process.stop()

    def boot(self, count, prefix="server"):
        """Ask for servers; return their ids."""
        flavor_id = self.client.ensure_flavor()
        return [self.client.boot("%s-%d" % (prefix, number), flavor_id)
                for number in range(count)]

    def wait_status(self, ids, status, timeout_s):
        """Wait until all servers have a status and no task is running.

        :raises tests.cloud.processes.ProcessError: when the time is over,
            or at once if a server becomes an ERROR.
        """
        ids = set(ids)

        def reached():
            servers = [s for s in self.client.servers() if s["id"] in ids]
            faults = [s for s in servers if s["status"] == "ERROR"]
            if faults and status != "ERROR":
                raise processes.ProcessError(
                    "a server failed: %s" % faults[0].get("fault"))
            return len(servers) == len(ids) and all(
                s["status"] == status
                and s["OS-EXT-STS:task_state"] is None for s in servers)

        processes.wait_for(
            reached, "%d servers are %s" % (len(ids), status), timeout_s,
            self.group.processes, 0.5)

    def wait_gone(self, ids, timeout_s):
        """Wait until none of the servers is listed any more."""
        ids = set(ids)
        processes.wait_for(
            lambda: not any(s["id"] in ids for s in self.client.servers()),
            "%d servers are deleted" % len(ids), timeout_s,
            self.group.processes, 0.5)

    def live_migrate(self, server_id, timeout_s):
        """Move a server to another host and wait for the end of it.

        :returns: (old host, new host).
        """
        old = self.client.server(server_id)["OS-EXT-SRV-ATTR:host"]
        self.client.act(server_id, {"os-migrateLive": {
            "host": None, "block_migration": "auto"}})
        deadline = time.monotonic() + timeout_s
        self.wait_status([server_id], "ACTIVE", timeout_s)

        def migrated():
            migrations = self.client.request(
                "GET", "/os-migrations?instance_uuid=" + server_id
            )["migrations"]
            state = migrations[0]["status"] if migrations else "none"
            if state in ("error", "failed", "cancelled"):
                raise processes.ProcessError("live migration: " + state)
            return state == "completed"

        processes.wait_for(
            migrated, "the live migration is completed",
            max(1, deadline - time.monotonic()), self.group.processes, 0.5)
        new = self.client.server(server_id)["OS-EXT-SRV-ATTR:host"]
        return old, new
