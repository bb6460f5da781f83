# SPDX-License-Identifier: Apache-2.0
"""The rule table against Nova's and Placement's own models."""

from nova.db.api import models as api_models
from nova.db.main import models as main_models
from placement.db.sqlalchemy import models as placement_models
import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite

from nova_kvs.record import partition_rules
from nova_kvs.record import schema

METADATA = (main_models.BASE.metadata, api_models.BASE.metadata,
            placement_models.BASE.metadata)


#: What a boot and a deletion go through, what many servers are in, and what
#: has an index of its own.
COMMON_STATES = {
    "task_state": {
        "scheduling", "networking", "block_device_mapping", "spawning"},
    "vm_state": {"building", "active", "stopped", "shelved_offloaded",
                 "error", "soft-delete", "deleted"}}


def columns_of(name):
    """Return the column names of a table in each database that has it."""
    return [set(metadata.tables[name].columns.keys())
            for metadata in METADATA if name in metadata.tables]


@pytest.mark.parametrize("name", sorted(partition_rules.RULES))
def test_a_rule_names_columns_that_exist(name):
    rule = partition_rules.RULES[name]
    found = columns_of(name)
    assert found
    for columns in found:
        assert rule.column in columns
        for index in rule.indexes:
            assert columns.issuperset(index.columns)
            assert index.only is None or index.only[0] == index.columns[0]
            assert not (index.without and index.ordered)


def test_every_table_of_a_server_has_a_rule():
    named = {table.name for metadata in METADATA
             for table in metadata.tables.values()
             if "instance_uuid" in table.columns}
    # Read by group, and by volume and time.
    assert named - set(partition_rules.RULES) == {
        "instance_group_member", "volume_usage_cache"}


def test_what_changes_whenever_a_server_is_saved_is_not_indexed():
    saved = {"updated_at", "task_state", "power_state", "vm_state",
             "progress", "launched_at"}
    for rule in partition_rules.RULES.values():
        for index in rule.indexes:
            # But once an hour, or in a state that is rare.
            rare = {column for column, _ in index.coarse}
            if index.only is not None and index.only[1]:
                rare.add(index.only[0])
            if index.without:
                assert set(index.without) == COMMON_STATES[index.columns[0]]
                rare.add(index.columns[0])
            assert (saved - rare).isdisjoint(index.columns)


def test_archived_rows_have_no_ordered_indexes():
    columns = columns_of("instances")[0]
    for name, expected in (("instances", True), ("shadow_instances", False),
                           ("_alembic_tmp_instances", True),
                           ("_alembic_tmp_shadow_instances", False)):
        rule = partition_rules.rule_for(name, columns)
        assert any(index.ordered for index in rule.indexes) == expected


def indexes_of(table):
    """Return the columns of a table's indexes, as MySQL has them."""
    found = {tuple(column.name for column in index.columns)
             for index in (*table.indexes, *table.foreign_key_constraints,
                           table.primary_key, *[
                               constraint for constraint in table.constraints
                               if isinstance(constraint,
                                             sa.UniqueConstraint)])}
    return found - {()}


def test_each_index_of_nova_and_placement_has_a_counterpart():
    """Or a reason: none is missing, and none stands there for nothing."""
    missing = {}
    for metadata in METADATA:
        ddl = [str(element.compile(dialect=sqlite.dialect()))
               for table in metadata.sorted_tables
               for element in (sa.schema.CreateTable(table), *map(
                   sa.schema.CreateIndex, table.indexes))]
        tables = schema.Schema.from_ddl(ddl).tables
        for sql_table in metadata.sorted_tables:
            table = tables[sql_table.name]
            if table.partition_column is None:
                # All indexes of these are kept, see the schema's tests.
                continue
            found = {table.partition_column, *[
                index.columns[0] for index in (*table.indexes, *[
                    unique for unique in table.uniques
                    if not unique.inside])]}
            absent = {columns[0] for columns in indexes_of(sql_table)
                      if columns[0] not in found
                      and table.partition_column not in columns}
            if absent:
                missing.setdefault(table.name, set()).update(absent)
    assert missing == {name: set(reasons) for name, reasons
                       in partition_rules.WITHOUT.items()}
    assert all(reason for reasons in partition_rules.WITHOUT.values()
               for reason in reasons.values())


@pytest.mark.parametrize("name,expected", [
    ("instances", "instances"), ("shadow_instances", "instances"),
    ("_alembic_tmp_shadow_instances", "instances"),
    ("shadows_of_instances", "shadows_of_instances")])
def test_copies_have_the_name_of_what_they_copy(name, expected):
    assert partition_rules.base_name(name) == expected
