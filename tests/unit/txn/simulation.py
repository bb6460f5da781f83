# SPDX-License-Identifier: Apache-2.0
"""Clients that take turns at every single item that they send.

A client is a greenlet; the hub chooses who goes on, kills clients, loses
replies, runs scripts again that ran long ago, and lets the servers' clocks go
on for longer than anything is kept while clients stand still. After each step
and at the end the stored data is compared with what the clients were told.

With some seeds servers fail: each partition is one, and has a replica that is
some writes behind and takes over. With ``commit_replicas`` what was reported
as committed must be there all the same. Without, it may be lost, and who
committed it must tell of it: of all that is lost, and of nothing else.

A seed makes every choice, and nothing else has any influence: clocks stand
still but for what the simulation makes of them, and each run begins with an
empty store and the same names. So a seed does the same whenever and wherever
it runs. This runs a seed, and as many that follow it as wanted:

    python -m tests.unit.txn.simulation SEED [COUNT]
"""

import argparse
import collections
import dataclasses
import functools
import itertools
import os
import random as stdlib_random
import sys
import time
from unittest import mock

import greenlet

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import base
from nova_kvs.store import operations
from nova_kvs.store.redis import commands
from nova_kvs.store.redis import raw
from nova_kvs import txn
from nova_kvs.txn import lost_commits
from nova_kvs.txn import mutation
from nova_kvs.txn import retry
from tests.fault.blackbox import checker
from tests.fault import scenarios
from tests.unit.txn import direct

PAIR = [keyspace.record_field("t", (row,)) for row in (1, 2)]
LOCKED = keyspace.record_field("t", (3,))
FLOORED = keyspace.record_field("h", (1,))
UNIQUE = keyspace.unique_field("t", "name", ("n",))

DATABASE = "simulation"
COMMITTED, ABORTED, UNKNOWN = "committed", "aborted", "unknown"
#: The time at the start, and seconds that each item takes.
START_S = 1.7e9
STEP_S = 0.001
#: Longer than a transaction lives, than outcomes and than aborts are kept.
LEAPS_S = (11, 70, 700)
#: What is read of a partition by who is serializable.
FIELDS = (*PAIR, LOCKED, FLOORED)


@dataclasses.dataclass
class Change:
    """What a transaction wanted to do to one field."""

    place: tuple
    expected: int
    version: int
    payload: bytes | None


@dataclasses.dataclass
class Transaction:
    changes: list
    state: str = UNKNOWN
    #: Place -> version that was read, if it is serializable.
    seen: dict | None = None

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        return self is other


class Post:
    """Items that are on their way, and what gets the replies to all."""

    def __init__(self, items, done):
        self.done = done
        self.replies = [None] * len(items)
        self.waiting = list(enumerate(items))


class SteppedStore:
    """A client's way to the store: gives the turn away before each item."""

    def __init__(self, simulation):
        self.simulation = simulation
        if simulation.servers is not None:
            self.CHARACTERISTICS = {base.Characteristics.REPLICAS}

    def incarnation(self, key):
        servers = self.simulation.servers
        return None if servers is None else servers.incarnation(key)

    def is_replaced(self, incarnation):
        return True

    @property
    def successions(self):
        return self.simulation.servers.successions

    def batch(self, items, replicas=0, *args):
        simulation = self.simulation
        items = list(items)
        fault = simulation.choose_fault()
        if fault == "refused":
            simulation.give_turn()
            raise exceptions.StoreUnavailableError()
        replies = [None] * len(items)
        servers = {}
        waiting = collections.defaultdict(collections.deque)
        for number, item in enumerate(items):
            waiting[item.key].append(number)
        # What a lost connection leaves out.
        lost_after = (simulation.random.randrange(len(items) + 1)
                      if fault == "lost" else len(items))
        for _ in range(lost_after):
            key = simulation.random.choice(sorted(waiting))
            number = waiting[key].popleft()
            if not waiting[key]:
                del waiting[key]
            simulation.give_turn()
            servers[number] = self.incarnation(items[number].key)
            replies[number] = simulation.execute(items[number])
        if fault == "lost":
            if any(map(raw.is_write, commands.encode(items))):
                raise exceptions.UndeterminedError()
            raise exceptions.StoreUnavailableError()
        if replicas:
            for number, item in enumerate(items):
                # WAIT is asked of the server that wrote it: if that has
                # failed meanwhile the new one gets the item, too.
                if servers[number] is not self.incarnation(item.key):
                    replies[number] = simulation.execute(item)
            replies.append(simulation.wait(items))
        return replies

    def post(self, items, done):
        """Leave items to the network, which loses some."""
        self.simulation.give_turn()
        self.simulation.posted.append(Post(list(items), done))


