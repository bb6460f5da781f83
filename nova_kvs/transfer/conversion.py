# SPDX-License-Identifier: Apache-2.0
"""Values of SQL databases as the store has them, and back.

The store holds what SQLAlchemy's bind processors make for SQLite. The types
are those of the store's own DDL.
"""

import datetime
import decimal
import math

import sqlalchemy
from sqlalchemy.dialects import sqlite

from nova_kvs import exceptions

_DIALECT = sqlite.dialect()
#: Types of moments. SQLite has them as text, and any text in their place.
MOMENTS = (sqlalchemy.DateTime, sqlalchemy.Date, sqlalchemy.Time)


class Conversion:
    """Converts the rows of one database's tables.

    :param schema: nova_kvs.record.schema.Schema of the store's database.
    """

    def __init__(self, schema):
        self._schema = schema
        engine = sqlalchemy.create_engine(
            "sqlite://", poolclass=sqlalchemy.pool.StaticPool)
        with engine.begin() as connection:
            for text in schema.ddl:
                connection.exec_driver_sql(text)
        inspector = sqlalchemy.inspect(engine)
        self._bind = {}
        self._result = {}
        self._moments = set()
        for name in schema.tables:
            for column in inspector.get_columns(name):
                kind = column["type"].dialect_impl(_DIALECT)
                where = name, column["name"]
                self._bind[where] = kind.bind_processor(_DIALECT)
                self._result[where] = kind.result_processor(_DIALECT, None)
                if isinstance(kind, MOMENTS):
                    self._moments.add(where)
        engine.dispose()

    def stored(self, name, row):
        """Return a row as the store has it: without Nones.

        :param name: the table's name.
        :param row: dict of column -> value, as SQLAlchemy gives it.
        :raises nova_kvs.exceptions.ConfigurationError: if a value does not
            fit its column.
        """
        table = self._schema.tables[name]
        values = {}
        for column, value in row.items():
            if value is None:
                continue
            try:
                value = self._bound((name, column), value)
                value = table.normalise(column, value)
            except (TypeError, ValueError, OverflowError,
                    sqlalchemy.exc.StatementError) as error:
                raise _misfit(table, row, column) from error
            if value is not None:
                values[column] = value
        return values

    def _bound(self, where, value):
        """Return a value as SQLAlchemy binds it on SQLite.

        :param where: names of table and column.
        """
        if isinstance(value, str) and where in self._moments:
            # Of SQLite, and zero dates of MySQL.
            value = self._result[where](value)
        process = self._bind[where]
        return _plain(process(value) if process else value)

    def loaded(self, name, values, columns):
        """Return a stored row as SQLAlchemy takes it, with Nones.

        :param columns: the target's sqlalchemy.Table's columns.
        :raises nova_kvs.exceptions.ConfigurationError: if a value does not
            fit its column.
        """
        row = {}
        for column in columns:
            value = values.get(column.name)
            process = self._result[name, column.name]
            if value is not None and process is not None:
                try:
                    value = process(value)
                except (TypeError, ValueError) as error:
                    raise _misfit(self._schema.tables[name], values,
                                  column.name) from error
            row[column.name] = _cut(value, column.type)
        return row


def _misfit(table, row, column):
    return exceptions.ConfigurationError(
        "a value does not fit its column", table=table.name, column=column,
        key=[row.get(name) for name in table.key])


def _plain(value):
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return value


def _cut(value, kind):
    """Return a value without what its column in MySQL cannot hold.

    MySQL would round fractions of a second to the next, MariaDB cuts them.
    """
    if isinstance(value, datetime.datetime) and value.microsecond and (
            hasattr(kind, "fsp") and not kind.fsp):
        return value.replace(microsecond=0)
    return value


def equal(one, other):
    """Tell whether two stored rows are the same.

    MySQL's FLOAT has seven digits, so numbers that are not whole are
    compared by six.
    """
    if one == other:
        return True
    if one.keys() != other.keys():
        return False
    return all(
        value == other[column] or type(value) is type(other[column]) is float
        and math.isclose(value, other[column], rel_tol=1e-6)
        for column, value in one.items())
