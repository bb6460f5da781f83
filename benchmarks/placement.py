# SPDX-License-Identifier: Apache-2.0
"""What Placement's requests cost, in one process: its CPU and round trips.

Run as ``python -m benchmarks.placement``: it starts a redis-server,
fills a database with providers and servers, and calls Placement's WSGI
application as a web server does, one request after the other.
"""

import argparse
import io
import itertools
import json
import logging
import random
import time
import uuid

from oslo_config import cfg
from placement import conf as placement_conf
from placement import db_api
from placement import deploy
import sqlalchemy as sa

from nova_kvs.record import database
from tests import fixtures

_NAMESPACE = uuid.UUID("7cb8c2f0-24a5-4a7e-8f55-d0b3f0a65b21")
RESOURCES = {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1}
_INVENTORIES = {
    "VCPU": {"total": 64, "allocation_ratio": 16.0, "max_unit": 64},
    "MEMORY_MB": {"total": 512 << 10, "reserved": 512,
                  "max_unit": 512 << 10},
    "DISK_GB": {"total": 10000, "max_unit": 10000}}
_TRAITS = ["COMPUTE_NODE", "HW_CPU_X86_AVX", "HW_CPU_X86_SSE42",
           "COMPUTE_STATUS_DISABLED", "COMPUTE_VOLUME_EXTEND"]


def name(kind, number):
    """Return the UUID of a provider or server."""
    return str(uuid.uuid5(_NAMESPACE, "%s%d" % (kind, number)))


class Client:
    """Calls Placement's application.

    :param url: of the database, which is made.
    """

    def __init__(self, url):
        config = cfg.ConfigOpts()
        placement_conf.register_opts(config)
        config.set_override("auth_strategy", "noauth2", "api")
        config.set_override("connection", url, "placement_database")
        config.set_override("sync_on_startup", True, "placement_database")
        config([], project="placement", default_config_files=[])
        db_api.configure(config)
        self._app = deploy.loadapp(config)

    def __call__(self, method, path, body=None, version="1.36"):
        """Make one request.

        :returns: the decoded answer, or None.
        :raises AssertionError: if it fails.
        """
        path, _mark, query = path.partition("?")
        environ = {
            "REQUEST_METHOD": method, "PATH_INFO": path,
            "QUERY_STRING": query, "SCRIPT_NAME": "",
            "SERVER_NAME": "127.0.0.1", "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0), "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True, "wsgi.multiprocess": False,
            "wsgi.run_once": False, "HTTP_X_AUTH_TOKEN": "admin",
            "HTTP_OPENSTACK_API_VERSION": "placement %s" % version,
            "HTTP_ACCEPT": "application/json"}
        if body is not None:
            text = json.dumps(body).encode()
            environ.update({
                "wsgi.input": io.BytesIO(text),
                "CONTENT_LENGTH": str(len(text)),
                "CONTENT_TYPE": "application/json"})
        statuses = []
        answer = b"".join(self._app(
            environ, lambda status, headers, error=None:
            statuses.append(status)))
        assert statuses[0][0] == "2", (method, path, statuses, answer)
        return json.loads(answer) if answer else None


