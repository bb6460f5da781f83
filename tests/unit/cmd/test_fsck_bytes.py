# SPDX-License-Identifier: Apache-2.0
"""Bytes that are well-formed and make no sense do not stop an inspection."""

import msgpack
import pytest

from nova_kvs.cmd import main
from nova_kvs.inspection import fsck
from nova_kvs import keyspace
from tests import base
from tests.unit.record import databases

LIFETIME_MS = 1000
VERSION = b"\0" * 7 + b"\1"


@pytest.fixture
def db():
    db = databases.make()
    databases.insert(db, "block_device_mapping", {
        "instance_uuid": "u", "uuid": "b"})
    databases.insert(db, "services", {"host": "a", "topic": "t"})
    databases.tidy(db)
    return db


def _put(db, partition, field, value):
    db.store.batch([
        base.command(b"HSET", partition.key, field, value)])


def _unique_of_volume(db):
    table = db.schema.tables["block_device_mapping"]
    unique, = table.uniques
    return (unique.partition(db.name, "b"),
            keyspace.unique_field(table.name, unique.name, ("b",)))


def _unique_of_service(db):
    return (keyspace.partition(db.name, "t", "services"),
            keyspace.unique_field("services", "host+topic", ("a", "t")))


def _repair(db):
    removed = []
    report = fsck.Fsck(
        databases.another(db), LIFETIME_MS, removed.append).run()
    assert fsck.Fsck(
        databases.another(db), LIFETIME_MS).run().found == {}
    return report, removed


@pytest.mark.parametrize("holder", [
    [1, 2], ["a", "b"], [None, b"x"], [{}, b"kvs:{"], [b"rx\0", 5],
    [b"r", b""], [b"x", b"kvs:{%s:s:u}"], [b"rx\0", b"kvs:{%s.:s:u}"],
    [b"rx\0", b"kvs:{%s:s:u}x"], [b"rx\0"], [b"rx\0", b"k", b"k"]])
def test_a_unique_key_that_names_no_holder(db, holder):
    name = db.name.encode()
    holder = [item % name if type(item) is bytes and b"%s" in item else item
              for item in holder]
    _put(db, *_unique_of_volume(db), VERSION + msgpack.packb(holder))
    report, removed = _repair(db)
    assert report.found == {"unique-undecodable": 1, "unique-missing": 1}
    assert len(removed) == 1


@pytest.mark.parametrize("holder", [
    [1], ["a"], [None], [{}], [b"x"], [b"rx\0", b"kvs:{x:t:services}"]])
def test_a_unique_key_of_a_table_that_names_no_holder(db, holder):
    _put(db, *_unique_of_service(db), VERSION + msgpack.packb(holder))
    report, _removed = _repair(db)
    assert report.found == {"unique-undecodable": 1, "unique-missing": 1}


def test_an_empty_counter_is_left_alone(db):
    key = keyspace.counter_key(db.name, "services")
    db.store.batch([base.command(b"SET", key, b"")])
    report = fsck.Fsck(
        databases.another(db), LIFETIME_MS, [].append).run()
    assert report.found == {"counter-undecodable": 1}
    assert not report.is_clean


def test_a_record_of_no_table_is_counted(db, capsys):
    _put(db, keyspace.partition(db.name, "t", "services"), b"r\xff", b"x")
    assert main.main(["stats", "kvs+memory:///" + db.name]) == 0
    assert "table ? " in capsys.readouterr().out
