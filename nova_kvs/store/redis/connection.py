# SPDX-License-Identifier: Apache-2.0
"""Connections to one server, and what becomes of their failures.

redis-py makes a connection (TCP, TLS, AUTH). What goes over it, pools,
pipelines and retries are nova-kvs's own, see
:class:`nova_kvs.store.redis.remote.RemoteStore`.
"""

import os
import ssl
import time

import hiredis
from redis.backoff import NoBackoff
from redis import connection as redis_connection
from redis.credentials import UsernamePasswordCredentialProvider
from redis import exceptions as redis_exceptions
from redis.retry import Retry

from nova_kvs import exceptions
from nova_kvs.store import pool
from nova_kvs.store.redis import raw

#: A connection that is of no more use raises one of these.
LOST = (redis_exceptions.ConnectionError, redis_exceptions.TimeoutError,
        redis_exceptions.InvalidResponse, OSError)

#: A socket that must not wait raises this when there is nothing.
WOULD_BLOCK = ssl.SSLWantReadError

#: Stands in a plan for a reply that belongs to no item.
SCRIPT_LOAD = -1
IGNORED = -2
WAIT = -3
ROLE = -4
FENCE = -5

_BUFFER_BYTES = 1 << 16

#: Returns a command (tuple of bytes, str, int) in Redis's protocol.
packed = hiredis.pack_command
_TEMPORARY_TLS_ERRORS = (
    ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)


def options(settings, user, password):
    """Return redis-py's connection class and arguments for settings.

    :param user: ACL user, or None.
    :param password: its password, or None.
    :raises nova_kvs.exceptions.ConfigurationError: if a TLS file cannot be
        read.
    """
    kwargs = {
        # Unlike "password", it is not readable in this dict's repr.
        "credential_provider": UsernamePasswordCredentialProvider(
            user, password) if user or password else None,
        "socket_keepalive": True,
        # RESP2 has the same replies on every server version; connections
        # are repeated by the store, which knows what was sent on them.
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "nova-kvs",
    }
    if not settings.tls:
        return redis_connection.Connection, kwargs
    for name in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
        path = getattr(settings, name)
        if path and not os.access(path, os.R_OK):
            raise exceptions.ConfigurationError(
                "a TLS file cannot be read", option=name, path=path)
    kwargs.update(
        ssl_cert_reqs="required",
        ssl_ca_certs=settings.tls_ca_file,
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        ssl_check_hostname=settings.tls_check_hostname)
    return redis_connection.SSLConnection, kwargs


class Connection:
    """A connection and the scripts its server is known to have.

    It uses the socket and hiredis itself: redis-py's methods, made for
    reconnecting and pushes, would be a tenth of a small call's CPU time.

    :ivar received_bytes: since it was last set to 0.
    """

    __slots__ = ("_wire", "_timeout_s", "_limited", "_send", "_receive",
                 "_buffer", "_feed", "_next_reply", "_owed",
                 "received_bytes", "scripts")

    #: The command that runs a script that only reads.
    read_script = b"EVALSHA_RO"

    def __init__(self, wire, timeout_s):
        """Take over a connection.

        :param wire: redis-py's, connected, with no reply outstanding.
        :param timeout_s: how long it waits for replies.
        """
        self._wire = wire
        self._timeout_s = timeout_s
        self._limited = False
        self._owed = None
        self.received_bytes = 0
        self.scripts = set()
        self._send = wire._sock.sendall
        self._receive = wire._sock.recv_into
        self._buffer = bytearray(_BUFFER_BYTES)
        reader = hiredis.Reader(
            protocolError=redis_exceptions.InvalidResponse,
            replyError=redis_connection.DefaultParser.parse_error)
        self._feed = reader.feed
        self._next_reply = reader.gets

    def send(self, pieces):
        """Send a list of packed commands.

        :raises: one of LOST.
        """
        self._send(b"".join(pieces))

    def post(self, pieces, count, done):
        """Send packed commands whose replies are read before the next ones.

        :param count: of the replies.
        :param done: called with them then, unless one of them is an error.
        :raises: one of LOST.
        """
        if self._owed is not None:
            # They are there long since, and must not pile up.
            self._collect()
        self.send(pieces)
        self._owed = count, done

    def _collect(self):
        """Read the replies that nobody has waited for."""
        count, done = self._owed
        self._owed = None
        replies = [self.read() for _ in range(count)]
        if not any(isinstance(reply, Exception) for reply in replies):
            done(replies)
        else:
            # Perhaps one was not there. To load it again does no harm.
            self.scripts.clear()

    def read(self):
        """Return one reply, an error reply as an exception.

        :raises: one of LOST.
        """
        if self._owed is not None:
            self._collect()
        reply = self._next_reply()
        # RESP2 has no booleans: this is hiredis wanting more.
        while reply is False:
            size = self._receive(self._buffer)
            if not size:
                raise redis_exceptions.ConnectionError(
                    "the server closed the connection")
            self.received_bytes += size
            self._feed(self._buffer, 0, size)
            reply = self._next_reply()
        if isinstance(reply, redis_exceptions.ConnectionError):
            raise reply
        return reply

    def fileno(self):
        """Return the socket's, for ``select``."""
        return self._wire._sock.fileno()

    def limit(self, timeout_s):
        """Wait for replies no longer than this, until it is released."""
        self._wire._sock.settimeout(timeout_s)
        self._limited = True

    def unlimit(self):
        """Wait for replies as long as the options say."""
        if self._limited:
            self._wire._sock.settimeout(self._timeout_s)
            self._limited = False

    def close(self):
        """Disconnect, with or without replies outstanding."""
        self._wire.disconnect()