def _server(key):
    """Return the server that has a key: each hash tag's own."""
    return key[:key.index(b"}") + 1]


class Servers:
    """Servers that fail, and their replicas, which are behind.

    :ivar seq: server -> number of writes.
    """

    def __init__(self, store):
        self._store = store
        self.seq = collections.Counter()
        self.successions = 0
        self._incarnations = {}
        #: Server -> writes that its replica has, and the keys it has then.
        self._replicated = {}
        #: Server -> (number of the write, outcome key of a transaction's
        #: part, field, what became of its change there).
        self._events = collections.defaultdict(list)

    def incarnation(self, key):
        return self._incarnations.setdefault(_server(key), object())

    def run(self, item):
        """Run an item, and note what it does to a transaction's part."""
        kind = type(item)
        is_staging = kind in (operations.Prewrite, operations.Resolve)
        before = self._intents(item) if is_staging else set()
        reply, = self._store.batch((item,))
        if not raw.is_write(*commands.encode([item])):
            return reply
        server = _server(item.key)
        self.seq[server] += 1
        if kind is operations.Commit:
            if reply.verdict is operations.Verdict.COMMITTED:
                part, = item.parts
                self._note(item.outcome_key, "applied", [
                    change.field for change in part.changes])
        elif is_staging:
            after = self._intents(item)
            self._note(item.outcome_key, "staged", after - before)
            self._note(
                item.outcome_key, "applied" if kind is operations.Resolve
                and item.committed else "removed", before - after)
        return reply

    def _intents(self, item):
        """Return the fields on which a transaction has intents."""
        pairs = scenarios.send(
            self._store, item.key, b"HGETALL", item.key)
        return {field[1:] for field, value in zip(pairs[::2], pairs[1::2])
                if field.startswith(keyspace.INTENT)
                and mutation.Intent.parse(value).txn_id == item.txn_id}

    def _note(self, outcome_key, done, fields):
        server = _server(outcome_key)
        self._events[server] += [
            (self.seq[server], outcome_key, field, done) for field in fields
            if self.state(outcome_key, field) != "applied"]

    def state(self, outcome_key, field):
        """Return what became of a transaction's change of a field."""
        return next((
            done for _, key, changed, done in reversed(
                self._events[_server(outcome_key)])
            if (key, changed) == (outcome_key, field)), None)

    def replicate(self, server):
        """Let a replica have all writes of its master."""
        if self._replicated.get(server, (None,))[0] == self.seq[server]:
            return
        keys = {}
        for key in self._store.scan(server + b"*"):
            dump = scenarios.send(self._store, key, b"DUMP", key)
            life_ms = scenarios.send(self._store, key, b"PTTL", key)
            if dump is not None:
                keys[key] = (dump, None if life_ms < 0
                             else 1000 * time.time() + life_ms)
        self._replicated[server] = self.seq[server], keys

    def fail(self, server):
        """Let its replica take over."""
        seq, keys = self._replicated.get(server, (0, {}))
        for key in list(self._store.scan(server + b"*")):
            scenarios.send(self._store, key, b"DEL", key)
        for key, (dump, until_ms) in keys.items():
            life_ms = 0 if until_ms is None else int(
                until_ms - 1000 * time.time())
            if until_ms is None or life_ms > 0:
                scenarios.send(
                    self._store, key, b"RESTORE", key, life_ms, dump)
        self._events[server] = [
            event for event in self._events[server] if event[0] <= seq]
        self.seq[server] = seq
        self._incarnations[server] = object()
        self.successions += 1


