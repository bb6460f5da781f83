# SPDX-License-Identifier: Apache-2.0
"""Every condition broken on purpose, on real servers."""

import os
import time

import pytest

from nova_kvs.cmd import main
from nova_kvs.store.redis import remote
from nova_kvs.store import url as store_url
from tests import fixtures
from tests.functional.store import certificates
from tests.unit.record import databases

GOOD = {"appendonly": "yes", "maxmemory": "200mb",
        "maxmemory-policy": "noeviction"}


@pytest.fixture(scope="module")
def server():
    with fixtures.RedisServerFixture(
            replicas=1, options=GOOD) as found:
        databases.make(url=found.url("x"))
        yield found


def check(capsys, url):
    """Return the exit status and name -> status of the lines."""
    status = main.main(["check", url])
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = dict(reversed(line.split(":")[0].split())
                 for line in captured.out.splitlines())
    # The tests' tables are not Nova's.
    assert lines.pop("schema", "WARNING") == "WARNING"
    return status, lines


def test_nothing_is_broken(server, capsys):
    status, lines = check(capsys, server.url("x"))
    # Of the schema.
    assert status == 1
    assert set(lines.values()) == {"OK"}
    assert list(lines) == [
        "store", "version", "cluster", "replicas", "eviction", "memory",
        "persistence", "clock", "permissions", "format", "functions"]


def broken(lines):
    return {name: status for name, status in lines.items()
            if status != "OK"}


@pytest.mark.parametrize("setting, value, good, expected", [
    ("maxmemory-policy", "volatile-ttl", "noeviction",
     {"eviction": "ERROR"}),
    ("appendonly", "no", "yes", {"persistence": "WARNING"}),
    ("maxmemory", "1mb", "200mb", {"memory": "WARNING",
                                   "permissions": "ERROR"}),
])
def test_a_setting_is_wrong(setting, value, good, expected, server, capsys):
    client = server.client()
    client.execute_command("CONFIG", "SET", setting, value)
    try:
        status, lines = check(capsys, server.url("x"))
    finally:
        client.execute_command("CONFIG", "SET", setting, good)
    assert broken(lines) == expected
    assert status == 1 + ("ERROR" in expected.values())


def test_a_snapshot_cannot_be_written(server, capsys):
    client = server.client()
    directory, name = (
        client.execute_command("CONFIG", "GET", setting)[1].decode()
        for setting in ("dir", "dbfilename"))
    # A directory of that name is in the way.
    target = os.path.join(directory, name)
    if os.path.exists(target):
        os.remove(target)
    os.mkdir(target)
    client.execute_command("BGSAVE", "SCHEDULE")
    fixtures.wait_for(
        lambda: b"rdb_last_bgsave_status:err" in client.execute_command(
            "INFO", "persistence"), "the snapshot fails")
    try:
        status, lines = check(capsys, server.url("x"))
    finally:
        os.rmdir(target)
        client.execute_command("BGSAVE", "SCHEDULE")
        fixtures.wait_for(
            lambda: b"rdb_last_bgsave_status:ok" in client.execute_command(
                "INFO", "persistence"), "the snapshot is written")
    assert broken(lines)["persistence"] == "ERROR"
    assert status == 2


def test_too_few_replicas(server, capsys):
    status, lines = check(capsys, server.url("x", commit_replicas=2))
    assert (status, broken(lines)) == (2, {"replicas": "ERROR"})


def test_no_replica_and_no_database(capsys):
    with fixtures.RedisServerFixture(options=GOOD) as alone:
        status, lines = check(capsys, alone.url("new"))
    assert (status, broken(lines)) == (
        2, {"replicas": "WARNING", "format": "ERROR"})


class _Clock:
    """The module ``time`` with another idea of what time it is."""

    def __init__(self, offset_s):
        self._offset_s = offset_s

    def time(self):
        return time.time() + self._offset_s

    def __getattr__(self, name):
        return getattr(time, name)


@pytest.mark.parametrize("offset_s, expected", [
    (-3, "WARNING"), (20, "ERROR")])
def test_a_clock_is_wrong(offset_s, expected, server, capsys, monkeypatch):
    monkeypatch.setattr(remote, "time", _Clock(offset_s))
    status, lines = check(capsys, server.url("x"))
    assert broken(lines) == {"clock": expected}


@pytest.mark.parametrize("rule", [
    "-hset", "-evalsha", "-hgetall", "-scan", "-incrby", "resetkeys",
    "-script|load"])
def test_a_permission_is_missing(rule, server, capsys):
    client = server.client()
    client.execute_command(
        "ACL", "SETUSER", "nova", "reset", "on", ">secret", "~kvs:*",
        "+@all", "-@dangerous", "+info", "+role", "+cluster", rule)
    url = server.url("x", request_timeout=2).replace(
        "://", "://nova:secret@")
    status = main.main(["check", url])
    out = capsys.readouterr().out
    assert status == 2
    assert "ERROR   permissions: " in out
    assert "secret" not in out


