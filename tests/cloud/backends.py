# SPDX-License-Identifier: Apache-2.0
"""Servers that a cloud stands on: a message broker and SQL databases."""

import glob
import os
import re
import shutil
import socket
import tempfile

import psycopg2
import pymysql

from tests.cloud import processes

_START_TIMEOUT_S = 60


def connects(host, port):
    """Return True if something listens on a port.

    :raises OSError: if not.
    """
    socket.create_connection((host, port), timeout=1).close()
    return True


def start_rabbitmq(group, directory, host="127.0.0.1"):
    """Start RabbitMQ without systemd or root, on loopback only.

    :param group: processes.Group that it joins.
    :param directory: existing directory, for all of its files.
    :param host: address in 127.0.0.0/8 on which it listens.
    :returns: its transport URL.
    """
    port, distribution_port, epmd_port = processes.free_ports(3)
    home = os.path.join(directory, "rabbitmq")
    os.makedirs(home)
    config = os.path.join(home, "rabbitmq.conf")
    with open(config, "w") as stream:
        stream.write("listeners.tcp.default = %s:%d\n" % (host, port))
        stream.write("loopback_users = none\n")
        stream.write("log.console.level = warning\n")
    env = {
        "HOME": home,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_INETRC": _write_inetrc(home),
        "RABBITMQ_NODENAME": "nova-kvs-%d@localhost" % port,
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_CONFIG_FILE": config,
        "RABBITMQ_ENABLED_PLUGINS_FILE": os.path.join(home, "plugins"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_MNESIA_BASE": os.path.join(home, "mnesia"),
        "RABBITMQ_PID_FILE": os.path.join(home, "pid"),
        # One idle scheduler thread less to spin for each core.
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS":
            "+sbwt none +sbwtdcpu none +sbwtdio none"
            " -kernel inet_dist_use_interface {127,0,0,1}",
    }
    # Ours, since the server would start one outside of its process group.
    group.start(processes.Process(
        "epmd", [_erlang_program("epmd")], home, env))
    server = group.start(processes.Process(
        "rabbitmq", [_rabbitmq_program()], home, env))
    processes.wait_for(lambda: connects(host, port), "RabbitMQ listens",
                       _START_TIMEOUT_S, [server])
    return "rabbit://guest:guest@%s:%d/" % (host, port)


def _write_inetrc(home):
    """Have Erlang resolve localhost by itself, whatever the resolver."""
    path = os.path.join(home, "inetrc")
    with open(path, "w") as stream:
        stream.write('{host, {127,0,0,1}, ["localhost"]}.\n'
                     "{lookup, [file, native]}.\n")
    return path


def _erlang_program(name):
    found = shutil.which(name) or next(
        iter(glob.glob("/usr/lib/erlang/erts-*/bin/" + name)), name)
    return found


def _rabbitmq_program():
    # The one in the path of Debian insists on being root or rabbitmq, and
    # then becomes rabbitmq.
    for path in ("/usr/lib/rabbitmq/bin/rabbitmq-server",
                 "/opt/rabbitmq/sbin/rabbitmq-server"):
        if os.path.exists(path):
            return path
    return "rabbitmq-server"


class MariaDB:
    """A MariaDB server with files of its own, on loopback.

    :param group: processes.Group that it joins.
    :param directory: existing directory, for all of its files.
    :param options: further ``--name=value`` arguments of mariadbd.
    :param host: address in 127.0.0.0/8 on which it listens.
    :param user: as whom it runs where this process is root's.
    """

    def __init__(self, group, directory, options=(), host="127.0.0.1",
                 user="root"):
        self._home = os.path.join(directory, "mariadb")
        os.makedirs(self._home)
        self._socket = os.path.join(self._home, "socket")
        self.host = host
        self.port, = processes.free_ports(1)
        data = os.path.join(self._home, "data")
        # Refused to root unless it is said twice.
        as_user = []
        if os.getuid() == 0:
            as_user = ["--user=" + user]
            shutil.chown(self._home, user)
        # Two that start at once take each other's temporary tables.
        env = {"TMPDIR": self._home}
        processes.run(
            ["mariadb-install-db", "--no-defaults", "--datadir=" + data,
             "--auth-root-authentication-method=normal", "--skip-test-db",
             *as_user], _START_TIMEOUT_S, env)
        self.process = group.start(processes.Process(
            "mariadb",
            [shutil.which("mariadbd") or "/usr/sbin/mariadbd",
             "--no-defaults", "--datadir=" + data,
             "--socket=" + self._socket, "--port=%d" % self.port,
             "--bind-address=" + host, "--max-connections=1000",
             "--character-set-server=utf8mb3", *as_user, *options],
            self._home, env))
        processes.wait_for(
            self._answers, "MariaDB answers", _START_TIMEOUT_S,
            [self.process])
        # One that has joined a cluster has the user already.
        self.execute(
            "CREATE USER IF NOT EXISTS nova@'127.%' IDENTIFIED BY 'nova'",
            "GRANT ALL ON *.* TO nova@'127.%'")

    def _answers(self):
        try:
            self.execute("SELECT 1")
        except pymysql.err.OperationalError:
            return False  # or it has not joined its cluster yet
        return True

    def execute(self, *statements):
        """Run statements as root; return the rows of the last one."""
        connection = pymysql.connect(unix_socket=self._socket, user="root")
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall()
        finally:
            connection.close()

    def url(self, database):
        """Return the URL of a database."""
        return "mysql+pymysql://nova:nova@%s:%d/%s" % (
            self.host, self.port, database)

    def create(self, database):
        """Create a database and return its URL."""
        self.execute("CREATE DATABASE `%s`" % database)
        return self.url(database)


class PostgreSQL:
    """A PostgreSQL server with files of its own, on loopback.

    :param group: processes.Group that it joins, and that removes its files.
    :param user: as whom it runs where this process is root's, which it
        refuses to be.
    """

    def __init__(self, group, user="postgres"):
        # Not below pytest's directory, which only its owner may enter.
        self._home = tempfile.mkdtemp(prefix="nova-kvs-postgresql-")
        group.callback(shutil.rmtree, self._home, ignore_errors=True)
        self.port, = processes.free_ports(1)
        data = os.path.join(self._home, "data")
        become = []
        if os.getuid() == 0:
            become = ["setpriv", "--reuid=" + user, "--regid=" + user,
                      "--clear-groups"]
            shutil.chown(self._home, user, user)
        processes.run(
            [*become, _postgresql_program("initdb"), "--pgdata=" + data,
             "--username=postgres", "--auth=trust", "--encoding=UTF8",
             "--locale=C.UTF-8", "--no-sync"], _START_TIMEOUT_S)
        self.process = group.start(processes.Process(
            "postgresql",
            [*become, _postgresql_program("postgres"), "-D", data,
             "-c", "listen_addresses=127.0.0.1", "-c", "port=%d" % self.port,
             "-c", "unix_socket_directories=", "-c", "fsync=off"],
            self._home))
        # Its children are in process groups of their own.
        group.callback(self.process.stop)
        processes.wait_for(
            self._answers, "PostgreSQL answers", _START_TIMEOUT_S,
            [self.process])
        self.execute("CREATE ROLE nova LOGIN")

    def _answers(self):
        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def execute(self, statement):
        """Run a statement as superuser, outside of a transaction."""
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user="postgres",
            dbname="postgres")
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    def url(self, database):
        """Return the URL of a database."""
        return "postgresql+psycopg2://nova@127.0.0.1:%d/%s" % (
            self.port, database)

    def create(self, database):
        """Create a database of the user nova and return its URL."""
        self.execute('CREATE DATABASE "%s" OWNER nova' % database)
        return self.url(database)


def _postgresql_program(name):
    # Debian has only its clients in the path.
    found = glob.glob("/usr/lib/postgresql/*/bin/" + name)
    return max(found, key=lambda path: int(re.findall(r"\d+", path)[0]),
               default=name)
