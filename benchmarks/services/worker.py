# SPDX-License-Identifier: Apache-2.0
"""A process of a service with one database, that calls what it is told to.

Run with the name of a service's module, a configuration file, the database's
URL and the number of resources. Orders and answers are those of
``benchmarks.worker``; ``{"answers": true}`` returns a digest of each answer,
and ``{"names": true}`` the names of the calls.
"""

import decimal
import hashlib
import importlib
import json
import logging
import random
import sys

import sqlalchemy as sa

from benchmarks import counting
from nova_kvs.dialect import workspace
from nova_kvs.record import database


class World:
    """What calls choose from.

    :param service: what the service's module has started.
    """

    def __init__(self, service):
        self.service = service
        self.chosen = 0

    def number(self):
        """Return the number of the resource that a call is about."""
        return self.chosen


def _count_rows():
    """Return a function that tells how many rows were loaded so far."""
    loaded = 0
    put = workspace.Workspace._put

    def counting(self, state, info, rows):
        nonlocal loaded
        loaded += len(rows)
        return put(self, state, info, rows)

    workspace.Workspace._put = counting
    return lambda: loaded


def _mariadb_rows(url):
    """Return a function that tells how many rows were read so far.

    It counts what the storage engine was asked for, by all connections.
    """
    connection = sa.create_engine(url).connect().execution_options(
        isolation_level="AUTOCOMMIT")
    text = sa.text("SHOW GLOBAL STATUS LIKE 'Handler_read%'")
    return lambda: sum(int(value) for _name, value in connection.execute(text))


def _counters(url):
    """Return functions: (trips, commands, bytes_in), and rows."""
    if sa.make_url(url).get_backend_name() == "kvs":
        stats = database.open_database(url).store.stats
        return (lambda: (stats.round_trips, stats.commands, stats.bytes_in),
                _count_rows())
    rows = _mariadb_rows(url)
    counting.count_mysql_commands()
    return lambda: (counting.mysql_commands(), 0, 0), rows


def _digest(value):
    """Return a text that is equal where answers are, in whatever order."""
    found = _plain(value)
    if isinstance(found, list):
        # Some lists have no order of their own.
        found = sorted(json.dumps(item, sort_keys=True) for item in found)
    text = json.dumps(found, sort_keys=True)
    return "%d %s" % (len(value) if hasattr(value, "__len__") else 1,
                      hashlib.sha256(text.encode()).hexdigest()[:16])


def _plain(value):
    """Return an answer as what json.dump takes; models are their id."""
    if isinstance(value, dict):
        return {str(name): _plain(found) for name, found in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(found) for found in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, decimal.Decimal):
        # What MariaDB returns of a SUM.
        return int(value)
    return str(getattr(value, "id", value))


def main(module, config_file, url, size):
    service = importlib.import_module("benchmarks.services." + module)
    trips, rows = _counters(url)
    world = World(service.start(config_file))
    # Deprecations would be printed at each call.
    logging.disable(logging.WARNING)

    def prepare(name, number):
        call = service.CALLS[name]

        def run():
            world.chosen = number
            return call(world)
        return run

    ready = []
    print(json.dumps({"pid": "ready"}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        if "names" in order:
            answer = {"names": list(service.CALLS)}
        elif "answers" in order:
            answer = {"answers": [_digest(function()) for function in ready]}
        elif "run" in order:
            before = rows()
            answer = counting.measure(ready, trips)
            answer["rows"] = rows() - before
        else:
            numbers = random.Random(order["seed"])
            ready = [prepare(order["call"], numbers.randrange(size))
                     for _ in range(order["count"])]
            answer = {}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
