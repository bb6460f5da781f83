# SPDX-License-Identifier: Apache-2.0
"""Which access paths statements get."""

import logging

import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from nova_kvs.dialect import base as dialect
from tests.unit.dialect import tables

Instance = tables.Instance
Extra = tables.Extra
Fault = tables.Fault
Service = tables.Service
Note = tables.Note
instances = Instance.__table__
extra = Extra.__table__
services = Service.__table__
notes = Note.__table__


def plan(connection, statement):
    return dialect.explain(connection, statement).split("\n")


def level(number, *lines):
    return ["level %d" % number, *("  " + line for line in lines)]


SINGLE = {
    "partition": (
        sa.select(Instance).where(Instance.uuid == "u"),
        "instances: partition (uuid = :uuid_1)"),
    "partitions": (
        sa.select(Instance).where(Instance.uuid.in_(["u", "v"])),
        "instances: partition (uuid = (:uuid_1))"),
    "key": (
        sa.select(Service).where(Service.id == 1),
        "services: key (id = :id_1)"),
    "floored key": (
        sa.select(Instance).where(Instance.id == 1),
        "instances: key (id = :id_1)"),
    "composite key": (
        sa.select(Note).where(Note.service_id == 1, Note.name == "n"),
        "notes: key (service_id = :service_id_1, name = :name_1)"),
    "tuples": (
        sa.select(Note).where(
            sa.tuple_(Note.name, Note.service_id).in_([("n", 1)])),
        "notes: key (service_id = (:param_1[1]), name = (:param_1[0]))"),
    "unique": (
        sa.select(Service).where(
            Service.host == "h", Service.binary == "b", Service.deleted == 0),
        "services: index (host = :host_1, binary = :binary_1, "
        "deleted = :deleted_1)"),
    "prefix of a unique": (
        sa.select(Service).where(Service.binary == "b", Service.host == "h"),
        "services: index (host = :host_1, binary = :binary_1)"),
    "not a prefix": (
        sa.select(Service).where(Service.binary == "b"),
        "services: full scan"),
    "global": (
        sa.select(Instance).where(
            Instance.deleted == 0, Instance.project_id == "p"),
        "instances: index (project_id = :project_id_1, "
        "deleted = :deleted_1)"),
    "reversed sides": (
        sa.select(Service).where(sa.literal(1) == Service.id),
        "services: key (id = :param_1)"),
    "true": (
        sa.select(Service).where(Service.id == sa.true()),
        "services: key (id = 1)"),
    "or of equalities": (
        sa.select(Service).where(
            sa.or_(Service.id == 1, sa.and_(Service.id == 2,
                                            Service.host == "h"))),
        "services: key (id = :id_1 | :id_2)"),
    "or of other columns": (
        sa.select(Service).where(
            sa.or_(Service.id == 1, Service.host == "h")),
        "services: key (id = :id_1) or services: index (host = :host_1)"),
    "or of alternatives, of which one has no index": (
        sa.select(Service).where(
            sa.or_(Service.id == 1, Service.binary == "b")),
        "services: full scan"),
    "or with what is true of all alternatives": (
        sa.select(Instance).where(Instance.deleted == 0, sa.or_(
            sa.and_(Instance.project_id == "p", Instance.host == "h"),
            Instance.uuid == "u")),
        "instances: index (project_id = :project_id_1, "
        "deleted = :deleted_1) or instances: partition (uuid = :uuid_1)"),
    "not": (
        sa.select(Service).where(~(Service.id == 1)), "services: full scan"),
    "range": (
        sa.select(Service).where(Service.id > 1),
        "services: range in order of ids (id)"),
    "null": (
        sa.select(Service).where(Service.id.is_(None)),
        "services: full scan"),
    "function": (
        sa.select(Service).where(sa.func.upper(Service.uuid) == "U"),
        "services: full scan"),
    "function that an index answers": (
        sa.select(Service).where(sa.func.lower(Service.uuid) == "u"),
        "services: beginnings in order of uuid by (uuid)"),
    "collation": (
        sa.select(Service).where(
            sa.collate(Service.uuid, "NOCASE") == "u"),
        "services: full scan"),
    "equality is narrower than a list": (
        sa.select(Service).where(
            Service.id.in_([1, 2]), Service.id == 3),
        "services: key (id = :id_2)"),
    "alias": (
        sa.select(orm.aliased(Service, name="s")),
        "services AS s: full scan"),
}


@pytest.mark.parametrize("name", SINGLE)
def test_single_table(connection, name):
    statement, line = SINGLE[name]
    assert plan(connection, statement) == level(0, line)


