# SPDX-License-Identifier: Apache-2.0
"""Random schemas, rows and statements, for SQLite and the dialect alike."""

import itertools

from hypothesis import strategies as st
import sqlalchemy as sa

#: What columns of each type are compared with and set to.
DOMAINS = {
    sa.Integer: (None, 0, 1, 2, 3),
    sa.String: (None, "", "a", "b", "A", "1", "01"),
    sa.Float: (None, 0.0, 1.0, 1.5, 2.0),
}
#: Names with a partition rule and without one.
NAMES = ("instances", "instance_metadata", "key_pairs", "alpha", "beta")
_PARTITIONED_BY = {
    "instances": "uuid",
    "instance_metadata": "instance_uuid",
    "key_pairs": "user_id",
}


def values_of(column):
    """Return values for a column."""
    values = DOMAINS[type(column.type)]
    if not getattr(column, "nullable", True):
        values = [value for value in values if value is not None]
    return st.sampled_from(values)


@st.composite
def schemas(draw):
    """Return a MetaData of two or three tables."""
    metadata = sa.MetaData()
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=3,
                          unique=True))
    for name in names:
        columns = []
        partition = _PARTITIONED_BY.get(name)
        kind = draw(st.sampled_from(("id", "text", "pair")))
        if partition and name != "instances":
            # A key that does not tell the partition is unique inside of
            # one only.
            columns.append(sa.Column("id", sa.Integer, primary_key=True,
                                     autoincrement=False))
            columns.append(sa.Column(partition, sa.String(9),
                                     primary_key=True))
            partition = None
        elif kind == "id" or partition:
            columns.append(sa.Column("id", sa.Integer, primary_key=True))
        elif kind == "text":
            columns.append(sa.Column("id", sa.String(9), primary_key=True))
        else:
            columns.append(sa.Column("id", sa.Integer, primary_key=True,
                                     autoincrement=False))
            columns.append(sa.Column("k", sa.String(9), primary_key=True))
        if partition:
            columns.append(sa.Column(partition, sa.String(9)))
        for letter in "abc"[:draw(st.integers(1, 3))]:
            columns.append(sa.Column(
                letter, draw(st.sampled_from(
                    (sa.Integer, sa.String, sa.Float))),
                index=draw(st.booleans())))
        plain = [column.name for column in columns
                 if not column.primary_key]
        constraints = []
        if draw(st.booleans()):
            chosen = draw(st.lists(st.sampled_from(plain), min_size=1,
                                   max_size=2, unique=True))
            constraints.append(sa.UniqueConstraint(
                *chosen, name="uniq_%s" % name))
        sa.Table(name, metadata, *columns, *constraints)
    return metadata


@st.composite
def rows(draw, table):
    """Return a row for a table, its key included."""
    return {column.name: draw(values_of(column)) for column in table.c}


@st.composite
def conditions(draw, froms, tables, depth=2):
    """Return a criterion on columns of some FROM elements.

    :param froms: FROM elements whose columns may be used.
    :param tables: tables for subqueries.
    """
    columns = [column for element in froms for column in element.c]
    column = draw(st.sampled_from(columns))
    kinds = ["eq", "eq", "in", "join", "join", "null", "other", "like",
             "odd"]
    if depth:
        kinds += ["and", "and", "or", "not", "exists", "insub", "scalar"]
    kind = draw(st.sampled_from(kinds))
    if kind == "eq":
        return column == draw(values_of(column))
    if kind == "in":
        return column.in_(draw(st.lists(values_of(column), max_size=3)))
    if kind == "join":
        return column == draw(st.sampled_from(columns))
    if kind == "null":
        return draw(st.sampled_from((column.is_(None),
                                     column.is_not(None))))
    if kind == "other":
        value = draw(values_of(column).filter(lambda item: item is not None))
        return draw(st.sampled_from((column != value, column > value,
                                     column <= value,
                                     column.not_in([value]))))
    if kind == "like":
        return sa.cast(column, sa.String).like(
            draw(st.sampled_from(("%a%", "1%", "_"))))
    if kind == "odd":
        # A value of another type than the column's.
        return column == sa.literal(
            draw(st.sampled_from((1, 1.0, "1", "01", "a"))))
    more = conditions(froms, tables, depth - 1)
    if kind == "and":
        return sa.and_(draw(more), draw(more))
    if kind == "or":
        return sa.or_(draw(more), draw(more))
    if kind == "not":
        return sa.not_(draw(more))
    inner = draw(st.sampled_from(tables)).alias()
    if kind == "exists":
        where = draw(conditions([inner, *froms], tables, 0))
        both = sa.and_(where, draw(conditions([inner], tables, 0)))
        what = draw(st.sampled_from((
            (), (sa.literal_column("1"),), (inner.c[0],),
            (sa.func.count(),))))
        return sa.exists(*what).select_from(inner).where(both)
    where = draw(conditions([inner], tables, 0))
    other = draw(st.sampled_from(list(inner.c)))
    if kind == "insub":
        return column.in_(sa.select(other).where(where))
    return column == sa.select(sa.func.max(other)).where(
        where).scalar_subquery()


