# SPDX-License-Identifier: Apache-2.0
"""ORDER BY with LIMIT and ranges give what SQLite gives, and read less."""

import hypothesis
from hypothesis import strategies as st
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from nova_kvs.dialect import base as dialect
from nova_kvs.dialect import paging
from nova_kvs.record import counters
from nova_kvs.record.paths import by_id_range
from tests import base
from tests.unit.dialect import tables

metadata = sa.MetaData()
#: One partition, with local indexes.
images = sa.Table(
    "images", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text), sa.Column("size", sa.Numeric),
    sa.Column("status", sa.Text), sa.Column("deleted", sa.Integer),
    sa.Index("by_status", "status", "size", "id"),
    sa.Index("by_name", "name", "id"),
    sa.Index("by_size", "size"))
#: Spread over partitions, with global indexes.
instances = sa.Table(
    "instances", metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("uuid", sa.String(36), unique=True),
    sa.Column("host", sa.Text), sa.Column("project_id", sa.Text),
    sa.Column("created_at", sa.Numeric), sa.Column("display_name", sa.Text),
    sa.Column("deleted", sa.Integer), sa.Column("user_id", sa.Text),
    # The other columns of the index whose entries tell what lists ask.
    sa.Column("image_ref", sa.Text), sa.Column("key_name", sa.Text),
    sa.Column("instance_type_id", sa.Integer),
    sa.Column("availability_zone", sa.Text), sa.Column("locked", sa.Integer),
    # Its index has the hours only.
    sa.Column("updated_at", sa.Text))

_LONG = "n" * 95
_SOME_NAMES = [
    "", "a", "A", "b", "\0", "\u20ac", "\U0001f600", _LONG, _LONG + "a",
    _LONG + "b" * 40, _LONG + "b" * 40 + "c", _LONG + "b" * 40 + "a"]
_NAMES = st.sampled_from([None, *_SOME_NAMES])
_SOME_NUMBERS = st.one_of(st.integers(-2, 2), st.sampled_from([
    -2 ** 63, 2 ** 63 - 1, 2 ** 53, 2 ** 53 + 1, -2 ** 53 - 1, 0.5, -0.5,
    1e300, -1e300, 1e-300, float(2 ** 53)]))
_NUMBERS = st.one_of(st.none(), _SOME_NUMBERS)
_STATUS = st.sampled_from([None, "x", "y"])
_DELETED = st.sampled_from([None, 0, 0, 0, 1])
_SOME_TIMES = [
    "2026-01-01 %02d:%s" % (hour, minute)
    for hour in (3, 14, 15) for minute in ("00:00", "59:59.5")]
_TIMES = st.sampled_from([None, *_SOME_TIMES])


class Number(sa.types.UserDefinedType):
    """Gives numbers to SQLite as they are."""

    cache_ok = True

    def get_col_spec(self, **_kwargs):
        return "NUMERIC"


for column in (images.c.size, instances.c.created_at):
    column.type = Number()


def _rows(table, least=0):
    kinds = {"name": _NAMES, "size": _NUMBERS, "status": _STATUS,
             "deleted": _DELETED, "host": _STATUS, "project_id": _STATUS,
             "created_at": _NUMBERS, "display_name": _NAMES,
             "user_id": _NAMES, "locked": _DELETED, "updated_at": _TIMES}
    return st.lists(st.fixed_dictionaries({
        column.name: kinds[column.name] for column in table.c
        if column.name in kinds}), min_size=least, max_size=25)


