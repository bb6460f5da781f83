# SPDX-License-Identifier: Apache-2.0
import builtins
import logging
import os
import sys

import prometheus_client.parser
import pytest

from nova_kvs import conf
from nova_kvs import metrics
from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.store import registry
from tests import base
from tests.unit.record import databases


@pytest.fixture
def configure(tmp_path):
    """Have metrics written to a directory of the test."""
    def configure(directory=tmp_path):
        conf.CONF.set_override(
            "metrics_directory", str(directory), group=conf.GROUP)

    yield configure
    conf.CONF.clear_override("metrics_directory", group=conf.GROUP)
    if metrics._writer is not None:
        metrics._writer.stop()
    metrics._forget()


@pytest.fixture
def writer(tmp_path):
    made = metrics.Writer(str(tmp_path), 15.0)
    yield made
    made.stop()


def read(writer):
    """Return (metric, store and maybe database) -> value."""
    with open(writer.path) as stream:
        families = list(
            prometheus_client.parser.text_fd_to_metric_families(stream))
    found = {}
    for family in families:
        assert family.documentation
        if family.type != "counter":
            continue
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("pid") == str(os.getpid())
            assert labels.pop("program") == metrics.program()
            key = sample.name, labels.pop("store"), *labels.values()
            assert key not in found
            found[key] = sample.value
    return found


def test_off_nothing_is_started():
    record_database.open_database(base.memory_url())
    assert metrics._writer is None


def test_each_database_that_is_opened_is_told_of(configure, tmp_path):
    configure()
    first = record_database.open_database(base.memory_url())
    other = record_database.open_database(base.memory_url())
    assert record_database.open_database(
        "kvs+memory:///" + first.name) is first
    writer = metrics._writer
    assert writer.databases == {first, other}
    writer.write()
    commits = [key for key in read(writer)
               if key[0] == "nova_kvs_commits_total"]
    assert {key[2] for key in commits} == {first.name, other.name}


def test_a_url_may_say_where(tmp_path, configure):
    url = base.memory_url() + "?metrics_directory=%s" % tmp_path
    opened = record_database.open_database(url)
    assert metrics._writer.databases == {opened}
    assert metrics._writer.path.startswith(str(tmp_path))


def test_the_counters(writer):
    db = databases.make()
    databases.insert(db, "notes", {"author": "a", "text": "t"})
    databases.load(db, access.FullScan("notes"))
    writer.databases.add(db)
    writer.write()
    found = read(writer)
    store = "memory://" + db.name
    stats = db.store.stats
    assert found["nova_kvs_store_round_trips_total", store] == (
        stats.round_trips)
    assert found["nova_kvs_store_bytes_in_total", store] == stats.bytes_in
    assert found["nova_kvs_commits_total", store, db.name] == 2
    assert found["nova_kvs_full_scans_total", store, db.name] == 1
    assert len(found) == len(
        metrics._STORE + metrics._COORDINATOR + metrics._DATABASE) + len(
            metrics._CACHE) * len(db.remembered.counted)


def test_every_counter_is_told():
    db = databases.make()
    for stats, names in ((db.store.stats, metrics._STORE),
                         (db.coordinator.stats, metrics._COORDINATOR),
                         (db.stats, metrics._DATABASE)):
        assert set(type(stats).__dataclass_fields__) == {
            name for name, _ in names}


def test_lost_commits_are_errors(configure):
    configure()
    db = record_database.open_database(base.memory_url())
    db.coordinator.stats.lost = 2
    metrics._writer.write()
    with open(metrics._writer.path) as stream:
        found = {
            (sample.labels["database"], sample.labels["kind"]): sample.value
            for family in prometheus_client.parser.
            text_fd_to_metric_families(stream)
            for sample in family.samples
            if sample.name == "nova_kvs_errors_total"}
    assert found == {(db.name, "lost"): 2}


def test_views_of_one_database_are_added_up(writer):
    db = databases.make()
    other = databases.another(db)
    databases.insert(other, "notes", {"author": "a", "text": "t"})
    writer.databases |= {db, other}
    writer.write()
    found = read(writer)
    store = "memory://" + db.name
    assert found["nova_kvs_commits_total", store, db.name] == 2
    # They have one store.
    assert found["nova_kvs_store_round_trips_total", store] == (
        db.store.stats.round_trips)


def test_no_login_is_told():
    url = registry.parse_url(
        "kvs+cluster://u:secret@h:1/x?node=i:2&pool_size=3")
    assert metrics._name(url) == "cluster://h:1,i:2"


def test_the_file_goes_with_the_process(writer):
    writer.write()
    assert os.path.exists(writer.path)
    writer.stop()
    assert not os.path.exists(writer.path)
    writer.write()
    assert not os.path.exists(writer.path)
    writer.stop()


def test_files_of_ended_processes_are_removed(writer, tmp_path):
    name = "nova-kvs-%s-" % metrics.program()
    old = [tmp_path / (name + end) for end in (
        "1.prom", "2.prom.2.139637976727232")]
    kept = [tmp_path / end for end in (
        "nova-kvs-another-1.prom", name + "more-1.prom", name + "3.prom")]
    for path in old + kept:
        path.write_text("")
    for path in old + kept[:2]:
        os.utime(path, (1, 1))
    writer.write()
    assert sorted(tmp_path.iterdir()) == sorted(
        kept + [tmp_path / os.path.basename(writer.path)])


def test_the_end_takes_files_of_processes_that_are_gone(writer, tmp_path):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    prefix = "nova-kvs-%s-" % metrics.program()
    gone = tmp_path / ("%s%d.prom" % (prefix, child))
    kept = [tmp_path / ("%s%s.prom" % (prefix, end))
            for end in (os.getppid(), "0-%d" % child)]
    for path in [gone, *kept]:
        path.write_text("")
    writer.write()
    assert gone.exists()
    writer.stop()
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_a_directory_that_is_not_there_is_told_once(tmp_path, caplog):
    writer = metrics.Writer(str(tmp_path / "none"), 15.0)
    for _ in range(2):
        writer.write()
    record, = caplog.records
    assert record.levelno == logging.ERROR
    assert str(tmp_path / "none") in record.getMessage()
    (tmp_path / "none").mkdir()
    writer.write()
    assert os.path.exists(writer.path)
    assert len(caplog.records) == 1
    writer.stop()


def test_without_prometheus_client(writer, monkeypatch, caplog):
    def refuse(name, *args, **kwargs):
        if name.startswith("prometheus_client"):
            raise ImportError(name)
        return importing(name, *args, **kwargs)

    importing = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    writer.write()
    writer.write()
    record, = caplog.records
    assert "nova-kvs[prometheus]" in record.getMessage()


@pytest.mark.parametrize("prog, argv, name", [
    ("nova-api-os-compute", "uwsgi", "nova-api-os-compute"),
    (None, "/usr/bin/nova-conductor", "nova-conductor"),
    (None, "a b/c d", "c_d"), (None, "", "python")])
def test_the_programs_name(prog, argv, name, monkeypatch):
    monkeypatch.setattr(conf, "CONF", type("CONF", (), {"prog": prog}))
    monkeypatch.setattr(sys, "argv", [argv])
    assert metrics.program() == name
