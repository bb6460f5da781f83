# SPDX-License-Identifier: Apache-2.0
"""Real servers for tests: loopback, free ports, temporary directories.

A missing ``redis-server`` is an error, never a reason to skip.
"""

import abc
import atexit
import functools
import importlib.util
import os
import pathlib
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import typing
from urllib import parse

import redis

from nova_kvs import keyspace

HOST = "127.0.0.1"
_START_TIMEOUT_S = 30
SLOTS = 16384
#: Below the ports of outgoing connections; a Redis Cluster's bus has, by
#: default, the port 10,000 above.
_PORTS = (10000, 22768)


class TLSFiles(typing.NamedTuple):
    """Paths of PEM files."""

    ca: str
    cert: str
    key: str


@functools.cache
def server_program():
    """Return the server that all fixtures start.

    ``KVS_TEST_SERVER``: a program, or a Python package that brings a
    ``valkey-server`` along; ``redis-server`` without it.
    """
    name = os.environ.get("KVS_TEST_SERVER") or "redis-server"
    if shutil.which(name) is None and name.isidentifier():
        found = importlib.util.find_spec(name)
        if found is not None:
            for program in pathlib.Path(
                    found.submodule_search_locations[0]).rglob(
                        "valkey-server"):
                return str(program)
    return name


def free_ports(count):
    """Return ports that nobody listens on, at any address.

    The system does not give them to outgoing connections, so they are still
    free when a server starts there later.
    """
    sockets = []
    try:
        while len(sockets) < count:
            sock = socket.socket()
            try:
                sock.bind(("", random.randrange(*_PORTS)))
            except OSError:
                sock.close()
            else:
                sockets.append(sock)
        return [sock.getsockname()[1] for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()


def wait_for(condition, what, timeout_s=_START_TIMEOUT_S):
    """Wait until a condition holds.

    :param condition: called until it returns something true, which is
        returned; a Redis error counts as not yet.
    :raises AssertionError: naming ``what``, when the time is over.
    """
    deadline = time.monotonic() + timeout_s
    problem = None
    while time.monotonic() < deadline:
        try:
            result = condition()
            if result:
                return result
        except redis.RedisError as exc:
            problem = exc
        time.sleep(0.02)
    raise AssertionError("not within %d s: %s (%s)" % (
        timeout_s, what, problem))


class Servers(abc.ABC):
    """Processes of a store, by address. A context manager that stops them.

    :ivar nodes: addresses of clients' ports.
    """

    #: Of the URLs of its databases.
    scheme = None

    def __init__(self, *, user=None, password=None, tls=None):
        """Prepare servers; entering the context starts them.

        :param user: that they know, None for the default user.
        :param password: the user's password.
        :param tls: TLSFiles: the servers then only speak TLS.
        """
        self.user = user
        self.password = password
        self.tls = tls
        self.nodes = []
        self.processes = {}
        self._commands = {}
        self._directory = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info):
        self.stop()

    @abc.abstractmethod
    def start(self):
        """Start the processes."""

    @abc.abstractmethod
    def _wait_started(self, node):
        """Wait until a node answers."""

    def url(self, database, **query):
        """Return a connection URL for a database on these servers.

        :param query: options to put into the URL.
        """
        login = ""
        if self.password:
            login = "%s:%s@" % (parse.quote(self.user or "", safe=""),
                                parse.quote(self.password, safe=""))
        pairs = [("node", "%s:%d" % node) for node in self._url_nodes()[1:]]
        pairs += sorted(query.items())
        return "%s://%s%s:%d/%s%s" % (
            self.scheme, login, *self._url_nodes()[0], database,
            "?" + parse.urlencode(pairs) if pairs else "")

    def _url_nodes(self):
        return self.nodes

    def kill(self, node):
        """Kill a node as a power cut does."""
        process = self.processes[node]
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()

    def pause(self, node):
        """Stop a node from answering while its connections stay open."""
        self.processes[node].send_signal(signal.SIGSTOP)

    def resume(self, node):
        self.processes[node].send_signal(signal.SIGCONT)

    def restart(self, node, arguments=(), *, waits=True):
        """Start a killed node again on its port and files.

        :param arguments: settings for this time, as its program's.
        :param waits: whether until it answers.
        """
        self._spawn(node, [*self._commands[node], *arguments])
        if waits:
            self._wait_started(node)

    def stop(self):
        """End all processes and remove their files."""
        atexit.unregister(self.stop)
        for node in self.processes:
            self.kill(node)
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _make_directory(self, prefix):
        if self._directory is None:
            self._directory = tempfile.mkdtemp(prefix=prefix)
            atexit.register(self.stop)

    def _spawn(self, node, command, output=subprocess.DEVNULL):
        if shutil.which(command[0]) is None:
            raise AssertionError(
                "%s is not installed: these tests need it" % command[0])
        self.processes[node] = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            # A file that reaches a limit is an error, as on a full disk, and
            # no signal.
            restore_signals=False)


