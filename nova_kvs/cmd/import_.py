# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs import``: copy an SQL database into the store."""

from nova_kvs.cmd import console


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "import", help="copy an SQL database into the store",
        description="Copy all rows of a database of Nova or Placement, "
        "shadow tables included, from MySQL, PostgreSQL or SQLite into the "
        "store, and compare every row afterwards. Make the target's schema "
        "first (nova-manage api_db sync, nova-manage db sync or "
        "placement-manage db sync with the target's URL and the source's "
        "release), and stop the services that write to either. A copy that "
        "was stopped goes on when the same command is run again. With "
        "--pre-copy services may go on, and the copy without it, when they "
        "are stopped, writes only what has changed since.")
    console.add_url(
        parser, "--from", dest="source", required=True,
        help="the SQL database, as mysql+pymysql://user@host/nova_cell1; "
        "env:NAME takes the URL, and so the password, from the environment")
    console.add_database(
        parser, "--to", dest="target",
        help="the database in the store, as "
        "kvs+cluster://10.0.0.1:7000/nova_cell1, or --database")
    parser.add_argument(
        "--yes", metavar="NAME",
        help="the name of the target's database, which --replace asks for")
    parser.add_argument(
        "--pre-copy", action="store_true",
        help="copy while services still write to the source, and verify "
        "nothing: the target is not complete before the same command is run "
        "without it. Can be repeated")
    console.add_copy(parser)
    return parser


@console.command
def run(args):
    """Import a database; return the exit status."""
    from nova_kvs import record
    from nova_kvs.transfer import importing
    from nova_kvs.transfer import sql
    target = console.chosen(args, "target", "--to URL")
    if args.replace and not args.dry_run:
        console.confirm(args.yes, target.database)
    progress = console.Progress()
    try:
        source = sql.Database(args.source)
        return console.copy(
            args, importing.Import(source, record.open_database(target),
                                   progress.step))
    finally:
        progress.close()
