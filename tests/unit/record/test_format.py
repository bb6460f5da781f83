# SPDX-License-Identifier: Apache-2.0
import pytest

from nova_kvs import exceptions
from nova_kvs.record import access
from nova_kvs.record import codec
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from tests import base
from tests.unit.record import databases


def set_field(db, partition, field, value):
    key = partition.key
    db.store.batch([base.command(b"HSET", key, field, value)])


def damage(db, field, payload):
    set_field(db, stored_format.partition(db.name), field,
              (9).to_bytes(8, "big") + payload)


def dump(db):
    return {key: db.store.batch([base.command(b"DUMP", key)])
            for key in db.store.scan(b"*{%s:*" % db.name.encode())}


def test_a_newer_format_is_refused_and_nothing_written():
    db = databases.make()
    newer = stored_format.CURRENT + 1
    damage(db, stored_format.VERSION_FIELD, codec.encode({"format": newer}))
    before = dump(db)
    url = "kvs+memory:///" + db.name
    with pytest.raises(exceptions.FormatVersionError) as caught:
        record_database.open_database(url)
    assert "newer nova-kvs" in str(caught.value)
    assert (caught.value.stored, caught.value.supported) == (newer, newer - 1)
    assert dump(db) == before


def test_a_running_process_refuses_a_newer_format_too():
    db = databases.make()
    damage(db, stored_format.VERSION_FIELD, codec.encode(
        {"format": stored_format.CURRENT + 1}))
    db._check_at = 0
    with pytest.raises(exceptions.FormatVersionError):
        databases.load(db, access.FullScan("services"))


@pytest.mark.parametrize("field,payload", [
    (stored_format.VERSION_FIELD, b""),
    (stored_format.VERSION_FIELD, codec.encode({"format": "1"})),
    (stored_format.VERSION_FIELD, codec.encode({})),
    (stored_format.DDL_FIELD, codec.encode({"ddl": [1]})),
    (stored_format.DDL_FIELD, codec.encode({"ddl": ["x"]})[:-1])])
def test_a_damaged_schema_is_corrupt(field, payload):
    db = databases.make()
    damage(db, field, payload)
    with pytest.raises(exceptions.CorruptRecordError):
        databases.another(db)


def test_an_empty_database_has_an_empty_schema():
    db = databases.make(ddl=None)
    assert db.schema.version == 0
    assert db.schema.tables == {}


def test_one_database_is_opened_once():
    url = base.memory_url()
    first = record_database.open_database(url)
    assert record_database.open_database(url) is first
    assert record_database.open_database(url, id_block_size=3) is not first


@pytest.mark.parametrize("cut", [1, 5, -1])
def test_a_truncated_record_is_corrupt(cut):
    db = databases.make()
    record, = databases.insert(db, "instances", {
        "uuid": "u", "display_name": "long enough"})
    stored = databases.one(db.begin(), "instances", record.key)
    payload = codec.encode(stored.values)[:cut]
    field = db.schema.tables["instances"].field(stored.key)
    set_field(db, stored.partition, field,
              stored.version.to_bytes(8, "big") + payload)
    with pytest.raises(exceptions.CorruptRecordError) as caught:
        databases.load(db, access.ByPartition("instances", ("u",)))
    assert caught.value.field == field


def test_a_record_without_its_key_is_corrupt():
    db = databases.make()
    databases.insert(db, "services", {"host": "a"})
    stored = databases.one(db.begin(), "services", (1,))
    field = db.schema.tables["services"].field((1,))
    set_field(db, stored.partition, field,
              stored.version.to_bytes(8, "big") + codec.encode({"host": "a"}))
    with pytest.raises(exceptions.CorruptRecordError):
        databases.load(db, access.ByKey("services", ((1,),)))
