# SPDX-License-Identifier: Apache-2.0
"""Measures the CPU time of Nova's database layer for one server boot.

A whole cloud boots servers, one after another, on SQLite, on the KVS
dialect, and with the native functions in front. Each runs in a process of
its own. Every function that asks a database is wrapped with a counter and a
timer of its thread's CPU time; of calls inside of each other the outermost
counts. Placement has no such functions and is left out.
"""

import argparse
import collections
import contextlib
import functools
import inspect
import json
import multiprocessing
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time

from tests import fixtures

#: What each backend sets for Nova, in oslo.config's environment variables.
BACKENDS = {
    "sqlite": {},
    "dialect": {"OS_NOVA_KVS__DB_API": "none"},
    "native": {},
}
# Only calls that belong to a boot: no heartbeats, no periodic tasks.
_ENVIRONMENT = {
    "OS_DEFAULT__REPORT_INTERVAL": "3600",
    "OS_DEFAULT__SERVICE_DOWN_TIME": "7200",
    "OS_DEFAULT__PERIODIC_ENABLE": "false",
}
_WARM_UP = 5
_TOP = 10
#: A boot has ended when no function was called for so long, seconds.
_QUIET_S = 1.5
_BOOT_TIMEOUT_S = 60


class Recorder:
    """Counts calls of functions and the CPU time of their threads."""

    def __init__(self, clock=time.thread_time):
        self._clock = clock
        self._thread = threading.local()
        self._lock = threading.Lock()
        self._calls = collections.Counter()
        self._cpu_s = collections.Counter()
        self._running = 0
        self._last_end = 0

    def wrap(self, name, function):
        """Return a function that does the same and is recorded."""
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            if getattr(self._thread, "is_inside", False):
                return function(*args, **kwargs)
            self._thread.is_inside = True
            with self._lock:
                self._running += 1
            before = self._clock()
            try:
                return function(*args, **kwargs)
            finally:
                cpu_s = self._clock() - before
                self._thread.is_inside = False
                with self._lock:
                    self._running -= 1
                    self._calls[name] += 1
                    self._cpu_s[name] += cpu_s
                    self._last_end = time.monotonic()
        return wrapper

    def replace(self, owner, name):
        """Put a recorded function into a module or class.

        :returns: function that tells whether it is still there.
        """
        raw = inspect.getattr_static(owner, name)
        kind = type(raw) if isinstance(
            raw, (classmethod, staticmethod)) else None
        wrapper = self.wrap(
            "%s.%s" % (owner.__name__.rpartition(".")[2], name),
            raw.__func__ if kind else raw)
        put = kind(wrapper) if kind else wrapper
        setattr(owner, name, put)
        return lambda: inspect.getattr_static(owner, name) is put

    def is_quiet(self, seconds):
        """Return whether nothing has run for some seconds."""
        with self._lock:
            return not self._running and (
                time.monotonic() - self._last_end >= seconds)

    def take(self):
        """Return (calls, CPU seconds) by function, and forget them."""
        with self._lock:
            taken = self._calls, self._cpu_s
            self._calls = collections.Counter()
            self._cpu_s = collections.Counter()
            return taken


def _record_all(recorder):
    """Wrap every function of Nova's that asks a database.

    Afterwards, because putting the native functions in place would
    replace the wrappers.

    :returns: (functions that tell whether their wrapper is in place, number
        of native functions among them).
    """
    from nova_kvs.db import dispatch
    from nova_kvs.db import native

    places = {}
    natives = 0
    for name, _how in dispatch.coverage():
        target = "nova." + name if ":" in name else "%s:%s" % (
            native.MAIN, name)
        try:
            owner, attribute = native.lookup(target)
            function = getattr(owner, attribute)
        except AttributeError:
            # This release of Nova does not have it.
            continue
        natives += function is native.REGISTRY.get(target)
        places[owner, attribute] = None
    for owner, attribute, _raw in dispatch._reader_modes():
        places[owner, attribute] = None
    return [recorder.replace(*place) for place in places], natives


