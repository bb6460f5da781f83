# SPDX-License-Identifier: Apache-2.0
"""Checks histories of transactions: what their processes saw, and when.

Three claims, from the weakest assumption to the strongest:

* every row is a linearizable register (``check_registers``);
* what is read of one partition holds all or nothing of each transaction,
  and no transaction overwrites what it has not read (``Order``,
  ``torn_reads``);
* transactions that write or lock whatever they read are strictly
  serializable (``check_serializable``).

:source: Lowe, "Testing for linearizability" (2017), the just-in-time
    variant of Wing and Gong's search; Adya, "Weak consistency" (1999), for
    the graph.
"""

import math

from tests.fault import workload

#: States that the search may hold for one row before it gives up: as many
#: would mean hundreds of writes of unknown outcome.
MAX_CONFIGURATIONS = 200000


class _Operation:
    """A read, or a write that rests on a value.

    :ivar expected: value before it.
    :ivar new: value after it; the same for a read.
    """

    __slots__ = ("begin", "end", "expected", "new")

    def __init__(self, begin, end, expected, new):
        self.begin = begin
        self.end = end
        self.expected = expected
        self.new = new

    def __repr__(self):
        return "%r -> %r in [%d, %s]" % (
            self.expected, self.new, self.begin, self.end)


def _operations(events):
    """Return the operations of each row."""
    rows = {}
    for event in events:
        for name, tag in event.reads.items():
            rows.setdefault(name, []).append(
                _Operation(event.begin, event.loaded, tag, tag))
        if event.status == workload.REFUSED:
            continue
        end = event.end if event.status == workload.COMMITTED else math.inf
        for name, tag in event.writes.items():
            rows.setdefault(name, []).append(
                _Operation(event.sent, end, event.reads[name], tag))
    return rows


def check_registers(events, initial):
    """Check that the history of every row alone is linearizable.

    :param events: list of workload.Event.
    :param initial: dict of row's name -> tag before all of them.
    :returns: number of operations.
    :raises AssertionError: naming the row and the first operation for which
        there is no order.
    """
    rows = _operations(events)
    for name, operations in rows.items():
        stuck = _search(operations, initial[name])
        assert stuck is None, "%s is not linearizable at %r" % (name, stuck)
    return sum(map(len, rows.values()))


def _search(operations, state):
    """Look for an order that explains the operations of one row.

    A configuration is the row's value and the operations that took effect
    without having returned. When an operation returns, it must have taken
    effect in every configuration that is kept.

    :returns: None, or the operation that found no place.
    """
    moments = sorted(
        [(operation.begin, 0, number)
         for number, operation in enumerate(operations)]
        + [(operation.end, 1, number)
           for number, operation in enumerate(operations)
           if operation.end != math.inf])
    pending = set()
    configurations = {(state, frozenset())}
    for _, returns, number in moments:
        if not returns:
            pending.add(number)
            continue
        after = set()
        for configuration in configurations:
            _extend(configuration, number, operations, pending, after)
        if not after:
            return operations[number]
        pending.discard(number)
        configurations = after
    return None


def _extend(configuration, number, operations, pending, after):
    """Add to ``after`` all that a configuration becomes when an operation
    returns.
    """
    seen = {configuration}
    waiting = [configuration]
    while waiting:
        state, done = waiting.pop()
        if number in done:
            # What else may have happened by now can be found later.
            after.add((state, done - {number}))
            continue
        for other in pending - done:
            operation = operations[other]
            if operation.expected != state:
                continue
            following = operation.new, done | {other}
            if following not in seen:
                seen.add(following)
                waiting.append(following)
        assert len(seen) + len(after) < MAX_CONFIGURATIONS, (
            "the history is too long to be decided")


