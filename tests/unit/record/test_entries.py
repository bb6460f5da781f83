# SPDX-License-Identifier: Apache-2.0
"""Rows that are read by their entries are those that SQLite finds."""

import itertools
import sqlite3

import hypothesis
from hypothesis import strategies as st
import pytest

from nova_kvs.record import access
from nova_kvs.record.indexes import entry_columns
from nova_kvs.record.paths import by_entries
from nova_kvs.record.paths import by_range
from nova_kvs.record import planner
from tests.unit.golden import scenarios
from tests.unit.record import databases

LONG = "x" * 96
#: Cut in an entry, and around where that begins.
TEXTS = st.one_of(
    st.none(), st.sampled_from(["", "a", "a\0", "a\0\1", "b%", "\xe4", LONG]),
    st.sampled_from([LONG + "a" * n for n in (1, 30, 31, 32, 40)] + [
        LONG + "b" * 40, "\0" * 130]))
NUMBERS = st.one_of(st.none(), st.sampled_from([0, 1, -1, 7, 2 ** 53 + 1]))
ROWS = st.lists(st.fixed_dictionaries({
    "deleted": st.sampled_from([0, 0, 0, 5, None]),
    "created_at": st.sampled_from(["2026-01-01", "2026-01-02", None]),
    "display_name": TEXTS, "user_id": TEXTS, "image_ref": TEXTS,
    "instance_type_id": NUMBERS, "locked": st.sampled_from([0, 1, None]),
    "vm_state": st.sampled_from(["active", "error"])}), max_size=14)
COLUMNS = ("deleted", "created_at", "display_name", "user_id", "image_ref",
           "instance_type_id", "locked", "uuid", "id")
ORDERS = st.lists(st.tuples(
    st.sampled_from(COLUMNS + ("vm_state",)), st.booleans()),
    max_size=3, unique_by=lambda pair: pair[0])


def make(rows, ddl=scenarios.LISTS):
    database = databases.make(ddl)
    named = [{**row, "uuid": "u%d/\xe4" % n} for n, row in enumerate(rows)]
    # A busy machine would be late with hundreds in one commit.
    for first in range(0, len(named), 100):
        databases.insert(database, "instances", *named[first:first + 100])
    return database


def in_sqlite(database, ddl=scenarios.LISTS[0]):
    """Return a connection to SQLite with the same rows."""
    connection = sqlite3.connect(":memory:")
    connection.execute(ddl)
    rows, = databases.load(database, access.FullScan("instances"))
    for row in rows:
        connection.execute("INSERT INTO instances (%s) VALUES (%s)" % (
            ", ".join(row), ", ".join("?" * len(row))), list(row.values()))
    return connection


def conditions_of(chosen):
    """Return ([(column, condition)], SQL, parameters) of a strategy's."""
    found, clauses, parameters = [], ["1"], []
    for column, kind, values in chosen:
        some = [value for value in values if value is not None]
        marks = ", ".join("?" * len(some))
        if kind == "in":
            found.append((column, entry_columns.among(some)))
            clauses.append("%s IN (%s)" % (column, marks))
            parameters += some
        elif kind == "null":
            found.append((column, entry_columns.among([None])))
            clauses.append("%s IS NULL" % column)
        elif kind == "not in":
            found.append((column, entry_columns.unequal(some)))
            clauses.append("%s NOT IN (%s) AND %s IS NOT NULL" % (
                column, marks, column))
            parameters += some
        else:
            found.append((column, entry_columns.text(
                lambda value: "a" in value, part="a")))
            clauses.append("instr(%s, 'a')" % column)
    return found, " AND ".join(clauses), parameters


CONDITIONS = st.lists(st.one_of(
    st.tuples(st.sampled_from(["display_name", "user_id"]),
              st.sampled_from(["in", "null", "not in", "text"]),
              st.lists(TEXTS, max_size=3)),
    st.tuples(st.sampled_from(["instance_type_id", "locked"]),
              st.sampled_from(["in", "null", "not in"]),
              st.lists(NUMBERS, max_size=3))), max_size=2)
FIRST = st.sampled_from([
    ({}, "1"), ({"prefixes": (0,)}, "deleted = 0"),
    ({"prefixes": (None, 5)}, "(deleted IS NULL OR deleted = 5)"),
    ({"refused": (0,)}, "deleted <> 0"),
    ({"refused": (5, -1)}, "deleted NOT IN (5, -1)")])


def page(database, cursor, limit, chunk, passes):
    """Return the rows of a page, as who asks for it reads them."""
    tx = database.begin()
    found = []
    while not cursor.is_done:
        found += [record.values for record in tx.load([access.ByEntries(
            "instances", cursor, chunk)])[0] if passes(record.values)]
        if sum(map(cursor.precedes, found)) >= limit:
            break
    return found


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(ROWS, ROWS, CONDITIONS, ORDERS, FIRST,
                  st.integers(1, 6), st.integers(1, 4), st.data())
