# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs plan``: what a cloud needs of Redis."""

import argparse

from nova_kvs.cmd import console


def _count(text):
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise argparse.ArgumentTypeError("%r is no number of things" % text)
    return value


def _some(text):
    value = _count(text)
    if not value:
        raise argparse.ArgumentTypeError("it takes one or more")
    return value


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "plan", help="estimate what a cloud needs of Redis",
        description="Estimate memory, masters, replicas, connections and "
        "commits from figures that were measured: the manual's page about "
        "sizing says how. Nothing is asked of any server.")
    parser.add_argument(
        "--servers", type=_count, required=True, metavar="N",
        help="servers that live at the same time")
    parser.add_argument(
        "--history", type=_count, default=0, metavar="N",
        help="deleted servers that are not purged yet (default: none)")
    parser.add_argument(
        "--hosts", type=_count, required=True, metavar="N",
        help="hosts with nova-compute")
    parser.add_argument(
        "--controllers", type=_some, default=3, metavar="N",
        help="hosts with API, conductor, scheduler or Placement "
        "(default: 3)")
    parser.add_argument(
        "--processes", type=_some, default=None, metavar="N",
        help="service processes on each of them (default: 24)")
    parser.add_argument(
        "--sites", type=_some, default=1, metavar="N",
        help="sites that may fail as a whole (default: 1)")
    parser.add_argument(
        "--boots-per-minute", type=_count, default=10, metavar="N",
        help="servers booted in a minute of a busy hour (default: 10)")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document")
    parser.set_defaults(config_file=[])
    return parser


@console.command
def run(args):
    """Print the estimate; return the exit status."""
    import dataclasses

    from nova_kvs.inspection import sizing
    from nova_kvs import wording
    cloud = sizing.Cloud(
        args.servers, args.history, args.hosts, args.controllers, args.sites,
        args.boots_per_minute, args.processes or sizing.PROCESSES)
    found = sizing.plan(cloud)
    if args.json:
        console.print_json(dataclasses.asdict(found))
        return 0
    for name, text in (
            ("data", _size(found.data_bytes)),
            ("masters", "%d, each with %s" % (
                found.masters, wording.number(found.replicas, "replica"))),
            ("maxmemory", "%s for each" % _size(found.master_bytes)),
            ("memory", "%s on the host for each master and replica" % _size(
                found.host_bytes)),
            ("connections", "up to %d to each: maxclients %d" % (
                found.connections, 2 * found.connections)),
            ("commits", "%.1f in a second of a busy hour" % (
                found.commits_per_s)),
            ("CPU", "%.1f %% of one for each master" % (100 * found.busy))):
        print("%-12s %s" % (name, text))
    for note in found.notes:
        print("%-12s %s" % ("note", note))
    return 0


def _size(size_bytes):
    if size_bytes < 1e9:
        return "%.0f MB" % (size_bytes / 1e6)
    return "%.1f GB" % (size_bytes / 1e9)
