# SPDX-License-Identifier: Apache-2.0
"""Property tests: keys and entries of values from outside."""

import hashlib
import math
import sqlite3

import hypothesis
from hypothesis import strategies as st
import pytest
import redis.crc

from nova_kvs import exceptions
from nova_kvs import keyspace

INTEGERS = st.integers(-2 ** 63, 2 ** 63 - 1) | st.integers(
    2 ** 53 - 9, 2 ** 53 + 9) | st.integers(-9, 9)
FLOATS = st.floats(allow_nan=False) | st.integers(-9, 9).map(float) | (
    st.integers(2 ** 53 - 9, 2 ** 53 + 9).map(float))
NASTY = st.text("{}:\0\n~%*?[]x\xff\U0001f600", max_size=140)
#: Short texts of the bytes that end and escape, which often are prefixes of
#: each other.
MARKS = st.text("\0\x01\x02a", max_size=3)
TEXTS = st.text(max_size=140) | NASTY | MARKS
VALUES = (st.none() | INTEGERS | FLOATS | TEXTS
          | st.binary(max_size=140) | MARKS.map(str.encode) | st.booleans())
TUPLES = st.lists(VALUES, max_size=4).map(tuple)


def _sqlite_order(values):
    """Return SQLite's order of values, none longer than is kept whole."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (position, value)")
    connection.executemany("INSERT INTO t VALUES (?, ?)", enumerate(values))
    return connection.execute(
        "SELECT position, rank() OVER (ORDER BY value) FROM t").fetchall()


@hypothesis.given(
    st.lists(MARKS, max_size=8) | st.lists(INTEGERS | FLOATS, max_size=8)
    | st.lists(VALUES.filter(
        lambda value: not isinstance(value, str) or value.isascii()),
        max_size=8))
def test_encoded_values_sort_as_in_sqlite(values):
    values = [value[:keyspace.MAX_COMPONENT_BYTES]
              if isinstance(value, (str, bytes)) else value
              for value in values]
    encoded = [keyspace.encode_tuple((value,)) for value in values]
    ranks = dict(_sqlite_order(values))
    for one in ranks:
        for other in ranks:
            assert (encoded[one] < encoded[other]) == (
                ranks[one] < ranks[other])


@hypothesis.given(TUPLES, TUPLES)
def test_only_equal_tuples_encode_equally(one, other):
    assert (keyspace.encode_tuple(one) == keyspace.encode_tuple(other)) == (
        len(one) == len(other) and all(
            _same(*pair) for pair in zip(one, other)))


def _same(one, other):
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other
    return type(one) is type(other) and one == other


@hypothesis.given(TUPLES, TUPLES)
def test_the_encoding_is_self_delimiting(one, other):
    prefix = keyspace.encode_tuple(one)
    assert keyspace.encode_tuple(one + other) == (
        prefix + keyspace.encode_tuple(other))
    starts = keyspace.encode_tuple(other).startswith(prefix)
    assert starts == (len(other) >= len(one) and all(
        _same(*pair) for pair in zip(one, other)))


@hypothesis.given(st.text(min_size=40, max_size=200))
def test_a_cut_component_is_not_the_value_that_imitates_it(text):
    long = text.encode() + b"!" * 200
    imitation = (long[:keyspace.KEPT_COMPONENT_BYTES]
                 + hashlib.sha256(long).digest())
    assert keyspace.encode_tuple((long,)) != keyspace.encode_tuple(
        (imitation,))


def test_nan_is_null_and_negative_zero_is_zero():
    assert keyspace.encode_tuple((math.nan,)) == keyspace.encode_tuple(
        (None,))
    assert keyspace.encode_tuple((-0.0,)) == keyspace.encode_tuple((0,))


def test_what_is_no_column_value_is_refused():
    with pytest.raises(TypeError):
        keyspace.encode_tuple((object(),))
    with pytest.raises(OverflowError):
        keyspace.encode_tuple((2 ** 63,))


@hypothesis.given(TEXTS | st.binary(max_size=300))
def test_a_quoted_part_is_safe_in_a_key(part):
    quoted = keyspace.quote(part)
    assert len(quoted) <= keyspace.MAX_PART_BYTES
    assert not set(quoted) - set(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
        b"0123456789_.-%~")


@hypothesis.given(TEXTS, TEXTS)
def test_different_parts_stay_different(one, other):
    assert (keyspace.quote(one) == keyspace.quote(other)) == (one == other)


def test_a_hashed_part_cannot_be_imitated():
    hashed = keyspace.quote("{" * 100)
    assert hashed.startswith(b"~")
    assert keyspace.quote(hashed) != hashed


def test_sixty_kilobytes_fit():
    value = "\0{}\n" * 15000
    assert len(keyspace.quote(value)) == 65
    assert len(keyspace.encode_tuple((value,))) < 400


@hypothesis.given(TEXTS)
def test_all_keys_of_a_partition_share_its_slot(value):
    partition = keyspace.partition("db", "s", value)
    slots = {keyspace.slot(key) for key in (
        partition.key, partition.index_key,
        partition.outcome_key(b"\xff" * 16),
        keyspace.fence_key(partition.index_key))}
    assert len(slots) == 1
    assert partition.key.count(b"{") == partition.key.count(b"}") == 1


@hypothesis.given(st.binary(max_size=60) | st.text(
    "ab{}", max_size=9).map(str.encode))
def test_slot_is_the_one_of_the_cluster_specification(key):
    assert keyspace.slot(key) == redis.crc.key_slot(key)


def test_keys_of_different_purpose_differ():
    keys = [
        keyspace.partition("db", "t", "x").key,
        keyspace.partition("db", "t", "x").index_key,
        keyspace.partition("db", "t", "xx").key,
        keyspace.partition("d", "t", "x").key,
        keyspace.bucket_key("db", "t.x", "0"),
        keyspace.gc_key("db", 0),
        keyspace.counter_key("db", "x"),
        keyspace.fence_key(keyspace.partition("db", "t", "x").key),
    ]
    assert len(set(keys)) == len(keys)
    assert [keyspace.database_of(key) for key in keys] == [
        "d" if key == keys[3] else "db" for key in keys]


@pytest.mark.parametrize("name", [
    "", None, "a/b", "a{b", "a b", "x" * 65, "a:b", "a\n"])
def test_bad_database_names_are_refused(name):
    with pytest.raises(exceptions.ConfigurationError):
        keyspace.check_database_name(name)


def test_database_pattern_matches_only_its_database():
    assert keyspace.database_pattern("nova") == b"kvs:{nova:*"
    assert keyspace.check_database_name("nova_cell.1-b") == "nova_cell.1-b"


def test_fields_are_told_apart_by_their_first_byte():
    record = keyspace.record_field("t", ("r",))
    unique = keyspace.unique_field("t", "n", ("r",))
    assert record.startswith(keyspace.record_prefix("t"))
    assert not keyspace.record_field("t2", ("r",)).startswith(
        keyspace.record_prefix("t"))
    assert record[:1] == keyspace.RECORD
    assert unique[:1] == keyspace.UNIQUE
    assert keyspace.intent_field(unique) == keyspace.INTENT + unique
    assert keyspace.FLOOR_FIELD not in (
        keyspace.RECORD, keyspace.UNIQUE, keyspace.INTENT)
