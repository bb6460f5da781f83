# SPDX-License-Identifier: Apache-2.0
"""Checks histories of transactions by what clients saw, and nothing else.

A list is only appended to, by values that are used once. So a list that was
read tells the order of all appends before, and who read which state of it:
from that follow the dependencies between transactions that Adya's anomalies
are cycles of.

:source: Kingsbury and Alvaro, "Elle" (VLDB 2020); Adya, "Weak consistency"
    (1999).
"""

import collections
import itertools

COMMITTED, REFUSED, UNKNOWN = "committed", "refused", "unknown"
READ, APPEND = "read", "append"

#: What READ COMMITTED with repeatable reads excludes.
FORBIDDEN = ("incompatible order", "G0", "G1a", "G1b", "G1c", "internal",
             "duplicate element", "lost update", "real-time")
#: And SERIALIZABLE beyond that.
SERIALIZABLE = (*FORBIDDEN, "fractured read", "G2", "cycle with real time")

_WW, _WR, _RW, _TIME = "ww", "wr", "rw", "time"


class Transaction:
    """A client's transaction: what it did and was told.

    :ivar begin: before its first statement, by a clock that all share.
    :ivar end: after its end; None if that was never told.
    :ivar status: COMMITTED, REFUSED or UNKNOWN.
    :ivar operations: list of (READ, key, tuple of values) and (APPEND, key,
        value), in order.
    """

    def __init__(self, begin, end, status, operations):
        self.begin = begin
        self.end = end
        self.status = status
        self.operations = operations

    def __repr__(self):
        return "<%s %s-%s %s>" % (
            self.status, self.begin, self.end, self.operations)


