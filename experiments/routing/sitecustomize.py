# SPDX-License-Identifier: Apache-2.0
"""Has a Python process reach other sites through the links, or traces it.

Python imports this at its start where the directory is in PYTHONPATH. The
services themselves are not changed, and know nothing of it: what a route of
the network would do is done when a socket connects.

``NOVA_KVS_ROUTES`` holds ``address=link`` pairs, separated by commas,
``NOVA_KVS_TRACES`` the directory for traces.
"""

import os
import socket

_ROUTES = dict(
    pair.split("=")
    for pair in os.environ.get("NOVA_KVS_ROUTES", "").split(",") if pair)


def _route(function):
    def connect(self, address):
        if isinstance(address, tuple) and address[0] in _ROUTES:
            address = (_ROUTES[address[0]], *address[1:])
        return function(self, address)
    return connect


if _ROUTES:
    socket.socket.connect = _route(socket.socket.connect)
    socket.socket.connect_ex = _route(socket.socket.connect_ex)

if os.environ.get("NOVA_KVS_TRACES"):
    from experiments import tracer

    tracer.start(os.environ["NOVA_KVS_TRACES"])
