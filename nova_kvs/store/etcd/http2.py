# SPDX-License-Identifier: Apache-2.0
"""gRPC calls over one HTTP/2 connection, for one thread at a time.

All calls of an exchange are sent before the first answer is read. There is
no thread, no event loop and nothing that a fork or eventlet could disturb: a
socket, and frames on it.

Measured against one etcd 3.4 on loopback (CPU of the client for a Range and
for a Txn of three conditions and eight puts, ms): this module 0.04 and 0.07,
the library h2 0.25 and 0.28, grpcio 0.21 and 0.26, etcd3gw 0.82 and 1.04.
grpcio has threads of its own that neither survive a fork nor know eventlet.
The library hpack is left what is intricate of HTTP/2, the compression of
headers.

:source: RFC 9113; gRPC over HTTP2, in gRPC's documentation
"""

import socket
import ssl
import struct
import time
import typing

import hpack

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE,
 _CONTINUATION) = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM = _ACK = 1
_END_HEADERS = 4
_PADDED = 8
_PRIORITY = 32
_HEADER_TABLE_SIZE, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 4, 5
#: Windows of the protocol before anybody says otherwise.
_WINDOW = 65535
#: Bytes that may come before this side opens its window again.
_OWN_WINDOW = 1 << 30
_RECEIVE_BYTES = 1 << 16
#: Streams after which a connection is replaced: ids have 31 bits.
_LAST_STREAM = 1 << 30
#: Different header blocks that are remembered.
_MOST_BLOCKS = 64
#: Idle for this long, a connection is looked at before it is used.
IDLE_S = 1.0

_LENGTH = struct.Struct(">I")
#: Of a frame: size in two parts, kind, flags, stream.
_HEAD = struct.Struct(">BHBBI")

#: A socket that is of no more use raises one of these.
_FAILURES = (OSError, EOFError)


class Lost(Exception):
    """The connection is of no more use; what was sent may have been done."""


class NotSpoken(Lost):
    """The server that answered does not speak HTTP/2."""


class Silent(Lost):
    """The server closed the connection without a word of HTTP/2."""


class Reply(typing.NamedTuple):
    """A server's answer to a call."""

    #: Of gRPC; 0 is OK.
    status: int
    message: str
    body: bytes


