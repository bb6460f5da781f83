# SPDX-License-Identifier: Apache-2.0
"""Servers with the data, and one process for each backend that is measured.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import typing

from nova.db.api import models as api_models
from nova.db.main import models as main_models
import redis
import sqlalchemy as sa

from nova_kvs.db import rows
from nova_kvs.record import database
from tests.cloud import backends
from tests.cloud import processes
from tests import etcd_servers
from tests import fixtures

MARIADB = "mariadb"


class Backend(typing.NamedTuple):
    """One of KVS: its topology, and options of [nova_kvs]."""

    name: str
    topology: str
    db_api: str
    read_from: str = "master"


KVS = (Backend("dialect", "server", "none"),
       Backend("native", "server", "kvs"),
       Backend("native-memory", "server", "kvs", "memory"),
       Backend("dialect-cluster", "cluster", "none"),
       Backend("native-cluster", "cluster", "kvs"))
#: With ``--etcd``: one member, as MariaDB is one server, and three.
ETCD = (Backend("native-etcd", "etcd", "kvs"),
        Backend("native-etcd-3", "etcd-3", "kvs"))
#: That of them from which the others are copied.
_FILLED = "native"
_BASES = (("nova", main_models.BASE), ("nova_api", api_models.BASE))
REDIS_OPTIONS = {"appendonly": "yes", "appendfsync": "everysec"}
_MANAGE = "from nova.cmd import manage; raise SystemExit(manage.main())"
_SYNC_TIMEOUT_S = 1800
_COPY_KEYS = 500
_INSERT_ROWS = 2000
#: Servers whose rows are one commit.
_COMMIT_SERVERS = 10


class Servers:
    """A MariaDB, and for each of KVS a Redis server or a cluster of three.

    What a process remembers is out of date once another one has written, so
    each backend has rows of its own, as MariaDB has. A context manager: it
    starts the servers and stops them.

    :param directory: existing directory for MariaDB's files and logs.
    :param wanted: of ``KVS``, and perhaps of ``ETCD``.
    """

    def __init__(self, directory, wanted=KVS):
        self._wanted = wanted
        self._group = processes.Group()
        self._directory = directory
        #: Backend -> its fixture.
        self._redis = {}
        #: Backend -> URLs of the cell's and of the API database.
        self.urls = {}

    def __enter__(self):
        self._group.__enter__()
        try:
            self.mariadb = backends.MariaDB(self._group, self._directory)
            for backend in self._wanted:
                self._redis[backend.name] = self._group.enter_context(
                    _fixture(backend.topology))
        except BaseException:
            self._group.close()
            raise
        return self

    def __exit__(self, *exc_info):
        return self._group.__exit__(*exc_info)

    def fill(self, cloud, report):
        """Give every backend the rows of a cloud.

        :param report: called with a line of text.
        """
        suffix = "_%d" % cloud.servers
        self.urls = {
            MARIADB: [self.mariadb.create(name + suffix)
                      for name, _base in _BASES]}
        for backend in self._wanted:
            self.urls[backend.name] = [
                self._redis[backend.name].url(
                    name + suffix, read_from=backend.read_from)
                for name, _base in _BASES]
        etcd = [backend.name for backend in self._wanted
                if backend.topology.startswith("etcd")]
        for backend in (MARIADB, _FILLED, *etcd):
            report("making the tables of %s" % backend)
            self._make_tables(backend, suffix)
        report("filling MariaDB with %d servers" % cloud.servers)
        _fill_sql(self.urls[MARIADB], cloud)
        for name in (_FILLED, *etcd):
            report("filling %s with %d servers" % (name, cloud.servers))
            _fill_kvs(self.urls[name], cloud)
        report("copying that to the other Redis servers")
        for backend in self._wanted:
            if backend.name != _FILLED and backend.name not in etcd:
                for name, _base in _BASES:
                    self._copy(name + suffix, backend)

    def _make_tables(self, backend, suffix):
        """Run Nova's migrations."""
        config = write_config(
            os.path.join(self._directory, backend + suffix + ".conf"),
            self.urls[backend], "none")
        for command in (["api_db", "sync"], ["db", "sync", "--local_cell"]):
            processes.run([sys.executable, "-W", "ignore", "-c", _MANAGE,
                           "--config-file", config, *command], _SYNC_TIMEOUT_S)

    def _copy(self, name, backend):
        """Copy one database's keys to another backend."""
        source = self._redis[_FILLED].client()
        fixture = self._redis[backend.name]
        target = (fixture.client() if backend.topology == "server" else
                  redis.RedisCluster(*fixture.nodes[0], protocol=2))
        cursor = 0
        while True:
            cursor, keys = source.execute_command(
                "SCAN", cursor, "MATCH", "kvs:{%s:*" % name,
                "COUNT", _COPY_KEYS)
            cursor = int(cursor)
            reading = source.pipeline(transaction=False)
            for key in keys:
                reading.execute_command("DUMP", key)
                reading.execute_command("PTTL", key)
            replies = reading.execute() if keys else []
            writing = target.pipeline(transaction=False)
            for key, dump, ttl in zip(keys, replies[::2], replies[1::2]):
                if dump is not None:
                    writing.restore(key, max(0, ttl), dump, replace=True)
            writing.execute()
            if not cursor:
                break
        source.close()
        target.close()

    def pids(self, backend):
        """Return the server processes of a backend."""
        if backend == MARIADB:
            return [self.mariadb.process.pid]
        return [process.pid
                for process in self._redis[backend].processes.values()]


