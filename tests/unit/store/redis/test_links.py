# SPDX-License-Identifier: Apache-2.0
"""Links when an exception from outside comes, without servers."""

import types

import pytest

from nova_kvs.store import base
from nova_kvs.store.redis import tracking


class Killed(BaseException):
    """As greenlets and signals raise it, anywhere."""


class Wire:
    """A connection that a kill hits where bytes were received."""

    def __init__(self):
        self._sock = self
        self.is_open = True
        self.sendall = None

    def settimeout(self, timeout_s):
        pass

    def recv_into(self, buffer):
        raise Killed()

    def disconnect(self):
        self.is_open = False


@pytest.fixture
def link():
    return tracking.Link(Wire(), 5)


@pytest.fixture
def memory(link):
    memory = tracking.Tracking(types.SimpleNamespace(
        request_timeout=10, socket_timeout=5), None, base.Stats())
    memory._links["node"] = link
    return memory


def test_a_link_is_given_up_whose_bytes_may_be_lost(memory, link):
    wire = link._wire
    with pytest.raises(Killed):
        memory._catch_up(link)
    assert not wire.is_open and memory._links == {}
    assert not link.lock.locked()


def test_a_link_that_nobody_unlocks_is_given_up(memory, link, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(tracking.time, "monotonic", lambda: now)
    link.lock.acquire()
    assert not memory._acquire(link)
    now += 14
    assert not memory._acquire(link)
    link.lock.release()
    # Somebody had it meanwhile: that is use, not a lock that was left.
    assert memory._acquire(link)
    now += 14
    assert memory._link("node", None) is None and "node" in memory._links
    now += 16
    assert memory._link("node", None) is None
    assert memory._links == {} and not link._wire.is_open
