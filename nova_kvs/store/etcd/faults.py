# SPDX-License-Identifier: Apache-2.0
"""etcd's refusals: what they mean to a caller and to an operator."""

import ssl

from nova_kvs import exceptions

_PERMISSION_DENIED, _RESOURCE_EXHAUSTED, _INTERNAL = 7, 8, 13
_UNAVAILABLE, _UNAUTHENTICATED = 14, 16
#: The statuses of gRPC after which a call may be done nevertheless: it was
#: cancelled, its time was over, the member does not know.
_UNSURE = (1, 2, 4, _INTERNAL, _UNAVAILABLE)

_TEMPORARY_TLS_ERRORS = (
    ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)

#: Text of a member's error that stays -> advice for an operator.
_MEANINGS = (
    ("database space exceeded", exceptions.StoreReplyError,
     "the space quota of etcd is used up and it refuses writes: compact and "
     "defragment it, or raise --quota-backend-bytes, then run etcdctl alarm "
     "disarm"),
    ("too many operations in txn", exceptions.TooLargeError,
     "the commit has more operations than etcd takes in one transaction: "
     "raise --max-txn-ops of its members"),
    ("request is too large", exceptions.TooLargeError,
     "the commit is larger than etcd takes: raise --max-request-bytes of its "
     "members"),
    ("larger than max", exceptions.TooLargeError,
     "the commit is larger than etcd takes: raise --max-request-bytes of its "
     "members"),
    ("authentication failed", exceptions.ConfigurationError,
     "the store refused the user or password: correct them in the connection "
     "URL or in [nova_kvs]"),
    ("authentication is not enabled", exceptions.ConfigurationError,
     "etcd knows no users: run etcdctl auth enable, or leave out user and "
     "password"),
    ("user name is empty", exceptions.ConfigurationError,
     "the store wants a user and password: set them in the connection URL or "
     "in [nova_kvs]"),
    ("permission denied", exceptions.ConfigurationError,
     "the etcd user lacks a permission: grant its role readwrite on the "
     "database's prefix"),
    ("corrupt cluster", exceptions.StoreReplyError,
     "members of etcd have different data: see its alarms"),
)


class Refusal(Exception):
    """A member's answer instead of doing what it was called for.

    :param reply: nova_kvs.store.etcd.http2.Reply.
    :ivar is_repeated: whether an earlier try, which was not answered, may
        have done what it was called for.
    """

    is_repeated = False

    def __init__(self, reply):
        super().__init__(reply.message or "gRPC status %d" % reply.status)
        self.status = reply.status
        self.message = reply.message

    @property
    def wants_token(self):
        """True if the user has to log in, again."""
        return (self.status == _UNAUTHENTICATED
                or "revision of auth store is old" in self.message
                or "user name is empty" in self.message)

    @property
    def is_passing(self):
        """True if it makes sense to ask again, perhaps another member."""
        message = self.message
        return self.status == _UNAVAILABLE or (
            self.status in (1, 2, 4)
            or self.status == _INTERNAL and "stream" in message
            or self.status == _RESOURCE_EXHAUSTED
            and "too many requests" in message
            or "not leader" in message or "leader changed" in message)

    @property
    def maybe_done(self):
        """True if the call may be done, now or later, nevertheless."""
        return self.status in _UNSURE and not self.is_leaderless

    @property
    def is_leaderless(self):
        """True if the member has no leader and did nothing."""
        return "no leader" in self.message

    @property
    def is_lease_missing(self):
        """True if a lease that the call named does not live any more."""
        return "requested lease not found" in self.message

    @property
    def is_compacted(self):
        """True if a member has not the revision that was asked for.

        It was compacted, or the member has not heard of it yet.
        """
        return ("has been compacted" in self.message
                or "future revision" in self.message)

    def error(self, server):
        """Return the nova_kvs.exceptions.KVSError that tells this.

        :param server: the member's address, or None.
        """
        details = {"server": server} if server else {}
        for part, error, text in _MEANINGS:
            if part in self.message:
                return error(text, reply=self.message, **details)
        if self.status == _PERMISSION_DENIED:
            return exceptions.ConfigurationError(
                "the etcd user lacks a permission: grant its role readwrite "
                "on the database's prefix", reply=self.message, **details)
        return exceptions.StoreReplyError(reply=str(self), **details)


def not_etcd(server):
    """Return the error for a server that speaks something else."""
    return exceptions.ConfigurationError(
        "the server is not etcd, or wants TLS: compare the connection URL "
        "and tls in [nova_kvs] with its port", server=server)


def check_tls(exc, server):
    """Raise ConfigurationError for a TLS error that repeating cannot help."""
    if isinstance(exc, ssl.SSLError) and not isinstance(
            exc, _TEMPORARY_TLS_ERRORS):
        raise exceptions.ConfigurationError(
            "no TLS with the store: compare tls_* in [nova_kvs] with the "
            "server's certificate and port", server=server,
            cause=exc) from None
