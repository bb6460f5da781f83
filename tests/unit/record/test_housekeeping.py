# SPDX-License-Identifier: Apache-2.0
import os
import time

import msgpack
import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.record import housekeeping
from nova_kvs.record.indexes import directory
from nova_kvs.record import transaction
from nova_kvs.store import registry
from nova_kvs.txn import commit
from nova_kvs.txn import reading
from tests import base
from tests.unit.record import databases


@pytest.fixture
def db():
    return databases.make()


def entries(db, table, name, value):
    """Return the members of all buckets of one value of an index."""
    table = db.schema.tables[table]
    reads = [reading.MembersRead(key, b"-", b"+")
             for key in table.index(name).bucket_keys(db.name, value)]
    return [member for members in db.coordinator.read(reads)
            for member in members]


def listed(db):
    """Return the partitions in the directory of servers."""
    reads = [reading.MembersRead(key, b"-", b"+")
             for key in directory.bucket_keys(db.name, "s")]
    return {directory.partition_of(member)
            for members in db.coordinator.read(reads) for member in members}


HOST = "host+deleted+created_at+id"


def test_hints_of_old_values_go_and_those_of_new_ones_stay(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    for host in ("b", "c", "a"):
        databases.update(db, "instances", (1,), host=host)
    assert len(entries(db, "instances", HOST, "a")) == 2
    databases.tidy(db)
    assert [len(entries(db, "instances", HOST, host))
            for host in ("a", "b", "c")] == [1, 0, 0]
    assert len(databases.load(databases.another(db), access.ByIndex(
        "instances", ("host",), (("a",),)))[0]) == 1


def test_hints_of_deleted_rows_go(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    databases.delete(db, "instances", (1,))
    databases.tidy(db)
    assert entries(db, "instances", HOST, "a") == []


def test_hints_of_commits_that_failed_go(db):
    db = databases.another(db, spread=True)
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    tx = db.begin()
    record = databases.one(tx, "instances", (1,))
    tx.update(record, {**record.values, "host": "b"})
    databases.update(db, "instances", (1,), display_name="x")
    with pytest.raises(exceptions.ConflictError):
        tx.commit()
    assert len(entries(db, "instances", HOST, "b")) == 1
    databases.tidy(db)
    assert entries(db, "instances", HOST, "b") == []


def test_a_record_that_does_not_decode_keeps_its_entries(db):
    """And the others that are checked with it lose theirs."""
    db.grace_ms = 10 ** 6
    for uuid in ("u", "v"):
        databases.insert(db, "instances", {"uuid": uuid, "host": "a"})
    for number in (1, 2):
        databases.update(db, "instances", (number,), host="b")
    table = db.schema.tables["instances"]
    partition = keyspace.partition(db.name, "s", "u")
    db.store.batch([base.command(
        b"HSET", partition.key, table.field((1,)), bytes(8) + b"\xc1")])
    db._housekeeper.check_indexes(_queued(db))
    assert [len(entries(db, "instances", HOST, host))
            for host in ("a", "b")] == [1, 2]


def test_what_much_work_leaves_is_queued_in_several_tasks(db):
    """A store may refuse a task that is very large."""
    db.grace_ms = 10 ** 6
    most = housekeeping.CHECKS_PER_TASK
    databases.insert(db, "instances", *[
        {"uuid": "u%d" % number, "host": "a"} for number in range(2 * most)])
    for number in range(2 * most):
        databases.update(db, "instances", (number + 1,), host="b")
    queued = _queued(db)
    assert max(map(len, queued)) == most
    # As if an entry of a version above the row's were there.
    table = db.schema.tables["instances"]
    checks = [[table.name, partition, table.field((10 ** 6,)), buckets]
              for value in queued for _, partition, _, buckets in value]
    db._housekeeper.check_indexes([checks])
    again = [value for value in _queued(db) if value not in queued]
    assert sum(map(len, again)) > most >= max(map(len, again))


def test_a_late_check_does_not_touch_what_came_later(db):
    """A check is queued, and its row goes back to the old value."""
    db.grace_ms = 10 ** 6
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    databases.update(db, "instances", (1,), host="b")
    checks = _queued(db)
    databases.delete(db, "instances", (1,))
    databases.insert(db, "instances", {"id": 1, "uuid": "u", "host": "a"})
    for _ in range(2):
        db._housekeeper.check_indexes(checks)
    found, = databases.load(databases.another(db), access.ByIndex(
        "instances", ("host",), (("a",),)))
    assert len(found) == 1


def test_hints_that_are_checked_after_their_floor_went_go(db):
    """The buckets of the queue are not worked off in order."""
    db.grace_ms = 10 ** 6
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    databases.update(db, "instances", (1,), host="b")
    databases.delete(db, "instances", (1,))
    partition = keyspace.partition(db.name, "s", "u")
    snapshot, = db.coordinator.read([reading.PartitionRead(partition)])
    db._housekeeper.check_partitions(
        [[(partition.key, "s", [], snapshot.floor)]])
    queued = _queued(db)
    # What the insert itself checks is of no help to others' entries.
    db._housekeeper.check_indexes([
        [(*where, [[bucket, prefix, b""] for bucket, prefix, _ in buckets])
         for *where, buckets in checks] for checks in queued])
    assert entries(db, "instances", HOST, "a")
    db._housekeeper.check_indexes(
        [checks for checks in _queued(db) if checks not in queued])
    assert entries(db, "instances", HOST, "a") == []
    assert entries(db, "instances", HOST, "b") == []


def _queued(db):
    """Return the values of the checks of entries that are queued."""
    values = []
    for bucket in range(keyspace.GC_BUCKETS):
        key = keyspace.gc_key(db.name, bucket)
        members, = db.store.batch(
            [base.command(b"ZRANGE", key, 0, -1)])
        for member in members:
            kind, value, _ = msgpack.unpackb(member)
            if kind == b"hints":
                values.append(value)
    return values


def test_a_check_leaves_a_transaction_in_flight_alone(db):
    """The row goes back to a value whose old entry is due to go."""
    databases.insert(db, "instances", {"uuid": "u", "host": "b"})
    databases.update(db, "instances", (1,), host="c")
    db.grace_ms = 10 ** 6
    reached = []

    def check(name):
        if name == "before_commit":
            reached.append(databases.tidy(db))

    other = databases.open_again("kvs+memory:///" + db.name, check)
    other.grace_ms = 10 ** 6
    tx = other.begin()
    record = databases.one(tx, "instances", (1,))
    tx.update(record, {**record.values, "host": "b"})
    tx.commit()
    assert reached
    for reader in (db, other):
        found, = databases.load(
            reader, access.ByIndex("instances", ("host",), (("b",),)))
        assert len(found) == 1


def test_a_check_that_is_held_up_leaves_a_row_that_came_back(
        db, monkeypatch):
    """Another one has to choose which of two entries stays meanwhile."""
    db.grace_ms = 10 ** 6
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    databases.update(db, "instances", (1,), host="b")
    checks = _queued(db)
    slow, other = databases.another(db), databases.another(db)
    read = slow._housekeeper._read

    def stop(wanted):
        found = read(wanted)
        databases.update(other, "instances", (1,), host="a")
        other._housekeeper.check_indexes(checks)
        return found

    monkeypatch.setattr(slow._housekeeper, "_read", stop)
    slow._housekeeper.check_indexes(checks)
    found, = databases.load(databases.another(db), access.ByIndex(
        "instances", ("host",), (("a",),)))
    assert len(found) == 1


@pytest.mark.parametrize("order", [(0, 255), (255, 0)])
def test_a_check_that_is_held_up_leaves_a_row_that_made_the_same_move(
        db, monkeypatch, order):
    """Both entries have one version, and only chance tells them apart."""
    db.grace_ms = 10 ** 6
    nonces = list(order)
    monkeypatch.setattr(
        os, "urandom", lambda size: bytes([nonces[0] if nonces else 7]) * size)
    databases.insert(db, "instances", {"uuid": "u", "host": "b"})
    queued = _queued(db)

    def fail(name):
        if name == "before_commit":
            raise exceptions.ConflictError()

    failing = databases.open_again("kvs+memory:///" + db.name, fail, True)
    failing.grace_ms = 10 ** 6
    with pytest.raises(exceptions.ConflictError):
        databases.update(failing, "instances", (1,), host="a")
    failed = [checks for checks in _queued(db) if checks not in queued]
    assert failed
    nonces.pop(0)
    slow, other = databases.another(db), databases.another(db)
    read = slow._housekeeper._read

    def stop(wanted):
        found = read(wanted)
        databases.update(db, "instances", (1,), host="a")
        assert len(entries(db, "instances", HOST, "a")) == 2
        other._housekeeper.check_indexes(
            [checks for checks in _queued(db) if checks not in failed])
        return found

    monkeypatch.setattr(slow._housekeeper, "_read", stop)
    slow._housekeeper.check_indexes(failed)
    assert len(entries(db, "instances", HOST, "a")) == 1
    found, = databases.load(databases.another(db), access.ByIndex(
        "instances", ("host",), (("a",),)))
    assert len(found) == 1
    # Nor do both checks at once remove both, or anything for good.
    db._housekeeper.check_indexes(_queued(db))
    assert len(entries(db, "instances", HOST, "a")) == 1


def test_hints_of_one_version_go_when_the_row_leaves(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    member, = entries(db, "instances", HOST, "a")
    table = db.schema.tables["instances"]
    bucket, = [key for key in table.index(HOST).bucket_keys(db.name, "a")
               if db.store.batch([base.command(b"ZSCORE", key, member)])[0]
               is not None]
    db.store.batch([base.command(b"ZADD", bucket, 0, member[:-4] + b"same")])
    databases.tidy(db)
    assert len(entries(db, "instances", HOST, "a")) == 2
    databases.update(db, "instances", (1,), host="b")
    databases.tidy(db)
    assert entries(db, "instances", HOST, "a") == []


def test_a_commit_that_is_held_up_until_its_hints_were_checked(
        db, monkeypatch):
    now_s = [1000.0]
    monkeypatch.setattr(commit.time, "monotonic", lambda: now_s[0])

    def stop(name):
        if name == "after_prewrite":
            now_s[0] += 60
            databases.tidy(db)

    other = databases.open_again("kvs+memory:///" + db.name, stop, True)
    tx = other.begin()
    tx.insert("instances", {"uuid": "u", "host": "a"})
    with pytest.raises(exceptions.ConflictError, match="too long"):
        tx.commit()
    assert databases.load(db, access.FullScan("instances")) == [[]]


@pytest.mark.parametrize("request_timeout, wait_s", [(8, 16), (24, 30)])
def test_a_commit_whose_hints_waited_for_a_failover(
        db, monkeypatch, request_timeout, wait_s):
    """As long as failover_timeout, with the default hint_grace."""
    now_s = [1000.0]
    monkeypatch.setattr(commit.time, "monotonic", lambda: now_s[0])

    def wait(name):
        if name == "after_prewrite":
            now_s[0] += wait_s

    other = databases.open_again(
        "kvs+memory:///%s?request_timeout=%d" % (
            db.name, request_timeout), wait, True)
    databases.insert(other, "instances", {"uuid": "u", "host": "a"})
    found, = databases.load(db, access.FullScan("instances"))
    assert len(found) == 1


def test_checks_of_a_dropped_table_do_not_stay(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    tx = db.begin()
    tx.set_schema([text for text in databases.DDL
                   if " instances" not in text])
    tx.commit()
    databases.tidy(databases.another(db))
    assert _queued(db) == []
    assert databases.keys(db) == databases.keys(databases.make(db.schema.ddl))


def test_empty_partitions_leave_the_directory_after_two_looks(db):
    databases.insert(db, "tags", {"resource_id": "u", "tag": "t"},
                     {"resource_id": "v", "tag": "t"})
    assert len(listed(db)) == 2
    databases.delete(db, "tags", ("u", "t"))
    databases.tidy(db)
    assert listed(db) == {keyspace.partition(db.name, "s", "v")}
    databases.insert(db, "tags", {"resource_id": "u", "tag": "t"})
    assert len(databases.load(db, access.FullScan("tags"))[0]) == 2


def listings(db):
    """Return the number of entries in the directory of servers."""
    return sum(map(len, db.coordinator.read([
        reading.MembersRead(key, b"-", b"+")
        for key in directory.bucket_keys(db.name, "s")])))


def test_a_partition_is_listed_once(db):
    for number in range(5):
        databases.insert(db, "tags", {"resource_id": "u",
                                      "tag": "%d" % number})
    assert listings(db) == 5
    databases.tidy(db)
    assert listings(db) == 1
    assert listed(db) == {keyspace.partition(db.name, "s", "u")}
    databases.delete(db, "tags", *[("u", "%d" % number)
                                   for number in range(5)])
    databases.tidy(db)
    assert listings(db) == 0


def test_a_partition_is_listed_again_after_a_long_pause(db, monkeypatch):
    """The record that the transaction saw in it may have gone meanwhile."""
    databases.insert(db, "instance_metadata", {
        "instance_uuid": "u", "key": "a"})
    slow = databases.another(db).begin()
    slow.load([access.ByPartition("instance_metadata", ("u",))])
    databases.delete(db, "instance_metadata", (1,))
    databases.tidy(db)
    assert not listed(db)
    now_s = time.monotonic()
    monkeypatch.setattr(transaction.time, "monotonic", lambda: now_s + 120)
    slow.insert("instance_metadata", {"instance_uuid": "u", "key": "b"})
    slow.commit()
    databases.tidy(db)
    assert listed(db) == {keyspace.partition(db.name, "s", "u")}
    assert len(databases.load(
        databases.another(db), access.FullScan("instance_metadata"))[0]) == 1


def test_a_late_look_does_not_hide_a_partition_that_is_listed_once(db):
    """The partition was empty, has a row, and is empty when its last one
    commits.
    """
    partition = keyspace.partition(db.name, "s", "u")
    databases.insert(db, "tags", {"resource_id": "u", "tag": "1"})
    databases.delete(db, "tags", ("u", "1"))
    before = db.coordinator.read([
        reading.MembersRead(key, b"-", b"+")
        for key in directory.bucket_keys(db.name, "s")])
    late = [[(partition.key, "s", sum(before, []), 0)]]
    for number in range(3):
        databases.insert(db, "tags", {"resource_id": "u",
                                      "tag": "%d" % number})
    databases.tidy(db)
    tx = db.begin()
    assert len(tx.load([access.ByPartition("tags", ("u",))])[0]) == 3
    tx.insert("tags", {"resource_id": "u", "tag": "last"})
    databases.delete(db, "tags", *[("u", "%d" % number)
                                   for number in range(3)])
    db._housekeeper.check_partitions(late)
    tx.commit()
    assert listed(db) == {partition}


def test_two_processes_that_list_a_partition_anew_leave_one_entry(
        db, monkeypatch):
    """Each of them has not seen the other's entry."""
    partition = keyspace.partition(db.name, "s", "u")
    for number in range(2):
        databases.insert(db, "tags", {"resource_id": "u",
                                      "tag": "%d" % number})
    members = sum(db.coordinator.read([
        reading.MembersRead(key, b"-", b"+")
        for key in directory.bucket_keys(db.name, "s")]), [])
    # The inserts' own checks have become these.
    db.store.batch([base.command(b"DEL", keyspace.gc_key(db.name, bucket))
                    for bucket in range(keyspace.GC_BUCKETS)])
    second_look = [[(partition.key, "s", members, 0)]]
    read = db.coordinator.read

    def read_and_be_overtaken(reads):
        found = read(reads)
        monkeypatch.undo()
        databases.another(db)._housekeeper.check_partitions(second_look)
        return found

    monkeypatch.setattr(db.coordinator, "read", read_and_be_overtaken)
    db._housekeeper.check_partitions(second_look)
    assert listings(db) == 2
    databases.tidy(db)
    assert listings(db) == 1 and listed(db) == {partition}


def test_a_partition_filled_between_the_two_looks_stays(db):
    databases.insert(db, "tags", {"resource_id": "u", "tag": "t"})
    databases.delete(db, "tags", ("u", "t"))
    partition = keyspace.partition(db.name, "s", "u")
    db._housekeeper.check_partitions([[(partition.key, "s", None, None)]])
    databases.insert(db, "tags", {"resource_id": "u", "tag": "t"})
    databases.tidy(db)
    assert listed(db) == {partition}
    assert len(databases.load(db, access.FullScan("tags"))[0]) == 1


@pytest.mark.parametrize("again", (True, False))
def test_a_floor_stays_if_a_row_comes_at_the_last_moment(
        db, monkeypatch, again):
    databases.insert(db, "instances", {"id": 1, "uuid": "u"})
    databases.update(db, "instances", (1,), host="a")
    databases.delete(db, "instances", (1,))
    partition = keyspace.partition(db.name, "s", "u")
    read = db.coordinator.read

    def floor():
        return read([reading.PartitionRead(partition)])[0].floor

    def read_and_be_late(reads):
        results = read(reads)
        other = databases.another(db)
        databases.insert(other, "instances", {"id": 1, "uuid": "u"})
        if again:
            databases.delete(other, "instances", (1,))
        return results

    before = floor()
    monkeypatch.setattr(db.coordinator, "read", read_and_be_late)
    db._housekeeper.check_partitions([[(partition.key, "s", [], before)]])
    assert floor() == before + again
    monkeypatch.undo()
    databases.tidy(db)
    assert floor() == (0 if again else before)


def test_an_insert_that_fails_leaves_no_partition(db):
    databases.insert(db, "block_device_mapping", {
        "instance_uuid": "u", "uuid": "b"})
    before = databases.keys(db)
    databases.tidy(db)
    with pytest.raises(exceptions.DuplicateKeyError):
        databases.insert(db, "block_device_mapping", {
            "instance_uuid": "v", "uuid": "b"})
    databases.tidy(db)
    assert databases.keys(db) <= before


def test_after_deleting_all_and_tidying_nothing_is_left(db):
    empty = databases.keys(db)
    databases.insert(db, "instances", {"uuid": "u", "host": "a",
                                       "deleted": 0})
    databases.insert(db, "instances", {"uuid": None, "host": "a"})
    databases.insert(db, "block_device_mapping", {
        "instance_uuid": "u", "uuid": "b", "volume_id": "v"})
    databases.insert(db, "services", {"host": "a", "topic": "t"})
    databases.insert(db, "notes", {"author": "a"})
    databases.insert(db, "virtual_interfaces", {
        "instance_uuid": "w", "address": "m", "deleted": 0, "uuid": "x"})
    for table in ("instances", "block_device_mapping", "services", "notes",
                  "virtual_interfaces"):
        tx = db.begin()
        for row in tx.load([access.FullScan(table)])[0]:
            tx.delete(row)
        tx.commit()
    databases.tidy(db)
    assert databases.keys(db) == empty


def test_a_commit_does_a_little_housekeeping_now_and_then(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    db._housekeeping_at = 0
    databases.update(db, "instances", (1,), display_name="x")
    assert db._housekeeping_at > 0


def test_housekeeping_that_fails_does_not_fail_the_commit(db, monkeypatch):
    def fail(limit, arrived):
        raise exceptions.StoreUnavailableError()

    monkeypatch.setattr(db.coordinator.queue, "post_lease", fail)
    db._housekeeping_at = 0
    databases.insert(db, "services", {"host": "a"})
    assert len(databases.load(db, access.FullScan("services"))[0]) == 1


def test_nobody_waits_for_tasks(db, monkeypatch):
    """They are done by whoever comes when they have arrived."""
    posted = []
    monkeypatch.setattr(
        db.store, "post", lambda *args: posted.append(args), raising=False)
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})

    def arrive():
        (items, done), = posted
        posted.clear()
        done(db.store.batch(items))

    db._check_at = db._housekeeping_at = 0
    databases.load(db, access.FullScan("instances"))
    asleep_until = db._housekeeping_at
    arrive()
    assert db._housekeeping_at < asleep_until
    # With this call they are done, and their removal is on its way.
    db._check_at = 0
    databases.load(db, access.FullScan("instances"))
    arrive()
    assert not db.housekeep()


def test_who_only_reads_tidies_up_what_commits_have_queued(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    reader = databases.another(db)
    reader._check_at = reader._housekeeping_at = 0
    databases.load(reader, access.FullScan("instances"))
    assert not db.housekeep()


def test_a_database_that_nobody_uses_is_tidied_up_too(db, monkeypatch):
    used = record_database.Database(
        db.store, base.database_name(),
        registry.parse_url("kvs+memory:///used").settings())
    monkeypatch.setattr(record_database, "_databases",
                        {"idle": db, "used": used})
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    db._housekeeping_at = used._housekeeping_at = 0
    tx = used.begin()
    tx.set_schema(databases.DDL)
    tx.commit()
    assert not db.housekeep()
