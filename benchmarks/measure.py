# SPDX-License-Identifier: Apache-2.0
"""Runs the calls on every backend, a few at a time in turn, and sums up.

Whatever else the machine does meanwhile hits all backends alike, since they
take turns in short rounds, in another order each time.
"""

import dataclasses
import math
import random
import statistics

from benchmarks import backends

#: What takes longer than this is not repeated.
_HOPELESS_S = 5


@dataclasses.dataclass
class Figures:
    """What one call took on one backend. Times in milliseconds."""

    samples: int
    median_ms: float
    p95_ms: float
    #: CPU time a call, of the calling process and of the servers.
    client_cpu_ms: float
    server_cpu_ms: float
    round_trips: float
    errors: dict
    #: Commands and bytes of replies of the stores; 0 for MariaDB.
    commands: float = 0
    bytes_in: float = 0
    #: Rows that were read, where the worker counts them.
    rows: float = 0

    @property
    def cpu_ms(self):
        """CPU time a call, of everything."""
        return self.client_cpu_ms + self.server_cpu_ms


def start_workers(servers, cloud, directory, **kwargs):
    """Start one process for each backend.

    :param servers: backends.Servers, filled.
    :param kwargs: of Worker.
    :returns: list of backends.Worker.
    """
    wanted = {backends.MARIADB: "none"}
    wanted.update((backend.name, backend.db_api)
                  for backend in backends.KVS + backends.ETCD
                  if backend.name in servers.urls)
    return [backends.NovaWorker(
        name, servers.urls[name], db_api, servers.pids(name),
        cloud.servers, directory, **kwargs) for name, db_api in wanted.items()]


def measure(workers, calls, rounds, count, budget_s, report):
    """Measure calls.

    :param rounds: times that each backend has its turn, after one to warm
        up.
    :param count: calls of one turn.
    :param budget_s: a call gets fewer of them if it would take longer.
    :returns: dict of call's name -> backend's name -> Figures.
    """
    order = random.Random(1)
    found = {}
    for call in calls:
        slow = {}
        slowest_s = 0
        for worker in workers:
            first = worker.run(call.name, 1, 0)
            if _mean(first["wall_s"]) > _HOPELESS_S:
                # Once must do: it is not a matter of a few milliseconds.
                slow[worker.name] = [first]
                continue
            # The first one may have imported and connected.
            second = worker.run(call.name, 2, 0)
            slowest_s = max(slowest_s, _mean(second["wall_s"]))
        turns = [worker for worker in workers if worker.name not in slow]
        affordable = int(budget_s / (slowest_s * len(workers) + 1e-9))
        planned = min(count, max(2, affordable // rounds))
        answers = {worker.name: [] for worker in workers}
        for number in range(1, min(rounds, max(2, affordable // 2)) + 1):
            order.shuffle(turns)
            for worker in turns:
                answers[worker.name].append(
                    worker.run(call.name, planned, number))
        answers.update(slow)
        found[call.name] = {
            name: _figures(results) for name, results in answers.items()}
        report("%-44s %s" % (call.name, "  ".join(
            "%s %.2f" % (name, figures.median_ms)
            for name, figures in found[call.name].items())))
        for name, figures in found[call.name].items():
            if figures.errors:
                report("  %s: %s" % (name, figures.errors))
    return found


def _mean(values):
    return sum(values) / len(values) if values else 0


def _figures(results):
    walls = sorted(wall for result in results for wall in result["wall_s"])
    errors = {}
    for result in results:
        for text, times in result["errors"].items():
            errors[text] = errors.get(text, 0) + times
    calls = len(walls) + sum(errors.values())

    def each(name):
        return sum(result.get(name, 0) for result in results) / calls

    return Figures(
        len(walls),
        1000 * statistics.median(walls) if walls else math.nan,
        1000 * walls[int(len(walls) * 0.95)] if walls else math.nan,
        1000 * each("cpu_s"), 1000 * each("server_cpu_s"), each("trips"),
        errors, each("commands"), each("bytes_in"), each("rows"))


def ratios(found, names, backend, attribute):
    """Return what a backend took, by what MariaDB took, call by call.

    :param names: of the calls.
    :param attribute: of Figures.
    """
    return {name: getattr(found[name][backend], attribute)
            / getattr(found[name][backends.MARIADB], attribute)
            for name in names if name in found}


def geometric_mean(values):
    """Return the geometric mean of positive numbers; NaN of none."""
    values = list(values)
    if not values:
        return math.nan
    return math.exp(sum(map(math.log, values)) / len(values))


def geomeans(results, names):
    """Return the geometric means over calls and sizes.

    :param results: number of servers -> what ``measure`` returned.
    :returns: dict, of time ratios: below 1 is faster than MariaDB.
    """
    means = {}
    measured = {backend for found in results.values()
                for by_backend in found.values() for backend in by_backend}
    for backend in backends.KVS + backends.ETCD:
        if backend.name not in measured:
            continue
        for suffix, attribute in (("", "median_ms"), ("_cpu", "cpu_ms")):
            key = "%s_vs_mariadb%s" % (backend.name.replace("-", "_"), suffix)
            means[key] = geometric_mean(
                value for found in results.values()
                for value in ratios(found, names, backend.name,
                                    attribute).values())
    return means
