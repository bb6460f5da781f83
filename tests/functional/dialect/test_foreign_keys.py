# SPDX-License-Identifier: Apache-2.0
"""What foreign keys cost the inserts of children of one parent."""

import math

import pytest

from benchmarks.services import children
from nova_kvs.dialect import foreign_keys
from tests import fixtures

INSERTS = 20


@pytest.fixture(params=["server", "cluster"])
def servers(request):
    with (fixtures.RedisServerFixture() if request.param == "server"
          else fixtures.RedisClusterFixture(masters=3, replicas=0)) as made:
        yield request.param, made


def test_a_child_asks_little_more_than_without_its_key(
        monkeypatch, servers):
    # However slow the machine is.
    monkeypatch.setattr(foreign_keys, "SEEN_S", math.inf)
    kind, servers = servers
    with children.Children(servers.url("free")) as free, \
            children.Children(servers.url(
                "keyed", foreign_keys="true")) as keyed:
        without, with_keys = free.insert(INSERTS), keyed.insert(INSERTS)
    # The commit compares the parent: in its only step on one server, and
    # where the parent is on a cluster, when the child has its intent.
    more = {"server": (0, 0), "cluster": (1, 6)}[kind]
    assert with_keys.round_trips - without.round_trips <= more[0] * INSERTS
    assert with_keys.commands - without.commands <= more[1] * INSERTS
