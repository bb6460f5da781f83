# SPDX-License-Identifier: Apache-2.0
"""Foreign keys, on connections that enforce them."""

import contextlib

import hypothesis
from hypothesis import strategies as st
from oslo_db import exception as db_exception
from oslo_db.sqlalchemy import engines
import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from nova_kvs.dialect import foreign_keys
from nova_kvs.record import access
from nova_kvs.record import database as databases
from nova_kvs.store import registry
from tests import base

metadata = sa.MetaData()


def _table(name, *columns):
    return sa.Table(
        name, metadata, sa.Column("id", sa.Integer, primary_key=True),
        *columns)


def _key(name, target, **options):
    return sa.Column(name, sa.ForeignKey(
        target, name="fk_" + name, **options))


parents = _table(
    "parents", sa.Column("name", sa.String(20), unique=True),
    sa.Column("note", sa.Text))
owned = _table("owned", _key("parent_id", "parents.id", ondelete="CASCADE"),
               _key("owned_id", "owned.id", ondelete="CASCADE"))
named = _table(
    "named", _key("parent_name", "parents.name", ondelete="SET NULL",
                  onupdate="CASCADE"),
    _key("owner_id", "owned.id"))
strict = _table(
    "strict", _key("strict_id", "owned.id", ondelete="RESTRICT"),
    _key("late_id", "strict.id", deferrable=True, initially="DEFERRED"))
TABLES = (parents, owned, named, strict)


@pytest.fixture
def engine():
    made = engines.create_engine(base.memory_url() + "?foreign_keys=true")
    metadata.create_all(made)
    with made.begin() as connection:
        connection.execute(parents.insert(), [
            {"name": "a"}, {"name": "b"}, {"name": "c"}])
        connection.execute(owned.insert(), [
            {"parent_id": 1}, {"parent_id": 2}, {"parent_id": None}])
        connection.execute(named.insert(), [
            {"parent_name": "a", "owner_id": None},
            {"parent_name": None, "owner_id": 3}])
    yield made
    made.dispose()


@pytest.fixture
def connection(engine):
    with engine.connect() as made:
        yield made


@pytest.fixture
def trips(connection):
    """Return a function: round trips since it was called last."""
    connection.execute(sa.select(1))
    connection.rollback()
    stats = connection.connection.dbapi_connection.workspace.database \
        .store.stats
    seen = [stats.round_trips]

    def count():
        before, seen[0] = seen[0], stats.round_trips
        return seen[0] - before

    return count


def rows(connection, table):
    return connection.execute(
        sa.select(table).order_by(table.c.id)).all()


def test_errors_tell_what_mysql_tells(connection):
    for statement in (
            owned.insert().values(parent_id=9),
            owned.insert().from_select(["parent_id"], sa.select(9)),
            owned.update().values(parent_id=9),
            sa.text("INSERT INTO owned (parent_id) VALUES (9)")):
        with pytest.raises(db_exception.DBReferenceError) as caught:
            connection.execute(statement)
        assert (caught.value.table, caught.value.constraint,
                caught.value.key, caught.value.key_table) == (
            "owned", "fk_parent_id", "parent_id", "parents")
    with pytest.raises(db_exception.DBReferenceError) as caught:
        connection.execute(owned.delete().where(owned.c.id == 3))
    assert (caught.value.table, caught.value.key_table) == ("named", "owned")
    assert foreign_keys.FAILED in str(caught.value)
    # The transaction can go on, as with other errors.
    connection.execute(owned.insert().values(parent_id=2))
    connection.commit()
    assert len(rows(connection, owned)) == 4


def test_actions_reach_rows_that_no_statement_named(connection):
    connection.execute(parents.delete().where(parents.c.id == 1))
    connection.commit()
    assert rows(connection, owned) == [(2, 2, None), (3, None, None)]
    assert rows(connection, named) == [(1, None, None), (2, None, 3)]


def test_a_key_follows_its_parent(connection):
    connection.execute(
        parents.update().where(parents.c.name == "a").values(name="z"))
    connection.commit()
    assert rows(connection, named)[0].parent_name == "z"


def test_cascades_of_cascades(connection):
    connection.execute(owned.insert(), [
        {"parent_id": None, "owned_id": 1}, {"parent_id": None,
                                             "owned_id": None}])
    last = rows(connection, owned)[-2].id
    connection.execute(owned.insert(), [
        {"parent_id": None, "owned_id": last}])
    connection.commit()
    connection.execute(parents.delete().where(parents.c.id == 1))
    connection.commit()
    assert len(rows(connection, owned)) == 3


