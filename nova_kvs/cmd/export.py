# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs export``: copy a database of the store into SQL."""

from nova_kvs.cmd import console


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "export", help="copy a database of the store into SQL",
        description="Copy all rows of a database, shadow tables included, "
        "from the store into MySQL, PostgreSQL or SQLite, and compare every "
        "row afterwards. Make the target's schema first (nova-manage api_db "
        "sync, nova-manage db sync or placement-manage db sync with the "
        "target's URL and the source's release), and stop the services that "
        "write to either. A copy that was stopped goes on when the same "
        "command is run again. PostgreSQL wants a user that may set "
        "session_replication_role.")
    console.add_database(
        parser, "--from", dest="source",
        help="the database in the store, as "
        "kvs+cluster://10.0.0.1:7000/nova_cell1, or --database")
    console.add_url(
        parser, "--to", dest="target", required=True,
        help="the SQL database, as mysql+pymysql://user@host/nova_cell1; "
        "env:NAME takes the URL, and so the password, from the environment")
    console.add_copy(parser)
    return parser


@console.command
def run(args):
    """Export a database; return the exit status."""
    from nova_kvs.transfer import exporting
    from nova_kvs.transfer import sql
    source = console.chosen(args, "source", "--from URL")
    name = str(source)
    progress = console.Progress()
    try:
        target = sql.Database(args.target)
        database = console.open_database(source)
        database.check_import()
        return console.copy(args, exporting.Export(
            database, target, name, progress.step))
    finally:
        progress.close()
