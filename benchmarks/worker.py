# SPDX-License-Identifier: Apache-2.0
"""A Nova process with one backend, that calls what it is told to.

Run with a configuration file, the number of servers and a module with
``CALLS`` and ``clouds``. It reads a JSON
object a line and answers each with one: ``{"call": name, "count": n, "seed":
s}`` makes calls ready, ``{"run": true}`` runs and measures them.
"""

import importlib
import json
import logging
import random
import sys

from nova import conf
from nova import context as nova_context
from nova.db.api import api as api_db_api
from nova.db.main import api as main_db_api
import nova.objects
from osprofiler import opts as profiler_opts
import sqlalchemy as sa

from benchmarks import calls as hot_calls
from benchmarks import counting
from nova_kvs.db import api as native_api
from nova_kvs.record import database

CONF = conf.CONF


def _counter():
    """Return a function that tells what was sent and received so far.

    :returns: function that returns round trips, commands and bytes.
    """
    urls = {CONF.database.connection, CONF.api_database.connection}
    if sa.make_url(CONF.database.connection).get_backend_name() != "kvs":
        counting.count_mysql_commands()
        return lambda: (counting.mysql_commands(), 0, 0)
    stores = {id(store): store for store in (
        database.open_database(url).store for url in urls)}.values()
    return lambda: tuple(
        sum(getattr(store.stats, name) for store in stores)
        for name in ("round_trips", "commands", "bytes_in"))


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
            answer = counting.measure(ready, trips)
        else:
            world.random.seed(order["seed"])
            ready = [by_name[order["call"]].prepare(world)
                     for _ in range(order["count"])]
            answer = {}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
