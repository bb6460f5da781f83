# SPDX-License-Identifier: Apache-2.0
"""Nova relies on a foreign key that refuses rows of no server."""

from nova.db.main import api as main_db_api
from nova.db.main import models
from nova import exception
from nova.network import model
from nova.objects import instance_info_cache
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import enginefacade
import pytest

from nova_kvs.db import api
from nova_kvs.db import dispatch
from tests.differential import clouds

UUID = "00000001-0000-4000-8000-000000000000"
CALLS = [
    ("instance_info_cache_update", UUID, {"network_info": "[]"}),
    ("instance_extra_update_by_uuid", UUID, {"numa_topology": "{}"}),
]


@pytest.fixture
def cloud():
    made = clouds.KVSCloud()
    api.install()
    yield made
    dispatch.uninstall()


def _context(manager):
    context = clouds.context()
    context.db_connection = manager
    return context


def _sqlite():
    """Return a context of SQLite that enforces foreign keys."""
    manager = enginefacade.transaction_context()
    manager.configure(connection="sqlite://", sqlite_fk=True)
    models.BASE.metadata.create_all(manager.writer.get_engine())
    return _context(manager)


@pytest.mark.parametrize("name, uuid, values", CALLS)
def test_no_row_of_a_server_that_is_not_there(cloud, name, uuid, values):
    for context in (_context(cloud.manager), _sqlite()):
        with pytest.raises(db_exc.DBReferenceError):
            getattr(main_db_api, name)(context, uuid, dict(values))
    assert cloud.rows(models.BASE) == {}


@pytest.mark.parametrize("name, uuid, values", CALLS)
@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_row_that_a_server_lacks_is_made(cloud, name, uuid, values,
                                           is_deleted):
    transaction = cloud.main.begin()
    transaction.insert("instances", {
        "id": 1, "uuid": UUID, "deleted": int(is_deleted)})
    transaction.commit()
    getattr(main_db_api, name)(_context(cloud.manager), uuid, dict(values))
    assert sorted(cloud.rows(models.BASE)) == [{
        "instance_info_cache_update": "instance_info_caches",
        "instance_extra_update_by_uuid": "instance_extra"}[name], "instances"]


def test_nova_says_that_the_server_is_not_found(cloud):
    cache = instance_info_cache.InstanceInfoCache(
        _context(cloud.manager), instance_uuid=UUID)
    cache.network_info = model.NetworkInfo([])
    with pytest.raises(exception.InstanceNotFound):
        cache.save()
