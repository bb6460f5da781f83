# SPDX-License-Identifier: Apache-2.0
"""Races that Placement leaves to the foreign keys of its database."""

import threading
import uuid

from placement import db_api
from placement.objects import research_context
from placement.objects import resource_provider
from placement.objects import trait
import pytest
import sqlalchemy


from tests.unit.db.placement import test_claims

cloud = test_claims.cloud
meanwhile = test_claims.meanwhile
TRAIT = "CUSTOM_RACE"
ADD = "_add_traits_to_provider"


def _make_child(cloud, parent):
    child = str(uuid.uuid4())
    return child, cloud.ask("POST", "/resource_providers", {
        "name": child, "uuid": child,
        "parent_provider_uuid": parent}).status_int


def _delete(cloud, provider):
    return cloud.ask("DELETE", "/resource_providers/" + provider).status_int


def _orphans(cloud):
    found = cloud.ask("GET", "/resource_providers").json
    providers = {one["uuid"]: one for one in found["resource_providers"]}
    return [one for one in providers.values()
            if one["parent_provider_uuid"] not in (None, *providers)
            or one["root_provider_uuid"] not in providers]


def test_a_child_comes_while_its_parent_goes(cloud, monkeypatch):
    with meanwhile(monkeypatch, resource_provider, "_has_child_providers",
                   lambda: _make_child(cloud, cloud.provider)) as done:
        assert _delete(cloud, cloud.provider) == 409
    assert done[1][1] == 200
    assert _orphans(cloud) == []


def test_a_parent_goes_while_its_child_comes(cloud, monkeypatch):
    with meanwhile(monkeypatch, research_context, "provider_ids_from_uuid",
                   lambda: _delete(cloud, cloud.provider)) as done:
        _child, status = _make_child(cloud, cloud.provider)
    assert done[1] == 204
    assert status in (400, 409)
    assert _orphans(cloud) == []


@pytest.fixture
def path(cloud):
    """Make the trait; return where a provider's traits are."""
    assert cloud.ask("PUT", "/traits/" + TRAIT).status_int == 201
    return "/resource_providers/%s/traits" % cloud.provider


def _put(cloud, path):
    return cloud.ask("PUT", path, {
        "resource_provider_generation": 1, "traits": [TRAIT]}).status_int


def _drop(cloud):
    return cloud.ask("DELETE", "/traits/" + TRAIT).status_int


def test_a_trait_goes_while_a_provider_gets_it(cloud, path, monkeypatch):
    with meanwhile(monkeypatch, trait, "get_traits_by_provider_id",
                   lambda: _drop(cloud)) as done:
        assert _put(cloud, path) in (400, 409)
    assert done[1] == 204
    assert cloud.ask("GET", path).json["traits"] == []


def test_a_trait_goes_before_the_commit(cloud, path, monkeypatch):
    with meanwhile(monkeypatch, resource_provider, ADD,
                   lambda: _drop(cloud)) as done:
        assert _put(cloud, path) in (400, 409)
    assert done[1] == 204
    assert cloud.ask("GET", path).json["traits"] == []


def test_a_provider_gets_a_trait_while_it_goes(cloud, path):
    engine = db_api.placement_context_manager.writer.get_engine()
    done = []

    @sqlalchemy.event.listens_for(engine, "before_cursor_execute")
    def look(connection, cursor, statement, *args):
        if statement.startswith("DELETE FROM traits") and not done:
            done.append(None)
            thread = threading.Thread(
                target=lambda: done.append(_put(cloud, path)))
            thread.start()
            thread.join()

    assert _drop(cloud) == 409
    assert done[1] == 200
    assert cloud.ask("GET", path).json["traits"] == [TRAIT]
