# SPDX-License-Identifier: Apache-2.0
"""TCP proxies between clients and the nodes of a cluster.

They delay, cut, or swallow a reply after the server has executed what was
asked. The nodes announce the proxies' addresses to clients (in CLUSTER
SLOTS, MOVED and ASK) as their host names, and go on talking to each other
directly.
"""

import contextlib
import random
import socket
import threading
import time

import hiredis

from tests import fixtures

#: The proxies' address: the nodes' ports, on another of loopback.
HOST = "127.0.0.2"
CHUNK_BYTES = 65536


class Faults:
    """What happens to what passes through the proxies.

    :ivar lose: share of the commands that are executed without their reply
        reaching the client; those behind them in a batch share the fate.
    :ivar silent: share of the lost replies after which the connection
        stays open, so that the client must notice by itself; the others are
        cut off somewhere in the reply.
    :ivar cut: share of the batches that do not reach the server, as the
        connection is cut before.
    :ivar delay_s: how long every reply is held back.
    :ivar once: whether ``lose`` becomes 0 with the first lost reply.
    :ivar blocked: whether nothing is answered at all any more.
    """

    def __init__(self):
        self.lose = 0.0
        self.silent = 0.1
        self.once = False
        self.cut = 0.0
        self.delay_s = 0.0
        self.blocked = False
        self.commands = 0
        self.lost = 0
        self.silenced = 0
        self.cuts = 0

    def strikes(self, commands):
        """Tell whether one of so many commands loses its reply."""
        struck = any(random.random() < self.lose for _ in range(commands))
        if struck and self.once:
            self.lose = 0.0
        return struck

    def cut_some(self):
        """Cut the connection before the server gets what has come."""
        if random.random() < self.cut:
            self.cuts += 1
            raise _Cut()


class _Cut(Exception):
    """The connection is to be closed on both sides."""


class Proxy:
    """Passes on connections to one server.

    :param listen: address on which it listens.
    :param server: address of the server.
    :param faults: Faults, which may change at any time.
    """

    def __init__(self, listen, server, faults):
        self._server = server
        self._faults = faults
        self._open = set()
        self._lock = threading.Lock()
        self._listener = socket.socket()
        self._listener.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(listen)
        self._listener.listen(128)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Stop listening and cut all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets = list(self._open)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        server = socket.socket()
        with self._lock:
            self._open |= {client, server}
        try:
            server.connect(self._server)
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._pass_all(client, server)
        except (OSError, _Cut):
            pass  # whatever ended the connection, the other end learns it
        finally:
            with self._lock:
                self._open -= {client, server}
            client.close()
            server.close()

    def _pass_all(self, client, server):
        """Pass on everything until one side has closed the connection."""
        requests, replies = hiredis.Reader(), hiredis.Reader()
        while self._pass_batch(client, server, requests, replies):
            pass

    def _pass_batch(self, client, server, requests, replies):
        """Pass on what the client sends and what is answered to it.

        :returns: False when the client has closed the connection.
        """
        faults = self._faults
        data = client.recv(CHUNK_BYTES)
        if not data:
            return False
        self._hold()
        faults.cut_some()
        commands = _count(requests, data)
        faults.commands += commands
        lost = faults.strikes(commands)
        server.sendall(data)
        answer = []
        while commands:
            data = server.recv(CHUNK_BYTES)
            if not data:
                raise _Cut()
            commands -= _count(replies, data)
            answer.append(data)
        answer = b"".join(answer)
        if faults.delay_s:
            time.sleep(faults.delay_s)
        self._hold()
        if lost:
            faults.lost += 1
            if random.random() < faults.silent:
                faults.silenced += 1
                while client.recv(CHUNK_BYTES):
                    pass
                raise _Cut()
            client.sendall(answer[:random.randrange(len(answer))])
            raise _Cut()
        client.sendall(answer)
        return True

    def _hold(self):
        while self._faults.blocked:
            time.sleep(0.02)


def _count(reader, data):
    """Return how many requests, or replies, end in what has arrived."""
    reader.feed(data)
    count = 0
    while reader.gets() is not False:
        count += 1
    return count


class ProxiedCluster(fixtures.RedisClusterFixture):
    """A cluster that clients reach only through proxies.

    :ivar faults: Faults of all its proxies.
    """

    def __init__(self, *args, options=None, **kwargs):
        super().__init__(*args, options={
            **(options or {}), "cluster-announce-hostname": HOST,
            "cluster-preferred-endpoint-type": "hostname"}, **kwargs)
        self.faults = Faults()
        self.proxies = {}

    def start(self):
        super().start()
        for node in self.nodes:
            fixtures.wait_for(
                lambda: self._announces(node), "host names are known")
        self.accept()

    def stop(self):
        self.refuse()
        super().stop()

    def accept(self):
        """Let clients connect."""
        for node in self.nodes:
            self.proxies[node] = Proxy((HOST, node[1]), node, self.faults)

    def refuse(self):
        """Cut all connections of clients and refuse new ones."""
        for proxy in self.proxies.values():
            proxy.close()

    def _announces(self, node):
        client = self.client(node)
        try:
            return all(
                entry[0] == HOST.encode()
                for row in client.execute_command("CLUSTER", "SLOTS")
                for entry in row[2:])
        finally:
            client.close()

    def _url_nodes(self):
        return [(HOST, port) for _, port in self.nodes]
