# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st
import msgpack
import pytest

from nova_kvs import exceptions
from nova_kvs.record import codec

VALUES = st.dictionaries(
    st.text(max_size=8),
    st.one_of(st.text(), st.binary(), st.floats(allow_nan=False),
              st.integers(-2 ** 63, 2 ** 63 - 1)), max_size=6)


@given(VALUES)
def test_what_was_encoded_is_decoded(values):
    decoded = codec.decode(codec.encode(values), b"f")
    assert decoded == values
    assert {name: type(value) for name, value in decoded.items()} == {
        name: type(value) for name, value in values.items()}


def test_lone_surrogates_are_read_but_not_written():
    """Before they were refused they could be stored."""
    with pytest.raises(UnicodeEncodeError):
        codec.encode({"value": "\ud800"})
    payload = msgpack.packb(
        {"value": "\ud800"}, unicode_errors="surrogatepass")
    assert codec.decode(payload, b"f") == {"value": "\ud800"}


@given(VALUES.filter(bool), st.data())
def test_a_truncated_record_is_refused(values, data):
    payload = codec.encode(values)
    cut = data.draw(st.integers(0, len(payload) - 1))
    with pytest.raises(exceptions.CorruptRecordError) as caught:
        codec.decode(payload[:cut], b"rtable\0key")
    assert caught.value.field == b"rtable\0key"


@given(VALUES, st.binary(min_size=1))
def test_trailing_bytes_are_refused(values, more):
    with pytest.raises(exceptions.CorruptRecordError):
        codec.decode(codec.encode(values) + more, b"f")


@pytest.mark.parametrize("payload", [
    b"", b"\xc1", b"\xc0", msgpack.packb([1]), msgpack.packb("text"),
    msgpack.packb({1: 2}), b"\x81\xa1\xff\x01",
    b"\xdf\xff\xff\xff\xff"])
def test_what_is_not_a_map_of_columns_is_refused(payload):
    with pytest.raises(exceptions.CorruptRecordError):
        codec.decode(payload, b"f")


def test_lists_have_their_length():
    assert codec.decode_list(codec.encode_list([1, b"x"]), b"f", 2) == [
        1, b"x"]
    for payload in (codec.encode_list([1]), b"", msgpack.packb({})):
        with pytest.raises(exceptions.CorruptRecordError):
            codec.decode_list(payload, b"f", 2)
