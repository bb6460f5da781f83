# SPDX-License-Identifier: Apache-2.0
"""A cloud moves from MariaDB into the store, lives there and moves back.

Real services make the rows, and go on with them after each move. The
computes run all the time, as the manual says that they may.

Needs redis-server, mariadb-server and rabbitmq-server. With ``-s`` it prints
what each step took.
"""

from concurrent import futures
import contextlib
import datetime
import json
import os
import subprocess
import time

import pytest

from nova_kvs.demo import client
from nova_kvs.demo import config
from nova_kvs.demo import identity
from tests.cloud import backends
from tests.cloud import commands
from tests.cloud import deployment
from tests import fixtures
from tests.functional.cmd import clouds

SERVERS = int(os.environ.get("KVS_TEST_MIGRATION_SERVERS") or 20)
#: Servers booted at a time.
BATCH = 25
#: Longest time for one step, and for the whole test.
STEP_TIMEOUT_S = 180 + SERVERS
TOTAL_TIMEOUT_S = 600 + 10 * SERVERS
#: Options of the store: fsck waits for the grace of what Nova wrote last.
QUERY = {"hint_grace": 4, "transaction_lifetime": 2}
#: Kinds of schemas, in the order of config.Databases.
KINDS = ("api", "cell", "cell", "placement")


@pytest.fixture
def cluster():
    with fixtures.RedisClusterFixture(masters=3, replicas=0) as servers:
        yield servers


@pytest.fixture
def mariadb(group, tmp_path):
    return backends.MariaDB(group, str(tmp_path))


@pytest.fixture
def cloud(group, mariadb, tmp_path):
    """A Deployment on MariaDB, not set up yet."""
    transport_url = backends.start_rabbitmq(group, str(tmp_path))
    return deployment.Deployment(
        group, str(tmp_path), create(mariadb, "nova"), transport_url)


@contextlib.contextmanager
def step(name):
    """Print what a step took."""
    start = time.monotonic()
    yield
    print("%-60s %7.1f s" % (name, time.monotonic() - start))


def create(mariadb, prefix):
    """Create a cloud's four databases, without a schema."""
    return config.Databases._make(
        mariadb.create("%s_%s" % (prefix, role))
        for role in config.Databases._fields)


def each(function, *arguments):
    """Call a function for each of the databases, all at once."""
    with futures.ThreadPoolExecutor() as pool:
        return list(pool.map(function, *arguments))


def copy_schema(mariadb, source, target):
    """Give an empty database what another one, without rows, has."""
    names = [url.rpartition("/")[2] for url in (source, target)]
    login = ["--no-defaults", "--host=127.0.0.1", "--user=nova",
             "--password=nova", "--port=%d" % mariadb.port]
    dumped = subprocess.run(["mariadb-dump", *login, names[0]], check=True,
                            stdout=subprocess.PIPE)
    subprocess.run(["mariadb", *login, names[1]], check=True,
                   input=dumped.stdout)


def dump(url):
    """Return all rows of all tables, times as MariaDB keeps them."""
    return {name: [
        tuple(value.replace(microsecond=0)
              if isinstance(value, datetime.datetime) else value
              for value in row) for row in rows]
            for name, rows in clouds.dump(url).items()}


def boot(cloud, count, prefix):
    """Boot servers with what a user gives them; return their ids."""
    api = cloud.client
    flavor_id = api.ensure_flavor()
    ids = []
    for first in range(0, count, BATCH):
        batch = []
        for number in range(first, min(first + BATCH, count)):
            body = client.server_body(
                "%s-%d" % (prefix, number), flavor_id)
            body.update(
                key_name="key", tags=["tag", "number-%d" % number],
                description="it's \N{SNOWMAN}",
                metadata={"owner": "Z\N{LATIN SMALL LETTER E WITH ACUTE}"})
            batch.append(api.request(
                "POST", "/servers", {"server": body})["server"]["id"])
        cloud.wait_status(batch, "ACTIVE", STEP_TIMEOUT_S)
        ids += batch
    return ids


def delete(cloud, ids):
    for server_id in ids:
        cloud.client.delete(server_id)
    cloud.wait_gone(ids, STEP_TIMEOUT_S)