class _RedisServers(Servers):
    """Redis processes."""

    scheme = "kvs+redis"

    def __init__(self, *, options=None, **kwargs):
        """Prepare servers; entering the context starts them.

        :param options: dict of further redis.conf settings.
        """
        super().__init__(**kwargs)
        self.options = dict(options or {})

    def client(self, node=None, **kwargs):
        """Return a client of one node, by default the first.

        For looking behind the back of the code under test; its replies are
        the server's own.
        """
        host, port = node or self.nodes[0]
        if self.tls:
            kwargs.update(ssl=True, ssl_ca_certs=self.tls.ca,
                          ssl_check_hostname=False,
                          ssl_certfile=self.tls.cert,
                          ssl_keyfile=self.tls.key)
        client = redis.Redis(host, port, username=self.user,
                             password=self.password, protocol=2, **kwargs)
        client.response_callbacks.clear()
        return client

    def _launch(self, port, files=None, **extra):
        """Start one redis-server.

        :param files: dict of name -> content, for its directory.
        :param extra: redis.conf settings.
        :returns: its address.
        """
        self._make_directory("nova-kvs-redis-")
        directory = os.path.join(self._directory, str(port))
        os.mkdir(directory)
        for name, content in (files or {}).items():
            with open(os.path.join(directory, name), "w") as file:
                file.write(content)
        settings = {
            "bind": HOST, "dir": directory, "save": "",
            "repl-diskless-sync-delay": 0, "repl-ping-replica-period": 1,
            "port": port,
            "logfile": os.path.join(directory, "log")}
        if self.tls:
            settings.update({
                "port": 0, "tls-port": port, "tls-replication": "yes",
                "tls-cluster": "yes", "tls-ca-cert-file": self.tls.ca,
                "tls-cert-file": self.tls.cert,
                "tls-key-file": self.tls.key})
        if self.user:
            settings["user"] = "%s on >%s ~kvs:* &* +@all" % (
                self.user, self.password)
        elif self.password:
            settings["requirepass"] = self.password
            settings["masterauth"] = self.password
        settings.update(extra)
        settings.update(self.options)
        config = os.path.join(directory, "redis.conf")
        with open(config, "w") as file:
            for name, value in settings.items():
                file.write("%s %s\n" % (name, value if value != "" else '""'))
        node = (HOST, port)
        self._commands[node] = [server_program(), config]
        self._spawn(node, self._commands[node])
        return node

    def _wait_started(self, node):
        client = self.client(node)

        def started():
            if self.processes[node].poll() is not None:
                raise AssertionError("redis-server ended: see %s/%d/log" % (
                    self._directory, node[1]))
            return client.ping()

        wait_for(started, "redis-server %s:%d starts" % node)
        client.close()


class RedisServerFixture(_RedisServers):
    """One Redis server, with ``replicas`` that follow it.

    ``nodes[0]`` is the master; ``url`` names only it.
    """

    def __init__(self, *, replicas=0, **kwargs):
        super().__init__(**kwargs)
        self.replicas = replicas

    def start(self):
        ports = free_ports(1 + self.replicas)
        self.nodes.append(self._launch(ports[0]))
        for port in ports[1:]:
            self.nodes.append(self._launch(
                port, replicaof="%s %d" % self.nodes[0]))
        for node in self.nodes:
            self._wait_started(node)
        wait_for(lambda: _online_replicas(self.client()) == self.replicas,
                 "replicas follow")

    def _url_nodes(self):
        return self.nodes[:1]


