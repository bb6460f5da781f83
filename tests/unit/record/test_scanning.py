# SPDX-License-Identifier: Apache-2.0
"""Reading whole tables page by page."""

import pytest

from nova_kvs.record import scanning
from tests.unit.record import databases


@pytest.fixture
def db(monkeypatch):
    monkeypatch.setattr(scanning, "PARTITIONS", 3)
    monkeypatch.setattr(scanning, "ROWS", 4)
    return databases.make()


def pages(db, *names):
    return list(scanning.pages(databases.another(db), names))


def test_rows_of_spread_tables_come_by_partition(db):
    uuids = ["u%d" % number for number in range(8)]
    databases.insert(db, "instances", *[{"uuid": uuid} for uuid in uuids])
    databases.insert(db, "instance_metadata", {}, *[
        {"instance_uuid": uuid} for uuid in uuids + uuids])
    found = pages(db, "instances", "instance_metadata")
    assert max(len(page["instances"]) for page in found) <= 3
    assert sorted(row.values["uuid"] for page in found
                  for row in page["instances"]) == uuids
    # With the row that has no server.
    assert sorted(row.key for page in found
                  for row in page["instance_metadata"]) == [
        (number,) for number in range(1, 18)]
    for page in found:
        servers = {row.partition for row in page["instances"]}
        assert {row.partition for row in page["instance_metadata"]
                if row.values} - servers <= {
            row.partition for row in page["instance_metadata"]
            if "instance_uuid" not in row.values}


def test_rows_of_one_partition_come_in_pages(db):
    rows = [{"host": host, "topic": topic}
            for host in (None, "a", "b", "c" * 200, "c" * 200 + "d")
            for topic in (None, "t", "u")]
    # More of the same values than a page has rows.
    rows += [{"host": "same"}] * 11
    databases.insert(db, "services", *rows)
    found = pages(db, "services")
    keys = [row.key for page in found for row in page["services"]]
    assert sorted(keys) == [(number + 1,) for number in range(len(rows))]
    assert len(found) > 4


def test_a_table_without_an_index_is_read_at_once(db):
    databases.insert(db, "notes", *[{"text": "t"}] * 9)
    assert [len(page["notes"]) for page in pages(db, "notes")] == [9]


@pytest.mark.parametrize("name, rows", [
    ("instances", 0), ("services", 0), ("notes", 0), ("services", 4),
    ("instances", 3)])
def test_a_scan_is_counted_once(db, name, rows):
    databases.insert(db, name, *[
        {"uuid": str(number)} if name == "instances" else
        {"host": str(number)} for number in range(rows)])
    scans = db.stats.full_scans
    assert sum(len(page[name]) for page in scanning.pages(
        db, [name])) == rows
    assert db.stats.full_scans == scans + 1
