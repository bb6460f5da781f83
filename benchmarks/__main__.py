# SPDX-License-Identifier: Apache-2.0
"""Compares Nova on MariaDB with Nova on KVS, call by call.

It starts its own servers on loopback, and passes no judgement.
"""

import argparse
import json
import os
import signal
import sys
import tempfile

from benchmarks import backends
from benchmarks import calls
from benchmarks import cloud as clouds
from benchmarks import measure
from benchmarks import report

_ROUNDS, _COUNT, _BUDGET_S = 10, 12, 8
_QUICK_ROUNDS, _QUICK_COUNT, _QUICK_BUDGET_S = 4, 5, 3


def _parse():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true",
        help="1,000 servers only and fewer repetitions: under five minutes")
    parser.add_argument(
        "--servers", default=None,
        help="sizes of the cloud (default 1000,20000)")
    parser.add_argument(
        "--pages", default="", metavar="SERVERS",
        help="sizes at which only the pages are measured, such as 100000")
    parser.add_argument(
        "--etcd", action="store_true",
        help="measure native functions on MariaDB, one Redis server and etcd")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument(
        "--doc", metavar="DIR",
        help="write benchmarks.inc and benchmarks.svg")
    parser.add_argument(
        "--calls", default="", help="only calls whose name has this in it")
    arguments = parser.parse_args()
    if arguments.etcd and arguments.doc:
        parser.error("--doc writes the figures of Redis: leave out --etcd")
    return arguments


def _sizes(text):
    return [int(size) for size in text.split(",") if size]


def main():
    # So that the servers are stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _parse()
    sizes = _sizes(arguments.servers or (
        "1000" if arguments.quick else "1000,20000"))
    pages = [size for size in _sizes(arguments.pages) if size not in sizes]
    rounds, count, budget_s = (
        (_QUICK_ROUNDS, _QUICK_COUNT, _QUICK_BUDGET_S) if arguments.quick
        else (_ROUNDS, _COUNT, _BUDGET_S))
    wanted = [call for call in calls.CALLS if arguments.calls in call.name]
    results = {}
    with tempfile.TemporaryDirectory(prefix="nova-kvs-bench-") as directory:
        kvs = backends.KVS
        if arguments.etcd:
            kvs = (kvs[1], *backends.ETCD)
        with backends.Servers(directory, kvs) as servers:
            for size in sizes + pages:
                cloud = clouds.Cloud(size)
                servers.fill(cloud, report.say)
                workers = measure.start_workers(servers, cloud, directory)
                try:
                    results[size] = measure.measure(
                        workers,
                        [call for call in wanted
                         if size in sizes or call.name in calls.PAGES],
                        rounds, count, budget_s, report.say)
                finally:
                    for worker in workers:
                        worker.stop()
    _write(arguments, results)


def _write(arguments, results):
    hot = [call.name for call in calls.CALLS if call.hot]
    data = report.as_json(results, hot)
    for name, value in data["geomean"].items():
        print("%-36s %.3f" % (name, value))
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(data, file, indent=1, sort_keys=True)
    if arguments.doc:
        for name, text in (("benchmarks.inc", report.tables(results, hot)),
                           ("benchmarks.svg", report.plot(results, hot))):
            with open(os.path.join(arguments.doc, name), "w") as file:
                file.write(text)


if __name__ == "__main__":
    main()