class History:
    """The analysis of the transactions on some lists.

    :param transactions: of class Transaction; the last ones may be reads of
        every list.
    :ivar anomalies: Counter of names of anomalies.
    :ivar examples: name of an anomaly -> what shows the first of it.
    """

    def __init__(self, transactions):
        self.anomalies = collections.Counter()
        self.examples = {}
        self._writers = {}
        #: (transaction, key) -> the values that it appends, in order.
        self._appended = collections.defaultdict(list)
        for one in transactions:
            for kind, key, value in one.operations:
                if kind == APPEND:
                    self._writers[key, value] = one
                    self._appended[one, key].append(value)
        #: Transaction -> {key: what it read first, without its own}.
        self._read = {one: self._reads_of(one) for one in transactions}
        seen = {(key, value) for one in transactions
                if one.status == COMMITTED
                for key, values in self._read[one].items()
                for value in values}
        #: Those that were committed, as far as anybody can tell.
        self.committed = [one for one in transactions if (
            one.status == COMMITTED or one.status == UNKNOWN and any(
                (key, value) in seen
                for kind, key, value in one.operations if kind == APPEND))]
        self._order = self._orders()
        self._check_values()
        self._check_updates()
        self._check_real_time()
        self._check_fractures()
        self._check_cycles()

    def _note(self, name, *example):
        self.anomalies[name] += 1
        self.examples.setdefault(name, example)

    def _reads_of(self, one):
        found = {}
        own = collections.defaultdict(list)
        for kind, key, value in one.operations:
            if kind == APPEND:
                own[key].append(value)
                continue
            count = len(own[key])
            values = tuple(value)
            if count and list(values[-count:]) != own[key]:
                self._note("internal", one, key)
                continue
            values = values[:len(values) - count]
            if found.setdefault(key, values) != values:
                self._note("internal", one, key)
        return found

    def _orders(self):
        """Return the longest state of each list that was read."""
        orders = {}
        for one in self.committed:
            for key, values in self._read[one].items():
                known = orders.setdefault(key, values)
                longer, shorter = (known, values) if (
                    len(known) >= len(values)) else (values, known)
                if longer[:len(shorter)] != shorter:
                    self._note("incompatible order", one, key, known, values)
                orders[key] = longer
        for key, values in orders.items():
            if len(set(values)) < len(values):
                self._note("duplicate element", key, values)
        return orders

    def _check_values(self):
        for one in self.committed:
            for key, values in self._read[one].items():
                for value in values:
                    writer = self._writers.get((key, value))
                    if writer is None or writer.status == REFUSED:
                        self._note("G1a", one, key, value)
                if values:
                    writer = self._writers.get((key, values[-1]))
                    if writer is not None and writer is not one and (
                            self._appended[writer, key][-1] != values[-1]):
                        self._note("G1b", one, key, values[-1])

    def _check_updates(self):
        """Look for two that have replaced the same state of a list."""
        rested = collections.defaultdict(set)
        for one in self.committed:
            if one.status != COMMITTED:
                continue
            for key, values in self._read[one].items():
                if self._appended.get((one, key)):
                    rested[key, len(values)].add(one)
        for place, several in rested.items():
            if len(several) > 1:
                self._note("lost update", place, *several)

    def _check_real_time(self):
        """Look for reads of what had been replaced before they began."""
        for key in self._order:
            ends = sorted(
                (writer.end, self._place(key, values[-1]))
                for (writer, name), values in self._appended.items()
                if name == key and writer.status == COMMITTED
                and self._place(key, values[-1]) is not None)
            highest = list(itertools.accumulate(
                [place for _end, place in ends], max))
            for one in self.committed:
                if one.status != COMMITTED or key not in self._read[one]:
                    continue
                before = sum(end < one.begin for end, _ in ends)
                if before and highest[before - 1] >= len(
                        self._read[one][key]):
                    self._note("real-time", one, key)

    def _place(self, key, value):
        try:
            return self._order.get(key, ()).index(value)
        except ValueError:
            return None

    def _check_fractures(self):
        """Look for reads of some of what one transaction wrote."""
        wrote = collections.defaultdict(dict)
        for (writer, key), values in self._appended.items():
            wrote[writer][key] = values[-1]
        for one in self.committed:
            reads = self._read[one]
            for writer in {
                    self._writers.get((key, value))
                    for key, values in reads.items() for value in values}:
                if writer is None or writer is one:
                    continue
                if any(key in reads and value not in reads[key]
                       for key, value in wrote[writer].items()):
                    self._note("fractured read", one, writer)

    def lost(self):
        """Return (key, value) of what was committed and is not there.

        For a history that ends with a read of every list.
        """
        return [(key, value) for (writer, key), values in (
            self._appended.items()) if writer.status == COMMITTED
            for value in values if self._place(key, value) is None]

    # Cycles -----------------------------------------------------------------

    def _edges(self):
        """Return transaction -> {transaction: set of kinds of edges}."""
        edges = collections.defaultdict(
            lambda: collections.defaultdict(set))
        known = set(self.committed)

        def add(kind, first, second):
            if first is not second and first in known and second in known:
                edges[first][second].add(kind)

        for key, values in self._order.items():
            writers = [self._writers.get((key, value)) for value in values]
            for first, second in itertools.pairwise(writers):
                add(_WW, first, second)
            for one in self.committed:
                seen = self._read[one].get(key)
                if seen is None or values[:len(seen)] != seen:
                    continue
                if seen:
                    add(_WR, writers[len(seen) - 1], one)
                if len(seen) < len(writers):
                    add(_RW, one, writers[len(seen)])
        return edges

    def _check_cycles(self):
        edges = self._edges()
        found = set()
        for name, kinds in (("G0", {_WW}), ("G1c", {_WW, _WR}),
                            ("G2", {_WW, _WR, _RW})):
            for cycle in components(
                    {one: [other for other, has in others.items()
                           if has & kinds]
                     for one, others in edges.items()}):
                if not found & set(cycle):
                    self._note(name, *cycle)
                found.update(cycle)
        graph = {one: list(others) for one, others in edges.items()}
        self._add_times(graph)
        for cycle in components(graph):
            cycle = [one for one in cycle if isinstance(one, Transaction)]
            if not found & set(cycle):
                self._note("cycle with real time", *cycle)

    def _add_times(self, graph):
        """Add edges from all that had ended to all that began later.

        By way of a node for each end, which are in a row.
        """
        ends = sorted({one.end for one in self.committed
                       if one.status == COMMITTED})
        for first, second in itertools.pairwise(ends):
            graph.setdefault((_TIME, first), []).append((_TIME, second))
        begun = sorted(self.committed, key=lambda one: one.begin)
        at = 0
        for one in begun:
            while at < len(ends) and ends[at] < one.begin:
                at += 1
            if at:
                graph.setdefault((_TIME, ends[at - 1]), []).append(one)
            if one.status == COMMITTED:
                graph.setdefault(one, []).append((_TIME, one.end))


def components(graph):
    """Return the strongly connected components of more than one node.

    :source: Tarjan (1972), without recursion.
    """
    numbers, lows, stack, on_stack, found = {}, {}, [], set(), []
    for root in list(graph):
        if root in numbers:
            continue
        work = [(root, iter(graph.get(root, ())))]
        numbers[root] = lows[root] = len(numbers)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, rest = work[-1]
            for other in rest:
                if other not in numbers:
                    numbers[other] = lows[other] = len(numbers)
                    stack.append(other)
                    on_stack.add(other)
                    work.append((other, iter(graph.get(other, ()))))
                    break
                if other in on_stack:
                    lows[node] = min(lows[node], numbers[other])
            else:
                work.pop()
                if work:
                    above = work[-1][0]
                    lows[above] = min(lows[above], lows[node])
                if lows[node] == numbers[node]:
                    component = []
                    while True:
                        one = stack.pop()
                        on_stack.discard(one)
                        component.append(one)
                        if one is node or one == node:
                            break
                    if len(component) > 1:
                        found.append(component)
    return found
