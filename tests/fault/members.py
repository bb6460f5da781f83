# SPDX-License-Identifier: Apache-2.0
"""etcd members behind proxies: towards clients, and between each other."""

import contextlib
import functools
import os
import select
import socket
import time

from tests import etcd_servers
from tests.fault import proxy
from tests import fixtures


class StreamProxy(proxy.Proxy):
    """Passes on what either side sends, whatever the protocol.

    Of its Faults, ``lose`` and ``cut`` are shares of what arrives at once: a
    connection is cut behind the server, that has got it, or before it.

    :param gate: called with the address of each client, returns the function
        that tells whether all that it sends and gets is held back.
    """

    def __init__(self, listen, server, faults, gate=None):
        self._gate = gate or (lambda address: lambda: False)
        super().__init__(listen, server, faults)

    def _pass_all(self, client, server):
        is_blocked = self._gate(client.getpeername())
        loses = False
        other = {client: server, server: client}
        while True:
            for sock in select.select(list(other), (), (), 1)[0]:
                while self._faults.blocked or is_blocked():
                    time.sleep(0.02)
                data = sock.recv(proxy.CHUNK_BYTES)
                if not data:
                    return
                if sock is client:
                    self._faults.cut_some()
                    loses = loses or self._faults.strikes(1)
                elif loses:
                    self._faults.lost += 1
                    return
                other[sock].sendall(data)


class ProxiedMembers(etcd_servers.EtcdFixture):
    """Members that clients and other members reach through proxies.

    :ivar faults: tests.fault.proxy.Faults of what clients send.
    :ivar isolated: addresses of members that reach no other one, nor are
        reached by one. Their clients reach them.
    """

    peer_host = proxy.HOST

    def __init__(self, members=3, **kwargs):
        super().__init__(members, **kwargs)
        self.faults = proxy.Faults()
        self.isolated = set()
        self._proxies = []

    def _before_members(self):
        for node, port in self.peers.items():
            self._proxies.append(StreamProxy(
                (proxy.HOST, node[1]), node, self.faults))
            self._proxies.append(StreamProxy(
                (proxy.HOST, port), (fixtures.HOST, port), proxy.Faults(),
                functools.partial(self._gate, node)))

    def _gate(self, node, address):
        sender = functools.cache(lambda: self._sender(address))
        return lambda: self.isolated and (
            node in self.isolated or sender() in self.isolated)

    def stop(self):
        for each in self._proxies:
            each.close()
        super().stop()

    def _url_nodes(self):
        return [(proxy.HOST, port) for _, port in self.nodes]

    def _sender(self, address):
        """Return the member whose process has a connection, or None."""
        with open("/proc/net/tcp") as file:
            rows = [line.split() for line in file]
        wanted = "%08X:%04X" % (int.from_bytes(
            socket.inet_aton(address[0]), "little"), address[1])
        inodes = {"socket:[%s]" % row[9] for row in rows if row[1] == wanted}
        for node, process in self.processes.items():
            directory = "/proc/%d/fd" % process.pid
            with contextlib.suppress(FileNotFoundError):
                for name in os.listdir(directory):
                    with contextlib.suppress(FileNotFoundError):
                        if os.readlink("%s/%s" % (directory, name)) in inodes:
                            return node
        return None
