# SPDX-License-Identifier: Apache-2.0
"""Places in etcd's key space."""

import hypothesis
from hypothesis import strategies

from nova_kvs import keyspace
from nova_kvs.store.etcd import layout

NAMES = strategies.binary(max_size=6) | strategies.text(
    alphabet="\0\x01a\xfe\xff", max_size=5).map(
        lambda text: text.encode("latin-1"))
KEY = keyspace.bucket_key("nova", "instances.host", "7")


@hypothesis.given(NAMES, NAMES)
def test_a_turned_member_sorts_the_other_way_round(first, second):
    places = layout.turned(KEY, first), layout.turned(KEY, second)
    assert (places[0] > places[1]) == (first < second)
    assert layout.turned_name(KEY, places[0]) == first


@hypothesis.given(NAMES, NAMES, NAMES, strategies.booleans(),
                  strategies.booleans(), strategies.booleans())
def test_a_range_of_members_has_those_between_its_bounds(
        low, high, name, with_low, with_high, reverse):
    bounds = ((b"[" if with_low else b"(") + low,
              (b"[" if with_high else b"(") + high)
    start, end = layout.members(KEY, *bounds, reverse)
    place = (layout.turned if reverse else layout.member)(KEY, name)
    assert (start <= place < end) == (
        (low <= name if with_low else low < name)
        and (name <= high if with_high else name < high))


@hypothesis.given(NAMES, strategies.booleans())
def test_all_members_are_between_minus_and_plus(name, reverse):
    start, end = layout.members(KEY, b"-", b"+", reverse)
    place = (layout.turned if reverse else layout.member)(KEY, name)
    assert start <= place < end


@hypothesis.given(NAMES, NAMES, NAMES)
def test_what_is_under_one_key_is_in_its_range_only(key, other, name):
    for place in (layout.field(key, name), layout.member(key, name),
                  layout.turned(key, name), layout.value(key),
                  layout.due(key, 1795860068699, name), layout.head(key)):
        assert layout.store_key(place) == key
        start, end = layout.everything(other)
        assert (start <= place < end) == (key == other)


def test_contents_are_all_but_the_head():
    start, end = layout.contents(KEY)
    assert not start <= layout.head(KEY) < end
    for place in (layout.due(KEY, 0, b""), layout.field(KEY, b""),
                  layout.value(KEY), layout.turned(KEY, b""),
                  layout.member(KEY, b"")):
        assert start <= place < end


def test_tasks_are_due_from_their_time_on():
    place = layout.due(KEY, 1000, b"member")
    assert layout.task(KEY, place) == (b"member", 1000)
    for now_ms, is_due in ((999, False), (1000, True), (1001, True)):
        start, end = layout.due_until(KEY, now_ms)
        assert (start <= place < end) is is_due


def test_only_global_indexes_are_stored_in_both_orders():
    assert layout.has_turned(KEY)
    assert not layout.has_turned(keyspace.minimums_key(KEY))
    assert not layout.has_turned(keyspace.gc_key("nova", 1))
    assert not layout.has_turned(
        keyspace.partition("nova", "s", "x").index_key)


def test_fields_of_a_prefix():
    start, end = layout.fields(b"k", b"rinstances\0")
    assert start <= layout.field(b"k", b"rinstances\0abc") < end
    assert not start <= layout.field(b"k", b"rinstances_x\0abc") < end
    start, end = layout.fields_from(b"k", b"ra")
    assert not start <= layout.field(b"k", b"ra") < end
    assert start <= layout.field(b"k", b"ra\0") < end
