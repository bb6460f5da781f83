# SPDX-License-Identifier: Apache-2.0
"""One experiment, from the first process to the figures."""

import collections
import contextlib
import datetime
import os
import platform
import shlex
import subprocess
import tempfile
import threading
import time

import sqlalchemy

from experiments import cloud as clouds
from experiments import load
from experiments import network as networks
from experiments import stores
from experiments import traces
from tests.cloud import backends
from tests.cloud import processes

_LEVELS = (" ERROR ", " CRITICAL ")
_MAX_TEXTS = 10
#: Longer than a process goes by what it measured of the links before.
SETTLE_S = 12


def say(text, start=time.monotonic()):
    print("%6.1f s  %s" % (time.monotonic() - start, text), flush=True)


@contextlib.contextmanager
def running(arguments, directory, noted=None):
    """Yield a cloud that runs, its network and its store.

    :param noted: directory for what its services note; None: nothing.
    """
    controllers = ["controller%d" % (number + 1)
                   for number in range(arguments.controllers)]
    computes = ["compute%d" % (number + 1)
                for number in range(arguments.computes)]
    with networks.Network(arguments.sites, noted) as network, \
            processes.Group() as group:
        try:
            say("starting %s" % arguments.backend)
            store = stores.STORES[arguments.backend](
                group, directory, network, arguments)
            brokers = [
                _start_broker(group, directory, network, site)
                for site in network.sites[
                    :None if arguments.cells == "site" else 1]]
            cloud = clouds.Cloud(
                group, directory, network, store, brokers, controllers,
                computes, _options(arguments))
            say("making the databases")
            cloud.set_up()
            say("starting Nova")
            cloud.start()
            yield cloud, network, store
        except BaseException:
            if arguments.logs:
                print(group.tails())
            raise


def _options(arguments):
    """Return what is to be in every configuration file."""
    options = {"filter_scheduler": {
        # With 1, Nova's default, each scheduler gives all servers to the
        # host that it finds best, and whatever Nova asks Placement about
        # each server of a host at each boot grows with their square.
        "host_subset_size": arguments.computes}}
    if arguments.backend == "kvs":
        options["nova_kvs"] = {
            "db_api": "kvs" if arguments.native == "on" else "none"}
    else:
        # Placement would have 15 connections, and its requests wait half a
        # minute for one when as many of them have met a deadlock.
        options["placement_database"] = {
            "max_pool_size": 20, "max_overflow": 100}
    return options


