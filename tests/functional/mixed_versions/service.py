# SPDX-License-Identifier: Apache-2.0
"""Nova services that run with whichever nova_kvs is on the path.

Run as a file, never imported, and stands on Nova's interface, so that it is
the same for every version. It reads a JSON object a line: the path of a
configuration file and a list of actions with their arguments. Each action
is done by a process of its own, forked since Nova takes long to import, all
of them side by side. The answer is a line with a list, [status, output] of
each.
"""

import collections
import hashlib
import json
import logging
import os
import random
import sys
import time
import traceback
import uuid

from nova import conf
from nova import context as nova_context
from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import objects
from oslo_db import exception as db_exception
from osprofiler import opts as profiler_opts
import sqlalchemy as sa

import nova_kvs

CONF = conf.CONF
ACCOUNTS = [str(uuid.UUID(int=number)) for number in range(1, 5)]
MONEY = 1000
PROJECTS = ("p0", "p1")
HOSTS = ("h0", "h1", "h2")
CONTEXT = nova_context.RequestContext("u", "p0", is_admin=True)
ALL = nova_context.RequestContext(
    "u", "p0", is_admin=True, read_deleted="yes")


def transact(function):
    """Run a transaction until no other one is in its way."""
    while True:
        try:
            with main_db_api.context_manager.writer.using(
                    CONTEXT.elevated()) as session:
                return function(session)
        except db_exception.DBDeadlock:
            time.sleep(random.uniform(0, 0.02))


def make_server(name, number, rng):
    """Create a server as Nova does; return its UUID."""
    main_db_api.instance_create(CONTEXT, {
        "uuid": name, "project_id": PROJECTS[number % 2], "user_id": "u",
        "host": HOSTS[0], "node": HOSTS[0], "vcpus": 1 + number % 3,
        "memory_mb": 512, "vm_state": "active", "display_name": name,
        "metadata": {"key": name}, "system_metadata": {"a": "1", "b": name}})
    main_db_api.virtual_interface_create(CONTEXT, {
        "instance_uuid": name, "address": "own-" + name,
        "uuid": str(uuid.UUID(int=rng.getrandbits(128)))})
    return name


def prepare():
    """Make the tables, accounts and the counter."""
    models.BASE.metadata.create_all(
        main_db_api.context_manager.writer.get_engine())
    for name in ACCOUNTS:
        main_db_api.instance_create(CONTEXT, {
            "uuid": name, "project_id": "bank", "user_id": "u",
            "memory_mb": MONEY, "vcpus": 1})
    main_db_api.service_create(CONTEXT, {
        "host": "counter", "binary": "b", "topic": "t", "report_count": 0})
    return {}


def increment(session):
    row = session.query(models.Service).filter_by(host="counter").one()
    row.report_count += 1


def transfer(session, source, target):
    rows = {row.uuid: row for row in session.query(models.Instance).filter(
        models.Instance.uuid.in_((source, target)))}
    rows[source].memory_mb -= 1
    rows[target].memory_mb += 1


def take(session, address, name):
    """Insert the row that only one of all services can have."""
    session.add(models.VirtualInterface(
        address=address, uuid=name, instance_uuid=ACCOUNTS[0]))


def work(seed, rounds):
    """Write what others write, too, and look at the own rows meanwhile."""
    rng = random.Random(seed)
    live = {}
    deleted = []
    taken = []
    for turn in range(rounds):
        name = str(uuid.UUID(int=rng.getrandbits(128)))
        make_server(name, turn, rng)
        live[name] = PROJECTS[turn % 2], HOSTS[0]
        moved = rng.choice(list(live))
        host = rng.choice(HOSTS)
        main_db_api.instance_update(
            CONTEXT, moved, {"host": host, "node": host})
        live[moved] = live[moved][0], host
        if turn % 3 == 2:
            gone = rng.choice(list(live))
            main_db_api.instance_destroy(CONTEXT, gone)
            del live[gone]
            deleted.append(gone)
        transact(increment)
        pair = rng.sample(ACCOUNTS, 2)
        transact(lambda session: transfer(session, *pair))
        address = "shared-%d" % turn
        try:
            transact(lambda session: take(
                session, address, "%s-%d" % (seed, turn)))
            taken.append(address)
        except db_exception.DBDuplicateEntry:
            pass
        look(live, deleted)
    return {"live": live, "deleted": deleted, "taken": taken,
            "increments": rounds}


