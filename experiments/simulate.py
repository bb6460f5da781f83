# SPDX-License-Identifier: Apache-2.0
"""The database calls of many controllers and computes, without Nova.

Processes play the calls of N controllers and M computes, at their pace, to a
Redis Cluster: heartbeats, periodic tasks, and the calls of the boots. What
Placement does is not among them.
"""

import collections
from concurrent import futures
import heapq
import json
import logging
import multiprocessing
import os
import random
import statistics
import tempfile
import time

from benchmarks import backends
from benchmarks import cloud as clouds
from nova_kvs.record import database
from tests.differential import clouds as schemas
from tests import fixtures

#: Calls a second of a controller (conductor and scheduler) and of a compute.
_CONTROLLER = {"service_update (heartbeat)": 2 / 10}
_COMPUTE = {
    "service_update (heartbeat)": 1 / 10,
    # The resource tracker's task, once a minute.
    "instance_get_all_by_host": 1 / 60, "compute_node_update": 1 / 60,
    "migration_get_all_by_filters": 1 / 60,
    "service_get_by_compute_host": 1 / 60}
#: Calls of one boot: of the sequence of a boot those that have a benchmark.
_BOOT = {
    "instance_create": 1, "instance_update_and_get_original": 6,
    "instance_extra_update_by_uuid": 6, "instance_get_by_uuid": 2,
    "action_event_start": 1, "action_event_finish": 1,
    "InstanceMapping._get_by_instance_uuid_from_db": 2,
    "InstanceMapping._save_in_db": 1,
    "HostMapping._get_by_host_from_db": 1,
    "InstanceList._get_counts_in_db": 2,
    "RequestSpec._get_by_instance_uuid_from_db": 1,
    "InstanceGroup._get_from_db_by_instance": 1,
    "Flavor._flavor_get_by_flavor_id_from_db": 1,
    "aggregate._get_by_host_from_db": 1,
    "block_device_mapping_get_all_by_instance": 2,
    "block_device_mapping_update": 1,
    "Quotas._get_all_from_db_by_project_and_user": 2,
    "quota_get_all_by_project_and_user": 2,
    "service_get_all_by_binary": 1, "service_get_by_compute_host": 1}
#: Calls that are later than this at the end: the clients do not keep up.
_LATE_S = 1.0
_BUSY = 0.85
_HOTTEST = 5


def rates(controllers, computes, boots_per_s):
    """Return {call: how often a second} of a cloud."""
    found = collections.Counter()
    for calls, count in ((_CONTROLLER, controllers), (_COMPUTE, computes),
                         (_BOOT, boots_per_s)):
        for name, rate in calls.items():
            found[name] += rate * count
    return {name: rate for name, rate in found.items() if rate}


def arrivals(calls, seconds, chance):
    """Yield (when, call) in order, at random times.

    :param calls: of ``rates``. :param chance: random.Random.
    """
    heap = [(chance.expovariate(rate), name) for name, rate in calls.items()]
    heapq.heapify(heap)
    while heap and heap[0][0] < seconds:
        when, name = heap[0]
        yield when, name
        heapq.heapreplace(
            heap, (when + chance.expovariate(calls[name]), name))


def partition_of(key):
    """Return the kind of what a key belongs to.

    With it goes the name of a table or index, of which there is one partition
    or a few: these may be hot, others are as many as servers.
    """
    parts = key.partition(b"{")[2].partition(b"}")[0].split(b":")
    name = b":".join(parts[1:3] if parts[1] in (b"t", b"h") else parts[1:2])
    return name.decode()


def _play(number, config, servers, calls, seconds):
    """Play calls in this process.

    :param calls: of ``rates``, this process's share.
    :returns: figures, for ``summary``.
    """
    from nova import context as nova_context
    from nova.db.api import api as api_db_api
    from nova.db.main import api as main_db_api
    import nova.objects
    from osprofiler import opts as profiler_opts

    from benchmarks import calls as known
    from nova_kvs.db import api as native_api

    known_calls = {call.name: call for call in known.CALLS}
    conf = nova.conf.CONF
    conf([], project="nova", default_config_files=[config])
    logging.disable(logging.WARNING)
    profiler_opts.set_defaults(conf)
    main_db_api.configure(conf)
    api_db_api.configure(conf)
    nova.objects.register_all()
    native_api.install()
    hot = collections.Counter()
    store = database.open_database(conf.database.connection).store
    batch = store.batch

    def counting(items, *args, **kwargs):
        hot.update(partition_of(item.key) for item in items
                   if hasattr(item, "key"))
        return batch(items, *args, **kwargs)

    store.batch = counting
    world = known.World(
        clouds.Cloud(servers), nova_context.RequestContext(
            "user", "project", is_admin=True), random.Random(number))
    for name in calls:
        # Makes connections, compiles and learns.
        known_calls[name].prepare(world)()
    hot.clear()
    took, errors, late_s = collections.defaultdict(list), 0, 0.0
    cpu, begin = time.process_time(), time.monotonic()
    for when, name in arrivals(calls, seconds, world.random):
        function = known_calls[name].prepare(world)
        late_s = time.monotonic() - begin - when
        if late_s < 0:
            time.sleep(-late_s)
        elif late_s > seconds:
            break
        before = time.perf_counter()
        try:
            function()
        except Exception:  # Counted: a run must show that there were some.
            errors += 1
        took[name].append(time.perf_counter() - before)
    return {
        "took": dict(took), "errors": errors, "late_s": max(0.0, late_s),
        "seconds": time.monotonic() - begin,
        "cpu_s": time.process_time() - cpu, "hot": hot}


