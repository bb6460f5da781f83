# SPDX-License-Identifier: Apache-2.0
"""Claims of many clients at once on providers that are soon full.

Usage: python -m tests.functional.placement.racing [CLAIMS]

It starts a Redis Cluster and two processes of Placement, first with native
functions and then without, and prints a line for each size of provider.
"""

import collections
import concurrent.futures
import http.client
import json
import subprocess
import sys
import time
import uuid

from tests import fixtures

PROCESSES = 2
#: Requests that are under way at once.
CLIENTS = 12
UNITS = (1, 10, 100)
#: Names of the ways in which Placement runs -> options of its URL.
MODES = {"native": {}, "dialect": {"db_api": "none"}}
_START_TIMEOUT_S = 90


class Placement:
    """Processes of Placement on one database. A context manager.

    :param url: of the database.
    """

    def __init__(self, url):
        self._ports = fixtures.free_ports(PROCESSES)
        self._url = url
        self._processes = []

    def __enter__(self):
        for port in self._ports:
            self._processes.append(subprocess.Popen(
                [sys.executable, "-W", "ignore", "-m",
                 "tests.functional.placement.service", self._url,
                 str(port)], stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
            # The first one fills the database.
            fixtures.wait_for(
                lambda: self._answers(port), "Placement answers",
                _START_TIMEOUT_S)
        return self

    def __exit__(self, *exc_info):
        for process in self._processes:
            process.kill()
            process.wait()

    def _answers(self, port):
        try:
            return self._ask(port, "GET", "/")[0] == 200
        except OSError:
            return False

    @staticmethod
    def _ask(port, method, path, body=None):
        connection = http.client.HTTPConnection(
            fixtures.HOST, port, timeout=120)
        try:
            connection.request(
                method, path, body and json.dumps(body), {
                    "X-Auth-Token": "admin",
                    "Content-Type": "application/json",
                    "OpenStack-API-Version": "placement 1.39"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def ask(self, method, path, body=None, number=0):
        """Return status and body of an answer.

        :param number: any; tells which process is asked.
        """
        return self._ask(
            self._ports[number % PROCESSES], method, path, body)

    def race(self, units, claims):
        """Let clients claim one unit each of a new provider.

        :returns: Counter of their statuses, and how much is then used.
        """
        provider = str(uuid.uuid4())
        path = "/resource_providers/" + provider
        assert self.ask("POST", "/resource_providers", {
            "name": provider, "uuid": provider})[0] == 200
        assert self.ask("PUT", path + "/inventories", {
            "resource_provider_generation": 0,
            "inventories": {"VCPU": {"total": units}}})[0] == 200

        def claim(number):
            return self.ask("PUT", "/allocations/%s" % uuid.uuid4(), {
                "allocations": {provider: {"resources": {"VCPU": 1}}},
                "consumer_generation": None, "project_id": "p",
                "user_id": "u", "consumer_type": "INSTANCE"}, number)[0]

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as threads:
            statuses = collections.Counter(threads.map(
                claim, range(claims)))
        used = json.loads(self.ask("GET", path + "/usages")[1])
        return statuses, used["usages"]["VCPU"]


def main(claims=1000):
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as cluster:
        for mode, options in MODES.items():
            with Placement(cluster.url(mode, **options)) as placement:
                for units in UNITS:
                    began = time.monotonic()
                    statuses, used = placement.race(units, int(claims))
                    print("%s: %s claims of 1 on %d: answers %s, used %d, "
                          "%.0f s" % (
                              mode, claims, units, dict(statuses), used,
                              time.monotonic() - began), flush=True)
                    assert used == statuses[204] <= units


if __name__ == "__main__":
    main(*sys.argv[1:])
