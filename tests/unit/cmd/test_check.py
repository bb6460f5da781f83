# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from nova_kvs.cmd import main
from nova_kvs.compatibility import releases
from nova_kvs import exceptions
from nova_kvs.inspection import condition
from nova_kvs.inspection import revision
from nova_kvs.record import format as stored_format
from nova_kvs.store.redis import memory
from nova_kvs.store import registry
from nova_kvs.txn import loss_reports
from tests import base
from tests.unit.record import databases

GOOD = {
    "address": "a:1", "role": "master", "version": "7.2.4", "replicas": 1,
    "used_memory": 10, "maxmemory": 100, "maxmemory_policy": "noeviction",
    "appendonly": True, "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok", "clock_offset_ms": 3}
SETTINGS = registry.parse_url(base.memory_url()).settings()
TRUSTING = registry.parse_url(
    base.memory_url() + "?trust_unknown_releases=true").settings()
CLUSTER = {"cluster_state": "ok", "cluster_slots_assigned": "16384",
           "cluster_slots_pfail": "0", "cluster_slots_fail": "0"}


@pytest.fixture
def examine(monkeypatch):
    """Examine the embedded store as if it had these servers."""
    def examine(*changes, cluster=None, **options):
        facts = {"driver": "redis",
                 "servers": [dict(GOOD, **change) for change in changes]}
        if cluster is not None:
            facts["cluster"] = dict(CLUSTER, **cluster)
        monkeypatch.setattr(
            memory.MemoryStore, "check", lambda self: facts)
        url = base.memory_url()
        databases.make(url=url)
        if options:
            url += "?" + "&".join("%s=%s" % item for item in options.items())
        return {line.name: line for line in condition.examine(
            registry.parse_url(url))}
    return examine


def test_all_is_well(examine):
    lines = examine({}, {"address": "b:1"}, {"address": "c:1"}, cluster={})
    assert list(lines) == [
        "store", "version", "cluster", "replicas", "eviction", "memory",
        "persistence", "clock", "permissions", "format", "schema",
        "functions"]
    assert {line.status for line in lines.values()} == {
        condition.Status.OK, condition.Status.WARNING}
    # The tests' own tables.
    assert lines.pop("schema").status is condition.Status.WARNING
    assert {line.status for line in lines.values()} == {
        condition.Status.OK}


@pytest.mark.parametrize("change, name, status", [
    ({"version": "6.2.14"}, "version", "ERROR"),
    ({"version": "x"}, "version", "ERROR"),
    ({"version": "10.0.1"}, "version", "OK"),
    ({"replicas": 0}, "replicas", "WARNING"),
    ({"maxmemory_policy": "allkeys-lru"}, "eviction", "ERROR"),
    ({"used_memory": 95}, "memory", "WARNING"),
    ({"maxmemory": 0}, "memory", "OK"),
    ({"appendonly": False}, "persistence", "WARNING"),
    ({"aof_last_write_status": "err"}, "persistence", "ERROR"),
    ({"rdb_last_bgsave_status": "err"}, "persistence", "ERROR"),
    ({"clock_offset_ms": -1500}, "clock", "WARNING"),
    ({"clock_offset_ms": 15000}, "clock", "ERROR"),
])
def test_one_server_is_not_as_it_should(change, name, status, examine):
    lines = examine({}, dict(change, address="bad:1"), {})
    assert lines.pop(name).status.name == status
    lines.pop("schema")
    assert {line.status for line in lines.values()} == {
        condition.Status.OK}


@pytest.mark.parametrize("cluster, status", [
    ({"cluster_state": "fail"}, "ERROR"),
    ({"cluster_slots_assigned": "16383"}, "ERROR"),
    ({"cluster_slots_pfail": "1"}, "ERROR"),
])
def test_state_of_the_cluster(cluster, status, examine):
    assert examine({}, {}, {}, cluster=cluster)[
        "cluster"].status.name == status


