# SPDX-License-Identifier: Apache-2.0
"""Measures what the APIs of Keystone, Glance, Cinder and Neutron ask of their
databases, on MariaDB and on the dialect, in one run.

It starts its own servers on loopback, and passes no judgement. The services
are those that are installed beside it.
"""

import argparse
import os
import signal
import sys
import tempfile

from benchmarks import backends
from benchmarks import measure
from benchmarks import report
from benchmarks.services import table
from tests.cloud import backends as servers
from tests.cloud import processes
from tests import fixtures

#: Module of each service -> its resources at each size.
SIZES = {"identity": (1000, 10000), "images": (1000, 10000),
         "volumes": (2000, 20000), "ports": (2000, 20000)}
_ROUNDS, _COUNT, _BUDGET_S = 3, 5, 5
_FILL_TIMEOUT_S = 3600


def _parse():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.services", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--services", default=",".join(SIZES),
        help="of %(default)s")
    parser.add_argument(
        "--share", type=float, default=1.0,
        help="resize them all by this (default 1: users %d and %d)" % (
            SIZES["identity"]))
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--doc", metavar="FILE", help="write the tables")
    parser.add_argument(
        "--calls", default="", help="only calls whose name has this in it")
    return parser.parse_args()


class _Call:
    """What measure.measure needs to know of a call."""

    def __init__(self, name):
        self.name = name


def _start(name, module, url, size, pids, directory):
    config = os.path.join(directory, "%s-%s-%d.conf" % (module, name, size))
    with open(config, "w") as file:
        file.write("[database]\nconnection = %s\n" % url)
    return backends.Worker(
        name, ["benchmarks.services.worker", module, config, url, str(size)],
        pids, config + ".log")


def _measure(module, size, mariadb, redis, directory, wanted):
    """Fill both databases with a service's rows and measure its calls."""
    name = "%s_%d" % (module, size)
    urls = {backends.MARIADB: mariadb.create(name),
            table.KVS: redis.url(name, foreign_keys="true")}
    report.say("%s: filling %d" % (module, size))
    processes.run(
        [sys.executable, "-W", "ignore", "-m", "benchmarks.services.filling",
         module, *urls.values(), str(size)], _FILL_TIMEOUT_S)
    pids = {backends.MARIADB: [mariadb.process.pid],
            table.KVS: [process.pid for process in redis.processes.values()]}
    workers = []
    try:
        for backend, url in urls.items():
            workers.append(_start(
                backend, module, url, size, pids[backend], directory))
        calls = [call for call in workers[0].names() if wanted in call]
        for call in calls:
            answers = [worker.answers(call, 3, 1) for worker in workers]
            if answers[0] != answers[1]:
                report.say("%s DIFFERS: %s" % (call, answers))
        return measure.measure(workers, list(map(_Call, calls)), _ROUNDS,
                               _COUNT, _BUDGET_S, report.say)
    finally:
        for worker in workers:
            worker.stop()


def main():
    # So that the servers are stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _parse()
    results = {}
    with tempfile.TemporaryDirectory(
            prefix="nova-kvs-services-") as directory, \
            processes.Group() as group:
        mariadb = servers.MariaDB(group, directory)
        redis = group.enter_context(fixtures.RedisServerFixture(
            options=backends.REDIS_OPTIONS))
        for module in arguments.services.split(","):
            for size in SIZES[module]:
                size = int(size * arguments.share)
                results.setdefault(module, {})[size] = _measure(
                    module, size, mariadb, redis, directory, arguments.calls)
                report.write(arguments, results, table)


if __name__ == "__main__":
    main()
