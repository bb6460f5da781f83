# SPDX-License-Identifier: Apache-2.0
import os
import pathlib
import tomllib

import pytest
import stevedore

from nova_kvs import exceptions
from nova_kvs.store.etcd import driver as etcd
from nova_kvs.store.redis import cluster
from nova_kvs.store.redis import memory
from nova_kvs.store.redis import sentinel
from nova_kvs.store.redis import server
from nova_kvs.store import registry

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(("url", "driver"), [
    ("kvs://h/db", server.ServerStore),
    ("kvs+redis://h/db", server.ServerStore),
    ("kvs+cluster://h/db", cluster.ClusterStore),
    ("kvs+sentinel://h/db?service=m", sentinel.SentinelStore),
    ("kvs+etcd://h/db", etcd.EtcdStore),
    ("kvs+memory:///db", memory.MemoryStore),
])
def test_the_url_names_the_driver(url, driver):
    assert type(registry.get_store(url)) is driver


def test_every_driver_is_an_entry_point():
    with open(ROOT / "pyproject.toml", "rb") as file:
        names = tomllib.load(file)["project"]["entry-points"][
            registry.NAMESPACE]
    assert sorted(names) == [
        "cluster", "etcd", "memory", "redis", "sentinel"]


def test_databases_of_the_same_servers_share_a_store():
    one = registry.get_store("kvs+redis://h:1/one")
    assert registry.get_store("kvs+redis://h:1/two") is one
    for other in ("kvs+redis://h:2/one", "kvs+redis://u@h:1/one",
                  "kvs+redis://:p@h:1/one", "kvs+cluster://h:1/one",
                  "kvs+redis://h:1/one?pool_size=3",
                  "kvs+redis://h:1/one?read_from_replicas=yes"):
        assert registry.get_store(other) is not one
    assert registry.get_store(
        "kvs+redis://h:1/one", options={"pool_size": 3}) is (
            registry.get_store("kvs+redis://h:1/one?pool_size=3"))


def test_embedded_databases_do_not_share():
    one = registry.get_store("kvs+memory:///one")
    assert registry.get_store("kvs+memory:///one") is one
    assert registry.get_store("kvs+memory:///two") is not one


def test_a_forked_process_gets_its_own(monkeypatch):
    url = "kvs+redis://h:1/fork"
    one = registry.get_store(url)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert registry.get_store(url) is not one


def test_unknown_driver_is_named_with_those_there_are():
    with pytest.raises(exceptions.ConfigurationError) as caught:
        registry.get_store("kvs+mongo://h/db")
    assert "driver=mongo" in str(caught.value)
    names = stevedore.ExtensionManager(
        registry.NAMESPACE).entry_points_names()
    assert {"cluster", "memory", "redis", "sentinel"} <= set(names)
    assert ", ".join(sorted(names)) in str(caught.value)


def test_a_driver_that_cannot_be_imported_says_why(monkeypatch):
    def fail(self):
        raise ImportError("no such module: hiredis")

    monkeypatch.setattr("importlib.metadata.EntryPoint.load", fail)
    monkeypatch.setattr(registry, "_drivers", {})
    with pytest.raises(exceptions.ConfigurationError) as caught:
        registry.get_store("kvs+redis://h/db")
    assert "no such module: hiredis" in str(caught.value)
