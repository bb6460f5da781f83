# SPDX-License-Identifier: Apache-2.0
"""Claims that race never take more of a provider than there is."""

import concurrent.futures
import contextlib
import json
import threading
import uuid

from oslo_db.sqlalchemy import enginefacade
from placement import db_api
from placement import deploy
from placement.objects import allocation
from placement.objects import resource_class
from placement.objects import trait
import pytest
import webob

from nova_kvs.db import engines
from nova_kvs.db.placement import overview
from nova_kvs.record import transaction
from nova_kvs.store import operations
from tests.differential import placements

TOTAL = 10


class Placement:
    """Placement's application, with one provider."""

    def __init__(self):
        config = placements.config()
        config.set_override("auth_strategy", "noauth2", "api")
        config.set_override("sync_on_startup", True, "placement_database")
        self._app = deploy.loadapp(config)
        self.provider = str(uuid.uuid4())
        self.ask("POST", "/resource_providers", {
            "name": self.provider, "uuid": self.provider})
        self.ask("PUT", self._path("inventories"), self.inventory(TOTAL, 0))

    def _path(self, what):
        return "/resource_providers/%s/%s" % (self.provider, what)

    @staticmethod
    def inventory(total, generation):
        return {"resource_provider_generation": generation,
                "inventories": {"VCPU": {"total": total}}}

    def ask(self, method, path, body=None):
        request = webob.Request.blank(path, method=method, headers={
            "X-Auth-Token": "admin", "Content-Type": "application/json",
            "OpenStack-API-Version": "placement 1.39"})
        if body is not None:
            request.body = json.dumps(body).encode()
        return request.get_response(self._app)

    def claim(self, amount=1):
        """Return the status of a new consumer's claim."""
        return self.ask("PUT", "/allocations/%s" % uuid.uuid4(), {
            "allocations": {self.provider: {"resources": {"VCPU": amount}}},
            "consumer_generation": None, "project_id": "p", "user_id": "u",
            "consumer_type": "INSTANCE"}).status_int

    def used(self):
        return self.ask("GET", self._path("usages")).json["usages"]["VCPU"]

    def set_total(self, total):
        """Return the status of a PUT of another inventory."""
        generation = self.ask("GET", self._path("inventories")).json[
            "resource_provider_generation"]
        return self.ask("PUT", self._path("inventories"), self.inventory(
            total, generation)).status_int

    def drop_inventory(self):
        """Return the status of a DELETE of all that the provider has."""
        return self.ask("DELETE", self._path("inventories")).status_int


@pytest.fixture(params=["", "?db_api=none"], ids=["native", "dialect"])
def cloud(request, monkeypatch):
    manager = enginefacade.transaction_context()
    manager.configure(connection="kvs+memory:///claims%s%s" % (
        uuid.uuid4().hex, request.param))
    # Each process fills its database once.
    monkeypatch.setattr(trait, "_TRAITS_SYNCED", False)
    monkeypatch.setattr(resource_class, "_RESOURCE_CLASSES_SYNCED", False)
    reset = db_api.placement_context_manager.patch_factory(manager._factory)
    yield Placement()
    reset()


@contextlib.contextmanager
def meanwhile(monkeypatch, module, name, other):
    """Let another thread do something right after the first call."""
    function = getattr(module, name)
    done = []

    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        if not done:
            done.append(None)
            thread = threading.Thread(target=lambda: done.append(other()))
            thread.start()
            thread.join()
        return result

    with monkeypatch.context() as patch:
        patch.setattr(module, name, call)
        yield done
    assert len(done) == 2, "nothing came in between"


def test_a_claim_between_the_sum_and_the_generation(cloud, monkeypatch):
    assert cloud.claim(TOTAL - 1) == 204
    with meanwhile(monkeypatch, allocation, "_provider_usage_summary",
                   cloud.claim) as done:
        assert cloud.claim() == 409
    assert done[1] == 204
    assert cloud.used() == TOTAL


def test_claims_of_many_threads(cloud):
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        statuses = list(threads.map(
            lambda number: cloud.claim(), range(2 * TOTAL)))
    assert statuses.count(204) == cloud.used() == TOTAL
    assert set(statuses) == {204, 409}


