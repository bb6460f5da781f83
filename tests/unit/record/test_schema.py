# SPDX-License-Identifier: Apache-2.0
import sqlite3

from hypothesis import given
from hypothesis import strategies as st
import pytest

from nova_kvs import exceptions
from nova_kvs.record.indexes import unique_key
from nova_kvs.record import partition_rules
from nova_kvs.record import schema

TYPES = ["INTEGER", "VARCHAR(36)", "TEXT", "BOOLEAN", "DATETIME", "FLOAT",
         "BLOB", "NUMERIC(10, 2)", "", "CHARINT", "BIGINT", "DOUBLE"]


def table_of(*ddl):
    tables = schema.Schema.from_ddl(ddl).tables
    return tables[list(tables)[0]]


@given(st.sampled_from(TYPES), st.one_of(
    st.none(), st.booleans(), st.integers(-2 ** 63, 2 ** 63 - 1),
    st.floats(allow_infinity=False), st.text(max_size=5), st.binary(),
    st.from_regex(r"\A *[+-]?[0-9]{0,20}(\.[0-9]{0,3})?(e[0-9]{1,2})? *\Z"),
    st.sampled_from(["1_0", "0x10", "inf", "nan", "\u0661", "1\x00", "\xa01",
                     "9223372036854775808", "1e400"])))
def test_values_are_stored_as_sqlite_stores_them(declared, value):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE x (c %s)" % declared)
    connection.execute("INSERT INTO x VALUES (?)", (value,))
    expected, = connection.execute("SELECT c FROM x").fetchone()
    connection.close()
    found = table_of("CREATE TABLE x (c %s)" % declared).normalise("c", value)
    assert (type(found), found) == (type(expected), expected)


def test_an_integer_beyond_64_bits_is_refused():
    table = table_of("CREATE TABLE x (c INTEGER)")
    with pytest.raises(OverflowError):
        table.normalise("c", 2 ** 63)


def test_a_table_is_read_from_its_ddl():
    table = table_of(
        "CREATE TABLE services (id INTEGER NOT NULL, host VARCHAR(9), "
        "n INTEGER DEFAULT 3, other INTEGER REFERENCES y (id), "
        "PRIMARY KEY (id), CONSTRAINT one UNIQUE (host, n))",
        "CREATE INDEX hosts ON services (host)",
        "CREATE UNIQUE INDEX some ON services (n) WHERE n > 5",
        "CREATE INDEX lowered ON services (lower(host))",
        "CREATE TABLE y (id INTEGER PRIMARY KEY)")
    assert table.columns == ("id", "host", "n", "other")
    assert table.affinities["host"] == "TEXT"
    assert table.defaults == {"n": "3"}
    assert table.key == ("id",)
    assert table.auto_id == "id"
    assert table.kind == "t"
    assert table.partition_column is None
    assert table.uniques == (
        unique_key.UniqueKey("services", "host+n", ("host", "n"), True),)
    assert [index.columns for index in table.indexes] == [
        ("host", "n"), ("other",)]
    assert columns_of_paths(table) == {
        ("id",), ("host",), ("host", "n"), ("other",)}


def columns_of_paths(table):
    """Return the column tuples that need no scan."""
    return {path.columns for path in table.paths}


def test_a_table_without_a_key_has_a_hidden_one():
    table = table_of("CREATE TABLE x (a TEXT)")
    assert table.columns == ("a",)
    assert table.key == ("_rowid_",)
    assert table.auto_id == "_rowid_"


@pytest.mark.parametrize("declared,auto", [
    ("INTEGER PRIMARY KEY", "id"), ("integer primary key", "id"),
    ("BIGINT PRIMARY KEY", "id"), ("SMALLINT PRIMARY KEY", "id"),
    ("VARCHAR(36) PRIMARY KEY", None), ("NUMERIC PRIMARY KEY", None)])
