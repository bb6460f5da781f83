# SPDX-License-Identifier: Apache-2.0
"""Rows as Nova expects them, made from stored values without the ORM.

Everything about a table comes from Nova's own model, once: its columns, its
types' processors for SQLite, its defaults, its properties. Nothing is copied
by hand, so a column that a later Nova adds is there by itself.
"""

import datetime

from oslo_config import cfg
from oslo_db import exception as db_exc
from oslo_db.sqlalchemy import models
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import pysqlite
from sqlalchemy.orm import exc as orm_exc

from nova_kvs.compatibility import private
from nova_kvs.record import access

#: Nova's.
CONF = cfg.CONF
_DIALECT = pysqlite.dialect()
_IMMUTABLE = (bool, bytes, datetime.date, float, int, str)


class Row(models.ModelBase):
    """A row that reads like Nova's model object after its session closed.

    Columns are attributes and items, related rows that were asked for are
    attributes; one that was not loaded raises what the ORM raises.
    """

    #: The Table this row belongs to.
    _table = None
    #: The Record that it was made of, in a session that may change it.
    _record = None

    def __iter__(self):
        names = list(self._table.columns)
        names.extend(getattr(self, private.EXTRA_KEYS, ()))
        return models.ModelIterator(self, iter(names))

    def __getattr__(self, name):
        table = self._table
        if name in table.relationships or name in table.deferred:
            raise orm_exc.DetachedInstanceError(
                "%s of %s was not loaded" % (name, table.name))
        raise AttributeError(name)

    def __copy__(self):
        copied = self._table.row_class()
        copied.__dict__.update(self.__dict__)
        for name in self._table.relationships:
            related = copied.__dict__.get(name)
            if isinstance(related, list):
                copied.__dict__[name] = list(related)
        return copied

    def __repr__(self):
        return "<%s %s>" % (type(self).__name__,
                            [self.__dict__.get(c) for c in self._table.key])


def instance_name(row, template=None):
    """Return a server's name on its hypervisor, as models.Instance.name.

    :param template: the option's value, where many names are made.
    """
    if template is None:
        template = CONF.instance_name_template
    try:
        return template % row.id
    except TypeError:
        info = {column: row[column] for column in row._table.columns}
        try:
            return template % info
        except KeyError:
            return row.uuid


def _default(column_default):
    """Return a function that makes the value of a Python-side default."""
    argument = column_default.arg
    if column_default.is_callable:
        return lambda: argument(None)
    return lambda: argument


def _is_immutable(column_type):
    """Tell whether nobody can change the values that a type makes.

    Those of a type that does not say what Python type they have may be
    anything, lists too.
    """
    try:
        return issubclass(column_type.python_type, _IMMUTABLE)
    except NotImplementedError:  # SQLAlchemy's answer for such a type
        return False


class Table:
    """One of Nova's tables, as the native functions know it."""

    def __init__(self, model):
        mapper = sa.inspect(model)
        table = model.__table__
        self.model = model
        self.name = table.name
        self.columns = tuple(column.key for column in table.columns)
        self.key = tuple(column.key for column in table.primary_key)
        self.relationships = frozenset(mapper.relationships.keys())
        self.deferred = frozenset(
            attribute.key for attribute in mapper.column_attrs
            if attribute.deferred)
        automatic = table.autoincrement_column
        self.auto_id = None if automatic is None else automatic.key
        self.template = dict.fromkeys(self.columns)
        self.result_processors = []
        self.bind_processors = {}
        self.defaults = []
        self.onupdates = []
        self.required = []
        self.booleans = set()
        #: Rows of one record can share the values of its columns.
        self._is_copied = True
        for column in table.columns:
            self._add_column(column)
        self.row_class = self._make_row_class(model)

    def _add_column(self, column):
        implementation = column.type.dialect_impl(_DIALECT)
        process = implementation.result_processor(_DIALECT, None)
        if process is not None:
            self.result_processors.append((column.key, process))
            self._is_copied = self._is_copied and _is_immutable(column.type)
        process = implementation.bind_processor(_DIALECT)
        if process is not None:
            self.bind_processors[column.key] = process
        if isinstance(column.type, sa.Boolean):
            self.booleans.add(column.key)
        if column.default is not None:
            self.defaults.append((column.key, _default(column.default)))
        elif column.server_default is not None:
            text = column.server_default.arg
            self.defaults.append((column.key, lambda: text))
        if column.onupdate is not None:
            self.onupdates.append((column.key, _default(column.onupdate)))
        if not column.nullable and column.key != self.auto_id and (
                column.server_default is None):
            self.required.append(column.key)

    def _make_row_class(self, model):
        namespace = {"_table": self, "__module__": __name__}
        for klass in reversed(model.__mro__):
            for name, value in vars(klass).items():
                if isinstance(value, property):
                    namespace[name] = value
        if "name" in namespace and self.name == "instances":
            namespace["name"] = property(instance_name)
        return type(model.__name__, (Row,), namespace)

    def row(self, record, keeps_record=True):
        """Return a stored record as a Row.

        :param keeps_record: False if the Row will not be changed in the
            store. Without the record, garbage collection need not look into
            the values.
        """
        values = self.values(record)
        if keeps_record:
            values["_record"] = record
        row = self.row_class()
        row.__dict__ = values
        return row

    def values(self, record):
        """Return a stored record's columns as Python values, a new dict."""
        if type(record) is access.CachedRecord and self._is_copied:
            # To copy a dictionary is several times as fast as to make it.
            made = record.made
            if made is None or made[0] is not self:
                made = record.made = self, self._values(record)
            return made[1].copy()
        return self._values(record)

    def _values(self, record):
        values = {**self.template, **record.values}
        if len(values) != len(self.template):
            # A column that Nova no longer maps.
            values = {name: values[name] for name in self.columns}
        for name, process in self.result_processors:
            value = values[name]
            if value is not None:
                values[name] = process(value)
        return values

    def defer(self, row, kept):
        """Take away a row's deferred columns that were not asked for."""
        for name in self.deferred.difference(kept):
            del row.__dict__[name]

    def new(self, values):
        """Return a Row that is not stored yet, with the model's defaults.

        :param values: column values and attributes, in Python's types.
        """
        attributes = {**self.template, **values}
        for name, make in self.defaults:
            if attributes[name] is None:
                attributes[name] = make()
        row = self.row_class()
        row.__dict__ = attributes
        return row

    def bind(self, name, value):
        """Return a value as the column's type binds it for SQLite.

        :raises oslo_db.exception.DBError: if the type refuses it.
        """
        process = self.bind_processors.get(name)
        if process is None:
            return value
        try:
            return process(value)
        except (LookupError, TypeError, ValueError) as error:
            raise db_exc.DBError(error) from error

    def bind_row(self, row):
        """Return a row's columns as SQLite stores them, without the NULLs.

        :raises oslo_db.exception.DBError: if a value is missing or refused.
        """
        attributes = row.__dict__
        for name in self.required:
            if attributes[name] is None:
                raise db_exc.DBError("NOT NULL constraint failed: %s.%s"
                                     % (self.name, name))
        processors = self.bind_processors
        stored = {}
        for name in self.columns:
            value = attributes[name]
            if value is not None:
                stored[name] = (self.bind(name, value)
                                if name in processors else value)
        return stored


_tables = {}


def table(model):
    """Return the Table of one of Nova's models."""
    found = _tables.get(model)
    if found is None:
        found = _tables[model] = Table(model)
    return found
