# SPDX-License-Identifier: Apache-2.0
"""Real etcd members for tests: loopback, free ports, temporary directories.

A missing ``etcd`` is an error, never a reason to skip.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from urllib import parse

from tests import fixtures

HOST = fixtures.HOST


class EtcdFixture:
    """etcd members, by number. A context manager that stops them.

    :param members: how many.
    :param tls: nova_kvs's tests' TLSFiles: clients then have to speak TLS.
    :param user: of etcd; ``root`` gets the same password.
    :param password: the user's. With it, users are switched on; the user may
        use keys of ``database`` only.
    :param options: list of further arguments of etcd.
    :param snapshot: path of a snapshot that the members begin with.
    """

    scheme = "kvs+etcd"

    def __init__(self, members=1, *, tls=None, user=None, password=None,
                 database="", options=(), snapshot=None):
        self.count = members
        self.tls = tls
        self.user = user
        self.password = password
        self.database = database
        self.options = list(options)
        self.snapshot = snapshot
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

    def start(self):
        """Start the members and wait until they have a leader."""
        self._directory = tempfile.mkdtemp(prefix="nova-kvs-etcd-")
        ports = fixtures.free_ports(2 * self.count)
        self.nodes = [(HOST, port) for port in ports[:self.count]]
        peers = ports[self.count:]
        cluster = ",".join(
            "m%d=http://%s:%d" % (number, HOST, port)
            for number, port in enumerate(peers))
        scheme = "https" if self.tls else "http"
        for number, (node, peer) in enumerate(zip(self.nodes, peers)):
            url = "%s://%s:%d" % (scheme, *node)
            self._commands[node] = [
                "etcd", "--name", "m%d" % number,
                "--data-dir", os.path.join(self._directory, "m%d" % number),
                "--listen-client-urls", url, "--advertise-client-urls", url,
                "--listen-peer-urls", "http://%s:%d" % (HOST, peer),
                "--initial-advertise-peer-urls",
                "http://%s:%d" % (HOST, peer),
                "--initial-cluster", cluster,
                "--heartbeat-interval", "50", "--election-timeout", "500",
                *([
                    "--cert-file", self.tls.cert, "--key-file", self.tls.key,
                    "--trusted-ca-file", self.tls.ca, "--client-cert-auth",
                ] if self.tls else ()), *self.options]
            if self.snapshot:
                self.control(
                    "snapshot", "restore", self.snapshot,
                    "--name", "m%d" % number, "--data-dir",
                    os.path.join(self._directory, "m%d" % number),
                    "--initial-cluster", cluster,
                    "--initial-advertise-peer-urls",
                    "http://%s:%d" % (HOST, peer))
            self.start_member(node)
        for node in self.nodes:
            fixtures.wait_for(
                lambda node=node: self.is_healthy(node),
                "etcd is healthy at %s:%d" % node)
        if self.password:
            self._switch_users_on()

    def _switch_users_on(self):
        prefix = "kvs:{%s:" % self.database
        for arguments in (
                ("user", "add", "root:" + self.password),
                ("role", "add", "nova-kvs"),
                ("role", "grant-permission", "--prefix=true", "nova-kvs",
                 "readwrite", prefix),
                ("user", "add", "%s:%s" % (self.user, self.password)),
                ("user", "grant-role", self.user, "nova-kvs"),
                ("auth", "enable")):
            self.control(*arguments)

    def start_member(self, node):
        """Start one member, again with the data that it had."""
        with open(os.path.join(
                self._directory, "%d.log" % node[1]), "ab") as log:
            self.processes[node] = subprocess.Popen(
                self._commands[node], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL)

    def is_healthy(self, node):
        """Return whether a member answers, with a leader behind it."""
        if self.processes[node].poll() is not None:
            raise AssertionError(
                "etcd ended: see %s" % self._directory)
        with socket.socket() as sock:
            sock.settimeout(1)
            if sock.connect_ex(node):
                return False
        return self.control(
            "endpoint", "health", nodes=[node], check=False).returncode == 0

    def control(self, *arguments, nodes=None, check=True, login=False):
        """Run etcdctl; return subprocess.CompletedProcess.

        :param login: whether as root.
        """
        scheme = "https" if self.tls else "http"
        command = ["etcdctl", "--endpoints", ",".join(
            "%s://%s:%d" % (scheme, *node) for node in nodes or self.nodes)]
        if self.tls:
            command += ["--cacert", self.tls.ca, "--cert", self.tls.cert,
                        "--key", self.tls.key]
        environment = dict(os.environ, ETCDCTL_API="3")
        if login:
            environment["ETCDCTL_USER"] = "root:" + self.password
        return subprocess.run(
            [*command, *arguments], check=check, text=True, timeout=30,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment)

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

    def kill(self, node, signum=signal.SIGKILL):
        """End one member, by default without any warning to it."""
        process = self.processes[node]
        process.send_signal(signum)
        process.wait(timeout=30)

    def pause(self, node):
        """Let one member stand still."""
        self.processes[node].send_signal(signal.SIGSTOP)

    def resume(self, node):
        """Let it go on."""
        self.processes[node].send_signal(signal.SIGCONT)

    def stop(self):
        """End the processes and remove their files."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.processes.values():
            process.wait()
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def url(self, database, **query):
        """Return a connection URL for a database on these members.

        :param query: options to put into the URL.
        """
        login = ""
        if self.password:
            login = "%s:%s@" % (parse.quote(self.user, safe=""),
                                parse.quote(self.password, safe=""))
        if self.tls:
            query = {"tls": "true", "tls_ca_file": self.tls.ca,
                     "tls_cert_file": self.tls.cert,
                     "tls_key_file": self.tls.key, **query}
        pairs = [("node", "%s:%d" % node) for node in self.nodes[1:]]
        pairs += sorted(query.items())
        return "%s://%s%s:%d/%s%s" % (
            self.scheme, login, *self.nodes[0], database,
            "?" + parse.urlencode(pairs) if pairs else "")


def wait_for_leader(servers, timeout_s=30):
    """Wait until the members have a leader; return its address."""
    return fixtures.wait_for(servers.leader, "etcd has a leader", timeout_s)
