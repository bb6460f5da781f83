# SPDX-License-Identifier: Apache-2.0
"""What services note of themselves, and what is made of it."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest

from experiments import layers
from experiments import network
from experiments import traces
from experiments import waterfall

PID = 7


@pytest.mark.parametrize("path, layer", [
    ("/x/lib/python3/site-packages/nova/objects/instance.py",
     "Nova's objects"),
    ("/home/nova/nova-kvs/nova_kvs/store/redis/remote.py",
     "KVS: round trips"),
    ("/x/nova_kvs/db/placement/claims.py", "KVS: native functions"),
    ("/x/site-packages/sqlalchemy/engine/base.py", "SQLAlchemy"),
    ("/x/site-packages/nova/scheduler/manager.py", "Rest of Nova"),
    ("/x/site-packages/placement/handlers/util.py", "Rest of Placement"),
    ("/usr/lib/python3/json/__init__.py", None)])
def test_layer_of_a_file(path, layer):
    assert layers.layer_of(path) == layer


@pytest.fixture
def written(tmp_path):
    """Return a function that writes traces and reads them again."""
    def write(*entries):
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        (tmp_path / ("%d.trace" % PID)).write_text(text + '["cut o')
        (tmp_path / "8.trace").write_text('["samples", 5, {"Other": 1}]\n')
        return traces.Traces(str(tmp_path), {PID: "api"}.get)
    return write


def _event(kind, begin, end, request=None, label="", thread=1):
    return [kind, begin, end, request, label, "detail", thread]


def test_shares(written):
    found = written(["samples", 4, {"Rest of Nova": 50}],
                    ["samples", 5, {"Rest of Nova": 3}],
                    ["samples", 6, {"Logging": 1}], ["samples", 7, {}])
    shares = found.shares(4.5, 6.5)
    assert shares == {"api": {"Rest of Nova": 0.75, "Logging": 0.25}}
    lines = traces.layers_table(shares, {"api": 8.0, "store": 1.0})
    assert lines[1].split() == ["Logging", "2.00", "2.00"]
    assert lines[-1] == "store: 1.00 s"


def test_events_of_a_request(written):
    found = written(
        _event("request", 1, 2, "old", "POST /v2.1/servers"),
        _event("request", 3, 8, "mine", "POST /v2.1/servers"),
        _event("trip", 4, 5, None, "a"),
        _event("trip", 4, 5, "other", "b", thread=2),
        _event("message", 6, 9, "mine", "c", thread=3),
        _event("trip", 7, 8, None, "d", thread=3),
        _event("trip", 10, 11, "mine", "e", thread=4),
        _event("trip", 12, 13, None, "f", thread=3))
    events = found.of_request(2.5, "POST", "/servers")
    assert [event.label for event in events] == [
        "POST /v2.1/servers", "a", "c", "d", "e"]
    assert traces.summary(events) == {
        "roles": {"api": {"request": 1, "trip": 3, "message": 1}},
        "trips": 3, "trips_in_sequence": 3, "ms": 8000.0}
    assert "4000.0" in traces.request_table(events)[4]


def test_trips_at_once_are_one_in_the_sequence(written):
    found = written(
        _event("trip", 1, 9, label="long"), _event("trip", 2, 3, label="a"),
        _event("trip", 2.5, 4, label="b"), _event("trip", 3, 5, label="c"))
    assert [event.label for event in traces.in_sequence(found.events)] == [
        "a", "c"]


def test_picture(written):
    found = written(_event("request", 1, 2, "x", "GET /<&>"),
                    _event("trip", 1, 1.5, "x", "a" * 90))
    root = ElementTree.fromstring(
        waterfall.picture("One & only", found.events))
    texts = [item.text for item in root if item.tag.endswith("text")]
    assert "One & only" in texts and "GET /<&>" in texts
    assert max(map(len, texts)) < 80


_SERVICE = """
import time
import nova_kvs.record.database as databases
database = databases.open_database("kvs+memory:///traced")
end = time.monotonic() + 1.3
while time.monotonic() < end:
    database.refresh_schema()
"""


def test_a_process_is_traced(tmp_path):
    env = network.Network(1, str(tmp_path)).env(0)
    subprocess.run([sys.executable, "-c", _SERVICE], check=True, timeout=60,
                   env={**os.environ, **env})
    found = traces.Traces(str(tmp_path), lambda pid: "api")
    trip = found.events[-1]
    assert (trip.kind, trip.detail) == ("trip", "ReadPartition ReadClock")
    assert 0 < trip.end - trip.begin < 60
    # The embedded store is a part of this process, and at work.
    assert found.shares(0, trip.end)["api"]["KVS: round trips"] > 0


def test_not_traced():
    assert network.Network(1).env(0) == {}
