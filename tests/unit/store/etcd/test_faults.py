# SPDX-License-Identifier: Apache-2.0
"""Meanings of members' refusals."""

import pytest

from nova_kvs import exceptions
from nova_kvs.store.etcd import faults
from nova_kvs.store.etcd import http2


def refusal(status, message):
    return faults.Refusal(http2.Reply(status, message, b""))


@pytest.mark.parametrize("status, message, passing, maybe_done", [
    (14, "etcdserver: no leader", True, False),
    (14, "etcdserver: leader changed", True, True),
    (14, "etcdserver: request timed out", True, True),
    (4, "context deadline exceeded", True, True),
    (8, "etcdserver: too many requests", True, False),
    (8, "etcdserver: mvcc: database space exceeded", False, False),
    (3, "etcdserver: duplicate key given in txn request", False, False),
    (7, "etcdserver: permission denied", False, False),
])
def test_what_may_be_repeated(status, message, passing, maybe_done):
    found = refusal(status, message)
    assert found.is_passing is passing
    assert bool(found.maybe_done) is maybe_done


@pytest.mark.parametrize("status, message, error, text", [
    (8, "etcdserver: mvcc: database space exceeded",
     exceptions.StoreReplyError, "--quota-backend-bytes"),
    (3, "etcdserver: too many operations in txn request",
     exceptions.TooLargeError, "--max-txn-ops"),
    (3, "etcdserver: request is too large",
     exceptions.TooLargeError, "--max-request-bytes"),
    (8, "grpc: received message larger than max (5 vs. 4)",
     exceptions.TooLargeError, "--max-request-bytes"),
    (3, "etcdserver: authentication failed, invalid user ID or password",
     exceptions.ConfigurationError, "refused the user or password"),
    (3, "etcdserver: user name is empty",
     exceptions.ConfigurationError, "wants a user and password"),
    (7, "etcdserver: permission denied",
     exceptions.ConfigurationError, "lacks a permission"),
    (7, "something new", exceptions.ConfigurationError,
     "lacks a permission"),
    (3, "something new", exceptions.StoreReplyError, "something new"),
])
def test_what_an_operator_is_told(status, message, error, text):
    found = refusal(status, message).error("h:2379")
    assert type(found) is error
    assert text in str(found) and "server=h:2379" in str(found)


def test_who_has_to_log_in_again():
    assert refusal(16, "etcdserver: invalid auth token").wants_token
    assert refusal(
        3, "etcdserver: revision of auth store is old").wants_token
    assert not refusal(7, "etcdserver: permission denied").wants_token