def test_known_values_pass_through_joins(connection):
    statement = sa.select(Instance).options(
        orm.joinedload(Instance.extra),
        orm.joinedload(Instance.faults)).where(Instance.uuid == "u")
    assert plan(connection, statement) == level(
        0, "instances: partition (uuid = :uuid_1)",
        "instance_extra AS instance_extra_1: partition "
        "(instance_uuid = :uuid_1)",
        "instance_faults AS instance_faults_1: partition "
        "(instance_uuid = :uuid_1)")


def test_join_takes_values_of_the_level_before(connection):
    statement = sa.select(Instance).options(
        orm.joinedload(Instance.extra)).where(Instance.host == "h")
    assert plan(connection, statement) == level(
        0, "instances: index (host = :host_1)") + level(
        1, "instance_extra AS instance_extra_1: partition "
        "(instance_uuid = instances.uuid)")


def test_limited_subquery_of_the_orm(connection):
    statement = sa.select(Instance).options(
        orm.joinedload(Instance.faults)).where(
        Instance.host == "h").limit(2)
    assert plan(connection, statement) == level(
        0, "instances: first of any of host+deleted+created_at+id by (host)"
    ) + level(
        1, "instance_faults AS instance_faults_1: partition "
        "(instance_uuid = instances.uuid)")


def test_outer_join_does_not_restrict_its_left_side(connection):
    statement = sa.select(services, notes).select_from(services.outerjoin(
        notes, sa.and_(notes.c.service_id == services.c.id,
                       services.c.host == "h", notes.c.name == "n")))
    assert plan(connection, statement) == level(
        0, "services: full scan") + level(
        1, "notes: key (service_id = services.id, name = :name_1)")


def test_outer_join_is_restricted_by_a_row_that_must_be_there(connection):
    statement = sa.select(services).select_from(notes.outerjoin(
        services, notes.c.service_id == services.c.id)).where(
        services.c.id == 1)
    # The criterion makes rows without a service vanish.
    assert plan(connection, statement) == level(
        0, "notes: index (service_id = :id_1)", "services: key (id = :id_1)")


def test_an_or_over_a_join_is_a_union_of_paths(connection):
    statement = sa.select(services).select_from(notes.outerjoin(
        services, notes.c.service_id == services.c.id)).where(sa.or_(
            notes.c.service_id == 1, services.c.id == 2))
    assert plan(connection, statement) == level(
        0, "services: key (id = :id_1)") + level(
        1, "notes: index (service_id = :service_id_1) or notes: index "
        "(service_id = services.id)") + level(
        2, "services: key (id = notes.service_id)")


def test_full_join_restricts_nothing(connection):
    statement = sa.select(services).select_from(services.join(
        notes, sa.and_(notes.c.service_id == services.c.id,
                       notes.c.service_id == 1), full=True))
    assert plan(connection, statement) == level(
        0, "services: full scan", "notes: full scan")


def test_known_and_linked_columns_make_a_key(connection):
    other = notes.alias("other")
    statement = sa.select(notes).join(other, sa.and_(
        notes.c.service_id == other.c.service_id,
        notes.c.name == other.c.name)).where(other.c.service_id == 1)
    assert plan(connection, statement) == level(
        0, "notes: index (service_id = :service_id_1)") + level(
        1, "notes AS other: key (service_id = :service_id_1, "
        "name = notes.name)")


def test_several_linked_columns_are_taken_row_by_row(connection):
    other = notes.alias("other")
    statement = sa.select(notes).join(other, sa.and_(
        notes.c.service_id == other.c.service_id,
        notes.c.name == other.c.name)).where(other.c.value == "v")
    assert plan(connection, statement) == level(
        0, "notes: full scan") + level(
        1, "notes AS other: key (service_id = notes.service_id, "
        "name = notes.name)")


def test_exists_is_restricted_by_the_outer_row(connection):
    statement = sa.select(instances).where(
        instances.c.host == "h",
        ~sa.exists().where(extra.c.instance_uuid == instances.c.uuid))
    assert plan(connection, statement) == level(
        0, "instances: index (host = :host_1)") + level(
        1, "instance_extra: partition (instance_uuid = instances.uuid)")


def test_exists_does_not_restrict_the_outer_row(connection):
    statement = sa.select(services).where(
        ~sa.exists().where(notes.c.service_id == services.c.id,
                           services.c.id == 5).correlate(services))
    assert plan(connection, statement)[:2] == level(0, "services: full scan")


@pytest.mark.parametrize("select", [
    sa.exists(), sa.exists(sa.literal_column("1")), sa.exists(extra.c.id)])
def test_what_exists_restricts_the_outer_row(connection, select):
    statement = sa.select(services).where(select.where(
        services.c.id == extra.c.id, extra.c.instance_uuid == "u"))
    assert plan(connection, statement) == level(
        0, "instance_extra: partition (instance_uuid = :instance_uuid_1)"
    ) + level(1, "services: key (id = instance_extra.id)")


@pytest.mark.parametrize("select", [
    sa.select(sa.func.count(extra.c.id)), sa.select(sa.text("count(*)")),
    sa.select(sa.literal_column("count(*)")),
    sa.select(extra.c.id).having(sa.text("1"))])
def test_an_aggregate_exists_without_a_row(connection, select):
    statement = sa.select(services).where(select.select_from(extra).where(
        services.c.id == extra.c.id, extra.c.instance_uuid == "u"
    ).correlate(services).exists())
    assert "  services: full scan" in plan(connection, statement)


def test_in_subquery(connection):
    statement = sa.select(instances).where(instances.c.uuid.in_(
        sa.select(extra.c.instance_uuid).where(
            extra.c.instance_uuid.in_(["u"]))))
    assert plan(connection, statement) == level(
        0, "instance_extra: partition "
        "(instance_uuid = (:instance_uuid_1))",
        "instances: partition (uuid = (:instance_uuid_1))")


def _newest(value):
    faults = Fault.__table__
    chosen = sa.select(value.label("chosen")).where(
        faults.c.instance_uuid.in_(["u", "v"])).group_by(
            faults.c.instance_uuid).subquery("newest")
    return sa.select(faults.c.id).join(
        chosen, faults.c.id == chosen.c.chosen).order_by(faults.c.id)


@pytest.mark.parametrize("name", ["max", "min", "MAX"])
def test_an_extreme_is_one_of_the_rows(connection, name):
    statement = _newest(getattr(sa.func, name)(Fault.id))
    assert plan(connection, statement) == level(
        0, "instance_faults: partition (instance_uuid = (:instance_uuid_1))"
    ) + level(1, "instance_faults: key (id = instance_faults.id)")


@pytest.mark.parametrize("value", [
    sa.func.count(Fault.id), sa.func.max(Fault.id + 1),
    sa.func.max(Fault.id, 1), sa.func.total(Fault.id)])
def test_other_functions_may_be_any_row(connection, value):
    assert "  instance_faults: full scan" in plan(connection, _newest(value))


def test_rows_that_are_loaded_are_not_asked_for_again(connection):
    connection.execute(Fault.__table__.insert(), [
        {"id": number, "instance_uuid": uuid} for number, uuid in enumerate(
            "uuvww", 1)])
    connection.commit()
    statement = _newest(sa.func.max(Fault.id))
    stats = connection.connection.dbapi_connection.workspace.database \
        .store.stats
    before = stats.round_trips
    assert connection.execute(statement).scalars().all() == [2, 3]
    assert stats.round_trips == before + 1
    # What the transaction itself changes counts.
    connection.execute(sa.delete(Fault).where(Fault.id == 2))
    assert connection.execute(statement).scalars().all() == [1, 3]
    connection.rollback()


def test_in_union(connection):
    statement = sa.select(services).where(services.c.id.in_(
        sa.union(sa.select(notes.c.service_id).where(notes.c.name == "a"),
                 sa.select(notes.c.service_id).where(
                     notes.c.service_id == 1))))
    lines = plan(connection, statement)
    assert lines[-1] == (
        "  services: key (id = notes.service_id | notes.service_id)")


def test_one_criterion_in_two_places(connection):
    connection.execute(services.insert(), [
        {"id": 1, "host": "h0"}, {"id": 2, "host": "h1"}])
    connection.execute(notes.insert(), [
        {"service_id": 1, "name": "n", "value": "h0"},
        {"service_id": 2, "name": "n", "value": "h1"}])
    connection.commit()
    criterion = services.c.id.in_(sa.select(notes.c.service_id).where(
        notes.c.value == services.c.host))
    statement = sa.union_all(
        sa.select(services.c.id).where(criterion),
        sa.select(services.c.id).where(services.c.host == "h1", criterion))
    assert sorted(connection.execute(statement).scalars()) == [1, 2, 2]


def test_cte(connection):
    chosen = sa.select(instances.c.uuid).where(
        instances.c.host == "h").cte("chosen")
    statement = sa.select(extra).join(
        chosen, extra.c.instance_uuid == chosen.c.uuid)
    assert plan(connection, statement) == level(
        0, "instances: index (host = :host_1)") + level(
        1, "instance_extra: partition (instance_uuid = instances.uuid)")


