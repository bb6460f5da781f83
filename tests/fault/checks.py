# SPDX-License-Identifier: Apache-2.0
"""What must hold for a database when the load is over."""

import contextlib
import io
import time

from nova_kvs.cmd import main
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.record.indexes import global_index
from nova_kvs.txn import queue
from nova_kvs.txn import recovery
from tests.fault import scenarios
from tests.fault import workload

#: Items whose taker ended, or whose reply was lost, are leased that long.
_TIDY_TIMEOUT_S = 60 + queue.LEASE_MS / 1000


def no_errors(results):
    """Check that processes met no error but conflicts."""
    errors = [error for result in results for _, error in result["errors"]]
    assert errors == [], errors[:5]


def total(database):
    """Return the sum of all accounts' amounts."""
    return sum(
        record.values["amount"] for record in database.begin().load(
            [access.FullScan("instances")])[0]
        if record.values["uuid"].startswith("account"))


def counters(database, results):
    """Check that counters have every increment once.

    :param results: of ``workload.bank``.
    :returns: number of increments.
    """
    found = {
        record.values["host"]: record.values["report_count"]
        for record in database.begin().load([access.FullScan("services")])[0]}
    for number in range(workload.COUNTERS):
        assert found["counter%d" % number] == sum(
            result["counts"][number] for result in results)
    return sum(found.values())


def tidy(database):
    """Do housekeeping until the queue is empty.

    That takes the grace period twice.
    """
    keys = [keyspace.gc_key(database.name, bucket)
            for bucket in range(keyspace.GC_BUCKETS)]
    deadline = time.monotonic() + _TIDY_TIMEOUT_S
    while any(scenarios.send(database.store, key, b"EXISTS", key)
              for key in keys):
        assert time.monotonic() < deadline, "housekeeping does not end"
        if not database.housekeep():
            time.sleep(0.2)


def fsck(url, show):
    """Check that ``nova-kvs fsck`` finds nothing."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        status = main.main(["fsck", url])
    assert status == 0, output.getvalue()
    show("fsck is clean", databases=1)


def _members(database):
    """Return the members of each key that does not expire.

    Floors do not count: they depend on what was there before. Nor do
    covers, which may get lost; fsck looks whether they are right. Entries of
    a global index that differ in their transaction only are one: where two
    make the same move of a row at once, that of the one that failed stays
    until the row leaves.
    """
    store = database.store
    buckets = keyspace.bucket_key(database.name, "", "")[:-len(b":}")]
    directories = keyspace.bucket_key(database.name, ".", "")[:-len(b":}")]
    found = {}
    for key in store.scan(keyspace.database_pattern(database.name)):
        if keyspace.included_key(keyspace.bucket_beside(key)) == key:
            continue
        left_ms = scenarios.send(store, key, b"PTTL", key)
        if left_ms != -1:
            assert left_ms <= recovery.ABORT_LIFE_MS
            continue
        kind = scenarios.send(store, key, b"TYPE", key)
        found[key] = set()
        if kind == b"hash":
            fields = scenarios.send(store, key, b"HKEYS", key)
            found[key] = set(fields) - {keyspace.FLOOR_FIELD}
        elif kind == b"zset":
            members = scenarios.send(
                store, key, b"ZRANGEBYLEX", key, b"-", b"+")
            if key.startswith(buckets) and not key.startswith(directories):
                members = map(global_index.prefix_of, members)
            found[key] = set(members)
    return found


def compare_with_fresh_copy(database):
    """Replace a database by a copy of its rows; compare what is stored.

    The copy has the same name, which decides in which buckets index entries
    are.

    :returns: ``(keys, members)``: the number of keys, and that of records,
        unique keys and index entries together, the same in both.
    """
    before = _members(database)
    schema = database.schema
    rows = {table: database.begin().load([access.FullScan(table)])[0]
            for table in schema.tables}
    for key in list(database.store.scan(
            keyspace.database_pattern(database.name))):
        scenarios.send(database.store, key, b"DEL", key)
    copy = record_database.Database(
        database.store, database.name, database.store.settings)
    copy.grace_ms = 0
    tx = copy.begin()
    tx.set_schema(schema.ddl)
    tx.commit()
    for table, records in rows.items():
        for first in range(0, len(records), 100):
            tx = copy.begin()
            for record in records[first:first + 100]:
                tx.insert(table, record.values)
            tx.commit()
    tidy(copy)
    after = _members(copy)
    # Those of directories differ in random bytes.
    assert _sizes(before) == _sizes(after), {
        key: (before.get(key), after.get(key))
        for key in before.keys() | after.keys()
        if _sizes(before).get(key) != _sizes(after).get(key)}
    return len(before), sum(_sizes(before).values())


def _sizes(members):
    """Return the number of members of each key."""
    return {key: len(found) for key, found in members.items()}


def settle(database):
    """Do what waits in the queue now, whether it is due or not."""
    for _ in range(3):
        scenarios.make_due(database.store, database.name)
        database.housekeep()
