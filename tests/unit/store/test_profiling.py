# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys

from oslo_config import cfg
from osprofiler import notifier
from osprofiler import opts
from osprofiler import profiler
import pytest

from nova_kvs import conf
from nova_kvs import exceptions
from nova_kvs.store import operations
from nova_kvs.store.redis import memory
from nova_kvs.store import registry
from tests import base
from tests.unit.record import databases

KEY = b"kvs:{db:s:secret}"


@pytest.fixture
def configure(monkeypatch):
    """Configure profiling as nova.conf does."""
    def configure(enabled):
        options = cfg.ConfigOpts()
        conf.register_opts(options)
        if enabled is not None:
            opts.set_defaults(options, enabled=enabled)
        options([])
        monkeypatch.setattr(conf, "CONF", options)
    return configure


@pytest.fixture
def traces():
    """Profile this thread; return what is told of it."""
    found = []
    before = notifier.get()
    notifier.set(found.append)
    profiler.init("key")
    yield found
    profiler.clean()
    notifier.set(before)


def is_plain(store):
    return "batch" not in vars(store)


@pytest.mark.parametrize("enabled", [None, False])
def test_off_a_store_is_as_it_was(enabled, configure, traces):
    configure(enabled)
    store = registry.get_store(base.memory_url())
    assert is_plain(store)
    store.batch([base.command(b"GET", KEY)])
    assert traces == []


def test_without_osprofiler(configure, monkeypatch):
    configure(True)
    monkeypatch.setitem(sys.modules, "osprofiler", None)
    assert is_plain(registry.get_store(base.memory_url()))


def test_only_requests_that_ask_are_profiled(configure):
    configure(True)
    store = registry.get_store(base.memory_url())
    found = []
    before = notifier.get()
    notifier.set(found.append)
    try:
        store.batch([base.command(b"GET", KEY)])
    finally:
        notifier.set(before)
    assert found == []


def test_a_round_trip_is_one_trace_point(configure, traces):
    configure(True)
    store = registry.get_store(base.memory_url())
    assert store.batch([
        operations.Increment(KEY, 7), operations.Get(KEY),
        operations.Get(KEY), operations.ReadClock(KEY)])[:3] == [
            7, b"7", b"7"]
    start, stop = traces
    assert (start["name"], stop["name"]) == ("kvs-start", "kvs-stop")
    assert start["info"]["kvs"] == {
        "database": "db", "commands": 4,
        "operations": {"Increment": 1, "Get": 2, "ReadClock": 1}}


def test_nothing_sent_is_no_trace_point(configure, traces):
    configure(True)
    store = registry.get_store(base.memory_url())
    assert store.batch([], replicas=1) == [1]
    assert traces == []


def test_a_failure_ends_its_trace_point(configure, traces, monkeypatch):
    def fail(self, items, *args):
        raise exceptions.StoreUnavailableError(servers="h:1")

    monkeypatch.setattr(memory.MemoryStore, "batch", fail)
    configure(True)
    store = registry.get_store(base.memory_url())
    with pytest.raises(exceptions.StoreUnavailableError):
        store.batch([base.command(b"GET", KEY)])
    assert [trace["name"] for trace in traces] == ["kvs-start", "kvs-stop"]
    assert traces[1]["info"]["message"] == (
        exceptions.StoreUnavailableError.message)


def test_records_go_through_the_trace_points(configure, traces):
    configure(True)
    db = databases.make()
    del traces[:]
    trips = db.store.stats.round_trips
    databases.insert(db, "notes", {"author": "secret", "text": "secret"})
    assert len(traces) == 2 * (db.store.stats.round_trips - trips) > 0
    assert traces[-2]["info"]["kvs"]["database"] == db.name
    assert "secret" not in str(traces)


_NOVA = """
import sys

from nova import config
from osprofiler import notifier
from osprofiler import profiler

config.parse_args(["nova-test"], default_config_files=[sys.argv[1]])
found = []
notifier.set(found.append)
profiler.init("key")

from nova_kvs.record import database
database.open_database("kvs+memory:///x")
print(*(trace["name"] for trace in found))
"""


@pytest.mark.parametrize("enabled, names", [
    ("true", "kvs-start kvs-stop"), ("false", "")])
def test_nova_conf_says_whether(enabled, names, tmp_path):
    path = tmp_path / "nova.conf"
    path.write_text("[profiler]\nenabled = %s\n" % enabled)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _NOVA, str(path)],
        capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=os.getcwd()))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == names