class RedisSentinelFixture(RedisServerFixture):
    """A Redis server with replicas and the sentinels that watch it.

    ``nodes`` are the servers, ``sentinels`` the sentinels.
    """

    scheme = "kvs+sentinel"
    service = "nova-kvs"

    def __init__(self, *, replicas=1, sentinels=3, **kwargs):
        super().__init__(replicas=replicas, **kwargs)
        self.sentinels = []
        self._sentinel_count = sentinels

    def start(self):
        super().start()
        for port in free_ports(self._sentinel_count):
            directory = os.path.join(self._directory, "sentinel%d" % port)
            os.mkdir(directory)
            config = os.path.join(directory, "sentinel.conf")
            with open(config, "w") as file:
                file.write(
                    "bind {host}\nport {port}\ndir {directory}\n"
                    "logfile {directory}/log\n"
                    "sentinel monitor {name} {master[0]} {master[1]} 2\n"
                    "sentinel down-after-milliseconds {name} 1000\n"
                    "sentinel failover-timeout {name} 4000\n".format(
                        host=HOST, port=port, directory=directory,
                        name=self.service, master=self.nodes[0]))
            node = (HOST, port)
            self._commands[node] = [
                server_program(), config, "--sentinel"]
            self._spawn(node, self._commands[node])
            self.sentinels.append(node)
        for node in self.sentinels:
            wait_for(lambda: self._is_watching(node), "sentinels meet")

    def url(self, database, **query):
        return super().url(database, service=self.service, **query)

    def _url_nodes(self):
        return self.sentinels

    def _is_watching(self, sentinel):
        client = self.client(sentinel)
        try:
            entry, = client.execute_command("SENTINEL", "MASTERS")
            facts = dict(zip(entry[::2], entry[1::2]))
        finally:
            client.close()
        return (
            int(facts[b"num-other-sentinels"]) == self._sentinel_count - 1
            and int(facts[b"num-slaves"]) == self.replicas)


