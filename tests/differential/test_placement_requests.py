# SPDX-License-Identifier: Apache-2.0
"""Requests that change allocations: natively as on Placement's SQLite."""

import json
import random

from placement.db.sqlalchemy import models
from placement import deploy
from placement.handlers import allocation
from placement.objects import resource_class
from placement.objects import trait
import pytest
import sqlalchemy as sa
import webob

from nova_kvs.db.placement import native
from tests.differential import placements

PROVIDERS = ["%08d-0000-4000-8000-000000000001" % n for n in range(3)]
CONSUMERS = ["%08d-0000-4000-8000-000000000002" % n for n in range(5)]
NOBODY = "99999999-0000-4000-8000-000000000009"
_CLASSES = ("VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_X")
_INVENTORY = {"reserved": 0, "min_unit": 1, "max_unit": 8, "step_size": 1,
              "allocation_ratio": 1.0, "total": 8}
#: Provider's number, class's number -> what differs from the others'.
_INVENTORIES = {
    (0, 0): {"allocation_ratio": 1.5}, (0, 1): {"step_size": 2},
    (0, 2): {"reserved": 3}, (1, 0): {"min_unit": 2, "max_unit": 4},
    (1, 1): {"total": 100, "max_unit": 100}, (2, 0): {}, (2, 1): {}}
_TABLES = (
    models.Allocation, models.Consumer, models.ConsumerType,
    models.Inventory, models.Project, models.User, models.ResourceProvider)
ROWS = {
    models.Allocation: [], models.Consumer: [], models.User: [],
    models.ResourceClass: [{"id": number, "name": name}
                           for number, name in enumerate(_CLASSES)],
    models.ResourceProvider: [
        {"id": number + 1, "uuid": uuid, "name": "host%d" % number,
         "generation": 3, "root_provider_id": number + 1}
        for number, uuid in enumerate(PROVIDERS)],
    models.Inventory: [
        dict(_INVENTORY, id=number, resource_provider_id=key[0] + 1,
             resource_class_id=key[1], **{}) | some
        for number, (key, some) in enumerate(_INVENTORIES.items(), 1)],
    models.ConsumerType: [{"id": 1, "name": "INSTANCE"},
                          {"id": 2, "name": "MIGRATION"}],
    models.Project: [{"id": 1, "external_id": "p0"}]}


class Cloud:
    """Placement's application on one database."""

    def __init__(self, side):
        self._side = side
        config = placements.config()
        config.set_override("auth_strategy", "noauth2", "api")
        config.set_override("sync_on_startup", False, "placement_database")
        with side.active():
            self._app = deploy.loadapp(config)
        side.fill(ROWS)

    def ask(self, method, path, body=None, version="1.36"):
        """Return the status and the body of an answer."""
        request = webob.Request.blank(path, method=method, headers={
            "X-Auth-Token": "admin", "Content-Type": "application/json",
            "OpenStack-API-Version": "placement " + version})
        if body is not None:
            request.body = json.dumps(body).encode()
        with self._side.active():
            response = request.get_response(self._app)
        text = response.text
        if response.status_int >= 400:
            for error in json.loads(text)["errors"]:
                error.pop("request_id")
                return response.status_int, error
        return response.status_int, text

    def rows(self):
        """Return what is stored, without ids of its own and times."""
        found = {}
        engine = self._side.manager.writer.get_engine()
        with engine.connect() as connection:
            for model in _TABLES:
                table = model.__table__
                found[model] = sorted(
                    [_visible(row) for row in connection.execute(
                        sa.select(table)).mappings()], key=repr)
        owners = {model: {row["id"]: row["external_id"]
                          for row in found[model]}
                  for model in (models.Project, models.User)}
        for row in found[models.Consumer]:
            row["project_id"] = owners[models.Project][row["project_id"]]
            row["user_id"] = owners[models.User][row["user_id"]]
        for model in (models.Allocation, models.Consumer, models.Project,
                      models.User):
            for row in found[model]:
                del row["id"]
            found[model].sort(key=repr)
        return found


def _visible(row):
    row = dict(row)
    for name in ("created_at", "updated_at"):
        row[name] = row[name] is not None
    return row


@pytest.fixture
def clouds(monkeypatch):
    # Each process fills one database, once; these have rows of their own.
    monkeypatch.setattr(trait, "_TRAITS_SYNCED", True)
    monkeypatch.setattr(resource_class, "_RESOURCE_CLASSES_SYNCED", True)
    with placements.installed():
        yield [Cloud(placements.SQLite()), Cloud(placements.Native())]


