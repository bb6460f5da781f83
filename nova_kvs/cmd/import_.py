# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs import``: copy an SQL database into the store."""

from nova_kvs.cmd import console
from nova_kvs import exceptions
from nova_kvs import wording


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
        "are stopped, writes only what has changed since. With --all all "
        "databases of a cloud are moved: schemas are made, and in the end "
        "the cell mappings in the store name the databases there.")
    console.add_url(
        parser, "--from", dest="source",
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
    parser.add_argument(
        "--all", action="store_true",
        help="all databases that the nova.conf and placement.conf from "
        "before, with the URLs of SQL, and the cell mappings name; --to is "
        "then a URL with {name} in the place of the database's name")
    console.add_copy(parser)
    return parser


@console.command
def run(args):
    """Import a database; return the exit status."""
    from nova_kvs import record
    from nova_kvs.transfer import importing
    from nova_kvs.transfer import sql
    if args.all:
        return _run_all(args)
    if not args.source:
        raise exceptions.ConfigurationError(
            "name the SQL database with --from URL, or all with --all")
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


def _run_all(args):
    """Move all databases; return the exit status."""
    from nova_kvs.inspection import configured
    from nova_kvs.transfer import moving
    if args.source or args.database or args.replace or not args.target:
        raise exceptions.ConfigurationError(
            "--all goes with --to URL, --config-file, --dry-run, --pre-copy "
            "and --json")
    options = configured.load(args.config_file)
    files = options.config_file or options.default_config_files or []
    moves = moving.find(options, args.target)
    document, status = {}, 0
    progress = console.Progress()
    try:
        # Before the first is copied, and services are stopped for it.
        for move in moves:
            with moving.naming(move):
                moving.reach(move)
        for move in moves:
            url = configured.parsed(move.target)
            with moving.naming(move):
                counts, done = _move(args, move, moves, files, progress)
            document[move.name] = {
                "target": str(url), "rows": sum(counts.values())}
            if not args.json:
                print("%s -> %s: %s %s" % (
                    move.name, url, wording.number(
                        sum(counts.values()), "row"), done))
        if not args.dry_run and not args.pre_copy:
            status = _check(args, moves, document)
    finally:
        progress.close()
    if args.json:
        console.print_json(document)
    elif not args.dry_run and not args.pre_copy:
        print("Now put these URLs, with their passwords, into nova.conf and "
              "placement.conf, and start the services. The cell mappings "
              "have them.")
    return status


def _move(args, move, moves, files, progress):
    """Move one database, or only try it.

    :returns: table's name -> number of rows, and a text of what was done.
    """
    from nova_kvs.transfer import moving
    from nova_kvs.transfer import sql
    if args.dry_run:
        source = sql.Database(move.source)
        if moving.has_schema(move):
            return moving.try_out(move, source, progress.step), "to copy"
        return moving.count(source), (
            "to copy; values are tried once there is a schema")
    is_api = move is moves[-1]
    if is_api and moving.is_moved(move, moves):
        return {}, "to copy: it was moved before"
    moving.make_schema(move, files, progress.say)
    counts = moving.copy(move, progress.step, args.pre_copy)
    if args.pre_copy:
        return counts, "copied, to be completed without --pre-copy"
    if is_api:
        moving.write_mappings(move, moves)
    return counts, "copied and verified"


def _check(args, moves, document):
    """Check the databases; return the exit status."""
    from nova_kvs.inspection import condition
    from nova_kvs.inspection import configured
    worst = condition.Status.OK
    for move in moves:
        lines = list(condition.examine(configured.parsed(
            move.target, move.name == configured.PLACEMENT)))
        document[move.name]["checks"] = [
            [line.status.name, line.name, line.text] for line in lines]
        for line in lines:
            worst = max(worst, line.status)
            if line.status is not condition.Status.OK and not args.json:
                print("%s: %-7s %s: %s" % (
                    move.name, line.status.name, line.name, line.text))
    return int(worst)
