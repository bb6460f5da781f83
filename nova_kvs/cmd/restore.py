# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs restore``: put a database of a backup into a store."""

import sys

from nova_kvs.cmd import console
from nova_kvs import wording


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "restore", help="put a database of a backup into a store",
        description="Put one database of a file that nova-kvs backup wrote "
        "into a store of any kind, and compare it with the backup. The "
        "database must be empty; its schema comes from the backup. A restore "
        "that was stopped goes on when the same command is run again.")
    parser.add_argument(
        "source", metavar="FILE", help="the backup; - for the standard input")
    console.add_database(
        parser, "--to", dest="target",
        help="the database in the store, as "
        "kvs+cluster://10.0.0.1:7000/nova_cell1, or --database; not with "
        "--dry-run")
    parser.add_argument(
        "--name", metavar="NAME",
        help="the database of the backup, if it has several; by default "
        "that of the target's name")
    parser.add_argument(
        "--yes", metavar="NAME",
        help="the name of the target's database, which --replace asks for")
    parser.add_argument(
        "--replace", action="store_true",
        help="remove the rows that the target has")
    parser.add_argument(
        "--dry-run", action="store_true",
        help="read the backup to its end, see that it is whole, and say what "
        "it has; write nothing")
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Restore a database; return the exit status."""
    target = None
    if not args.dry_run:
        target = console.chosen(args, "target", "--to URL")
        if args.replace:
            console.confirm(args.yes, target.database)
    if args.source == "-":
        return _run(args, sys.stdin.buffer, target)
    with open(args.source, "rb") as stream:
        return _run(args, stream, target)


def _run(args, stream, target):
    from nova_kvs import record
    from nova_kvs.transfer import dump
    from nova_kvs.transfer import restoring
    reader = dump.Reader(stream)
    if target is None:
        return _look(args, reader)
    progress = console.Progress()
    try:
        head = restoring.find(reader, args.name, target.database)
        return console.copy(args, restoring.Restore(
            head, reader, record.open_database(target), progress.step))
    finally:
        progress.close()


def _look(args, reader):
    """Print what a backup has."""
    found = {}
    while head := reader.head():
        for _page in reader.pages():
            pass
        found[head["database"]] = {
            "made": head["made"],
            "is_consistent": reader.end["is_consistent"],
            "tables": {name: count for name, (count, _)
                       in reader.end["tables"].items()}}
    if args.json:
        console.print_json(found)
        return 0
    for name, document in sorted(found.items()):
        print("%s of %s: %s in %s%s" % (
            name, document["made"], wording.number(
                sum(document["tables"].values()), "row"),
            wording.number(len(document["tables"]), "table"),
            "" if document["is_consistent"] else ", not of one moment"))
    return 0
