# SPDX-License-Identifier: Apache-2.0
"""The figures of the services as tables, the worst ratio first, and as JSON.
"""

import dataclasses
import datetime

from benchmarks import backends
from benchmarks import report

#: Name of the backend that MariaDB is compared with.
KVS = "dialect"
#: Module -> the service, and what it has many of.
TITLES = {"identity": "Keystone, {} users", "images": "Glance, {} images",
          "volumes": "Cinder, {} volumes", "ports": "Neutron, {} ports"}


def as_json(results):
    """Return everything as what json.dump takes.

    :param results: module -> size -> call's name -> backend's name ->
        measure.Figures.
    """
    return {
        "environment": report.environment(),
        "date": str(datetime.date.today()),
        "services": {
            module: {
                str(size): {
                    call: {name: dataclasses.asdict(figures)
                           for name, figures in by_backend.items()}
                    for call, by_backend in found.items()}
                for size, found in by_size.items()}
            for module, by_size in results.items()}}


def ratio(by_backend):
    """Return the CPU time of the dialect by MariaDB's.

    It depends less than the time on what else the machine does.
    """
    return by_backend[KVS].cpu_ms / by_backend[backends.MARIADB].cpu_ms


def growth(by_size, call, backend):
    """Return by how many times a call reads more at the largest size."""
    first, last = (by_size[size][call][backend].rows
                   for size in (min(by_size), max(by_size)))
    return last / max(first, 1)


def text(results):
    """Return the tables as reStructuredText."""
    parts = [report.head("python -m benchmarks.services")]
    for module, by_size in results.items():
        sizes = sorted(by_size)
        found = by_size[sizes[-1]]
        title = ("%s: milliseconds a call (median), CPU of client and server; "
                 "rows read and commands" % TITLES[module].format(
                     format(sizes[-1], ",")))
        header = ["call", backends.MARIADB, KVS, "ratio of CPU"]
        if len(sizes) > 1:
            title += "; by how much more rows are read than with %s" % format(
                sizes[0], ",")
            header += ["growth", "MariaDB's growth"]
        parts.append(report.csv_table(
            title, header,
            [_row(by_size, found, call) for call in sorted(
                found, key=lambda call: -ratio(found[call]))]))
    return "".join(parts)


def _row(by_size, found, call):
    cells = [call]
    for name in (backends.MARIADB, KVS):
        figures = found[call][name]
        cell = "%.1f (%.1f), %.0f" % (
            figures.median_ms, figures.cpu_ms, figures.rows)
        if name == KVS:
            cell += ", %.0f" % figures.commands
        cells.append(cell)
    cells.append("%.2f" % ratio(found[call]))
    if len(by_size) > 1:
        cells += ["%.1f" % growth(by_size, call, name)
                  for name in (KVS, backends.MARIADB)]
    return cells