@contextlib.contextmanager
def within_a_read(monkeypatch, kind, key, other):
    """Let another thread do something within the first batch of its kind.

    The operations on some keys are done before that, the others after.

    :param kind: of the operations. :param key: part of their keys.
    """
    store = engines.databases(
        db_api.placement_context_manager._factory)[0].store
    batch = store.batch
    done = []

    def split(items, *args, **kwargs):
        first = [item for item in items
                 if type(item) is kind and key in item.key]
        if done or not first or len(first) == len(items):
            return batch(items, *args, **kwargs)
        done.append(None)
        replies = iter(batch(first, *args, **kwargs))
        thread = threading.Thread(target=lambda: done.append(other()))
        thread.start()
        thread.join()
        others = iter(batch([item for item in items if item not in first],
                            *args, **kwargs))
        return [next(replies if item in first else others) for item in items]

    with monkeypatch.context() as patch:
        patch.setattr(store, "batch", split)
        yield done
    assert len(done) == 2, "nothing came in between"


only_native = pytest.mark.parametrize(
    "cloud", [""], indirect=True, ids=["native"])


@only_native
def test_a_claim_between_the_allocations_and_the_provider(
        cloud, monkeypatch):
    """Its sum is not in the allocations, its generation is the provider's.
    """
    assert cloud.claim(TOTAL - 1) == 204
    with within_a_read(monkeypatch, operations.ReadPartition, b":a:",
                       cloud.claim) as done:
        assert cloud.claim() == 409
    assert done[1] == 204
    assert cloud.used() == TOTAL


@only_native
def test_a_provider_shrinks_between_its_inventory_and_itself(
        cloud, monkeypatch):
    assert cloud.claim(TOTAL - 1) == 204
    with within_a_read(monkeypatch, operations.ReadIndex, b"inventories",
                       lambda: cloud.set_total(TOTAL - 1)) as done:
        assert cloud.claim() == 409
    assert done[1] == 200
    assert cloud.used() == TOTAL - 1


@only_native
def test_an_inventory_goes_while_it_is_claimed(cloud, monkeypatch):
    with within_a_read(monkeypatch, operations.ReadPartition, b":a:",
                       cloud.drop_inventory) as done:
        assert cloud.claim() == 409
    assert done[1] == 204
    assert cloud.ask("GET", cloud._path("allocations")).json[
        "allocations"] == {}


@only_native
@pytest.mark.parametrize("change", ["drop_inventory", "shrink"])
def test_a_claim_while_the_inventory_changes(cloud, monkeypatch, change):
    """What is allocated was read before, the provider's row after that."""
    change = getattr(cloud, change, lambda: cloud.set_total(1))
    with within_a_read(monkeypatch, operations.ReadPartition, b":a:",
                       cloud.claim) as done:
        assert change() == 409
    assert done[1] == 204
    assert cloud.used() == 1


@only_native
def test_a_claim_before_a_change_commits(cloud, monkeypatch):
    with meanwhile(monkeypatch, overview, "usages", cloud.claim) as done:
        assert cloud.drop_inventory() == 409
    assert done[1] == 204
    assert cloud.used() == 1


def test_of_equal_changes_one_succeeds(cloud):
    bodies = [cloud.inventory(total, 1) for total in (11, 12, 13, 14)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        statuses = list(threads.map(lambda body: cloud.ask(
            "PUT", cloud._path("inventories"), body).status_int, bodies))
    assert sorted(statuses) == [200, 409, 409, 409]


@only_native
def test_a_trait_goes_while_a_provider_gets_it(cloud, monkeypatch):
    trait_path = "/traits/CUSTOM_A"
    assert cloud.ask("PUT", trait_path).status_int == 201
    with meanwhile(
            monkeypatch, transaction.RecordTransaction, "rely_on",
            lambda: cloud.ask("DELETE", trait_path).status_int) as done:
        assert cloud.ask("PUT", cloud._path("traits"), {
            "resource_provider_generation": 1,
            "traits": ["CUSTOM_A"]}).status_int == 400
    assert done[1] == 204
    assert cloud.ask("GET", cloud._path("traits")).json["traits"] == []
