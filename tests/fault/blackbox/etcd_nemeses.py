# SPDX-License-Identifier: Apache-2.0
"""What is done to members of etcd while the black-box suite's clients work.

Each is a function of a Run. What it breaks it repairs. Nothing that was
acknowledged may be lost by any of them.
"""

import time

from nova_kvs import exceptions
from nova_kvs.store import operations
from nova_kvs.store import registry
from tests import etcd_servers
from tests.fault.blackbox import nemeses
from tests import fixtures

#: Of the members: little enough to be filled.
QUOTA_BYTES = 96 << 20
_JUNK = b"kvs:{junk:s:0}"
_ALARM = "NOSPACE"


def _other_leader(cluster, node):
    others = [other for other in cluster.nodes if other != node]
    fixtures.wait_for(lambda: cluster.leader(others), "a new leader")


def kill_leader(run):
    node = etcd_servers.wait_for_leader(run.cluster)
    run.cluster.kill(node)
    _other_leader(run.cluster, node)
    run.cluster.restart(node)


def stop_leader(run):
    """Let the leader stand still until there is another one."""
    node = etcd_servers.wait_for_leader(run.cluster)
    run.cluster.pause(node)
    _other_leader(run.cluster, node)
    run.cluster.resume(node)
    run.cluster.wait_healthy()


def isolate_leader(run):
    """Cut the leader off from the others, but not from its clients."""
    node = etcd_servers.wait_for_leader(run.cluster)
    run.cluster.isolated = {node}
    _other_leader(run.cluster, node)
    time.sleep(1)
    run.cluster.isolated = set()
    run.cluster.wait_healthy()


def lose_majority(run):
    for node in run.cluster.nodes[1:]:
        run.cluster.kill(node)
    time.sleep(1)
    for node in run.cluster.nodes[1:]:
        run.cluster.restart(node, waits=False)
    run.cluster.wait_healthy()


def cut_power(run):
    """Let all members fail at once."""
    for node in run.cluster.nodes:
        run.cluster.pause(node)
    for node in run.cluster.nodes:
        run.cluster.kill(node)
    for node in run.cluster.nodes:
        run.cluster.restart(node, waits=False)
    run.cluster.wait_healthy()


def _patient_store(run):
    return registry.get_store(run.cluster.url("junk", request_timeout=30))


def compact(run):
    """Take the history away under readers, again and again."""
    store = _patient_store(run)
    for _ in range(10):
        revision, = store.batch([operations.ReadMoment(_JUNK)])
        run.cluster.control("compaction", str(revision), check=False)
        time.sleep(0.1)
    store.close()


def fill_space(run):
    """Use up the space, and do what admins do then."""
    cluster = run.cluster
    store = _patient_store(run)
    try:
        number = 0
        while True:
            number += 1
            store.batch([operations.PutField(
                _JUNK, b"f%d" % number, bytes(1 << 20))])
    except exceptions.StoreReplyError as exc:
        assert "--quota-backend-bytes" in str(exc)
    assert _ALARM in cluster.control("alarm", "list").stdout
    time.sleep(1)
    # What frees space is refused no more than what reads.
    store.batch([operations.Delete(_JUNK)])
    revision, = store.batch([operations.ReadMoment(_JUNK)])
    cluster.control("compaction", str(revision), check=False)
    for node in cluster.nodes:
        cluster.control("defrag", nodes=[node])
    cluster.control("alarm", "disarm")
    store.close()


#: What takes long enough for clients to meet it.
ALL = (nemeses.kill_client, nemeses.pause_client, nemeses.lose_replies,
       nemeses.cut_off, kill_leader, stop_leader, isolate_leader,
       lose_majority, cut_power, compact, fill_space)
SHORT = (nemeses.kill_client, nemeses.lose_replies, isolate_leader, compact,
         cut_power)
