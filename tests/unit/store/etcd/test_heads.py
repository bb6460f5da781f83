# SPDX-License-Identifier: Apache-2.0
"""What a process knows of the revisions of partitions."""

from nova_kvs import cache
from nova_kvs import keyspace
from nova_kvs.store.etcd import heads


def test_the_revision_of_just_this_content():
    known = heads.Heads()
    known.learn(b"k", 7, [b"a", b"1", b"b", b"2"])
    assert known.revision(b"k", [b"b", b"a"], [b"2", b"1"]) == 7
    assert known.revision(b"k", [b"a"], [b"1"]) is None
    assert known.revision(b"k", [b"a", b"b"], [b"1", b"3"]) is None
    assert known.revision(b"other", [], []) is None


def test_what_this_process_writes():
    known = heads.Heads()
    known.learn(b"k", 7, [b"a", b"1", b"b", b"2"])
    known.written(b"k", 7, 9, {b"a": b"3"}, [b"b"])
    assert known.revision(b"k", [b"a"], [b"3"]) == 9
    # Somebody else has written in between.
    known.written(b"k", 10, 11, {b"a": b"4"}, [])
    assert known.content(b"k") is None


def test_it_takes_no_more_than_the_partitions_that_are_remembered():
    known = heads.Heads()
    each = cache.LARGEST_PARTITION_BYTES // 2
    count = 2 * cache.PARTITION_BYTES // each
    for number in range(count):
        known.learn(b"%d" % number, 1, [b"a", bytes(each)])
    held = [number for number in range(count)
            if known.content(b"%d" % number) is not None]
    assert held[-1] == count - 1
    assert len(held) * each <= cache.PARTITION_BYTES
    # What is forgotten, or seen again, does not count twice.
    for number in range(count):
        known.learn(b"same", number, [b"a", bytes(each)])
        known.forget(b"none")
    assert known.content(b"%d" % (count - 1)) is not None


def test_of_a_large_partition_the_floor():
    known = heads.Heads()
    value = bytes(cache.LARGEST_PARTITION_BYTES)
    known.learn(b"large", 7, [b"a", value, keyspace.FLOOR_FIELD, b"9"])
    assert known.content(b"large") == {keyspace.FLOOR_FIELD: b"9"}
    assert known.revision(b"large", [keyspace.FLOOR_FIELD], [b"9"]) is None
    known.written(b"large", 7, 8, {b"b": b"1"}, [])
    assert known.content(b"large") == {keyspace.FLOOR_FIELD: b"9"}
