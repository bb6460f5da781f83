# SPDX-License-Identifier: Apache-2.0
"""Calls to a cluster of etcd members: who is asked, and what is repeated.

Any member answers any call. A process stays with one that works and goes to
the next one when it does not. What a call asks for may be done twice: those
who make calls see to that. So a call is repeated until ``request_timeout``
is over, also one whose answer was lost.
"""

import itertools
import os
import random
import socket
import ssl
import threading
import time

from nova_kvs import exceptions
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import http2
from nova_kvs.store.etcd import messages
from nova_kvs.store import pool

RANGE = b"/etcdserverpb.KV/Range"
TXN = b"/etcdserverpb.KV/Txn"
WATCH = b"/etcdserverpb.Watch/Watch"
LEASE_GRANT = b"/etcdserverpb.Lease/LeaseGrant"
STATUS = b"/etcdserverpb.Maintenance/Status"
MEMBERS = b"/etcdserverpb.Cluster/MemberList"
_AUTHENTICATE = b"/etcdserverpb.Auth/Authenticate"

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.5
#: A member is waited for so long at first, then twice as long each time, up
#: to ``socket_timeout``: what a leader was told just before it failed is not
#: answered any more.
_FIRST_TIMEOUT_S = 1.0
#: A member that has failed is asked after the others for this long.
_AVOID_S = 5.0


class Repeated(bytes):
    """An answer to a call that may have been done before, unanswered."""