class World:
    """Providers with servers, and the requests that Nova makes.

    :param call: Client.
    :param providers: how many there are, all alike.
    :param servers: how many there are, spread evenly.
    """

    def __init__(self, call, providers, servers):
        self._call = call
        self._providers = [name("host", n) for n in range(providers)]
        self._servers = [name("server", n) for n in range(servers)]
        self._random = random.Random(1)
        self._news = (name("new", n) for n in itertools.count())
        self._put = []

    def fill(self):
        """Make the providers and servers."""
        for number, provider in enumerate(self._providers):
            self._call("POST", "/resource_providers", {
                "uuid": provider, "name": "host%d" % number})
            path = "/resource_providers/" + provider
            self._call("PUT", path + "/inventories", {
                "resource_provider_generation": 0,
                "inventories": _INVENTORIES})
            self._call("PUT", path + "/traits", {
                "resource_provider_generation": 1, "traits": _TRAITS})
        for number, server in enumerate(self._servers):
            self._allocate(
                server, self._providers[number % len(self._providers)])

    def _allocate(self, server, provider):
        self._call("PUT", "/allocations/" + server, {
            "allocations": {provider: {"resources": RESOURCES}},
            "project_id": "project", "user_id": "user",
            "consumer_generation": None})

    def _provider(self):
        return "/resource_providers/" + self._random.choice(self._providers)

    def _get(self, path):
        return lambda: self._call("GET", path)

    def root(self):
        """The floor: no database is asked."""
        return self._get("/")

    def consumer(self):
        return self._get(
            "/allocations/" + self._random.choice(self._servers))

    def candidates(self):
        return self._get("/allocation_candidates?limit=1000&resources="
                         + ",".join("%s:%d" % pair
                                    for pair in RESOURCES.items()))

    def provider(self):
        return self._get(self._provider())

    def allocations(self):
        return self._get(self._provider() + "/allocations")

    def usages(self):
        return self._get(self._provider() + "/usages")

    def inventories(self):
        return self._get(self._provider() + "/inventories")

    def aggregates(self):
        return self._get(self._provider() + "/aggregates")

    def traits(self):
        return self._get(self._provider() + "/traits")

    def tree(self):
        return self._get("/resource_providers?in_tree="
                         + self._random.choice(self._providers))

    def put(self):
        server = next(self._news)
        self._put.append(server)
        provider = self._random.choice(self._providers)
        return lambda: self._allocate(server, provider)

    def delete(self):
        server = self._put.pop()
        return lambda: self._call("DELETE", "/allocations/" + server)

    def _set(self, what, body):
        """Return a PUT of what a provider has.

        The GET of its generation is a part of it.
        """
        path = self._provider()

        def put():
            generation = self._call("GET", path)["generation"]
            self._call("PUT", path + what, dict(
                body, resource_provider_generation=generation))

        return put

    def set_inventories(self):
        return self._set("/inventories", {"inventories": {
            one: dict(values, reserved=self._random.randrange(8))
            for one, values in _INVENTORIES.items()}})

    def set_traits(self):
        return self._set("/traits", {
            "traits": self._random.sample(_TRAITS, 3)})

    def set_aggregates(self):
        return self._set("/aggregates", {"aggregates": [
            name("aggregate", number)
            for number in self._random.sample(range(8), 3)]})

    #: Method's name -> what Nova, or nobody, asks this for.
    REQUESTS = ("root", "consumer", "candidates", "provider", "allocations",
                "usages", "inventories", "aggregates", "traits", "tree",
                "put", "delete", "set_inventories", "set_traits",
                "set_aggregates")


def measure(world, request, count, stats):
    """Make requests of one kind and return what they cost.

    :returns: (ms of this process's CPU, ms of time, round trips), each of
        one request.
    """
    ready = [getattr(world, request)() for _number in range(count)]
    trips = stats.round_trips
    cpu = time.process_time()
    wall = time.perf_counter()
    for function in ready:
        function()
    return ((time.process_time() - cpu) * 1000 / count,
            (time.perf_counter() - wall) * 1000 / count,
            (stats.round_trips - trips) / count)


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.placement", description=__doc__)
    parser.add_argument("--providers", type=int, default=12)
    parser.add_argument("--servers", type=int, default=500)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--option", action="append", default=[],
                        help="NAME=VALUE for the query of the URL")
    parser.add_argument("requests", nargs="*", help="of %s"
                        % ", ".join(World.REQUESTS))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with fixtures.RedisServerFixture() as server:
        url = server.url("placement", **dict(
            option.split("=") for option in arguments.option))
        world = World(Client(url), arguments.providers, arguments.servers)
        world.fill()
        stats = database.open_database(sa.make_url(url)).store.stats
        print("%d providers, %d servers, %d requests of a kind" % (
            arguments.providers, arguments.servers, arguments.count))
        for request in arguments.requests or World.REQUESTS:
            if request != "delete":
                measure(world, request, 10, stats)
            print("%-12s %7.2f ms CPU %7.2f ms %6.1f round trips" % (
                request, *measure(world, request, arguments.count, stats)),
                flush=True)


if __name__ == "__main__":
    main()
