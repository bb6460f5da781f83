# SPDX-License-Identifier: Apache-2.0
"""What is used of redis-py and hiredis, and is not documented by them.

A new release that changes one of these fails here, by name, and not only
somewhere on the way.
"""

import socket
import ssl

import hiredis
import pytest
from redis import connection as redis_connection
from redis import exceptions as redis_exceptions

from nova_kvs.store.redis import connection
from nova_kvs.store import url as store_url
from tests import fixtures
from tests.functional.store import certificates


def _connected(servers, **settings):
    """Return redis-py's connection as the store has it made."""
    cls, kwargs = connection.options(
        store_url.parse_url(servers.url("x")).settings(**settings),
        None, None)
    made = cls(host=servers.nodes[0][0], port=servers.nodes[0][1], **kwargs)
    made.connect()
    return made


def test_a_connection_has_its_socket():
    with fixtures.RedisServerFixture() as servers:
        made = _connected(servers)
        assert type(made._sock) is socket.socket
        # With no reply outstanding, or the store would take it for its own.
        made._sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            made._sock.recv(1)
        made.disconnect()


def test_a_connection_with_tls_has_its_socket(tmp_path):
    files = certificates.make(tmp_path)
    with fixtures.RedisServerFixture(tls=files) as servers:
        made = _connected(
            servers, tls=True, tls_ca_file=files.ca,
            tls_cert_file=files.cert, tls_key_file=files.key)
        assert isinstance(made._sock, ssl.SSLSocket)
        made.disconnect()


@pytest.mark.parametrize("reply, error", [
    ("MOVED 1 h:2", redis_exceptions.MovedError),
    ("ASK 1 h:2", redis_exceptions.AskError),
    ("TRYAGAIN", redis_exceptions.TryAgainError),
    ("CLUSTERDOWN x", redis_exceptions.ClusterDownError),
    ("CROSSSLOT x", redis_exceptions.ClusterCrossSlotError),
    ("MASTERDOWN x", redis_exceptions.MasterDownError),
    ("LOADING x", redis_exceptions.BusyLoadingError),
    ("READONLY x", redis_exceptions.ReadOnlyError),
    ("NOSCRIPT x", redis_exceptions.NoScriptError),
    ("NOPERM x", redis_exceptions.NoPermissionError),
    ("NOAUTH x", redis_exceptions.AuthenticationError),
    ("WRONGPASS x", redis_exceptions.AuthenticationError),
    ("WRONGTYPE x", redis_exceptions.ResponseError),
])
def test_error_replies_have_classes(reply, error):
    reader = hiredis.Reader(
        replyError=redis_connection.DefaultParser.parse_error)
    reader.feed(b"-%s\r\n" % reply.encode())
    assert type(reader.gets()) is error


def test_pushes_are_told_from_replies():
    reader = hiredis.Reader()
    assert reader.gets() is False
    reader.feed(b">1\r\n+invalidate\r\n*1\r\n+value\r\n")
    assert type(reader.gets()) is hiredis.PushNotification
    assert type(reader.gets()) is list


def test_commands_are_packed():
    assert hiredis.pack_command((b"SET", "k", 1)) == (
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\n1\r\n")
