# SPDX-License-Identifier: Apache-2.0
"""The recorded runs as tables and pictures for the documentation."""

import glob
import json
import os
from xml.sax import saxutils

from experiments import layers

_HERE = os.path.dirname(__file__)
_RUNS = os.path.join(_HERE, "runs")
_DOC = os.path.join(_HERE, "..", "doc", "source")
_HEAD = (".. SPDX-License-Identifier: Apache-2.0\n"
         '.. Made by "python -m experiments report" from the files in\n'
         "   experiments/runs: do not edit.\n")
_ROLES = ("api", "conductor", "scheduler", "compute", "placement", "store",
          "rabbitmq")
#: Those that are looked into.
_SAMPLED = ("api", "conductor", "scheduler", "placement")
_COLOURS = {"KVS": "#2a6592", "KVS, no native": "#9dc9e8",
            "KVS, cell a site": "#5aa469", "KVS, near": "#1d4f73",
            "KVS, memory": "#16324a", "KVS, cell a site, near": "#2e6b3d",
            "KVS, cell a site, memory": "#1d4527",
            "MariaDB": "#c0732a",
            "Galera": "#8d6cab"}
_NAMES = {"kvs": "KVS", "mariadb": "MariaDB", "galera": "Galera"}
_WIDTH, _LEFT, _RIGHT, _ROW = 720, 250, 130, 20


def load():
    """Return all recorded runs as (name, figures), by name."""
    runs = []
    for path in sorted(glob.glob(os.path.join(_RUNS, "*.json"))):
        with open(path) as stream:
            found = json.load(stream)
        runs += [(os.path.basename(path), run) for run in (
            found if isinstance(found, list) else [found])]
    return runs


def label(run):
    """Return what held the state in a run, in words."""
    name = _NAMES[run["backend"]]
    if run["backend"] == "kvs":
        if run["native"] == "off":
            name += ", no native"
        if run["cells"] == "site":
            name += ", cell a site"
        for value, word in (("nearest", "near"), ("memory", "memory")):
            if "read_from=" + value in run.get("note", ""):
                name += ", " + word
    return name


def _named(run):
    """Return the label with what was different in this run."""
    notes = [label(run)]
    if run.get("note"):
        notes.append(run["note"])
    if run.get("building"):
        notes.append("%d at once" % run["building"])
    if run.get("profile"):
        notes.append("sampled")
    return ", ".join(notes)