def test_parents_come_with_the_first_load(connection, trips):
    connection.execute(owned.insert().values(id=100, parent_id=1))
    assert trips() == 1


def _insert_child(connection, parent):
    connection.execute(owned.insert().values(parent_id=parent))


def test_a_child_gets_the_parent_of_another_that_was_read(connection):
    # Reading children loads no parent.
    connection.execute(sa.select(owned)).all()
    connection.execute(owned.update().where(owned.c.id == 1).values(
        parent_id=2))
    connection.commit()
    assert connection.execute(sa.select(owned.c.parent_id).order_by(
        owned.c.id)).scalars().all() == [2, 2, None]


def test_a_row_below_one_of_its_own_table_is_changed(engine, connection):
    with engine.begin() as other:
        other.execute(owned.insert(), {"parent_id": 1, "owned_id": 3})
    connection.execute(owned.update().where(owned.c.owned_id == 3).values(
        parent_id=2))
    connection.commit()
    assert connection.execute(sa.select(owned.c.parent_id).where(
        owned.c.owned_id == 3)).scalars().all() == [2]


@pytest.fixture
def pragmas(connection):
    """Return what is told to the SQLite of a connection, PRAGMAs only."""
    _insert_child(connection, 1)
    connection.commit()
    connection.execute(sa.select(1))
    connection.rollback()
    told = []
    connection.connection.dbapi_connection.workspace.sqlite \
        .set_trace_callback(lambda text: text.startswith("PRAGMA")
                            and told.append(text))
    return told


def test_what_refuses_nothing_does_not_ask_sqlite_to(connection, pragmas):
    # Each PRAGMA has all statements compiled again.
    _insert_child(connection, 1)
    connection.execute(parents.insert().values(name="d"))
    connection.execute(sa.select(owned)).all()
    connection.commit()
    assert pragmas == []
    connection.execute(owned.delete().where(owned.c.id == 2))
    assert pragmas[0] == "PRAGMA foreign_keys = ON"


def test_rows_stay_when_keys_begin_to_be_enforced(engine):
    raw = engine.raw_connection()
    with contextlib.closing(raw):
        reading, writing = raw.cursor(), raw.cursor()
        reading.execute("SELECT id FROM parents ORDER BY id")
        assert reading.fetchone() == (1,)
        writing.execute("DELETE FROM parents WHERE id = 1")
        writing.execute("SELECT parent_id FROM owned ORDER BY id")
        assert writing.fetchall() == [(2,), (None,)]
        assert reading.fetchall() == [(2,), (3,)]
        raw.rollback()
        # None of another transaction, though.
        for table, expected in (("parents", 3), ("owned", 3)):
            writing.execute("SELECT count(*) FROM " + table)
            assert writing.fetchall() == [(expected,)]


def test_keys_are_enforced_after_a_savepoint(connection):
    with connection.begin_nested():
        _insert_child(connection, 1)
    with pytest.raises(db_exception.DBReferenceError), \
            connection.begin_nested():
        _insert_child(connection, 99)
    connection.commit()
    assert [row.parent_id for row in rows(connection, owned)].count(1) == 2


def test_a_row_that_replaces_another_takes_what_was_read(connection):
    rows(connection, owned)
    connection.execute(parents.insert().prefix_with("OR REPLACE").values(
        id=1, name="new"))
    connection.commit()
    assert 1 not in [row.parent_id for row in rows(connection, owned)]


def test_a_parent_that_was_there_a_moment_ago_is_not_loaded(
        connection, trips):
    _insert_child(connection, 1)
    connection.commit()
    trips()
    _insert_child(connection, 1)
    assert trips() == 0
    connection.commit()
    assert trips() == 1


@pytest.fixture
def elsewhere(engine):
    """Return the same database, as another process knows it."""
    url = engine.url.render_as_string(hide_password=False)
    mine = databases.open_database(url)
    found = databases.Database(
        mine.store, mine.name, registry.parse_url(url).settings())
    found.refresh_schema()
    return found


def _parent(database, number):
    transaction = database.begin()
    (record,), = transaction.load([access.ByKey("parents", ((number,),))])
    return transaction, record


def test_a_parent_that_another_process_removes_is_missed(
        engine, connection, elsewhere):
    _insert_child(connection, 3)
    connection.commit()
    connection.execute(owned.delete().where(owned.c.parent_id == 3))
    connection.commit()
    before = rows(connection, owned)
    connection.rollback()
    transaction, record = _parent(elsewhere, 3)
    transaction.delete(record)
    transaction.commit()
    _insert_child(connection, 3)
    with pytest.raises(db_exception.DBReferenceError) as caught:
        connection.commit()
    assert caught.value.key == "parent_id"
    connection.rollback()
    assert rows(connection, owned) == before
    with pytest.raises(db_exception.DBReferenceError):
        _insert_child(connection, 3)


