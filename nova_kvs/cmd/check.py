# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs check``: whether a store is fit for a database."""

from nova_kvs.cmd import console


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "check", help="tell whether a store is fit for a database",
        description="Print one line for each condition: OK, WARNING or "
        "ERROR, what was found and what to do. The conditions are: store "
        "(it answers), version, cluster (its state), hosts (only if some of "
        "the URL are of no use), replicas, eviction, memory, persistence, "
        "clock, permissions, format, import (only if one is not complete), "
        "schema and functions. Exit status: 0 if all are OK, 1 with a "
        "WARNING, 2 with an ERROR or if nothing was found out.")
    console.add_url(parser)
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Check a store; return the exit status."""
    from nova_kvs.inspection import condition
    from nova_kvs.store import registry
    lines = []
    for line in condition.examine(registry.parse_url(args.url)):
        lines.append(line)
        if not args.json:
            print("%-7s %s: %s" % (line.status.name, line.name, line.text))
    worst = max(line.status for line in lines)
    if args.json:
        console.print_json({
            "status": worst.name,
            "checks": [{"name": line.name, "status": line.status.name,
                        "text": line.text} for line in lines]})
    return int(worst)