@st.composite
def _queries(draw, table):
    """Return a SELECT of a table."""
    numbers = table.c.size if table is images else table.c.created_at
    names = table.c.name if table is images else table.c.display_name
    status = table.c.status if table is images else table.c.host
    number = draw(_SOME_NUMBERS)
    name = draw(st.sampled_from(_SOME_NAMES))
    time = draw(st.sampled_from(_SOME_TIMES))
    criteria = draw(st.lists(st.sampled_from([
        table.c.deleted == 0, status == draw(_STATUS), numbers > number,
        numbers <= number, numbers.between(-1, number), names >= name,
        names < name, names.like(name + "%"), sa.or_(
            names == name, names.op("LIKE")("A%"), names.like("b_")),
        names.like("n%"), names.like("N_%"), names.like("%b"),
        numbers.is_(None), numbers.is_not(None),
        sa.or_(numbers > number, sa.and_(numbers == number,
                                         table.c.id > 3)),
        sa.or_(numbers < number, sa.and_(numbers == number, table.c.id < 9)),
        sa.or_(numbers < number, names == name),
        status.in_(["x", "y"]), table.c.id > 2, table.c.id != 4,
        names.like("%" + name[-1:] + "%"), names.regexp_match("^n+b?$"),
        sa.or_(names.is_(None), names.regexp_match("b")),
        sa.not_(names.in_(["a", name])), names != name,
        *([] if table is images else [
            table.c.user_id == name, table.c.user_id == names,
            table.c.deleted != 0, table.c.locked.in_([0, number]),
            table.c.updated_at <= time, table.c.updated_at > time]),
    ]), max_size=3))
    if draw(st.integers(0, 4)) == 0:
        return sa.select(draw(st.sampled_from([sa.func.min, sa.func.max]))(
            draw(st.sampled_from([numbers, names, table.c.id])))).where(
                *criteria)
    order = draw(st.lists(st.sampled_from(
        [numbers, names, status, table.c.deleted,
         *([] if table is images else [table.c.uuid])]), max_size=3))
    order = [*order, table.c.id]
    if draw(st.booleans()):
        order = order[-1:]
    directions = draw(st.one_of(
        st.sampled_from([[True], [False]]).map(lambda one: one * len(order)),
        st.lists(st.booleans(), min_size=len(order), max_size=len(order))))
    named = [(sa.desc if descends else sa.asc)(one.name)
             for one, descends in zip(order, directions)]
    order = [one.desc() if descends else one.asc()
             for one, descends in zip(order, directions)]
    other = table.alias()
    if draw(st.booleans()):
        query = sa.select(table.c.id, names, other.c.id.label("other")).where(
            *criteria).outerjoin_from(
                table, other, sa.and_(
                    other.c.deleted == table.c.deleted,
                    other.c.id != table.c.id)).order_by(*order, other.c.id)
        merged = (table.c.id, other.c.id)
    else:
        query = sa.select(table).where(*criteria).order_by(
            *draw(st.sampled_from([order, named])))
        merged = (table.c.id,)
    merge = draw(st.sampled_from([None, None, "key", "all", "others"]))
    if merge == "key":
        query = query.group_by(*merged)
    elif merge == "all":
        query = query.distinct()
    elif merge == "others":
        query = sa.select(numbers, status).where(*criteria).distinct(
        ).order_by(numbers, status)
    limit = draw(st.sampled_from([None, -1, 0, 1, 2, 5, 30]))
    if limit is not None:
        query = query.limit(limit)
        if draw(st.booleans()):
            query = query.offset(draw(st.sampled_from([0, 1, 3, 40])))
    if merge != "others" and draw(st.booleans()):
        inner = query.subquery()
        query = sa.select(inner, other.c.deleted).select_from(
            inner.outerjoin(other, other.c.id == inner.c.id)).order_by(
                inner.c.id)
    return query


def _fill(engine, table, rows):
    if rows:
        with engine.begin() as connection:
            connection.execute(sa.insert(table), [
                dict(row, **({"uuid": "u%d" % number}
                             if table is instances else {}))
                for number, row in enumerate(rows)])


def _engines():
    made = [sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool),
            sa.create_engine(base.memory_url())]
    for engine in made:
        metadata.create_all(engine)
    return made


@pytest.mark.parametrize("table", [images, instances])
@hypothesis.settings(deadline=None)
@hypothesis.given(data=st.data())
def test_the_same_rows_as_sqlite(table, data):
    # Small pages, so that a few rows are several of them.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "SLACK", 1)
        _compare(table, data)


