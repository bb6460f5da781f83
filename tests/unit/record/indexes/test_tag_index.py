# SPDX-License-Identifier: Apache-2.0
"""The indexes of format 6: of tags, and of servers' tasks and states."""

import pytest

from nova_kvs.record import building
from nova_kvs.record import database as record_database
from nova_kvs.record import planner
from tests.unit.golden import scenarios
from tests.unit.record import databases
from tests.unit.record.indexes import formats

_BUSY = "task_state.busy"
#: Of the servers 1 to 5.
STATES = ("spawning", "migrating", None, "rebooting", "migrating")


def insert(database):
    databases.insert(database, "instances", *[
        {"uuid": "u%d" % number, "task_state": state,
         "vm_state": "paused" if number < 3 else "active"}
        for number, state in enumerate(STATES, 1)])
    databases.insert(database, "tags", *[
        {"resource_id": "u%d" % number, "tag": tag}
        for number, tag in ((1, "a"), (2, "b"), (3, "a"))])


def partial_path(database, *states):
    return planner.partial_path(
        database.schema.tables["instances"], {"task_state": states})


def rows(database, path, table, *values):
    """Return the rows that a path finds, and the commands that it takes."""
    before = database.store.stats.commands
    found, = databases.load(database, path.access(
        table, tuple((value,) for value in values)))
    return found, database.store.stats.commands - before


def test_an_upgrade_gives_all_rows_their_entries(monkeypatch):
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 0)
    monkeypatch.setattr(record_database, "SCHEMA_CHECK_S", 0)
    database = formats.make(monkeypatch, scenarios.TAGS, 5)
    insert(database)
    tables = database.schema.tables
    assert partial_path(database, "migrating") is None
    assert planner.known_path(tables["tags"], ("tag",)).kind == planner.SCAN
    building.Builder(database).run()
    assert formats.listed(database, _BUSY, "migrating") == formats.fields(
        database, (2,), (5,))
    assert formats.listed(database, _BUSY, "spawning") == []
    assert formats.listed(
        database, "vm_state.unusual", "paused") == formats.fields(
            database, (1,), (2,))
    assert formats.listed(database, "tag", "a", "tags") == formats.fields(
        database, ("u1", "a"), ("u3", "a"), table="tags")
    assert formats.is_clean(database) == (True, [])


def test_they_are_written_and_not_read_until_they_are_built(monkeypatch):
    database = formats.make(monkeypatch, scenarios.TAGS, 6, 5)
    insert(database)
    assert len(formats.listed(database, _BUSY, "migrating")) == 2
    assert len(formats.listed(database, "tag", "a", "tags")) == 2
    assert partial_path(database, "migrating") is None
    assert planner.known_path(
        database.schema.tables["tags"], ("tag",)).kind == planner.SCAN


def test_a_tag_finds_its_servers():
    database = databases.make(scenarios.TAGS)
    insert(database)
    path = planner.known_path(database.schema.tables["tags"], ("tag",))
    found, commands = rows(database, path, "tags", "a")
    assert [row["resource_id"] for row in found] == ["u1", "u3"]
    assert commands <= 4
    databases.delete(database, "tags", ("u1", "a"))
    found, _ = rows(database, path, "tags", "a")
    assert [row["resource_id"] for row in found] == ["u3"]
    assert formats.is_clean(database) == (True, [])


def test_a_state_that_a_server_leaves():
    database = databases.make(scenarios.TAGS)
    insert(database)
    databases.update(database, "instances", (2,), task_state=None)
    databases.update(database, "instances", (1,), task_state="deleting")
    databases.tidy(database)
    for state, numbers in (("migrating", [5]), ("deleting", [1]),
                           ("rebooting", [4])):
        assert formats.listed(database, _BUSY, state) == formats.fields(
            database, *[(number,) for number in numbers])
    wanted = "migrating", "deleting", "rebooting"
    found, commands = rows(
        database, partial_path(database, *wanted), "instances", *wanted)
    assert [row["id"] for row in found] == [1, 4, 5]
    assert commands <= 6
    assert formats.is_clean(database) == (True, [])


@pytest.mark.parametrize("states", [
    (), ("spawning",), ("migrating", "scheduling")])
def test_states_of_a_boot_are_not_looked_for_there(states):
    assert partial_path(databases.make(scenarios.TAGS), *states) is None


def test_a_boot_writes_no_entry_of_its_states():
    database = databases.make(scenarios.TAGS)
    table = database.schema.tables["instances"]
    index, = [one for one in table.indexes if one.name == _BUSY]
    assert [state for state in (
        "scheduling", "networking", "block_device_mapping", "spawning", None,
        "rebooting", "deleting") if index.holds({"task_state": state})] == [
            "rebooting", "deleting"]