@pytest.mark.parametrize("node_timeout_ms, request_timeout, expected", [
    (15000, 8, "WARNING"), (5000, 8, None), (5000, 4, "WARNING"),
    (15000, 20, None), (None, 1, None)])
def test_a_failover_that_takes_too_long(
        node_timeout_ms, request_timeout, expected, examine, monkeypatch):
    found = condition._timeouts(
        {"node_timeout_ms": node_timeout_ms}, registry.parse_url(
            base.memory_url() + "?request_timeout=%d" % request_timeout
        ).settings())
    assert [line.status.name for line in found] == (
        [expected] if expected else [])


@pytest.mark.parametrize("address, hosts, expected", [
    ("10.0.0.1:7000", ["10.0.0.1"], "WARNING"),
    ("10.0.0.1:7000", ["10.0.0.2"], "OK"),
    ("127.0.0.1:7000", ["127.0.0.1"], "OK")])
def test_a_replica_on_its_masters_host(address, hosts, expected, examine):
    line = examine({"address": address, "replica_hosts": hosts})["replicas"]
    assert line.status.name == expected


def test_a_cluster_of_two_masters(examine):
    assert examine({}, {}, cluster={})["cluster"].status.name == "WARNING"


def test_more_commit_replicas_than_there_are(examine):
    assert examine({}, commit_replicas=2)["replicas"].status.name == "ERROR"
    assert examine({}, commit_replicas=1)["replicas"].status.name == "OK"


def test_permissions_that_are_missing(examine, monkeypatch):
    def refuse(self, items, *args):
        if any(getattr(item, "args", b"x")[:1] == (b"PTTL",)
               for item in items):
            raise exceptions.ConfigurationError(
                "the Redis user lacks a permission", reply="PTTL")
        return batch(self, items, *args)

    batch = memory.MemoryStore.batch
    monkeypatch.setattr(memory.MemoryStore, "batch", refuse)
    line = examine({})["permissions"]
    assert line.status.name == "ERROR"
    assert "PTTL" in line.text


def test_the_probe_leaves_nothing(examine):
    db = databases.make()
    before = set(db.store.scan(b"*"))
    condition._permissions(db.store, db.name, [{"address": "memory:0"}])
    assert set(db.store.scan(b"*")) == before


def test_a_newer_format(examine, monkeypatch):
    with monkeypatch.context() as newer:
        newer.setattr(stored_format, "NEW", stored_format.State(
            stored_format.CURRENT + 1, stored_format.CURRENT + 1))
        url = base.memory_url()
        databases.make(url=url)
    lines = list(condition.examine(registry.parse_url(url)))
    assert (lines[-1].name, lines[-1].status.name) == ("format", "ERROR")


def revision_line(table, stored):
    url = base.memory_url()
    db = databases.make(url=url, ddl=[
        "CREATE TABLE %s (id INTEGER PRIMARY KEY)" % table,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "PRIMARY KEY (version_num))"])
    databases.insert(db, "alembic_version", {"version_num": stored})
    return next(line for line in condition.examine(registry.parse_url(url))
                if line.name == "schema")


#: Those of packages that the tests need anyway.
KINDS = [kind for kind in revision.KINDS
         if kind.package in ("nova", "placement")]


@pytest.mark.parametrize("kind", KINDS)
def test_schema_revision(kind):
    head = revision.head(kind)
    assert head
    line = revision_line(kind.table, head)
    assert (line.name, line.status.name) == ("schema", "OK")
    line = revision_line(kind.table, "0123456789ab")
    assert (line.name, line.status.name) == ("schema", "ERROR")
    assert kind.command in line.text


@pytest.mark.parametrize("kind", KINDS)
def test_functions_are_known(kind):
    line, = condition._functions(kind, SETTINGS)
    assert (line.name, line.status.name) == ("functions", "OK")
    assert kind.package in line.text


def test_functions_that_are_not_known(monkeypatch):
    found = ["nova.db.main.api:f%d" % number for number in range(12)]
    monkeypatch.setattr(releases.Release, "unknown", lambda self: found)
    line, = condition._functions(revision.KINDS[0], SETTINGS)
    assert line.status.name == "WARNING"
    assert line.text.startswith("12 of nova are not")
    assert "dialect" in line.text
    assert "nova.db.main.api:f9 and 2 more" in line.text
    line, = condition._functions(
        revision.KINDS[0], TRUSTING)
    assert line.status.name == "WARNING"
    assert "trust_unknown_releases" in line.text


def test_functions_of_what_is_not_installed(monkeypatch):
    monkeypatch.setattr(releases, "installed", lambda package: None)
    assert not list(condition._functions(revision.KINDS[0], SETTINGS))
    assert not list(condition._functions(None, SETTINGS))


def test_nova_is_not_installed(monkeypatch):
    monkeypatch.setattr(
        revision.importlib.util, "find_spec", lambda name: None)
    assert revision_line("instances", "x").status.name == "OK"


def test_commits_that_failovers_lost(capsys):
    url = base.memory_url()
    db = databases.make(url=url)
    for lost in 2, 3:
        loss_reports.store_report(db.store, db.name, {
            "at": 0, "lost": lost, "unknown": 1, "applied_again": 0,
            "process": "host nova-api 7", "keys": []})
    lines = {line.name: line for line in condition.examine(
        registry.parse_url(url))}
    line = lines["lost commits"]
    assert line.status is condition.Status.WARNING
    assert line.text.startswith(
        "failovers since 1970-01-01 00:00:00Z have lost 5 (0 were applied "
        "again), of 2 it is unknown")


# The command ----------------------------------------------------------------

def run(capsys, *arguments):
    status = main.main(["check", *arguments])
    return status, *capsys.readouterr()


def test_one_line_each(capsys):
    db = databases.make()
    status, out, error = run(capsys, "kvs+memory:///" + db.name)
    assert (status, error) == (1, "")
    assert [line.split()[:2] for line in out.splitlines()] == [
        ["WARNING", "store:"], ["OK", "format:"], ["WARNING", "schema:"],
        ["OK", "functions:"]]


def test_an_empty_database(capsys):
    status, out, _ = run(capsys, base.memory_url())
    assert status == 2
    assert "ERROR   format: the store has no database of this name" in out


def test_json(capsys):
    db = databases.make()
    status, out, _ = run(capsys, "kvs+memory:///" + db.name, "--json")
    document = json.loads(out)
    assert document["status"] == "WARNING"
    assert document["checks"][1] == {
        "name": "format", "status": "OK", "text": "version 6"}


@pytest.mark.parametrize("url", [
    "nonsense", "kvs+nonsense://h/x", "kvs+memory:///x?hint_grace=3"])
def test_a_wrong_url_is_one_line(url, capsys):
    status, out, error = run(capsys, url)
    assert (status, out) == (2, "")
    assert error.count("\n") == 1


@pytest.mark.parametrize("reply, words", [
    ("command not allowed when used memory > 'maxmemory'.", "memory is full"),
    ("MISCONF Redis is configured to save RDB snapshots", "free the disk"),
    ("Hash slot not served", "slots have no server"),
    ("READONLY You can't write against a read only replica.", "its master"),
    ("the Redis user lacks a permission", "ACL SETUSER")])
def test_each_cause_has_its_own_way_out(reply, words):
    found = condition._way_out(exceptions.StoreReplyError(reply=reply))
    assert words in found
    assert ("ACL" in found) == ("permission" in reply)


def test_the_server_is_a_node_of_a_cluster(examine):
    lines = examine({"cluster_enabled": True})
    assert list(lines) == ["store", "version", "cluster"]
    assert lines["cluster"].status.name == "ERROR"
    assert "kvs+cluster://" in lines["cluster"].text
