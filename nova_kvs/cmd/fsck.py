# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs fsck``: find damage in a database, and repair it."""

import time

from nova_kvs.cmd import console
from nova_kvs import exceptions
from nova_kvs import wording


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "fsck", help="find damage in a database that is in use",
        description="Look through a database, also while it is in use, for "
        "records that do not decode, indexes and unique keys that do not "
        "fit the records, transactions that nobody ends and ids below "
        "their counter. What processes have told of commits that failovers "
        "lost is printed, too, and forgotten with --repair: it is no damage "
        "that could be repaired. Exit status: 0 clean, 1 what was found was "
        "repaired, 2 the database is damaged, holds a part of an import or "
        "was not looked through.")
    console.add_database(parser, is_several=True)
    parser.add_argument(
        "--repair", action="store_true",
        help="put right what is found, and do all housekeeping that is due")
    parser.add_argument(
        "--quarantine", metavar="FILE",
        help="where --repair appends what it removes because it does not "
        "decode (default: nova-kvs-NAME.quarantine)")
    parser.add_argument(
        "--all", action="store_true",
        help="tell every finding, not only the first ten of a kind")
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Run fsck; return the exit status."""
    databases, faults = console.chosen_all(args)
    if faults:
        raise exceptions.ConfigurationError("; ".join(faults))
    status, documents = 0, []
    for database in databases:
        found, document = _look_through(args, database.url)
        status = max(status, found)
        documents.append(document)
    if args.json:
        console.print_json(
            documents if len(args.url) != 1 or args.database
            else documents[0])
    return status


def _look_through(args, url):
    """Run fsck on one database, and print the result unless it is JSON.

    :returns: the exit status, and a document.
    """
    from nova_kvs import record
    from nova_kvs.record import importing
    from nova_kvs.txn import loss_reports
    database = record.open_database(url)
    source = importing.source(database.coordinator, database.name)
    started = time.monotonic()
    report = _report(args, url, database)
    seconds = time.monotonic() - started
    lost = loss_reports.reports(database.store, database.name)
    if not args.json:
        _print_lost(lost.values())
        _print(url.database, report, seconds, args.repair, source)
    if args.repair:
        loss_reports.forget(database.store, database.name, list(lost))
    status = 1 if report.found else 0
    if source is not None or not report.is_clean:
        status = 2
    return status, {
        "database": url.database,
        "clean": report.is_clean and source is None,
        "import_source": source,
        "keys": report.keys,
        "records": report.records,
        "pending": report.pending,
        "found": dict(report.found),
        "repaired": {kind: count for kind, count
                     in report.repaired.items() if count},
        "details": report.details,
        "lost_commits": list(lost.values()),
        "seconds": round(seconds, 3),
    }


def _report(args, url, database):
    """Return the Report of a database.

    :raises nova_kvs.exceptions.ConfigurationError: if it is not there.
    """
    from nova_kvs.inspection import fsck
    from nova_kvs.inspection import quarantine
    store = None
    if args.repair:
        store = quarantine.Quarantine(
            args.quarantine or "nova-kvs-%s.quarantine" % url.database).add
    progress = console.Progress()
    try:
        report = fsck.Fsck(
            database, int(url.settings().transaction_lifetime * 1000), store,
            progress.count, args.all).run()
    finally:
        progress.close()
    if not report.keys:
        raise exceptions.ConfigurationError(
            "the store has no database of this name: nothing was looked at",
            database=url.database)
    return report


def _print_lost(reports):
    """Print what processes have told of commits that failovers lost."""
    from nova_kvs.txn import loss_reports
    for report in reports:
        print("lost commits: %d lost, %d of them applied again, %d unknown "
              "(%s, told by %s)" % (
                  report["lost"], report["applied_again"], report["unknown"],
                  loss_reports.time_of(report), report["process"]))
        for key in report["keys"]:
            print("  %s" % key)


def _print(name, report, seconds, is_repairing, source):
    from nova_kvs.inspection import condition
    details = {}
    for detail in report.details:
        details.setdefault(detail["kind"], []).append(detail)
    for kind, count in sorted(report.found.items()):
        print("%s: %d found, %d repaired" % (
            kind, count, report.repaired[kind]))
        for detail in details[kind]:
            rest = " ".join("%s=%s" % item for item in detail.items()
                            if item[0] not in ("kind", "repaired"))
            print("  %s%s" % (
                rest, " (repaired)" if detail["repaired"] else ""))
        if count > len(details[kind]):
            print("  and %d more: --all tells them" % (
                count - len(details[kind])))
    if report.pending:
        print("%s for housekeeping: no damage" % wording.number(
            report.pending, "thing waits", "things wait"))
    verdict = "clean" if report.is_clean else "not clean"
    if source is not None:
        # Repairing what is half there would help nobody.
        verdict = condition.INCOMPLETE % source
    elif report.found and report.is_clean:
        verdict = "clean now"
    elif report.found and not is_repairing:
        verdict += ": run it with --repair"
    print("%s: %s, %s in %.1f s: %s" % (
        name, wording.number(report.keys, "key"),
        wording.number(report.records, "record"), seconds, verdict))