def test_a_pattern_ends_at_a_nul():
    answers = []
    for engine in _engines():
        _fill(engine, instances, [
            {"display_name": name} for name in ("", "a", "A\0b", "ab")])
        with engine.connect() as connection:
            answers.append([connection.scalars(
                sa.select(instances.c.display_name).where(
                    instances.c.display_name.like(pattern)).order_by(
                        instances.c.display_name)).all()
                for pattern in ("\0%", "a\0%", "a%")])
    assert answers[1] == answers[0]
    assert answers[0] == [[""], ["A\0b", "a"], ["A\0b", "a", "ab"]]


def _compare(table, data):
    rows = data.draw(_rows(table))
    writes = data.draw(st.lists(st.tuples(
        st.sampled_from(["insert", "update", "delete"]),
        st.integers(1, 25), _rows(table, 1)), max_size=3))
    queries = data.draw(st.lists(_queries(table), min_size=1, max_size=4))
    answers = []
    for engine in _engines():
        _fill(engine, table, rows)
        found = []
        with engine.connect() as connection:
            for query in queries[:1]:
                found.append(connection.execute(query).fetchall())
            for number, (kind, key, values) in enumerate(writes):
                if kind == "insert":
                    values = dict(values[0], id=100 + number)
                    if table is instances:
                        values["uuid"] = "w%d" % number
                    statement = sa.insert(table).values(values)
                elif kind == "update":
                    statement = sa.update(table).where(
                        table.c.id == key).values(values[0])
                else:
                    statement = sa.delete(table).where(table.c.id == key)
                connection.execute(statement)
            for query in queries:
                found.append(connection.execute(query).fetchall())
        answers.append(found)
        engine.dispose()
    assert answers[1] == answers[0]


@pytest.mark.parametrize("table", [images, instances])
@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(data=st.data())
def test_as_many_rows_as_sqlite_without_an_order(table, data):
    rows = data.draw(_rows(table))
    status = table.c.status if table is images else table.c.host
    criteria = data.draw(st.lists(st.sampled_from([
        table.c.deleted == 0, status == "x", table.c.id > 3,
        status.is_(None)]), max_size=2))
    query = sa.select(table.c.id).where(*criteria)
    limit = data.draw(st.sampled_from([-1, 0, 1, 2, 5]))
    offset = data.draw(st.sampled_from([0, 1, 3, 40]))
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paging, "SLACK", 1)
        for engine in _engines():
            _fill(engine, table, rows)
            with engine.connect() as connection:
                connection.execute(sa.delete(table).where(table.c.id == 2))
                some = connection.scalars(
                    query.limit(limit).offset(offset)).all()
                found.append((
                    len(some), sorted(connection.scalars(query).all())))
                assert set(some) <= set(found[-1][1])
                assert len(some) == len(set(some))
            engine.dispose()
    assert found[1] == found[0]


def _loaded(connection):
    """Return how many rows of each table the workspace holds."""
    workspace = connection.connection.dbapi_connection.workspace
    return {name: len(state.rows)
            for name, state in workspace._states.items() if state.rows}


@pytest.fixture
def filled():
    engine = sa.create_engine(base.memory_url())
    metadata.create_all(engine)
    numbers = range(200)
    _fill(engine, images, [
        {"name": "n%03d" % number, "size": number // 2, "status": "x",
         "deleted": 0} for number in numbers])
    _fill(engine, instances, [
        {"created_at": number // 2, "host": "h%d" % (number % 2),
         "deleted": 0, "display_name": "n%d" % number,
         "updated_at": "2026-01-01 %02d:%02d" % divmod(number, 20)}
        for number in numbers])
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.mark.parametrize("criterion", [
    instances.c.display_name.like("n%"), instances.c.display_name != "n7",
    instances.c.updated_at.is_not(None)])
def test_an_order_that_entries_do_not_tell(filled, criterion):
    query = sa.select(instances.c.id).where(criterion).order_by(
        instances.c.host.desc(), instances.c.id.desc()).limit(2)
    assert filled.scalars(query).all() == [200, 198]