def _fixture(topology):
    """Return the servers of a topology, not started."""
    if topology == "server":
        return fixtures.RedisServerFixture(options=REDIS_OPTIONS)
    if topology == "cluster":
        return fixtures.RedisClusterFixture(3, 0, options=REDIS_OPTIONS)
    return etcd_servers.EtcdFixture(3 if topology == "etcd-3" else 1)


def write_config(path, urls, db_api):
    """Write a nova.conf.

    :param urls: of the cell's and of the API database.
    :returns: the path.
    """
    with open(path, "w") as file:
        file.write("[database]\nconnection = %s\n[api_database]\n"
                   "connection = %s\n[nova_kvs]\ndb_api = %s\n" % (
                       *urls, db_api))
    return path


def cpu_s(pids):
    """Return the CPU seconds that processes have used, to the microsecond.
    """
    total = 0
    for pid in pids:
        for task in os.listdir("/proc/%d/task" % pid):
            try:
                with open("/proc/%d/task/%s/schedstat" % (pid, task)) as file:
                    total += int(file.read().split()[0])
            except FileNotFoundError:
                # It has just ended.
                continue
    return total / 1e9


# Filling --------------------------------------------------------------------

def _fill_sql(urls, cloud):
    engines = {}
    for url, (_name, base) in zip(urls, _BASES):
        engines[base.metadata] = sa.create_engine(url)
    connections = {metadata: engine.connect()
                   for metadata, engine in engines.items()}
    for model, found in cloud.all_rows():
        table = model.__table__
        connection = connections[table.metadata]
        for first in range(0, len(found), _INSERT_ROWS):
            connection.execute(
                table.insert(), found[first:first + _INSERT_ROWS])
        connection.commit()
    archived = cloud.archived()
    if archived:
        connection = connections[main_models.BASE.metadata]
        connection.execute(sa.text(
            "INSERT INTO shadow_instances (%s) VALUES (:%s)" % (
                ", ".join(archived[0]), ", :".join(archived[0]))), archived)
        connection.commit()
    for metadata, connection in connections.items():
        for table in metadata.sorted_tables:
            connection.execute(sa.text("ANALYZE TABLE " + table.name))
        connection.close()
        engines[metadata].dispose()


def _fill_kvs(urls, cloud):
    opened = {}
    for url, (_name, base) in zip(urls, _BASES):
        opened[base.metadata] = database.open_database(url)
    _take_ids(opened, cloud)
    for model, found in cloud.shared_rows():
        _insert(opened, [(model, found)])
    _fill_servers(opened, cloud)
    main = opened[main_models.BASE.metadata]
    table = rows.table(main_models.Instance)
    transaction = main.begin()
    for row in cloud.archived():
        transaction.insert("shadow_instances", {
            name: value for name, value in table.bind_row(
                table.new(row)).items()
            if name in main.schema.tables["shadow_instances"].columns})
    transaction.commit()


