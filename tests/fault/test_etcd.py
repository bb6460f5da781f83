# SPDX-License-Identifier: Apache-2.0
"""Members of etcd are killed and stopped under load; nothing may be lost."""

import shutil
import time

import pytest

from nova_kvs.record import access
from nova_kvs.record import database as record_database
from tests import etcd_servers
from tests.fault import checks
from tests.fault import fleet
from tests.fault import history
from tests.fault import ledger
from tests.fault import workload
from tests import fixtures

PROCESSES = 4


@pytest.fixture(scope="module")
def members():
    with etcd_servers.EtcdFixture(3) as servers:
        yield servers


def kill_leader(servers):
    """Kill the leader and start it again when there is another one."""
    node = etcd_servers.wait_for_leader(servers)
    servers.kill(node)
    fixtures.wait_for(
        lambda: servers.leader() not in (None, node), "a new leader")
    servers.restart(node)


def stop_leader(servers):
    """Let the leader stand still until there is another one."""
    node = etcd_servers.wait_for_leader(servers)
    servers.pause(node)
    others = [other for other in servers.nodes if other != node]
    fixtures.wait_for(
        lambda: servers.leader(others) is not None, "a new leader")
    servers.resume(node)
    servers.wait_healthy()


def lose_majority(servers):
    """Kill two members of three, and start them again."""
    for node in servers.nodes[:2]:
        servers.kill(node)
    time.sleep(2)
    for node in servers.nodes[:2]:
        servers.restart(node)
    servers.wait_healthy()


def replace_leader(servers):
    """Put an empty member in the place of the leader."""
    servers.replace(etcd_servers.wait_for_leader(servers))
    servers.wait_healthy()


@pytest.mark.parametrize("disturb, times", [
    pytest.param(kill_leader, (20, 2), marks=pytest.mark.short),
    pytest.param(stop_leader, (10, 1)),
    pytest.param(lose_majority, (5, 1)),
    pytest.param(replace_leader, (5, 3)),
])
def test_nothing_acknowledged_is_lost(
        members, scale, show, database_name, disturb, times):
    times = scale(*times)
    url = members.url(database_name)
    workload.create(url)
    with fleet.Fleet(ledger.ledger, PROCESSES, url) as load:
        for _ in range(times):
            time.sleep(scale(2, 1))
            disturb(members)
        time.sleep(1)
        results = load.stop()
    database = record_database.open_database(url)
    entries = [entry for entries, _ in results for entry in entries]
    found = ledger.compare(database, entries)
    there = {record.values["instance_uuid"]
             for record in database.begin().load(
                 [access.FullScan("instance_extra")])[0]}
    unknown = [entry for entry in entries
               if entry.status == workload.UNKNOWN and entry.rows]
    show("etcd: %s" % disturb.__name__.replace("_", " "), times=times,
         acknowledged=found["acknowledged"], missing=found["missing"],
         torn=found["torn"], undetermined=len(unknown),
         of_them_applied=sum(
             entry.rows[0][0] in there for entry in unknown),
         slowest_commit_s=max(
             entry.end - entry.begin for entry in entries) / 1e9)
    assert found["acknowledged"] > 0
    assert found["missing"] == found["torn"] == 0
    assert found["refused_but_there"] == 0
    checks.fsck(url, show)


class Restored(etcd_servers.EtcdFixture):
    """One member that begins with the files of another cluster's."""

    def __init__(self, files):
        super().__init__(options=["--force-new-cluster"])
        self._files = files

    def _before_members(self):
        shutil.copytree(self._files, self.data_directory(self.nodes[0]))


def test_the_files_of_the_leader_bring_everything_back(
        members, scale, show, database_name, tmp_path):
    """As they are on its disk at one moment under load."""
    files = tmp_path / "files"
    url = members.url(database_name)
    workload.create(url)
    with fleet.Fleet(ledger.ledger, PROCESSES, url) as load:
        time.sleep(2)
        leader = etcd_servers.wait_for_leader(members)
        for node in members.nodes:
            members.pause(node)
        moment = time.monotonic_ns()
        shutil.copytree(members.data_directory(leader), files)
        for node in members.nodes:
            members.resume(node)
        results = load.stop()
    entries = [entry for entries, _ in results for entry in entries
               if entry.end < moment]
    with Restored(files) as servers:
        url = servers.url(database_name)
        found = ledger.compare(record_database.open_database(url), entries)
        show("etcd: restored from files", **found)
        assert found["acknowledged"] > 0
        assert found["missing"] == found["torn"] == 0
        checks.fsck(url, show)


@pytest.mark.short
def test_what_processes_saw_has_an_order(
        members, scale, show, database_name):
    """Transfers, counters and unique keys, while the leader is killed."""
    url = members.url(database_name)
    initial = workload.create(url)
    names = scale(200, 20)
    with fleet.Fleet(workload.bank, PROCESSES, url, names) as load:
        for _ in range(scale(5, 1)):
            time.sleep(scale(5, 2))
            kill_leader(members)
        time.sleep(2)
        results = load.stop()
    events = [event for result in results for event in result["history"]]
    database = record_database.open_database(url)
    assert checks.total(database) == workload.ACCOUNTS * workload.START
    operations = history.check_registers(events, initial)
    accounts = [event for event in events if not any(
        name.startswith("cell") for name in event.reads)]
    order = history.Order(accounts, {
        name: tag for name, tag in initial.items() if tag})
    _, torn, _, fractured = history.torn_reads(accounts, order)
    assert torn == 0
    show("etcd: histories with a killed leader",
         events=len(events), linearizable_operations=operations,
         serializable_transactions=history.check_serializable(order),
         saw_part_of_a_transaction=fractured)
    checks.fsck(url, show)
