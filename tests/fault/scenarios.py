# SPDX-License-Identifier: Apache-2.0
"""The crash matrix: what a fresh client finds after a client was killed.

Used on the embedded store by the unit tests and on real clusters by the
fault suite.
"""

import itertools
import uuid

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.store.redis import raw
from nova_kvs import txn
from nova_kvs.txn import coordinator

OPERATIONS = ("insert", "update", "delete", "unique")
SIZES = (1, 2, 5)
MATRIX = tuple(itertools.product(
    coordinator.FAILPOINTS, SIZES, OPERATIONS))

ROWS = 3
EVERYTHING = ((b"-", b"+"),)


class Killed(BaseException):
    """The client is no more: nothing of it may run on."""


def kill_at(name):
    """Return a failpoint that kills the client at a named point."""
    def failpoint(reached):
        if reached == name:
            raise Killed(name)
    return failpoint


def member(name, field):
    """Return a member of a partition's own index."""
    return b"%s\0%s%s" % (name, field, len(field).to_bytes(2, "big"))


def send(store, key, *args):
    """Run one command behind the back of the code under test."""
    reply, = store.batch((raw.Command(key, args),))
    return reply


def make_due(store, database):
    """Make everything in the housekeeping queue due."""
    for bucket in range(keyspace.GC_BUCKETS):
        key = keyspace.gc_key(database, bucket)
        for item in send(store, key, b"ZRANGE", key, 0, -1):
            send(store, key, b"ZADD", key, 0, item)


def leftovers(store, database):
    """Return what transactions have left: intents, and keys for ever.

    Keys that expire do not count, nor do partitions and their indexes.
    """
    found = []
    for key in store.scan(keyspace.database_pattern(database)):
        kind = send(store, key, b"TYPE", key)
        if kind == b"hash":
            found += [(key, field) for field in send(store, key, b"HKEYS", key)
                      if field.startswith(keyspace.INTENT)]
        elif kind == b"string" and send(store, key, b"PTTL", key) < 0:
            found.append(key)
        elif b":gc:" in key:
            found.append(key)
    return found


