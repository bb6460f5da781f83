# SPDX-License-Identifier: Apache-2.0
"""What moving a cell database into the store and back takes.

Copies made-up servers from SQL to one Redis server and back, with the
commands that operators use, and prints for each the time, the CPU time of
the command and the most memory that it had. With --history servers have more
rows, the copy begins while they change, and fsck, backup and restore follow.
"""

import argparse
import contextlib
import json
import os
import subprocess
import tempfile
import time

import sqlalchemy

from tests.cloud import backends
from tests.cloud import commands
from tests.cloud import processes
from tests import fixtures
from tests.functional.cmd import clouds

#: Table -> rows of each server.
ROWS = {"instances": 1, "instance_extra": 1}
HISTORY = {
    **ROWS, "instance_info_caches": 1, "instance_system_metadata": 6,
    "block_device_mapping": 1, "instance_actions": 3,
    "instance_actions_events": 3}
#: One server in so many changes between the two parts of a copy.
CHANGED_SHARE = 100


def measure(arguments):
    """Run nova-kvs, which must succeed; return what it took.

    :returns: dict: seconds, CPU seconds, most resident memory in MB.
    """
    start = time.monotonic()
    process = subprocess.Popen(
        commands.command(*arguments), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("nova-kvs %s failed" % arguments[0])
    return {
        "s": round(time.monotonic() - start, 1),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
        "rss_mb": round(usage.ru_maxrss / 1000)}


def _memory(server):
    client = server.client()
    try:
        text = client.execute_command("INFO", "memory").decode()
    finally:
        client.close()
    return int(text.partition("used_memory:")[2].split()[0])


def _sql(source, stack, directory):
    """Return URLs of two SQL databases."""
    if source == "sqlite":
        return ["sqlite:///%s/%s.db" % (directory, name)
                for name in ("source", "back")]
    group = stack.enter_context(processes.Group())
    server = backends.MariaDB(group, directory)
    return [server.create(name) for name in ("source", "back")]


def _change(url):
    """Do what services do meanwhile: change rows, add some, remove some."""
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for text in (
                "UPDATE instances SET hostname = 'changed' "
                "WHERE id %% %d = 0",
                "DELETE FROM instance_actions_events WHERE id %% %d = 1",
                "INSERT INTO instance_faults (deleted, instance_uuid, code) "
                "SELECT 0, uuid, 500 FROM instances WHERE id %% %d = 2"):
            connection.execute(sqlalchemy.text(text % CHANGED_SHARE))
    engine.dispose()


def _follow(figures, store, directory):
    """Measure what follows on a copy with a history."""
    file = os.path.join(directory, "backup")
    figures["fsck"] = measure(["fsck", store])
    figures["backup"] = measure(["backup", store, "--to", file])
    figures["backup_mb"] = round(os.path.getsize(file) / 1e6, 1)
    figures["restore"] = measure(
        ["restore", file, "--to", store + "_restored",
         "--name", store.rpartition("/")[2]])


def run(source, servers, directory, has_history=False):
    """Copy there and back.

    :param source: "sqlite" or "mariadb".
    :param servers: number of servers.
    :param directory: existing and empty, for all files.
    :param has_history: whether to do all that --history stands for.
    :returns: dict: what was copied, and what each command took.
    """
    with contextlib.ExitStack() as stack:
        url, back = _sql(source, stack, directory)
        server = stack.enter_context(fixtures.RedisServerFixture())
        store = server.url("nova")
        for each in (url, back, store):
            clouds.sync("cell", each, directory)
        rows = clouds.fill(url, servers, HISTORY if has_history else ROWS)
        before = _memory(server)
        figures = {"source": source, "servers": servers, "rows": rows}
        copy = ["import", "--from", url, "--to", store]
        if has_history:
            figures["pre_copy"] = measure([*copy, "--pre-copy"])
            _change(url)
        figures["import"] = measure(copy)
        figures["redis_kb_per_server"] = round(
            (_memory(server) - before) / 1000 / servers, 2)
        if has_history:
            _follow(figures, store, directory)
        figures["export"] = measure(["export", "--from", store, "--to", back])
        return figures


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.copies", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--servers", type=int, action="append", metavar="N",
        help="number of servers, may be repeated (default: 5000 and 20000)")
    parser.add_argument(
        "--source", choices=("sqlite", "mariadb"), default="sqlite",
        help="where they come from and go to (default: %(default)s)")
    parser.add_argument(
        "--history", action="store_true",
        help="sixteen rows a server, and all that is said above")
    arguments = parser.parse_args()
    for servers in arguments.servers or (5000, 20000):
        with tempfile.TemporaryDirectory(
                prefix="nova-kvs-copies-") as directory:
            print(json.dumps(run(
                arguments.source, servers, directory, arguments.history)),
                flush=True)


if __name__ == "__main__":
    main()