def _measure(config, pids, servers, calls, arguments):
    """Play calls in several processes.

    :returns: figures, as json.dump takes them.
    """
    shares = {name: rate / arguments.clients
              for name, rate in calls.items()}
    before = {pid: backends.cpu_s([pid]) for pid in pids}
    with futures.ProcessPoolExecutor(
            arguments.clients, multiprocessing.get_context("spawn")) as pool:
        found = [playing.result() for playing in [
            pool.submit(_play, number, config, servers, shares,
                        arguments.seconds)
            for number in range(arguments.clients)]]
    masters = [backends.cpu_s([pid]) - before[pid] for pid in pids]
    return summary(found, masters, calls)


def summary(found, masters, calls):
    """Return figures of what processes played.

    :param found: what each of them returned.
    :param masters: CPU seconds of each master.
    :param calls: of ``rates``.
    """
    took = collections.defaultdict(list)
    hot = collections.Counter()
    for one in found:
        hot.update(one["hot"])
        for name, some in one["took"].items():
            took[name] += some
    every = sorted(value for some in took.values() for value in some)
    seconds = max(one["seconds"] for one in found)
    busy_client = max(one["cpu_s"] / one["seconds"] for one in found)
    busy_master = max(masters) / seconds
    late_s = max(one["late_s"] for one in found)
    return {
        "wanted_per_s": round(sum(calls.values()), 1),
        "calls_per_s": round(len(every) / seconds, 1),
        "p50_ms": _percentile(every, 50), "p99_ms": _percentile(every, 99),
        "errors": sum(one["errors"] for one in found),
        "late_s": round(late_s, 2),
        "busiest_client": round(busy_client, 2),
        "busiest_master": round(busy_master, 2),
        "client_ms_a_call": round(1000 * sum(
            one["cpu_s"] for one in found) / max(1, len(every)), 3),
        "masters_ms_a_call": round(
            1000 * sum(masters) / max(1, len(every)), 3),
        "gives_out": "nothing" if late_s < _LATE_S else
        "a master" if busy_master > _BUSY else
        "the clients" if busy_client > _BUSY else "the machine",
        "hottest": {name: round(count / hot.total(), 3)
                    for name, count in hot.most_common(_HOTTEST)},
        "slowest_ms": {name: _percentile(sorted(some), 99)
                       for name, some in sorted(
                           took.items(), key=lambda pair: -statistics.median(
                               pair[1]))[:_HOTTEST]}}


def _percentile(values, share):
    """Return a percentile of sorted seconds, in ms."""
    if not values:
        return None
    return round(1000 * values[min(
        len(values) - 1, len(values) * share // 100)], 2)


def run(arguments):
    """Play clouds of several sizes, one after the other; print figures.

    :param arguments: of the command line.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="nova-kvs-simulate-") as home, \
            fixtures.RedisClusterFixture(arguments.masters, 0) as cluster:
        urls = [cluster.url(name) for name in ("nova", "nova_api")]
        for url, base in zip(urls, (schemas.main_models.BASE,
                                    schemas.api_models.BASE)):
            transaction = database.open_database(url).begin()
            transaction.set_schema(schemas.ddl(base))
            transaction.commit()
        backends._fill_kvs(urls, clouds.Cloud(arguments.servers))
        config = backends.write_config(
            os.path.join(home, "nova.conf"), urls, "kvs")
        pids = [process.pid for process in cluster.processes.values()]
        for controllers in arguments.controllers:
            computes = int(controllers * arguments.computes_each)
            boots = controllers * arguments.boots_each
            figures = {"controllers": controllers, "computes": computes,
                       "boots_per_s": round(boots, 2), **_measure(
                           config, pids, arguments.servers,
                           rates(controllers, computes, boots), arguments)}
            print(json.dumps(figures, indent=1), flush=True)
            found.append(figures)
    if arguments.json:
        with open(arguments.json, "w") as stream:
            json.dump(found, stream, indent=1)
            stream.write("\n")
