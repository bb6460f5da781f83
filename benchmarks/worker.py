# SPDX-License-Identifier: Apache-2.0
"""A Nova process with one backend, that calls what it is told to.

Run with a configuration file, the number of servers and a module with
``CALLS`` and ``clouds``. It reads a JSON
object a line and answers each with one: ``{"call": name, "count": n, "seed":
s}`` makes calls ready, ``{"run": true}`` runs and measures them.
"""

import functools
import importlib
import json
import logging
import random
import sys
import time

from nova import conf
from nova import context as nova_context
from nova.db.api import api as api_db_api
from nova.db.main import api as main_db_api
import nova.objects
from osprofiler import opts as profiler_opts
import pymysql
import sqlalchemy as sa

from benchmarks import calls as hot_calls
from nova_kvs.db import api as native_api
from nova_kvs.record import database

CONF = conf.CONF
#: Commands sent to MariaDB; each is answered before the next one.
_mysql_commands = 0


def _count_commands():
    execute = pymysql.connections.Connection._execute_command

    @functools.wraps(execute)
    def counting(*args, **kwargs):
        global _mysql_commands
        _mysql_commands += 1
        return execute(*args, **kwargs)

    pymysql.connections.Connection._execute_command = counting


def _counter():
    """Return a function that tells what was sent and received so far.

    :returns: function that returns round trips, commands and bytes.
    """
    urls = {CONF.database.connection, CONF.api_database.connection}
    if sa.make_url(CONF.database.connection).get_backend_name() != "kvs":
        _count_commands()
        return lambda: (_mysql_commands, 0, 0)
    stores = {id(store): store for store in (
        database.open_database(url).store for url in urls)}.values()
    return lambda: tuple(
        sum(getattr(store.stats, name) for store in stores)
        for name in ("round_trips", "commands", "bytes_in"))


def _measure(ready, trips):
    """Run the functions and return what they took."""
    walls = []
    errors = {}
    trips_before = trips()
    cpu_before = time.process_time()
    for function in ready:
        before = time.perf_counter()
        try:
            function()
        except Exception as error:
            # Whatever it is: the report must show that there was one.
            errors[repr(error)[:300]] = errors.get(repr(error)[:300], 0) + 1
            continue
        walls.append(time.perf_counter() - before)
    cpu_s = time.process_time() - cpu_before
    done = [after - before for before, after in zip(trips_before, trips())]
    return {"wall_s": walls, "cpu_s": cpu_s, "errors": errors,
            **dict(zip(("trips", "commands", "bytes_in"), done))}


def main(config_file, servers, module):
    calls = importlib.import_module(module)
    CONF([], project="nova", default_config_files=[config_file])
    # Deprecations would be printed at each call.
    logging.disable(logging.WARNING)
    # As Nova's services do where osprofiler is installed.
    profiler_opts.set_defaults(CONF)
    main_db_api.configure(CONF)
    api_db_api.configure(CONF)
    nova.objects.register_all()
    trips = _counter()
    if CONF.nova_kvs.db_api != "none":
        native_api.install()
    by_name = {call.name: call for call in calls.CALLS}
    world = hot_calls.World(
        calls.clouds.Cloud(servers),
        nova_context.RequestContext("user", "project", is_admin=True),
        random.Random())
    ready = []
    print(json.dumps({"pid": "ready"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "run" in order:
            answer = _measure(ready, trips)
        else:
            world.random.seed(order["seed"])
            ready = [by_name[order["call"]].prepare(world)
                     for _ in range(order["count"])]
            answer = {}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
