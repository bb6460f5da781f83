# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs drop``: remove one database."""

from nova_kvs.cmd import console
from nova_kvs import wording


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "drop", help="remove one database from the store",
        description="Remove all keys of one database. Other databases in "
        "the same store are not touched.")
    console.add_database(parser)
    parser.add_argument(
        "--yes", "--name", required=True, metavar="NAME",
        help="the database's name once more, to be sure (--name in earlier "
        "releases)")
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Drop a database; return the exit status."""
    from nova_kvs.inspection import dropping
    from nova_kvs.store import registry
    url = console.chosen(args)
    console.confirm(args.yes, url.database)
    progress = console.Progress()
    try:
        removed = dropping.drop(
            registry.get_store(url), url.database,
            lambda count: progress.count("%s removed", wording.number(
                count, "key")))
    finally:
        progress.close()
    if args.json:
        console.print_json({"database": url.database, "keys": removed})
    elif not removed:
        print("%s: the store has no database of this name, nothing was "
              "removed" % url.database)
    else:
        print("Dropped %s: %s" % (
            url.database, wording.number(removed, "key")))
    return 0
