# SPDX-License-Identifier: Apache-2.0
"""Compares the schemas of two databases, and orders their tables.

The target's schema is always the one that the service's own migrations have
made there: they know the types, defaults and indexes of each kind of database.
"""

from nova_kvs import exceptions
from nova_kvs.inspection import revision
from nova_kvs.record import access
from nova_kvs import wording

REVISION_TABLE = "alembic_version"
#: Left by sqlalchemy-migrate in databases older than Nova 24.
_LEFT_OVER = frozenset(["migrate_version"])
#: Tables that are named of a target that is not empty.
_NAMED = 5


def stored_revision(database):
    """Return alembic's revision of a database in the store, or None."""
    if REVISION_TABLE not in database.schema.tables:
        return None
    rows, = database.begin().load([access.FullScan(REVISION_TABLE)])
    return revision.text_of(row.values.get("version_num") for row in rows)


def tables(schema, sql, sql_is_source):
    """Return the names of the tables to copy, parents first.

    :param schema: nova_kvs.record.schema.Schema of the store's database.
    :param sql: nova_kvs.transfer.sql.Database.
    :param sql_is_source: which way the rows go.
    :raises nova_kvs.exceptions.ConfigurationError: naming what differs.
    """
    stored = set(schema.tables)
    others = set(sql.tables)
    kind = revision.kind_of(stored)
    advice = "make the target's schema with %s of the source's release" % (
        kind.command.split()[0] if kind else "nova-manage")
    source, target = (others, stored) if sql_is_source else (stored, others)
    extra = source - target
    if sql_is_source and extra:
        with sql.reading() as connection:
            extra = {name for name in extra - _LEFT_OVER
                     if not sql.is_empty(connection, name)}
    if extra or target - source - _LEFT_OVER:
        raise exceptions.ConfigurationError(
            "source and target do not have the same tables: " + advice,
            only_in_source=_list(extra),
            only_in_target=_list(target - source - _LEFT_OVER))
    for name in source & target:
        columns = {column.name for column in sql.tables[name].columns}
        if columns != set(schema.tables[name].columns):
            raise exceptions.ConfigurationError(
                "source and target do not have the same columns: " + advice,
                table=name, columns=_list(
                    columns ^ set(schema.tables[name].columns)))
        if set(sql.key(name)) != set(schema.tables[name].key):
            raise exceptions.ConfigurationError(
                "source and target do not have the same primary key",
                table=name)
    return _in_order(schema, (source & target) - {REVISION_TABLE})


def _list(names):
    return ", ".join(sorted(names)) or "-"


def _in_order(schema, names):
    """Return names, those first whose records others live with."""
    first = [name for name in sorted(names) if schema.children.get(name)]
    return first + sorted(set(names) - set(first))


def check_kinds(source, target):
    """Compare what kinds of databases source and target are.

    :param source: names of the source's tables. :param target: likewise.
    :raises nova_kvs.exceptions.ConfigurationError: if they are of services
        that we know, and not of the same kind.
    """
    kinds = [revision.kind_of(names) for names in (source, target)]
    if None not in kinds and kinds[0] is not kinds[1]:
        raise exceptions.ConfigurationError(
            "the source is a %s, the target a %s: name the other one" % (
                kinds[0].text, kinds[1].text))


def name_contents(counts):
    """Return a text of what a database holds.

    :param counts: table's name -> number of rows.
    """
    full = sorted(((count, name) for name, count in counts.items()
                   if count and name != REVISION_TABLE), reverse=True)
    text = ", ".join("%s of %s" % (wording.number(count, "row"), name)
                     for count, name in full[:_NAMED])
    if len(full) > _NAMED:
        text += " and %s more" % wording.number(len(full) - _NAMED, "table")
    return text


def check_revisions(source, target, names):
    """Compare alembic's revisions.

    :param source: of the source. :param target: of the target.
    :param names: of the source's tables, for the advice.
    :raises nova_kvs.exceptions.ConfigurationError: if they differ.
    """
    kind = revision.kind_of(names)
    command = kind.command if kind else "nova-manage db sync"
    if target is None:
        raise exceptions.ConfigurationError(
            "the target has no schema: run %s on it first, with the "
            "release that the source has" % command)
    if source != target:
        raise exceptions.ConfigurationError(
            "source and target are of different schema revisions: run %s "
            "on the older one" % command, source=source, target=target)