class Order:
    """The order of the tags of each row, as the writes chain them.

    Only for rows that are never deleted: tags are then unique.

    :param events: list of workload.Event.
    :param initial: dict of row's name -> tag before all of them.
    :raises AssertionError: if an update was lost (two transactions
        overwrote the same tag), or a refused write was read.
    """

    def __init__(self, events, initial):
        self.next = {}
        self.writer = {}
        seen = {(name, tag) for event in events
                for name, tag in event.reads.items()}
        self.committed = [
            event for event in events
            if event.status == workload.COMMITTED
            or (event.status == workload.UNKNOWN and any(
                item in seen for item in event.writes.items()))]
        refused = {item for event in events
                   if event.status == workload.REFUSED
                   for item in event.writes.items()}
        assert not refused & seen, "read, though refused: %s" % (
            refused & seen)
        for event in self.committed:
            for name, tag in event.writes.items():
                before = name, event.reads[name]
                assert before not in self.next, "lost update of %s, %s" % (
                    before, event)
                self.next[before] = tag
                self.writer[name, tag] = event
        self.place = {}
        for name, tag in initial.items():
            place = 0
            while tag is not None:
                self.place[name, tag] = place
                place += 1
                tag = self.next.get((name, tag))
        unknown = [item for item in seen if item not in self.place]
        assert not unknown, "read, though never written: %s" % unknown

    def is_torn(self, reads):
        """Tell whether reads show one part of a transaction without another.
        """
        for item in reads.items():
            writer = self.writer.get(item)
            if writer is None:
                continue
            for name, tag in writer.writes.items():
                if name in reads and (self.place[name, reads[name]]
                                      < self.place[name, tag]):
                    return True
        return False


def torn_reads(events, order):
    """Count reads that show only a part of a transaction.

    :returns: ``(partitions, torn, several, fractured)``: reads of one
        partition and how many of them were torn; reads of several
        partitions and how many of them saw only a part of a transaction.
    """
    partitions = torn = several = fractured = 0
    for event in events:
        groups = {}
        for name, tag in event.reads.items():
            groups.setdefault(name.rstrip("+"), {})[name] = tag
        for reads in groups.values():
            partitions += 1
            torn += order.is_torn(reads)
        if len(groups) > 1:
            several += 1
            fractured += order.is_torn(event.reads)
    return partitions, torn, several, fractured


def check_serializable(order):
    """Check that transactions which validate their reads have an order.

    It must agree with the rows' order of tags, with who read what, and
    with real time: strict serializability.

    :param order: Order.
    :returns: number of transactions.
    :raises AssertionError: if there is no such order.
    """
    chosen = [event for event in order.committed
              if event.writes and event.reads.keys()
              <= event.writes.keys() | event.locked]
    edges = _Graph()
    for event in chosen:
        for name, tag in event.reads.items():
            edges.add(order.writer.get((name, tag)), event)
            if name not in event.writes:
                edges.add(event, order.writer.get(
                    (name, order.next.get((name, tag)))))
    _add_real_time(edges, chosen)
    assert edges.is_acyclic(), "no serial order explains the transactions"
    return len(chosen)


def _add_real_time(edges, events):
    """Put whatever ended before another began in front of it.

    One node for every end stands for all that ended until then.
    """
    ends = sorted((event for event in events
                   if event.status == workload.COMMITTED),
                  key=lambda event: event.end)
    for number, event in enumerate(ends):
        edges.add(event, ("end", number))
        if number:
            edges.add(("end", number - 1), ("end", number))
    number = -1
    for event in sorted(events, key=lambda event: event.begin):
        while number + 1 < len(ends) and ends[number + 1].end < event.begin:
            number += 1
        if number >= 0:
            edges.add(("end", number), event)


class _Graph:
    def __init__(self):
        self._after = {}

    def add(self, first, second):
        if first is None or second is None or first is second:
            return
        self._after.setdefault(_key(first), []).append(_key(second))
        self._after.setdefault(_key(second), [])

    def is_acyclic(self):
        counts = dict.fromkeys(self._after, 0)
        for targets in self._after.values():
            for target in targets:
                counts[target] += 1
        free = [node for node, count in counts.items() if not count]
        done = 0
        while free:
            done += 1
            for target in self._after[free.pop()]:
                counts[target] -= 1
                if not counts[target]:
                    free.append(target)
        return done == len(counts)


def _key(node):
    return id(node) if isinstance(node, workload.Event) else node