class Simulation:
    """Some clients on a store.

    :param store: the store.
    :param random: makes every choice.
    :param faults: whether anything ever goes wrong.
    :param check_every: number of steps after which what is stored is checked.
    :param replicas: ``commit_replicas`` if servers fail; None: they do not.
    :ivar servers: Servers, if they fail.
    """

    def __init__(self, store, random, faults, check_every=1, replicas=None):
        self.store = store
        self.random = random
        self.faults = faults
        self.check_every = check_every
        self.database = DATABASE
        self.partitions = [
            keyspace.partition(self.database, "t", "p%d" % number)
            for number in range(3)]
        self.unique_partition = keyspace.partition(self.database, "u", "n")
        self.everywhere = [*self.partitions, self.unique_partition]
        self.transactions = []
        self.payloads = {}
        self.written = []
        self._numbers = itertools.count(1)
        self._hub = None
        #: Client -> turns of others for which it still sleeps.
        self._asleep = {}
        self.now_s = 0
        #: How far servers' clocks are ahead of those of clients.
        self.ahead_s = 0
        self.replicas = replicas
        self.servers = None if replicas is None else Servers(store)
        #: List of Post.
        self.posted = []
        #: Those that have committed something.
        self.clients = []
        #: (id of a transaction, partition) that were told to be lost.
        self.told = set()
        self.failovers = 0

    def client(self, store=None):
        coordinator = txn.Coordinator(
            store or SteppedStore(self), self.database,
            commit_replicas=self.replicas or 0)
        # As whoever opens a database does.
        coordinator.learn_clock(1000 * time.time())
        return coordinator

    # What clients call.

    def give_turn(self):
        if greenlet.getcurrent() is not self._hub:
            self._hub.switch()

    def wait(self, items):
        """Return how many replicas have what a batch wrote."""
        if self.faults and self.random.random() < 0.1:
            return 0
        for item in items:
            self.servers.replicate(_server(item.key))
        return 1

    def pause(self, round_number):
        """Sleep while others take turns: twice as many each round."""
        self._asleep[greenlet.getcurrent()] = 1 << round_number
        self.give_turn()

    def choose_fault(self):
        if not self.faults:
            return None
        return self.random.choices(
            (None, "lost", "refused"), (94, 4, 2))[0]

    def execute(self, item):
        """Run one item, sometimes twice, and remember it if it writes."""
        reply = self.send(item)
        if raw.is_write(*commands.encode([item])):
            self.written.append(item)
            if self.faults and self.random.random() < 0.05:
                reply = self.send(item)
        return reply

    def send(self, item):
        """Run one item."""
        self.now_s += STEP_S
        if self.servers is not None:
            return self.servers.run(item)
        reply, = self.store.batch((item,))
        return reply

    # What a client does.

    def write(self):
        """Run one transaction."""
        client = self.client()
        self.clients.append(client)
        serializable = self.random.random() < 0.6
        targets = self.random.sample(
            self.partitions,
            1 if serializable else self.random.randint(1, 3))
        reads = [txn.PartitionRead(partition) for partition in (
            self.partitions if serializable else targets)]
        try:
            results = client.read(reads)
        except exceptions.StoreUnavailableError:
            return
        verified = list(zip(reads, results)) if serializable else ()
        known = dict(zip([read.partition for read in reads], results))
        snapshots = [known[partition] for partition in targets]
        changes = []
        mutations = []

        def change(partition, field, old, delete=False, floor=None):
            number = next(self._numbers)
            payload = None if delete else b"%d" % number
            expected = old.version if old else 0
            version = expected + 1
            if delete:
                version = 0
            elif not old:
                version = number * 1000 if floor is None else floor + 1
            changes.append(
                Change((partition, field), expected, version, payload))
            mutations.append(txn.Mutation(
                partition, field, expected,
                txn.DELETE if delete else payload,
                version=None if old else version,
                uses_floor=floor is not None,
                index_add=() if delete
                else (scenarios.member(payload, field),),
                index_remove=(scenarios.member(old.payload, field),)
                if old else (),
                duplicate=None if old else exceptions.DuplicateKeyError))

        for partition, snapshot in zip(targets, snapshots):
            self.check_snapshot(snapshot)
            cells = snapshot.cells
            delete = PAIR[0] in cells and self.random.random() < 0.3
            # Both of a pair carry the same number, and go together.
            for field in PAIR:
                change(partition, field, cells.get(field), delete)
            if not delete:
                changes[-1].payload = changes[-2].payload
                mutations[-1].value = mutations[-2].value
                mutations[-1].index_add = (scenarios.member(
                    mutations[-1].value, PAIR[1]),)
            if self.random.random() < 0.5:
                old = cells.get(FLOORED)
                change(partition, FLOORED, old,
                       bool(old) and self.random.random() < 0.5,
                       snapshot.floor)
            elif self.random.random() < 0.3:
                old = cells.get(LOCKED)
                mutations.append(txn.Mutation(
                    partition, LOCKED, old.version if old else 0, txn.LOCK))
        if self.random.random() < 0.4:
            try:
                snapshot, = client.read(
                    [txn.FieldsRead(self.unique_partition, (UNIQUE,))])
            except exceptions.StoreUnavailableError:
                return
            old = snapshot.cells.get(UNIQUE)
            change(self.unique_partition, UNIQUE, old, delete=bool(old))
        transaction = Transaction(changes)
        if serializable:
            transaction.seen = {
                (read.partition, field): result.cells[field].version
                for read, result in verified for field in FIELDS
                if field in result.cells}
        self.transactions.append(transaction)
        try:
            client.commit_and_read(
                mutations, (), (), verified=verified,
                serializable=serializable)
        except exceptions.UndeterminedError:
            pass
        except exceptions.KVSError:
            transaction.state = ABORTED
        else:
            transaction.state = COMMITTED

    def fill(self):
        """Let there be rows at the start, that can be read."""
        changes = [Change((partition, field), 0, 1, b"0")
                   for partition in self.partitions for field in PAIR]
        self.client(self.store).commit([txn.Mutation(
            *change.place, 0, change.payload, version=change.version,
            index_add=(scenarios.member(
                change.payload, change.place[1]),)) for change in changes])
        self.transactions.append(Transaction(changes, COMMITTED))
        if self.servers is not None:
            for partition in self.everywhere:
                self.servers.replicate(partition.key)

    def read(self):
        """Look at everything."""
        try:
            snapshots = self.client().read(
                [txn.PartitionRead(partition)
                 for partition in self.partitions]
                + [txn.FieldsRead(partition, tuple(PAIR))
                   for partition in self.partitions])
        except exceptions.StoreUnavailableError:
            return
        for snapshot in snapshots:
            self.check_snapshot(snapshot)

    def keep_house(self):
        """Settle whatever is in the queue, although it is not due."""
        scenarios.make_due(self.store, self.database)
        try:
            self.client().queue.run_all(2)
        except exceptions.KVSError:
            return

    # The hub.

    def run(self, writers, readers, housekeepers):
        """Let clients take turns until all are done or dead."""
        self._hub = greenlet.getcurrent()
        clients = [greenlet.greenlet(work) for work, count in (
            (self.write, writers), (self.read, readers),
            (self.keep_house, housekeepers)) for _ in range(count)]
        for step in itertools.count(1):
            if not clients:
                break
            awake = [one for one in clients if not self._asleep.get(one)]
            client = self.random.choice(awake or clients)
            for one in self._asleep:
                self._asleep[one] = max(self._asleep[one] - 1, 0)
            if self.faults and client and self.random.random() < 0.01:
                try:
                    client.throw(scenarios.Killed())
                except scenarios.Killed:
                    pass
            else:
                client.switch()
            if client.dead:
                clients.remove(client)
            if self.posted and self.random.random() < 0.3:
                self.deliver()
            if self.faults:
                self.disturb()
            if step % self.check_every == 0:
                self.check_stored()

    def deliver(self):
        """Run something of what is on its way, or lose all that is left."""
        post = self.random.choice(self.posted)
        if self.faults and self.random.random() < 0.1:
            self.posted.remove(post)
            return
        number, item = post.waiting.pop(
            self.random.randrange(len(post.waiting)))
        post.replies[number] = self.execute(item)
        if not post.waiting:
            self.posted.remove(post)
            if post.done is not None:
                post.done(post.replies)

    def disturb(self):
        if self.written and self.random.random() < 0.05:
            self.send(self.random.choice(self.written))
        if self.random.random() < 0.03:
            self.make_intents_old()
        if self.replicas != 0 and self.random.random() < 0.01:
            # Without replicas who asks for outcomes relies on clocks.
            self.ahead_s += self.random.choice(LEAPS_S)
        if self.servers is not None:
            self.disturb_servers()

    def disturb_servers(self):
        servers = sorted(self.servers.seq)
        if not servers:
            return
        if self.random.random() < 0.1:
            self.servers.replicate(self.random.choice(servers))
        if self.random.random() < 0.04:
            # Rather one with records than one of a queue or an outcome.
            failed = self.random.choice(
                [*servers, *[partition.key for partition in self.everywhere]])
            self.servers.fail(failed)
            self.failovers += 1
            # What was on its way to the old one is gone, and versions that
            # nobody has any more may be used again.
            self.written = [item for item in self.written
                            if _server(item.key) != failed]
            for post in self.posted:
                waiting = [(number, item) for number, item in post.waiting
                           if _server(item.key) != failed]
                if len(waiting) < len(post.waiting):
                    post.waiting, post.done = waiting, None
            self.posted = [post for post in self.posted if post.waiting]
            self.payloads = {place: payload for place, payload
                             in self.payloads.items()
                             if place[0].key != failed}

    def make_intents_old(self):
        for partition in self.everywhere:
            for field, value in self.raw(partition).items():
                if field.startswith(keyspace.INTENT):
                    scenarios.send(
                        self.store, partition.key, b"HSET", partition.key,
                        field, b"0" * 16 + value[16:])

    def settle(self):
        """Do what others will do when the lifetimes have passed."""
        self.faults = False
        client = self.client()
        self.make_intents_old()
        client.read([txn.PartitionRead(partition)
                     for partition in self.everywhere])
        scenarios.make_due(self.store, self.database)
        client.queue.run_all()
        self.check_stored()

    def ask(self):
        """Let all clients tell which of their commits are lost."""
        self.faults = False
        for client in self.clients:
            client.tell_losses()

    # Checks.

    def check_told(self):
        """Check that every lost change was told, and no other."""
        for client in self.clients:
            for done in client._lost._done:
                told = {place for place in done.fields
                        if (done.txn_id, place[0]) in self.told}
                lost = {(partition, field) for partition, field in done.fields
                        if self.servers.state(partition.outcome_key(
                            done.txn_id), field) != "applied"}
                assert told == lost, "told: %s, lost: %s" % (told, lost)

    def raw(self, partition):
        pairs = scenarios.send(
            self.store, partition.key, b"HGETALL", partition.key)
        return dict(zip(pairs[::2], pairs[1::2]))

    def certain(self):
        """Return what is stored where no outcome is unknown."""
        unknown = {change.place[0] for transaction in self.transactions
                   if transaction.state == UNKNOWN
                   for change in transaction.changes}
        return {partition: self.raw(partition)
                for partition in self.everywhere if partition not in unknown}

    def check_snapshot(self, snapshot):
        pair = [snapshot.cells.get(field) for field in PAIR]
        assert (pair[0] and pair[0].payload) == (
            pair[1] and pair[1].payload), "torn: %s" % snapshot

    def check_stored(self):
        """Check that no version is used twice and indexes hold enough."""
        for partition in self.everywhere:
            members = set(scenarios.send(
                self.store, partition.index_key, b"ZRANGE",
                partition.index_key, 0, -1))
            for field, value in self.raw(partition).items():
                version, payload = value[:8], value[8:]
                if field.startswith(keyspace.INTENT):
                    head = mutation.Intent.parse(value)
                    if head.operation not in (b"p", b"P"):
                        continue
                    field = field[1:]
                    version = head.version
                    payload = mutation.intent_payload(value)
                elif field == keyspace.FLOOR_FIELD:
                    continue
                else:
                    known = self.payloads.setdefault(
                        (partition, field, version), payload)
                    assert known == payload, "a version was used twice"
                assert scenarios.member(payload, field) in members

    def check_history(self):
        """Check that what clients were told explains what is stored.

        Of the transactions whose outcome nobody knows there must be some
        that, together with those that were reported committed, lead every
        field from nothing to its present state, each using the version that
        the one before left; and no change of an aborted one.
        """
        unknown = [transaction for transaction in self.transactions
                   if transaction.state == UNKNOWN]
        committed = [transaction for transaction in self.transactions
                     if transaction.state == COMMITTED]
        final = {}
        for partition in self.everywhere:
            for field, value in self.raw(partition).items():
                if field != keyspace.FLOOR_FIELD:
                    final[partition, field] = (
                        int.from_bytes(value[:8], "big"), value[8:])
        assert any(
            self._explains([*committed, *chosen], final)
            for count in range(len(unknown) + 1)
            for chosen in itertools.combinations(unknown, count))

    def check_serializable(self):
        """Check that those that are so have an order.

        By the records that they read and wrote: of one that is not there
        nobody can tell which time it was not.
        """
        chosen = [one for one in self.transactions
                  if one.state == COMMITTED and one.seen is not None]
        wrote, replaced = {}, {}
        for one in chosen:
            for change in one.changes:
                wrote[change.place, change.version] = one
                replaced[change.place, change.expected] = one
        graph = collections.defaultdict(list)
        for one in chosen:
            for state in one.seen.items():
                before, after = wrote.get(state), replaced.get(state)
                if before is not None and before is not one:
                    graph[before].append(one)
                if after is not None and after is not one:
                    graph[one].append(after)
        assert checker.components(graph) == [], "a write skew"

    def _explains(self, transactions, final):
        changes = collections.defaultdict(list)
        for transaction in transactions:
            for change in transaction.changes:
                changes[change.place].append(change)
        if not set(final) <= set(changes):
            return False
        return all(
            self._leads(place_changes, (0, None),
                        final.get(place, (0, None)))
            for place, place_changes in changes.items())

    def _leads(self, changes, state, goal):
        if not changes:
            return state == goal
        return any(
            self._leads(changes[:number] + changes[number + 1:],
                        (change.version, change.payload), goal)
            for number, change in enumerate(changes)
            if change.expected == state[0])


