# SPDX-License-Identifier: Apache-2.0
"""Rows that are looked for among many are read without the rest."""

import sqlite3

import hypothesis
from hypothesis import strategies as st

from nova_kvs.record import access
from nova_kvs.record.indexes import global_index
from tests.unit.record import databases

_ROWS = st.lists(st.fixed_dictionaries({
    "uuid": st.sampled_from(["a", "b", "c", "d", "e", None]),
    "created_at": st.sampled_from([None, "2026-01-01", "2026-01-02"]),
    "deleted": st.sampled_from([0, 0, 1])}), max_size=12,
    unique_by=lambda row: row["uuid"] or object())


def keys(records):
    return [record.key[0] for record in records]


@hypothesis.given(_ROWS, st.lists(st.integers(1, 12), max_size=4),
                  st.sampled_from([None, 1, 3]), st.booleans())
@hypothesis.settings(max_examples=40, deadline=None)
def test_the_same_rows_as_sqlite(rows, gone, limit, reverse):
    database = databases.make()
    reference = sqlite3.connect(":memory:")
    reference.execute(databases.DDL[0])
    for number, row in enumerate(rows):
        databases.insert(database, "instances", {"id": number + 1, **row})
        if row["uuid"]:
            databases.insert(database, "instance_metadata", {
                "instance_uuid": row["uuid"], "value": "v"})
        reference.execute(
            "INSERT INTO instances (id, uuid, created_at, deleted) "
            "VALUES (?, ?, ?, ?)", (number + 1, row["uuid"],
                                    row["created_at"], row["deleted"]))
    for number in {number for number in gone if number <= len(rows)}:
        databases.delete(database, "instances", (number,))
        reference.execute("DELETE FROM instances WHERE id = ?", (number,))
    order = "DESC" if reverse else "ASC"
    expected = [number for number, in reference.execute(
        "SELECT id FROM instances ORDER BY created_at %s, id %s LIMIT ?" % (
            order, order), (-1 if limit is None else limit,))]
    wanted = access.ByRange("instances", "created_at+id", limit=limit,
                            reverse=reverse)
    other = databases.another(database)
    for table_only in (False, True):
        found, = other.begin().load([wanted._replace(table_only=table_only)])
        assert keys(found) == expected
    # What was read alone is no answer to who asks for the rest.
    tx = other.begin()
    tx.load([wanted._replace(table_only=True)])
    metadata, = tx.load([access.ByPartition(
        "instance_metadata", tuple(filter(None, (
            row["uuid"] for row in rows))))])
    assert len(metadata) == sum(row["uuid"] is not None for row in rows)
    with_scan, = tx.load([access.FullScan("instances")])
    assert sorted(keys(with_scan)) == [
        number for number, in reference.execute(
            "SELECT id FROM instances ORDER BY id")]


def test_a_scan_reads_records_in_chunks(monkeypatch):
    monkeypatch.setattr(global_index, "CHUNK", 10)
    database = databases.make()
    databases.insert(database, "instances", *[
        {"uuid": "u%d" % n, "deleted": 0} for n in range(25)])
    for n in range(25):
        databases.insert(database, "instance_metadata", {
            "instance_uuid": "u%d" % n, "value": "v" * 1000})
    other = databases.another(database)
    before = other.store.stats.bytes_in
    with databases.trips(other) as trips:
        found, = other.begin().load([access.FullScan("instances")])
    assert len(found) == 25
    assert trips == [4]
    assert other.store.stats.bytes_in - before < 10000
    assert other.stats.full_scans == 1
