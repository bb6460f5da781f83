# SPDX-License-Identifier: Apache-2.0
"""What the services' tracers have noted: layers, and one request's waits."""

import collections
import json
import os
import typing

from experiments import layers


class Event(typing.NamedTuple):
    """A trip to a store, or the answer to a request or message."""

    kind: str
    #: Of CLOCK_MONOTONIC, in seconds.
    begin: float
    end: float
    #: Id of the request to Nova's API for which it was done, or None.
    request: str | None
    label: str
    detail: str
    #: (process, thread) that waited for it, or answered.
    where: tuple
    role: str


class Traces:
    """All that is in a directory of traces by now.

    :param role_of: function of a process id that returns its role, or None.
    """

    def __init__(self, directory, role_of):
        self.events = []
        #: (role, until when, {layer: samples}).
        self._samples = []
        for name in sorted(os.listdir(directory)):
            pid = int(name.partition(".")[0])
            role = role_of(pid)
            if role is not None:
                with open(os.path.join(directory, name)) as stream:
                    for line in stream:
                        self._add(pid, role, line)
        self.events.sort(key=lambda event: event.begin)

    def _add(self, pid, role, line):
        try:
            kind, *rest = json.loads(line)
        except ValueError:  # It is being written.
            return
        if kind == "samples":
            self._samples.append((role, *rest))
        else:
            self.events.append(Event(
                kind, *rest[:5], (pid, rest[5]), role))

    def shares(self, begin, end):
        """Return {role: {layer: share of its work}} within a time."""
        counts = collections.defaultdict(collections.Counter)
        for role, until, some in self._samples:
            if begin <= until <= end:
                counts[role].update(some)
        return {role: {name: count / found.total() for name, count
                       in found.most_common()}
                for role, found in counts.items()}

    def of_request(self, begin, method, path):
        """Return the Events of the first request like this, in order.

        What a thread did while it answered a message or request that belongs
        to it belongs to it, too.

        :param begin: not before this time.
        """
        first = next(event for event in self.events
                     if event.kind == "request" and event.begin >= begin
                     and event.role == "api"
                     and event.label.startswith(method + " ")
                     and path in event.label)
        answers = collections.defaultdict(list)
        found = []
        for event in self.events:
            if event.begin < first.begin:
                continue
            is_part = event is first or event.request == first.request or any(
                other.begin <= event.begin and event.end <= other.end
                for other in answers[event.where])
            if is_part:
                found.append(event)
                if event.kind != "trip":
                    answers[event.where].append(event)
        return found


def role_finder(services):
    """Return a function of a process id that returns its role, or None.

    :param services: role -> processes, which lead their process groups.
    """
    roles = {process.pid: role for role, members in services.items()
             for process in members}

    def role_of(pid):
        try:
            return roles.get(os.getpgid(pid))
        except ProcessLookupError:
            return None

    return role_of


def in_sequence(events):
    """Return the longest sequence of trips that do not overlap."""
    chosen = []
    for event in sorted((event for event in events if event.kind == "trip"),
                        key=lambda event: event.end):
        if not chosen or event.begin >= chosen[-1].end:
            chosen.append(event)
    return chosen


def layers_table(shares, cpu_s):
    """Return lines of a table: CPU seconds by role and layer.

    :param shares: as ``Traces.shares`` returns them.
    :param cpu_s: role -> CPU seconds.
    """
    roles = [role for role in cpu_s if shares.get(role)]
    rows = [["CPU s", *roles, "all"]]
    for name in layers.NAMES:
        seconds = [cpu_s[role] * shares[role].get(name, 0) for role in roles]
        if any(seconds):
            rows.append([name, *map("{:.2f}".format, seconds),
                         "%.2f" % sum(seconds)])
    rows.append(["together", *["%.2f" % cpu_s[role] for role in roles],
                 "%.2f" % sum(cpu_s[role] for role in roles)])
    others = {role: value for role, value in cpu_s.items()
              if role not in roles}
    return _aligned(rows) + ["%s: %.2f s" % pair for pair in others.items()]


def request_table(events):
    """Return lines of a table: who waits for what, in order."""
    begin = events[0].begin
    chosen = {id(event) for event in in_sequence(events)}
    rows = [["ms", "took", "role", "", "what", "operations"]]
    for event in events:
        rows.append([
            "%.1f" % (1000 * (event.begin - begin)),
            "%.1f" % (1000 * (event.end - event.begin)), event.role,
            event.kind if event.kind != "trip" else
            "trip" if id(event) in chosen else "(trip)",
            event.label, event.detail])
    return _aligned(rows)


def summary(events):
    """Return {role: {kind: number}} and the trips in sequence."""
    counts = collections.defaultdict(collections.Counter)
    for event in events:
        counts[event.role][event.kind] += 1
    return {"roles": {role: dict(found) for role, found in counts.items()},
            "trips": sum(found["trip"] for found in counts.values()),
            "trips_in_sequence": len(in_sequence(events)),
            "ms": round(1000 * (max(event.end for event in events)
                                - events[0].begin), 1)}


def _aligned(rows):
    widths = [max(len(row[column]) for row in rows)
              for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width
                      in zip(row, widths)).rstrip() for row in rows]