def _frame(kind, flags, stream, payload):
    size = len(payload)
    return _HEAD.pack(size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _literal(name, value):
    """Return a header as it stands in a block, without any compression."""
    return b"\0%b%b%b%b" % (_size(name), name, _size(value), value)


def _size(text):
    size = len(text)
    if size < 127:
        return bytes((size,))
    out = bytearray((127,))
    size -= 127
    while size > 127:
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes(out)


_HEADER_BLOCK = (_literal(b"te", b"trailers")
                 + _literal(b"content-type", b"application/grpc"))
_WANTS_LEADER = _literal(b"hasleader", b"true")


class Connection:
    """A connection to one server.

    :ivar received_bytes: since it was last set to 0.
    :ivar is_closing: whether the server takes no more calls on it.
    """

    def __init__(self, sock, authority):
        """Begin to speak HTTP/2 on a connected socket.

        :param authority: host and port, as the server is called.
        """
        self._sock = sock
        scheme = b"https" if isinstance(sock, ssl.SSLSocket) else b"http"
        self._head = (
            _literal(b":method", b"POST") + _literal(b":scheme", scheme)
            + _literal(b":authority", authority.encode("ascii", "replace")))
        self._paths = {}
        #: The bytes that have arrived, and where the next frame begins.
        self._buffer = bytearray()
        self._at = 0
        self._next_stream = 1
        self._window = self._first_window = _WINDOW
        self._windows = {}
        self._largest_frame = 16384
        self._owed = 0
        #: Frames that go along with whatever is sent next.
        self._owed_frames = []
        self._decoder = hpack.Decoder()
        self._decoder.max_allowed_table_size = 0
        self._blocks = {}
        self._open = {}
        #: Of what ``open_stream`` has opened.
        self._stream = None
        self._stream_window = self._stream_bytes = 0
        self._arrived = bytearray()
        self._block = None
        self._spoken = False
        self._used_at = time.monotonic()
        self.received_bytes = 0
        self.is_closing = False
        self._send(_PREFACE + _frame(_SETTINGS, 0, 0, struct.pack(
            ">HIHI", _HEADER_TABLE_SIZE, 0, _INITIAL_WINDOW_SIZE, _OWN_WINDOW)
        ) + _frame(_WINDOW_UPDATE, 0, 0, _LENGTH.pack(_OWN_WINDOW)))

    def is_usable(self):
        """Return whether it can be used again, as far as can be seen."""
        if self.is_closing or self._next_stream > _LAST_STREAM:
            return False
        if time.monotonic() < self._used_at + IDLE_S:
            return True
        try:
            self._sock.settimeout(0)
            self._receive()
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except Lost:
            return False
        return not self.is_closing

    def exchange(self, calls, replies, timeout_s, token=None,
                 wants_leader=False):
        """Send calls and wait for the answers.

        :param calls: list of (path, message), bytes each.
        :param replies: list of the same length that gets a Reply for each
            call; also if this raises, for those that were answered.
        :param timeout_s: the longest time to wait for a part of an answer.
        :param token: of the user, bytes, or None.
        :param wants_leader: whether a member without a leader is to refuse.
        :raises Lost: if the connection broke or the time is over.
        """
        self._sock_timeout(timeout_s)
        pieces = []
        unsent = []
        extra = _literal(b"token", token) if token else b""
        if wants_leader:
            extra += _WANTS_LEADER
        for number, (path, message) in enumerate(calls):
            stream = self._next_stream
            self._next_stream += 2
            self._open[stream] = [replies, number, [], None]
            block = self._paths.get(path)
            if block is None:
                # Headers that begin with a colon stand before all others.
                block = self._paths[path] = (
                    self._head + _literal(b":path", path) + _HEADER_BLOCK)
            pieces.append(_frame(
                _HEADERS, _END_HEADERS, stream, block + extra))
            body = b"\0%b%b" % (_LENGTH.pack(len(message)), message)
            if len(body) <= min(self._window, self._first_window,
                                self._largest_frame) and not unsent:
                pieces.append(_frame(_DATA, _END_STREAM, stream, body))
                self._window -= len(body)
            else:
                self._windows[stream] = self._first_window
                unsent.append([stream, body])
        self._send(b"".join(pieces))
        try:
            while self._open:
                if unsent:
                    unsent = self._send_more(unsent)
                if not self._take_frame():
                    self._receive()
        except BaseException:
            self.close()
            raise
        finally:
            self._open.clear()
            self._windows.clear()
        self._used_at = time.monotonic()

    # A stream that stays open ------------------------------------------------

    def open_stream(self, path, token=None):
        """Begin the one call that goes on while others come and go.

        The connection is closing when the server ends the call.

        :param token: of the user, bytes, or None.
        :raises Lost: if the connection broke.
        """
        self._stream = self._next_stream
        self._next_stream += 2
        self._stream_window = self._first_window
        self._send(_frame(
            _HEADERS, _END_HEADERS, self._stream,
            self._head + _literal(b":path", path) + _HEADER_BLOCK
            + (_literal(b"token", token) if token else b"")
            + _WANTS_LEADER))

    def write(self, messages):
        """Send messages on the stream that stays open.

        :raises Lost: if the server takes no more.
        """
        data = b"".join([
            b"\0%b%b" % (_LENGTH.pack(len(message)), message)
            for message in messages])
        if len(data) > min(self._window, self._stream_window):
            raise Lost("the server does not read")
        self._window -= len(data)
        self._stream_window -= len(data)
        self._send(b"".join([
            _frame(_DATA, 0, self._stream,
                   data[at:at + self._largest_frame])
            for at in range(0, len(data), self._largest_frame)]))

    def catch_up(self):
        """Take in all that has arrived. Not while an answer is outstanding.

        :raises Lost: if the connection, or the open stream, has ended.
        """
        self._sock_timeout(0)
        # What has come behind the last answer.
        while self._take_frame():
            pass
        try:
            while True:
                self._receive()
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        if self.is_closing:
            raise Lost("the server has ended the stream")

    def messages(self):
        """Yield what has arrived on the stream that stays open."""
        data = bytes(self._arrived)
        at = 0
        while len(data) >= at + 5:
            size, = _LENGTH.unpack_from(data, at + 1)
            if len(data) < at + 5 + size:
                break
            yield data[at + 5:at + 5 + size]
            at += 5 + size
        del self._arrived[:at]

    def close(self):
        """Close the socket."""
        self.is_closing = True
        try:
            self._sock.close()
        except OSError:
            pass

    # Sending ----------------------------------------------------------------

    def _sock_timeout(self, timeout_s):
        try:
            self._sock.settimeout(timeout_s)
        except _FAILURES as exc:
            raise Lost(str(exc)) from exc

    def _send(self, data):
        if self._owed_frames:
            data = b"".join([*self._owed_frames, data])
            self._owed_frames.clear()
        try:
            self._sock.sendall(data)
        except _FAILURES as exc:
            self.close()
            raise Lost(str(exc) or type(exc).__name__) from exc

    def _send_more(self, unsent):
        """Send as much as the server's windows let through.

        :returns: what is left: list of [stream, bytes].
        """
        pieces = []
        left = []
        for stream, body in unsent:
            if stream not in self._open:  # answered without reading it all
                continue
            at = 0
            size = min(len(body), self._window, self._windows[stream])
            while at < size:
                end = min(at + self._largest_frame, size)
                pieces.append(_frame(
                    _DATA, _END_STREAM if end == len(body) else 0, stream,
                    body[at:end]))
                at = end
            self._window -= at
            self._windows[stream] -= at
            if at < len(body):
                left.append([stream, body[at:]])
        if pieces:
            self._send(b"".join(pieces))
        return left

    # Receiving --------------------------------------------------------------

    def _receive(self):
        """Wait for some bytes and take in the frames that have no stream.

        :raises Lost: if there are none any more.
        """
        try:
            data = self._sock.recv(_RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            raise
        except socket.timeout as exc:
            raise Lost("the server did not answer in time") from exc
        except _FAILURES as exc:
            raise Lost(str(exc) or type(exc).__name__) from exc
        if not data:
            raise (Lost if self._spoken else Silent)(
                "the server closed the connection")
        self.received_bytes += len(data)
        self._buffer += data
        if not self._spoken:
            if len(self._buffer) < 9:
                return
            if self._buffer[3] != _SETTINGS or self._buffer[0]:
                raise NotSpoken("the server does not speak HTTP/2")
            self._spoken = True
        while not self._open and self._take_frame():
            pass

    def _take_frame(self):
        """Handle one frame of the buffer; return whether there was one."""
        buffer = self._buffer
        at = self._at
        end = at + 9
        if end <= len(buffer):
            high, low, kind, flags, stream = _HEAD.unpack_from(buffer, at)
            end += high << 16 | low
        if end > len(buffer):
            del buffer[:at]
            self._at = 0
            return False
        self._at = end
        stream &= 0x7FFFFFFF
        payload = bytes(buffer[at + 9:end])
        if kind == _DATA:
            self._take_data(stream, flags, payload)
        elif kind == _HEADERS or kind == _CONTINUATION:
            self._take_headers(stream, kind, flags, payload)
        elif kind == _WINDOW_UPDATE:
            more = _LENGTH.unpack(payload)[0]
            if stream == 0:
                self._window += more
            elif stream == self._stream:
                self._stream_window += more
            elif stream in self._windows:
                self._windows[stream] += more
        elif kind == _SETTINGS:
            if not flags & _ACK:
                self._take_settings(payload)
        elif kind == _PING:
            if not flags & _ACK:
                # etcd sends one with most answers, to measure the network. A
                # packet of its own for it would double what a call costs.
                self._owed_frames.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _RST_STREAM:
            self._finish(stream, Reply(
                14, "the server ended the call with HTTP/2's error %d"
                % _LENGTH.unpack(payload)[0], b""))
        elif kind == _GOAWAY:
            self.is_closing = True
            last = _LENGTH.unpack(payload[:4])[0] & 0x7FFFFFFF
            for other in [each for each in self._open if each > last]:
                self._finish(other, Reply(
                    14, "the server took no more calls", b""))
        return True

    def _take_data(self, stream, flags, payload):
        self._owed += len(payload)
        if self._owed > _OWN_WINDOW // 2:
            self._send(_frame(
                _WINDOW_UPDATE, 0, 0, _LENGTH.pack(self._owed)))
            self._owed = 0
        if flags & _PADDED:
            payload = payload[1:len(payload) - payload[0]]
        if stream == self._stream:
            self._arrived += payload
            self._stream_bytes += len(payload)
            # Its window is not opened again.
            if flags & _END_STREAM or self._stream_bytes > _OWN_WINDOW // 2:
                self.is_closing = True
            return
        call = self._open.get(stream)
        if call is not None:
            call[2].append(payload)
            if flags & _END_STREAM:
                self._finish(stream, Reply(
                    13, "the server's answer has no status", b""))

    def _take_headers(self, stream, kind, flags, payload):
        if kind == _HEADERS:
            if flags & _PADDED:
                payload = payload[1:len(payload) - payload[0]]
            if flags & _PRIORITY:
                payload = payload[5:]
            self._block = [flags & _END_STREAM, payload]
        else:
            self._block[1] += payload
        if not flags & _END_HEADERS:
            return
        ends, block = self._block
        headers = self._blocks.get(block)
        if headers is None:
            try:
                headers = dict(self._decoder.decode(block, raw=True))
            except hpack.HPACKError as exc:
                raise Lost(str(exc)) from exc
            if len(self._blocks) < _MOST_BLOCKS:
                self._blocks[block] = headers
        if ends and stream == self._stream:
            self.is_closing = True
        call = self._open.get(stream)
        if call is None:
            return
        if not ends:
            call[3] = headers
            return
        body = b"".join(call[2])
        first = call[3] or headers
        if first.get(b":status") != b"200":
            self._finish(stream, Reply(
                2, "HTTP status %s" % first.get(b":status", b"?").decode(),
                b""))
            return
        self._finish(stream, Reply(
            int(headers.get(b"grpc-status", b"2")),
            _text(headers.get(b"grpc-message", b"")), body[5:]))

    def _finish(self, stream, reply):
        if stream == self._stream:
            self.is_closing = True
        call = self._open.pop(stream, None)
        if call is not None:
            replies, number, _, _ = call
            replies[number] = reply

    def _take_settings(self, payload):
        for at in range(0, len(payload) - 5, 6):
            name, value = struct.unpack(">HI", payload[at:at + 6])
            if name == _INITIAL_WINDOW_SIZE:
                for stream in self._windows:
                    self._windows[stream] += value - self._first_window
                self._stream_window += value - self._first_window
                self._first_window = value
            elif name == _MAX_FRAME_SIZE:
                self._largest_frame = value
        self._send(_frame(_SETTINGS, _ACK, 0, b""))


def _text(message):
    """Return gRPC's percent-encoded text."""
    parts = message.split(b"%")
    text = parts[0]
    for part in parts[1:]:
        try:
            text += bytes((int(part[:2], 16),)) + part[2:]
        except ValueError:
            text += b"%" + part
    return text.decode("utf-8", "replace")