@functools.cache
def _store():
    """Return the store of this process's simulations."""
    return direct.DirectStore()


def simulate(random, faults, writers, readers, housekeepers, check_every=1,
             is_filled=False, replicas=None):
    """Return a Simulation that has run and in which all is settled."""
    store = _store()
    scenarios.send(store, b"", b"FLUSHALL")
    world = Simulation(store, random, faults, check_every, replicas)

    def tell(teller, found):
        # Where clocks leap an outcome may have been forgotten.
        assert replicas or not found.unknown
        world.told.update(
            (done.txn_id, partition) for done, partitions in found.lost
            for partition in partitions)
        world.told.difference_update(
            (done.txn_id, partition) for done, partitions in found.back
            for partition in partitions)

    # Transaction ids decide who gives way: the same ones each time.
    ids = stdlib_random.Random(random.getrandbits(64))

    def monotonic():
        return START_S + world.now_s

    def now():
        return monotonic() + world.ahead_s

    def pause(number, sleep=None):
        # Whoever would sleep gives its turn away instead.
        world.pause(number)

    with mock.patch.object(os, "urandom", ids.randbytes), mock.patch.object(
            time, "time", now), mock.patch.object(
            time, "time_ns", lambda: int(now() * 1e9)), mock.patch.object(
            time, "monotonic", monotonic), mock.patch.object(
            retry, "pause", pause), mock.patch.object(
            lost_commits.LostCommits, "_tell", tell), mock.patch.object(
            lost_commits, "AGAIN_S", 0), mock.patch.object(
            lost_commits, "SILENT_AGAIN_S", 0):
        if is_filled:
            world.fill()
        world.run(writers, readers, housekeepers)
        if replicas is not None:
            world.ask()
        world.settle()
    return world


