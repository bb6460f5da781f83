# SPDX-License-Identifier: Apache-2.0
"""Which writes share a transaction, and which follow each other."""

from nova_kvs.store.etcd import driver
from nova_kvs.store.etcd import rounds
from nova_kvs.store import operations


def _writes(*keys):
    return rounds.Blind([(key, b"put") for key in keys])


def test_writes_of_different_keys_share_a_transaction():
    assert rounds.in_waves([_writes(b"a"), _writes(b"b")]) == [[[0, 1]]]


def test_two_writes_of_one_key_follow_each_other():
    assert rounds.in_waves(
        [_writes(b"a"), _writes(b"b"), _writes(b"a"), _writes(b"c")]) == [
            [[0, 1]], [[2, 3]]]


def test_a_transaction_is_bounded():
    keys = [b"%d" % number for number in range(250)]
    (wave,) = rounds.in_waves([_writes(key) for key in keys])
    assert [number for group in wave for number in group] == list(range(250))
    assert max(map(len, wave)) < rounds.MOST_OPERATIONS
    large = rounds.Blind([(b"x", bytes(rounds.MOST_BYTES))])
    assert rounds.in_waves([_writes(b"a"), large, _writes(b"b")]) == [
        [[0], [1], [2]]]


def test_what_one_writes_and_another_reads_is_not_done_side_by_side():
    read = operations.ReadAll(b"k")
    other = operations.ReadAll(b"l")
    write = operations.PutField(b"k", b"f", b"v")
    assert driver._stages([read, other]) == [[0, 1]]
    assert driver._stages([write, other]) == [[0, 1]]
    assert driver._stages([read, write, read]) == [[0], [1], [2]]
    count = operations.Increment(b"k", 1)
    assert driver._stages([count, count]) == [[0], [1]]
    assert driver._stages([write, write]) == [[0, 1]]
