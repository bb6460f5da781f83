# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs.record import access
from nova_kvs.record.paths import scans
from tests.unit.record import databases

HOSTILE = ["", "{}", "}x{", "a\0b", "\0", "a\nb", "kvs:{x", "%00", "~",
           "x" * 127, "x" * 128, "x" * 129, "\u20ac" * 50, "a" * 61440,
           "a" * 61439 + "b"]


@pytest.fixture
def db():
    return databases.make()


def fill(db, count):
    databases.insert(db, "instances", *[
        {"uuid": "u%d" % number, "project_id": "p%d" % (number % 2),
         "host": "h", "deleted": 0,
         "created_at": "2026-01-01 %08d" % (number * 7919 % count)}
        for number in range(count)])


def uuids(rows):
    return [row.values["uuid"] for row in rows]


@pytest.mark.parametrize("wanted,expected", [
    (access.ByIndex("instances", ("project_id",), (("p1",),)), 2),
    (access.ByIndex("instances", ("host", "deleted"), (("h", 0),)), 2),
    (access.ByRange("instances", "deleted+created_at+id", (0,)), 2),
    (access.FullScan("instances"), 2),
    (access.ByIndex("services", ("topic",), (("t",),)), 1),
    (access.FullScan("services"), 1),
])
def test_ten_rows_cost_as_many_trips_as_a_thousand(wanted, expected):
    for count in (10, 300):
        db = databases.make()
        fill(db, count)
        databases.insert(db, "services", *[
            {"host": "h%d" % number, "topic": "t"}
            for number in range(count)])
        reader = databases.another(db)
        tx = reader.begin()
        with databases.trips(reader) as made:
            rows, = tx.load([wanted])
        assert made == [expected]
        assert len(rows) == count / (2 if "p1" in str(wanted) else 1)


def test_several_accesses_share_their_trips(db):
    fill(db, 4)
    databases.insert(db, "services", {"host": "h", "topic": "t"})
    reader = databases.another(db)
    tx = reader.begin()
    with databases.trips(reader) as made:
        tx.load([access.ByIndex("instances", ("host",), (("h",),)),
                 access.ByPartition("tags", ("u1", "u2")),
                 access.ByKey("instances", ((1,), (4,), (9,))),
                 access.ByIndex("services", ("host",), (("h",), ("i",))),
                 access.ByKey("services", ((1,),)),
                 access.FullScan("notes")])
    assert made == [2]


def test_equal_values_of_partitions_are_told_apart(db):
    databases.insert(db, "block_device_mapping", {}, {"instance_uuid": "1"})
    databases.insert(db, "virtual_interfaces", {"address": "a"},
                     {"address": "b", "instance_uuid": "1.0"})
    found = databases.another(db).begin().load([
        access.ByPartition(table, values)
        for values in ((None,), (1,), (1.0,))
        for table in ("block_device_mapping", "virtual_interfaces")])
    assert list(map(len, found)) == [1, 1, 1, 0, 0, 1]


def test_rows_that_are_wanted_alone_come_without_their_partitions(db):
    fill(db, 4)
    databases.insert(db, "instance_metadata", *[
        {"instance_uuid": "u%d" % number, "key": "k" * 1000}
        for number in range(4)])
    databases.update(db, "instances", (1,), host="other")  # a stale entry
    reader = databases.another(db)
    wanted = access.ByIndex("instances", ("host",), (("h",),), True)
    tx = reader.begin()
    before = reader.store.stats.bytes_in
    with databases.trips(reader) as made:
        assert sorted(uuids(tx.load([wanted])[0])) == ["u1", "u2", "u3"]
    assert made == [2]
    assert reader.store.stats.bytes_in - before < 2000
    # What was read is not read again, and the rest is still to be found.
    with databases.trips(reader) as made:
        rows, = tx.load([wanted])
        assert len(rows) == 3
    assert made == [1]
    found, = tx.load([access.ByPartition("instance_metadata", ("u1", "u2"))])
    assert len(found) == 2
    again, = tx.load([access.ByPartition("instances", ("u1",))])
    assert again[0] in rows


