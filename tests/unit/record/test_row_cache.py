# SPDX-License-Identifier: Apache-2.0
"""Rows that are read alone again are not decoded again."""

from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record import read_set
from tests.unit.record import databases

_COUNT = 20
_ROWS = access.ByRange("instances", "created_at+id", table_only=True)


def _database():
    database = databases.make()
    databases.insert(database, "instances", *[
        {"id": n + 1, "uuid": "u%02d" % n, "deleted": 0,
         "created_at": "2026-01-01"} for n in range(_COUNT)])
    return databases.another(database)


def _decoded(database, monkeypatch):
    """Return the rows of a transaction, and how many were decoded for it."""
    fields = []
    decode = codec.decode

    def counting(payload, where):
        fields.append(where)
        return decode(payload, where)

    with monkeypatch.context() as patch:
        patch.setattr(codec, "decode", counting)
        found, = database.begin().load([_ROWS])
    return found, len(fields)


def test_rows_are_decoded_once(monkeypatch):
    database = _database()
    first, count = _decoded(database, monkeypatch)
    assert (len(first), count) == (_COUNT, _COUNT)
    second, count = _decoded(database, monkeypatch)
    assert (second, count) == (first, 0)
    # What is made of a row is kept from then on.
    assert {type(record) for record in second} == {access.CachedRecord}


def test_a_row_that_changed_is_decoded(monkeypatch):
    database = _database()
    _decoded(database, monkeypatch)
    other = databases.another(database)
    databases.update(other, "instances", (3,), deleted=3)
    databases.delete(other, "instances", (4,))
    databases.insert(other, "instances", {
        "id": 4, "uuid": "elsewhere", "created_at": "2026-01-01"})
    found, count = _decoded(database, monkeypatch)
    assert count == 2
    values = {record.key[0]: record.values for record in found}
    assert values[3]["deleted"] == 3
    assert values[4]["uuid"] == "elsewhere"


def test_no_more_than_a_limit_is_kept(monkeypatch):
    database = _database()
    kept = database.remembered.rows
    kept.limit = 500
    for _turn in range(3):
        assert len(_decoded(database, monkeypatch)[0]) == _COUNT
        assert 0 < len(kept) < _COUNT
        assert kept.size_bytes == kept.size() < 700
    # Rows that stay are found though all of them were looked at in between.
    assert kept.hits > 0


def test_another_table_of_the_name_is_decoded_anew(monkeypatch):
    database = _database()
    _decoded(database, monkeypatch)
    tx = database.begin()
    table = tx.table("instances")
    partition = tx.partition_of_value(table, "u01")
    field = table.field((2,))
    known = database.remembered.rows[field]
    assert known[2].partition == partition
    # The same field of another partition is another row.
    seen = read_set.ReadSet(
        tx.partition_of_value(table, "u09"), database.remembered)
    seen.stored = {field: known[1]}
    assert seen.record(table, field).partition == seen.partition