def look(live, deleted):
    """Find what this service wrote through every index."""
    for number, values in ((0, PROJECTS), (1, HOSTS)):
        for value in values:
            column = ("project_id", "host")[number]
            found = {row["uuid"] for row in
                     main_db_api.instance_get_all_by_filters(
                         CONTEXT, {column: value, "deleted": False})}
            wanted = {name for name, places in live.items()
                      if places[number] == value}
            assert wanted <= found, (column, value, wanted - found)
            assert not found & set(deleted), (column, value)
    for project in PROJECTS:
        counts = objects.InstanceList.get_counts(CONTEXT, project)
        assert counts["project"]["instances"] >= sum(
            places[0] == project for places in live.values())


def check():
    """Compare every index with a scan; return what there is."""
    with main_db_api.context_manager.reader.using(
            ALL.elevated()) as session:
        rows = [(row.uuid, row.project_id, row.host, row.vcpus,
                 row.memory_mb, row.deleted)
                for row in session.query(models.Instance)]
        connection = session.connection()
        digests = {}
        for table in models.BASE.metadata.sorted_tables:
            lines = sorted(repr(tuple(row)) for row in connection.execute(
                sa.select(table)))
            digests[table.name] = len(lines), hashlib.sha256(
                "\n".join(lines).encode()).hexdigest()
        counter = session.query(models.Service).filter_by(
            host="counter").one().report_count
        addresses = collections.Counter(
            row.address for row in session.query(models.VirtualInterface))
    live = [row for row in rows if not row[-1]]
    for number, column, values in (
            (1, "project_id", (*PROJECTS, "bank")), (2, "host", HOSTS)):
        for value in values:
            found = sorted(
                row["uuid"] for row in
                main_db_api.instance_get_all_by_filters(
                    CONTEXT, {column: value, "deleted": False}))
            assert found == sorted(
                row[0] for row in live if row[number] == value), (
                    column, value)
    for project in PROJECTS:
        mine = [row for row in live if row[1] == project]
        assert objects.InstanceList.get_counts(
            CONTEXT, project)["project"] == {
                "instances": len(mine), "cores": sum(r[3] for r in mine),
                "ram": sum(r[4] for r in mine)}, project
    for name, *_ in live:
        if name not in ACCOUNTS:
            assert main_db_api.instance_metadata_get(CONTEXT, name) == {
                "key": name}
    assert set(addresses.values()) <= {1}
    return {
        "live": sorted(row[0] for row in live if row[0] not in ACCOUNTS),
        "deleted": sorted(row[0] for row in rows if row[-1]),
        "money": sum(row[4] for row in rows if row[0] in ACCOUNTS),
        "counter": counter, "digests": digests,
        "taken": sorted(address for address in addresses
                        if address.startswith("shared"))}


def housekeep():
    """Do all housekeeping that is due."""
    from nova_kvs.record import database
    return {"done": database.open_database(
        CONF.database.connection).housekeep()}


def run(config_file, action, *arguments):
    CONF([], project="nova", default_config_files=[config_file])
    logging.disable(logging.WARNING)
    # As Nova's services do where osprofiler is installed.
    profiler_opts.set_defaults(CONF)
    main_db_api.configure(CONF)
    return {"prepare": prepare, "work": work, "check": check,
            "housekeep": housekeep}[action](*arguments)


def fork(config_file, action):
    """Start a process for an action; return its id and a file to read."""
    reader, writer = os.pipe()
    child = os.fork()
    if child:
        os.close(writer)
        return child, open(reader)
    status = 1
    with open(writer, "w") as stream:
        try:
            json.dump({"code": nova_kvs.__file__,
                       **run(config_file, *action)}, stream)
            status = 0
        except BaseException:
            traceback.print_exc(file=stream)
    os._exit(status)


def main():
    objects.register_all()
    for line in sys.stdin:
        order = json.loads(line)
        children = [fork(order["config"], action)
                    for action in order["actions"]]
        answers = []
        for child, stream in children:
            with stream:
                output = stream.read()
            answers.append([os.waitpid(child, 0)[1], output])
        print(json.dumps(answers), flush=True)


if __name__ == "__main__":
    main()