def test_a_parent_that_another_process_changes_is_there(
        connection, elsewhere):
    _insert_child(connection, 3)
    connection.commit()
    transaction, record = _parent(elsewhere, 3)
    transaction.update(record, {**record.values, "note": "changed"})
    transaction.commit()
    _insert_child(connection, 3)
    connection.commit()
    assert [row.parent_id for row in rows(connection, owned)].count(3) == 2


def test_an_assumed_parent_may_be_in_a_table_that_is_written(connection):
    _insert_child(connection, 3)
    connection.execute(owned.insert().values(id=50))
    connection.commit()
    for _turn in range(2):
        _insert_child(connection, 3)
        connection.execute(parents.insert())
        connection.execute(owned.insert().values(owned_id=50))
        connection.commit()
    connection.execute(owned.insert().values(owned_id=50))
    connection.commit()


def test_a_parent_that_this_transaction_removes_is_missed(connection):
    _insert_child(connection, 3)
    connection.commit()
    connection.execute(parents.delete().where(parents.c.id == 3))
    with pytest.raises(db_exception.DBReferenceError):
        _insert_child(connection, 3)


def test_a_parent_that_this_process_has_removed_is_missed(connection):
    _insert_child(connection, 3)
    connection.commit()
    connection.execute(parents.delete().where(parents.c.id == 3))
    connection.commit()
    with pytest.raises(db_exception.DBReferenceError):
        _insert_child(connection, 3)


def test_without_the_option_nothing_is_enforced(engine):
    url = engine.url.difference_update_query(["foreign_keys"])
    other = sa.create_engine(url)
    with other.begin() as connection:
        connection.execute(owned.insert().values(parent_id=9))
        assert connection.exec_driver_sql(
            "PRAGMA foreign_keys").scalar() == 0
    other.dispose()


@pytest.mark.parametrize("text", [
    sa.delete, lambda table: sa.update(table).values(note="x")])
def test_ids_after_a_change_of_rows_without_keys(engine, text):
    """Keystone revokes tokens, and prunes old ones, like this."""
    alone = sa.Table("alone", sa.MetaData(), sa.Column(
        "id", sa.Integer, primary_key=True), sa.Column("note", sa.Text))
    alone.create(engine)
    found = []
    with engine.connect() as connection:
        for _turn in range(3):
            with connection.begin():
                found.append(connection.execute(
                    alone.insert(), {"note": "new"}).inserted_primary_key[0])
                connection.execute(
                    text(alone).where(alone.c.note == "old"))
    assert found == [1, 2, 3]


def test_the_pragma_turns_it_on_and_off(engine, connection):
    driver = connection.connection.dbapi_connection
    driver.execute("PRAGMA foreign_keys = OFF")
    connection.execute(owned.insert().values(parent_id=9))
    connection.rollback()
    driver.execute("PRAGMA foreign_keys = ON")
    with pytest.raises(db_exception.DBReferenceError):
        connection.execute(owned.insert().values(parent_id=9))


def test_deferred_keys_are_looked_at_by_the_commit(connection):
    connection.execute(strict.insert().values(id=1, late_id=2))
    connection.execute(strict.insert().values(id=2))
    connection.commit()
    connection.execute(strict.insert().values(id=3, late_id=9))
    with pytest.raises(db_exception.DBReferenceError) as caught:
        connection.commit()
    assert caught.value.constraint == "fk_late_id"


def test_a_table_is_made_again_and_keeps_its_children(engine, connection):
    """Dropping a parent's table would cascade."""
    connection.execute(parents.insert().values(name="d"))
    connection.exec_driver_sql(
        "ALTER TABLE parents ADD COLUMN n INTEGER DEFAULT 1 "
        "NOT NULL")
    connection.commit()
    assert len(rows(connection, parents)) == 4
    assert len(rows(connection, owned)) == 3
    with engine.begin() as other:
        with pytest.raises(db_exception.DBReferenceError):
            other.execute(owned.insert().values(parent_id=9))


# Two transactions -----------------------------------------------------------

