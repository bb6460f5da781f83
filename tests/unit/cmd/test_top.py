# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from nova_kvs.cmd import main
from nova_kvs.cmd import top
from nova_kvs import conf
from nova_kvs import metrics
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from tests import base
from tests.unit.record import databases


@pytest.fixture
def writer(tmp_path):
    made = metrics.Writer(str(tmp_path), 15.0)
    yield made
    made.stop()


@pytest.fixture
def db(writer):
    """A database whose process writes metrics."""
    url = base.memory_url()
    databases.make(url=url)
    found = record_database.open_database(url, slow_log_threshold=1000)
    writer.databases.add(found)
    writer.write()
    return found


@pytest.fixture
def between(monkeypatch):
    """Do something between two readings instead of waiting."""
    def between(function):
        monkeypatch.setattr(top.time, "sleep", lambda seconds: function())
    return between


def run(capsys, *arguments):
    status = main.main([*arguments])
    return status, *capsys.readouterr()


def work(db, writer):
    def function():
        databases.insert(db, "notes", {"author": "a"})
        databases.load(db, access.FullScan("notes"))

    for _ in range(3):
        db.observer.call("nova.x:call", function)
    writer.write()


def test_what_happened_between_two_readings(
        db, writer, between, tmp_path, capsys):
    work(db, writer)
    between(lambda: work(db, writer))
    status, out, error = run(
        capsys, "top", "--once", "--json", "--directory", str(tmp_path))
    assert (status, error) == (0, "")
    document = json.loads(out)
    seconds = document["seconds"]

    def count(kind, name):
        line, = [line for line in document[kind] if name in line["name"]]
        return round(line["per_second"] * seconds)

    assert count("functions", "nova.x:call") == pytest.approx(3, abs=1)
    assert document["functions"][0]["mean_seconds"] > 0
    assert {line["name"][1] for line in document["databases"]} == {db.name}
    assert {line["name"][0] for line in document["clients"]} == {
        metrics.program()}
    assert document["scans"]


def test_as_text(db, writer, between, tmp_path, capsys):
    between(lambda: work(db, writer))
    status, out, _ = run(
        capsys, "top", "--once", "--directory", str(tmp_path))
    assert status == 0
    assert "nova.x:call" in out
    assert "ms each" in out
    between(lambda: None)
    assert "nothing happened" in run(
        capsys, "top", "--once", "--directory", str(tmp_path))[1]


def test_a_long_name_is_cut_at_its_begin(
        db, writer, between, tmp_path, capsys):
    name = "nova." + 60 * "x" + ":call"

    def call():
        db.observer.call(name, lambda: None)
        writer.write()

    between(call)
    _, out, _ = run(capsys, "top", "--once", "--directory", str(tmp_path))
    assert "\n..." + name[-53:] + " " in out


def test_it_goes_on_until_it_is_stopped(
        db, writer, monkeypatch, tmp_path, capsys):
    times = []

    def sleep(seconds):
        times.append(seconds)
        if len(times) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(top.time, "sleep", sleep)
    status, out, _ = run(
        capsys, "top", "--interval", "2", "--directory", str(tmp_path))
    assert (status, times, out.count("nova-kvs top")) == (130, [2] * 3, 2)


def test_nobody_writes(tmp_path, capsys):
    status, _, error = run(
        capsys, "top", "--once", "--directory", str(tmp_path))
    assert status == 2
    assert "metrics_directory" in error


@pytest.mark.parametrize("command", ["top", "exporter"])
def test_the_directory_is_that_of_the_services(
        command, tmp_path, monkeypatch, capsys):
    path = tmp_path / "nova.conf"
    path.write_text("[nova_kvs]\n")
    status, _, error = run(capsys, command, "--config-file", str(path))
    assert status == 2
    assert "--directory" in error
    conf.CONF.reset()


@pytest.mark.parametrize("arguments, words", [
    (["exporter", "--listen", "nonsense"], "127.0.0.1:9427"),
    (["top", "--once", "--endpoint", "file:///etc/passwd"], "HTTP URL")])
def test_what_is_no_endpoint(arguments, words, capsys):
    try:
        status = main.main(arguments)
    except SystemExit as stop:
        status = stop.code
    assert status == 2
    assert words in capsys.readouterr().err
