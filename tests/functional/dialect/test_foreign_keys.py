# SPDX-License-Identifier: Apache-2.0
"""Foreign keys while several processes write to one Redis Cluster.

    python -m tests.functional.dialect.test_foreign_keys

prints the time that inserts of children of one parent take, with foreign keys
and without.
"""

import subprocess
import sys
import time

import pytest
import sqlalchemy as sa

from tests import fixtures

PROCESSES = 8
ROUNDS = 60

metadata = sa.MetaData()
parents = sa.Table(
    "parents", metadata, sa.Column("id", sa.Integer, primary_key=True))
strict = sa.Table(
    "strict", metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.ForeignKey("parents.id"), index=True))
owned = sa.Table(
    "owned", metadata, sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("parent_id", sa.ForeignKey("parents.id", ondelete="CASCADE"),
              index=True))
newest = sa.select(sa.func.max(parents.c.id))

_WORK = """
import random
import sys

from oslo_db import exception
from oslo_db.sqlalchemy import engines

from tests.functional.dialect import test_foreign_keys as test

engine = engines.create_engine(sys.argv[1])
choose = random.Random(int(sys.argv[2]))
counts = dict.fromkeys(("child", "gone", "conflict", "refused"), 0)
engine.connect().close()
print("ready", flush=True)
sys.stdin.readline()
done = 0
# One goes on until it has removed a parent, however the others race.
while done < test.ROUNDS or (sys.argv[2] == "0" and not counts["gone"]):
    done += 1
    kind = choose.choice(("child", "child", "child", "gone"))
    table = choose.choice((test.strict, test.owned))
    try:
        with engine.begin() as connection:
            # The newest one, which all processes are about.
            parent = connection.execute(test.newest).scalar()
            if kind == "child":
                connection.execute(table.insert().values(parent_id=parent))
            else:
                if choose.random() < 0.7:
                    connection.execute(test.strict.delete().where(
                        test.strict.c.parent_id == parent))
                connection.execute(test.parents.delete().where(
                    test.parents.c.id == parent))
                connection.execute(test.parents.insert())
        counts[kind] += 1
    except exception.DBReferenceError:
        counts["refused"] += 1
    except (exception.DBDeadlock, exception.DBDuplicateEntry):
        counts["conflict"] += 1
print(counts)
"""


@pytest.fixture
def cluster():
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as servers:
        yield servers


def test_no_child_is_left_without_a_parent(cluster):
    url = cluster.url("race", foreign_keys="true")
    engine = sa.create_engine(url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(parents.insert())
    workers = [
        subprocess.Popen([sys.executable, "-c", _WORK, url, str(number)],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         text=True)
        for number in range(PROCESSES)]
    for worker in workers:
        worker.stdout.readline()
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    outputs = [worker.communicate(timeout=240)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES
    counts = {}
    for text in outputs:
        # Each line is a dict of numbers.
        for item in text.strip().strip("{}").split(", "):
            name, number = item.split(": ")
            counts[name] = counts.get(name, 0) + int(number)
    assert counts["'child'"] and counts["'gone'"], counts
    with engine.connect() as connection:
        known = set(connection.execute(sa.select(parents.c.id)).scalars())
        for table in (strict, owned):
            found = set(connection.execute(
                sa.select(table.c.parent_id)).scalars())
            assert found <= known, (table.name, counts)
    engine.dispose()


def measure(url, count=300):
    """Return what inserts of children of one parent take.

    :returns: seconds, and seconds of this process's processor, for each.
    """
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(owned.insert().values(parent_id=1))
    started = time.perf_counter(), time.process_time()
    for _number in range(count):
        with engine.begin() as connection:
            connection.execute(owned.insert().values(parent_id=1))
    took = (time.perf_counter() - started[0],
            time.process_time() - started[1])
    engine.dispose()
    return tuple(1000 * seconds / count for seconds in took)


def main():
    """Print what foreign keys cost inserts."""
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as servers:
        engine = sa.create_engine(servers.url("race"))
        metadata.create_all(engine)
        with engine.begin() as connection:
            connection.execute(parents.insert().values(id=1))
        for _round in range(4):
            for query in ({}, {"foreign_keys": "true"}):
                print(query, "%.2f ms, %.2f ms of CPU" % measure(
                    servers.url("race", **query)))


if __name__ == "__main__":
    main()
