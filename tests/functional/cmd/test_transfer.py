# SPDX-License-Identifier: Apache-2.0
"""MariaDB to a Redis Cluster and back, with Nova's own schemas."""

import json
import random
import subprocess
import sys
import time

import pytest

from tests.cloud import backends
from tests.cloud import processes
from tests import fixtures
from tests.functional.cmd import clouds

SERVERS = 150
QUERY = {"hint_grace": 4, "transaction_lifetime": 2}


@pytest.fixture(scope="module")
def cluster():
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as found:
        yield found


@pytest.fixture(scope="module")
def mariadb(tmp_path_factory):
    with processes.Group() as group:
        yield backends.MariaDB(group, str(
            tmp_path_factory.mktemp("mariadb")))


def command(*arguments):
    return [sys.executable, "-m", "nova_kvs.cmd.main", *arguments]


def run(*arguments, status=0):
    done = subprocess.run(command(*arguments), capture_output=True,
                          text=True, timeout=600)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def copy(name, source, target, *arguments):
    return json.loads(run(
        name, "--from", source, "--to", target, "--json", *arguments))


@pytest.mark.parametrize("kind", [
    kind if kind == "placement"
    else pytest.param(kind, marks=pytest.mark.slow) for kind in clouds.KINDS])
def test_there_and_back(kind, cluster, mariadb, tmp_path):
    source = mariadb.create("source_" + kind)
    back = mariadb.create("back_" + kind)
    store = cluster.url("copy-" + kind, **QUERY)
    for url in (source, back, store):
        clouds.sync(kind, url, str(tmp_path))
    rows = clouds.fill(source, SERVERS)
    counted = copy("import", source, store, "--dry-run")
    assert counted["rows"] == rows
    done = copy("import", source, store)
    assert done["verified"] and done["rows"] == rows
    assert done["tables"] == counted["tables"]
    document = json.loads(run("fsck", "--json", store))
    assert document["details"] == []
    # And the revision.
    assert document["records"] == rows + 1
    checks = json.loads(run("check", "--json", store))["checks"]
    assert checks[-1]["status"] == "OK", checks[-1]
    done = copy("export", store, back)
    assert done["verified"] and done["rows"] == rows
    assert clouds.dump(back) == clouds.dump(source)


def kill_again_and_again(arguments, chance):
    """Kill a command at random moments until it is done once.

    :returns: how often it was killed.
    """
    kills = 0
    while True:
        process = subprocess.Popen(
            command(*arguments), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        # A little longer each time, so that it comes to an end.
        time.sleep(chance.uniform(1, 3) + 2 * kills)
        if process.poll() is None:
            process.kill()
            kills += 1
            process.communicate()
            continue
        assert process.returncode == 0, process.communicate()[1]
        process.communicate()
        return kills


@pytest.mark.slow
def test_killed_at_random_points(cluster, mariadb, tmp_path):
    source = mariadb.create("source_killed")
    back = mariadb.create("back_killed")
    store = cluster.url("killed", **QUERY)
    for url in (source, back, store):
        clouds.sync("cell", url, str(tmp_path))
    clouds.fill(source, 200)
    chance = random.Random(7)
    assert kill_again_and_again(
        ["import", "--from", source, "--to", store], chance) > 1
    # What was killed may have left an intent for its lifetime.
    time.sleep(QUERY["hint_grace"])
    run("fsck", "--repair", store)
    assert kill_again_and_again(
        ["export", "--from", store, "--to", back], chance) > 1
    assert clouds.dump(back) == clouds.dump(source)


def test_errors_show_no_password(cluster, mariadb):
    url = mariadb.create("x").replace("nova:nova@", "nova:secret@")
    for arguments in (
            ["import", "--from", url, "--to", cluster.url("x")],
            ["export", "--from", cluster.url("x"), "--to", url]):
        done = subprocess.run(command(*arguments), capture_output=True,
                              text=True, timeout=60)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("nova-kvs: error: ")
        assert done.stderr.count("\n") == 1
        assert "secret" not in done.stderr
