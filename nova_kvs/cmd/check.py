# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs check``: whether a store is fit for a database."""

from nova_kvs.cmd import console


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "check", help="tell whether a store is fit for its databases",
        description="Print one line for each condition: OK, WARNING or "
        "ERROR, what was found and what to do. The conditions are: store "
        "(it answers), version, cluster (its state), hosts (only if some of "
        "the URL are of no use), replicas, eviction, memory, persistence, "
        "clock, permissions, format, import (only if one is not complete), "
        "lost commits (only if failovers lost some), schema and functions. "
        "Exit status: 0 if all are OK, 1 with a WARNING, 2 with an ERROR or "
        "if nothing was found out.")
    console.add_database(parser, is_several=True)
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Check a store; return the exit status."""
    from nova_kvs.inspection import condition
    found, faults = console.chosen_all(args)
    is_alone = len(found) == 1 and found[0].name is None
    worst = condition.Status.ERROR if faults else condition.Status.OK
    documents = []
    for fault in faults:
        if not args.json:
            print("ERROR   configuration: %s" % fault)
    for database in found:
        if not is_alone and not args.json:
            print("%s%s" % ("" if database.name is None
                            else database.name + ": ", database.text))
        lines = []
        for line in condition.examine(database.url):
            lines.append(line)
            if not args.json:
                print("%-7s %s: %s" % (
                    line.status.name, line.name, line.text))
        documents.append(_document(database, lines))
        worst = max(worst, *[line.status for line in lines])
    if args.json and is_alone:
        console.print_json(documents[0])
    elif args.json:
        console.print_json({"status": worst.name, "faults": faults,
                            "databases": documents})
    return int(worst)


def _document(database, lines):
    return {"name": database.name, "database": database.url.database,
            "status": max(line.status for line in lines).name,
            "checks": [{"name": line.name, "status": line.status.name,
                        "text": line.text} for line in lines]}
