# SPDX-License-Identifier: Apache-2.0
"""Counts what a database holds, and what its transactions have left.

What a process does (round trips, retries, full scans) it only knows itself;
what is stored tells of the last minute, for so long outcomes live.
"""

import collections
import dataclasses

from nova_kvs.inspection import keys
from nova_kvs.inspection import walk
from nova_kvs import keyspace
from nova_kvs.record import importing
from nova_kvs.store import operations
from nova_kvs.txn import coordinator
from nova_kvs.txn import recovery

#: Name given to the table of records whose field names none.
UNKNOWN = "?"


@dataclasses.dataclass
class Size:
    """The amount of one kind of thing."""

    count: int = 0
    size_bytes: int = 0

    def add(self, size_bytes, count=1):
        """Count one more."""
        self.count += count
        self.size_bytes += size_bytes


@dataclasses.dataclass
class Statistics:
    """The counts of a database.

    :ivar tables: name -> Size of its records.
    :ivar indexes: Size of all index entries and unique keys.
    :ivar keys: type of key -> number.
    :ivar servers: address -> Size of its keys: their number and bytes.
    :ivar committed: :ivar refused: transactions of the last
        ``window_s`` seconds.
    :ivar intents: number of intents of transactions at work.
    :ivar queued: items of the housekeeping queue. :ivar overdue: of those,
        due for more than a minute.
    :ivar import_source: URL, without its password, of an import that is not
        complete; None without one.
    """

    database: str
    tables: dict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Size))
    indexes: Size = dataclasses.field(default_factory=Size)
    keys: collections.Counter = dataclasses.field(
        default_factory=collections.Counter)
    servers: dict = dataclasses.field(
        default_factory=lambda: collections.defaultdict(Size))
    committed: int = 0
    refused: int = 0
    window_s: int = recovery.OUTCOME_LIFE_MS // 1000
    intents: int = 0
    queued: int = 0
    overdue: int = 0
    import_source: str | None = None

    @property
    def records(self):
        """Return the number of records of all tables."""
        return sum(size.count for size in self.tables.values())

    @property
    def balance(self):
        """Return the share of the fullest server, 1.0 if all are equal."""
        sizes = [size.size_bytes for size in self.servers.values()]
        if not sum(sizes):
            return 1.0
        return max(sizes) * len(sizes) / sum(sizes)

    def document(self):
        """Return all of it as JSON takes it."""
        return {
            "database": self.database,
            "records": self.records,
            "import_source": self.import_source,
            "tables": {name: {"records": size.count,
                              "bytes": size.size_bytes}
                       for name, size in self.tables.items()},
            "indexes": {"entries": self.indexes.count,
                        "bytes": self.indexes.size_bytes},
            "keys": dict(self.keys),
            "servers": {address: {"keys": size.count,
                                  "bytes": size.size_bytes}
                        for address, size in self.servers.items()},
            "balance": round(self.balance, 3),
            "transactions": {
                "window_s": self.window_s, "committed": self.committed,
                "refused": self.refused, "intents": self.intents},
            "housekeeping": {"queued": self.queued,
                             "overdue": self.overdue},
        }


def collect(store, database, report=None):
    """Return the Statistics of a database.

    :param store: nova_kvs.store.base.Store.
    :param database: its name.
    :param report: called with the number of keys seen so far.
    :raises nova_kvs.exceptions.StoreUnavailableError: if the store does not
        answer.
    """
    found = Statistics(database)
    for server in store.check()["servers"]:
        # Also those that have no key of this database.
        found.servers[server["address"]]
    now_ms = _now_ms(store, database)
    found.import_source = importing.source(
        coordinator.Coordinator(store, database), database)
    # One that spans partitions has left an outcome in each.
    committed = set()
    refused = set()
    for chunk in walk.keys(store, database):
        addresses = {}
        for key in chunk:
            addresses[key.name] = store.address_of(key.name)
            found.keys[key.type.value] += 1
            found.servers[addresses[key.name]].add(len(key.name))
        _count_outcomes(store, chunk, committed, refused)
        for pieces in walk.pieces(store, chunk):
            for piece in pieces:
                found.servers[addresses[piece.key.name]].add(
                    _count(piece, found, now_ms), 0)
        if report is not None:
            report(sum(found.keys.values()))
    found.committed = len(committed)
    found.refused = len(refused - committed)
    return found


def _now_ms(store, database):
    now_ms, = store.batch([
        operations.ReadClock(keyspace.gc_key(database, 0))])
    return now_ms


def _count_outcomes(store, chunk, committed, refused):
    outcomes = [key for key in chunk if key.type is keys.KeyType.OUTCOME]
    replies = store.batch([operations.Get(key.name) for key in outcomes])
    for key, reply in zip(outcomes, replies):
        if reply is not None:
            txn_id = key.name[len(key.partition):]
            (committed if reply[:1] == b"c" else refused).add(txn_id)


def _count(piece, found, now_ms):
    """Count some of what a key holds; return its bytes."""
    total = 0
    kind = piece.key.type
    for name, value in piece.pairs:
        size = len(name)
        if kind is keys.KeyType.PARTITION:
            size += len(value)
            if name[:1] == keyspace.RECORD:
                # The schema is a record, too, of no table.
                table = keys.table_of(name)
                if piece.key.kind != "m":
                    found.tables[table or UNKNOWN].add(size)
            elif name[:1] == keyspace.UNIQUE:
                found.indexes.add(size)
            elif name[:1] == keyspace.INTENT:
                found.intents += 1
        elif kind is keys.KeyType.QUEUE:
            found.queued += 1
            found.overdue += now_ms - float(value) > 60000
        else:
            found.indexes.add(size)
        total += size
    return total
