# SPDX-License-Identifier: Apache-2.0
"""Rules for tables of other services, found by entry points."""

import importlib.metadata
import logging

import pytest
import sqlalchemy as sa

from nova_kvs.dialect import base as dialect
from nova_kvs.record import database as databases
from nova_kvs.record import partition_rules
from nova_kvs import rules
from tests import base

SERVICES = ("cinder", "glance", "keystone", "neutron")
metadata = sa.MetaData()
parcels = sa.Table(
    "parcels", metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("owner", sa.String(36)),
    sa.Column("weight", sa.Integer))
TEXT = ("CREATE TABLE %s (id VARCHAR(36) NOT NULL PRIMARY KEY, "
        "owner VARCHAR(36), weight INTEGER)")
NEWEST = sa.select(parcels).where(parcels.c.owner == "p").order_by(
    parcels.c.weight.desc()).limit(2)


class Point:
    """An entry point.

    :param name: of it. :param loaded: what it names, or an error.
    """

    def __init__(self, name, loaded):
        self.name = name
        self._loaded = loaded

    def load(self):
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


@pytest.fixture
def install(monkeypatch):
    """Return a function that installs rules, instead of those there are."""
    found = importlib.metadata.entry_points

    def replace(*points):
        monkeypatch.setattr(
            importlib.metadata, "entry_points", lambda **wanted: (
                points if wanted == {"group": rules.GROUP}
                else found(**wanted)))
        rules.installed.cache_clear()

    replace(Point("parcels", {"parcels": rules.Rule(
        ("owner",), (("owner", "weight"), ("owner", "colour")))}))
    yield replace
    monkeypatch.undo()
    rules.installed.cache_clear()


def _indexes(url):
    return sorted(index.name for index in databases.open_database(
        url).schema.tables["parcels"].indexes)


def _run(url, *statements):
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    return engine


def test_a_table_that_is_made_has_the_indexes_of_its_rule(install):
    url = base.memory_url()
    engine = _run(url, TEXT % "parcels")
    assert _indexes(url) == ["owner+weight"]
    with engine.begin() as connection:
        connection.execute(parcels.insert(), [
            {"id": "i%d" % number, "owner": "p", "weight": number}
            for number in range(50)])
    with engine.connect() as connection:
        assert [row.weight for row in connection.execute(NEWEST)] == [49, 48]
        assert dialect.explain(connection, NEWEST).split("\n")[1] == (
            "  parcels: first of reverse order of owner+weight by "
            "(owner, weight)")
        assert len(connection.connection.dbapi_connection.workspace.state(
            "parcels").rows) < 20


def test_services_do_not_see_them(install):
    engine = _run(base.memory_url(), TEXT % "parcels",
                  "CREATE INDEX mine ON parcels (weight)")
    assert [index["name"] for index in sa.inspect(engine).get_indexes(
        "parcels")] == ["mine"]


def test_a_table_of_another_kind_has_none(install):
    url = base.memory_url()
    _run(url, "CREATE TABLE parcels (id INTEGER PRIMARY KEY, weight INTEGER)")
    assert _indexes(url) == []


def test_a_table_that_was_there_before_its_rule_has_none(install):
    installed = Point("parcels", {"parcels": (("owner",), (("owner",),))})
    install()
    url = base.memory_url()
    _run(url, TEXT % "parcels")
    install(installed)
    _run(url, "ALTER TABLE parcels ADD COLUMN colour TEXT")
    assert _indexes(url) == []


def test_a_table_that_is_made_again_keeps_them(install):
    url = base.memory_url()
    _run(url, TEXT % "parcels",
         "INSERT INTO parcels VALUES ('a', 'p', 1), ('b', 'p', 2)")
    engine = _run(url, TEXT % "_alembic_tmp_parcels",
                  "INSERT INTO _alembic_tmp_parcels SELECT * FROM parcels",
                  "DROP TABLE parcels",
                  "ALTER TABLE _alembic_tmp_parcels RENAME TO parcels")
    assert _indexes(url) == ["owner+weight"]
    with engine.connect() as connection:
        assert [row.id for row in connection.execute(NEWEST)] == ["b", "a"]


def test_a_column_takes_its_index_along(install):
    url = base.memory_url()
    _run(url, TEXT % "parcels")
    _run(url, "ALTER TABLE parcels DROP COLUMN weight")
    assert _indexes(url) == []


def test_they_stay_when_the_rules_are_gone(install):
    url = base.memory_url()
    _run(url, TEXT % "parcels")
    install()
    engine = _run(url, "ALTER TABLE parcels ADD COLUMN size INTEGER",
                  "INSERT INTO parcels VALUES ('a', 'p', 1, 1)")
    assert _indexes(url) == ["owner+weight"]
    with engine.connect() as connection:
        assert len(connection.execute(NEWEST).fetchall()) == 1


def test_rules_that_do_not_load_are_left_out(install, caplog):
    install(Point("broken", ImportError("no module")),
            Point("parcels", {"parcels": (("owner",), (("owner",),))}))
    with caplog.at_level(logging.WARNING, "nova_kvs.rules"):
        assert rules.indexes_for("parcels", ("id", "owner")) == [
            ("kvs_parcels_owner", ("owner",))]
    assert "broken" in caplog.text


@pytest.mark.parametrize("name", SERVICES)
def test_a_services_rules_are_installed(name):
    point, = importlib.metadata.entry_points(group=rules.GROUP, name=name)
    for table, rule in point.load().items():
        assert isinstance(rule, rules.Rule)
        assert rule.has and rule.indexes
        assert len(set(rule.indexes)) == len(rule.indexes), table


def test_tables_with_partitions_of_their_own_have_none():
    assert not set(rules.installed()) & set(partition_rules.RULES)


def test_a_users_name_is_found_in_all_of_keystones_tables():
    columns = {"local_user": ("user_id", "domain_id", "name"),
               "federated_user": ("id", "user_id", "display_name")}
    assert [rules.indexes_for(table, names)
            for table, names in columns.items()] == [
        [("kvs_local_user_name", ("name",))],
        [("kvs_federated_user_display_name", ("display_name",))]]
