# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs stats``: what databases hold."""

from nova_kvs.cmd import console
from nova_kvs import wording


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "stats", help="count what databases hold",
        description="Count records and bytes of each table, keys and bytes "
        "on each server, transactions of the last minute and the "
        "housekeeping that waits. Round trips, conflicts and full scans are "
        "known to each service's process only and are not shown: see the "
        "option metrics_directory. Reads all keys of the databases.")
    console.add_database(parser, is_several=True)
    parser.add_argument(
        "--prometheus", action="store_true",
        help="print Prometheus's text format, for a node_exporter's "
        "textfile collector (needs the extra prometheus)")
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Print statistics; return the exit status."""
    from nova_kvs import exceptions
    from nova_kvs.inspection import exposition
    from nova_kvs.inspection import statistics
    from nova_kvs.store import registry
    if args.json and args.prometheus:
        raise exceptions.ConfigurationError(
            "--json and --prometheus exclude each other")
    progress = console.Progress()
    results = []
    try:
        found, faults = console.chosen_all(args)
        if faults:
            raise exceptions.ConfigurationError("; ".join(faults))
        for url in [database.url for database in found]:
            results.append(statistics.collect(
                registry.get_store(url), url.database,
                lambda count, name=url.database: progress.count(
                    "%s: %s", name, wording.number(count, "key"))))
    finally:
        progress.close()
    missing = [found.database for found in results if not found.keys]
    if missing:
        raise exceptions.ConfigurationError(
            "the store has no database of this name",
            database=", ".join(missing))
    if args.json:
        console.print_json([found.document() for found in results])
    elif args.prometheus:
        print(exposition.text(results), end="")
    else:
        for found in results:
            _print(found)
    return 0


def _print(found):
    print("%s: %s, %s" % (
        found.database, wording.number(found.records, "record"),
        wording.number(sum(found.keys.values()), "key")))
    for name, size in sorted(found.tables.items()):
        _print_size("table " + name, size, "record")
    _print_size("indexes and unique keys", found.indexes, "entry", "entries")
    for address, size in sorted(found.servers.items()):
        _print_size("server " + address, size, "key")
    print("  the fullest server has %.2f times the mean" % found.balance)
    print("  transactions of the last %d s: %d committed, %d refused; "
          "%s" % (found.window_s, found.committed, found.refused,
                  wording.number(found.intents, "intent")))
    print("  housekeeping: %d queued, %d overdue%s" % (
        found.queued, found.overdue,
        ": the next process to use it does that" if found.overdue else ""))
    if found.import_source is not None:
        from nova_kvs.inspection import condition
        print("  " + condition.INCOMPLETE % found.import_source)


def _print_size(name, size, thing, things=None):
    count, _, unit = wording.number(size.count, thing, things).partition(" ")
    print("  %-42s %10s %-7s %12s" % (
        name, count, unit, wording.number(size.size_bytes, "byte")))
