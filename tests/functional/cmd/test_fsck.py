# SPDX-License-Identifier: Apache-2.0
"""fsck of a database on a real cluster, while processes write to it."""

import json
import multiprocessing
import os
import subprocess
import sys
import time

import pytest

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import access
from nova_kvs.store import registry
from tests import base
from tests import fixtures
from tests.unit.record import databases

QUERY = {"hint_grace": 2, "transaction_lifetime": 1}


@pytest.fixture(scope="module")
def cluster():
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as found:
        yield found


def run_fsck(url, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "nova_kvs.cmd.main", "fsck", "--json",
         *arguments, url], capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


SPAWN = multiprocessing.get_context("spawn")


def write(url, number, stop):
    """Insert, change, move and delete servers; a process of its own.

    :param stop: event that ends it. A moment's wait for it in each round
        keeps the database from growing faster than fsck can walk it.
    """
    db = databases.open_again(url)
    db.grace_ms = QUERY["hint_grace"] * 1000
    count = 0
    while not stop.wait(0.005):
        count += 1
        name = "%d-%d" % (number, count)
        tx = db.begin()
        record = tx.insert("instances", {
            "uuid": name, "host": "a", "deleted": 0, "project_id": "p"})
        tx.insert("block_device_mapping", {
            "instance_uuid": name, "uuid": name, "volume_id": "v"})
        tx.insert("services", {"host": name, "topic": "t"})
        tx.commit()
        databases.update(db, "instances", record.key, host="b")
        try:
            databases.update(db, "services", (1,), report_count=count)
        except exceptions.ConflictError:
            pass
        if count % 2:
            tx = db.begin()
            for row in tx.load([access.ByPartition(
                    "block_device_mapping", (name,)), access.ByPartition(
                        "instances", (name,))]):
                for found in row:
                    tx.delete(found)
            tx.commit()
        db.housekeep()


def crash(url, point):
    """Stop in the middle of a commit; a process of its own."""
    def stop(name):
        if name == point:
            os._exit(0)

    db = databases.open_again(url, stop)
    databases.insert(
        db, "instances", {"uuid": point, "host": "a"},
        {"uuid": point + "2", "host": "a"})


def start(target, *arguments):
    process = SPAWN.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


def test_no_false_damage_under_load(cluster):
    url = cluster.url(base.database_name("load"), **QUERY)
    db = databases.make(url=url)
    databases.insert(db, "services", {"host": "first", "topic": "t"})
    stop = SPAWN.Event()
    writers = [start(write, url, number, stop) for number in range(2)]
    for arguments in ((), ("--repair",), ()):
        status, document = run_fsck(url, *arguments)
        assert document["details"] == []
        assert (status, document["clean"]) == (0, True)
    assert all(writer.is_alive() for writer in writers)
    stop.set()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    status, document = run_fsck(url)
    assert (status, document["details"]) == (0, [])
    assert document["records"] > 20


def test_repair_under_load(cluster, tmp_path):
    """Damage that is done while others write is found and repaired."""
    url = cluster.url(base.database_name("broken"), **QUERY)
    db = databases.make(url=url)
    name = db.name
    databases.insert(db, "services", {"host": "first", "topic": "t"})
    for number in range(50):
        databases.insert(db, "instances", {
            "uuid": str(number), "host": "h", "deleted": 0})
    for point in ("after_prewrite", "after_commit"):
        start(crash, url, point).join()
    store = registry.get_store(url)
    indexes = [key for key in store.scan(keyspace.database_pattern(name))
               if b":h:" in key]
    # An intent without its task in the queue has nobody to settle it.
    queues = [keyspace.gc_key(name, n) for n in range(keyspace.GC_BUCKETS)]
    store.batch([base.command(b"UNLINK", key) for key in indexes + queues])
    bad = keyspace.partition(name, "s", "7")
    store.batch([base.command(b"HSET", bad.key, db.schema.tables[
        "instances"].field((8,)), b"x")])
    stop = SPAWN.Event()
    writer = start(write, url, 0, stop)
    file = str(tmp_path / "quarantine")
    time.sleep(QUERY["transaction_lifetime"])
    status, document = run_fsck(url, "--repair", "--quarantine", file)
    assert status == 1
    assert document["clean"]
    assert {"global-index-missing", "directory-missing", "intent-abandoned",
            "record-undecodable"} <= set(document["found"])
    assert document["repaired"] == document["found"]
    assert os.path.getsize(file)
    status, document = run_fsck(url)
    assert (status, document["details"]) == (0, [])
    assert writer.is_alive()
    stop.set()
    writer.join()
    assert writer.exitcode == 0
    found, = databases.load(databases.open_again(url), access.ByIndex(
        "instances", ("host",), (("h",),)))
    # All but the one that did not decode.
    assert len(found) == 49


def test_a_server_that_is_not_there():
    port, = fixtures.free_ports(1)
    done = subprocess.run(
        [sys.executable, "-m", "nova_kvs.cmd.main", "fsck",
         "kvs+redis://u:secret@127.0.0.1:%d/cell1" % port],
        capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr
