# SPDX-License-Identifier: Apache-2.0
"""Transactions: what is written, kept, undone and asked for."""

import pytest
import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy import orm

from nova_kvs import exceptions
from tests.unit.dialect import tables

Extra = tables.Extra
Fault = tables.Fault
Instance = tables.Instance
Note = tables.Note
Service = tables.Service
services = Service.__table__
notes = Note.__table__


def workspace(connection):
    return connection.connection.dbapi_connection.workspace


def store(connection):
    return workspace(connection).database.store


def rows(engine, table, *order):
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(
            sa.select(table).order_by(*order or table.primary_key.columns))]


def add_services(engine, count, **values):
    with engine.begin() as connection:
        connection.execute(services.insert(), [
            {"uuid": "u%d" % number, "host": "h%d" % number, "binary": "b",
             **values} for number in range(count)])


@pytest.fixture
def trips(connection):
    """Return a function: round trips since it was called last."""
    stats = store(connection).stats
    seen = [stats.round_trips]

    def count():
        now = stats.round_trips
        before, seen[0] = seen[0], now
        return now - before

    return count


# Writing --------------------------------------------------------------------

def test_a_workspace_is_empty_between_transactions(engine, connection):
    add_services(engine, 3)
    assert len(connection.execute(sa.select(services)).all()) == 3
    connection.rollback()
    assert workspace(connection).sqlite.execute(
        "SELECT count(*) FROM services").fetchone() == (0,)


def test_rollback_writes_nothing(engine, connection):
    connection.execute(services.insert(), {"uuid": "u"})
    connection.rollback()
    assert rows(engine, services) == []


def test_what_did_not_change_is_not_written(engine, connection, trips):
    add_services(engine, 2)
    result = connection.execute(services.update().values(host=services.c.host))
    assert result.rowcount == 2
    trips()
    seen = {record.key: record.version for _row, record in workspace(
        connection).state("services").rows.values()}
    connection.commit()
    # That they are still so is asked.
    assert trips() == 1
    connection.execute(sa.select(services)).all()
    assert seen == {record.key: record.version for _row, record in workspace(
        connection).state("services").rows.values()}


def test_reads_are_repeated_from_the_workspace(engine, connection, trips):
    add_services(engine, 2)
    query = sa.select(services).where(services.c.id == 1)
    connection.execute(query).all()
    with engine.begin() as other:
        other.execute(services.update().values(report_count=5))
    trips()
    assert connection.execute(query).one().report_count == 0
    assert trips() == 0
    connection.rollback()
    assert connection.execute(query).one().report_count == 5


def test_own_changes_are_not_loaded_over(engine, connection):
    add_services(engine, 3)
    connection.execute(services.update().where(
        services.c.id == 1).values(host="mine"))
    connection.execute(services.delete().where(services.c.id == 2))
    assert [(row.id, row.host) for row in connection.execute(
        sa.select(services).order_by(services.c.id))] == [
        (1, "mine"), (3, "h2")]
    connection.commit()
    assert [row[:3] for row in rows(engine, services)] == [
        (1, "u0", "mine"), (3, "u2", "h2")]


def test_a_key_that_moves_to_another_row(engine, connection):
    with engine.begin() as other:
        other.execute(notes.insert(), [
            {"service_id": 1, "name": "a", "value": "1"},
            {"service_id": 1, "name": "b", "value": "2"}])
    connection.execute(notes.delete().where(notes.c.name == "a"))
    connection.execute(notes.update().values(name="a"))
    connection.execute(notes.insert(), {
        "service_id": 1, "name": "b", "value": "3"})
    connection.commit()
    assert rows(engine, notes) == [(1, "a", "2"), (1, "b", "3")]


def test_replace_and_upsert(engine, connection):
    add_services(engine, 2)
    connection.execute(services.insert().prefix_with("OR REPLACE"), {
        "id": 1, "uuid": "u1", "host": "new"})
    connection.commit()
    assert [row[:3] for row in rows(engine, services)] == [(1, "u1", "new")]
    from sqlalchemy.dialects import sqlite
    insert = sqlite.insert(services).values(uuid="u1", host="other")
    connection.execute(insert.on_conflict_do_update(
        index_elements=["uuid"], set_={"host": "upserted"}))
    connection.commit()
    assert [row[:3] for row in rows(engine, services)] == [
        (1, "u1", "upserted")]


def test_raw_text_writes(engine, connection):
    add_services(engine, 2)
    connection.execute(sa.text(
        "UPDATE services SET host = :host WHERE id = 2"), {"host": "x"})
    connection.execute(sa.text("DELETE FROM Services WHERE id = 1"))
    connection.execute(sa.text(
        "INSERT INTO services (uuid, host) SELECT 'new', host "
        "FROM services"))
    connection.commit()
    assert [row[:3] for row in rows(engine, services)] == [
        (2, "u1", "x"), (3, "new", "x")]


def test_textual_select_that_writes(engine, connection):
    add_services(engine, 1)
    statement = sa.text(
        "UPDATE services SET host = 'x' RETURNING id").columns(sa.column("id"))
    assert connection.execute(statement).scalars().all() == [1]
    connection.commit()
    assert rows(engine, services)[0][2] == "x"


def test_a_table_without_a_key(engine):
    table = sa.Table("plain", sa.MetaData(), sa.Column("a", sa.Integer))
    table.create(engine)
    for number in (1, 2):
        with engine.begin() as connection:
            connection.execute(table.insert(), [{"a": number}] * 2)
    with engine.begin() as connection:
        connection.execute(table.update().where(
            table.c.a == 1).values(a=3))
        connection.execute(table.delete().where(table.c.a == 2))
    assert rows(engine, table, table.c.a) == [(3,), (3,)]


# Ids ------------------------------------------------------------------------

def test_ids(engine, connection):
    result = connection.execute(services.insert(), {"uuid": "a"})
    assert result.inserted_primary_key == (1,)
    assert result.lastrowid == 1
    ids = connection.execute(services.insert().returning(
        services.c.id, sort_by_parameter_order=True),
        [{"uuid": "b"}, {"uuid": "c"}]).scalars().all()
    assert ids == [2, 3]
    connection.commit()
    with engine.begin() as other:
        # Not max(id) + 1 of what happens to be loaded.
        assert other.execute(services.insert(), {
            "uuid": "d"}).inserted_primary_key == (4,)


def test_a_statement_that_runs_twice_takes_ids_once(engine, connection):
    add_services(engine, 2)
    connection.execute(services.insert().from_select(
        ["report_count"], sa.select(services.c.report_count)))
    assert connection.execute(
        sa.select(services.c.id)).scalars().all() == [1, 2, 3, 4]


def test_an_explicit_zero_stays(engine, connection):
    connection.execute(services.insert(), {"id": 0, "uuid": "a"})
    connection.commit()
    assert rows(engine, services)[0][0] == 0


def test_many_ids_take_one_round_trip(connection, trips):
    connection.execute(services.insert(), [
        {"report_count": 1} for _ in range(10000)])
    assert trips() == 1


def test_rows_come_in_the_order_of_ids(engine, connection):
    add_services(engine, 9)
    for number in (7, 3):
        connection.execute(sa.select(services).where(
            services.c.id == number)).one()
    connection.execute(services.insert(), {"uuid": "x"})
    query = sa.select(services.c.id, services.c.report_count)
    expected = [*range(1, 11)]
    assert [row[0] for row in connection.execute(query)] == expected


def test_own_rows_make_way_for_loaded_ones(engine, connection):
    connection.execute(services.insert(), [
        {"id": 3, "uuid": "c"}, {"id": 1, "uuid": "a"}])
    with engine.begin() as other:
        other.execute(services.insert(), [
            {"id": 2, "uuid": "b"}, {"id": 4, "uuid": "d"}])
    with connection.begin_nested() as nested:
        assert connection.execute(
            sa.select(services.c.id)).scalars().all() == [1, 2, 3, 4]
        nested.rollback()
    assert connection.execute(
        sa.select(services.c.id)).scalars().all() == [1, 2, 3, 4]


# Unique keys ----------------------------------------------------------------

@pytest.mark.parametrize("statement", [
    services.insert().values(uuid="u1"),
    services.insert().values([{"uuid": "new"}, {"uuid": "u1"}]),
    services.insert().values(uuid=sa.literal("u") + "1"),
    services.insert().values(id=2, uuid="new"),
    services.insert().values(host="h1", binary="b"),
    services.insert().from_select(["uuid"], sa.select(sa.literal("u1"))),
    services.update().where(services.c.id == 1).values(uuid="u1"),
    services.update().where(services.c.id == 1).values(
        uuid=sa.func.lower("U1")),
    services.update().where(services.c.id == 1).values(host="h1"),
    services.update().where(services.c.id == 1).values(id=2),
])
def test_a_duplicate_is_raised_at_the_statement(engine, connection,
                                                statement):
    add_services(engine, 3)
    with pytest.raises(exc.IntegrityError, match="UNIQUE constraint failed"):
        connection.execute(statement)


def test_a_duplicate_of_an_unloaded_partition(engine, connection):
    with engine.begin() as other:
        other.execute(Extra.__table__.insert(), {"instance_uuid": "u"})
    with pytest.raises(exc.IntegrityError):
        connection.execute(Extra.__table__.insert(), {"instance_uuid": "u"})
    connection.rollback()
    connection.execute(Extra.__table__.insert(), {"instance_uuid": "v"})
    with pytest.raises(exc.IntegrityError):
        connection.execute(Extra.__table__.update().where(
            Extra.instance_uuid == "v").values(instance_uuid="u"))


def test_a_duplicate_that_comes_in_between_is_raised_at_the_commit(
        engine, connection):
    connection.execute(services.insert(), {"uuid": "u"})
    with engine.begin() as other:
        other.execute(services.insert(), {"uuid": "u"})
    with pytest.raises(exc.IntegrityError,
                       match="UNIQUE constraint failed: services.uuid"):
        connection.commit()
    connection.rollback()
    assert len(rows(engine, services)) == 1


def test_nulls_do_not_collide(engine, connection):
    connection.execute(services.insert(), [{"host": "h"}, {"host": "h"}])
    connection.commit()
    assert len(rows(engine, services)) == 2


# Conflicts ------------------------------------------------------------------

def test_a_lost_update_is_a_conflict(engine, connection):
    add_services(engine, 1)
    connection.execute(services.update().values(report_count=1))
    with engine.begin() as other:
        other.execute(services.update().values(report_count=2))
    with pytest.raises(exc.OperationalError) as raised:
        connection.commit()
    assert type(raised.value.orig).__name__ == "ConflictOperationalError"
    connection.rollback()
    assert rows(engine, services)[0][-1] == 2


@pytest.mark.parametrize("is_locked", [True, False])
def test_for_update_protects_what_was_only_read(engine, connection,
                                                is_locked):
    add_services(engine, 2)
    query = sa.select(services).where(services.c.id == 1)
    if is_locked:
        query = query.with_for_update()
    connection.execute(query).one()
    connection.execute(services.update().where(
        services.c.id == 2).values(report_count=1))
    with engine.begin() as other:
        other.execute(services.update().where(
            services.c.id == 1).values(report_count=2))
    if is_locked:
        with pytest.raises(exc.OperationalError):
            connection.commit()
    else:
        connection.commit()


@pytest.mark.parametrize("changed", [1, 2])
def test_for_update_is_checked_where_nothing_is_written(
        engine, connection, changed):
    """Without it two reads would show halves of another transaction."""
    add_services(engine, 2)
    first = connection.execute(sa.select(services.c.report_count).where(
        services.c.id == 1).with_for_update()).scalar()
    assert first == 0
    with engine.begin() as other:
        other.execute(services.update().where(
            services.c.id == changed).values(report_count=2))
    if changed == 2:
        connection.commit()
        return
    with pytest.raises(exc.OperationalError):
        connection.commit()


def test_for_update_locks_only_what_it_selects(engine, connection):
    add_services(engine, 3)
    connection.execute(sa.select(services)).all()
    connection.execute(sa.select(services).where(
        services.c.uuid == "u0").with_for_update()).all()
    connection.execute(services.insert(), {"uuid": "x"})
    with engine.begin() as other:
        other.execute(services.update().where(
            services.c.id == 2).values(report_count=2))
    connection.commit()


@pytest.mark.parametrize(("text", "is_hit"), [
    ("SELECT ?, host FROM services WHERE id = ? FOR UPDATE", False),
    ("SELECT ?, host FROM services AS s WHERE s.id = ? "
     "ORDER BY host LOCK IN SHARE MODE;", False),
    ("select ?, count(*) from `services` where id = ? for share nowait",
     False),
    # What does not simply tell its rows locks all that are named.
    ("SELECT ?, s.host FROM services s JOIN services t ON s.id = t.id "
     "WHERE s.id = ? FOR UPDATE OF s SKIP LOCKED", True),
    ("SELECT ?, id AS x FROM services WHERE x = ? FOR UPDATE", True),
    ("SELECT ?, id FROM services WHERE id = ? LIMIT 1 FOR UPDATE", True),
    ("SELECT ?, 'FOR UPDATE' FROM services WHERE id = ?", None)])
@pytest.mark.parametrize("changed", [1, 2])
def test_text_locks_rows(engine, connection, text, is_hit, changed):
    """:param is_hit: whether other rows are locked, too; None: none is."""
    add_services(engine, 2)
    assert connection.exec_driver_sql(text, (7, 1)).one()[0] == 7
    with engine.begin() as other:
        other.execute(services.update().where(
            services.c.id == changed).values(report_count=2))
    if is_hit is None or changed == 2 and not is_hit:
        connection.commit()
    else:
        with pytest.raises(exc.OperationalError):
            connection.commit()


def test_text_of_named_parameters_locks_rows(engine, connection):
    add_services(engine, 1)
    query = sa.text("SELECT host FROM services WHERE id = :id FOR UPDATE")
    assert connection.execute(query, {"id": 1}).scalar() == "h0"
    with engine.begin() as other:
        other.execute(services.update().values(report_count=2))
    with pytest.raises(exc.OperationalError):
        connection.commit()


def test_for_update_of_no_row_locks_nothing(engine, connection):
    """As doc/source/limits.rst says."""
    assert connection.execute(sa.select(services).where(
        services.c.uuid == "u0").with_for_update()).first() is None
    add_services(engine, 1)
    connection.execute(services.insert(), {"uuid": "other"})
    connection.commit()


def test_an_id_that_somebody_else_brought_along_is_a_conflict(
        engine, connection):
    """The process had it in its block already: the next try has another."""
    add_services(engine, 1)
    with engine.begin() as other:
        other.execute(services.insert(), {"id": 2, "uuid": "brought"})
    connection.execute(services.insert(), {"uuid": "mine"})
    with pytest.raises(exc.OperationalError) as raised:
        connection.commit()
    assert type(raised.value.orig).__name__ == "ConflictOperationalError"
    connection.rollback()
    connection.execute(services.insert(), {"uuid": "mine"})
    connection.commit()
    assert [row[1] for row in rows(engine, services)] == [
        "u0", "brought", "mine"]


def test_a_row_that_collides_when_loaded_is_a_conflict(engine, connection):
    connection.execute(services.insert(), {"uuid": "u"})
    with engine.begin() as other:
        other.execute(services.insert(), {"uuid": "u"})
    with pytest.raises(exc.OperationalError) as raised:
        connection.execute(sa.select(services)).all()
    assert type(raised.value.orig).__name__ == "ConflictOperationalError"


def test_a_transaction_that_met_a_collision_cannot_commit(
        engine, connection):
    connection.execute(services.insert(), {"uuid": "u"})
    with engine.begin() as other:
        other.execute(services.insert(), [
            {"id": 10, "uuid": "a"}, {"id": 11, "uuid": "u"},
            {"id": 12, "uuid": "z"}])
    stored = rows(engine, services)
    with pytest.raises(exc.OperationalError):
        connection.execute(sa.select(services)).all()
    with pytest.raises(exc.OperationalError, match="changed a record"):
        connection.commit()
    assert rows(engine, services) == stored
    connection.rollback()
    # The connection is good for the next one.
    connection.execute(services.insert(), {"uuid": "v"})
    connection.commit()
    assert len(rows(engine, services)) == 4


def test_nor_can_one_that_met_it_in_a_savepoint(engine, connection):
    connection.execute(services.insert(), {"uuid": "u"})
    savepoint = connection.begin_nested()
    connection.execute(services.delete().where(services.c.id == 1))
    with engine.begin() as other:
        other.execute(services.insert(), [
            {"id": 10, "uuid": "a"}, {"id": 11, "uuid": "u"},
            {"id": 12, "uuid": "z"}])
    stored = rows(engine, services)
    connection.execute(sa.select(services)).all()
    # With the savepoint the row comes back that has the same unique key.
    with pytest.raises(exc.OperationalError):
        savepoint.rollback()
    with pytest.raises(exc.OperationalError, match="changed a record"):
        connection.commit()
    assert rows(engine, services) == stored


# Savepoints -----------------------------------------------------------------

def test_rows_loaded_after_a_savepoint_stay(engine, connection):
    add_services(engine, 3)
    connection.execute(services.update().where(
        services.c.id == 1).values(host="kept"))
    with connection.begin_nested() as nested:
        connection.execute(sa.select(services)).all()
        connection.execute(services.update().values(report_count=9))
        connection.execute(services.delete().where(services.c.id == 3))
        nested.rollback()
    assert [row.host for row in connection.execute(
        sa.select(services).order_by(services.c.id))] == ["kept", "h1", "h2"]
    connection.commit()
    assert [row[2] for row in rows(engine, services)] == ["kept", "h1", "h2"]


def test_nested_savepoints(engine, connection):
    add_services(engine, 2)
    outer = connection.begin_nested()
    connection.execute(services.delete().where(services.c.id == 1))
    inner = connection.begin_nested()
    connection.execute(services.delete().where(services.c.id == 2))
    inner.commit()
    outer.rollback()
    with connection.begin_nested():
        connection.execute(services.update().where(
            services.c.id == 2).values(host="x"))
    connection.commit()
    assert [row[2] for row in rows(engine, services)] == ["h0", "x"]


@pytest.mark.parametrize("end", ["", ";", " ; "])
def test_savepoints_by_name(engine, connection, end):
    add_services(engine, 1)
    for sql in ("SAVEPOINT a", "DELETE FROM services", "SAVEPOINT b",
                "ROLLBACK TO SAVEPOINT A", "RELEASE SAVEPOINT a"):
        connection.exec_driver_sql(sql + end)
    connection.commit()
    assert len(rows(engine, services)) == 1


# Round trips ----------------------------------------------------------------

@pytest.mark.parametrize("count", [10, 300])
def test_round_trips_do_not_depend_on_rows(engine, count):
    uuids = ["u%d" % number for number in range(count)]
    with engine.begin() as connection:
        connection.execute(Instance.__table__.insert(), [
            {"uuid": uuid, "host": "h"} for uuid in uuids])
        connection.execute(Extra.__table__.insert(), [
            {"instance_uuid": uuid, "flavor": "f"} for uuid in uuids])
        connection.execute(Fault.__table__.insert(), [
            {"instance_uuid": uuid, "code": 1} for uuid in uuids])
    with engine.connect() as connection:
        stats = store(connection).stats
        query = sa.select(Instance).options(
            orm.joinedload(Instance.extra), orm.selectinload(Instance.faults))
        measured = []
        for where in (Instance.host == "h", Instance.uuid.in_(uuids),
                      Instance.extra.has(flavor="f")):
            before = stats.round_trips
            with orm.Session(connection) as session:
                found = session.scalars(query.where(where)).unique().all()
                assert len(found) == count
                assert all(len(one.faults) == 1 for one in found)
                connection.rollback()
            measured.append(stats.round_trips - before)
        before = stats.round_trips
        connection.execute(sa.update(Fault).where(
            Fault.instance_uuid.in_(uuids)).values(code=2))
        measured.append(stats.round_trips - before)
        # By host: the entries, then the instances' partitions, which have all
        # that belongs to them. By flavor: the directory of partitions, too.
        assert measured == [2, 1, 3, 1]


def test_known_keys_do_not_go_to_the_store(engine, connection, trips):
    with orm.Session(connection) as session:
        session.add(Extra(instance_uuid="u", flavor="f"))
        session.commit()
        trips()
        found = session.scalars(
            sa.select(Extra).where(Extra.instance_uuid == "u")).one()
        assert trips() == 1
        # UPDATE ... WHERE id = ?, and the table has no index of ids.
        found.flavor = "g"
        session.flush()
        assert session.get(Extra, found.id, populate_existing=True) is found
        assert trips() == 0
        added = Extra(instance_uuid="v")
        session.add(added)
        session.flush()
        trips()
        added.flavor = "h"
        session.flush()
        session.refresh(added)
        assert trips() == 0
        session.delete(found)
        session.commit()
    assert [row[1:] for row in rows(engine, Extra.__table__)] == [
        ("v", 0, "h")]


def test_nothing_is_asked_for_twice(engine, connection, trips):
    add_services(engine, 2)
    for query in (sa.select(services).where(services.c.uuid == "none"),
                  sa.select(services).where(services.c.host == "h0"),
                  sa.select(notes)):
        connection.execute(query).all()
        trips()
        connection.execute(query).all()
        assert trips() == 0, str(query)


def test_idle_transactions_cost_nothing(engine, connection, trips):
    for _ in range(3):
        connection.execute(sa.select(1))
        connection.rollback()
        connection.exec_driver_sql("PRAGMA table_info(services)").all()
        connection.commit()
        assert engine.dialect.do_ping(
            connection.connection.dbapi_connection)
    assert trips() == 0


def test_empty_lists_ask_for_nothing(connection, trips):
    assert connection.execute(sa.select(services).where(
        services.c.id.in_([]))).all() == []
    assert connection.execute(sa.select(services).where(
        services.c.uuid == sa.bindparam("x", None, sa.String))).all() == []
    assert trips() == 0


# Updates that change nothing -------------------------------------------------

SAME = sa.update(services).where(services.c.report_count == 0).values(
    report_count=0)


@pytest.mark.parametrize("statement", [
    SAME, SAME.where(services.c.host == "h1"),
    SAME.where(services.c.host > "h0"), SAME.returning(services.c.id),
    sa.text("UPDATE services SET report_count = 0 WHERE host > 'h0'"),
    sa.text("WITH w AS (SELECT 'h1' AS h) UPDATE services SET "
            "report_count = 0 WHERE host IN (SELECT h FROM w)"),
    sa.text("UPDATE services SET binary = 'b' FROM notes "
            "WHERE notes.service_id = services.id"),
], ids=str)
def test_an_update_that_changes_nothing_is_checked(
        engine, connection, statement):
    """The row is to be what it says, and was not when that was stored."""
    add_services(engine, 3)
    with engine.begin() as other:
        other.execute(notes.insert(), {"service_id": 2, "name": "n"})
    result = connection.execute(statement)
    if result.returns_rows:
        result.all()
    with engine.begin() as other:
        other.execute(sa.update(services).where(
            services.c.host == "h1").values(report_count=9, binary="c"))
    with pytest.raises(exc.OperationalError) as caught:
        connection.commit()
    assert isinstance(
        caught.value.orig.kvs_error, exceptions.ConflictError)


def test_rows_that_an_update_did_not_find_are_not(engine, connection):
    add_services(engine, 3)
    connection.execute(SAME.where(services.c.host > "h1"))
    connection.execute(SAME.where(services.c.host == "h0",
                                  services.c.binary == "z"))
    with engine.begin() as other:
        other.execute(sa.update(services).where(services.c.host.in_(
            ["h0", "h1"])).values(report_count=9))
    connection.commit()


def test_many_updates_that_change_nothing(engine, connection, trips):
    add_services(engine, 3)
    connection.execute(
        sa.update(services).where(
            services.c.host == sa.bindparam("wanted")).values(
            report_count=sa.bindparam("count")),
        [{"wanted": "h0", "count": 0}, {"wanted": "h1", "count": 3}])
    trips()
    with engine.begin() as other:
        other.execute(sa.update(services).where(
            services.c.host == "h0").values(binary="z"))
    with pytest.raises(exc.OperationalError):
        connection.commit()