def _table(heads, rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [heads, *rows]:
        for number, cell in enumerate(row):
            lines.append("   %s %s" % (
                "* -" if not number else "  -", cell))
    # No blank at the end of an empty cell's line.
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _number(value, digits=1):
    return "" if value is None else "%.*f" % (digits, value)


def _size(run):
    return "%d / %d / %d" % (
        run["controllers"], run["computes"], run["servers"])


def _load(run):
    return "%.0f to %.0f" % tuple(
        sorted(run["environment"]["load"][1:]))


def _times(run):
    boot = run["api"]["boot"]
    return [_number(run["seconds"]), "%d" % run["failures"],
            "%s / %s" % (_number(boot["p50_s"], 2),
                         _number(boot["p95_s"], 2))]


def _one_site(runs):
    return _table(
        ["State", "Size", "Seconds", "Failures", "Boot p50 / p95, s",
         "Show p50, s", "List 50 p50, s", "Machine", "Load"],
        [[_named(run), _size(run), *_times(run),
          _number(run["api"].get("show", {}).get("p50_s"), 3),
          _number(run["api"].get("list", {}).get("p50_s"), 3),
          # Both were not read at exactly the same moments.
          "%.0f %%" % min(100, 100 * run["machine_cpu_s"] / run["seconds"]
                          / run["environment"]["cpus"]),
          _load(run)] for run in runs])


def _cpu(runs):
    return _table(
        ["State", "Size", *[role.capitalize() for role in _ROLES], "All"],
        [[_named(run), _size(run),
          *[_number(run["cpu_s"].get(role, 0)) for role in _ROLES],
          _number(sum(run["cpu_s"].get(role, 0) for role in _ROLES))]
         for run in runs])


def _limits(runs):
    """Say how many boots a second one processor of each kind can carry."""
    rows = []
    for run in runs:
        cost = {role: run["cpu_s"].get(role, 0) / run["servers"]
                for role in _ROLES}
        rows.append([
            _named(run), _size(run),
            "%.0f" % (1000 * sum(cost[role] for role in (
                "api", "conductor", "scheduler"))),
            "%.0f" % (1000 * cost["placement"]),
            "%.0f" % (1000 * cost["store"]),
            _number(1 / cost["store"] if cost["store"] else None, 0),
            _number(1 / sum(cost.values()), 1)])
    return _table(
        ["State", "Size", "Controller, ms CPU a server",
         "Placement, ms CPU", "Store, ms CPU",
         "Servers a second for a core of the store",
         "Servers a second for a core with all of it"], rows)


def _profiles(runs):
    return "\n".join(_table(
        ["%s, %s" % (_named(run), _size(run)),
         *[role.capitalize() for role in _SAMPLED]],
        [[part, *[
            "%.0f %%" % (100 * run["profile"][role].get(part, 0))
            for role in _SAMPLED]]
         for part in layers.NAMES
         if any(part in shares for shares in run["profile"].values())])
        for run in runs)


def _sites(runs):
    rows = []
    for run in runs:
        links = run["links"].values()
        rows.append([
            label(run), "%g" % run["delay_ms"], _size(run), *_times(run),
            "%.0f" % (sum(link["round_trips"] for link in links)
                      / run["servers"]),
            "%.0f" % (sum(link["bytes"] for link in links)
                      / run["servers"] / 1000),
            _number(sum(run["cpu_s"].get(role, 0) for role in _ROLES)),
            _load(run)])
    return _table(
        ["State", "Delay, ms", "Size", "Seconds", "Failures",
         "Boot p50 / p95, s", "Trips a server", "kB a server", "CPU s",
         "Load"], rows)


def _cuts(runs):
    return _table(
        ["State", "Delay, ms", "Size", "Cut, s", "Seconds", "Refused",
         "In ERROR", "Building", "Build requests left",
         "Allocations too many"],
        [[_named(run), "%g" % run["delay_ms"], _size(run),
          "%g" % run["cut_s"], _number(run["seconds"]), run["refused"],
          run["statuses"].get("ERROR", 0), run["statuses"].get("BUILD", 0),
          run["left_over"]["build_requests"], run["left_over"]["consumers"]]
         for run in runs])


def _homes(runs):
    rows = []
    for run in runs:
        same = other = 0
        for pair, count in run["homes"].items():
            booted, homes = pair.split(" > ")
            if homes == booted:
                same += count
            else:
                other += count
        rows.append([label(run), "%d" % run["sites"],
                     "%g" % run["delay_ms"], "%d" % same, "%d" % other])
    return _table(["State", "Sites", "Delay, ms", "State on the same site",
                   "State on another"], rows)


def _conflicts(runs):
    def text(store):
        return ", ".join("%s %d" % (name.replace("_", " "), count)
                         for name, count in store.items())
    return _table(["State", "Size", "Sites", "Delay, ms",
                   "Counted by the store"],
                  [[_named(run), _size(run), "%d" % run["sites"],
                    "%g" % run["delay_ms"], text(run["store"])]
                   for run in runs])


def _commands(named):
    lines, seen = [], set()
    for name, run in named:
        if name not in seen:
            seen.add(name)
            lines += ["``%s``, %s::\n" % (name, run["environment"]["date"]),
                      "    %s\n" % run["command"].split(" --json")[0]]
    return "\n".join(lines)


def _bars(rows):
    """Return a picture of bars.

    :param rows: list of (text, label of the colour, seconds, failures).
    """
    height = _ROW * (len(rows) + 1)
    most = max(row[2] for row in rows)
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" '
             'font-family="sans-serif" font-size="12">' % (_WIDTH, height),
             '<rect width="100%" height="100%" fill="#fff"/>']
    for number, (text, name, value, failures) in enumerate(rows):
        top = _ROW * number + 8
        parts += [
            '<text x="%d" y="%d" text-anchor="end">%s</text>' % (
                _LEFT - 6, top + 12, saxutils.escape(text)),
            '<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
                _LEFT, top, value * scale, _ROW - 5, _COLOURS[name]),
            '<text x="%.1f" y="%d">%.1f s%s</text>' % (
                _LEFT + value * scale + 4, top + 12, value,
                ", %d failed" % failures if failures else "")]
    return "\n".join([*parts, "</svg>", ""])


def _write(path, text):
    with open(os.path.join(_DOC, path), "w") as stream:
        stream.write(text)


def _picture(name, runs, texts):
    """Write a picture of seconds; return what shows it."""
    _write("_static/%s.svg" % name, _bars([
        (text, label(run), run["seconds"], run["failures"])
        for text, run in zip(texts, runs)]))
    return (".. image:: ../_static/%s.svg\n"
            "   :alt: Seconds until all servers were ACTIVE\n" % name)


def write():
    """Write the tables and pictures of all recorded runs."""
    named = load()
    runs = [run for _name, run in named]
    single = [run for run in runs if run["sites"] == 1]
    several = [run for run in runs
               if run["sites"] > 1 and run["cut"] is None]
    cuts = [run for run in runs if run["cut"] is not None]
    sections = [
        ("One site", single, [
            lambda some: _picture("experiments", some, [
                "%s, %s" % (_named(run), _size(run)) for run in some]),
            _one_site]),
        ("CPU seconds by role", single, [_cpu]),
        ("What limits it", single, [_limits]),
        ("Where the services spend their time",
         [run for run in single if run.get("profile")], [_profiles]),
        ("Several sites", several, [
            lambda some: _picture("experiments-sites", some, [
                "%s, %g ms" % (label(run), run["delay_ms"])
                for run in some]),
            _sites]),
        ("A site is cut off", cuts, [_cuts]),
        ("Where the state of a server is",
         [run for run in several if run["homes"]], [_homes]),
        ("Conflicts and work of the store", runs, [_conflicts]),
        ("Command lines", named, [_commands]),
    ]
    parts = [_HEAD]
    for title, some, makers in sections:
        if some:
            parts.append("%s\n%s\n" % (title, "=" * len(title)))
            parts += [make(some) for make in makers]
    _write("contributor/experiments.inc", "\n".join(parts))