class Member(pool.Pool):
    """One member: its address and its idle connections."""

    def __init__(self, address, settings, context):
        """Prepare a member; nothing is connected yet.

        :param address: ``(host, port)``.
        :param context: ssl.SSLContext, or None.
        """
        super().__init__(settings.pool_size)
        self.address = address
        self.name = ("[%s]:%d" if ":" in address[0] else "%s:%d") % address
        self._settings = settings
        self._context = context
        #: When it may be asked before others again.
        self.avoid_until = 0.0

    def acquire(self, deadline):
        """Return a connection that nobody else uses, for ``release``.

        :raises nova_kvs.store.etcd.http2.Lost: if there is none.
        """
        while (connection := self.take()) is not None:
            if connection.is_usable():
                return connection
            connection.close()
        return self._connect(deadline)

    def release(self, connection):
        """Take back a connection that no answer is outstanding on."""
        if connection.is_closing:
            connection.close()
        else:
            self.put_back(connection)

    def _connect(self, deadline):
        timeout_s = min(self._settings.connect_timeout,
                        max(deadline - time.monotonic(), 0.01))
        sock = None
        try:
            sock = socket.create_connection(self.address, timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(
                    sock, server_hostname=self.address[0])
            return http2.Connection(sock, self.name)
        except OSError as exc:
            if sock is not None:
                sock.close()
            faults.check_tls(exc, self.name)
            raise http2.Lost(str(exc) or type(exc).__name__) from exc


def tls_context(settings):
    """Return the ssl.SSLContext that settings ask for, or None.

    :raises nova_kvs.exceptions.ConfigurationError: if a file cannot be read.
    """
    if not settings.tls:
        return None
    for name in ("tls_ca_file", "tls_cert_file", "tls_key_file"):
        path = getattr(settings, name)
        if path and not os.access(path, os.R_OK):
            raise exceptions.ConfigurationError(
                "a TLS file cannot be read", option=name, path=path)
    context = ssl.create_default_context(cafile=settings.tls_ca_file)
    context.check_hostname = settings.tls_check_hostname
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if settings.tls_cert_file:
        context.load_cert_chain(
            settings.tls_cert_file, settings.tls_key_file)
    return context


class Client:
    """Calls to the members of one cluster. Safe for threads and forks.

    :param addresses: ``(host, port)`` of each member.
    :param settings: nova_kvs.store.url.Settings.
    :param stats: nova_kvs.store.base.Stats.
    """

    def __init__(self, addresses, settings, stats):
        self._settings = settings
        self._stats = stats
        context = tls_context(settings)
        self.members = [
            Member(address, settings, context) for address in addresses]
        # Not all processes of a host with the same member.
        self._first = random.randrange(len(self.members))
        #: The latest revision that any answer was of.
        self.seen_revision = 0
        self._token = None
        self._wants_token = bool(settings.username)
        self._lock = threading.Lock()
        #: Some member has answered: if none ever did, an error of the
        #: addresses is likelier than a passing fault.
        self._answered = False

    def call(self, calls, writes=False, deadline=None):
        """Send calls and return the answers, in order: one round trip.

        :param calls: list of (path, message).
        :param writes: whether one of them may change something.
        :param deadline: time.monotonic() until which to repeat; by default
            ``request_timeout`` from now.
        :returns: list of answers, bytes (Repeated if an earlier try may
            have done it); for a call that a member refused, the
            nova_kvs.store.etcd.faults.Refusal that tells why (of which
            ``is_repeated`` tells the same).
        :raises nova_kvs.exceptions.UndeterminedError: if no member told
            whether a call was done, and one of them may change something.
        :raises nova_kvs.exceptions.StoreUnavailableError: if no member
            answers and nothing was done.
        """
        if deadline is None:
            deadline = time.monotonic() + self._settings.request_timeout
        answers = [None] * len(calls)
        left = list(range(len(calls)))
        self._stats.round_trips += 1
        maybe_done = False
        timeout_s = _FIRST_TIMEOUT_S
        cause = None
        for attempt in itertools.count():
            for member in self.in_order():
                error, sent = self._ask(
                    member, calls, left, answers, deadline,
                    min(timeout_s, self._settings.socket_timeout))
                timeout_s *= 2
                if maybe_done:
                    for number in left:
                        if type(answers[number]) is bytes:
                            answers[number] = Repeated(answers[number])
                        elif answers[number] is not None:
                            answers[number].is_repeated = True
                # What a member says tells more than that one is not there.
                if error is not None and not (
                        isinstance(cause, faults.Refusal)
                        and isinstance(error, http2.Lost)):
                    cause = error
                maybe_done = maybe_done or sent
                left = [number for number in left if answers[number] is None]
                if not left:
                    return answers
                self._stats.repeats += len(left)
                timeout_s = min(timeout_s, self._settings.socket_timeout)
                if time.monotonic() >= deadline:
                    break
            if time.monotonic() >= deadline or not self._answered:
                break
            pause_s = min(
                _FIRST_PAUSE_S * 2 ** min(attempt, 10), _LONGEST_PAUSE_S)
            time.sleep(min(pause_s * random.uniform(0.5, 1),
                           max(deadline - time.monotonic(), 0)))
        if isinstance(cause, http2.Silent) and not self._answered:
            raise faults.not_etcd(member.name)
        if writes and maybe_done:
            raise exceptions.UndeterminedError(cause=cause)
        text = None
        if isinstance(cause, faults.Refusal) and cause.is_leaderless:
            text = ("etcd has no leader: a majority of its members must run "
                    "and reach each other")
        raise exceptions.StoreUnavailableError(
            text, servers=", ".join(member.name for member in self.members),
            cause=cause)

    def ask_member(self, member, path):
        """Return one member's own answer to a call.

        :raises nova_kvs.exceptions.StoreUnavailableError: if it does not
            answer.
        :raises nova_kvs.exceptions.KVSError: if it refuses.
        """
        answers = [None]
        deadline = time.monotonic() + self._settings.socket_timeout
        cause = None
        for _ in range(2):  # the token may be of no use any more
            cause, _ = self._ask(
                member, [(path, b"")], [0], answers, deadline,
                self._settings.socket_timeout, wants_leader=False)
            if isinstance(answers[0], faults.Refusal):
                raise answers[0].error(member.name)
            if isinstance(answers[0], Exception):
                raise answers[0]
            if answers[0] is not None:
                return answers[0]
        raise exceptions.StoreUnavailableError(
            servers=member.name, cause=cause)

    def connect(self, member, deadline):
        """Return a connection that is not released, and the user's token.

        :raises nova_kvs.store.etcd.http2.Lost: if there is none.
        :raises nova_kvs.exceptions.ConfigurationError: if the user is
            refused.
        """
        connection = member.acquire(deadline)
        return connection, self._log_in(connection, deadline)

    def close(self):
        """Close idle connections."""
        for member in self.members:
            member.drop()

    def in_order(self):
        """Return the members, those that work first."""
        first = self._first
        now = time.monotonic()
        members = self.members[first:] + self.members[:first]
        return sorted(members, key=lambda member: member.avoid_until > now)

    def _ask(self, member, calls, wanted, answers, deadline, timeout_s,
             wants_leader=True):
        """Ask one member for some of the calls; fills in ``answers``.

        :param wants_leader: whether one that knows of no leader shall say so
            instead of waiting for one.
        :returns: why some are left, and whether one of those may be done.
        """
        try:
            connection = member.acquire(deadline)
            token = self._log_in(connection, deadline)
        except http2.NotSpoken as exc:
            raise faults.not_etcd(member.name) from exc
        except http2.Lost as exc:
            self.avoid(member)
            return exc, False
        replies = [None] * len(wanted)
        cause = None
        sent = False
        left_s = max(deadline - time.monotonic(), 0.01)
        self._stats.bytes_out += sum(
            [len(calls[number][1]) for number in wanted])
        try:
            connection.exchange(
                [calls[number] for number in wanted], replies,
                min(timeout_s, left_s), token, wants_leader)
        except http2.NotSpoken as exc:
            connection.close()
            raise faults.not_etcd(member.name) from exc
        except http2.Lost as exc:
            connection.close()
            self.avoid(member)
            cause = exc
            sent = not isinstance(exc, http2.Silent)
        except BaseException:
            connection.close()
            raise
        else:
            self._answered = True
            self._stats.bytes_in += connection.received_bytes
            connection.received_bytes = 0
            member.release(connection)
        for number, reply in zip(wanted, replies):
            if reply is None:
                continue
            if reply.status == 0:
                answers[number] = reply.body
                continue
            refusal = faults.Refusal(reply)
            if refusal.wants_token and self._settings.username:
                self._forget(token)
                cause = refusal
            elif refusal.is_passing:
                cause = refusal
                sent = sent or refusal.maybe_done
                self.avoid(member)
            else:
                answers[number] = refusal
        return cause, sent

    def avoid(self, member):
        """Ask others before a member for a while."""
        member.drop()
        member.avoid_until = time.monotonic() + _AVOID_S
        if self.members[self._first] is member:
            self._first = (self._first + 1) % len(self.members)

    # Users ------------------------------------------------------------------

    def _log_in(self, connection, deadline):
        """Return the token of the user, as bytes, or None."""
        if not self._wants_token or self._token is not None:
            return self._token
        with self._lock:
            if self._token is not None:
                return self._token
            replies = [None]
            try:
                connection.exchange(
                    [(_AUTHENTICATE, messages.field(
                        1, self._settings.username.encode())
                        + messages.field(
                            2, (self._settings.password or "").encode()))],
                    replies, max(0.01, min(
                        self._settings.socket_timeout,
                        deadline - time.monotonic())))
            except http2.Lost:
                connection.close()
                raise
            reply = replies[0]
            if reply.status == 0:
                self._token = next(
                    value for tag, value in messages.fields(reply.body)
                    if tag == 2)
                return self._token
            connection.close()
            refusal = faults.Refusal(reply)
            if refusal.is_passing:
                raise http2.Lost(refusal.message)
            raise refusal.error(None)

    def _forget(self, token):
        with self._lock:
            self._wants_token = True
            if self._token == token:
                self._token = None
