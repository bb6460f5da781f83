# SPDX-License-Identifier: Apache-2.0
import threading
import types

import pytest

from experiments import load


class _Cloud:
    """A cloud that builds a server each time it is looked at."""

    controllers = ("one", "two")
    group = types.SimpleNamespace(check=lambda: None)

    def __init__(self, monkeypatch):
        self.client = self
        self.most = 0
        self._lock = threading.Lock()
        self._building = []
        self._built = []
        monkeypatch.setattr(load, "_PAUSE_S", 0)
        monkeypatch.setattr(load.client, "Client", lambda *_: self)

    def ensure_flavor(self):
        return "1"

    def api_url(self, controller):
        return controller

    def zone_of(self, controller):
        return None

    def request(self, method, path, body=None):
        with self._lock:
            if method == "POST":
                server = {"id": body["server"]["name"], "status": "ACTIVE"}
                self._building.append(server)
                self.most = max(self.most, len(self._building))
                return {"server": server}
            found = list(self._building)
            if found:
                self._built.append(self._building.pop())
            return {"servers": found}

    def servers(self):
        return self._built


@pytest.mark.parametrize("building", [1, 3])
def test_no_more_are_asked_for_while_many_are_built(monkeypatch, building):
    cloud = _Cloud(monkeypatch)
    boots = load.boot(cloud, 12, 4, 60, building)
    assert len(boots.active) == len(boots.requests) == 12
    assert 0 < cloud.most <= building


def test_nobody_waits_without_a_limit(monkeypatch):
    cloud = _Cloud(monkeypatch)
    boots = load.boot(cloud, 12, 4, 60)
    assert len(boots.active) == 12
    assert cloud.most == 12


def test_what_was_there_before_does_not_count(monkeypatch):
    cloud = _Cloud(monkeypatch)
    cloud.request("POST", "", {"server": {"name": "old"}})
    cloud.request("GET", "")
    boots = load.boot(cloud, 2, 4, 60)
    assert sorted(boots.servers) == ["server-0", "server-1"]
