# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

from nova_kvs import keyspace
from nova_kvs.store import registry
from tests import base
from tests import fixtures


def drop(url, name):
    """Call the program as the DevStack plugin does."""
    return subprocess.run(
        [sys.executable, "-m", "nova_kvs.cmd.main", "drop", url,
         "--name", name],
        capture_output=True, text=True, timeout=120)


def test_one_database_of_a_cluster():
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as cluster:
        store = registry.get_store(cluster.url("cell1"))
        for name in ("cell1", "cell10"):
            store.batch([
                base.command(b"SET", keyspace.counter_key(name, str(n)), 1)
                for n in range(2000)])
        done = drop(cluster.url("cell1"), "cell1")
        assert (done.returncode, done.stdout, done.stderr) == (
            0, "Dropped cell1: 2000 keys\n", "")
        assert list(store.scan(keyspace.database_pattern("cell1"))) == []
        assert len(set(store.scan(
            keyspace.database_pattern("cell10")))) == 2000


def test_a_server_that_is_not_there():
    port, = fixtures.free_ports(1)
    done = drop("kvs+redis://u:secret@127.0.0.1:%d/cell1" % port, "cell1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nova-kvs: error: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def test_a_wrong_password():
    with fixtures.RedisServerFixture(password="right") as server:
        done = drop(server.url("cell1").replace("right", "secret"), "cell1")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
