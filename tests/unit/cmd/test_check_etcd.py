# SPDX-License-Identifier: Apache-2.0
"""The lines of nova-kvs check about the members of etcd."""

import copy

import pytest

from nova_kvs import exceptions
from nova_kvs.inspection import etcd_members
from nova_kvs.inspection.lines import Status

SERVERS = [{
    "address": "h%d:2379" % number, "version": "3.4.23",
    "used_memory": 10 << 20, "used_in_data": 9 << 20, "revision": 5000,
    "role": "follower" if number else "leader", "has_leader": True}
    for number in range(3)]
FACTS = {"driver": "etcd", "servers": SERVERS, "members": [{}] * 3,
         "alarms": [], "unreachable": []}


class Store:
    """Stands in for EtcdStore."""

    def __init__(self, compacted=True, error=None):
        self._compacted = compacted
        self._error = error

    def is_compacted(self):
        return self._compacted

    def rehearse(self, key):
        if self._error is not None:
            raise self._error

    def scan(self, pattern):
        return iter(())


def lines(store=None, **changes):
    """Return name -> Line of facts with changes.

    :param changes: facts; those that are a server's change the first one.
    """
    facts = copy.deepcopy(FACTS)
    for name, value in changes.items():
        if name in SERVERS[0]:
            facts["servers"][0][name] = value
        else:
            facts[name] = value
    return {line.name: line for line in etcd_members.examine(
        store or Store(), "cell", facts)}


def test_three_healthy_members():
    found = lines()
    assert {line.status for line in found.values()} == {Status.OK}
    assert found["members"].text == "3 of them, leader: h0:2379"
    assert list(found) == [
        "version", "members", "space", "compaction", "permissions"]


@pytest.mark.parametrize("version, status", [
    ("3.5.0", Status.ERROR), ("3.5.1", Status.ERROR),
    ("3.5.2", Status.ERROR), ("3.5.3", Status.OK), ("3.4.0", Status.OK),
    ("3.3.27", Status.ERROR), ("3.6.0-rc.1", Status.OK)])
def test_versions(version, status):
    line = lines(version=version)["version"]
    assert line.status is status
    assert ("corrupt" in line.text) == (version in ("3.5.0", "3.5.1", "3.5.2"))


@pytest.mark.parametrize("changes, status, text", [
    ({"members": [{}]}, Status.WARNING, "three or five"),
    ({"members": [{}] * 4}, Status.WARNING, "odd number"),
    ({"unreachable": ["h9:2379"]}, Status.WARNING, "h9:2379"),
    ({"servers": [dict(SERVERS[0], has_leader=False)]}, Status.ERROR,
     "no leader"),
])
def test_members(changes, status, text):
    line = lines(**changes)["members"]
    assert line.status is status and text in line.text


def test_space_and_alarms():
    assert "etcdctl defrag" in lines(
        used_memory=1 << 30, used_in_data=100 << 20)["space"].text
    assert "--quota-backend-bytes" in lines(
        used_memory=1900 << 20, used_in_data=1800 << 20)["space"].text
    line = lines(alarms=[("m1", "NOSPACE")])["alarm"]
    assert line.status is Status.ERROR and "alarm disarm" in line.text
    assert "CORRUPT" in lines(alarms=[("m1", "CORRUPT")])["alarm"].text


def test_history_that_nobody_compacts():
    assert lines(Store(False))["compaction"].status is Status.OK
    line = lines(Store(False), revision=200000)["compaction"]
    assert line.status is Status.WARNING
    assert "--auto-compaction-retention" in line.text
    assert lines(revision=200000)["compaction"].status is Status.OK


def test_permissions():
    line = lines(Store(error=exceptions.ConfigurationError("no right")))[
        "permissions"]
    assert line.status is Status.ERROR and "no right" in line.text