def test_recursive_cte_does_not_restrict(connection):
    first = sa.select(services.c.id).where(services.c.id == 1).cte(
        "found", recursive=True)
    found = first.union_all(
        sa.select(notes.c.service_id).join(
            first, notes.c.service_id == first.c.id + 1))
    statement = sa.select(services).join(
        found, found.c.id == services.c.id)
    lines = plan(connection, statement)
    assert "  notes: full scan" in lines
    assert "  services: full scan" in lines


def test_columns_of_different_affinity_do_not_restrict(connection):
    # SQLite finds 1 = '01'; the index of text does not.
    statement = sa.select(services).join(
        notes, sa.type_coerce(notes.c.service_id, sa.String)
        == services.c.uuid).where(notes.c.service_id == 1)
    assert "  services: full scan" in plan(connection, statement)
    statement = sa.select(services).join(
        notes, notes.c.service_id == services.c.uuid).where(
        notes.c.service_id == 1)
    assert "  services: full scan" in plan(connection, statement)


def test_text_loads_whole_tables(connection):
    statement = sa.select(services).where(
        services.c.id == 1,
        sa.text("EXISTS (SELECT 1 FROM Notes WHERE name = 'x')"))
    assert plan(connection, statement) == level(
        0, "services: key (id = :id_1)") + ["whole table notes"]


def test_literal_column_loads_whole_tables(connection):
    statement = sa.select(sa.literal_column("(SELECT max(id) FROM notes)"))
    assert plan(connection, statement) == ["whole table notes"]


def test_update(connection):
    statement = services.update().where(services.c.id == 1).values(
        report_count=services.c.report_count + 1)
    assert plan(connection, statement) == level(
        0, "services: key (id = :id_1)") + ["writes services"]


def test_update_of_a_unique_key(connection):
    statement = services.update().where(services.c.id == 1).values(
        deleted=services.c.id)
    assert plan(connection, statement) == level(
        0, "services: key (id = :id_1)") + [
        "writes services, unique keys verified"]


def test_delete_with_subquery(connection):
    statement = notes.delete().where(notes.c.service_id.in_(
        sa.select(services.c.id).where(services.c.uuid == "u")))
    assert plan(connection, statement) == level(
        0, "services: index (uuid = :uuid_1)") + level(
        1, "notes: index (service_id = services.id)") + ["writes notes"]


def test_insert_looks_for_collisions(connection):
    statement = services.insert().values(
        uuid="u", host="h", binary="b", deleted=0)
    assert plan(connection, statement) == level(
        0, "services: unique (host, binary, deleted)",
        "services: unique (uuid)") + ["writes services"]


def test_insert_without_a_unique_value_looks_for_nothing(connection):
    statement = services.insert().values(report_count=1)
    assert plan(connection, statement) == ["writes services"]


def test_insert_from_select_is_verified(connection):
    statement = services.insert().from_select(
        ["uuid"], sa.select(instances.c.uuid).where(
            instances.c.uuid == "u"))
    assert plan(connection, statement) == level(
        0, "instances: partition (uuid = :uuid_1)") + [
        "writes services, unique keys verified"]


def test_for_update(connection):
    statement = sa.select(Service).where(
        Service.id == 1).with_for_update()
    assert plan(connection, statement) == level(
        0, "services: key (id = :id_1)") + ["locks services"]


def test_nothing_to_load(connection):
    assert plan(connection, sa.select(1)) == ["nothing to load"]


def test_engine_and_other_dialects(engine):
    assert dialect.explain(engine, sa.select(Note)) == (
        "level 0\n  notes: full scan")
    with pytest.raises(sa.exc.ArgumentError):
        dialect.explain(sa.create_engine("sqlite://"), sa.select(1))


def test_full_scans_are_logged_with_their_statement(connection, caplog):
    caplog.set_level(logging.DEBUG, "nova_kvs.dialect")
    before = connection.connection.dbapi_connection.workspace.database.stats \
        .full_scans
    connection.execute(sa.select(Note.value))
    assert ["Full scan of table notes for: SELECT notes.value \nFROM notes"
            ] == [record.getMessage() for record in caplog.records]
    assert connection.connection.dbapi_connection.workspace.database.stats \
        .full_scans == before + 1


def test_plan_is_kept_with_the_compiled_statement(connection, monkeypatch):
    planner = type(
        connection.connection.dbapi_connection.workspace.planner)
    made = []
    make = planner.plan
    monkeypatch.setattr(planner, "plan", lambda self, compiled: (
        made.append(compiled) or make(self, compiled)))
    for number in range(3):
        connection.execute(sa.select(Service).where(Service.id == number))
        connection.commit()
    assert len(made) == 1
