# SPDX-License-Identifier: Apache-2.0
"""Runs the statements that change the schema: CREATE, ALTER and DROP."""

from sqlite3 import IntegrityError

from nova_kvs.dialect import alteration
from nova_kvs.dialect import sqltext
from nova_kvs import exceptions


def run(space, cursor, statement, sql, names):
    """Run a statement that changes the schema.

    :param space: nova_kvs.dialect.workspace.Workspace.
    :param statement: the parsed ``sql``, a nova_kvs.dialect.sqltext.Statement.
    :param names: the tables that it names.
    :raises nova_kvs.exceptions.UnsupportedStatementError: if tables cannot
        have what it makes.
    """
    # SQLite keeps the text of a table, and an ALTER adds to it.
    sql = sqltext.without_comments(sql)
    words = [token.keyword for token in statement.tokens]
    if words[1:2] in (["TEMP"], ["TEMPORARY"]):
        # A workspace keeps nothing beyond its transaction.
        raise exceptions.UnsupportedStatementError(
            "temporary tables are not supported")
    if words[:2] == ["CREATE", "TRIGGER"]:
        # It would fire for loaded rows only, and nobody would look for
        # the rows that it writes.
        raise exceptions.UnsupportedStatementError(
            "triggers are not supported")
    if not sqltext.is_unique_index_of_columns(statement):
        # Two transactions could each add one of two rows that collide.
        raise exceptions.UnsupportedStatementError(
            "unique indexes on expressions or on some of the rows are "
            "not supported")
    table = sqltext.table_of(statement)
    if table is not None and words[0] == "ALTER":
        _alter_table(space, table, sql)
        return
    if words[:2] == ["DROP", "INDEX"]:
        _drop_index(space, statement, sql)
        return
    if table is not None and words[0] == "CREATE":
        sql = sqltext.with_generated_id(sql)
        if "SELECT" not in words:
            # It merely refers to these.
            names = ()
    space.before_schema_change(names, sql)
    cursor.run(sql, (), False)
    changed = set(names)
    if table is not None:
        changed.add(table)
    space.after_schema_change(changed)


def _alter_table(space, table, sql):
    change = alteration.Alteration(space.sqlite, sql)
    names = space.names_of({table.lower()})
    space.before_schema_change(names, sql)
    try:
        change.run()
    except IntegrityError:
        space.verify()
        raise
    for name in names:
        if change.table != name:
            space.after_rename(name, change.table)
    space.after_schema_change({*names, change.table})


def _drop_index(space, statement, sql):
    table = alteration.owner_of_index(space.sqlite, statement)
    names = [] if table is None else [table]
    space.before_schema_change(names, sql)
    alteration.drop_index(space.sqlite, statement, table)
    space.after_schema_change(names)