def both(engine, first, second):
    """Run two statements in transactions side by side; return the errors."""
    errors = []
    with engine.connect() as one, engine.connect() as two:
        one.execute(first)
        two.execute(second)
        for connection in (one, two):
            try:
                connection.commit()
            except (db_exception.DBDeadlock,
                    db_exception.DBReferenceError) as error:
                errors.append(error)
    return errors


@pytest.mark.parametrize("order", (1, -1))
def test_a_child_does_not_pass_its_parents_removal(
        engine, connection, order):
    errors = both(engine, *(
        parents.delete().where(parents.c.id == 3),
        owned.insert().values(parent_id=3))[::order])
    assert len(errors) == 1
    assert isinstance(errors[0], db_exception.DBDeadlock)
    assert (3 in [row.id for row in rows(connection, parents)]) == (
        3 in [row.parent_id for row in rows(connection, owned)])


def test_children_of_one_parent_do_not_conflict(engine, connection):
    assert both(engine, owned.insert().values(parent_id=3),
                owned.insert().values(parent_id=3)) == []


def test_a_parent_may_be_changed_meanwhile(engine, connection):
    assert both(engine, parents.update().values(note="x"),
                owned.insert().values(parent_id=3)) == []


def test_a_child_that_moves_to_a_parent_that_goes(engine, connection):
    errors = both(
        engine, owned.update().where(owned.c.id == 2).values(parent_id=3),
        parents.delete().where(parents.c.id == 3))
    assert len(errors) == 1


# Against SQLite -------------------------------------------------------------

_IDS = st.integers(1, 4)
_REFERENCE = st.one_of(st.none(), _IDS)
_NAMES = st.sampled_from((None, "a", "b", "c", "d"))
_VALUES = {
    "parents": st.fixed_dictionaries({"name": _NAMES}),
    "owned": st.fixed_dictionaries(
        {"parent_id": _REFERENCE, "owned_id": _REFERENCE}),
    "named": st.fixed_dictionaries(
        {"parent_name": _NAMES, "owner_id": _REFERENCE}),
    # Not both: when one is refused at once, SQLite goes on counting the
    # other.
    "strict": st.one_of(
        st.fixed_dictionaries({"strict_id": _REFERENCE}),
        st.fixed_dictionaries({"late_id": _REFERENCE})),
}
_STATEMENTS = st.one_of(
    *(st.tuples(st.just("insert"), st.just(name), _IDS, values)
      for name, values in _VALUES.items()),
    *(st.tuples(st.just("update"), st.just(name), _IDS, values)
      for name, values in _VALUES.items()),
    st.tuples(st.just("delete"), st.sampled_from(sorted(_VALUES)), _IDS,
              st.just({})),
    st.tuples(st.just("rename"), st.just("parents"), _IDS, st.builds(
        dict, id=_IDS)))


def run(connection, kind, name, number, values):
    """Run a statement; return whether the database takes it."""
    table = metadata.tables[name]
    if kind == "insert":
        statement = table.insert().values(id=number, **values)
    elif kind == "delete":
        statement = table.delete().where(table.c.id >= number)
    else:
        statement = table.update().where(table.c.id == number).values(values)
    try:
        connection.execute(statement)
    except (exc.IntegrityError, db_exception.DBError):
        return False
    return True


def end(connection):
    try:
        connection.commit()
    except (exc.IntegrityError, db_exception.DBError):
        # SQLAlchemy takes a commit that failed for the end of all.
        connection.connection.dbapi_connection.rollback()
        connection.rollback()
        return False
    return True


@contextlib.contextmanager
def pair():
    """Return a connection of ours and one of SQLite, both empty."""
    ours = engines.create_engine(base.memory_url() + "?foreign_keys=true")
    theirs = sa.create_engine("sqlite://")
    sa.event.listen(theirs, "connect", lambda connection, _record: (
        connection.execute("PRAGMA foreign_keys = ON")))
    for engine in (ours, theirs):
        metadata.create_all(engine)
    with ours.connect() as one, theirs.connect() as two:
        yield one, two
    ours.dispose()


@hypothesis.given(st.lists(
    st.lists(_STATEMENTS, min_size=1, max_size=4), max_size=5))
@hypothesis.settings(max_examples=15, deadline=None)
def test_as_sqlite(transactions):
    with pair() as (ours, theirs):
        compare(ours, theirs, transactions)


def compare(ours, theirs, transactions):
    for statements in transactions:
        for statement in statements:
            done = run(theirs, *statement)
            assert run(ours, *statement) == done, statement
        assert end(ours) == end(theirs)
        for table in TABLES:
            assert rows(ours, table) == rows(theirs, table)
        ours.rollback()
        theirs.rollback()