class RedisClusterFixture(_RedisServers):
    """A Redis Cluster: ``masters`` nodes first, then their replicas.

    Replica ``i`` follows master ``i % masters`` at the start.
    """

    scheme = "kvs+cluster"

    def __init__(self, masters=3, replicas=1, *, node_timeout_ms=2000,
                 **kwargs):
        """Prepare a cluster.

        :param replicas: of each master.
        :param node_timeout_ms: after which a node counts as failed.
        """
        super().__init__(**kwargs)
        self.masters = masters
        self.replicas = replicas
        self.node_timeout_ms = node_timeout_ms

    def start(self):
        count = self.masters * (1 + self.replicas)
        ports = free_ports(2 * count)
        bus_ports = ports[count:]
        ids = [secrets.token_hex(20) for _ in range(count)]
        for number, port in enumerate(ports[:count]):
            # With this file the nodes know each other from the start:
            # CLUSTER MEET and REPLICATE would take ten seconds.
            view = "".join(
                self._view(other, number, ids, ports, bus_ports)
                for other in range(count))
            self.nodes.append(self._launch(port, {
                "nodes.conf": view + "vars currentEpoch %d lastVoteEpoch 0\n"
                % count}, **{
                    "cluster-enabled": "yes",
                    "cluster-port": bus_ports[number],
                    "cluster-node-timeout": self.node_timeout_ms}))
        for node in self.nodes:
            self._wait_started(node)
        self.wait_healthy()

    def launch_stranger(self):
        """Start a further server, which is in no cluster yet.

        :returns: its address.
        """
        port, bus_port = free_ports(2)
        node = self._launch(port, **{
            "cluster-enabled": "yes", "cluster-port": bus_port,
            "cluster-node-timeout": self.node_timeout_ms})
        self.nodes.append(node)
        self._wait_started(node)
        return node

    def _view(self, number, viewer, ids, ports, bus_ports):
        """Return a node's line in the nodes.conf of another, or its own."""
        flags, master, epoch, slots = "slave", "-", 0, ""
        if number < self.masters:
            flags, epoch = "master", number + 1
            slots = " %d-%d" % (
                SLOTS * number // self.masters,
                SLOTS * (number + 1) // self.masters - 1)
        else:
            master = ids[number % self.masters]
        if number == viewer:
            flags = "myself," + flags
        return "%s %s:%d@%d %s %s 0 0 %d connected%s\n" % (
            ids[number], HOST, ports[number], bus_ports[number], flags,
            master, epoch, slots)

    def wait_healthy(self, timeout_s=_START_TIMEOUT_S):
        """Wait until every running node sees a complete cluster.

        Complete: all slots are served, and every node that is not a master
        follows one.
        """
        running = [node for node in self.nodes
                   if self.processes[node].poll() is None]
        for node in running:
            wait_for(lambda: self._is_healthy(node, len(running)),
                     "the cluster is complete at %s:%d" % node, timeout_s)

    def _is_healthy(self, node, running):
        client = self.client(node)
        try:
            info = _info(client)
            state = client.execute_command("CLUSTER", "INFO")
            ranges = client.execute_command("CLUSTER", "SLOTS")
        finally:
            client.close()
        if info["role"] == "slave" and info["master_link_status"] != "up":
            return False
        serving = {(entry[0], entry[1]) for row in ranges for entry in row[2:]}
        return b"cluster_state:ok" in state and len(serving) == running

    def master_of(self, key):
        """Return the address of the running node that has a key's slot."""
        number = keyspace.slot(key)
        for node in self.nodes:
            if self.processes[node].poll() is not None:
                continue
            client = self.client(node)
            try:
                if _info(client)["role"] == "master" and any(
                        first <= number <= last
                        for first, last in _own_ranges(client)):
                    return node
            finally:
                client.close()
        raise AssertionError("no node has the slot of %r" % key)

    def move_slot(self, number, source, target):
        """Mark a slot as moving between two masters, without keys yet."""
        source_id, target_id = (
            self.client(node).execute_command("CLUSTER", "MYID").decode()
            for node in (source, target))
        self.client(target).execute_command(
            "CLUSTER", "SETSLOT", number, "IMPORTING", source_id)
        self.client(source).execute_command(
            "CLUSTER", "SETSLOT", number, "MIGRATING", target_id)

    def move_keys(self, number, source, target, count=1000):
        """Move keys of a moving slot.

        :returns: how many were moved.
        """
        client = self.client(source)
        keys = client.execute_command(
            "CLUSTER", "GETKEYSINSLOT", number, count)
        if keys:
            client.execute_command(
                "MIGRATE", *target, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def finish_move(self, number, target):
        """Give a slot, whose keys have been moved, to its new master.

        Returns when the masters agree: what one of them said before can
        arrive after this and turn another's mind for a moment.
        """
        target_id = self.client(target).execute_command(
            "CLUSTER", "MYID").decode()
        others = [node for node in self.nodes[:self.masters]
                  if node != target]

        def agreed():
            for node in [target, *others]:
                self.client(node).execute_command(
                    "CLUSTER", "SETSLOT", number, "NODE", target_id)
            time.sleep(0.05)
            return any(
                first <= number <= last for first, last in
                _own_ranges(self.client(target))) and not any(
                first <= number <= last for node in others
                for first, last in _own_ranges(self.client(node)))

        wait_for(agreed, "the masters agree on slot %d" % number)


def _info(client):
    """Return INFO replication as a dict of str."""
    lines = client.execute_command("INFO", "replication").decode()
    return dict(line.split(":", 1) for line in lines.splitlines()
                if ":" in line)


def _online_replicas(client):
    return sum("state=online" in value for value in _info(client).values())


def _own_ranges(client):
    """Return the slot ranges that CLUSTER SLOTS gives to the asked node."""
    port = int(client.connection_pool.connection_kwargs["port"])
    return [(first, last) for first, last, master, *replicas in
            client.execute_command("CLUSTER", "SLOTS") if master[1] == port]
