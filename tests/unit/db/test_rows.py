# SPDX-License-Identifier: Apache-2.0
"""Rows read like model objects whose session has closed."""

import copy
import datetime

from nova.db.api import models as api_models
from nova.db.main import models
from oslo_db import exception as db_exc
import pytest
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.orm import exc as orm_exc

from nova_kvs.db import rows
from nova_kvs.record import access

INSTANCES = rows.table(models.Instance)


class _WithList(orm.declarative_base()):
    __tablename__ = "with_list"
    id = sa.Column(sa.Integer, primary_key=True)
    items = sa.Column(sa.JSON)


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


def test_rows_of_a_record_that_is_kept_are_independent():
    record = access.CachedRecord("instances", (3,), None, 1, {
        "id": 3, "locked": 1, "created_at": "2026-03-01 12:00:00.000250"})
    first = INSTANCES.row(record)
    first.host = "h"
    first.tags = []
    del first.__dict__["node"]
    second = INSTANCES.row(record)
    assert (second.host, second.node, second.locked) == (None, None, True)
    assert second.created_at == datetime.datetime(
        2026, 3, 1, 12, 0, 0, 250)
    assert second._record is record
    with pytest.raises(orm_exc.DetachedInstanceError):
        second.tags


def test_values_that_can_change_are_not_shared():
    table = rows.Table(_WithList)
    record = access.CachedRecord("with_list", (1,), None, 1, {
        "id": 1, "items": "[1]"})
    table.row(record).items.append(2)
    assert table.row(record).items == [1]


def test_a_record_that_is_kept_is_read_by_another_model():
    record = access.CachedRecord("quotas", (1,), None, 1, {"id": 1})
    first = rows.table(models.Quota).row(record)
    second = rows.table(api_models.Quota).row(record)
    assert "deleted" in first.__dict__
    assert "deleted" not in second.__dict__


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
