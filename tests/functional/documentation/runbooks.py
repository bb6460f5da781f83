# SPDX-License-Identifier: Apache-2.0
"""The runbooks, followed while transactions are committed.

What is done between their literal blocks is what the page says in words.
"""

import contextlib
import os
import pathlib
import re
import resource
import threading

import pytest
import sqlalchemy

from tests import base
from tests import fixtures
from tests.functional.cmd import clouds
from tests.functional.documentation import lab as labs
from tests.functional.documentation import placeholders

#: After 5 seconds Redis gives a failover up that was asked for.
_FAILOVER_S = 10
_CELL_UUID = "0a5eab1e-0000-4000-8000-00000000ce11"
_CELL0_UUID = "00000000-0000-0000-0000-000000000000"


def check_password(lab, literals):
    """Both passwords log in at first, the old one no longer at the end."""
    add, mapping, examine, remove = literals
    with fixtures.RedisClusterFixture(
            replicas=0, user="nova", password="secret") as servers:
        names = {"api": "nova_api", "cell0": "nova_cell0",
                 "cell1": "nova_cell1"}
        old = {name: servers.url(database, **labs.QUERY)
               for name, database in names.items()}
        new = {name: url.replace(":secret@", ":new-secret@")
               for name, url in old.items()}
        home = lab.home("rotation")
        for name, url in old.items():
            clouds.sync(name.rstrip("01"), url, str(home))
        engine = sqlalchemy.create_engine(old["api"])
        with engine.begin() as connection:
            for number, uuid in enumerate((_CELL0_UUID, _CELL_UUID)):
                connection.exec_driver_sql(
                    "INSERT INTO cell_mappings (uuid, name, transport_url,"
                    " database_connection) VALUES"
                    " ('%s', 'cell%d', 'rabbit://%d/', '%s')" % (
                        uuid, number, number, old["cell%d" % number]))

        _type_into_all(lab, servers, add)
        for name, path in (("cell0", "cell0.conf"), ("cell1", "cell1.conf"),
                           ("cell1", ".nova/nova.conf")):
            (home / path).write_text(
                "[DEFAULT]\ntransport_url = rabbit://guest:guest@127.0.0.1/\n"
                "[database]\nconnection = %s\n"
                "[api_database]\nconnection = %s\n" % (
                    new[name], new["api"]))
        ask, = examine.commands()
        # Neither mapping is changed yet.
        assert "Password of cell" in lab.run(
            ask, home="rotation", statuses=(1,))
        for command in mapping.commands():
            lab.run(re.sub(r"\bUUID\b", _CELL_UUID, command),
                    home="rotation")
        with engine.connect() as connection:
            assert sorted(connection.exec_driver_sql(
                "SELECT database_connection, transport_url "
                "FROM cell_mappings").all()) == [
                    (new["cell0"], "none:///"),
                    (new["cell1"], "rabbit://guest:guest@127.0.0.1/")]
        output = lab.run(ask, home="rotation", statuses=(0, 1))
        assert "Upgrade Check Results" in output
        assert "Password of" not in output

        _type_into_all(lab, servers, remove)
        # Connections that are open stay so.
        with engine.connect() as connection:
            assert connection.exec_driver_sql(
                "SELECT count(*) FROM cell_mappings").scalar() == 2
        engine.dispose()
        assert "Failure" not in lab.run(
            ask, home="rotation", statuses=(0, 1))
        lab.run("! nova-kvs stats '%s' 2> refused" % old["api"],
                home="rotation")
        assert "refused the user or password" in (
            home / "refused").read_text()


def _type_into_all(lab, servers, block):
    for node in servers.nodes:
        for command in block.commands():
            output = lab.run("redis-cli -h %s -p %d" % node, answers=command)
            assert output.strip() == "OK", output


def check_servers(lab, literals):
    """Servers are restarted, change their roles and are replaced.

    A client commits meanwhile: none of its commits fails, and all are there.
    It begins when the master is lost, since what was committed just before
    may be lost with it: that is in the limits.
    """
    info, failover, nodes_and_add, forget = literals
    options = labs.redis_settings()
    # For two replicas of each master, says the page about Redis.
    del options["min-replicas-to-write"]
    with fixtures.RedisClusterFixture(options=options) as servers:
        url = servers.url(base.database_name(), **labs.QUERY)
        with _commits(url, "before") as committed:
            masters, replicas = servers.nodes[:3], servers.nodes[3:]

            def ask(block, node):
                command, = block.commands()
                return lab.run(command.replace(
                    "-h 10.0.0.1 -p 7001", "-h %s -p %d" % node))

            def restart(node):
                servers.kill(node)
                servers.restart(node)
                fixtures.wait_for(
                    lambda: "master_link_status:up" in ask(info, node),
                    "the replica follows")

            for master, replica in zip(masters, replicas):
                restart(replica)
                _promote(lambda: ask(failover, replica),
                         lambda: "role:master" in ask(info, replica))
                restart(master)
            committed.some_more()
        _replace(lab, servers, nodes_and_add, forget, url)
        lab.run("nova-kvs check '%s'" % url, statuses=(0, 1))
        lab.run("nova-kvs fsck '%s'" % url)