def _unless_null(column, otherwise=-1):
    return sa.case((column.is_not(None), column), else_=otherwise)


@pytest.mark.parametrize("otherwise", (None, -100, 100))
@pytest.mark.parametrize("descends", (True, False))
def test_null_is_on_a_page_as_in_sqlite(otherwise, descends):
    column = _unless_null(images.c.size, otherwise)
    order = [images.c.size, images.c.id]
    beyond = column > 3
    if descends:
        order = [one.desc() for one in order]
        beyond = column < 3
    query = sa.select(images.c.id, images.c.size).where(
        images.c.status == "x", sa.or_(beyond, sa.and_(
            column == 3, images.c.id < 9))).order_by(*order).limit(40)
    answers = []
    for url in ("sqlite://", base.memory_url()):
        engine = sa.create_engine(url)
        metadata.create_all(engine)
        _fill(engine, images, [
            {"size": number % 7 or None, "status": "x"}
            for number in range(60)])
        with engine.connect() as connection:
            answers.append(connection.execute(query).fetchall())
    assert answers[0] == answers[1]
    assert answers[0]


_created = instances.c.created_at
CHEAP = {
    "first of a global index": (
        sa.select(instances).where(instances.c.deleted == 0).order_by(
            _created.desc(), instances.c.id.desc()).limit(5), 5),
    "rest of the condition": (
        sa.select(instances).where(
            instances.c.deleted == 0, instances.c.host != "h1").order_by(
            _created, instances.c.id).limit(5), 10),
    "marker": (
        sa.select(instances).where(instances.c.deleted == 0, sa.or_(
            _created > 50, sa.and_(_created == 50, instances.c.id > 3))
        ).order_by(_created, instances.c.id).limit(5), 5),
    "oslo.db's marker": (
        sa.select(images).where(images.c.status == "x", sa.or_(
            _unless_null(images.c.size) < 50,
            sa.and_(_unless_null(images.c.size) == 50, images.c.id < 103))
        ).order_by(images.c.size.desc(), images.c.id.desc()).limit(5), 6),
    "other tie-breaker": (
        sa.select(instances).where(instances.c.deleted == 0).order_by(
            _created.desc(), instances.c.uuid).limit(5), 6),
    "range": (
        sa.select(instances).where(
            instances.c.deleted == 0, _created.between(50, 52)), 6),
    "local index": (
        sa.select(images).order_by(images.c.name).limit(5).offset(5), 10),
    "behind a prefix": (
        sa.select(images.c.name).where(images.c.status == "x").order_by(
            images.c.size.desc()).limit(5), 6),
    "local range": (sa.select(images).where(images.c.size < 3), 6),
    "outer join": (
        sa.select(images.c.id, instances.c.uuid).outerjoin_from(
            images, instances, instances.c.id == images.c.size).order_by(
            images.c.name, instances.c.host).limit(5), 10),
    "ids": (
        sa.select(instances).where(instances.c.id > 50).order_by(
            instances.c.id).limit(5), 10),
    "last ids": (
        sa.select(images).order_by(images.c.id.desc()).limit(5), 10),
    "ids, as text": (
        sa.select(images.alias()).order_by(sa.desc("id")).limit(5), 10),
    "range of ids": (
        sa.select(images).where(images.c.id.between(50, 60)), 6),
    "oldest": (sa.select(sa.func.min(_created)), 3),
    "newest": (sa.select(sa.func.max(_created)), 3),
    "highest id": (sa.select(sa.func.max(images.c.id)), 10),
    "any": (sa.select(instances).limit(5), 9),
    "any of a host": (
        sa.select(instances).where(instances.c.host == "h1").limit(5), 4),
    "any of a range": (
        sa.select(instances).where(
            instances.c.deleted == 0, _created > 10).limit(5), 4),
    "name": (
        sa.select(instances).where(
            instances.c.display_name == "n77").order_by(
            _created.desc()).limit(5), 1),
    "part of a name": (
        sa.select(instances).where(
            instances.c.deleted == 0, instances.c.display_name.like("%77%")
        ).order_by(_created.desc()).limit(5), 2),
    "regular expression": (
        sa.select(instances).where(
            instances.c.display_name.regexp_match("^n7.?$")).order_by(
            _created.desc(), instances.c.uuid).limit(20), 11),
    "changed before, few": (
        sa.select(instances).where(
            instances.c.updated_at <= "2026-01-01 00:04").order_by(
            _created.desc(), instances.c.uuid).limit(5), 20),
    "changed before, many": (
        sa.select(instances).where(
            instances.c.updated_at <= "2026-01-01 09:04").order_by(
            _created.desc(), instances.c.uuid).limit(5), 20),
    "sorted by name": (
        sa.select(instances).where(instances.c.deleted == 0).order_by(
            instances.c.display_name, instances.c.id).limit(5), 5),
    "sorted by UUID, behind a marker": (
        sa.select(instances).where(instances.c.uuid > "u50").order_by(
            instances.c.uuid).limit(5), 5),
    "count by name": (
        sa.select(sa.func.count()).select_from(instances).where(
            instances.c.deleted == 0, instances.c.display_name == "n77"), 1),
    "beginning of names": (
        sa.select(instances.c.uuid).where(
            instances.c.display_name.like("n19%")), 11),
    "beginning": (
        sa.select(images).where(images.c.name.like("n00%")), 6),
    "different rows": (
        sa.select(images).distinct().order_by(images.c.name).limit(5), 5),
    "groups of one": (
        sa.select(images).group_by(images.c.id, images.c.size).order_by(
            images.c.name).limit(5), 5),
    "inner SELECT": (
        sa.select(images.c.id).where(images.c.name > "n100").order_by(
            images.c.name).limit(5).subquery().select(), 5),
}


