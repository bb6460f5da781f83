# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import counters
from tests.unit.record import databases


@pytest.fixture
def db():
    return databases.make()


def all_of(db, table):
    return databases.load(db, access.FullScan(table))[0]


def test_rows_are_stored_with_affinities_and_without_nones(db):
    databases.insert(db, "instances", {
        "uuid": "u", "deleted": "7", "host": None, "display_name": 5})
    record, = db.begin().load([access.ByPartition("instances", ("u",))])[0]
    assert record.values == {
        "id": 1, "uuid": "u", "deleted": 7, "display_name": "5"}
    assert (record.table, record.key) == ("instances", (1,))


def test_update_replaces_the_whole_row(db):
    databases.insert(db, "services", {"host": "a", "topic": "x"})
    tx = db.begin()
    record = databases.one(tx, "services", (1,))
    tx.update(record, {"id": 1, "host": "b", "report_count": 3})
    tx.commit()
    assert all_of(db, "services") == [
        {"id": 1, "host": "b", "report_count": 3}]


def test_delete(db):
    databases.insert(db, "services", {"host": "a"}, {"host": "b"})
    databases.delete(db, "services", (1,))
    assert [row["host"] for row in all_of(db, "services")] == ["b"]


def test_nothing_is_stored_before_commit_or_after_rollback(db):
    tx = db.begin()
    tx.insert("services", {"host": "a"})
    assert tx.load([access.FullScan("services")]) == [[]]
    tx.rollback()
    tx.commit()
    assert all_of(db, "services") == []


def test_an_inserted_row_can_be_changed_before_the_commit(db):
    tx = db.begin()
    first = tx.insert("services", {"host": "a"})
    second = tx.insert("services", {"host": "b"})
    tx.update(first, {**first.values, "host": "c"})
    tx.delete(second)
    tx.commit()
    assert [row["host"] for row in all_of(db, "services")] == ["c"]


def test_a_deleted_row_can_be_inserted_again(db):
    databases.insert(db, "tags", {"resource_id": "u", "tag": "t"})
    tx = db.begin()
    tx.delete(databases.one(tx, "tags", ("u", "t")))
    tx.insert("tags", {"resource_id": "u", "tag": "t"})
    with pytest.raises(exceptions.DuplicateKeyError):
        tx.insert("tags", {"resource_id": "u", "tag": "t"})
    tx.commit()
    assert len(all_of(db, "tags")) == 1


def test_two_rows_can_swap_their_primary_keys(db):
    databases.insert(db, "services", {"host": "a"}, {"host": "b"})
    tx = db.begin()
    first, second = tx.load(
        [access.ByKey("services", ((1,), (2,)))])[0]
    tx.update(first, {**first.values, "id": 2})
    tx.update(second, {**second.values, "id": 1})
    tx.commit()
    assert all_of(db, "services") == [
        {"id": 1, "host": "b"}, {"id": 2, "host": "a"}]


def test_unknown_names_are_refused(db):
    tx = db.begin()
    with pytest.raises(exceptions.UnsupportedStatementError):
        tx.load([access.FullScan("nothing")])
    with pytest.raises(KeyError):
        tx.insert("services", {"nothing": 1})


# Conflicts ------------------------------------------------------------------

