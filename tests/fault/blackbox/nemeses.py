# SPDX-License-Identifier: Apache-2.0
"""Faults that are made while the clients of the black-box suite work."""

import contextlib
import glob
import os
import signal
import time

from nova_kvs import keyspace
from tests.fault.blackbox import client
from tests.fault import proxy
from tests import fixtures


class Cluster(proxy.ProxiedCluster):
    """A cluster behind proxies, with append-only files."""

    def __init__(self, **options):
        super().__init__(options={
            "appendonly": "yes", "appendfsync": "everysec"}, **options)

    def masters_now(self):
        """Return the running nodes that have slots."""
        found = []
        for node in self.nodes:
            with contextlib.suppress(Exception), contextlib.closing(
                    self.client(node, socket_timeout=1)) as asked:
                if asked.execute_command("ROLE")[0] == b"master":
                    found.append(node)
        return found

    def cut_file(self, node, count):
        """Take the last bytes of a killed node's append-only file."""
        name = max(glob.glob(os.path.join(
            self._directory, str(node[1]), "appendonlydir", "*.incr.aof")))
        size = os.path.getsize(name)
        os.truncate(name, max(size - count, 0))


def tables(database):
    """Return the slots of the tables' partitions."""
    return [keyspace.slot(keyspace.partition(
        database, "t", table.name).key) for table in
        client.metadata.sorted_tables]


# Each is a function of a Run. What it breaks it repairs.

def kill_client(run):
    number = run.choose.randrange(len(run.processes))
    run.processes[number].kill()
    run.processes[number].join()
    run.start(number)


def pause_client(run):
    """Let a client stand still for longer than anything is kept."""
    process = run.choose.choice(run.processes)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(run.pause_s)
    os.kill(process.pid, signal.SIGCONT)


def lose_replies(run):
    run.cluster.faults.lose = 0.03
    run.cluster.faults.cut = 0.03
    time.sleep(1.5)
    run.cluster.faults.lose = run.cluster.faults.cut = 0.0


def cut_off(run):
    """Let no answer come, of any server."""
    run.cluster.faults.blocked = True
    time.sleep(1.2)
    run.cluster.faults.blocked = False


def move_slot(run, pause_s=0.0):
    cluster = run.cluster
    number = run.choose.choice(tables(run.database))
    with contextlib.closing(cluster.client()) as asked:
        source = next(
            (fixtures.HOST, row[2][1])
            for row in asked.execute_command("CLUSTER", "SLOTS")
            if row[0] <= number <= row[1])
    target = run.choose.choice([
        node for node in cluster.masters_now() if node != source])
    cluster.move_slot(number, source, target)
    cluster.move_keys(number, source, target, count=2)
    time.sleep(pause_s)
    while cluster.move_keys(number, source, target, count=5):
        pass
    cluster.finish_move(number, target)


def leave_slot_half_way(run):
    """Let a slot be on two masters for a while."""
    move_slot(run, 2.0)


def kill_master(run):
    node = run.choose.choice(run.cluster.masters_now())
    run.cluster.kill(node)
    time.sleep(3)
    run.cluster.restart(node)
    run.cluster.wait_healthy()


def stop_master(run):
    """Let a master stand still until its replica has taken its place."""
    node = run.choose.choice(run.cluster.masters_now())
    run.cluster.pause(node)
    time.sleep(3.5)
    run.cluster.resume(node)
    run.cluster.wait_healthy()


def cut_power(run):
    """Let a master and its replicas fail at once, its file not complete."""
    cluster = run.cluster
    node = run.choose.choice(cluster.masters_now())
    with contextlib.closing(cluster.client(node)) as asked:
        followers = [(fixtures.HOST, int(row[1])) for row in
                     asked.execute_command("ROLE")[2]]
    for one in (*followers, node):
        cluster.kill(one)
    cluster.cut_file(node, run.choose.randrange(1, 4000))
    for one in (node, *followers):
        cluster.restart(one)
    cluster.wait_healthy()


#: Nothing that was acknowledged may be lost by these.
HARMLESS = (kill_client, pause_client, lose_replies, cut_off, move_slot,
            leave_slot_half_way)
#: Without ``commit_replicas`` these may take back the last moments.
LOSING = (kill_master, stop_master)
#: And this in any case.
POWER = (cut_power,)
