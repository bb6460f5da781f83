# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs explain``: how a statement's rows would be loaded."""

from nova_kvs.cmd import console


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "explain", help="show how a statement's rows would be loaded",
        description="Show the access path to each table of a SELECT, as a "
        "service's own statement would get it: by which columns rows are "
        "found, in which order, or that the table is read whole. Paths of one "
        "level are read together. Functions "
        "of Nova and Placement that run natively choose by the same rules. "
        "With --run it is run, and round trips, commands and rows are "
        "counted.")
    console.add_url(parser, nargs="?")
    parser.add_argument(
        "sql", metavar="SQL",
        help="as 'SELECT * FROM instances WHERE host = ''a'' AND deleted = "
        "0': with joins, subqueries (IN, EXISTS, FROM), AND, OR, NOT, ORDER "
        "BY and LIMIT")
    console.add_database_name(parser)
    parser.add_argument(
        "--run", action="store_true", dest="is_run",
        help="run it, and count what it costs")
    console.add_common(parser)
    console.intermix(parser)
    return parser


@console.command
def run(args):
    """Explain a statement; return the exit status."""
    import sqlalchemy

    from nova_kvs.dialect import base
    from nova_kvs.dialect import explaining
    from nova_kvs import wording
    url = console.chosen(args)
    database = console.open_database(url)
    engine = sqlalchemy.create_engine(
        "kvs+%s://" % url.driver, creator=_connector(base, database),
        poolclass=sqlalchemy.pool.NullPool)
    statement = explaining.statement(args.sql, engine)
    document = {"plan": base.explain(engine, statement).splitlines()}
    if args.is_run:
        document.update(_costs(database, engine, statement))
    engine.dispose()
    if args.json:
        console.print_json(document)
        return 0
    print("\n".join(document["plan"]))
    if args.is_run:
        print("%s by %s and %s" % (
            wording.number(document["rows"], "row"),
            wording.number(document["round_trips"], "round trip"),
            wording.number(document["commands"], "command")))
    return 0


def _connector(base, database):
    """Return a function that makes a DBAPI connection to a database.

    The URL would have to be put together again, with its password.
    """
    dbapi = base.KVSDialect.import_dbapi()
    return lambda: dbapi.Connection(database)


def _costs(database, engine, statement):
    """Run a statement; return what it took."""
    stats = database.store.stats
    before = stats.round_trips, stats.commands
    with engine.connect() as connection:
        rows = len(connection.execute(statement).all())
    return {"rows": rows, "round_trips": stats.round_trips - before[0],
            "commands": stats.commands - before[1]}