def _promote(begin, is_done):
    """Have a replica take over, again if Redis has given up."""
    for _attempt in range(3):
        assert begin() == "OK\n"
        try:
            return fixtures.wait_for(
                is_done, "the replica is the master", _FAILOVER_S)
        except AssertionError as error:
            last = error
    raise last


def _replace(lab, servers, nodes_and_add, forget, url):
    """Lose a master, and put an empty server in its place."""
    names = placeholders.cluster(servers.nodes)
    lost = servers.nodes[3]
    names["10.0.0.4:7000"] = "%s:%d" % servers.launch_stranger()
    commands = [placeholders.fill_in(command, names)
                for command in nodes_and_add.commands()]
    client = servers.client(lost)
    fixtures.wait_for(lambda: _is_replicated(client), "the replica has all")
    servers.kill(lost)
    with _commits(url, "after") as committed:
        committed.some_more()
        _put_in_its_place(lab, servers, lost, commands, [
            placeholders.fill_in(command, names)
            for command in forget.commands()])
        committed.some_more()


def _is_replicated(client):
    """Tell whether the replica of a server has all that the server has."""
    _role, offset, replicas = client.execute_command("ROLE")
    return [int(one[2]) for one in replicas] == [offset]


def _put_in_its_place(lab, servers, lost, commands, forget):
    """Follow the page once the lost server's replica is promoted."""
    show, agree, add = commands
    promoted = "%s:%d@" % servers.nodes[0]

    def known():
        """Return address -> a line's words, once the failover is over."""
        found = {line.split()[1].split("@")[0] + "@": line.split()
                 for line in lab.run(show).splitlines()}
        flags = {place: words[2].split(",")
                 for place, words in found.items()}
        is_over = "master" in flags[promoted] and (
            "fail" in flags["%s:%d@" % lost])
        return found if is_over else None

    found = fixtures.wait_for(known, "the replica is promoted")
    lost_id = found["%s:%d@" % lost][0]
    fixtures.wait_for(
        lambda: "All nodes agree" in lab.run(agree, statuses=(0, 1)),
        "all nodes agree")
    lab.run(add.replace("MASTER-ID", found[promoted][0]))
    for command in forget:
        lab.run(command.replace("LOST-ID", lost_id))
    fixtures.wait_for(lambda: lost_id not in lab.run(show), "it is forgotten")
    servers.wait_healthy()


class _Commits:
    """A client that commits one row after another until it is told to end."""

    def __init__(self, engine, table, prefix):
        self._engine = engine
        self._prefix = prefix
        self._table = table
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work)
        self.count = 0
        self.failure = None

    def _work(self):
        try:
            while not self._ended.is_set():
                with self._engine.begin() as connection:
                    connection.execute(
                        self._table.insert(),
                        {"name": "%s-%d" % (self._prefix, self.count)})
                self.count += 1
        except Exception as exc:
            self.failure = exc

    def start(self):
        self._thread.start()

    def some_more(self):
        """Return when ten more commits are done."""
        wanted = self.count + 10
        fixtures.wait_for(
            lambda: self.failure or self.count >= wanted, "commits are done")

    def end(self):
        self._ended.set()
        self._thread.join()
        if self.failure:
            raise self.failure


@contextlib.contextmanager
def _commits(url, prefix):
    """Commit from another thread; in the end all of it is there.

    :param prefix: of the names that are committed.
    """
    table = sqlalchemy.Table(
        "names", sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
        sqlalchemy.Column("name", sqlalchemy.String(20), unique=True))
    engine = sqlalchemy.create_engine(url)
    table.metadata.create_all(engine)
    commits = _Commits(engine, table, prefix)
    commits.start()
    try:
        yield commits
    finally:
        commits.end()
    with engine.connect() as connection:
        assert connection.scalar(sqlalchemy.select(
            sqlalchemy.func.count()).select_from(table).where(
                table.c.name.startswith(prefix))) == commits.count
    engine.dispose()


def check_full_disk(lab, literals):
    """Writes are refused and reads served, until there is space again."""
    signs, = [literal.text for literal in literals]
    options = labs.redis_settings()
    for name in ("min-replicas-to-write", "cluster-node-timeout"):
        del options[name]
    table = sqlalchemy.Table(
        "names", sqlalchemy.MetaData(),
        sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))
    with fixtures.RedisServerFixture(options=options) as server:
        engine = sqlalchemy.create_engine(
            server.url(base.database_name(), request_timeout=2))
        table.metadata.create_all(engine)

        def insert():
            with engine.begin() as connection:
                connection.execute(table.insert())

        insert()
        ask = "redis-cli -h %s -p %d " % server.nodes[0]
        assert signs in lab.run(ask + "INFO persistence")
        pid = server.processes[server.nodes[0]].pid
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        place = pathlib.Path(lab.run(ask + "CONFIG GET dir").splitlines()[1])
        largest = max(os.path.getsize(path) for path in place.rglob("*")
                      if path.is_file())
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest, limits[1]))
        with pytest.raises(sqlalchemy.exc.DBAPIError, match="MISCONF"):
            for _ in range(1000):
                insert()
        with engine.connect() as connection:
            before = len(connection.execute(table.select()).all())
        assert before >= 1
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        fixtures.wait_for(
            lambda: signs in lab.run(ask + "INFO persistence"),
            "Redis notices")
        insert()
        with engine.connect() as connection:
            assert len(connection.execute(
                table.select()).all()) == before + 1
        engine.dispose()