@pytest.mark.parametrize("name", CHEAP)
def test_as_few_rows_as_it_takes_are_loaded(filled, name):
    query, needed = CHEAP[name]
    filled.execute(query).fetchall()
    assert sum(_loaded(filled).values()) <= needed * 4 + 4
    assert "full scan" not in dialect.explain(filled, query)


DEAR = {
    "no limit": sa.select(images).order_by(images.c.name),
    "other order": sa.select(images).order_by(images.c.deleted).limit(1),
    "a label, as text": sa.select(
        images.c.id, images.c.deleted.label("name")).order_by(
            sa.asc("name")).limit(1),
    "text that may be another table's": sa.select(images.c.id).outerjoin_from(
        images, instances, instances.c.id == images.c.size).order_by(
            sa.asc("id")).limit(1),
    "function": sa.select(images).order_by(
        sa.func.lower(images.c.name)).limit(1),
    "aggregate": sa.select(sa.func.max(images.c.id)).order_by(
        images.c.name).limit(1),
    "distinct": sa.select(images.c.status).distinct().order_by(
        images.c.name).limit(1),
    "other collation": sa.select(images).order_by(
        sa.collate(images.c.name, "NOCASE")).limit(1),
    "other place of NULL": sa.select(images).order_by(
        images.c.name.nulls_last()).limit(1),
    "subquery": sa.select(images).where(sa.exists().where(
        instances.c.id == images.c.id)).order_by(images.c.name).limit(1),
    "join": sa.select(images).join(
        instances, instances.c.id == images.c.id).order_by(
        images.c.name).limit(1),
    "other order of an outer join": sa.select(images.c.id).outerjoin(
        instances, instances.c.id == images.c.id).order_by(
        instances.c.id).limit(1),
    "or of other columns": sa.select(images).where(
        sa.or_(images.c.size < 3, images.c.deleted == 1)),
}


@pytest.mark.parametrize("name", DEAR)
def test_what_is_not_provably_right_is_loaded_whole(filled, name):
    filled.execute(DEAR[name]).fetchall()
    assert _loaded(filled)["images"] == 200


