# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs show``: the rows of one server."""

import argparse

from nova_kvs.cmd import console


def _uuid(text):
    # Anything but a UUID is a mistake, not a server that is not there.
    import uuid
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            "%r is not a UUID" % text) from error


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "show", help="show the rows of one server",
        description="Show all rows that a database keeps together with one "
        "server, by table. Passwords, tokens, keys, user data and the "
        "connection info of volumes are shown as ***; texts that users "
        "wrote are not.")
    console.add_database(parser)
    parser.add_argument(
        "uuid", type=_uuid, metavar="UUID", help="the server's UUID")
    console.add_common(parser)
    console.intermix(parser)
    return parser


@console.command
def run(args):
    """Show a server; return the exit status."""
    from nova_kvs.inspection import showing
    found = showing.show(
        console.open_database(console.chosen(args)), args.uuid)
    if args.json:
        console.print_json(found)
        return 0
    import json
    for table, rows in sorted(found.items()):
        for row in rows:
            print("%s, version %d" % (table, row.pop("_version")))
            for column, value in row.items():
                print("    %s: %s" % (column, json.dumps(
                    value, ensure_ascii=False)))
    return 0