def _fill_servers(opened, cloud):
    """Insert what belongs to servers, by a process for each core."""
    commits = [range(first, min(first + _COMMIT_SERVERS, cloud.servers))
               for first in range(0, cloud.servers, _COMMIT_SERVERS)]
    # A fork knows the ids that were taken.
    context = multiprocessing.get_context("fork")
    count = os.cpu_count()
    children = [context.Process(target=_insert_servers, args=(
        opened, cloud, commits[first::count]), daemon=True)
        for first in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    if any([child.exitcode for child in children]):
        raise RuntimeError("a process that fills %s failed" % ", ".join(
            one.name for one in opened.values()))


def _insert_servers(opened, cloud, commits):
    for numbers in commits:
        _insert(opened, [found for number in numbers
                         for found in cloud.server_rows(number)])


def _take_ids(opened, cloud):
    """Move the counters beyond all ids, once instead of at each insert."""
    shared = cloud.shared_rows()
    last = cloud.server_rows(0) + cloud.server_rows(cloud.servers - 1)
    highest = {}
    for model, found in shared + last:
        for row in found:
            highest[model] = max(highest.get(model, 0), row.get("id", 0))
    for model, number in highest.items():
        # Of tables that only some servers have rows in, too.
        opened[model.__table__.metadata].next_ids(
            model.__table__.name, max(number, cloud.servers))


def _insert(opened, tables):
    transactions = {}
    for model, found in tables:
        transaction = transactions.get(model.__table__.metadata)
        if transaction is None:
            transaction = transactions[model.__table__.metadata] = (
                opened[model.__table__.metadata].begin())
        table = rows.table(model)
        for row in found:
            transaction.insert(table.name, table.bind_row(table.new(row)))
    for transaction in transactions.values():
        transaction.commit()


# Processes ------------------------------------------------------------------

class WorkerError(Exception):
    """A worker ended, or never began."""


class Worker:
    """A process that calls what it is told to on one backend.

    :param name: of the backend.
    :param command: its module and arguments.
    :param server_pids: processes whose CPU time is measured.
    :param log: file that it writes its errors into.
    """

    def __init__(self, name, command, server_pids, log):
        self.name = name
        self._server_pids = server_pids
        self._log = open(log, "w+")
        self._popen = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", *command],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
            text=True)
        self._answer()

    def _answer(self):
        line = self._popen.stdout.readline()
        if not line:
            self._popen.wait()
            self._log.seek(0)
            raise WorkerError("%s ended with status %s\n%s" % (
                self.name, self._popen.returncode, self._log.read()[-3000:]))
        return json.loads(line)

    def _order(self, **order):
        self._popen.stdin.write(json.dumps(order) + "\n")
        self._popen.stdin.flush()
        return self._answer()

    def names(self):
        """Return the names of its calls, if it tells them."""
        return self._order(names=True)["names"]

    def answers(self, call, count, seed):
        """Return what one call answers, some times, as a text each."""
        self._order(call=call, count=count, seed=seed)
        return self._order(answers=True)["answers"]

    def run(self, call, count, seed):
        """Run one call some times.

        :returns: dict of ``wall_s`` (a list), ``cpu_s``, ``server_cpu_s``,
            ``trips`` and ``errors``.
        """
        self._order(call=call, count=count, seed=seed)
        before = cpu_s(self._server_pids)
        answer = self._order(run=True)
        answer["server_cpu_s"] = cpu_s(self._server_pids) - before
        return answer

    def stop(self):
        """End the process."""
        self._popen.stdin.close()
        try:
            self._popen.wait(10)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()
        self._log.close()


class NovaWorker(Worker):
    """A process that calls Nova's functions on one backend.

    :param name: of the backend.
    :param urls: of the cell's and of the API database.
    :param db_api: [nova_kvs] db_api.
    :param server_pids: processes whose CPU time is measured.
    :param module: that has the calls, and the class of the cloud.
    """

    def __init__(self, name, urls, db_api, server_pids, servers, directory,
                 module="benchmarks.calls"):
        config = write_config(
            os.path.join(directory, "%s-%d.conf" % (name, servers)),
            urls, db_api)
        super().__init__(
            name, ["benchmarks.worker", config, str(servers), module],
            server_pids, config + ".log")