def populate(cloud):
    """Make all that a user and an administrator make; return server ids.

    Of every ten servers one is deleted and archived, one only deleted.
    """
    api = cloud.client
    api.request("POST", "/os-keypairs", {"keypair": {"name": "key"}})
    api.request("POST", "/os-server-groups", {"server_group": {
        "name": "group", "policy": "soft-affinity"}})
    aggregate = api.request("POST", "/os-aggregates", {"aggregate": {
        "name": "rack"}})["aggregate"]["id"]
    for action in ({"add_host": {"host": cloud.computes[0]}},
                   {"set_metadata": {"metadata": {"power": "a"}}}):
        api.request("POST", "/os-aggregates/%s/action" % aggregate, action)
    api.request(
        "POST", "/flavors/%s/os-extra_specs" % api.ensure_flavor(),
        {"extra_specs": {"hw:watchdog_action": "pause"}})
    # What no host can take stays in cell0.
    huge = api.request("POST", "/flavors", {"flavor": {
        "name": "huge", "vcpus": 10 ** 6, "ram": 64, "disk": 0,
    }})["flavor"]["id"]
    nowhere = [api.boot("nowhere-%d" % number, huge) for number in range(3)]
    cloud.wait_status(nowhere, "ERROR", STEP_TIMEOUT_S)
    ids = boot(cloud, SERVERS, "server")
    archived, deleted, rest = ids[::10], ids[1::10], ids[2::10]
    delete(cloud, archived + nowhere[:1])
    cloud.manage("db", "archive_deleted_rows", "--until-complete",
                 "--all-cells", status=1)
    delete(cloud, deleted + nowhere[1:2])
    for server_id in rest:
        api.act(server_id, {"os-stop": None})
    cloud.wait_status(rest, "SHUTOFF", STEP_TIMEOUT_S)
    api.act(rest[0], {"lock": {"locked_reason": "because"}})
    cloud.live_migrate(ids[3], STEP_TIMEOUT_S)
    return [server_id for server_id in ids
            if server_id not in archived + deleted]


def listing(cloud):
    """Return what the API says about each server."""
    found = {server["id"]: server for server in cloud.client.servers()}
    for server in found.values():
        # Of the compute: whether it could report meanwhile.
        del server["host_status"]
    return found


def work(cloud, ids):
    """Do something with a cloud that was moved.

    :param ids: of servers, changed to those that are there in the end.
    """
    ids += boot(cloud, 1, "moved")
    delete(cloud, [ids.pop(0), ids.pop(5)])
    started = [server["id"] for server in cloud.client.servers()
               if server["status"] == "SHUTOFF"][:2]
    for server_id in started:
        cloud.client.act(server_id, {"unlock": None})
        cloud.client.act(server_id, {"os-start": None})
    cloud.wait_status(started, "ACTIVE", STEP_TIMEOUT_S)
    cloud.live_migrate(ids[0], STEP_TIMEOUT_S)
    cloud.group.check()


def copy_all(name, sources, targets):
    rows = 0
    for document in each(lambda *urls: commands.copy(name, *urls),
                         sources, targets):
        assert document["verified"]
        rows += document["rows"]
    return rows


def check_rows(dumps):
    """Check that what was made is in the databases, deleted or not."""
    api, cell0, cell1, _ = dumps
    gone = len(range(0, SERVERS, 10))
    assert servers_in(cell1["shadow_instances"]) == gone
    assert servers_in(cell0["shadow_instances"]) == 1
    assert servers_in(cell1["instances"]) == SERVERS - gone
    assert servers_in(cell0["instances"]) == 2
    assert servers_in(api["instance_mappings"]) == SERVERS + 2 - gone
    for tables in dumps:
        assert len(tables["alembic_version"]) == 1


def servers_in(rows):
    # One of Nova's online migrations leaves another, of no project.
    return sum(identity.PROJECT_ID in row for row in rows)


def test_to_the_store_and_back(cloud, cluster, mariadb, tmp_path):
    with step("MariaDB: schemas and start"):
        cloud.set_up()
        cloud.start()
    with step("MariaDB: %d servers booted, some deleted" % SERVERS):
        ids = populate(cloud)
    cloud.manage("db", "online_data_migrations")
    before = listing(cloud)
    assert set(ids) < set(before)
    source = cloud.databases
    store = config.Databases.from_url(cluster.url("nova", **QUERY))
    back = create(mariadb, "back")
    last = create(mariadb, "last")
    cloud.stop_controllers()

    with step("schemas in the store and in MariaDB"):
        for targets in (store, back):
            each(lambda kind, url: clouds.sync(kind, url, str(tmp_path)),
                 KINDS, targets)
        for one, other in zip(back, last):
            copy_schema(mariadb, one, other)
    original = [clouds.dump(url) for url in source]
    check_rows(original)
    with step("import and verification"):
        rows = copy_all("import", source, store)
    assert rows + len(store) == sum(
        len(found) for tables in original for found in tables.values())
    with step("export of %d rows and verification" % rows):
        assert copy_all("export", store, back) == rows
    assert [clouds.dump(url) for url in back] == original
    # Not even the import has changed its source.
    assert [clouds.dump(url) for url in source] == original

    with step("store: start"):
        cloud.move(store)
    assert listing(cloud) == before
    with step("store: boot, start, live migration, deletion"):
        work(cloud, ids)
    moved = listing(cloud)
    assert set(ids) < set(moved)
    cloud.stop_controllers()
    with step("fsck"):
        for report in each(lambda url: commands.run("fsck", "--json", url),
                           store):
            assert json.loads(report)["details"] == []
    with step("export and verification"):
        copy_all("export", store, last)
    assert [dump(url) for url in last] == [dump(url) for url in store]

    with step("MariaDB: start"):
        cloud.move(last)
    assert listing(cloud) == moved
    with step("MariaDB: boot, start, live migration, deletion"):
        work(cloud, ids)
    # What Nova did in the store did not reach the databases it came from.
    assert [clouds.dump(url) for url in source] == original
