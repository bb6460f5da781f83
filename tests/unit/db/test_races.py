# SPDX-License-Identifier: Apache-2.0
"""Somebody else adds the same row after this call has looked for it."""

from nova.db.api import models as api_models
from nova.db.main import models
import pytest

from nova_kvs.db import native
from nova_kvs.db import session
from tests.differential import clouds

_UUID = "00000001-0000-4000-8000-000000000000"
_AGGREGATE = "nova.objects.aggregate:"
_FLAVOR = "nova.objects.flavor:"


@pytest.fixture
def cloud():
    return clouds.KVSCloud()


@pytest.fixture
def call(cloud):
    def call(name, *args):
        target = name if ":" in name else "%s:%s" % (native.MAIN, name)
        return cloud.call(target, clouds.context(), *args)
    return call


@pytest.fixture
def before_insert(monkeypatch):
    """Let a call be made before the next row is inserted."""
    insert = session.Session.insert

    def before_insert(call, *args):
        def another_first(*values):
            monkeypatch.undo()
            call(*args)
            return insert(*values)

        monkeypatch.setattr(session.Session, "insert", another_first)
    return before_insert


def test_tag(cloud, call, before_insert):
    call("instance_create", {"uuid": _UUID, "project_id": "p1"})
    before_insert(call, "instance_tag_add", _UUID, "t")
    assert call("instance_tag_add", _UUID, "t").tag == "t"
    assert len(cloud.rows(models.BASE)["tags"]) == 1


def test_extra_specs(cloud, call, before_insert):
    call(_FLAVOR + "_flavor_create", {
        "name": "a", "flavorid": "a", "memory_mb": 1, "vcpus": 1})
    add = _FLAVOR + "_flavor_extra_specs_add"
    before_insert(call, add, 1, {"k": "theirs"})
    call(add, 1, {"k": "ours"})
    spec, = cloud.rows(api_models.BASE)["flavor_extra_specs"]
    assert spec["value"] == "ours"


@pytest.mark.parametrize("function, values", [
    ("_metadata_add_to_db", {"k": "ours"}),
    ("_aggregate_update_to_db", {"name": "b", "metadata": {"k": "ours"}}),
])
def test_aggregate_metadata(cloud, call, before_insert, function, values):
    call(_AGGREGATE + "_aggregate_create_in_db", {"name": "a"})
    before_insert(call, _AGGREGATE + "_metadata_add_to_db", 1,
                  {"k": "theirs"})
    call(_AGGREGATE + function, 1, values)
    item, = cloud.rows(api_models.BASE)["aggregate_metadata"]
    assert item["value"] == "ours"
