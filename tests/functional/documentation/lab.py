# SPDX-License-Identifier: Apache-2.0
"""The servers and files that the documentation's commands work on.

Each is made when the first command asks for it, the Redis Cluster by what
the documentation says itself.
"""

import contextlib
import functools
import os
import re
import subprocess
import sys

from tests.cloud import backends
from tests.cloud import processes
from tests import fixtures
from tests.functional.cmd import clouds
from tests.functional.documentation import blocks
from tests.functional.documentation import placeholders

#: Longest time, in seconds, for one command on a busy machine.
COMMAND_TIMEOUT_S = 120
#: Options of URLs, so that fsck does not wait for long.
QUERY = {"hint_grace": 4, "transaction_lifetime": 2}
_REDIS_PAGE = "doc/source/admin/redis.rst"


def redis_settings():
    """Return name -> value of the settings for redis.conf in the manual."""
    return dict(
        text.split() for text in blocks.first_column(_REDIS_PAGE)
        if " " in text)


class _Strangers(fixtures.RedisClusterFixture):
    """Servers that are to be a cluster and do not know each other yet."""

    def start(self):
        for _ in range(self.masters * (1 + self.replicas)):
            self.launch_stranger()


class Lab(contextlib.ExitStack):
    """A place where commands are run.

    :param directory: pathlib.Path of an empty directory.
    """

    def __init__(self, directory):
        super().__init__()
        self._directory = directory
        #: Whether the installation's commands made a cloud; None: not yet.
        self.is_installed = None

    def home(self, name):
        """Return a home directory, made on first use.

        What is in its ``.nova/nova.conf`` is the configuration of
        nova-manage there, and likewise of placement-manage.
        """
        home = self._directory / name
        for part in (".nova", ".placement"):
            (home / part).mkdir(parents=True, exist_ok=True)
        return home

    def run(self, command, home="operator", statuses=(0,), answers="", **env):
        """Run a command line as an operator does.

        :param command: text for bash.
        :param home: name of the home directory, which it also runs in.
        :param statuses: exit statuses that it may have.
        :param answers: text for its standard input.
        :param env: further variables.
        :returns: its standard output.
        """
        directory = self.home(home)
        programs = os.path.dirname(sys.executable)
        done = subprocess.run(
            ["bash", "-c", command], cwd=directory, input=answers,
            capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
            env={**os.environ, "HOME": str(directory),
                 "PATH": programs + os.pathsep + os.environ["PATH"],
                 "PYTHONWARNINGS": "ignore", **env})
        assert done.returncode in statuses, "%s: exit status %d\n%s\n%s" % (
            command, done.returncode, done.stdout, done.stderr)
        return done.stdout

    @functools.cached_property
    def cluster(self):
        """The cluster of the page about Redis, made by its commands."""
        create, acl = (block for block in blocks.blocks()
                       if block.document == _REDIS_PAGE)
        servers = self.enter_context(
            _Strangers(options=redis_settings()))
        names = placeholders.cluster(servers.nodes)
        for command in create.commands():
            self.run(placeholders.fill_in(command, names), answers="yes\n")
        servers.wait_healthy()
        for node in servers.nodes:
            for command in acl.commands():
                # What is typed into redis-cli is for no shell.
                output = self.run("redis-cli -h %s -p %d" % node,
                                  answers=command)
                assert output.strip() == "OK", output
        return servers

    @functools.cached_property
    def server(self):
        """One Redis server with a small cell database."""
        options = redis_settings()
        del options["min-replicas-to-write"]
        del options["cluster-node-timeout"]
        server = self.enter_context(
            fixtures.RedisServerFixture(options=options))
        url = server.url("nova_cell1", **QUERY)
        clouds.sync("cell", url, str(self.home("server")))
        clouds.fill(url, 5, {"instances": 1, "tags": 2})
        # With the housekeeping done, there is nothing to wait for.
        self.run("nova-kvs fsck --repair '%s'" % url)
        return server

    @functools.cached_property
    def mariadb(self):
        """A MariaDB server."""
        group = self.enter_context(processes.Group())
        return backends.MariaDB(group, str(self.home("mariadb")))

    def fill_in(self, text):
        """Return a text with the lab's own in its placeholders' places."""
        names = placeholders.host(self.home("operator"))
        # Nothing is started for a text that does not ask for it.
        if re.search(r"\b10\.0\.0\.[123]\b", text):
            names.update(placeholders.cluster(self.cluster.nodes))
        if "10.0.0.9" in text:
            names.update(placeholders.sql(self.mariadb.url("")))
        if "kvs+redis://127.0.0.1/" in text:
            names.update(placeholders.server(self.server.nodes[0]))
        return placeholders.fill_in(text, names)