def test_the_documented_user_is_enough(server, capsys):
    server.client().execute_command(
        "ACL", "SETUSER", "nova", "reset", "on", ">secret", "~kvs:*",
        "+@all", "-@dangerous", "+info", "+role", "+cluster")
    status, lines = check(
        capsys, server.url("x").replace("://", "://nova:secret@"))
    assert (status, broken(lines)) == (1, {})


@pytest.mark.parametrize("login", ["nova:wrong@", ":wrong@"])
def test_a_wrong_password(login, server, capsys):
    status = main.main([
        "check", server.url("x").replace("://", "://" + login)])
    out = capsys.readouterr().out
    assert status == 2
    assert out.startswith("ERROR   store: ")
    assert out.count("\n") == 1
    assert "wrong" not in out


def test_no_server(capsys):
    port, = fixtures.free_ports(1)
    status = main.main(["check", "kvs+redis://127.0.0.1:%d/x" % port])
    out = capsys.readouterr().out
    assert status == 2
    assert out.startswith("ERROR   store: the key/value store does not ")
    assert out.count("\n") == 1


def test_tls_on_one_side_only(server, capsys, tmp_path):
    files = certificates.make(str(tmp_path))
    with fixtures.RedisServerFixture(tls=files) as other:
        host = other.url("x").partition("://")[2].partition("/")[0]
        assert main.main(["check", "kvs+redis://%s/x" % host]) == 2
        out = capsys.readouterr().out
        assert "the port speaks TLS only" in out
    assert main.main(["check", server.url(
        "x", tls="true", request_timeout=1)]) == 2
    assert "the port speaks no TLS" in capsys.readouterr().out


def test_one_server_of_a_cluster(capsys):
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as cluster:
        node = cluster.url("x").partition("://")[2].partition("/")[0]
        status = main.main(["check", "kvs+redis://%s/x" % node])
    assert status == 2
    assert "ERROR   cluster: the server is a node of" in (
        capsys.readouterr().out)


def test_hosts_of_the_url_that_are_of_no_use(server, capsys):
    other = server.url("x").partition("://")[2].partition("/")[0]
    with fixtures.RedisClusterFixture(
            masters=3, replicas=0, options=GOOD) as cluster:
        # Of the cluster it could be one before.
        port, = fixtures.free_ports(1)
        url = cluster.url("x")
        main.main(["check", url])
        assert "hosts:" not in capsys.readouterr().out
        url += "&" if "?" in url else "?"
        main.main(["check", url + "node=127.0.0.1:%d&node=%s" % (
            port, other)])
        out = capsys.readouterr().out
    assert "WARNING hosts: of the URL do not answer: 127.0.0.1:%d:" % (
        port) in out
    assert "WARNING hosts: of the URL are no members of this cluster: %s:" % (
        other) in out


def test_a_failover_takes_longer_than_operations_wait(capsys):
    options = {**GOOD, "cluster-node-timeout": 4000}
    with fixtures.RedisClusterFixture(
            masters=3, replicas=0, options=options) as cluster:
        databases.make(url=cluster.url("x"))
        main.main(["check", cluster.url("x", request_timeout=3.5)])
        assert ("WARNING timeouts: operations are given up after 7.0 s "
                "(twice request_timeout), a failover takes up to 7.0 s"
                ) in capsys.readouterr().out
        main.main(["check", cluster.url("x", request_timeout=4)])
        assert "timeouts" not in capsys.readouterr().out


def test_a_cluster_that_lost_a_master(capsys):
    with fixtures.RedisClusterFixture(
            masters=3, replicas=0, options=GOOD) as cluster:
        databases.make(url=cluster.url("x"))
        status, lines = check(capsys, cluster.url("x"))
        assert (status, broken(lines)) == (1, {"replicas": "WARNING"})
        # What a slot's loss looks like, with all servers up.
        client = cluster.client(cluster.nodes[2])
        for node in cluster.nodes:
            cluster.client(node).execute_command(
                "CONFIG", "SET", "cluster-require-full-coverage", "no")
        first = client.execute_command("CLUSTER", "SLOTS")[-1][0]
        for node in cluster.nodes:
            cluster.client(node).execute_command(
                "CLUSTER", "DELSLOTS", first)
        main.main(["check", cluster.url("x", request_timeout=1)])
        out = capsys.readouterr().out
    assert "ERROR   cluster: " in out


def test_urls_are_shown_without_password():
    assert "secret" not in str(store_url.parse_url(
        "kvs+redis://u:secret@h/x"))
