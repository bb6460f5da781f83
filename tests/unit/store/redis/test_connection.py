# SPDX-License-Identifier: Apache-2.0
import os
import ssl
import time

import pytest
from redis import exceptions as redis_exceptions

from nova_kvs import exceptions
from nova_kvs.store.redis import connection
from nova_kvs.store import url as store_url
from tests import base


class Socket:
    """Stands in for a socket that receives what it is given, in pieces."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)
        self.sent = []

    def sendall(self, data):
        self.sent.append(data)

    def recv_into(self, buffer):
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        buffer[:len(piece)] = piece
        return len(piece)


class Wire:
    """Stands in for redis-py's connection."""

    failure = None
    _sock = Socket()

    def __init__(self, **kwargs):
        self.kwargs = kwargs
        self.commands = []
        self.is_open = False

    def connect(self):
        if self.failure is not None:
            raise self.failure
        self.is_open = True

    def disconnect(self):
        self.is_open = False

    def send_packed_command(self, pieces, check_health):
        self.commands.extend(pieces)

    def read_response(self):
        return b"OK"


def _settings(**options):
    return store_url.parse_url("kvs+redis://h/db").settings(**options)


def _node(wire=Wire, **options):
    return connection.Node(
        ("h", 1), _settings(**options), (wire, {}), ((b"READONLY",),))


def _deadline():
    return time.monotonic() + 60


def test_idle_connections_are_used_again_up_to_the_pool_size():
    node = _node(pool_size=2)
    taken = [node.acquire(_deadline()) for _ in range(3)]
    assert len(set(map(id, taken))) == 3
    for one in taken:
        node.release(one)
    assert [one._wire.is_open for one in taken] == [True, True, False]
    assert node.acquire(_deadline()) is taken[1]
    node.drop()
    assert not taken[0]._wire.is_open and taken[1]._wire.is_open


@pytest.fixture
def posted(monkeypatch):
    """Return a connection that has posted two commands, and what is done."""
    monkeypatch.setattr(Wire, "_sock", Socket())
    one, done = _node().acquire(_deadline()), []
    one.post([b"A", b"B"], 2, done.extend)
    assert Wire._sock.sent == [b"AB"] and done == []
    return one, done


def test_the_next_read_finds_its_own_reply_behind_those_of_a_post(posted):
    one, done = posted
    one.send([b"C"])
    Wire._sock.pieces += [b":1\r\n", b":2\r\n:3\r\n:4\r\n"]
    assert (one.read(), done) == (3, [1, 2])
    assert (one.read(), done) == (4, [1, 2])


def test_replies_of_posts_do_not_pile_up(posted):
    one, done = posted
    Wire._sock.pieces.append(b":1\r\n:2\r\n")
    one.post([b"C"], 1, done.extend)
    assert Wire._sock.sent == [b"AB", b"C"] and done == [1, 2]


def test_a_post_that_was_refused_is_not_done(posted):
    one, done = posted
    one.scripts.add("sha")
    Wire._sock.pieces.append(b"-NOSCRIPT No\r\n:2\r\n:3\r\n")
    assert (one.read(), done, one.scripts) == (3, [], set())


def test_a_post_that_was_lost_is_not_done(posted):
    one, done = posted
    Wire._sock.pieces += [b":1\r\n", b""]
    with pytest.raises(connection.LOST):
        one.read()
    assert done == []


def test_a_forked_process_opens_its_own(monkeypatch):
    node = _node()
    parents = node.acquire(_deadline())
    node.release(parents)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert node.acquire(_deadline()) is not parents
    assert parents._wire.is_open


def test_a_new_connection_sends_what_the_node_wants_first():
    assert _node().acquire(_deadline())._wire.commands == [
        b"*1\r\n$8\r\nREADONLY\r\n"]


def test_connecting_takes_no_longer_than_there_is_time():
    wire = _node(connect_timeout=5.0, socket_timeout=6.0).acquire(
        _deadline())._wire
    assert wire.kwargs["socket_connect_timeout"] == 5.0
    assert wire.kwargs["socket_timeout"] == 6.0


