# SPDX-License-Identifier: Apache-2.0
"""Frames on a connection, without a server."""

import socket

import pytest

from nova_kvs.store.etcd import http2

_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_ACK, _END_STREAM, _END_HEADERS = 1, 1, 4
#: Both begin with the size of the table of headers: 0.
_STATUS = b"\x20\0\x07:status\x03200"
_TRAILERS = b"\x20\0\x0bgrpc-status\x010"


def frame(kind, flags, stream, payload=b""):
    return (len(payload).to_bytes(3, "big") + bytes((kind, flags))
            + stream.to_bytes(4, "big") + payload)


def answer(stream, body):
    return (frame(_HEADERS, _END_HEADERS, stream, _STATUS)
            + frame(_DATA, 0, stream, b"\0" + len(body).to_bytes(4, "big")
                    + body)
            + frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, _TRAILERS))


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(frame(_SETTINGS, 0, 0))
        yield ours, theirs


@pytest.fixture
def call(sockets):
    """Return a function that makes calls, answered with some bytes.

    It returns what the server got, and the bodies.
    """
    ours, theirs = sockets
    connection = http2.Connection(ours, "h:1")

    def run(data, count=1):
        theirs.sendall(data)
        replies = [None] * count
        connection.exchange([(b"/p", b"m")] * count, replies, 5)
        return theirs.recv(1 << 16), [reply.body for reply in replies]

    run.connection = connection
    return run


def test_answers_are_told_apart_in_any_order(call):
    sent, bodies = call(answer(3, b"b" * 300) + answer(1, b"a"), 2)
    assert bodies == [b"a", b"b" * 300]
    assert sent.startswith(b"PRI * HTTP/2.0")


def test_a_ping_is_answered_along_with_the_next_call(call):
    ping = b"12345678"
    # Bits that mean nothing are not looked at.
    sent, _ = call(frame(_PING, 0, 0x80000000, ping) + answer(1, b"a"))
    assert frame(_PING, _ACK, 0, ping) not in sent
    sent, _ = call(answer(3, b"a"))
    assert sent.startswith(frame(_PING, _ACK, 0, ping))
    sent, _ = call(answer(5, b"a"))
    assert ping not in sent


def test_a_stream_that_stays_open_tells_between_calls(call, sockets):
    connection = call.connection
    connection.open_stream(b"/w")
    connection.write([b"wish"])
    sent, bodies = call(frame(_DATA, 0, 1, b"\0\0\0\0\x03on") + answer(
        3, b"a") + frame(_DATA, 0, 1, b"e\0\0\0\0\x03two\0\0"))
    assert bodies == [b"a"]
    assert b"\0\0\0\0\x04wish" in sent
    connection.catch_up()
    assert list(connection.messages()) == [b"one", b"two"]
    assert list(connection.messages()) == []
    sockets[1].sendall(frame(_HEADERS, _END_HEADERS | _END_STREAM, 1,
                             _TRAILERS))
    with pytest.raises(http2.Lost):
        connection.catch_up()