@pytest.fixture
def left(monkeypatch):
    """Notes the requests that were left to Placement's own functions."""
    found = []

    class Noted(native.Fallback):
        def __init__(self):
            found.append(None)

    monkeypatch.setattr(native, "Fallback", Noted)
    return found


def _same(clouds, *request, **options):
    """Ask all; return the status that all answer with."""
    answers = [cloud.ask(*request, **options) for cloud in clouds]
    assert answers[1] == answers[0], request
    first, second = [cloud.rows() for cloud in clouds]
    assert second == first, request
    return answers[0][0]


def _body(amounts, generation=None, **others):
    """Return the body of a claim.

    :param amounts: provider's number -> {class: amount}.
    """
    return {"allocations": {
        PROVIDERS[number]: {"resources": some}
        for number, some in amounts.items()},
        "consumer_generation": generation, "project_id": "p0",
        "user_id": "u0", **others}


def _put(clouds, number, body, **options):
    return _same(clouds, "PUT", "/allocations/" + CONSUMERS[number], body,
                 **options)


def test_a_server_comes_moves_and_goes(clouds, left):
    assert _put(clouds, 0, _body({0: {"VCPU": 2, "MEMORY_MB": 4}})) == 204
    assert _put(clouds, 1, _body({1: {"VCPU": 2}, 2: {"MEMORY_MB": 1}},
                                 project_id="p1", user_id="u1")) == 204
    # To another host, by a migration's allocations.
    assert _same(clouds, "POST", "/allocations", {
        CONSUMERS[0]: _body({2: {"VCPU": 2}}, 1),
        CONSUMERS[2]: _body({0: {"VCPU": 2, "MEMORY_MB": 4}})}) == 204
    assert _same(clouds, "POST", "/allocations", {
        CONSUMERS[0]: _body({2: {"VCPU": 3}}, 2),
        CONSUMERS[2]: _body({}, 1)}) == 204
    assert _put(clouds, 1, _body({}, 1, project_id="p1",
                                 user_id="u1")) == 204
    assert _same(clouds, "DELETE", "/allocations/" + CONSUMERS[0]) == 204
    assert not left


def test_types_of_consumers(clouds, left):
    def put(generation, kind):
        return _put(clouds, 0, _body({0: {"VCPU": 1}}, generation,
                                     consumer_type=kind), version="1.39")

    assert put(None, "INSTANCE") == put(1, "MIGRATION") == 204
    assert not left
    # One that is not there is made by Placement.
    assert put(2, "NEW") == 204
    assert len(left) == 1
    assert put(3, "NEW") == 204
    assert len(left) == 1


@pytest.mark.parametrize("amounts, status", [
    ({0: {"VCPU": 9}}, 409), ({0: {"VCPU": 12}}, 409),
    ({0: {"MEMORY_MB": 3}}, 409), ({0: {"DISK_GB": 6}}, 409),
    ({1: {"VCPU": 1}}, 409), ({1: {"VCPU": 5}}, 409),
    ({2: {"DISK_GB": 1}}, 409), ({0: {"VCPU": 2}, 2: {"CUSTOM_X": 1}}, 409),
    ({0: {"CUSTOM_NO": 1}}, 400), ({0: {"VCPU": 10 ** 30}}, 409),
    ({0: {"VCPU": 0}}, 400), ({0: {"VCPU": "1"}}, 400),
    ({0: {"VCPU": True}}, 400), ({0: {}}, 400),
    ({0: {"VCPU": 2.0}}, 204), ({0: {"DISK_GB": 5}}, 204)])
def test_amounts(clouds, left, amounts, status):
    assert _put(clouds, 0, _body(amounts)) == status
    assert len(left) == (status != 204)


@pytest.mark.parametrize("change, status", [
    ({"consumer_generation": 0}, 409), ({"consumer_generation": "x"}, 400),
    ({"project_id": None}, 400), ({"project_id": "\xe9" * 255}, 204),
    ({"project_id": "x" * 256}, 400), ({"user_id": ""}, 400),
    ({"allocations": {}}, 204), ({"more": 1}, 400),
    ({"allocations": {NOBODY: {"resources": {"VCPU": 1}}}}, 400),
    ({"allocations": {"x": {"resources": {"VCPU": 1}}}}, 400)])