@pytest.mark.parametrize("error", [
    redis_exceptions.ConnectionError("refused"),
    redis_exceptions.TimeoutError("timed out"),
    redis_exceptions.BusyLoadingError("loading"),
    redis_exceptions.ResponseError("ERR anything else")])
def test_a_server_that_is_not_ready_counts_as_lost(error):
    class Failing(Wire):
        failure = error

    with pytest.raises(connection.LOST):
        _node(Failing).acquire(_deadline())


def _with_context(error, context):
    error.__context__ = context
    return error


@pytest.mark.parametrize(("error", "said"), [
    (redis_exceptions.AuthenticationError("invalid username-password pair"),
     "user or password"),
    (redis_exceptions.NoPermissionError("no permissions for 'client'"),
     "permission"),
    (_with_context(redis_exceptions.ConnectionError("tls"),
                   ssl.SSLCertVerificationError("self-signed")), "tls_"),
])
def test_what_repeating_cannot_help_is_a_configuration_error(error, said):
    class Failing(Wire):
        failure = error

    with pytest.raises(exceptions.ConfigurationError) as caught:
        _node(Failing).acquire(_deadline())
    assert said in str(caught.value) and "server=h:1" in str(caught.value)


@pytest.mark.parametrize("name", [
    "tls_ca_file", "tls_cert_file", "tls_key_file"])
def test_a_missing_tls_file_is_named(name):
    with pytest.raises(exceptions.ConfigurationError) as caught:
        connection.options(
            _settings(tls=True, **{name: "/nowhere/x.pem"}), None, None)
    assert "option=" + name in str(caught.value)
    assert "/nowhere/x.pem" in str(caught.value)


def test_a_node_shows_only_its_address():
    options = connection.options(_settings(), "nova", "s3cret")
    node = connection.Node(("h", 1), _settings(password="s3cret"), options)
    assert repr(node) == "Node(h:1)"


def _connected(*pieces):
    wire = Wire()
    wire._sock = Socket(*pieces)
    return connection.Connection(wire, 6.0)


def test_replies_are_read_from_pieces():
    one = _connected(b"$5\r\nab", b"c\r\n\r\n*2\r\n:1\r\n$-1\r\n+O", b"K\r\n")
    one.send([b"PING\r\n", b"PING\r\n"])
    assert one._wire._sock.sent == [b"PING\r\nPING\r\n"]
    assert [one.read() for _ in range(3)] == [b"abc\r\n", [1, None], b"OK"]
    assert one.received_bytes == 29


@pytest.mark.parametrize(("line", "error"), [
    (b"-NOSCRIPT No matching script\r\n", redis_exceptions.NoScriptError),
    (b"-MOVED 1 h:2\r\n", redis_exceptions.MovedError),
    (b"-WRONGTYPE wrong\r\n", redis_exceptions.ResponseError)])
def test_an_error_reply_is_returned(line, error):
    assert type(_connected(line).read()) is error


@pytest.mark.parametrize("piece", [
    b"", b"-LOADING the dataset\r\n", b"-NOAUTH Authentication required\r\n",
    b"?\r\n", TimeoutError("timed out"), ssl.SSLEOFError(8, "EOF")])
def test_what_ends_a_connection_is_raised(piece):
    with pytest.raises(connection.LOST):
        _connected(piece).read()


@pytest.mark.parametrize("reply", [
    redis_exceptions.MovedError("1 b:1"),
    redis_exceptions.ClusterCrossSlotError("Keys in request")])
def test_a_node_of_a_cluster_under_the_wrong_scheme(reply):
    error = connection.reply_error(
        reply, base.command(b"GET", b"kvs:{k}"), ("h", 1))
    assert isinstance(error, exceptions.ConfigurationError)
    assert "kvs+cluster://" in str(error)


def test_an_error_names_the_command_not_its_values():
    error = connection.reply_error(
        redis_exceptions.ResponseError("OOM command not allowed"),
        base.command(b"SET", b"kvs:{k}", b"s3cret"), ("h", 1))
    assert str(error) == (
        "the key/value store refused a command (command=SET, "
        "reply=OOM command not allowed, server=h:1)")
