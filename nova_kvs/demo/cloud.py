# SPDX-License-Identifier: Apache-2.0
"""A whole Nova cloud in this process, on native threads.

Nova's services are the real ones; only what a service manager does (start,
stop, a process for each) is done here. Messages go through oslo.messaging's
``fake`` transport, which is a queue in memory. Since one process has one
Nova configuration, the computes use the database directly instead of asking
the conductor to, as they do in Nova's own functional tests.
"""

import contextlib
import io
import os
import sys
import threading
import time
import uuid

from nova_kvs.demo import config
from nova_kvs.demo import standins
from nova_kvs.demo import wsgi
from nova_kvs import exceptions

#: Seconds that all services together may take to stop.
STOP_TIMEOUT_S = 15

#: Of the UUIDs of compute nodes: the same host has the same one every time.
_NODE_NAMESPACE = uuid.UUID("c1f7b1de-5a0f-4f2b-9d3c-5f8f6b6f0a11")


def use_native_threads():
    """Have Nova run on native threads; call before Nova is imported."""
    os.environ["OS_NOVA_DISABLE_EVENTLET_PATCHING"] = "1"
    from nova import monkey_patch
    monkey_patch.patch(backend="threading")


class Cloud:
    """Nova and Placement with one API, one cell and some computes.

    :param databases: nova_kvs.demo.config.Databases.
    :param directory: existing directory for configuration and state.
    :param log_path: the log file of all services.
    :param token: the token that the API accepts as the administrator's.
    :param computes: number of compute hosts.
    :param controllers: number of hosts with API, scheduler and conductor.
    :param services: nova_kvs.demo.services.Services that run, in place of
        the token and of the stand-in for Glance; or None.
    """

    def __init__(self, databases, directory, log_path, token, computes,
                 controllers, services=None):
        self._real = services
        self._databases = databases
        self._directory = directory
        self._log_path = log_path
        self._token = token
        self._computes = ["compute%d" % n for n in range(1, computes + 1)]
        self._controllers = [
            "controller%d" % n for n in range(1, controllers + 1)]
        self._placement = None
        self._servers = []
        self._services = []
        #: Base URLs of the Nova API, one for each controller.
        self.api_urls = []

    def steps(self):
        """Set up the databases and start the services, step by step.

        :returns: iterable of what is done next, as a short text.
        """
        yield "writing the configuration"
        self._configure()
        yield "setting up the Placement database"
        self._start_placement()
        for database in ("api", "main"):
            yield "setting up the %s database" % (
                "API" if database == "api" else "cell1")
            self._sync(database)
        yield "setting up the cell0 database"
        self._map_cells()
        for host in self._controllers:
            yield "starting %s" % host
            self._start_controller(host)
        for host in self._computes:
            yield "starting %s" % host
            self._start_compute(host)
        yield "mapping the computes to the cell"
        self._discover_hosts()
        for host in self._controllers:
            yield "starting the API of %s" % host
            self._start_api(host)

    def _path(self, name):
        return os.path.join(self._directory, name)

    def _serve(self, app=None):
        server = wsgi.WSGIServer(app)
        self._servers.append(server)
        server.start()
        return server

    def _configure(self):
        # Its port goes into the configuration before it can start.
        self._placement = wsgi.WSGIServer()
        other = self._serve(standins.application).url
        endpoints = config.Endpoints(
            transport_url="fake://", placement_url=self._placement.url,
            image_url=self._real.image_url if self._real else other,
            network_url=other)
        state_path = self._path("state")
        os.mkdir(state_path)
        sections = config.nova_sections(
            endpoints, self._databases, self._controllers[0], state_path)
        sections["DEFAULT"].update(
            log_file=self._log_path, compute_driver="fake.FakeDriver")
        # A random one of the best: requests come faster than the computes
        # report what the last one left.
        sections["filter_scheduler"] = {
            "host_subset_size": len(self._computes)}
        if self._real:
            sections["keystone_authtoken"] = self._real.middleware()
            sections["service_user"] = {
                "send_service_user_token": True, **self._real.credentials()}
        nova_conf = config.write_conf(self._path("nova.conf"), sections)
        paste = config.write_api_paste(
            self._path("api-paste.ini"), None if self._real else self._token)

        from nova.api.openstack import wsgi_app
        from nova import objects
        # The WSGI entry point reads both from its environment.
        os.environ["OS_NOVA_CONFIG_DIR"] = self._directory
        sys.argv[1:] = []
        wsgi_app.init_global_data(
            [paste, nova_conf], "osapi_compute", "nova-kvs")
        objects.register_all()
        objects.Service.enable_min_version_cache()
        self._name_nodes(state_path)

    def _name_nodes(self, state_path):
        """Give each compute node a UUID that survives the process.

        Nova's fake driver makes them up anew in each process, and Nova
        refuses to start a known host under another one.
        """
        from oslo_utils.fixture import uuidsentinel
        for host in self._computes:
            setattr(uuidsentinel, "node_%s" % host,
                    str(uuid.uuid5(_NODE_NAMESPACE, host)))
        # The presence of this file is what tells a known host from one
        # that lost its state; with the fake driver its content is unused.
        from nova.virt import node
        node.write_local_node_uuid(str(_NODE_NAMESPACE))

    def _start_placement(self):
        sections = config.placement_sections(
            self._databases, self._path("state"))
        sections["DEFAULT"]["log_file"] = self._log_path
        sections["placement_database"]["sync_on_startup"] = True
        config.write_conf(self._path("placement.conf"), sections)
        os.environ["OS_PLACEMENT_CONFIG_DIR"] = self._directory
        from placement import wsgi as placement_wsgi
        self._placement.set_app(placement_wsgi.init_application())
        self._placement.start()

    def _sync(self, database, context=None):
        from nova.db import migration
        migration.db_sync(database=database, context=context)

    def _map_cells(self):
        from nova.cmd import manage
        from nova import context
        from nova import objects
        commands = manage.CellV2Commands()
        admin = context.get_admin_context()
        with contextlib.redirect_stdout(io.StringIO()) as output:
            status = commands.map_cell0(
                database_connection=self._databases.cell0)
            cells = objects.CellMappingList.get_all(admin)
            if not status and "cell1" not in [cell.name for cell in cells]:
                status = commands.create_cell(
                    name="cell1",
                    database_connection=self._databases.cell1,
                    transport_url="fake:///")
        if status:
            raise exceptions.KVSError(
                "the cells could not be created", output=output.getvalue())
        cell0 = objects.CellMapping.get_by_uuid(
            admin, objects.CellMapping.CELL0_UUID)
        with context.target_cell(admin, cell0) as cell_context:
            self._sync("main", cell_context)

    def _start_service(self, host, binary, **topics):
        import nova.conf
        from nova import service
        # What is created here remembers the host's name.
        nova.conf.CONF.set_override("host", host)
        one = service.Service.create(host=host, binary=binary, **topics)
        self._services.append(one)
        one.start()

    def _start_controller(self, host):
        from nova.conductor import rpcapi as conductor_rpcapi
        from nova.scheduler import rpcapi as scheduler_rpcapi
        self._start_service(
            host, "nova-conductor", topic=conductor_rpcapi.RPC_TOPIC)
        self._start_service(
            host, "nova-scheduler", topic=scheduler_rpcapi.RPC_TOPIC)

    def _start_compute(self, host):
        from nova.compute import rpcapi
        self._start_service(
            host, "nova-compute", topic=rpcapi.RPC_TOPIC,
            topic_alt=rpcapi.RPC_TOPIC_ALT)

    def _discover_hosts(self):
        from nova import context
        from nova.objects import host_mapping
        host_mapping.discover_hosts(context.get_admin_context())

    def _start_api(self, host):
        from nova.api.openstack import wsgi_app
        import nova.conf
        nova.conf.CONF.set_override("host", host)
        app = wsgi_app.init_application("osapi_compute", "nova-api")
        self.api_urls.append(self._serve(app).url)

    def stop(self):
        """Stop everything that was started, computes first.

        :returns: True if all of it stopped in time.
        """
        for server in self._servers:
            server.stop()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        services = list(reversed(self._services))
        threads = [threading.Thread(target=one.stop, daemon=True)
                   for one in services]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        if self._placement is not None:
            self._placement.stop()
        return not any(thread.is_alive() for thread in threads)