def test_a_page_of_the_orm_loads_the_page_and_what_is_joined():
    engine = sa.create_engine(base.memory_url())
    tables.metadata.create_all(engine)
    with engine.begin() as connection:
        for number in range(50):
            connection.execute(sa.insert(tables.Instance.__table__).values(
                uuid="u%d" % number, deleted=0))
            connection.execute(sa.insert(tables.Extra.__table__).values(
                instance_uuid="u%d" % number))
    with engine.connect() as connection, orm.Session(connection) as session:
        found = session.scalars(sa.select(tables.Instance).options(
            orm.joinedload(tables.Instance.extra)).where(
            tables.Instance.deleted == 0).order_by(
            tables.Instance.created_at.desc(), tables.Instance.id.desc()
        ).limit(3)).unique().all()
        assert [(row.uuid, row.extra.instance_uuid) for row in found] == [
            ("u49", "u49"), ("u48", "u48"), ("u47", "u47")]
        assert max(_loaded(connection).values()) < 20
    engine.dispose()


def test_ids_far_below_one_are_found_by_conditions_on_them():
    engine = sa.create_engine(base.memory_url())
    metadata.create_all(engine, [images])
    with engine.begin() as connection:
        connection.execute(images.insert(), [
            {"id": number} for number in (-100, -7, 1, 2)])
    for criterion, expected in (
            (images.c.id < -50, [-100]), (images.c.id <= 1, [-100, -7, 1]),
            (images.c.id > -101, [-100, -7, 1, 2])):
        with engine.connect() as connection:
            assert sorted(connection.execute(
                sa.select(images.c.id).where(criterion)).scalars()) == (
                    expected), criterion


def test_a_limit_without_an_order_takes_the_first_ids():
    # Who changes the rows, and asks for the next ones, gets on.
    engine = sa.create_engine(base.memory_url())
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(instances.insert(), [
            {"uuid": "%d-" % number, "display_name": "ab"[number % 2]}
            for number in range(40)])
    with engine.connect() as connection:
        assert connection.execute(sa.select(instances.c.id).where(
            instances.c.display_name != "a").limit(3)).scalars().all() == [
                2, 4, 6]


def test_the_newest_row_may_be_replaced_while_it_is_looked_for(monkeypatch):
    engine = sa.create_engine(base.memory_url())
    metadata.create_all(engine, [images])
    with engine.begin() as connection:
        connection.execute(images.insert(), [{"id": 1}, {"id": 2}])
    read = counters.Counters.highest

    def replace(made, name):
        number = read(made, name)
        monkeypatch.setattr(counters.Counters, "highest", read)
        with engine.begin() as connection:
            connection.execute(images.delete().where(images.c.id == 2))
            connection.execute(images.insert(), {"id": number + 1})
        return number

    monkeypatch.setattr(counters.Counters, "highest", replace)
    with engine.connect() as connection:
        assert connection.execute(
            sa.select(sa.func.max(images.c.id))).scalar() > 2


def test_a_row_may_be_replaced_by_one_of_another_block(monkeypatch):
    # Ids of several processes are mixed: a new row may have one that was
    # looked for before.
    engine = sa.create_engine(base.memory_url())
    metadata.create_all(engine, [images])
    with engine.begin() as connection:
        connection.execute(images.insert(), [{"id": 900}, {"id": 5}])
    with engine.begin() as connection:
        connection.execute(images.delete().where(images.c.id == 900))
    read = by_id_range._with_ids

    def replace(tx, table, ids):
        found = yield from read(tx, table, ids)
        if 899 in ids:
            monkeypatch.setattr(by_id_range, "_with_ids", read)
            with engine.begin() as connection:
                connection.execute(images.delete().where(images.c.id == 5))
                connection.execute(images.insert(), {"id": 899})
        return found

    monkeypatch.setattr(by_id_range, "_with_ids", replace)
    with engine.connect() as connection:
        assert connection.execute(sa.select(images.c.id).order_by(
            images.c.id.desc()).limit(1)).scalar() == 899
