# SPDX-License-Identifier: Apache-2.0
"""The figures as JSON, as a table and as a picture for the documentation."""

import dataclasses
import datetime
import json
import os
import platform
import subprocess
import time
from xml.sax import saxutils

import sqlalchemy

from benchmarks import backends
from benchmarks import measure

_COLOURS = {"dialect": "#9dc9e8", "native": "#2a6592",
            "native-memory": "#4f9a4a",
            "dialect-cluster": "#f0c36d", "native-cluster": "#c0732a"}
_HEAD = ".. SPDX-License-Identifier: Apache-2.0\n.. Made by: %s\n\n"
_COMMAND = "python -m benchmarks"


def say(text, start=time.monotonic()):
    """Print a line with the seconds since the beginning."""
    print("%6.1f s  %s" % (time.monotonic() - start, text), flush=True)


def write(arguments, results, table):
    """Write what there is so far to the files that the arguments name.

    :param table: module that makes JSON and text of results.
    """
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(table.as_json(results), file, indent=1, sort_keys=True)
    if arguments.doc:
        with open(arguments.doc, "w") as file:
            file.write(table.text(results))


def head(command):
    """Return the first lines of a page of figures.

    :param command: that makes it.
    """
    return _HEAD % command + (
        "Measured on %(date)s with Python %(python)s, %(cpus)d CPUs "
        "(%(machine)s), load %(load).1f;\n%(mariadb)s and\n"
        "%(redis)s, both on the same machine.\n\n" % {
            "date": datetime.date.today(), **environment()})


def environment():
    """Return what the figures depend on."""
    return {
        "python": platform.python_version(),
        "sqlalchemy": sqlalchemy.__version__,
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "load": os.getloadavg()[0],
        "mariadb": _version(["mariadbd", "--version"]),
        "redis": _version(["redis-server", "--version"]),
    }


def _version(command):
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    return subprocess.run(
        command, capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": path}).stdout.strip()


def as_json(results, hot):
    """Return everything as what json.dump takes.

    :param results: number of servers -> what ``measure`` returned.
    :param hot: names of the calls in the geometric means.
    """
    return {
        "environment": environment(),
        "hot": list(hot),
        "geomean": measure.geomeans(results, hot),
        "servers": {
            str(servers): {
                call: {backend: dataclasses.asdict(figures)
                       for backend, figures in by_backend.items()}
                for call, by_backend in found.items()}
            for servers, found in results.items()},
    }


def tables(results, hot):
    """Return the tables as reStructuredText."""
    parts = [_HEAD % _COMMAND, _facts(), _summary(results, hot)]
    for servers, found in results.items():
        parts.append(_title("%s servers" % format(servers, ",")))
        parts.append(_times(found, hot))
        parts.append(_costs(found))
    return "".join(parts)


def _facts():
    facts = environment()
    return ("Measured with Python %(python)s, SQLAlchemy %(sqlalchemy)s, "
            "%(cpus)d CPUs (%(machine)s),\n%(mariadb)s and\n%(redis)s,\n"
            "both on the same machine.\n\n"
            % facts)


def _title(text):
    return "%s\n%s\n\n" % (text, "-" * len(text))


def csv_table(title, header, rows):
    """Return a table; cells are text."""
    lines = [".. csv-table:: %s" % title, "   :header-rows: 1", ""]
    lines += ["   " + ", ".join('"%s"' % cell for cell in row)
              for row in [header, *rows]]
    return "\n".join(lines) + "\n\n"


def _number(value):
    return "%.2f" % value if value < 100 else "%.0f" % value


def _summary(results, hot):
    rows = []
    for servers, found in results.items():
        for backend in [backend.name for backend in backends.KVS]:
            if not any(name in found for name in hot):
                continue
            times = measure.ratios(found, hot, backend, "median_ms")
            cpu = measure.ratios(found, hot, backend, "cpu_ms")
            slowest = max(times, key=times.get)
            rows.append([
                format(servers, ","), backend,
                "%.3f" % measure.geometric_mean(times.values()),
                "%.3f" % measure.geometric_mean(cpu.values()),
                "%s (%.2f)" % (slowest, times[slowest])])
    return csv_table(
        "Geometric means of the thirty calls: MariaDB is 1",
        ["servers", "backend", "time", "CPU time", "slowest call"], rows)


def _times(found, hot):
    names = [backends.MARIADB, *(backend.name for backend in backends.KVS)]
    rows = []
    for call, by_backend in found.items():
        base = by_backend[backends.MARIADB].median_ms
        rows.append([call if call in hot else call + " \\*"] + [
            "%s (%s)" % (_number(by_backend[name].median_ms),
                         _number(by_backend[name].p95_ms))
            for name in names] + [
                "%.2f" % (by_backend["native"].median_ms / base)])
    return csv_table(
        "Milliseconds a call: median (95th percentile). \\* is not in the "
        "mean.", ["call", *names, "native / mariadb"], rows)


def _costs(found):
    names = [backends.MARIADB, *(backend.name for backend in backends.KVS)]
    rows = [[call] + [
        "%s + %s, %.1f" % (_number(by_backend[name].client_cpu_ms),
                           _number(by_backend[name].server_cpu_ms),
                           by_backend[name].round_trips)
        for name in names] for call, by_backend in found.items()]
    return csv_table(
        "CPU milliseconds a call: client + server, and round trips",
        ["call", *names], rows)


def plot(results, hot):
    """Return a picture: each hot call's time by MariaDB's, as SVG.

    Logarithmic; the longer a bar to the left, the faster.
    """
    servers = next(iter(results))
    found = results[servers]
    calls = [name for name in hot if name in found]
    names = [backend.name for backend in backends.KVS
             if backend.topology == "server"]
    left, right, top, height = 330, 850, 60, 33
    decades = (0.01, 0.1, 1.0, 10.0)
    scale = (right - left) / 3.0

    def at(value):
        clipped = min(max(value, decades[0]), decades[-1])
        return left + scale * (measure.math.log10(clipped) + 2)

    bottom = top + height * len(calls)
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12" '
        'role="img" aria-label="Time of each call, MariaDB is 1">'
        % (right + 30, bottom + 40),
        "<!-- SPDX-License-Identifier: Apache-2.0 -->",
        '<text x="10" y="20" font-size="15">Median time of a call, MariaDB '
        "is 1 (%s servers, one server each)</text>" % format(servers, ",")]
    for number, name in enumerate(names):
        lines.append(
            '<rect x="%d" y="32" width="14" height="12" fill="%s"/>'
            '<text x="%d" y="43">%s</text>' % (
                left + 120 * number, _COLOURS[name],
                left + 20 + 120 * number, name))
    for decade in decades:
        lines.append(
            '<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s"/>'
            '<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (
                at(decade), top, at(decade), bottom,
                "#333" if decade == 1.0 else "#ddd", at(decade),
                bottom + 16, decade))
    for row, call in enumerate(calls):
        y = top + height * row
        lines.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (
            left - 8, y + 15, saxutils.escape(call)))
        for number, name in enumerate(names):
            ratio = (found[call][name].median_ms
                     / found[call][backends.MARIADB].median_ms)
            start, end = sorted((at(1.0), at(ratio)))
            lines.append(
                '<rect x="%.1f" y="%d" width="%.1f" height="8" fill="%s">'
                "<title>%s: %.3f</title></rect>" % (
                    start, y + 4 + 9 * number, max(1.0, end - start),
                    _COLOURS[name], name, ratio))
    lines.append("</svg>\n")
    return "\n".join(lines)
