# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs upgrade``: raise a database's format and build its indexes."""

import time

from nova_kvs.cmd import console


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "upgrade", help="give a database the indexes of this release",
        description="Raise the format of a database to that of this release "
        "and build the indexes that it lacks, while services use it. "
        "Services of earlier releases are refused from then on: upgrade "
        "all of them first. It can be stopped and run again at any time, "
        "and goes on where it was. Exit status: 0 the database has the "
        "format of this release, 2 not done.")
    console.add_database(parser)
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Upgrade a database; return the exit status."""
    from nova_kvs.record import building
    from nova_kvs import wording
    database = console.open_database(console.chosen(args))
    progress = console.Progress()
    started = time.monotonic()
    builder = building.Builder(
        database,
        lambda rows: progress.count("%d rows looked at" if rows else
                                    "waiting for what earlier services "
                                    "have begun (%d rows)", rows))
    try:
        builder.run()
    finally:
        progress.close()
    after = builder.after
    if args.json:
        console.print_json({
            "database": database.name,
            "format_before": int(builder.before.version),
            "format": int(after.version),
            "rows": builder.rows,
            "seconds": round(time.monotonic() - started, 3)})
    elif builder.before == after:
        print("%s: has format %d, nothing to do" % (
            database.name, after.version))
    else:
        print("%s: format %d, %s in its new indexes after %.1f s" % (
            database.name, after.version,
            wording.number(builder.rows, "row"),
            time.monotonic() - started))
    return 0
