# SPDX-License-Identifier: Apache-2.0
"""Unit tests run on the embedded store: opening a socket fails them."""

import socket

import pytest


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    """Fail whoever connects or listens, naming the address."""
    for name in ("connect", "connect_ex", "bind"):
        def refuse(self, address, name=name):
            raise AssertionError("a unit test calls socket.%s(%r)" % (
                name, address))
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)
