# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from nova_kvs.cmd import main
from nova_kvs.inspection import showing
from nova_kvs import keyspace
from tests import base
from tests.unit.record import databases

UUID = "c0ffee00-1234-4321-8888-0123456789ab"
SECRET = "do-not-show-this"
DDL = (
    "CREATE TABLE instances (id INTEGER PRIMARY KEY, uuid VARCHAR(36), "
    "host VARCHAR(255), user_data TEXT, key_data TEXT, "
    "display_name VARCHAR(255))",
    "CREATE TABLE instance_system_metadata (id INTEGER PRIMARY KEY, "
    "instance_uuid VARCHAR(36), key VARCHAR(255), value VARCHAR(255))",
    "CREATE TABLE instance_extra (id INTEGER PRIMARY KEY, "
    "instance_uuid VARCHAR(36), keypairs TEXT, flavor TEXT, "
    "migration_context TEXT)",
    "CREATE TABLE block_device_mapping (id INTEGER PRIMARY KEY, "
    "instance_uuid VARCHAR(36), connection_info TEXT, volume_id TEXT)",
    "CREATE TABLE console_auth_tokens (id INTEGER PRIMARY KEY, "
    "instance_uuid VARCHAR(36), token_hash VARCHAR(255), host TEXT)",
    "CREATE TABLE build_requests (id INTEGER PRIMARY KEY, "
    "instance_uuid VARCHAR(36), instance TEXT)",
)


@pytest.fixture
def db():
    db = databases.make(DDL)
    databases.insert(db, "instances", {
        "uuid": UUID, "host": "a", "user_data": SECRET, "key_data": SECRET,
        "display_name": "a name"}, {"uuid": "other", "host": "b"})
    databases.insert(
        db, "instance_system_metadata",
        {"instance_uuid": UUID, "key": "password_0", "value": SECRET},
        {"instance_uuid": UUID, "key": "image_os", "value": "linux"})
    databases.insert(db, "instance_extra", {
        "instance_uuid": UUID,
        "keypairs": json.dumps({"data": SECRET}),
        "flavor": json.dumps({"cur": {"name": "m1", "vcpus": 2}}),
        "migration_context": "{not JSON"})
    databases.insert(db, "block_device_mapping", {
        "instance_uuid": UUID, "volume_id": "v", "connection_info":
        json.dumps({"data": {"auth_password": SECRET}})})
    databases.insert(db, "console_auth_tokens", {
        "instance_uuid": UUID, "token_hash": SECRET, "host": "a"})
    databases.insert(db, "build_requests", {
        "instance_uuid": UUID, "instance": json.dumps({
            "nova_object.data": {
                "user_data": SECRET, "hostname": "h", "admin_pass": SECRET,
                "system_metadata": {"password_1": SECRET},
                "meta": [{"key": "db_password", "value": SECRET}],
                "nested": json.dumps({"auth_token": SECRET}),
                "injected_files": [["/etc/x", SECRET]]}})})
    return db


def run(capsys, db, *arguments):
    status = main.main(["show", "kvs+memory:///" + db.name, *arguments])
    return status, *capsys.readouterr()


def test_rows_by_table(db, capsys):
    status, out, error = run(capsys, db, UUID)
    assert (status, error) == (0, "")
    assert "instances, version 1\n    id: 1\n    uuid: \"%s\"" % UUID in out
    assert '    display_name: "a name"' in out
    assert '"m1"' in out
    assert '"linux"' in out
    assert '"h"' in out
    assert "other" not in out


def test_secrets_are_masked(db, capsys):
    for arguments in ([UUID], [UUID, "--json"], [UUID.upper()]):
        status, out, _ = run(capsys, db, *arguments)
        assert status == 0
        assert SECRET not in out
    document = json.loads(run(capsys, db, UUID, "--json")[1])
    assert document["console_auth_tokens"][0]["token_hash"] == "***"
    assert document["block_device_mapping"][0]["connection_info"] == "***"
    assert document["instances"][0]["user_data"] == "***"
    assert document["instances"][0]["_version"] == 1


@pytest.mark.parametrize("name", [
    "password", "admin_pass", "passwd", "auth_password", "adminPass",
    "auth_key", "token", "token_hash", "connection_info", "user_data",
    "secret_key", "transport_url", "userdata"])
def test_names_of_secrets(name):
    assert showing.masked({name: "x"}) == {name: "***"}


@pytest.mark.parametrize("name", [
    "host", "key_name", "display_name", "uuid", "passthrough", "compute_id"])
def test_names_that_are_not_secret(name):
    assert showing.masked({name: "x"}) == {name: "x"}


def test_a_record_that_does_not_decode(db, capsys):
    partition = keyspace.partition(db.name, "s", UUID)
    db.store.batch([base.command(
        b"HSET", partition.key, db.schema.tables["instances"].field((1,)),
        b"8bytes88\xc1")])
    status, out, _ = run(capsys, db, UUID)
    assert status == 0
    assert "does not decode" in out


def test_a_server_that_is_not_there(db, capsys):
    status, out, error = run(
        capsys, db, "c0ffee00-0000-4321-8888-0123456789ab")
    assert (status, out) == (2, "")
    assert error.count("\n") == 1


def test_not_a_uuid(db, capsys):
    with pytest.raises(SystemExit) as stop:
        run(capsys, db, "nonsense")
    assert stop.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_consumer_is_shown_with_what_it_holds(capsys):
    db = databases.make((
        "CREATE TABLE consumers (id INTEGER PRIMARY KEY, uuid VARCHAR(36))",
        "CREATE TABLE allocations (id INTEGER PRIMARY KEY, "
        "resource_provider_id INTEGER, consumer_id VARCHAR(36), "
        "used INTEGER)"))
    databases.insert(db, "consumers", {"uuid": UUID}, {"uuid": "other"})
    databases.insert(db, "allocations", *[
        {"resource_provider_id": 1, "consumer_id": consumer, "used": used}
        for consumer, used in ((UUID, 5), ("other", 7), (UUID, 6))])
    document = json.loads(run(capsys, db, UUID, "--json")[1])
    assert [row["uuid"] for row in document["consumers"]] == [UUID]
    assert sorted(row["used"] for row in document["allocations"]) == [5, 6]