def replay(seed):
    """Run what a seed stands for, and check it."""
    random = stdlib_random.Random(seed)
    faults = random.random() < 0.8
    # The choices of a seed stay what they were before servers failed.
    replicas = (None, None, 0, 1)[seed % 4] if faults else None
    world = simulate(
        random, faults, random.randint(2, 4), random.randint(0, 1),
        random.randint(0, 1) if faults else 0, check_every=20,
        is_filled=True, replicas=replicas)
    if replicas == 0:
        world.check_told()
    else:
        world.check_history()
    if replicas is None:
        world.check_serializable()
    assert [left for left in scenarios.leftovers(world.store, world.database)
            if replicas is None or type(left) is tuple] == []
    return world


def main(first, count=1):
    """Run some seeds; print and return those that fail."""
    failed = set()
    committed = collections.Counter()
    failovers = lost = 0
    for seed in range(first, first + count):
        try:
            world = replay(seed)
        except Exception as error:
            failed.add(seed)
            print("seed %d: %s: %s" % (seed, type(error).__name__, error))
            if count == 1:
                raise
        else:
            committed.update(one.state for one in world.transactions)
            failovers += world.failovers
            lost += len(world.told)
    print("%d seeds, %d failed; transactions: %s; %d failovers, %d parts of "
          "commits lost and told" % (
              count, len(failed), dict(committed), failovers, lost))
    return failed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("first", type=int, help="the first seed")
    parser.add_argument("count", type=int, nargs="?", default=1)
    sys.exit(bool(main(**vars(parser.parse_args()))))
