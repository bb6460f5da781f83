# SPDX-License-Identifier: Apache-2.0
"""Stored bytes come back as what they were made of, and no others crash."""

import struct

import hypothesis
from hypothesis import strategies as st

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record.indexes import directory
from nova_kvs.record.indexes import global_index
from nova_kvs.record.indexes import local_index
from nova_kvs.record import schema
from tests.unit.fuzz import amounts

TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=150),
    st.text("\0\x01\xff{}:a", max_size=140))
VALUES = st.one_of(
    st.integers(-2 ** 63, 2 ** 63 - 1), st.floats(allow_nan=False), TEXTS,
    st.binary(max_size=150))
ROWS = st.fixed_dictionaries({}, optional={
    "a": VALUES, "b": VALUES, "c": VALUES})
INDEX = global_index.GlobalIndex("t", "a+b", ("a", "b"), 4)
LOCAL = local_index.LocalIndex("t", "a+b", ("a", "b"))
NONCES = st.binary(min_size=4, max_size=4)


@amounts.some(200)
@hypothesis.given(ROWS)
def test_a_record_comes_back(row):
    found = codec.decode(codec.encode(row), b"where")
    assert found == row
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in row.items()}


@amounts.some(300)
@hypothesis.given(st.one_of(st.binary(max_size=40), ROWS.map(codec.encode)),
                  st.integers(0, 60), st.binary(max_size=3))
def test_no_bytes_crash_the_reader_of_records(payload, at, other):
    payload = payload[:at] + other + payload[at + len(other):]
    try:
        found = codec.decode(payload, b"where")
    except exceptions.CorruptRecordError:
        return
    assert type(found) is dict


@amounts.some(200)
@hypothesis.given(st.lists(VALUES | st.none(), max_size=4), st.binary())
def test_included_columns_come_back(values, other):
    stored = codec.encode_list(values)
    assert codec.decode_list(stored, b"where", len(values)) == values
    for wrong in (stored + b"\0", other):
        try:
            found = codec.decode_list(wrong, b"where", len(values))
        except exceptions.CorruptRecordError:
            continue
        assert len(found) == len(values)


@amounts.some(200)
@hypothesis.given(row=ROWS, where=TEXTS, key=VALUES, nonce=NONCES,
                  version=st.integers(0, 2 ** 53))
def test_an_entry_names_its_row(row, where, key, nonce, version):
    partition = keyspace.partition("db", "s", where)
    field = keyspace.record_field("t", (key,))
    entry = INDEX.entry("db", row, partition, field)
    columns = keyspace.encode_tuple([row.get("a"), row.get("b")])
    assert (entry is None) == ("a" not in row)
    if entry is not None:
        stored = global_index.member(entry, version, nonce)
        assert global_index.partition_of(stored) == partition
        assert global_index.field_of(stored) == field
        assert global_index.version_of(stored) == version
        assert global_index.columns_of(stored) == columns
        assert global_index.where_of(stored) == partition.key + field
        assert entry.key in INDEX.bucket_keys("db", row["a"])
    stored = LOCAL.entry(row, field)
    assert LOCAL.columns_of(stored) == columns
    assert local_index.field_of(stored) == field
    stored = directory.adding("db", "s", partition, nonce).member
    assert directory.partition_of(stored) == partition


@amounts.some(200)
@hypothesis.given(st.lists(ROWS, min_size=2, max_size=6), TEXTS, VALUES)
def test_entries_are_where_a_reader_looks(rows, where, key):
    """Those of a value lie in its range, and no others do."""
    # 1 and 1.0 are not both in a column whose values name buckets.
    rows = [{name: schema.apply_affinity("NUMERIC", value)
             for name, value in row.items()} for row in rows]
    partition = keyspace.partition("db", "s", where)
    field = keyspace.record_field("t", (key,))
    stored = [(row, LOCAL.entry(row, field)) for row in rows]
    for wanted in rows:
        for names in (("a",), ("a", "b")):
            low, high = LOCAL.range_of([wanted.get(name) for name in names])
            found = [row for row, entry in stored
                     if low[1:] <= entry < high[1:]]
            assert found == [row for row in rows if all(
                _same(row.get(name), wanted.get(name)) for name in names)]
    for wanted in rows:
        if "a" not in wanted:
            continue
        reads = INDEX.reads("db", [(wanted["a"],)])
        for row in rows:
            entry = INDEX.entry("db", row, partition, field)
            is_read = entry is not None and any(
                read.key == entry.key
                and read.low[1:] <= entry.prefix < read.high[1:]
                for read in reads)
            assert is_read == _same(row.get("a"), wanted["a"])


def _same(one, other):
    numbers = isinstance(one, (int, float)) and (
        isinstance(other, (int, float)))
    return (numbers or type(one) is type(other)) and one == other


@amounts.some(200)
@hypothesis.given(st.binary(max_size=60))
def test_no_bytes_crash_the_readers_of_entries(stored):
    for read in (global_index.partition_of, global_index.field_of,
                 global_index.version_of, global_index.columns_of,
                 global_index.where_of, local_index.field_of,
                 LOCAL.columns_of, directory.partition_of):
        try:
            read(stored)
        except struct.error:
            assert len(stored) < 16