def test_a_table_that_is_wanted_alone_comes_without_the_others(db):
    fill(db, 2)
    databases.insert(db, "instance_metadata", *[
        {"instance_uuid": "u%d" % number, "key": "k" * 1000}
        for number in range(2)])
    reader = databases.another(db)
    tx = reader.begin()
    before = reader.store.stats.bytes_in
    with databases.trips(reader) as made:
        rows, = tx.load([access.ByPartition("instances", ("u0", "u1"), True)])
    assert sorted(uuids(rows)) == ["u0", "u1"]
    assert made == [1]
    assert reader.store.stats.bytes_in - before < 1000
    found, = tx.load([access.ByPartition("instance_metadata", ("u0", "u1"))])
    assert len(found) == 2


def test_a_record_is_decoded_again_when_its_bytes_change(db):
    databases.insert(db, "services", {"host": "a", "topic": "x"})
    reader = databases.another(db)
    for topic in ("y", "y", "z"):
        databases.update(db, "services", (1,), topic=topic)
        found, = databases.load(reader, access.FullScan("services"))
        assert [row["topic"] for row in found] == [topic]
    again, = databases.load(reader, access.FullScan("services"))
    assert again[0] is found[0]


def test_a_locator_saves_the_trip_to_the_index(db):
    fill(db, 2)
    reader = databases.another(db)
    for expected in (2, 1):
        tx = reader.begin()
        with databases.trips(reader) as made:
            assert len(tx.load([access.ByKey("instances", ((2,),))])[0]) == 1
        assert made == [expected]


def test_a_scanned_table_is_not_read_again(db):
    fill(db, 5)
    tx = db.begin()
    tx.load([access.FullScan("instances")])
    with databases.trips(db) as made:
        for wanted, count in [
                (access.FullScan("instances"), 5),
                (access.ByPartition("instances", ("u1", "nothing")), 1),
                (access.ByKey("instances", ((1,), (77,))), 1)]:
            assert len(tx.load([wanted])[0]) == count
    assert made == [0]
    assert db.stats.full_scans == 1


def test_values_are_compared_as_the_column_stores_them(db):
    databases.insert(db, "services", {"host": "7", "topic": "t",
                                      "report_count": 3})
    for wanted in (access.ByKey("services", (("1",),)),
                   access.ByKey("services", ((1.0,),)),
                   access.ByIndex("services", ("host",), ((7,),)),
                   access.ByIndex("services", ("topic", "report_count"),
                                  (("t", "3"),))):
        assert len(databases.load(db, wanted)[0]) == 1


def test_an_index_that_is_not_there_is_a_scan(db):
    fill(db, 3)
    rows, = databases.load(db, access.ByIndex(
        "instances", ("display_name",), ((None,),)))
    assert len(rows) == 3
    assert db.stats.full_scans == 1


def test_nulls_are_found_without_an_index_entry(db):
    databases.insert(db, "instances", {"uuid": "u"})
    databases.insert(db, "services", {"host": "h"})
    for table, column in (("instances", "host"), ("services", "topic")):
        rows, = databases.load(
            db, access.ByIndex(table, (column,), ((None,),)))
        assert len(rows) == 1


def test_a_partial_index_is_not_used_for_other_rows(db):
    databases.insert(db, "instances", {"uuid": "u", "deleted": 0},
                     {"uuid": "v", "deleted": 2})
    for value, uuid in ((0, "u"), (2, "v")):
        rows, = db.begin().load([access.ByIndex(
            "instances", ("deleted",), ((value,),))])
        assert uuids(rows) == [uuid]
        rows, = db.begin().load([access.ByRange(
            "instances", "deleted+created_at+id", (value,))])
        assert uuids(rows) == [uuid]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_is_stored_and_found_exactly(db, text):
    near = text + "x"
    for value in (text, near):
        databases.insert(db, "instances", {
            "uuid": value, "project_id": value, "host": value, "deleted": 0,
            "created_at": value, "display_name": value})
        databases.insert(db, "instance_metadata", {
            "instance_uuid": value, "key": value, "value": value})
        databases.insert(db, "block_device_mapping", {
            "instance_uuid": value, "volume_id": value, "uuid": value})
        databases.insert(db, "virtual_interfaces", {
            "instance_uuid": value, "address": value, "deleted": 0,
            "uuid": value})
        databases.insert(db, "tags", {"resource_id": value, "tag": value})
        databases.insert(db, "services", {"host": value, "topic": value})
    reader = databases.another(db)
    for wanted, column in [
            (access.ByPartition("instances", (text,)), "uuid"),
            (access.ByIndex("instances", ("uuid",), ((text,),)), "uuid"),
            (access.ByIndex("instances", ("host",), ((text,),)), "host"),
            (access.ByIndex("instances", ("project_id", "deleted"),
                            ((text, 0),)), "project_id"),
            (access.ByRange("instances", "deleted+created_at+id", (0,),
                            (text,), (text,)), "created_at"),
            (access.ByPartition("instance_metadata", (text,)), "key"),
            (access.ByIndex("block_device_mapping", ("volume_id",),
                            ((text,),)), "volume_id"),
            (access.ByIndex("block_device_mapping", ("uuid",),
                            ((text,),)), "uuid"),
            (access.ByIndex("virtual_interfaces", ("address",),
                            ((text,),)), "address"),
            (access.ByKey("tags", ((text, text),)), "tag"),
            (access.ByIndex("services", ("host", "topic"),
                            ((text, text),)), "host"),
            (access.ByRange("services", "host+topic", (text,)), "host")]:
        rows, = databases.load(reader, wanted)
        assert text in [row[column] for row in rows]
        if not isinstance(wanted, access.ByRange):
            assert [row[column] for row in rows] == [text]
    for table in ("instances", "tags", "services"):
        assert len(databases.load(
            reader, access.FullScan(table))[0]) == 2


