# SPDX-License-Identifier: Apache-2.0
"""The counters of two processes over HTTP, and what top makes of them."""

import threading
import urllib.request

import prometheus_client.parser
import pytest

from nova_kvs.cmd import exporter
from nova_kvs.cmd import main
from nova_kvs.cmd import top
from nova_kvs import metrics
from nova_kvs.record import database as record_database
from tests import fixtures
from tests.unit.record import databases


@pytest.fixture(scope="module")
def server():
    with fixtures.RedisServerFixture() as found:
        yield found


@pytest.fixture
def endpoint(tmp_path):
    server = exporter.make_server(str(tmp_path), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield "http://127.0.0.1:%d/metrics" % server.server_address[1]
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def work(server, tmp_path):
    """Return a function that does something, and writes what it counted."""
    url = server.url("x")
    databases.make(url=url)
    db = record_database.open_database(url, slow_log_threshold=1000)
    writers = []
    for name in ("nova-one", "nova-two"):
        writer = metrics.Writer(str(tmp_path), 15.0)
        writer._program = name
        writer.path = str(tmp_path / ("nova-kvs-%s-1.prom" % name))
        writer.databases.add(db)
        writers.append(writer)

    def work():
        db.observer.call("nova.x:call", lambda: databases.insert(
            db, "notes", {"author": "a"}))
        for writer in writers:
            writer.write()

    return work


def test_all_processes_together(endpoint, work):
    work()
    with urllib.request.urlopen(endpoint) as response:
        families = list(
            prometheus_client.parser.text_string_to_metric_families(
                response.read().decode()))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    calls, = [family for family in families
              if family.name == "nova_kvs_call_seconds"]
    assert calls.type == "histogram"
    assert {sample.labels["program"] for sample in calls.samples} == {
        "nova-one", "nova-two"}
    idle, = [family for family in families
             if family.name == "nova_kvs_store_idle_connections"]
    assert {sample.value for sample in idle.samples} == {1.0}


def test_top_reads_it(endpoint, work, monkeypatch, capsys):
    work()
    monkeypatch.setattr(top.time, "sleep", lambda seconds: work())
    assert main.main(["top", "--once", "--endpoint", endpoint]) == 0
    out = capsys.readouterr().out
    assert "nova.x:call" in out
    assert "nova-one" in out and "nova-two" in out
