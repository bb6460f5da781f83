# SPDX-License-Identifier: Apache-2.0
"""``nova-kvs top``: what the services do with their databases, live."""

import time

from nova_kvs.cmd import console

#: Lines of a kind.
_LINES = 15
#: Characters of a name.
_WIDTH = 56
_CLEAR = "\x1b[H\x1b[2J"
#: Kind -> (heading, unit).
_HEADINGS = {
    "databases": ("database", "commits/s"),
    "functions": ("function or statement", "calls/s"),
    "operations": ("store and operation", "trips/s"),
    "clients": ("program and process", "trips/s"),
    "scans": ("database and what reads a table whole", "scans/s"),
    "errors": ("database and kind of error", "errors/s"),
}


def add_parser(subparsers):
    """Add the command to the command line's parser."""
    parser = subparsers.add_parser(
        "top", help="show what the services do, live",
        description="Show commits by database, calls by function, round "
        "trips by operation and process, full scans and errors of the last "
        "interval, busiest first, again and again. It reads what the "
        "services of this host write to metrics_directory, or what "
        "nova-kvs exporter serves on others. Needs the extra prometheus.")
    parser.add_argument(
        "--endpoint", action="append", default=[], metavar="URL",
        help="what nova-kvs exporter serves, as "
        "http://controller1:9427/metrics, instead of this host's directory. "
        "Can be repeated")
    console.add_metrics_directory(parser)
    parser.add_argument(
        "--interval", type=float, metavar="SECONDS",
        help="time between two readings (default: metrics_interval, below "
        "which the services write nothing new)")
    parser.add_argument(
        "--once", action="store_true", help="show one interval and end")
    console.add_common(parser)
    return parser


@console.command
def run(args):
    """Show it until a signal; return the exit status."""
    from nova_kvs import conf
    from nova_kvs.inspection import collected
    interval_s = args.interval
    if args.endpoint:
        sources = [collected.Endpoint(url) for url in args.endpoint]
    else:
        sources = [collected.Directory(console.metrics_directory(args))]
    if interval_s is None:
        interval_s = conf.CONF[conf.GROUP].metrics_interval
    before, read_at = collected.Reading(sources), time.monotonic()
    _check(before)
    while True:
        time.sleep(interval_s)
        now = time.monotonic()
        reading = collected.Reading(sources)
        rates = reading.since(before, max(now - read_at, 0.001))
        if args.json:
            console.print_json(_document(rates, now - read_at))
        else:
            print(("" if args.once else _CLEAR) + _text(
                rates, now - read_at), flush=True)
        if args.once:
            return 0
        before, read_at = reading, now


def _check(reading):
    from nova_kvs import exceptions
    if reading.is_empty:
        raise exceptions.ConfigurationError(
            "no process has written metrics there: set metrics_directory in "
            "[nova_kvs] of the services and restart them")


def _sorted(found):
    return sorted(found.items(), key=lambda item: (
        -item[1].per_s * (item[1].mean_s or 1), item[0]))


def _document(rates, seconds):
    return {"seconds": round(seconds, 3), **{
        kind: [{"name": list(values), "per_second": round(rate.per_s, 3),
                "mean_seconds": rate.mean_s and round(rate.mean_s, 6)}
               for values, rate in _sorted(found)]
        for kind, found in rates.items()}}


def _cut(text):
    """Return a text that fits, or its end."""
    return text if len(text) <= _WIDTH else "..." + text[3 - _WIDTH:]


def _text(rates, seconds):
    lines = ["nova-kvs top: the last %.1f s" % seconds]
    for kind, (heading, unit) in _HEADINGS.items():
        found = _sorted(rates[kind])
        if not found:
            continue
        is_timed = found[0][1].mean_s is not None
        lines += ["", "%-*s %10s%s" % (
            _WIDTH, heading, unit, "   ms each" if is_timed else "")]
        for values, rate in found[:_LINES]:
            lines.append("%-*s %10.1f%s" % (
                _WIDTH,
                _cut(" ".join(value for value in values if value)),
                rate.per_s,
                "%10.2f" % (1000 * rate.mean_s) if is_timed else ""))
        if len(found) > _LINES:
            lines.append("and %d more" % (len(found) - _LINES))
    if len(lines) == 1:
        lines.append("nothing happened")
    return "\n".join(lines)
