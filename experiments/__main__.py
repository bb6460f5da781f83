# SPDX-License-Identifier: Apache-2.0
"""Nova clouds of many controllers and sites, on KVS, MariaDB and Galera.

All runs on loopback, and ends within the times given. It measures, and
passes no judgement.
"""

import argparse
import json
import shlex
import signal
import sys

from experiments import profiles
from experiments import report
from experiments import run as runs
from experiments import simulate
from experiments import stores


def _numbers(text):
    return [float(number) for number in text.split(",")]


def _counts(text):
    return [int(number) for number in text.split(",")]


def _option(text):
    name, _, value = text.partition("=")
    if not value:
        raise argparse.ArgumentTypeError("%r is not NAME=VALUE" % text)
    return name, value


def _parse(words):
    parser = argparse.ArgumentParser(
        prog="python -m experiments", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="action", required=True)
    cloud = argparse.ArgumentParser(add_help=False)
    cloud.add_argument("--backend", choices=stores.STORES, default="kvs")
    cloud.add_argument("--controllers", type=int, default=2)
    cloud.add_argument("--computes", type=int, default=4)
    cloud.add_argument("--servers", type=int, default=30)
    cloud.add_argument("--sites", type=int, help=(
        "default: one, or one a controller with --delay-ms, --cells site "
        "or --cut"))
    cloud.add_argument("--cells", choices=("one", "site"), default="one")
    cloud.add_argument("--replicas", type=int, default=1, help=(
        "KVS: replicas of each of the cluster's masters, on other sites"))
    cloud.add_argument("--cell-replicas", type=int, default=0, help=(
        "KVS, a cell a site: replicas of a cell's server, on other sites"))
    cloud.add_argument("--native", choices=("on", "off"), default="on",
                       help="KVS: the native functions, or SQLAlchemy alone")
    cloud.add_argument("--kvs-option", action="append", default=[],
                       type=_option, metavar="NAME=VALUE",
                       help="KVS: an option for the query of the URLs")
    cloud.add_argument("--concurrency", type=int, default=4,
                       help="requests at once for each controller")
    cloud.add_argument("--timeout-s", type=float, default=600,
                       help="longest time for the boots")
    cloud.add_argument("--keep", metavar="DIR",
                       help="a new directory for all files, which stays")
    cloud.add_argument("--logs", action="store_true",
                       help="show the ends of all logs if it fails")
    cloud.add_argument(
        "--delay-ms", type=_numbers, metavar="MS[,MS...]",
        help="between sites, one way; with several, the servers are deleted "
             "and booted again for each (a profile has one, and its boots "
             "for the processor time have none)")
    run = commands.add_parser(
        "run", parents=[cloud], help="run one experiment")
    run.add_argument("--building", type=int, metavar="SERVERS", help=(
        "ask for no more while so many are being built, at most 1000 "
        "(default: do not look)"))
    run.add_argument("--cut", type=int, metavar="SITE",
                     help="cut a site, from 0, off during the (last) boots")
    run.add_argument("--cut-after-s", type=float, default=5)
    run.add_argument("--cut-s", type=float, default=15)
    run.add_argument("--profile", action="store_true",
                     help="sample what the services do")
    run.add_argument("--json", metavar="FILE")
    profile = commands.add_parser("profile", parents=[cloud], help=(
        "measure the processor time by layer, and the waits of one request"))
    profile.add_argument(
        "--output", metavar="DIR", default="profile",
        help="for tables and pictures (default: %(default)s)")
    profile.set_defaults(building=None, cut=None)
    played = commands.add_parser("simulate", help=(
        "play the database calls of many controllers and computes"))
    played.add_argument(
        "--controllers", type=_counts, default=[10], metavar="N[,N...]")
    played.add_argument("--computes-each", type=float, default=3,
                        help="for each controller")
    played.add_argument(
        "--boots-each", type=float, default=125 / 300, metavar="BOOTS",
        help="a second, for each controller (default: 125 in 300 s)")
    played.add_argument("--servers", type=int, default=1000,
                        help="that are there")
    played.add_argument("--masters", type=int, default=3)
    played.add_argument("--clients", type=int, default=2,
                        help="processes that call")
    played.add_argument("--seconds", type=float, default=20)
    played.add_argument("--json", metavar="FILE")
    commands.add_parser("report", help="make the documentation's tables")
    arguments = parser.parse_args(words)
    if arguments.action in ("profile", "run"):
        _complete(parser, arguments)
    return arguments


def _complete(parser, arguments):
    if arguments.sites is None:
        several = (arguments.delay_ms is not None or arguments.cut is not None
                   or arguments.cells == "site")
        arguments.sites = arguments.controllers if several else 1
    arguments.delay_ms = arguments.delay_ms or [0.0]
    if min(arguments.controllers, arguments.computes) < arguments.sites:
        parser.error("every site needs a controller and a compute")
    if arguments.building is not None and not (
            0 < arguments.building <= 1000):
        parser.error("--building is from 1 to 1000")
    if arguments.cells == "site" and arguments.backend != "kvs":
        parser.error("--cells site is a layout of KVS")
    if not 0 < arguments.replicas < max(2, arguments.sites):
        parser.error("--replicas is from 1 to the number of other sites")
    if not 0 <= arguments.cell_replicas < arguments.sites:
        parser.error("--cell-replicas is at most the number of other sites")
    if arguments.cut is not None and not (
            0 <= arguments.cut < arguments.sites > 1):
        parser.error("there is no such site to cut off")


def _without_files(words):
    """Return the words that say what was run, not where it is kept."""
    words = [word for word in words if word != "--logs"]
    for option in ("--json", "--keep"):
        if option in words:
            at = words.index(option)
            del words[at:at + 2]
    return words


def _terminate(number, frame):
    raise KeyboardInterrupt


def main(words):
    arguments = _parse(words)
    if arguments.action == "report":
        report.write()
        return
    # So that everything that was started is stopped.
    signal.signal(signal.SIGTERM, _terminate)
    if arguments.action == "simulate":
        simulate.run(arguments)
        return
    if arguments.action == "profile":
        profiles.run(arguments, shlex.join(words))
        return
    results = []
    for figures in runs.run(arguments, _without_files(words)):
        print(json.dumps(figures, indent=1), flush=True)
        results.append(figures)
        if arguments.json:
            # One run is an object; several are a list of them.
            with open(arguments.json, "w") as stream:
                json.dump(results if len(arguments.delay_ms) > 1
                          else figures, stream, indent=1)
                stream.write("\n")


if __name__ == "__main__":
    main(sys.argv[1:])
