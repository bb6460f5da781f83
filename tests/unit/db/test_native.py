# SPDX-License-Identifier: Apache-2.0
"""Retries, errors and races of native calls."""

import threading

from nova import context as nova_context
from nova.db.main import models
from nova import exception
from oslo_db import exception as db_exc
from oslo_utils import uuidutils
import pytest

from nova_kvs.db import engines
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session
from nova_kvs import exceptions
from tests.differential import clouds

SERVICES = rows.table(models.Service)


@pytest.fixture
def cloud():
    return clouds.KVSCloud()


def _call(cloud, name, *args, **kwargs):
    return cloud.call("%s:%s" % (native.MAIN, name), clouds.context(),
                      *args, **kwargs)


def _service(cloud, **values):
    return _call(cloud, "service_create", {
        "host": "h", "binary": "nova-compute", "topic": "compute",
        "report_count": 0, **values})


@pytest.fixture
def pair():
    pair = clouds.Pair()
    yield pair
    pair.close()


def test_text_that_is_none_is_refused_as_by_sqlite(pair):
    """No SQL database takes lone surrogates, and no export writes them."""
    server = {"uuid": uuidutils.generate_uuid(), "project_id": "p1"}
    pair.call("instance_create", clouds.context(), server)
    for name, *args in (
            ("service_create", {"host": "h", "topic": "\ud800"}),
            ("service_create", {"host": "\udc00", "topic": "t"}),
            ("instance_create", {
                "uuid": uuidutils.generate_uuid(),
                "metadata": {"k": "\ud800"}}),
            ("instance_update", server["uuid"], {"display_name": "\ud800"}),
            ("instance_update", server["uuid"], {
                "metadata": {"\ud800": "v"}})):
        pair.call(name, clouds.context(), *args)
        with pytest.raises(db_exc.DBInvalidUnicodeParameter):
            _call(pair.kvs, name, *args)
    pair.compare_rows()


def test_conflict_is_retried(cloud, monkeypatch):
    _service(cloud)
    commit = session.Session.commit
    rivals = [7, 8]

    def raced(self):
        if rivals:
            other = session.Session(cloud.main)
            row = other.first(SERVICES, host="h")
            other.update(row, {"version": rivals.pop()})
            commit(other)
        commit(self)

    monkeypatch.setattr(session.Session, "commit", raced)
    row = _call(cloud, "service_update", 1, {"report_count": 3})
    assert (row.report_count, row.version) == (3, 7)
    assert cloud.main.coordinator.stats.conflicts == 2


def test_conflict_that_does_not_end(cloud, monkeypatch):
    _service(cloud)

    def conflict(self):
        raise exceptions.ConflictError()

    monkeypatch.setattr(session.Session, "commit", conflict)
    with pytest.raises(db_exc.DBDeadlock):
        _call(cloud, "service_update", 1, {"report_count": 3})


def test_no_update_is_lost(cloud):
    _call(cloud, "vol_usage_update", "v", 0, 0, 0, 0, None, None, None, None)
    barrier = threading.Barrier(3)

    def add():
        barrier.wait()
        for _turn in range(10):
            _call_alone(cloud, "vol_usage_update", "v", 1, 0, 0, 0, None,
                        None, None, None, update_totals=True)

    threads = [threading.Thread(target=add) for _number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usage = session.Session(cloud.main).first(
        rows.table(models.VolumeUsage), volume_id="v")
    assert usage.tot_reads == 30


def _call_alone(cloud, name, *args, **kwargs):
    """Call without touching what threads share."""
    context = clouds.context()
    context.db_connection = cloud.manager
    return native.REGISTRY["%s:%s" % (native.MAIN, name)](
        context, *args, **kwargs)


def test_two_make_the_default_group(cloud, monkeypatch):
    context = clouds.context()
    commit = session.Session.commit
    raced = []

    def first_the_other(self):
        if not raced:
            raced.append(1)
            _call(cloud, "security_group_ensure_default")
        commit(self)

    monkeypatch.setattr(session.Session, "commit", first_the_other)
    group = _call(cloud, "security_group_ensure_default")
    found = session.Session(cloud.main).all(
        rows.table(models.SecurityGroup), project_id=context.project_id)
    assert [row.id for row in found] == [group.id]


def test_both_keys_of_a_service(cloud):
    _service(cloud)
    with pytest.raises(exception.ServiceBinaryExists):
        _service(cloud)
    with pytest.raises(exception.ServiceBinaryExists):
        _service(cloud, topic="other")
    with pytest.raises(exception.ServiceTopicExists):
        _service(cloud, binary="other")


def test_uuid_of_a_service(cloud):
    uuid = "00000001-0000-4000-8000-000000000000"
    _service(cloud, uuid=uuid)
    with pytest.raises(exception.ServiceTopicExists):
        _service(cloud, uuid=uuid)


def test_store_that_does_not_answer(cloud, monkeypatch):
    def down(self, *args, **kwargs):
        raise exceptions.StoreUnavailableError()

    monkeypatch.setattr(type(cloud.main.store), "batch", down)
    with pytest.raises(db_exc.DBConnectionError):
        _call(cloud, "service_get", 1)


def test_database_that_does_not_open(monkeypatch):
    def down(*args, **kwargs):
        raise exceptions.StoreUnavailableError()

    monkeypatch.setattr(engines.database, "open_database", down)
    context = clouds.context()
    context.db_connection = clouds._Manager("kvs+memory:///never")
    with pytest.raises(db_exc.DBConnectionError):
        native.REGISTRY[native.MAIN + ":service_get"](context, 1)


def test_context_is_required(cloud):
    nobody = nova_context.RequestContext(is_admin=False)
    with pytest.raises(exception.Forbidden):
        cloud.call(native.MAIN + ":instance_get_by_uuid", nobody, "u")
