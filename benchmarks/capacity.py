# SPDX-License-Identifier: Apache-2.0
"""What a large cell takes in etcd: space, time and memory.

Imports made-up servers, of which some are deleted, into three members, reads
them page by page in both orders, archives and purges those that are deleted,
compacts and defragments, and prints after each step what it took and how
large the members' files are.
"""

import argparse
import datetime
import json
import logging
import os
import signal
import sys
import tempfile
import time

from nova import conf
from nova import context as nova_context
from nova.db.main import api as main_api
from nova.db.main import models
import nova.objects
from osprofiler import opts as profiler_opts
import sqlalchemy

from benchmarks import backends
from benchmarks import cloud as clouds
from benchmarks import copies
from nova_kvs.db import api as native_api
from tests import etcd_servers
from tests.functional.cmd import clouds as databases

PAGE = 1000
#: One server in so many is deleted.
DELETED_SHARE = 5
#: Rows of a deleted server that Nova leaves as they are.
_KEPT = (models.InstanceAction, models.InstanceActionEvent, models.Migration)
_INSERT_ROWS = 2000
_SHRINK_S = 300
_OPTIONS = ["--quota-backend-bytes", str(8 << 30)]


def _fill(url, cloud):
    """Put a cell's rows into an SQL database; return their number."""
    engine = sqlalchemy.create_engine(url)
    total = 0
    deleted = {clouds.server_uuid(number) for number in range(
        0, cloud.servers, DELETED_SHARE)}
    with engine.begin() as connection:
        for model, rows in cloud.all_rows():
            if model.__table__.metadata is not models.BASE.metadata:
                continue
            if hasattr(model, "deleted_at") and model not in _KEPT:
                for row in rows:
                    if row.get("instance_uuid", row.get("uuid")) in deleted:
                        row["deleted"] = row["id"]
                        row["deleted_at"] = datetime.datetime(2026, 3, 1)
                    else:
                        row["deleted"] = 0
            # Those with a column more go by themselves.
            for has in (True, False):
                some = [row for row in rows if ("deleted_at" in row) is has]
                for first in range(0, len(some), _INSERT_ROWS):
                    connection.execute(
                        model.__table__.insert(),
                        some[first:first + _INSERT_ROWS])
            total += len(rows)
    engine.dispose()
    return total


class Members:
    """Three members, and what they take."""

    def __init__(self, servers):
        self.servers = servers
        self._pids = [each.pid for each in servers.processes.values()]
        self._began = self._cpu_s = 0

    def begin(self):
        """Begin to measure."""
        self._cpu_s = backends.cpu_s(self._pids)
        self._began = time.monotonic()

    def figures(self):
        """Return what was taken since ``begin``."""
        statuses = json.loads(self.servers.control(
            "endpoint", "status", "-w", "json").stdout)
        resident = []
        for pid in self._pids:
            with open("/proc/%d/status" % pid) as file:
                resident += [int(line.split()[1]) for line in file
                             if line.startswith("VmRSS")]
        return {
            "s": round(time.monotonic() - self._began, 1),
            "members_cpu_s": round(
                backends.cpu_s(self._pids) - self._cpu_s, 1),
            "file_mb": round(max(
                each["Status"]["dbSize"] for each in statuses) / 1e6, 1),
            "in_use_mb": round(max(
                each["Status"]["dbSizeInUse"] for each in statuses) / 1e6, 1),
            "members_rss_mb": round(max(resident) / 1000)}

    def shrink(self):
        """Forget all history, and give back what is not used."""
        revision = json.loads(self.servers.control(
            "endpoint", "status", "-w", "json").stdout)[0][
                "Status"]["header"]["revision"]
        for node, command in [
                (None, ("compaction", "--physical", str(revision))),
                *[(each, ("defrag",)) for each in self.servers.nodes]]:
            self.servers.control(
                "--command-timeout", "%ds" % _SHRINK_S, *command,
                nodes=node and [node], timeout_s=_SHRINK_S)


def _open_nova(url, directory):
    path = backends.write_config(
        os.path.join(directory, "nova.conf"), [url, url], "kvs")
    conf.CONF([], project="nova", default_config_files=[path])
    logging.disable(logging.WARNING)
    profiler_opts.set_defaults(conf.CONF)
    main_api.configure(conf.CONF)
    nova.objects.register_all()
    native_api.install()
    return nova_context.RequestContext("user", "project", is_admin=True)


def _page(context, direction):
    """Read all servers; return their number and the slowest page's time."""
    marker = None
    count = 0
    slowest_s = 0
    while True:
        began = time.monotonic()
        found = main_api.instance_get_all_by_filters_sort(
            context, {"deleted": False}, limit=PAGE, marker=marker,
            columns_to_join=["info_cache", "metadata"],
            sort_keys=["created_at", "id"], sort_dirs=[direction] * 2)
        slowest_s = max(slowest_s, time.monotonic() - began)
        count += len(found)
        if len(found) < PAGE:
            return {"servers": count, "slowest_page_s": round(slowest_s, 2)}
        marker = found[-1]["uuid"]


def _archive(context):
    total = 0
    while True:
        _, _, count = main_api.archive_deleted_rows(context, max_rows=PAGE)
        if not count:
            return {"rows": total}
        total += count


def run(servers, directory, report):
    """Do all of it.

    :param report: called with a step's name and its figures.
    """
    source = "sqlite:///%s/source.db" % directory
    databases.sync("cell", source, directory)
    rows = _fill(source, clouds.Cloud(servers))
    with etcd_servers.EtcdFixture(3, options=_OPTIONS) as running:
        members = Members(running)
        url = running.url("nova_cell1")
        databases.sync("cell", url, directory)
        members.begin()
        took = copies.measure(["import", "--from", source, "--to", url])
        report("import", {"rows": rows, "command": took,
                          **members.figures()})

        def step(name, function, *arguments):
            members.begin()
            found = function(*arguments) or {}
            report(name, {**found, **members.figures()})

        step("compact and defragment", members.shrink)
        context = _open_nova(url, directory)
        step("pages, latest first", _page, context, "desc")
        step("pages, first first", _page, context, "asc")
        step("archive", _archive, context)
        step("purge", lambda: {
            "rows": main_api.purge_shadow_tables(context, None)})
        step("compact and defragment again", members.shrink)
        report("fsck", copies.measure(["fsck", url]))


def main():
    # So that the servers are stopped, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.capacity", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=20000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nova-kvs-size-") as directory:
        run(arguments.servers, directory, lambda name, figures: print(
            json.dumps({"step": name, **figures}), flush=True))


if __name__ == "__main__":
    main()