@st.composite
def from_elements(draw, tables):
    """Return (FROM element, the elements whose columns it has)."""
    first = draw(_named(tables))
    element, parts = first, [first]
    for _ in range(draw(st.integers(0, 2))):
        other = draw(_named(tables))
        on = draw(conditions([*parts, other], tables, 1))
        kind = draw(st.sampled_from(("inner", "left", "left", "full")))
        element = element.join(other, on, isouter=kind == "left",
                               full=kind == "full")
        parts.append(other)
    return element, parts


@st.composite
def _named(draw, tables):
    """Return an alias, a subquery, a UNION or a CTE."""
    table = draw(st.sampled_from(tables))
    kind = draw(st.sampled_from(
        ("alias", "alias", "alias", "limited", "union", "cte", "grouped")))
    if kind == "alias":
        return table.alias()
    alias = table.alias()
    query = sa.select(*alias.c).where(
        draw(conditions([alias], tables, 0)))
    if kind == "cte":
        return query.cte()
    if kind == "grouped":
        column = draw(st.sampled_from(list(alias.c)))
        return sa.select(
            column.label("a"), sa.func.count().label("b")).where(
            draw(conditions([alias], tables, 0))).group_by(column).subquery()
    if kind == "union":
        again = table.alias()
        return query.union_all(sa.select(*again.c).where(
            draw(conditions([again], tables, 0)))).subquery()
    return query.order_by(*alias.c).limit(
        draw(st.integers(1, 3))).subquery()


@st.composite
def selects(draw, tables):
    """Return a SELECT; its rows have no order."""
    element, parts = draw(from_elements(tables))
    columns = [column for part in parts for column in part.c]
    if draw(st.booleans()):
        query = sa.select(*[column.label("c%d" % number)
                            for number, column in enumerate(columns)])
    else:
        key = draw(st.sampled_from(columns))
        query = sa.select(
            key, sa.func.count(), sa.func.max(columns[-1])).group_by(key)
    query = query.select_from(element)
    if draw(st.booleans()):
        query = query.where(draw(conditions(parts, tables)))
    if draw(st.integers(0, 9)) == 0:
        query = query.with_for_update()
    return query


@st.composite
def writes(draw, tables):
    """Return (statement, parameters or None) that changes rows."""
    table = draw(st.sampled_from(tables))
    kind = draw(st.sampled_from(
        ("insert", "insert", "many", "values", "select", "update",
         "update", "delete")))
    if kind == "insert":
        return table.insert(), draw(rows(table))
    if kind == "many":
        return table.insert(), draw(st.lists(rows(table), min_size=2,
                                             max_size=3))
    if kind == "values":
        return table.insert().values(
            draw(st.lists(rows(table), min_size=1, max_size=3))), None
    # SQLite may see rows that the same statement has changed already, or
    # not, as its choice of indexes has it.
    others = [other for other in tables if other is not table]
    where = draw(conditions([table], others))
    if kind == "delete":
        return table.delete().where(where), None
    if kind == "update":
        column = draw(st.sampled_from(list(table.c)))
        value = draw(values_of(column))
        if draw(st.integers(0, 3)) == 0:
            value = draw(st.sampled_from(
                [other for other in table.c
                 if type(other.type) is type(column.type)]))
        return table.update().where(where).values({column: value}), None
    source = draw(st.sampled_from(tables)).alias()
    columns = [
        draw(st.sampled_from(
            [other for other in source.c
             if type(other.type) is type(column.type)
             # Instead of a NULL there would be a new id.
             and other.primary_key >= column.primary_key]
            or [sa.literal(DOMAINS[type(column.type)][1])]))
        for column in table.c]
    return table.insert().from_select(
        [column.name for column in table.c],
        sa.select(*[column.label("c%d" % number)
                    for number, column in enumerate(columns)]).where(
            draw(conditions([source], tables)))), None


@st.composite
def programs(draw):
    """Return (MetaData, list of steps).

    A step is ``("write", statement, parameters)``, ``("read", statement)``
    or one of ``commit``, ``rollback``, ``savepoint``, ``release`` and
    ``rollback_to``.
    """
    metadata = draw(schemas())
    tables = list(metadata.sorted_tables)
    steps = [("write", table.insert(), row)
             for table in tables
             for row in draw(st.lists(rows(table), max_size=6))]
    steps.append(("commit",))
    for _ in range(draw(st.integers(1, 8))):
        kind = draw(st.sampled_from(
            ("write", "write", "write", "read", "read", "read", "commit",
             "rollback", "savepoint", "release", "rollback_to")))
        if kind == "write":
            steps.append(("write", *draw(writes(tables))))
        elif kind == "read":
            steps.append(("read", draw(selects(tables))))
        else:
            steps.append((kind,))
    steps.append(("commit",))
    steps.extend(("read", sa.select(table)) for table in tables)
    return metadata, list(itertools.chain(steps))
