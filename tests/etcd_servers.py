# SPDX-License-Identifier: Apache-2.0
"""Real etcd members for tests: loopback, free ports, temporary directories.

A missing ``etcd`` is an error, never a reason to skip.
"""

import json
import os
import shutil
import socket
import subprocess

from tests import fixtures

HOST = fixtures.HOST


class EtcdFixture(fixtures.Servers):
    """etcd members, by the address of their clients' port.

    :param members: how many.
    :param user: of etcd; ``root`` gets the same password.
    :param password: the user's. With it, users are switched on; the user may
        use databases whose names begin with ``database`` only.
    :param options: list of further arguments of etcd.
    :param snapshot: path of a snapshot that the members begin with.
    """

    scheme = "kvs+etcd"
    #: Host that members know each other by.
    peer_host = HOST

    def __init__(self, members=1, *, database="", options=(), snapshot=None,
                 **kwargs):
        super().__init__(**kwargs)
        self.count = members
        self.database = database
        self.options = list(options)
        self.snapshot = snapshot
        #: The ports on which members talk to each other, by address.
        self.peers = {}
        #: A snapshot of a cluster that has users has them.
        self._has_users = bool(snapshot and self.password)

    def start(self):
        """Start the members and wait until they have a leader."""
        self._make_directory("nova-kvs-etcd-")
        ports = fixtures.free_ports(2 * self.count)
        self.nodes = [(HOST, port) for port in ports[:self.count]]
        self.peers = dict(zip(self.nodes, ports[self.count:]))
        self._before_members()
        cluster = ",".join(
            "m%d=%s" % (number, self._peer_url(node))
            for number, node in enumerate(self.nodes))
        for number, node in enumerate(self.nodes):
            identity = ["--name", "m%d" % number, "--data-dir",
                        self.data_directory(node), "--initial-cluster",
                        cluster, "--initial-advertise-peer-urls",
                        self._peer_url(node)]
            if self.snapshot:
                self.control("snapshot", "restore", self.snapshot, *identity)
            url = self._client_url(node)
            self._commands[node] = [
                "etcd", *identity,
                "--listen-client-urls", url, "--advertise-client-urls", url,
                "--listen-peer-urls",
                "http://%s:%d" % (HOST, self.peers[node]),
                "--heartbeat-interval", "50", "--election-timeout", "500",
                *([
                    "--cert-file", self.tls.cert, "--key-file", self.tls.key,
                    "--trusted-ca-file", self.tls.ca, "--client-cert-auth",
                ] if self.tls else ()), *self.options]
            self._spawn(node, self._commands[node])
        for node in self.nodes:
            self._wait_started(node)
        if self.password and not self._has_users:
            self._switch_users_on()

    def _before_members(self):
        """Make what has to be there before members start."""

    def data_directory(self, node):
        """Return the path of a member's files."""
        return os.path.join(self._directory, "m%d" % self.nodes.index(node))

    def _peer_url(self, node):
        return "http://%s:%d" % (self.peer_host, self.peers[node])

    def _client_url(self, node):
        return "%s://%s:%d" % ("https" if self.tls else "http", *node)

    def _spawn(self, node, command):
        with open(os.path.join(
                self._directory, "%d.log" % node[1]), "ab") as log:
            super()._spawn(node, command, log)

    def _wait_started(self, node):
        # One that ended is told at once. On a busy machine members elect a
        # leader again and again before an empty one has caught up.
        fixtures.wait_for(lambda: self.is_healthy(node),
                          "etcd is healthy at %s:%d" % node, timeout_s=120)

    def wait_healthy(self):
        """Wait until all members answer and have a leader."""
        for node in self.nodes:
            self._wait_started(node)

    def _switch_users_on(self):
        prefix = "kvs:{" + self.database
        for arguments in (
                ("user", "add", "root:" + self.password),
                ("role", "add", "nova-kvs"),
                ("role", "grant-permission", "--prefix=true", "nova-kvs",
                 "readwrite", prefix),
                ("user", "add", "%s:%s" % (self.user, self.password)),
                ("user", "grant-role", self.user, "nova-kvs"),
                ("auth", "enable")):
            self.control(*arguments)
        self._has_users = True

    def is_healthy(self, node):
        """Return whether a member answers, with a leader behind it."""
        if self.processes[node].poll() is not None:
            raise AssertionError("etcd ended: see %s" % self._directory)
        with socket.socket() as sock:
            sock.settimeout(1)
            if sock.connect_ex(node):
                return False
        return self.control(
            "endpoint", "health", nodes=[node], check=False).returncode == 0

    def control(self, *arguments, nodes=None, check=True, timeout_s=30):
        """Run etcdctl, as root; return subprocess.CompletedProcess."""
        command = ["etcdctl", "--endpoints", ",".join(
            self._client_url(node) for node in nodes or self.nodes)]
        if self.tls:
            command += ["--cacert", self.tls.ca, "--cert", self.tls.cert,
                        "--key", self.tls.key]
        environment = dict(os.environ, ETCDCTL_API="3")
        if self._has_users:
            environment["ETCDCTL_USER"] = "root:" + self.password
        return subprocess.run(
            [*command, *arguments], check=check, text=True, timeout=timeout_s,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment)

    def replace(self, node):
        """Put an empty member in the place of one, as after a lost disk."""
        self.kill(node)
        others = [other for other in self.nodes if other != node]
        fixtures.wait_for(
            lambda: self.leader(others) is not None, "a new leader")
        name = "m%d" % self.nodes.index(node)
        number, = [member["ID"] for member in json.loads(self.control(
            "member", "list", "-w", "json", nodes=others).stdout)["members"]
            if member["name"] == name]
        self.control("member", "remove", "%x" % number, nodes=others)
        shutil.rmtree(self.data_directory(node))
        # Not before the others have agreed on what they are.
        fixtures.wait_for(lambda: self.control(
            "member", "add", name, "--peer-urls", self._peer_url(node),
            nodes=others, check=False).returncode == 0, "a member is added")
        self.restart(node, ["--initial-cluster-state", "existing"])

    def leader(self, nodes=None):
        """Return the address of the member that leads, or None.

        :param nodes: the members to ask; by default all that run.
        """
        for node in nodes or self.nodes:
            if self.processes[node].poll() is not None:
                continue
            found = self.control(
                "endpoint", "status", "-w", "fields", nodes=[node],
                check=False)
            numbers = {}
            for line in found.stdout.splitlines():
                name, _, value = line.partition(" : ")
                numbers[name.strip('"')] = value
            if numbers.get("Leader", "0") == numbers.get("MemberID"):
                return node
        return None

    def url(self, database, **query):
        if self.tls:
            query = {"tls": "true", "tls_ca_file": self.tls.ca,
                     "tls_cert_file": self.tls.cert,
                     "tls_key_file": self.tls.key, **query}
        return super().url(database, **query)


def wait_for_leader(servers, timeout_s=30):
    """Wait until the members have a leader; return its address."""
    return fixtures.wait_for(servers.leader, "etcd has a leader", timeout_s)