def test_only_keys_of_whole_numbers_are_automatic(declared, auto):
    assert table_of("CREATE TABLE x (id %s)" % declared).auto_id == auto


def test_a_key_of_several_columns_is_an_index():
    table = table_of("CREATE TABLE x (a TEXT, b TEXT, PRIMARY KEY (b, a))")
    assert table.key == ("b", "a")
    assert [index.columns for index in table.indexes] == [("b", "a")]


def test_ddl_that_sqlite_refuses_is_named():
    with pytest.raises(exceptions.UnsupportedStatementError) as caught:
        schema.Schema.from_ddl(["CREATE TABLE x (a)", "CREATE TABEL y (a)"])
    assert caught.value.statement == "CREATE TABEL y (a)"


def test_a_rule_is_picked_by_table_and_column():
    ddl = "CREATE TABLE %s (id INTEGER PRIMARY KEY, instance_uuid TEXT, " \
          "compute_node_id INTEGER, uuid TEXT, deleted INTEGER)"
    for name, column in [("pci_devices", "compute_node_id"),
                         ("instance_metadata", "instance_uuid"),
                         ("instances", "uuid"),
                         ("instance_group_member", None),
                         ("anything", None)]:
        assert table_of(ddl % name).partition_column == column


@pytest.mark.parametrize("name", [
    "shadow_instances", "_alembic_tmp_instances",
    "_alembic_tmp_shadow_instances"])
def test_copies_of_a_table_follow_its_rule(name):
    table = table_of("CREATE TABLE %s (id INTEGER PRIMARY KEY, uuid TEXT, "
                     "host TEXT, deleted INTEGER, created_at TEXT)" % name)
    assert (table.kind, table.partition_column) == ("s", "uuid")
    assert ("host",) in columns_of_paths(table)
    # A column that this release does not have drops the index, no more.
    assert ("project_id",) not in columns_of_paths(table)


def test_a_table_without_the_rules_column_is_one_partition():
    assert table_of("CREATE TABLE instances (id INTEGER)").kind == "t"


def test_unique_keys_are_inside_where_they_hold_the_partition():
    table = table_of(
        "CREATE TABLE block_device_mapping (id INTEGER PRIMARY KEY, "
        "instance_uuid TEXT, volume_id TEXT, uuid TEXT, UNIQUE (uuid), "
        "UNIQUE (instance_uuid, volume_id))")
    assert {unique.columns: unique.inside for unique in table.uniques} == {
        ("uuid",): False, ("instance_uuid", "volume_id"): True}
    assert ("uuid",) in columns_of_paths(table)


def test_every_listed_kind_has_a_directory():
    kinds = {rule.kind for rule in partition_rules.RULES.values()}
    assert kinds == set(partition_rules.LISTED)


@pytest.mark.parametrize("before, after, expected", [
    ({"progress": 1}, {"progress": 2}, False),
    ({"updated_at": "2026-01-02 03:04:05.000000"},
     {"updated_at": "2026-01-02 03:59:59.000000"}, False),
    ({"updated_at": "2026-01-02 03:59:59.000000"},
     {"updated_at": "2026-01-02 04:00:00.000000"}, True),
    ({}, {"updated_at": "2026-01-02 03:59:59.000000"}, True),
    ({"updated_at": "2026-01-02 03:59:59.000000"}, {}, True),
    # No text has an hour, and 3 sorts elsewhere than 4.
    ({"updated_at": 3}, {"updated_at": 4}, True),
    ({"deleted": 0}, {"deleted": 1}, True)])
def test_a_save_within_the_hour_changes_no_entry(before, after, expected):
    table = table_of(
        "CREATE TABLE instances (id INTEGER PRIMARY KEY, uuid VARCHAR(36), "
        "progress INTEGER, updated_at DATETIME, deleted INTEGER)")
    assert any(index.columns == ("updated_at",)
               for index in table.global_indexes)
    assert table.changes_entries(
        before, after, set(before) | set(after)) == expected
