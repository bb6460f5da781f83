# SPDX-License-Identifier: Apache-2.0
"""Rewrites rows when their table's definition changes.

Rows that a transaction wrote before a change of schema are carried over at
once; stored rows when it commits.
"""

import sqlite3

from nova_kvs.record import access
from nova_kvs.record import schema as record_schema


def carry(tx, before, after):
    """Carry the rows that a transaction wrote over to a new schema.

    :param tx: nova_kvs.record.transaction.RecordTransaction.
    :param before: Schema that they were written by. :param after: from now
        on.
    """
    for (name, key), write in list(tx.writes.items()):
        row = write.row
        if row is None:
            continue
        table = after.tables.get(name)
        if table is None:
            write.row = None
        elif name in before.tables:
            write.new_table = table
            write.row = _Converter(before.tables[name], table)(row)
            write.key = table.record_key(write.row)


def rewrite(tx, old, new):
    """Add the writes that stored rows need because of a new schema.

    :param old: Schema by which they are stored. :param new: from now on.
    """
    gone = []
    changed = []
    for name, table in old.tables.items():
        if name not in new.tables:
            gone.append(name)
        elif table.definition() != new.tables[name].definition():
            changed.append(name)
    names = gone + changed
    rows = dict(zip(names, tx.load(
        [access.FullScan(name) for name in names])))
    for name in gone:
        for record in rows[name]:
            write = tx.writes.get((name, record.key))
            if write is None or write.original is None:
                tx.delete(record)
    for name in changed:
        convert = _Converter(old.tables[name], new.tables[name])
        for record in rows[name]:
            if (name, record.key) not in tx.writes:
                tx.update(record, convert(record.values))


class _Converter:
    """Makes a row of a changed table from one of its old definition."""

    def __init__(self, old, new):
        self._columns = frozenset(new.columns)
        if new.key == (record_schema.ROWID,):
            self._columns |= {record_schema.ROWID}
        self._defaults = {
            column: _evaluate(text)
            for column, text in new.defaults.items()
            if column not in old.affinities}

    def __call__(self, values):
        row = dict(self._defaults)
        for column, value in values.items():
            if column in self._columns:
                row[column] = value
        return row


def _evaluate(text):
    """Return the value of a DEFAULT clause of the database's own DDL."""
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("SELECT " + text).fetchone()[0]
    finally:
        connection.close()
