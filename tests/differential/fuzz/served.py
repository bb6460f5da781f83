# SPDX-License-Identifier: Apache-2.0
"""A process with the demo's cloud, which answers until its input ends::

    python -m tests.differential.fuzz.served URL DIRECTORY

It prints the base URLs of Nova's and Placement's API as JSON.
"""

import itertools
import json
import os
import sys
import uuid

from oslo_utils import uuidutils
import sqlalchemy

from nova_kvs.demo import cloud as demo_cloud
from nova_kvs.demo import config

TOKEN = "fuzz"
COMPUTES = 2


def _use_sqlite_with_threads():
    """Let a transaction take SQLite's lock when it begins, and wait for it.

    One that reads first and finds the lock taken when it writes is refused
    at once: services on threads would fail.
    """
    @sqlalchemy.event.listens_for(sqlalchemy.engine.Engine, "connect")
    def _wait(connection, _record):
        connection.execute("PRAGMA busy_timeout = 60000")

    @sqlalchemy.event.listens_for(
        sqlalchemy.engine.Engine, "before_cursor_execute", retval=True)
    def _begin(_connection, _cursor, statement, parameters, _context, _many):
        if statement == "BEGIN":
            statement = "BEGIN IMMEDIATE"
        return statement, parameters


def _number_uuids():
    """Let UUIDs rise, for some lists are in their order.

    So both clouds list their servers in the order in which they were made.
    """
    numbers = itertools.count(1)

    def generate(dashed=True):
        made = uuid.UUID(
            int=next(numbers) << 96 | uuid.uuid4().int & (1 << 96) - 1)
        return str(made) if dashed else made.hex

    uuidutils.generate_uuid = generate


def main(url, directory):
    """Serve a cloud on the databases that a URL names."""
    demo_cloud.use_native_threads()
    _number_uuids()
    if url.startswith("sqlite"):
        _use_sqlite_with_threads()
    cloud = demo_cloud.Cloud(
        config.Databases.from_url(url), directory,
        os.path.join(directory, "log"), TOKEN, COMPUTES, 1)
    for _step in cloud.steps():
        pass
    print(json.dumps([cloud.api_urls[0], cloud._placement.url]), flush=True)
    sys.stdin.read()
    # Nova's pools of threads have no end of their own.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
