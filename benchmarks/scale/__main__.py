# SPDX-License-Identifier: Apache-2.0
"""Measures lists, filters, orders and periodic tasks as a cloud grows.

On MariaDB, on the native functions and on the dialect alone, in one run. It
starts its own servers on loopback, and passes no judgement.
"""

import argparse
import signal
import sys
import tempfile

from benchmarks import backends
from benchmarks import measure
from benchmarks import report
from benchmarks.scale import calls
from benchmarks.scale import cloud as clouds
from benchmarks.scale import table

_KVS = tuple(backend for backend in backends.KVS
             if backend.name in table.KVS)
_ROUNDS, _COUNT, _BUDGET_S = 3, 5, 5


def _parse():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--servers", default="1000,20000",
        help="sizes of the cloud (default 1000,20000)")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--doc", metavar="FILE", help="write the table")
    parser.add_argument(
        "--calls", default="", help="only calls whose name has this in it")
    return parser.parse_args()


def main():
    # So that the servers are stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _parse()
    wanted = [call for call in calls.CALLS if arguments.calls in call.name]
    results = {}
    with tempfile.TemporaryDirectory(prefix="nova-kvs-scale-") as directory:
        with backends.Servers(directory, _KVS) as servers:
            for size in map(int, arguments.servers.split(",")):
                cloud = clouds.Cloud(size)
                servers.fill(cloud, report.say)
                workers = measure.start_workers(
                    servers, cloud, directory, module=calls.__name__)
                try:
                    results[size] = measure.measure(
                        workers, wanted, _ROUNDS, _COUNT, _BUDGET_S,
                        report.say)
                finally:
                    for worker in workers:
                        worker.stop()
                report.write(arguments, results, table)


if __name__ == "__main__":
    main()