class Scenario:
    """One transaction over ``size`` partitions, killed at a failpoint."""

    def __init__(self, store, size, operation):
        self.store = store
        self.database = "crash-" + uuid.uuid4().hex
        self.operation = operation
        self.partitions = [
            keyspace.partition(self.database, "t", "p%d" % number)
            for number in range(size)]
        self.fields = [keyspace.record_field("t", (row,))
                       for row in range(ROWS)]
        self.unique = keyspace.unique_field("t", "name", ("taken",))
        self.entry = operations.Add(
            keyspace.bucket_key(self.database, "t.name", "0"), b"entry")
        self.old = {}
        if operation in ("update", "delete"):
            self.old = self.client().commit([
                txn.Mutation(partition, field, 0, b"old",
                             index_add=(member(b"old", field),))
                for partition in self.partitions for field in self.fields])

    def client(self, **options):
        return txn.Coordinator(self.store, self.database, **options)

    def mutations(self, owner=b"new"):
        changes = []
        for partition in self.partitions:
            for field in self.fields:
                old = self.old.get((partition, field), 0)
                delete = self.operation == "delete"
                changes.append(txn.Mutation(
                    partition, field, old, txn.DELETE if delete else owner,
                    index_add=() if delete else (member(owner, field),),
                    index_remove=(member(b"old", field),) if old else (),
                    uses_floor=delete))
        if self.operation == "unique":
            # The unique key is alone in the last partition, if there are
            # several, as one across partitions is.
            last = self.partitions[-1]
            if len(self.partitions) > 1:
                changes = [change for change in changes
                           if change.partition is not last]
            changes.append(txn.Mutation(
                last, self.unique, 0, owner,
                duplicate=lambda: exceptions.DuplicateKeyError(
                    table="t", columns=("name",), values=("taken",))))
        return changes

    def crash(self, failpoint):
        """Commit with a client that is killed.

        :returns: whether it came to be killed: a small commit does not pass
            every failpoint.
        """
        client = self.client(failpoint=kill_at(failpoint))
        try:
            client.commit(self.mutations(), side_writes=(self.entry,))
        except Killed:
            return True
        return False

    def state(self, client=None):
        """Return "old" or "new", as a fresh client reads it.

        :raises AssertionError: if it is neither: torn.
        """
        client = client or self.client()
        snapshots = client.read(
            [txn.PartitionRead(partition) for partition in self.partitions])
        new = {(change.partition, change.field): change.value
               for change in self.mutations()}
        read = {
            place: snapshot.cells[place[1]].payload
            if place[1] in snapshot.cells else txn.DELETE
            for partition, snapshot in zip(self.partitions, snapshots)
            for place in new if place[0] is partition}
        old = dict.fromkeys(
            new, b"old" if self.old else txn.DELETE)
        assert read in (old, new), "torn: %s" % read
        self.check_indexes(client)
        return "new" if read == new else "old"

    def check_indexes(self, client):
        """Check that every record can be found through the index."""
        for partition in self.partitions:
            (members, _), snapshot = client.read(
                [txn.IndexRead(partition, EVERYTHING),
                 txn.PartitionRead(partition)])
            needed = {member(cell.payload, field)
                      for field, cell in snapshot.cells.items()
                      if field.startswith(keyspace.RECORD)}
            assert needed <= set(members)

    def indexes(self):
        """Return the members of all partitions' indexes."""
        return [set(members) for members, _ in self.client().read(
            [txn.IndexRead(partition, EVERYTHING)
             for partition in self.partitions])]

    def expected_indexes(self):
        """Return what the indexes hold when nothing is in flight."""
        return [
            {member(cell.payload, field)
             for field, cell in snapshot.cells.items()
             if field.startswith(keyspace.RECORD)}
            for snapshot in self.client().read(
                [txn.PartitionRead(partition)
                 for partition in self.partitions])]

    def check_others_go_on(self, state):
        """Check that a client can write the same records later."""
        self.make_intents_old()
        client = self.client()
        if state == "old":
            client.commit(self.mutations(b"next"))
            return
        try:
            client.commit(self.mutations(b"next"))
        except exceptions.DuplicateKeyError:
            assert self.operation == "unique"
        except exceptions.ConflictError:
            pass
        else:
            # Deleting what is deleted: the version does not fit any more.
            raise AssertionError("the second commit was accepted too")

    def make_intents_old(self):
        """Let every intent start its life at the beginning of time."""
        for partition in self.partitions:
            key = partition.key
            pairs = send(self.store, key, b"HGETALL", key)
            for field, value in zip(pairs[::2], pairs[1::2]):
                if field.startswith(keyspace.INTENT):
                    send(self.store, key, b"HSET", key, field,
                         b"0" * 16 + value[16:])

    def intents(self):
        """Return the number of intents in all partitions."""
        return sum(
            field.startswith(keyspace.INTENT)
            for partition in self.partitions
            for field in send(self.store, partition.key, b"HKEYS",
                              partition.key))

    def settle(self):
        """Do all housekeeping, as any other process would."""
        make_due(self.store, self.database)
        self.client().queue.run_all()

    def check_settled(self, state):
        """Check that housekeeping leaves nothing but what is committed.

        :param state: "old" or "new"; None when others have written since.
        """
        self.settle()
        assert leftovers(self.store, self.database) == []
        assert self.indexes() == self.expected_indexes()
        if state is not None:
            assert self.state() == state


def run(store, failpoint, size, operation):
    """Run one cell of the crash matrix on a store."""
    scenario = Scenario(store, size, operation)
    killed = scenario.crash(failpoint)
    reached = size > 1 or failpoint not in ("before_apply", "after_apply")
    assert killed == reached
    committed = not killed or failpoint in (
        "after_commit", "before_apply", "after_apply")
    state = "new" if committed else "old"

    assert scenario.state() == state
    pending = scenario.intents()
    assert (pending > 0) == (size > 1 and failpoint not in (
        "before_prewrite", "after_apply"))
    scenario.make_intents_old()
    assert scenario.state() == state
    assert scenario.intents() == 0
    scenario.check_settled(state)

    scenario = Scenario(store, size, operation)
    scenario.crash(failpoint)
    assert scenario.intents() == pending
    scenario.check_settled(state)

    scenario = Scenario(store, size, operation)
    scenario.crash(failpoint)
    scenario.check_others_go_on(state)
    scenario.check_settled(None)
