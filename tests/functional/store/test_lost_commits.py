# SPDX-License-Identifier: Apache-2.0
"""Commits that are lost without a cluster, and are told all the same."""

import contextlib

from nova_kvs import keyspace
from nova_kvs.record import database as record_database
from nova_kvs import txn
from tests import fixtures

FIELD = b"rt\0row"


def _commit(coordinator, *numbers):
    for number in numbers:
        coordinator.commit([txn.Mutation(
            keyspace.partition("db", "t", str(number)), FIELD, 0, b"v")])


def _told(coordinator, caplog):
    """Return the numbers of the commits that the next call tells of."""
    coordinator.read([txn.FieldsRead(
        keyspace.partition("db", "t", "other"), (FIELD,))])
    return [int(message.rpartition("{db:t:")[2].partition("}")[0])
            for message in caplog.messages
            if "has lost transaction" in message]


def test_a_server_that_comes_back_without_its_data(caplog):
    with fixtures.RedisServerFixture() as server:
        coordinator = record_database.open_database(
            server.url("db", request_timeout=20)).coordinator
        _commit(coordinator, 1, 2)
        server.kill(server.nodes[0])
        server.restart(server.nodes[0])
        assert _told(coordinator, caplog) == [1, 2]


def test_a_connection_that_was_lost_tells_nothing(caplog):
    with fixtures.RedisServerFixture() as server:
        coordinator = record_database.open_database(
            server.url("db")).coordinator
        _commit(coordinator, 1)
        server.client().execute_command("CLIENT", "KILL", "TYPE", "normal")
        assert _told(coordinator, caplog) == []
        assert coordinator.store.successions


def test_a_master_that_sentinels_replace(caplog):
    with fixtures.RedisSentinelFixture() as servers:
        coordinator = record_database.open_database(
            servers.url("db", request_timeout=20)).coordinator
        _commit(coordinator, 1)
        master = servers.nodes[0]
        with contextlib.closing(servers.client(master)) as client:
            # WAIT counts behind a write of its own connection only.
            client.execute_command("SET", "{db:t:1}w", "")
            assert client.execute_command("WAIT", 1, 5000) == 1
            client.execute_command(
                "ACL", "SETUSER", "default", "-psync", "-sync")
            client.execute_command("CLIENT", "KILL", "TYPE", "REPLICA")
            fixtures.wait_for(
                lambda: b"connected_slaves:0" in client.execute_command(
                    "INFO", "replication"), "the replica is cut off")
        _commit(coordinator, 2, 3)
        servers.kill(master)
        assert _told(coordinator, caplog) == [2, 3]