def test_odd_claims(clouds, change, status):
    assert _put(clouds, 0, _body({0: {"VCPU": 1}}) | change) == status
    assert _put(clouds, 0, _body({0: {"VCPU": 1}}, 5)) == 409


def test_a_claim_of_nobody(clouds):
    for uuid in ("nobody", CONSUMERS[0].replace("-", "").upper()):
        _same(clouds, "PUT", "/allocations/" + uuid,
              _body({0: {"VCPU": 1}}))
    for uuid in ("nobody", NOBODY):
        assert _same(clouds, "DELETE", "/allocations/" + uuid) == 404
    assert _same(clouds, "PUT", "/allocations/" + CONSUMERS[3], None) == 400


def test_earlier_versions(clouds):
    for version in ("1.0", "1.10", "1.20", "1.27"):
        body = _body({0: {"VCPU": 1}})
        del body["consumer_generation"]
        if version < "1.12":
            body["allocations"] = [
                {"resource_provider": {"uuid": uuid}, **some}
                for uuid, some in body["allocations"].items()]
        if version == "1.0":
            del body["project_id"], body["user_id"]
        assert _put(clouds, 0, body, version=version) == 204
    assert _same(clouds, "POST", "/allocations", {
        CONSUMERS[1]: body}, version="1.20") == 204
    assert _same(clouds, "POST", "/allocations", {
        CONSUMERS[1]: body}, version="1.12") == 404


def test_more_is_given_out_than_there_is(clouds):
    """Less of it may be claimed, and given back."""
    assert _put(clouds, 0, _body({2: {"VCPU": 6}})) == 204
    assert _put(clouds, 1, _body({2: {"VCPU": 2}})) == 204
    for cloud in clouds:
        engine = cloud._side.manager.writer.get_engine()
        with engine.begin() as connection:
            connection.execute(models.Inventory.__table__.update().where(
                models.Inventory.resource_provider_id == 3).values(total=4))
    assert _put(clouds, 2, _body({2: {"VCPU": 1}})) == 409
    assert _put(clouds, 0, _body({2: {"VCPU": 5}}, 1)) == 204
    assert _put(clouds, 0, _body({2: {"VCPU": 6}}, 2)) == 409
    assert _put(clouds, 0, _body({}, 2)) == 204


def test_another_owner(clouds):
    assert _put(clouds, 0, _body({0: {"VCPU": 1}})) == 204
    assert _put(clouds, 0, _body({0: {"VCPU": 2}}, 1, project_id="p2",
                                 user_id="u2")) == 204


def _some_request(chance, generations):
    """Return the arguments of a request that may well succeed."""
    def body(number):
        amounts = {
            provider: {chance.choice(_CLASSES[:2]): chance.choice([1, 2, 2])
                       for _turn in range(2)}
            for provider in chance.sample(range(3), chance.choice([1, 1, 2]))}
        generation = generations.get(number)
        if chance.random() < 0.1:
            generation = chance.choice([None, 0, 1, 2])
        if generation is not None and chance.random() < 0.2:
            amounts = {}
        return _body(amounts, generation)

    numbers = chance.sample(range(5), 2)
    what = chance.random()
    if what < 0.2:
        return "DELETE", "/allocations/" + CONSUMERS[numbers[0]]
    if what < 0.4:
        return "POST", "/allocations", {
            CONSUMERS[number]: body(number) for number in numbers}
    return "PUT", "/allocations/" + CONSUMERS[numbers[0]], body(numbers[0])


@pytest.mark.parametrize("seed", range(4))
def test_many_requests(clouds, left, seed):
    chance = random.Random(seed)
    statuses = []
    for _turn in range(40):
        generations = {
            CONSUMERS.index(row["uuid"]): row["generation"]
            for row in clouds[0].rows()[models.Consumer]}
        statuses.append(_same(clouds, *_some_request(chance, generations)))
    assert len(left) < statuses.count(204)


def test_a_helper_is_patched(clouds, monkeypatch):
    """Then Placement's own functions run, with the patch."""
    asked = []
    own = allocation._new_allocations
    monkeypatch.setattr(allocation, "_new_allocations",
                        lambda *args: asked.append(None) or own(*args))
    assert _put(clouds, 0, _body({0: {"VCPU": 1}})) == 204
    assert len(asked) == 2
