# SPDX-License-Identifier: Apache-2.0
"""Processes of an earlier version and of this one, on one database.

During an upgrade some services run the code of before and some the new one.
Both write the same rows, find each other's through every index, tidy up for
each other, and find no damage.
"""

import json
import os
import pathlib
import subprocess
import sys
import tarfile

import pytest

from nova_kvs.record import access
from nova_kvs.record import building
from nova_kvs.record import database as record_database
from nova_kvs.record import format as stored_format
from tests import base
from tests import fixtures

ROOT = pathlib.Path(__file__).resolve().parents[3]
#: The earlier version.
COMMIT = "adfbe2242750ac491bdc7109a75c7fb93272c20b"
#: Less than ten: they are sorted by name.
ROUNDS = 4
SERVICE = str(pathlib.Path(__file__).with_name("service.py"))


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Return the directory with the earlier version, installed of a wheel.

    Without what it needs, which is the environment's.
    """
    top = tmp_path_factory.mktemp("earlier")
    archive = top / "source.tar"
    done = subprocess.run(
        ["git", "archive", "-o", str(archive), COMMIT], cwd=ROOT,
        capture_output=True, text=True)
    if done.returncode:
        pytest.fail(
            "this test builds nova-kvs of commit %s, which is not in this "
            "clone: fetch the whole history (git fetch --unshallow). %s" % (
                COMMIT, done.stderr.strip()))
    source = top / "source"
    with tarfile.open(archive) as opened:
        opened.extractall(source, filter="data")
    subprocess.run(
        [sys.executable, "-c",
         "import sys; from pbr import build; build.build_wheel(sys.argv[1])",
         str(top)],
        cwd=source, env=dict(os.environ, PBR_VERSION="1.0.0"),
        check=True, capture_output=True)
    wheel, = top.glob("*.whl")
    target = top / "installed"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
         "--no-index", "--disable-pip-version-check", "--target",
         str(target), str(wheel)], check=True, capture_output=True)
    return target


@pytest.fixture(params=["server", "cluster"])
def servers(request):
    with (fixtures.RedisServerFixture() if request.param == "server" else
          fixtures.RedisClusterFixture(masters=3, replicas=0)) as found:
        yield found


def start(directory, *arguments, **kwargs):
    """Start Python with the nova_kvs of a directory."""
    # -P: or the program's own directory would be on the path.
    return subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", *arguments],
        env=dict(os.environ, PYTHONPATH=str(directory)), cwd=directory.parent,
        stdout=subprocess.PIPE, text=True, **kwargs)


class Versions:
    """Starts services of either version."""

    def __init__(self, earlier):
        self.directories = {"earlier": earlier, "new": ROOT}
        self._services = {
            version: start(directory, SERVICE, stdin=subprocess.PIPE)
            for version, directory in self.directories.items()}

    def close(self):
        for service in self._services.values():
            service.kill()
            service.communicate()

    def begin(self, config, version, actions):
        """Start services of a version, see ``answers``."""
        stream = self._services[version].stdin
        stream.write(json.dumps(
            {"config": str(config), "actions": actions}) + "\n")
        stream.flush()

    def answers(self, version):
        """Wait for services of a version: [status, output] of each."""
        return json.loads(self._services[version].stdout.readline())

    def run(self, config, **actions):
        """Run services of all versions side by side.

        :param actions: version -> list of actions and their arguments.
        :returns: list of what they return, version by version.
        """
        for version, wanted in actions.items():
            self.begin(config, version, wanted)
        results = []
        for version in actions:
            for status, output in self.answers(version):
                assert status == 0, (version, output)
                results.append(json.loads(output))
                assert results[-1].pop("code").startswith(
                    str(self.directories[version]) + os.sep)
        return results

    def fsck(self, url):
        """Return what the versions' fsck find."""
        running = [start(directory, "-m", "nova_kvs.cmd.main", "fsck",
                         "--json", url)
                   for directory in self.directories.values()]
        return [json.loads(process.communicate(timeout=120)[0])
                for process in running]