@contextlib.contextmanager
def home_directory(keep):
    """Yield the directory for all files.

    :param keep: a new one that is to stay, or None.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(
                prefix="nova-kvs-experiment-") as directory:
            yield directory
    else:
        os.makedirs(keep)
        yield os.path.abspath(keep)


def noted_directory(directory):
    """Return the directory for what services note, which is made."""
    path = os.path.join(directory, "traces")
    os.makedirs(path, exist_ok=True)
    return path


def _start_broker(group, directory, network, site):
    home = os.path.join(directory, "broker%d" % site)
    url = backends.start_rabbitmq(group, home, networks.address(site))
    network.serve(site, sqlalchemy.make_url(url).port)
    return url


def cpu_seconds(cloud, network, store):
    """Return CPU seconds so far by role."""
    by_role = {role: sum(process.cpu_s() for process in members)
               for role, members in cloud.services.items()}
    by_role["store"] = sum(process.cpu_s() for process in store.processes)
    by_role["rabbitmq"] = sum(
        process.cpu_s() for process in cloud.group.processes
        if process.name == "rabbitmq")
    by_role["links"] = network.cpu_s()
    return by_role


def difference(after, before):
    return {name: round(value - before[name], 2)
            for name, value in after.items()}


def _cut_timer(arguments, network, site):
    """Cut a site off for a while, in a thread of its own."""
    def run():
        time.sleep(arguments.cut_after_s)
        network.cut(site)
        say("site %d is cut off" % site)
        time.sleep(arguments.cut_s)
        network.heal(site)
        say("site %d is back" % site)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def run(arguments, command):
    """Run one experiment.

    :param arguments: of the command line.
    :param command: the words of it.
    :yields: the figures for each delay, as json.dump takes them.
    """
    before = os.getloadavg()
    with home_directory(arguments.keep) as directory, running(
            arguments, directory, noted_directory(directory)
            if arguments.profile else None) as (cloud, network, store):
        for number, delay_ms in enumerate(arguments.delay_ms, 1):
            network.set_delay(delay_ms)
            if delay_ms:
                time.sleep(SETTLE_S)
            is_last = number == len(arguments.delay_ms)
            boots, figures = _measure(
                arguments, cloud, network, store, directory,
                arguments.cut if is_last else None)
            yield {
                "command": "python -m experiments "
                           + shlex.join(command),
                "environment": _environment(before, figures.pop("load")),
                "delay_ms": delay_ms,
                **{name: getattr(arguments, name) for name in (
                    "backend", "cells", "native", "sites", "controllers",
                    "computes", "servers", "concurrency", "building",
                    "replicas", "cell_replicas",
                    "cut_after_s", "cut_s")},
                "note": ", ".join(
                    "=".join(option) for option in arguments.kvs_option),
                **figures}
            if not is_last:
                say("deleting them")
                network.set_delay(0)
                _delete(cloud, boots, arguments.timeout_s)
        say("stopping")


def _measure(arguments, cloud, network, store, directory, cut):
    """Boot servers and look what came of it.

    :param directory: for files.
    :param cut: site to cut off meanwhile, or None.
    :returns: (Boots, figures).
    """
    say("booting %d servers" % arguments.servers)
    load_start = os.getloadavg()
    network.take_stats()
    counters = store.counters()
    cpu = cpu_seconds(cloud, network, store)
    busy = _machine_cpu_s()
    timer = None
    if cut is not None:
        timer = _cut_timer(arguments, network, cut)
    begin = time.monotonic()
    boots = load.boot(cloud, arguments.servers, arguments.concurrency,
                      arguments.timeout_s, arguments.building)
    busy = _machine_cpu_s() - busy
    cpu = difference(cpu_seconds(cloud, network, store), cpu)
    profile = arguments.profile and traces.Traces(
        noted_directory(directory), traces.role_finder(cloud.services)).shares(
            begin, time.monotonic())
    if timer:
        timer.join()
    figures = {
        "load": load_start,
        "cut": cut,
        **_results(boots, arguments.servers),
        "cpu_s": cpu,
        "profile": profile or None,
        # Of everything that ran on the machine meanwhile.
        "machine_cpu_s": round(busy, 1),
        "links": network.take_stats(),
        "store": {**difference(store.counters(), counters),
                  **store.outcomes()},
        "log_errors": _log_errors(cloud),
        "left_over": _left_over(cloud, boots),
        "homes": _homes(cloud, store, boots),
    }
    say("%d active after %.1f s" % (figures["active"], boots.seconds))
    figures["api"].update(load.time_reads(cloud, boots))
    return boots, figures


def _delete(cloud, boots, timeout_s):
    for server_id in boots.servers:
        cloud.client.delete(server_id)
    try:
        cloud.wait_gone(boots.servers, timeout_s)
    except processes.ProcessError as error:
        # A message that got lost leaves a server that nobody deletes; it
        # will be among what is left over. Were it a process that ended, the
        # next boots would say so.
        say(str(error))


def _machine_cpu_s():
    """Return the CPU seconds that the machine has worked."""
    with open("/proc/stat") as stream:
        user, nice, system, _idle, _wait, irq, softirq = map(
            int, stream.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def _environment(before, start):
    def version(program):
        return subprocess.run(
            [program, "--version"], capture_output=True, text=True, env={
                **os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin"},
        ).stdout.strip()
    return {
        "date": datetime.datetime.now(
            datetime.timezone.utc).isoformat(timespec="seconds"),
        "python": platform.python_version(), "cpus": os.cpu_count(),
        "sqlalchemy": sqlalchemy.__version__,
        "redis": version("redis-server"), "mariadb": version("mariadbd"),
        # One minute's average: before it all, before and after the boots.
        "load": [round(found[0], 1)
                 for found in (before, start, os.getloadavg())],
    }


def _results(boots, count):
    statuses = collections.Counter(
        server["status"] for server in boots.servers.values())
    refused = [request for request in boots.requests if request.error]
    faults = [server["fault"]["message"] for server in boots.servers.values()
              if server.get("fault")]
    return {
        "seconds": round(boots.seconds, 2),
        "active": len(boots.active),
        "failures": count - len(boots.active),
        "statuses": dict(statuses),
        "refused": len(refused),
        "refused_by_controller": dict(collections.Counter(
            request.controller for request in refused)),
        "errors": [text for text, _times in collections.Counter(
            [request.error for request in refused] + faults
        ).most_common(_MAX_TEXTS)],
        "api": {"boot": load.percentiles(
            [request.seconds for request in boots.requests
             if not request.error])},
    }


def _log_errors(cloud):
    """Count the lines about errors in the services' logs by role."""
    counts = {}
    for role, members in cloud.services.items():
        for process in members:
            with open(process.log_path, errors="replace") as stream:
                counts[role] = counts.get(role, 0) + sum(
                    any(level in line for level in _LEVELS)
                    for line in stream)
    return counts


_COUNTS = {
    "build_requests": ("api", "SELECT count(*) FROM build_requests"),
    "consumers": ("placement", "SELECT count(*) FROM consumers"),
}


def _left_over(cloud, boots):
    """Compare what the databases hold with the servers that run.

    :returns: dict of ``build_requests`` and of ``consumers``: those in
        Placement beyond the servers that are ACTIVE.
    """
    found = {}
    for name, (database, statement) in _COUNTS.items():
        engine = sqlalchemy.create_engine(
            getattr(cloud.databases, database))
        with engine.connect() as connection:
            found[name] = connection.execute(
                sqlalchemy.text(statement)).scalar()
        engine.dispose()
    found["consumers"] -= len(boots.active)
    return found


def _homes(cloud, store, boots):
    """Count the servers by where they were booted and where their keys are.

    :returns: dict of "site booted on > sites that hold it" to servers.
    """
    if not isinstance(store, stores.KVS):
        return {}
    active = set(boots.active)
    servers = {request.server_id: cloud.site_of(request.controller)
               for request in boots.requests if request.server_id in active}
    counts = collections.Counter(
        "%d > %s" % (servers[server_id], ",".join(map(str, homes)))
        for server_id, homes in store.homes(servers).items())
    return dict(sorted(counts.items()))
