# SPDX-License-Identifier: Apache-2.0
"""Parents are deleted while other processes insert children of them.

Nothing is left without its parent, nothing that was acknowledged is lost, and
an insert is refused only if its parent is not there.
"""

import collections
import random
import typing

from oslo_db import api
from oslo_db import exception
from oslo_db.sqlalchemy import engines
import pytest
import sqlalchemy as sa

from tests.fault import fleet
from tests import fixtures

PROCESSES = 8
#: The parent that nobody manages to delete, for it always has a child.
LASTING = 1

metadata = sa.MetaData()
parents = sa.Table(
    "parents", metadata, sa.Column("id", sa.Integer, primary_key=True))


def _children(name, **options):
    return sa.Table(
        name, metadata, sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("parent_id", sa.ForeignKey("parents.id", **options),
                  index=True))


#: Table of each action.
strict = _children("strict")
owned = _children("owned", ondelete="CASCADE")
loose = _children("loose", ondelete="SET NULL")
newest = sa.select(sa.func.max(parents.c.id))


class Outcome(typing.NamedTuple):
    """What one process did.

    :ivar counts: Counter of what its transactions came to.
    :ivar children: (table's name, id) -> parent, of acknowledged inserts.
    :ivar gone: parents whose removal was acknowledged.
    :ivar unfounded: refused inserts whose parent was there all the time.
    """

    counts: collections.Counter
    children: dict
    gone: set
    unfounded: list


class _Racer:
    """One process of the race."""

    def __init__(self, number, url):
        self._engine = engines.create_engine(url)
        self._choose = random.Random(number)
        self.outcome = Outcome(collections.Counter(), {}, set(), [])

    def _once(self, work):
        """Run a transaction; a conflict is counted and raised."""
        try:
            with self._engine.begin() as connection:
                return work(connection)
        except (exception.DBDeadlock, exception.DBDuplicateEntry):
            self.outcome.counts["conflict"] += 1
            raise

    @api.wrap_db_retry(max_retries=100, retry_interval=0.01,
                       retry_on_deadlock=True)
    def _transaction(self, work):
        """Run a transaction again until no other one is in its way."""
        return self._once(work)

    def add(self):
        """Insert a child, of the newest parent or of the lasting one."""
        table = self._choose.choice((strict, owned, loose))
        lasting = self._choose.random() < 0.3
        parent = None

        def work(connection):
            nonlocal parent
            parent = LASTING if lasting else connection.execute(
                newest).scalar()
            return connection.execute(table.insert().values(
                parent_id=parent)).inserted_primary_key[0]

        try:
            child = self._transaction(work)
        except exception.DBReferenceError:
            self.outcome.counts["refused"] += 1
            with self._engine.connect() as connection:
                # An id is never given twice.
                if connection.execute(sa.select(parents).where(
                        parents.c.id == parent)).first() is not None:
                    self.outcome.unfounded.append((table.name, parent))
        else:
            self.outcome.counts["child"] += 1
            self.outcome.children[table.name, child] = parent

    def remove(self):
        """Delete the newest parent, and make the next one."""
        clears = self._choose.random() < 0.7
        parent = None

        def work(connection):
            nonlocal parent
            parent = connection.execute(newest).scalar()
            if clears:
                connection.execute(strict.delete().where(
                    strict.c.parent_id == parent))
            connection.execute(parents.delete().where(
                parents.c.id == parent))
            connection.execute(parents.insert())

        try:
            self._transaction(work)
        except exception.DBReferenceError:
            self.outcome.counts["kept"] += 1
        else:
            self.outcome.counts["gone"] += 1
            self.outcome.gone.add(parent)

    def try_to_remove(self):
        """Delete the parent that has children, which is refused."""
        with pytest.raises(exception.DBReferenceError):
            self._transaction(lambda connection: connection.execute(
                parents.delete().where(parents.c.id == LASTING)))
        self.outcome.counts["kept"] += 1

    def close(self):
        self._engine.dispose()


def race(number, ready, _stop, url, rounds):
    """Insert children and delete parents.

    :returns: Outcome.
    """
    racer = _Racer(number, url)
    choose = random.Random(number)
    ready.wait(fleet.PATIENCE_S)
    for _ in range(rounds):
        choose.choice((racer.add, racer.add, racer.add, racer.add,
                       racer.remove, racer.try_to_remove))()
    racer.close()
    return racer.outcome


def check(url, outcomes):
    """Compare what is stored with what was acknowledged.

    :returns: Counter of what all processes did.
    """
    counts = sum((outcome.counts for outcome in outcomes),
                 collections.Counter())
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        known = set(connection.execute(sa.select(parents.c.id)).scalars())
        stored = {
            (table.name, number): parent
            for table in (strict, owned, loose)
            for number, parent in connection.execute(sa.select(table))}
    engine.dispose()
    gone = set().union(*[outcome.gone for outcome in outcomes])
    orphans = {child: parent for child, parent in stored.items()
               if parent not in known
               and (child[0] != loose.name or parent is not None)}
    assert not orphans, counts
    assert not gone & known, counts
    for outcome in outcomes:
        assert not outcome.unfounded, counts
        for child, parent in outcome.children.items():
            if parent in known:
                assert stored[child] == parent
            elif child[0] == loose.name:
                assert stored[child] is None
            else:
                assert child not in stored
    return counts


def _fill(url):
    engine = sa.create_engine(url)
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(parents.insert(), [{"id": LASTING}, {"id": 2}])
        connection.execute(strict.insert().values(parent_id=LASTING))
    engine.dispose()


@pytest.mark.short
@pytest.mark.parametrize("kind", ["server", "cluster"])
def test_children_race_with_the_removal_of_their_parents(
        request, kind, database_name, scale, show):
    if kind == "cluster":
        servers = request.getfixturevalue("cluster")
    else:
        servers = fixtures.RedisServerFixture()
        request.addfinalizer(servers.stop)
        servers.start()
    url = servers.url(database_name, foreign_keys="true")
    _fill(url)

    with fleet.Fleet(race, PROCESSES, url, scale(60, 15)) as racers:
        counts = check(url, racers.stop())

    # All that can happen did.
    assert counts["child"] and counts["gone"] and counts["conflict"]
    show("children have their parents while these are deleted", **counts)
