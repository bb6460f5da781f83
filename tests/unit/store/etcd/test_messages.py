# SPDX-License-Identifier: Apache-2.0
"""etcd's messages, against bytes as its own library writes them."""

import hypothesis
from hypothesis import strategies
import pytest

from nova_kvs.store.etcd import messages


def _key_value(key, value, created, modified, version, lease=0):
    return (messages.field(1, key) + messages.number_field(2, created)
            + messages.number_field(3, modified)
            + messages.number_field(4, version) + messages.field(5, value)
            + messages.number_field(6, lease))


@pytest.mark.parametrize("request_, expected", [
    (messages.range_request(b"a"), "0a0161"),
    (messages.range_request(b"a", b"b", 3, 300), "0a01611201621803" "20ac02"),
    (messages.range_request(b"a", descending=True, serializable=True),
     "0a0161" "2802" "3801"),
    (messages.range_request(b"a", keys_only=True, count_only=True),
     "0a0161" "4001" "4801"),
    (messages.put_op(b"k", b"v", 5), "1208" "0a016b" "120176" "1805"),
    (messages.put_op(b"k", b"", wants_previous=True),
     "1205" "0a016b" "2001"),
    (messages.delete_op(b"k", b"l"), "1a06" "0a016b" "12016c"),
    (messages.is_absent(b"k"), "1001" "1a016b" "2800"),
    (messages.watch_request(b"k", b"l", 300, 7),
     "0a0b" "0a016b" "12016c" "18ac02" "3807"),
    (messages.unwatch_request(7), "1202" "0807"),
    (messages.is_absent(b"k", b"l"), "1001" "1a016b" "2800" "820401" "6c"),
    (messages.is_of_revision(b"k", 300), "1002" "1a016b" "30ac02"),
    (messages.value_is(b"k", messages.LESS, b"v"),
     "0802" "1003" "1a016b" "3a0176"),
    (messages.value_is(b"k", messages.EQUAL, b""), "1003" "1a016b" "3a00"),
])
def test_requests(request_, expected):
    assert request_.hex() == expected


def test_a_transaction_has_conditions_and_two_lists():
    assert messages.txn_request([b"c"], [b"s"], [b"f"]).hex() == (
        "0a0163" "120173" "1a0166")


@hypothesis.given(strategies.integers(0, 2 ** 63), strategies.integers(
    1, 2 ** 62), strategies.binary(max_size=300), strategies.binary(
        min_size=1, max_size=300), strategies.integers(0, 2 ** 62))
def test_keys_of_a_range(created, modified, value, key, lease):
    reply = (messages.field(1, messages.number_field(3, 77))
             + messages.field(2, _key_value(
                 key, value, created or 1, modified, 1, lease))
             + messages.field(2, _key_value(b"z", b"", 1, 2, 300))
             + messages.number_field(3, 1) + messages.number_field(4, 9))
    assert messages.parse_range(reply) == (
        [(key, value, modified, lease), (b"z", b"", 2, 0)], True, 9)
    assert messages.revision_of(reply) == 77


def test_replies_of_a_transaction():
    found = messages.field(4, messages.number_field(4, 1))
    header = messages.field(1, messages.number_field(3, 8))
    previous = messages.field(2, messages.field(
        1, b"\x08\x01") + messages.field(2, _key_value(b"k", b"v", 1, 2, 1)))
    reply = (header + messages.number_field(2, 1)
             + messages.field(3, messages.field(1, b"\x20\x05"))
             + b"\x1a\x02\x12\x00" + messages.field(3, previous)
             + messages.field(3, messages.field(3, b"\x10\x04"))
             + messages.field(3, found))
    parsed = messages.parse_txn(reply)
    assert parsed.succeeded and parsed.revision == 8
    assert parsed.replies[0] == ([], False, 5)
    assert parsed.replies[1] is None
    assert parsed.replies[2].value == b"v"
    assert parsed.replies[3] == 4
    assert not parsed.replies[4].succeeded


def test_a_field_of_an_unknown_kind_is_an_error():
    with pytest.raises(ValueError):
        list(messages.fields(b"\x0d\0\0\0\0"))


def test_what_a_watch_tells():
    header = messages.field(1, messages.number_field(3, 300))
    number = messages.number_field(2, 7)
    event = messages.field(11, messages.field(2, _key_value(
        b"k", b"v", 2, 300, 1)))
    assert messages.parse_news(header + number + event + event) == (
        7, 300, True, False)
    assert messages.parse_news(
        header + number + messages.number_field(3, 1)) == (
            7, 300, False, False)
    assert messages.parse_news(
        header + number + messages.number_field(4, 1)) == (
            7, 300, False, True)