class Node(pool.Pool):
    """One server: its address and its idle connections.

    :ivar master: Node of its master, if only reads are sent to it.
    """

    __slots__ = ("address", "master", "_class", "_kwargs", "_settings",
                 "_on_connect")

    _connection = Connection

    def __init__(self, address, settings, connection_options,
                 on_connect=()):
        """Prepare a node; nothing is connected yet.

        :param address: ``(host, port)``.
        :param connection_options: what ``options`` returned.
        :param on_connect: commands (tuples) that each new connection sends.
        """
        super().__init__(settings.pool_size)
        self.address = address
        self.master = None
        self._class, self._kwargs = connection_options
        self._settings = settings
        self._on_connect = on_connect

    def __repr__(self):
        return "Node(%s:%d)" % self.address

    def acquire(self, deadline):
        """Return a connection that nobody else uses, for ``release``.

        :param deadline: time.monotonic() that opening one must not pass.
        :raises: one of LOST.
        :raises nova_kvs.exceptions.ConfigurationError: if the server
            refuses the user, password or TLS.
        """
        return self.take() or self._connect(deadline)

    def release(self, connection):
        """Take back a connection that has no reply outstanding."""
        connection.unlimit()
        self.put_back(connection)

    def _connect(self, deadline):
        left_s = max(deadline - time.monotonic(), 0.01)
        timeout_s = self._settings.socket_timeout
        wire = self._class(
            host=self.address[0], port=self.address[1],
            socket_timeout=min(timeout_s, left_s),
            socket_connect_timeout=min(
                self._settings.connect_timeout, left_s),
            **self._kwargs)
        try:
            wire.connect()
            for command in self._on_connect:
                wire.send_packed_command(
                    (packed(command),), check_health=False)
                wire.read_response()
        except redis_exceptions.RedisError as exc:
            wire.disconnect()
            _raise_if_refused(exc, self.address)
            if isinstance(exc, LOST):
                raise
            # A server that answers the handshake with another error, such
            # as LOADING or "max number of clients", is not there yet.
            raise redis_exceptions.ConnectionError(str(exc)) from exc
        connection = self._connection(wire, timeout_s)
        if left_s < timeout_s:
            connection.limit(timeout_s)
        return connection


def _raise_if_refused(exc, address):
    """Raise ConfigurationError where repeating cannot help."""
    server = "%s:%d" % address
    if isinstance(exc, redis_exceptions.AuthenticationError):
        raise exceptions.ConfigurationError(
            "the store refused the user or password: correct them in the "
            "connection URL or in [nova_kvs]", server=server) from None
    if isinstance(exc, redis_exceptions.NoPermissionError):
        raise exceptions.ConfigurationError(
            "the Redis user lacks a permission", server=server,
            reply=exc) from None
    cause = exc.__context__ or exc.__cause__
    if isinstance(cause, ssl.SSLError) and not isinstance(
            cause, _TEMPORARY_TLS_ERRORS):
        raise exceptions.ConfigurationError(
            "no TLS with the store: compare tls_* in [nova_kvs] with the "
            "server's certificate and port", server=server,
            cause=cause) from None


def reply_error(exc, item, address):
    """Return our exception for an error reply that is not to be repeated."""
    server = "%s:%d" % address
    if isinstance(exc, redis_exceptions.AuthenticationError):
        return exceptions.ConfigurationError(
            "the store wants a user and password: set them in the "
            "connection URL or in [nova_kvs]", server=server)
    if isinstance(exc, redis_exceptions.NoPermissionError):
        return exceptions.ConfigurationError(
            "the Redis user lacks a permission", server=server, reply=exc)
    if isinstance(exc, (redis_exceptions.AskError,
                        redis_exceptions.ClusterCrossSlotError)):
        return exceptions.ConfigurationError(
            "the server is a node of a Redis Cluster: use kvs+cluster://",
            server=server)
    if type(item) is raw.ScriptCall:
        command = item.script.name
    else:
        command = item.args[0]
    if isinstance(command, bytes):
        command = command.decode("ascii", "replace")
    if str(exc).startswith("unknown command"):
        # The reply also quotes what was to be written.
        if command == "SENTINEL":
            return exceptions.ConfigurationError(
                "the server is not a sentinel: name sentinels, or use "
                "kvs+redis:// or kvs+cluster://", server=server)
        return exceptions.ConfigurationError(
            "the server does not know a command of Redis 7.0: name one "
            "that is as new or newer, and not a sentinel",
            command=command, server=server)
    return exceptions.StoreReplyError(
        command=command, reply=exc, server=server)


def pack(items, indexes, connection, asking=False):
    """Return items as packed commands, and the plan of their replies.

    :param indexes: which of the items, in order.
    :param connection: knows which scripts must be loaded first.
    :param asking: whether each one follows an ASK redirection.
    :returns: ``(list of bytes, plan)``; the plan has an index of ``items``
        or a constant of this module for each reply.
    """
    pieces = []
    plan = []
    scripts = connection.scripts
    for index in indexes:
        item = items[index]
        if type(item) is raw.ScriptCall:
            script, keys, args = item
            if script.sha not in scripts:
                scripts.add(script.sha)
                pieces.append(packed((b"SCRIPT", b"LOAD", script.source)))
                plan.append(SCRIPT_LOAD)
            command = (
                b"EVALSHA" if script.writes else connection.read_script,
                script.sha, len(keys), *keys, *args)
        else:
            command = item.args
        if asking:
            pieces.append(packed((b"ASKING",)))
            plan.append(IGNORED)
        pieces.append(packed(command))
        plan.append(index)
    return pieces, plan