def test_of_two_updates_of_what_was_read_the_second_fails(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    first, second = db.begin(), db.begin()
    for tx, host in ((first, "b"), (second, "c")):
        record = databases.one(tx, "instances", (1,))
        tx.update(record, {**record.values, "host": host})
    first.commit()
    with pytest.raises(exceptions.ConflictError):
        second.commit()
    assert all_of(db, "instances")[0]["host"] == "b"


@pytest.mark.parametrize("write", [False, True])
def test_a_locked_row_must_be_as_it_was_read(db, write):
    databases.insert(db, "services", {"host": "a"}, {"host": "b"})
    tx = db.begin()
    tx.lock(databases.one(tx, "services", (1,)))
    if write:
        second = databases.one(tx, "services", (2,))
        tx.update(second, {"id": 2, "host": "c"})
    databases.update(db, "services", (1,), host="z")
    with pytest.raises(exceptions.ConflictError):
        tx.commit()
    assert [row["host"] for row in all_of(db, "services")] == ["z", "b"]


def test_an_update_that_changes_nothing_still_validates(db):
    databases.insert(db, "services", {"host": "a"})
    tx = db.begin()
    record = databases.one(tx, "services", (1,))
    tx.update(record, record.values)
    databases.update(db, "services", (1,), host="z")
    with pytest.raises(exceptions.ConflictError):
        tx.commit()


def test_a_row_that_was_read_keeps_its_value(db):
    databases.insert(db, "instances", {"uuid": "u", "host": "a"})
    databases.insert(db, "services", {"host": "a", "topic": "t"})
    tx = db.begin()
    accesses = [access.ByPartition("instances", ("u",)),
                access.ByIndex("services", ("topic",), (("t",),)),
                access.FullScan("services")]
    before = tx.load(accesses)
    databases.update(db, "instances", (1,), host="b")
    databases.update(db, "services", (1,), host="b")
    assert tx.load(accesses) == before
    assert [rows[0].values["host"] for rows in before] == ["a"] * 3


def test_a_later_scan_keeps_what_was_read_and_gives_it_once(db):
    databases.insert(db, "services", {"host": "a", "topic": "t"},
                     {"host": "b", "topic": "t"})
    tx = db.begin()
    first = databases.one(tx, "services", (1,))
    databases.update(db, "services", (1,), topic="z")
    rows, = tx.load([access.FullScan("services")])
    assert [row for row in rows if row.key == (1,)] == [first]
    assert len(rows) == 2


# Unique keys ----------------------------------------------------------------

@pytest.mark.parametrize("table,first,second,columns", [
    ("services", {"host": "a", "topic": "x"}, {"host": "a", "topic": "x"},
     ("host", "topic")),
    ("services", {"id": 5}, {"id": 5}, ("id",)),
    ("instances", {"uuid": "u"}, {"uuid": "u"}, ("uuid",)),
    ("block_device_mapping", {"instance_uuid": "u", "uuid": "b"},
     {"instance_uuid": "v", "uuid": "b"}, ("uuid",)),
    ("virtual_interfaces", {"instance_uuid": "u", "address": "m",
                            "deleted": 0},
     {"instance_uuid": "v", "address": "m", "deleted": 0},
     ("address", "deleted")),
    ("tags", {"resource_id": "u", "tag": "t"},
     {"resource_id": "u", "tag": "t"}, ("resource_id", "tag")),
])
def test_a_key_that_is_taken_is_refused(db, table, first, second, columns):
    databases.insert(db, table, first)
    with pytest.raises(exceptions.DuplicateKeyError) as caught:
        databases.insert(db, table, second)
    assert caught.value.table == table
    assert caught.value.columns == columns
    assert caught.value.values == tuple(
        first[column] for column in columns)
    assert len(all_of(db, table)) == 1


def test_a_duplicate_within_one_transaction_is_refused(db):
    with pytest.raises(exceptions.DuplicateKeyError):
        databases.insert(db, "services", {"host": "a", "topic": "x"},
                         {"host": "a", "topic": "x"})
    assert all_of(db, "services") == []


def test_rows_with_a_null_in_a_key_have_none(db):
    for _ in range(2):
        databases.insert(db, "services", {"host": "a"})
        databases.insert(db, "block_device_mapping", {"instance_uuid": "u"})
    assert len(all_of(db, "services")) == 2
    assert len(all_of(db, "block_device_mapping")) == 2


@pytest.mark.parametrize("table,row,change", [
    ("services", {"host": "a", "topic": "x"}, {"topic": "y"}),
    ("services", {"host": "a", "topic": "x"}, {"topic": None}),
    ("virtual_interfaces", {"instance_uuid": "u", "address": "m",
                            "deleted": 0}, {"deleted": 1}),
])
def test_a_key_is_free_again_when_its_row_has_another(db, table, row, change):
    databases.insert(db, table, row)
    databases.update(db, table, (1,), **change)
    databases.insert(db, table, row)
    with pytest.raises(exceptions.DuplicateKeyError):
        databases.insert(db, table, row)
    databases.delete(db, table, (1,), (2,))
    databases.insert(db, table, row)


@pytest.mark.parametrize("inside", [True, False])
def test_a_key_can_be_taken_over_within_a_transaction(db, inside):
    table = "services" if inside else "block_device_mapping"
    row = ({"host": "a", "topic": "x"} if inside
           else {"instance_uuid": "u", "uuid": "b"})
    number = databases.insert(db, table, row)[0].key
    for _ in range(3):
        tx = db.begin()
        tx.delete(databases.one(tx, table, number))
        number = tx.insert(table, row).key
        tx.commit()
        with pytest.raises(exceptions.DuplicateKeyError):
            databases.insert(db, table, row)
    databases.delete(db, table, number)
    databases.insert(db, table, row)
    assert len(all_of(db, table)) == 1


# Moves ----------------------------------------------------------------------

def test_a_changed_partition_column_moves_the_row(db):
    databases.insert(db, "block_device_mapping", {
        "instance_uuid": "u", "uuid": "b", "volume_id": "v"})
    for target in ("w", None, "u"):
        databases.update(
            db, "block_device_mapping", (1,), instance_uuid=target)
        others = {"u", "w", None} - {target}
        for accesses in (
                access.ByPartition("block_device_mapping", (target,)),
                access.ByIndex("block_device_mapping", ("uuid",), (("b",),)),
                access.ByIndex(
                    "block_device_mapping", ("volume_id",), (("v",),)),
                access.ByKey("block_device_mapping", ((1,),)),
                access.FullScan("block_device_mapping")):
            for reader in (db, databases.another(db)):
                rows, = databases.load(reader, accesses)
                assert [row.get("instance_uuid") for row in rows] == [target]
        assert databases.load(db, access.ByPartition(
            "block_device_mapping", tuple(others))) == [[]]
    databases.delete(db, "block_device_mapping", (1,))
    databases.insert(db, "block_device_mapping", {"uuid": "b"})


@pytest.mark.parametrize("table", [
    "instance_metadata", "block_device_mapping"])
def test_a_stale_locator_is_noticed(db, table):
    databases.insert(db, table, {"instance_uuid": "u"})
    other = databases.another(db)
    databases.one(other.begin(), table, (1,))
    databases.update(db, table, (1,), instance_uuid="v")
    assert databases.one(other.begin(), table, (1,)).values[
        "instance_uuid"] == "v"
    databases.delete(db, table, (1,))
    assert databases.load(other, access.ByKey(table, ((1,),))) == [[]]


# Versions and floors --------------------------------------------------------

def test_an_insert_goes_above_the_floor_of_a_deleted_row(db):
    databases.insert(db, "instances", {"id": 1, "uuid": "u", "host": "a"})
    for number in range(3):
        databases.update(db, "instances", (1,), host="h%d" % number)
    version = databases.one(db.begin(), "instances", (1,)).version
    databases.delete(db, "instances", (1,))
    databases.insert(db, "instances", {"id": 1, "uuid": "u", "host": "a"})
    assert databases.one(
        db.begin(), "instances", (1,)).version == version + 1


# Ids ------------------------------------------------------------------------

def test_ids_are_given_out_once(db):
    other = databases.another(db)
    found = [database.next_ids("services", count)
             for count in (1, 5, 30, 2) for database in (db, other)]
    used = [number for first, count in zip(
        found, [count for count in (1, 5, 30, 2) for _ in range(2)])
        for number in range(first, first + count)]
    assert len(used) == len(set(used))


def test_a_process_that_uses_many_ids_takes_them_in_larger_blocks(
        db, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(counters.time, "monotonic", lambda: now[0])
    with databases.trips(db) as made:
        assert [db.next_ids("services") for _ in range(20 + 40 + 80)] == (
            list(range(1, 141)))
    assert made == [3]
    now[0] += counters.BUSY_BLOCK_S
    db.next_ids("services")
    assert databases.another(db).next_ids("services") == 161


def test_an_explicit_id_is_not_given_out_again(db):
    other = databases.another(db)
    assert other.next_ids("services") == 1
    databases.insert(db, "services", {"id": 1000, "host": "a"})
    assert db.next_ids("services") > 1000
    fresh = databases.another(db)
    assert fresh.next_ids("services") > 1000
    databases.delete(db, "services", (1000,))
    assert databases.another(db).next_ids("services") > 1000


@pytest.mark.parametrize("acknowledged", [0, 1])
def test_ids_are_on_replicas_before_they_are_used(
        db, monkeypatch, acknowledged):
    """A failover would give them out again."""
    batch = db.store.batch
    monkeypatch.setattr(db.counters, "_replicas", 1)
    monkeypatch.setattr(
        db.store, "batch", lambda items, replicas=0, timeout_ms=0:
            batch(items) + [acknowledged] * replicas)
    for row in ({"host": "a"}, {"id": 1000, "host": "b"}):
        if acknowledged:
            databases.insert(db, "services", row)
        else:
            with pytest.raises(exceptions.StoreUnavailableError):
                databases.insert(db, "services", row)
    assert len(all_of(db, "services")) == 2 * acknowledged


@pytest.mark.parametrize("number", [0, -5])
def test_zero_and_negative_ids_are_stored_as_they_are(db, number):
    databases.insert(db, "services", {"id": number, "host": "a"})
    assert all_of(db, "services") == [{"id": number, "host": "a"}]


def test_rows_of_a_table_without_a_key_are_told_apart(db):
    databases.insert(db, "notes", {"author": "a"}, {"author": "a"})
    rows = db.begin().load([access.FullScan("notes")])[0]
    assert [row.values["author"] for row in rows] == ["a", "a"]
    tx = db.begin()
    tx.delete(rows[0])
    tx.commit()
    assert all_of(db, "notes") == [rows[1].values]


# Round trips ----------------------------------------------------------------

def test_begin_and_an_empty_commit_cost_nothing(db):
    with databases.trips(db) as made:
        db.begin().commit()
        db.begin().rollback()
    assert made == [0]


def test_one_partition_is_read_and_written_in_one_trip_each(db):
    databases.insert(db, "instances", {"uuid": "u"})
    databases.insert(db, "instance_metadata", *[
        {"instance_uuid": "u", "key": str(number)} for number in range(40)])
    tx = db.begin()
    with databases.trips(db) as made:
        server, metadata, tags = tx.load([
            access.ByPartition("instances", ("u",)),
            access.ByPartition("instance_metadata", ("u",)),
            access.ByPartition("tags", ("u",))])
        tx.load([access.ByPartition("block_device_mapping", ("u",)),
                 access.ByKey("instances", (server[0].key,))])
    assert (len(server), len(metadata), len(tags)) == (1, 40, 0)
    assert made == [1]
    tx.update(server[0], {**server[0].values, "display_name": "x"})
    tx.insert("tags", {"resource_id": "u", "tag": "t"})
    with databases.trips(db) as made:
        tx.commit()
    assert made == [1]


@pytest.mark.parametrize("spread", [False, True])
def test_new_hints_cost_several_servers_one_trip_more(db, spread):
    db = databases.another(db, spread)
    databases.insert(db, "instances", {"uuid": "u"})
    tx = db.begin()
    record = databases.one(tx, "instances", (1,))
    tx.update(record, {**record.values, "host": "h"})
    with databases.trips(db) as made:
        tx.commit()
    assert made == [2 if spread else 1]


@pytest.mark.parametrize("spread", [False, True])
def test_what_is_loaded_along_with_a_commit(db, spread):
    db = databases.another(db, spread)
    databases.insert(db, "services", {"host": "a"}, {"host": "b"})
    databases.insert(db, "instances", {"uuid": "u", "host": "h"})
    tx = db.begin()
    tx.insert("instance_metadata", {"instance_uuid": "v"})
    with databases.trips(db) as made:
        by_host, by_id, floored, none = tx.commit([
            access.ByIndex("services", ("host",), (("b",),)),
            access.ByKey("services", ((1,),)),
            access.ByIndex("instances", ("host",), (("h",),)),
            access.ByIndex("services", ("host",), (("c",),))])
    # The row that an entry names is read afterwards.
    assert made == [(2 if spread else 1) + 1]
    assert [record.values["host"] for record in by_host] == ["b"]
    assert [record.values["host"] for record in by_id] == ["a"]
    assert [record.values["uuid"] for record in floored] == ["u"]
    assert none == []
    # Of what there is to commit: nothing.
    assert db.begin().commit([access.ByKey("services", ((1,),))]) == [by_id]


def test_a_schema_is_noticed_by_who_only_inserts(db):
    other = databases.another(db)
    other.next_ids("services")
    tx = db.begin()
    tx.set_schema((*databases.DDL, "CREATE TABLE late (id INTEGER)"))
    tx.commit()
    databases.insert(other, "services", {"host": "a"})
    assert "late" not in other.schema.tables
    other._check_at = 0
    databases.insert(other, "services", {"host": "b"})
    assert "late" in other.schema.tables


def test_an_update_may_name_what_changes(db):
    databases.insert(db, "services", {"host": "a", "topic": "t"})
    tx = db.begin()
    record = databases.one(tx, "services", (1,))
    row = {**record.values, "report_count": "7", "host": None}
    tx.update(record, row, {"report_count", "host", "id"})
    tx.commit()
    found, = databases.load(db, access.ByKey("services", ((1,),)))
    assert found == [{"id": 1, "topic": "t", "report_count": 7}]