# Ranges ---------------------------------------------------------------------

@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("limit", [None, 1, 7, 100])
def test_pages_come_in_order(db, limit, reverse):
    fill(db, 40)
    rows, = databases.another(db).begin().load([access.ByRange(
        "instances", "project_id+deleted+created_at+id", ("p1", 0),
        limit=limit, reverse=reverse)])
    expected = sorted(
        ("2026-01-01 %08d" % (number * 7919 % 40), "u%d" % number)
        for number in range(40) if number % 2)
    if reverse:
        expected.reverse()
    assert uuids(rows) == [uuid for _, uuid in expected[:limit]]


@pytest.mark.parametrize("table,index,prefix", [
    ("instances", "deleted+created_at+id", (0,)),
    ("services", "topic+report_count", ("t",))])
@pytest.mark.parametrize("low,high", [(None, 5), (5, None), (3, 8), (9, 2)])
@pytest.mark.parametrize("limit", [None, 2])
@pytest.mark.parametrize("reverse", [False, True])
def test_ranges_include_their_bounds(
        db, table, index, prefix, low, high, limit, reverse):
    column = index.split("+")[1]
    for number in range(12):
        databases.insert(db, table, {
            "instances": {"uuid": str(number), "deleted": 0},
            "services": {"host": str(number), "topic": "t"}}[table]
            | {column: number})
    rows, = db.begin().load([access.ByRange(
        table, index, prefix, None if low is None else (low,),
        None if high is None else (high,), limit, reverse)])
    expected = [number for number in range(12)
                if (low is None or number >= low)
                and (high is None or number <= high)]
    if column == "created_at":
        # Numbers in a DATETIME column; text sorts behind all of them.
        assert all(type(row.values[column]) is int for row in rows)
    if reverse:
        expected.reverse()
    assert [row.values[column] for row in rows] == expected[:limit]


def test_a_limit_of_none_rows_reads_nothing(db):
    with databases.trips(db) as made:
        assert db.begin().load([access.ByRange(
            "services", "host+topic", limit=0)]) == [[]]
    assert made == [0]


@pytest.mark.parametrize("table", ["instances", "services"])
def test_stale_entries_do_not_use_up_a_limit(db, table):
    column, index, prefix = {
        "instances": ("created_at", "deleted+created_at+id", (0,)),
        "services": ("report_count", "topic+report_count", ("t",))}[table]
    for number in range(60):
        databases.insert(db, table, {
            "instances": {"uuid": str(number), "deleted": 0},
            "services": {"host": str(number), "topic": "t"}}[table]
            | {column: number})
    for number in range(1, 41):
        databases.update(db, table, (number,), **{column: 1000 + number})
    rows, = databases.another(db).begin().load([access.ByRange(
        table, index, prefix, limit=5)])
    assert [row.values[column] for row in rows] == [40, 41, 42, 43, 44]


