# SPDX-License-Identifier: Apache-2.0
"""The scale matrix as a table, the worst ratio first, and as JSON."""

import dataclasses
import datetime

from benchmarks import backends
from benchmarks import measure
from benchmarks import report

#: Names of the backends that MariaDB is compared with.
KVS = ("native", "dialect")


def as_json(results):
    """Return everything as what json.dump takes.

    :param results: number of servers -> call's name -> backend's name ->
        measure.Figures.
    """
    return {
        "environment": report.environment(),
        "date": str(datetime.date.today()),
        "servers": {
            str(servers): {
                call: {name: dataclasses.asdict(figures)
                       for name, figures in by_backend.items()}
                for call, by_backend in found.items()}
            for servers, found in results.items()}}


def ratio(by_backend, name):
    """Return the time of a backend by MariaDB's."""
    return (by_backend[name].median_ms
            / by_backend[backends.MARIADB].median_ms)


def growth(results, call, name):
    """Return by what a call takes longer at the largest size."""
    sizes = sorted(results)
    first, last = (results[size][call][name].median_ms
                   for size in (sizes[0], sizes[-1]))
    return last / first


def text(results):
    """Return the tables as reStructuredText."""
    grown = len(results) > 1
    parts = [report.head("python -m benchmarks.scale")]
    for size in sorted(results):
        found = results[size]
        ordered = sorted(found, key=lambda call: -ratio(found[call], KVS[0]))
        means = ["%s %.2f" % (name, measure.geometric_mean(
            [ratio(by_backend, name) for by_backend in found.values()]))
            for name in KVS]
        parts.append(report.csv_table(
            "%s servers: milliseconds a call (median), CPU of client and "
            "server, commands and KiB read; geometric means of the ratios: "
            "%s" % (format(size, ","), ", ".join(means)),
            ["call", backends.MARIADB, *KVS, "ratio", "dialect's ratio",
             *(["growth", "MariaDB's growth"] if grown else [])],
            [[*_row(found, call),
              *(_growths(results, call) if grown else [])]
             for call in ordered]))
    return "".join(parts)


def _growths(results, call):
    return ["%.1f" % growth(results, call, name)
            for name in (KVS[0], backends.MARIADB)]


def _row(found, call):
    by_backend = found[call]
    cells = [call]
    for name in (backends.MARIADB, *KVS):
        figures = by_backend[name]
        cell = "%.2f (%.1f)" % (figures.median_ms, figures.cpu_ms)
        if name != backends.MARIADB:
            cell += ", %.0f, %.0f" % (
                figures.commands, figures.bytes_in / 1024)
        cells.append(cell)
    return [*cells, *["%.2f" % ratio(by_backend, name) for name in KVS]]
