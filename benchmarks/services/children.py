# SPDX-License-Identifier: Apache-2.0
"""Measures what foreign keys cost the inserts of children of one parent.

On one Redis server and on a cluster of three masters, which it starts, with
foreign keys and without, in turn. It passes no judgement.
"""

import argparse
import statistics
import time
import typing

import sqlalchemy as sa

from benchmarks import report
from nova_kvs.record import database
from tests import fixtures

_ROUNDS, _INSERTS = 7, 200


class Cost(typing.NamedTuple):
    """What some inserts took: milliseconds each, and of the store in all."""

    wall_ms: float
    cpu_ms: float
    round_trips: int
    commands: int


class Children:
    """A database in which a parent gets children. A context manager.

    :param url: of an empty database.
    """

    def __init__(self, url):
        self._engine = sa.create_engine(url)
        self._stats = database.open_database(url).store.stats
        metadata = sa.MetaData()
        parents = sa.Table(
            "parents", metadata,
            sa.Column("id", sa.Integer, primary_key=True))
        self._owned = sa.Table(
            "owned", metadata, sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("parent_id", sa.ForeignKey(
                "parents.id", ondelete="CASCADE"), index=True))
        metadata.create_all(self._engine)
        with self._engine.begin() as connection:
            connection.execute(parents.insert().values(id=1))
        self.insert(1)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._engine.dispose()

    def insert(self, count):
        """Insert children, each in a transaction; return the Cost."""
        stats = self._stats
        before = stats.round_trips, stats.commands
        started = time.perf_counter(), time.process_time()
        for _ in range(count):
            with self._engine.begin() as connection:
                connection.execute(self._owned.insert().values(parent_id=1))
        return Cost(
            1000 * (time.perf_counter() - started[0]) / count,
            1000 * (time.process_time() - started[1]) / count,
            stats.round_trips - before[0], stats.commands - before[1])


def _compare(servers):
    """Say what both kinds of inserts take, and their ratio."""
    found = [], []
    with Children(servers.url("free")) as free, Children(servers.url(
            "keyed", foreign_keys="true")) as keyed:
        for _ in range(_ROUNDS):
            for database_of, costs in zip((free, keyed), found):
                costs.append(database_of.insert(_INSERTS))
    medians = [Cost(*map(statistics.median, zip(*costs)))
               for costs in found]
    for name, cost in zip(("without", "with"), medians):
        report.say("%s foreign keys: %.2f ms, %.2f ms of CPU, %.1f trips, "
                   "%.1f commands" % (
                       name, cost.wall_ms, cost.cpu_ms,
                       cost.round_trips / _INSERTS,
                       cost.commands / _INSERTS))
    report.say("ratio of time %.2f, of CPU %.2f" % (
        medians[1].wall_ms / medians[0].wall_ms,
        medians[1].cpu_ms / medians[0].cpu_ms))


def main():
    argparse.ArgumentParser(
        prog="python -m benchmarks.services.children", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for title, servers in (
            ("one server", fixtures.RedisServerFixture()),
            ("three masters",
             fixtures.RedisClusterFixture(masters=3, replicas=0))):
        report.say(title)
        with servers:
            _compare(servers)


if __name__ == "__main__":
    main()
