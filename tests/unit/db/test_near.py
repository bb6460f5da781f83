# SPDX-License-Identifier: Apache-2.0
"""Native functions on a replica that is behind."""

from nova import context as nova_context
from nova import exception
from nova import objects
import pytest

from nova_kvs.db import api
from nova_kvs.db import dispatch
from nova_kvs.txn import coordinator as coordinators
from tests.differential import clouds
from tests import replicas

_UUID = "00000001-0000-4000-8000-000000000000"


@pytest.fixture
def cloud(monkeypatch):
    # As if all that is written here were another process's.
    monkeypatch.setattr(coordinators, "MISSED_S", -1)
    made = clouds.KVSCloud()
    made.api.may_lag = True
    api.install()
    with clouds._factories(made.manager._factory, made.api_factory):
        yield made
    dispatch.uninstall()


@pytest.fixture
def context():
    return nova_context.RequestContext("u1", "p1", is_admin=True)


@pytest.fixture
def replica(cloud):
    return replicas.Replica(cloud.api.store)


def _mapping(context):
    made = objects.InstanceMapping(
        context, instance_uuid=_UUID, project_id="p1", user_id="u1",
        queued_for_delete=False)
    made.create()
    return made


def _stored(context):
    return objects.InstanceMapping.get_by_instance_uuid(context, _UUID)


def _trips(cloud, function):
    before = cloud.api.store.stats.round_trips
    function()
    return cloud.api.store.stats.round_trips - before


def test_readers_read_near_by(cloud, context, replica):
    mapping = _mapping(context)
    # Not on the replica, so the master is asked.
    assert not _stored(context).queued_for_delete
    replica.catch_up()
    mapping.queued_for_delete = True
    mapping.save()
    assert not _stored(context).queued_for_delete
    replica.catch_up()
    assert _stored(context).queued_for_delete


def test_a_writer_that_may_lag_does(cloud, context, replica):
    mapping = _mapping(context)
    replica.catch_up()
    replica.reads.clear()
    mapping.queued_for_delete = True
    assert _trips(cloud, mapping.save) == 2
    # The mapping; its cell's comes with the commit.
    assert len(replica.reads) == 1
    replica.catch_up()
    assert _stored(context).queued_for_delete


def test_no_writer_rests_on_what_is_behind(cloud, context, replica):
    mapping = _mapping(context)
    replica.catch_up()
    other = _stored(context)
    other.project_id = "p2"
    other.save()
    mapping.queued_for_delete = True
    mapping.save()
    replica.catch_up()
    found = _stored(context)
    assert (found.project_id, found.queued_for_delete) == ("p2", True)


def test_a_change_of_nothing_is_not_believed(cloud, context, replica):
    mapping = _mapping(context)
    replica.catch_up()
    other = _stored(context)
    other.queued_for_delete = True
    other.save()
    # On the replica it is False still.
    mapping.queued_for_delete = False
    mapping.save()
    replica.catch_up()
    assert not _stored(context).queued_for_delete


def test_what_a_writer_does_not_find_is_asked_for(cloud, context, replica):
    _mapping(context)
    request = objects.BuildRequest(
        context, instance_uuid=_UUID, project_id="p1",
        instance=objects.Instance(uuid=_UUID))
    replica.catch_up()
    # There are records of the server, but not this one.
    request.create()
    request.destroy()
    with pytest.raises(exception.BuildRequestNotFound):
        request.destroy()


def test_other_writers_read_masters(cloud, context, replica):
    mapping = _mapping(context)
    replica.catch_up()
    replica.reads.clear()
    mapping.destroy()
    assert replica.reads == []
