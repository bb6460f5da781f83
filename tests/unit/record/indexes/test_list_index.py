# SPDX-License-Identifier: Apache-2.0
"""The indexes of format 5: of lists, and of rare states."""

import pytest

from nova_kvs.record import access
from nova_kvs.record import building
from nova_kvs.record import database as record_database
from nova_kvs.record import planner
from tests.unit.golden import scenarios
from tests.unit.record import databases
from tests.unit.record.indexes import formats

COUNT = 9


def rows():
    return [{"uuid": "u%d" % n, "deleted": 0, "display_name": "n%d" % n,
             "created_at": "2026-01-0%d 00:00:00.000000" % (n + 1),
             "vm_state": ("active", "error", "soft-delete")[n % 3]}
            for n in range(COUNT)]


def listed(database, *index):
    """Return the numbers of the rows that an index's entries name."""
    fields = {database.schema.tables["instances"].field((number,)): number
              for number in range(1, COUNT + 2)}
    return sorted(map(fields.get, formats.listed(database, *index)))


def test_an_upgrade_gives_all_rows_their_entries(monkeypatch):
    monkeypatch.setattr(record_database, "SCHEMA_AGE_S", 0)
    monkeypatch.setattr(record_database, "SCHEMA_CHECK_S", 0)
    database = formats.make(monkeypatch, scenarios.LISTS, 4)
    databases.insert(database, "instances", *rows())
    table = database.schema.tables["instances"]
    assert {"list", "vm_state.error"}.isdisjoint(
        index.name for index in table.global_indexes)
    assert planner.partial_path(table, {"vm_state": ("error",)}) is None
    building.Builder(database).run()
    assert listed(database, "list") == list(range(1, COUNT + 1))
    assert listed(database, "vm_state.error", "error") == [2, 5, 8]
    assert listed(database, "vm_state.soft-delete", "soft-delete") == [
        3, 6, 9]
    assert formats.is_clean(database) == (True, [])


def test_they_are_written_and_not_read_until_they_are_built(monkeypatch):
    database = formats.make(monkeypatch, scenarios.LISTS, 5, 4)
    databases.insert(database, "instances", *rows())
    assert listed(database, "list") == list(range(1, COUNT + 1))
    table = database.schema.tables["instances"]
    assert planner.partial_path(table, {"vm_state": ("error",)}) is None


@pytest.mark.parametrize("state, number", [("error", 2), ("soft-delete", 3)])
def test_a_state_that_a_server_leaves(state, number):
    database = databases.make(scenarios.LISTS)
    databases.insert(database, "instances", *rows())
    databases.update(database, "instances", (number,), vm_state="active")
    databases.update(database, "instances", (1,), vm_state=state)
    databases.tidy(database)
    assert listed(database, "vm_state." + state, state) == sorted(
        {1, number + 3, number + 6})
    table = database.schema.tables["instances"]
    path = planner.partial_path(table, {"vm_state": (state,), "deleted": (0,)})
    before = database.store.stats.commands
    found, = databases.load(database, path.access("instances", ((state,),)))
    assert [row["id"] for row in found] == sorted(
        {1, number + 3, number + 6})
    assert database.store.stats.commands - before <= 4
    assert formats.is_clean(database) == (True, [])


def test_other_states_are_not_looked_for_there():
    table = databases.make(scenarios.LISTS).schema.tables["instances"]
    for values in ((), ("active",), ("error", "active")):
        assert planner.partial_path(table, {"vm_state": values}) is None
    assert planner.partial_path(table, {"deleted": (0,)}) is None
    # Known columns alone do not tell the value.
    assert planner.known_path(table, ("vm_state",)).kind == planner.SCAN


def test_a_partial_index_that_another_access_names():
    database = databases.make(scenarios.LISTS)
    databases.insert(database, "instances", *rows())
    for state, numbers in (("error", {2, 5, 8}), ("active", {1, 4, 7})):
        found, = databases.load(database, access.ByIndex(
            "instances", ("vm_state",), ((state,),)))
        assert {row["id"] for row in found} == numbers
