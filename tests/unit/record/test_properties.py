# SPDX-License-Identifier: Apache-2.0
"""Random writes, against a model that is a dict for each table."""

from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import pytest

from nova_kvs import exceptions
from nova_kvs.record import access
from tests.unit.record import databases

#: Written out only when they are used, so that failures can be read.
LONG = {"<126>": "x" * 126, "<127>": "x" * 127, "<128>": "x" * 128,
        "<300>": "y" * 300, "<60k>": "k" * 61440}
TEXTS = st.sampled_from([
    "a", "b", "", "{}", "x}y", "a\0", "a\nb", "A", "%61", "\u20ac", "1",
    *LONG])
MAYBE = st.one_of(st.none(), TEXTS)
NUMBERS = st.one_of(st.none(), st.sampled_from([0, 1, 2, -1, 2 ** 40]))
IDS = st.integers(1, 5)

ROWS = {
    "instances": st.fixed_dictionaries({
        "id": IDS, "uuid": MAYBE, "project_id": MAYBE, "host": MAYBE,
        "deleted": NUMBERS, "display_name": MAYBE,
        # A number in it would become one: DATETIME has numeric affinity.
        "created_at": MAYBE.filter(lambda text: text != "1")}),
    "block_device_mapping": st.fixed_dictionaries({
        "id": IDS, "instance_uuid": MAYBE, "volume_id": MAYBE,
        "uuid": MAYBE}),
    "virtual_interfaces": st.fixed_dictionaries({
        "id": IDS, "instance_uuid": MAYBE, "address": MAYBE, "uuid": MAYBE,
        "deleted": NUMBERS}),
    "instance_actions": st.fixed_dictionaries({
        "id": IDS, "instance_uuid": MAYBE, "action": MAYBE}),
    "instance_actions_events": st.fixed_dictionaries({
        "id": IDS, "action_id": st.one_of(st.none(), IDS),
        "event": MAYBE}),
    "tags": st.fixed_dictionaries({"resource_id": TEXTS, "tag": TEXTS}),
    "services": st.fixed_dictionaries({
        "id": IDS, "host": MAYBE, "topic": MAYBE, "report_count": NUMBERS}),
}
CHANGES = st.lists(st.sampled_from(sorted(ROWS)).flatmap(
    lambda table: st.tuples(
        st.sampled_from(["insert", "insert", "update", "delete"]),
        st.just(table), ROWS[table], ROWS[table])), min_size=1, max_size=4)
TRANSACTIONS = st.lists(
    st.tuples(CHANGES, st.booleans()), min_size=1, max_size=12)


def written_out(row):
    """Return a row without Nones, with its long texts."""
    return {column: LONG.get(value, value) for column, value in row.items()
            if value is not None}


def key_of(table, row):
    return tuple(row.get(column) for column in table.key)


def apply(db, tx, model, changes):
    """Apply changes to a transaction and to a model.

    :returns: the model after a commit; None if a key is taken.
    """
    after = {name: dict(rows) for name, rows in model.items()}
    pending = {}
    for action, name, chosen, other in changes:
        table = db.schema.tables[name]
        rows = after[name]
        row = written_out(chosen)
        new = written_out(other)
        key = key_of(table, row)
        if action == "insert":
            if key in rows:
                continue
            pending[name, key] = tx.insert(name, row)
            rows[key] = row
            continue
        if key not in rows:
            continue
        record = pending.get((name, key))
        if record is None:
            record = databases.one(tx, name, key)
        if action == "delete":
            tx.delete(record)
            del rows[key]
        elif key_of(table, new) == key or key_of(table, new) not in rows:
            tx.update(record, new)
            del rows[key]
            rows[key_of(table, new)] = new
            if key_of(table, new) != key:
                # Whoever has the new row's record has to read it first.
                break
    for name, rows in after.items():
        for unique in db.schema.tables[name].uniques:
            values = [tuple(row.get(column) for column in unique.columns)
                      for row in rows.values()]
            values = [item for item in values if None not in item]
            if len(values) != len(set(values)):
                return None
    return after


def check(db, model):
    """Compare every access path with the model."""
    tx = db.begin()
    for name, rows in model.items():
        table = db.schema.tables[name]
        wanted = [access.FullScan(name),
                  access.ByKey(name, tuple(
                      (number,) for number in range(1, 6))
                      if len(table.key) == 1 else tuple(rows))]
        expected = [rows, rows]
        sets = list({path.columns for path in table.paths})
        for columns in sets:
            found = {tuple(row.get(column) for column in columns): None
                     for row in rows.values()}
            for values in list(found)[:3] + [
                    tuple(["nothing"] * len(columns))]:
                wanted.append(access.ByIndex(name, columns, (values,)))
                expected.append({
                    key: row for key, row in rows.items()
                    if tuple(row.get(column)
                             for column in columns) == values})
        for which, records, model_rows in zip(
                wanted, tx.load(wanted), expected):
            found = {record.key: record.values for record in records}
            assert len(records) == len(found), which
            assert found == model_rows, which
    for wanted, rows in range_accesses(db, model):
        records, = db.begin().load([wanted])
        assert [record.values for record in records][:len(rows)] == rows
    # The same in a transaction each, so that no other read helps.
    for name, rows in model.items():
        for columns in {path.columns
                        for path in db.schema.tables[name].paths}:
            for row in list(rows.values())[:2]:
                values = tuple(row.get(column) for column in columns)
                records, = db.begin().load(
                    [access.ByIndex(name, columns, (values,))])
                assert row in [record.values for record in records]


def range_accesses(db, model):
    """Return pages of the live servers, and what they begin with."""
    for reverse in (False, True):
        rows = sorted(
            (row for row in model["instances"].values()
             if row.get("deleted") == 0),
            key=lambda row: (row.get("created_at") is not None,
                             row.get("created_at", "").encode(), row["id"]),
            reverse=reverse)
        for limit in (1, 2, None):
            yield access.ByRange(
                "instances", "deleted+created_at+id", (0,), limit=limit,
                reverse=reverse), rows[:limit]


@settings(max_examples=60, deadline=None)
@given(TRANSACTIONS)
def test_no_access_path_misses_or_invents_a_row(transactions):
    db = databases.make()
    # Commits of both kinds, together with entries and in front of them.
    other = databases.another(db, spread=True)
    model = {name: {} for name in ROWS}
    for changes, elsewhere in transactions:
        used = other if elsewhere else db
        tx = used.begin()
        after = apply(used, tx, model, changes)
        if after is None:
            with pytest.raises(exceptions.DuplicateKeyError):
                tx.commit()
        else:
            tx.commit()
            model = after
    check(other, model)
    databases.tidy(db)
    check(databases.another(db), model)
    # A fresh copy has the same keys, whose hashes depend on its name.
    left = databases.keys(db)
    databases.wipe(db)
    copy = databases.make(url="kvs+memory:///" + db.name)
    tx = copy.begin()
    for name, rows in model.items():
        for row in rows.values():
            tx.insert(name, row)
    tx.commit()
    databases.tidy(copy)
    assert left == databases.keys(copy)
