# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs backup``: write databases of the store into a file."""

import os
import sys

from nova_kvs.cmd import console
from nova_kvs import wording

#: Ends the name of a file that is not complete.
_UNFINISHED = ".part"


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "backup", help="write databases of the store into a file",
        description="Write all rows of one or several databases into one "
        "compressed file, which nova-kvs restore puts back into a store of "
        "any kind. Each database is read twice: the exit status is 1 if "
        "something wrote to it meanwhile. Stop the services that write to "
        "it for a backup of one moment.")
    console.add_database(parser, is_several=True)
    parser.add_argument(
        "--to", dest="target", metavar="FILE", required=True,
        help="the file to write; - for the standard output")
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Back databases up; return the exit status."""
    from nova_kvs import exceptions
    from nova_kvs.transfer import backup
    found, faults = console.chosen_all(args)
    if faults:
        raise exceptions.ConfigurationError("; ".join(faults))
    databases = [console.open_database(database.url) for database in found]
    for database in databases:
        database.check_import()
    progress = console.Progress()
    is_stream = args.target == "-"
    name = args.target + _UNFINISHED
    try:
        if is_stream:
            found = backup.write(databases, sys.stdout.buffer, progress.step)
        else:
            with open(name, "wb", opener=_private) as stream:
                found = backup.write(databases, stream, progress.step)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(name, args.target)
    except BaseException:
        if not is_stream and os.path.exists(name):
            os.remove(name)
        raise
    finally:
        progress.close()
    output = sys.stderr if is_stream else sys.stdout
    if args.json:
        console.print_json({
            database.name: {"tables": counts, "is_consistent": is_consistent}
            for database, (counts, is_consistent) in zip(databases, found)},
            output)
    else:
        for database, (counts, is_consistent) in zip(databases, found):
            print("%s: %s of %s written%s" % (
                database.name, wording.number(sum(counts.values()), "row"),
                wording.number(len(counts), "table"),
                "" if is_consistent else "; WARNING: something wrote to it "
                "meanwhile, so they are not of one moment"), file=output)
    return 0 if all(is_consistent for _, is_consistent in found) else 1


def _private(path, flags):
    """Open a file that only its owner may read."""
    return os.open(path, flags, 0o600)