def test_the_same_page_as_sqlite(rows, later, chosen, wanted, first, limit,
                                 chunk, data):
    database = make(rows)
    # Rows that change leave entries behind, for a grace.
    for number, row in enumerate(later[:len(rows)]):
        databases.update(database, "instances", (number + 1,), **row)
    if rows and data.draw(st.booleans()):
        databases.delete(database, "instances", (1,))
    conditions, clauses, parameters = conditions_of(chosen)
    with_prefix, clause = first
    clauses += " AND " + clause
    connection = in_sqlite(database)
    order = [*[pair for pair in wanted if pair[0] != "id"], ("id", True)]
    expected = connection.execute(
        "SELECT id FROM instances WHERE %s ORDER BY %s LIMIT %d" % (
            clauses, ", ".join(
                column + " DESC" * descends for column, descends in order),
            limit), parameters).fetchall()
    passing = {number for number, in connection.execute(
        "SELECT id FROM instances WHERE " + clauses, parameters)}
    connection.close()
    table = database.schema.tables["instances"]
    path = planner.by_entries(
        table, {"locked", *[column for column, _ in conditions]}, order)
    assert path.index.name == "list"
    cursor = by_entries.Cursor(
        table, path.index, conditions, path.order, **with_prefix)
    found = page(database, cursor, limit, chunk,
                 lambda values: values["id"] in passing)
    assert len({row["id"] for row in found}) == len(found)
    for column, descends in reversed(order):
        found.sort(key=lambda row: by_range.sortable(row.get(column)),
                   reverse=descends)
    assert [row["id"] for row in found[:limit]] == [
        number for number, in expected]


MOMENTS = st.sampled_from([None, *[
    "2026-01-0%d 0%d:0%d:00.000000" % moment
    for moment in itertools.product((1, 2), (1, 2), (0, 5))]])
CHANGES = st.lists(st.fixed_dictionaries({"updated_at": MOMENTS}),
                   max_size=14)


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(CHANGES, CHANGES, st.booleans(), MOMENTS,
                  st.integers(1, 6), st.integers(1, 4))
def test_the_same_rows_as_sqlite_in_a_rough_order(
        rows, later, descends, start, limit, chunk):
    ddl = scenarios.LISTS[0][:-1] + ", updated_at DATETIME)"
    database = make([{**row, "vm_state": "active"} for row in rows], (ddl,))
    for number, row in enumerate(later[:len(rows)]):
        databases.update(database, "instances", (number + 1,), **row)
    connection = in_sqlite(database, ddl)
    expected = connection.execute(
        "SELECT id FROM instances WHERE updated_at IS NOT NULL%s ORDER BY "
        "updated_at%s, id LIMIT %d" % (
            " AND updated_at %s= '%s'" % ("<" if descends else ">", start)
            if start else "", " DESC" * descends, limit)).fetchall()
    connection.close()
    table = database.schema.tables["instances"]
    cursor = by_entries.Cursor(
        table, planner.coarse_index(table, "updated_at"), (),
        [("updated_at", descends)], start=start and (start,))
    found = page(
        database, cursor, limit, chunk,
        lambda values: "updated_at" in values and (
            start is None or (values["updated_at"] <= start if descends
                              else values["updated_at"] >= start)))
    assert len({row["id"] for row in found}) == len(found)
    found.sort(key=lambda row: row["id"])
    found.sort(key=lambda row: row["updated_at"], reverse=descends)
    assert [row["id"] for row in found[:limit]] == [
        number for number, in expected]


def test_only_rows_that_pass_are_read():
    database = make([
        {"deleted": 0, "display_name": "n%d" % n, "vm_state": "active"}
        for n in range(60)])
    table = database.schema.tables["instances"]
    index = table.index("list")
    cursor = by_entries.Cursor(
        table, index, [("display_name", entry_columns.text(
            lambda value: value.endswith("7")))], [("display_name", True)],
        prefixes=(0,))
    before = database.store.stats.commands
    found = page(database, cursor, 3, 4, lambda values: True)
    # The buckets, and rows: one more than the page tells where it ends.
    assert database.store.stats.commands - before == index.buckets + 4
    assert [row["display_name"] for row in found] == [
        "n7", "n57", "n47", "n37"]


def test_the_first_entries_are_enough_in_the_order_of_creation():
    database = make([
        {"deleted": 0, "locked": 0, "vm_state": "active",
         "created_at": "2026-01-01 00:%02d:%02d" % divmod(n, 60)}
        for n in range(600)])
    table = database.schema.tables["instances"]
    sizes = []
    for prefixes in ((0,), (0, 1)):
        cursor = by_entries.Cursor(
            table, table.index("list"),
            [("locked", entry_columns.among([0]))],
            [("created_at", True), ("uuid", True)], prefixes=prefixes)
        before = database.store.stats.bytes_in
        found = page(database, cursor, 5, 7, lambda values: True)
        sizes.append(database.store.stats.bytes_in - before)
        assert [row["id"] for row in found] == list(range(600, 593, -1))
    assert sizes[0] * 3 < sizes[1]


@pytest.mark.parametrize("descends", [True, False])
def test_a_row_whose_entry_is_stale_moves(descends):
    database = make([
        {"deleted": 0, "display_name": name, "vm_state": "active"}
        for name in "bdfh"])
    databases.update(database, "instances", (2,), display_name="g")
    databases.update(database, "instances", (3,), display_name="a")
    databases.delete(database, "instances", (4,))
    table = database.schema.tables["instances"]
    for limit in range(1, 5):
        cursor = by_entries.Cursor(
            table, table.index("list"), (), [("display_name", descends)],
            prefixes=(0,))
        found = page(database, cursor, limit, 1, lambda values: True)
        names = sorted([row["display_name"] for row in found],
                       reverse=descends)
        assert names[:limit] == sorted("abg", reverse=descends)[:limit]


@pytest.mark.parametrize("pattern, part", [
    ("%web_server%", "server"), ("web%", "web"), ("%", ""),
    ("a%\0server", "a")])
def test_what_all_that_like_finds_contains(pattern, part):
    assert entry_columns.part_of_like(pattern) == part
