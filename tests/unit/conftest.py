# SPDX-License-Identifier: Apache-2.0
"""Unit tests run on the embedded store: opening a socket fails them."""

import socket

import pytest

from nova_kvs.record import database


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    """Fail whoever connects or listens, naming the address."""
    for name in ("connect", "connect_ex", "bind"):
        def refuse(self, address, name=name):
            raise AssertionError("a unit test calls socket.%s(%r)" % (
                name, address))
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)


@pytest.fixture(autouse=True, scope="session")
def no_housekeeping_by_the_way():
    """Let a slow test's round trips be those of a fast one.

    Tests of housekeeping set the time of a database's next turn.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "HOUSEKEEPING_S", 10 ** 6)
        patch.setattr(database, "HOUSEKEEPING_IDLE_S", 10 ** 7)
        yield