@pytest.fixture(scope="module")
def versions(earlier):
    made = Versions(earlier)
    yield made
    made.close()


def make_due(servers, name):
    """Let all housekeeping of a database be due, as after some time.

    Its processes must have ended: for them no time has passed.
    """
    for node in servers.nodes:
        client = servers.client(node)
        for key in client.execute_command("KEYS", "kvs:{%s:gc:*" % name):
            for member in client.execute_command("ZRANGE", key, 0, -1):
                client.execute_command("ZADD", key, 0, member)
        client.close()


def test_versions_share_a_database(versions, servers, tmp_path):
    name = base.database_name("mixed")
    url = servers.url(name)
    config = tmp_path / "nova.conf"
    config.write_text(
        "[database]\nconnection = {0}\n[api_database]\nconnection = {0}\n"
        .format(url))
    # The new one makes databases of a format that the other one refuses.
    versions.run(config, earlier=[["prepare"]])
    live = set()
    deleted = set()
    increments = 0
    for is_first, seeds in ((True, (1, 2, 3, 4)), (False, (5, 6, 7, 8))):
        results = versions.run(
            config,
            earlier=[["work", seed, ROUNDS] for seed in seeds[:2]],
            new=[["work", seed, ROUNDS] for seed in seeds[2:]])
        # Of those that want an address one gets it, the first time.
        assert sorted(
            address for result in results for address in result["taken"]
        ) == ["shared-%d" % turn for turn in range(ROUNDS) if is_first]
        for result in results:
            live.update(result["live"])
            deleted.update(result["deleted"])
            increments += result["increments"]
        # What is found empty is looked at a second time.
        for _turn in range(2):
            make_due(servers, name)
            done = versions.run(
                config, earlier=[["housekeep"]], new=[["housekeep"]])
            assert sum(result["done"] for result in done) > 0
        found, other = versions.run(
            config, earlier=[["check"]], new=[["check"]])
        assert found == other
        assert set(found["live"]) == live
        assert set(found["deleted"]) == deleted
        assert found["money"] == 4000
        assert found["counter"] == increments
        for report in versions.fsck(url):
            assert (report["clean"], report["details"]) == (True, [])


def test_an_upgrade_while_services_run(versions, tmp_path, monkeypatch):
    """Those of the earlier version are refused then, and no row is lost."""
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 1)
    name = base.database_name("mixed")
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as servers:
        config = tmp_path / "nova.conf"
        config.write_text(
            "[database]\nconnection = {0}\n[api_database]\n"
            "connection = {0}\n".format(servers.url(name)))
        versions.run(config, earlier=[["prepare"]])
        done = versions.run(config, earlier=[["work", 1, ROUNDS]])
        versions.begin(config, "new", [["work", 2, ROUNDS]])
        database = record_database.open_database(servers.url(name))
        database.grace_ms = 1000
        builder = building.Builder(database)
        builder.run()
        assert (builder.before, builder.after) == (
            stored_format.State(1, 1), stored_format.NEW)
        (status, output), = versions.answers("new")
        assert status == 0, output
        done.append(json.loads(output))
        versions.begin(config, "earlier", [["check"]])
        (status, output), = versions.answers("earlier")
        assert status != 0
        assert "FormatVersionError" in output
        found, = versions.run(config, new=[["check"]])
        assert set(found["live"]) == {
            row for result in done for row in result["live"]}
        created = database.begin().load(
            [access.ByRange("instances", "created_at+id")])[0]
        assert len(created) == len(found["live"]) + len(
            found["deleted"]) + 4
        process = start(ROOT, "-m", "nova_kvs.cmd.main", "fsck", "--json",
                        servers.url(name))
        report = json.loads(process.communicate(timeout=120)[0])
        assert (report["clean"], report["details"]) == (True, [])