def _measure(client, servers):
    """Boot servers and return the figures of their boots."""
    flavor_id = client.ensure_flavor()
    for number in range(_WARM_UP):
        server_id = client.boot("warm-%d" % number, flavor_id)
        fixtures.wait_for(
            lambda: client.server(server_id)["status"] == "ACTIVE",
            "the server is active", _BOOT_TIMEOUT_S)
    recorder = Recorder()
    in_place, natives = _record_all(recorder)
    boots = []
    # The first shows that the wrappers work and is not counted.
    for number in range(servers + 1):
        server_id = client.boot("boot-%d" % number, flavor_id)
        fixtures.wait_for(lambda: recorder.is_quiet(_QUIET_S),
                          "the boot ends", _BOOT_TIMEOUT_S)
        boots.append(recorder.take())
        if client.server(server_id)["status"] != "ACTIVE":
            raise AssertionError("server %s is not active" % server_id)
        recorder.take()
    if not all(check() for check in in_place):
        raise AssertionError("functions were replaced while measuring")
    return dict(summary(boots[1:]), native_functions=natives)


def summary(boots):
    """Return figures for one boot.

    :param boots: for each boot (calls, CPU seconds) by function.
    :returns: dict of medians, and "functions", the dearest first, with
        mean and median.
    """
    calls = sum((boot[0] for boot in boots), collections.Counter())
    cpu_s = collections.Counter()
    for boot in boots:
        cpu_s.update(boot[1])
    return {
        "boots": len(boots),
        "calls": statistics.median(boot[0].total() for boot in boots),
        "cpu_ms": 1000 * statistics.median(
            boot[1].total() for boot in boots),
        "functions": [
            {"function": name, "calls": calls[name] / len(boots),
             "cpu_ms": 1000 * seconds / len(boots),
             "median_cpu_ms": 1000 * statistics.median(
                 boot[1][name] for boot in boots)}
            for name, seconds in cpu_s.most_common()],
    }


def _run(environment, url, directory, servers, connection):
    """Measure one backend in this process, then end it."""
    os.environ.update(_ENVIRONMENT, **environment)
    from nova_kvs.demo import client as clients
    from nova_kvs.demo import cloud as clouds
    from nova_kvs.demo import config

    clouds.use_native_threads()
    token = secrets.token_hex(16)
    cloud = clouds.Cloud(config.Databases.from_url(url), directory,
                         os.path.join(directory, "log"), token, 1, 1)
    status = 1
    try:
        for _step in cloud.steps():
            pass
        client = clients.Client(cloud.api_urls, token)
        connection.send(_measure(client, servers))
        status = 0
    except BaseException as error:
        # Whatever it is: the thread pools would keep the process alive.
        connection.send(repr(error))
    os._exit(status)


def measure(name, servers):
    """Return the figures of a backend, measured in another process.

    :raises RuntimeError: with the reason if that did not work.
    """
    spawning = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="nova-kvs-boot-"))
        if name == "sqlite":
            url = "sqlite:///%s/nova" % directory
        else:
            url = stack.enter_context(
                fixtures.RedisServerFixture()).url("nova")
        ours, theirs = spawning.Pipe(duplex=False)
        process = spawning.Process(target=_run, args=(
            BACKENDS[name], url, directory, servers, theirs))
        process.start()
        theirs.close()
        try:
            result = ours.recv()
        except EOFError:
            result = "the process ended"
        finally:
            process.kill()
            process.join()
    if isinstance(result, str):
        raise RuntimeError("%s: %s" % (name, result))
    return result


def _print(name, figures):
    print("%s: %.1f ms of CPU, %d calls a boot (median of %d)" % (
        name, figures["cpu_ms"], figures["calls"], figures["boots"]))
    for row in figures["functions"][:_TOP]:
        print("  %7.2f ms %5.1f calls  %s" % (
            row["cpu_ms"], row["calls"], row["function"]))
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.boot", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=20, metavar="N",
                        help="servers to boot (default: %(default)s)")
    parser.add_argument("--backend", choices=BACKENDS, action="append",
                        help="measure only this one")
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    arguments = parser.parse_args()
    results = {}
    for name in arguments.backend or BACKENDS:
        results[name] = measure(name, arguments.servers)
        _print(name, results[name])
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
