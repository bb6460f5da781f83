# SPDX-License-Identifier: Apache-2.0
"""Rows read like model objects whose session has closed."""

import copy
import datetime

from nova.db.api import models as api_models
from nova.db.main import models
from oslo_db import exception as db_exc
import pytest
from sqlalchemy.orm import exc as orm_exc

from nova_kvs.db import rows
from nova_kvs.record import access

INSTANCES = rows.table(models.Instance)


def _row(**values):
    return INSTANCES.row(access.Record(
        "instances", (values.get("id"),), None, 1, values))


def test_types():
    row = _row(id=3, uuid="u", locked=1, deleted=0,
               created_at="2026-03-01 12:00:00.000250", locked_by="admin")
    assert row.locked is True
    assert row.created_at == datetime.datetime(2026, 3, 1, 12, 0, 0, 250)
    assert row.locked_by == "admin"
    assert row.host is None


def test_attribute_and_item():
    row = _row(id=3, uuid="u")
    assert row["uuid"] == row.uuid == row.get("uuid") == "u"
    assert row.get("nothing", 5) == 5
    assert "uuid" in row
    assert "nothing" not in row
    with pytest.raises(AttributeError):
        row["nothing"]
    row["host"] = "h"
    row.update({"node": "n"})
    assert (row.host, row.node) == ("h", "n")


def test_items_as_the_orms():
    model = models.Instance(id=3, uuid="u", host="h")
    row = _row(id=3, uuid="u", host="h")
    assert dict(row.items()) == dict(model.items())
    assert dict(row) == dict(model)
    assert row.name == model.name == "instance-00000003"


def test_relationship_that_was_not_loaded():
    row = _row(id=3)
    with pytest.raises(orm_exc.DetachedInstanceError):
        row.tags
    with pytest.raises(orm_exc.DetachedInstanceError):
        "services" in row
    row.__dict__["tags"] = []
    assert "tags" in dict(row.items())


def test_copy_has_its_own_lists():
    row = _row(id=3, host="h")
    row.__dict__["metadata"] = [1]
    copied = copy.copy(row)
    row.metadata.append(2)
    row.host = "other"
    assert (copied.metadata, copied.host) == ([1], "h")


def test_column_that_nova_dropped():
    row = _row(id=3, internal_id=7)
    assert "internal_id" not in row.__dict__
    assert "internal_id" not in dict(row.items())


def test_properties_of_models():
    aggregate = rows.table(api_models.Aggregate)
    row = aggregate.new({"name": "a"})
    hosts = rows.table(api_models.AggregateHost)
    metadata = rows.table(api_models.AggregateMetadata)
    row.__dict__["_hosts"] = [hosts.new({"host": "h"})]
    row.__dict__["_metadata"] = [
        metadata.new({"key": "availability_zone", "value": "az"})]
    assert row.hosts == ["h"]
    assert row["metadetails"] == {"availability_zone": "az"}
    assert row.availability_zone == "az"


def test_binding():
    row = INSTANCES.new({"uuid": "u", "locked": True,
                         "access_ip_v6": "2001:0db8:0::1",
                         "launched_at": datetime.datetime(2026, 3, 1)})
    stored = INSTANCES.bind_row(row)
    assert stored["locked"] == 1
    assert stored["access_ip_v6"] == "2001:db8::1"
    assert stored["launched_at"] == "2026-03-01 00:00:00.000000"
    assert stored["deleted"] == 0
    assert "host" not in stored


def test_value_that_the_type_refuses():
    with pytest.raises(db_exc.DBError):
        INSTANCES.bind("locked", "maybe")
    with pytest.raises(db_exc.DBError):
        INSTANCES.bind("launched_at", "yesterday")


@pytest.mark.parametrize("base", [models.BASE, api_models.BASE])
def test_every_model(base):
    for mapper in base.registry.mappers:
        table = rows.table(mapper.class_)
        assert set(table.columns) == set(mapper.columns.keys())
        assert table is rows.table(mapper.class_)