def test_rows_that_the_transaction_deletes_do_not_use_up_a_limit(db):
    fill(db, 10)
    tx = db.begin()
    for row in tx.load([access.FullScan("instances")])[0]:
        if row.values["created_at"] < "2026-01-01 00000004":
            tx.delete(row)
    rows, = tx.load([access.ByRange(
        "instances", "deleted+created_at+id", (0,), limit=3)])
    left = [row for row in rows
            if row.values["created_at"] >= "2026-01-01 00000004"]
    assert len(left) >= 3


@pytest.mark.parametrize("table,index,column,prefix", [
    ("instances", "host+deleted+created_at+id", "created_at", ("h", 0)),
    ("services", "host+topic", "topic", ("h",))])
@pytest.mark.parametrize("reverse", [False, True])
def test_long_text_does_not_break_order_or_bounds(
        db, table, index, column, prefix, reverse):
    texts = ["x" * 96 + tail for tail in (
        "", "a" * 10, "b" * 50, "c" * 60, "d" * 5, "e" * 70)] + ["w", "y"]
    for number, text in enumerate(texts):
        databases.insert(db, table, {
            "instances": {"uuid": str(number), "deleted": 0, "host": "h"},
            "services": {"host": "h"}}[table] | {column: text})
    ordered = sorted(texts, reverse=reverse)
    for limit in (1, 3, 5):
        rows, = db.begin().load([access.ByRange(
            table, index, prefix, limit=limit, reverse=reverse)])
        assert [row.values[column] for row in rows][:limit] == (
            ordered[:limit])
    low, high = texts[1], texts[5]
    rows, = db.begin().load([access.ByRange(
        table, index, prefix, (low,), (high,), limit=2)])
    assert {text for text in texts if low <= text <= high} <= {
        row.values[column] for row in rows}


ALLOCATIONS = (
    "CREATE TABLE allocations (id INTEGER NOT NULL PRIMARY KEY, "
    "resource_provider_id INTEGER, consumer_id VARCHAR(36), used INTEGER)",)


@pytest.fixture
def held():
    made = databases.make(ALLOCATIONS)
    databases.insert(made, "allocations", *[
        {"resource_provider_id": number % 2, "consumer_id": "c%d" % number,
         "used": number} for number in range(40)])
    return made


def test_what_a_provider_has_given_away_is_read_by_provider(held):
    reader = databases.another(held)
    commands = reader.store.stats.commands
    with databases.trips(reader) as made:
        rows, = reader.begin().load([access.ByIndex(
            "allocations", ("resource_provider_id",), ((0,), (1,)))])
    assert len(rows) == 40
    assert made == [1]
    # Two partitions and the look at the schema, for however many consumers.
    assert reader.store.stats.commands - commands <= 3


def test_of_a_provider_only_what_is_looked_for_is_read(held):
    tx = databases.another(held).begin()
    rows, = tx.load([access.ByIndex(
        "allocations", ("consumer_id",), (("c3",),))])
    assert [row.values["used"] for row in rows] == [3]
    assert sum(len(seen.record_fields())
               for seen in tx.read_sets.values()) == 1


def test_the_same_bytes_of_a_provider_are_decoded_once(held):
    wanted = access.ByIndex("allocations", ("resource_provider_id",), ((1,),))
    before, = held.begin().load([wanted])
    databases.update(held, "allocations", before[0].key, used=99)
    after, = held.begin().load([wanted])
    known = {id(row) for row in before[1:]}
    assert len([row for row in after if id(row) in known]) == len(known)
    assert [row.values["used"] for row in after
            if row.key == before[0].key] == [99]
    # A row that went to another provider is that provider's.
    databases.update(held, "allocations", before[1].key,
                     resource_provider_id=0)
    moved, = held.begin().load([wanted._replace(tuples=((0,),))])
    found, = [row for row in moved if row.key == before[1].key]
    assert found.partition != before[1].partition


def test_a_row_that_moves_between_pages_is_among_some_rows(monkeypatch):
    db = databases.make()
    databases.insert(db, "services", *[
        {"host": "h%d" % n, "topic": "t"} for n in range(1, 6)])
    read = scans.page
    moved = []

    def page(tx, table, wanted):
        found = yield from read(tx, table, wanted._replace(limit=2))
        if not moved:
            moved.append(True)
            databases.update(db, "services", (5,), host="h0")
        return found

    monkeypatch.setattr(scans, "page", page)
    found, = databases.another(db).begin().load([
        access.SomeRows("services", 5)])
    assert sorted(record.key for record in found) == [
        (number,) for number in range(1, 6)]
