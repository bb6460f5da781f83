# SPDX-License-Identifier: Apache-2.0
"""Databases of Placement's on which the same calls must do the same.

Plain SQLite and the dialect with Placement's own functions, and the native
ones on the same store as the dialect. They have to be ``installed``.
"""

import contextlib
import datetime

from oslo_config import cfg
from oslo_db.sqlalchemy import enginefacade
from placement import conf as placement_conf
from placement import context as placement_context
from placement.db.sqlalchemy import models
from placement import db_api
import sqlalchemy as sa

from nova_kvs.db import engines
from nova_kvs.db.placement import dispatch
from nova_kvs.db import rows as kvs_rows
from nova_kvs.db import session
from nova_kvs.record import access
from nova_kvs.record import database
from tests.differential import stores

NOW = datetime.datetime(2026, 3, 1, 12, 0, 0, 250)


def _ddl():
    engine = sa.create_engine("sqlite://")
    models.BASE.metadata.create_all(engine)
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(sa.text(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))]


_DDL = _ddl()


def config():
    """Return Placement's options, with their defaults."""
    made = cfg.ConfigOpts()
    placement_conf.register_opts(made)
    made.set_override("connection", "sqlite://", "placement_database")
    made([], project="placement", default_config_files=[])
    return made


_CONFIG = config()


def context():
    """Return a request's context."""
    return placement_context.RequestContext(
        config=_CONFIG, user_id="u", project_id="p")


def rows_of(values):
    """Return rows with everything that a table requires."""
    return [dict(row, created_at=NOW) for row in values]


@contextlib.contextmanager
def installed():
    """Put the native functions in front of Placement's."""
    dispatch.install()
    try:
        yield
    finally:
        dispatch.uninstall()


class SQLite:
    """Placement's functions on SQLite."""

    def __init__(self):
        self.manager = self._connect("sqlite://")
        models.BASE.metadata.create_all(self.manager.writer.get_engine())

    @staticmethod
    def _connect(url):
        manager = enginefacade.transaction_context()
        manager.configure(connection=url)
        manager.writer.get_engine()
        return manager

    def fill(self, rows):
        """Replace all rows of tables.

        :param rows: model -> list of dicts.
        """
        with self.manager.writer.get_engine().begin() as connection:
            for model, some in rows.items():
                connection.execute(model.__table__.delete())
                if some:
                    connection.execute(
                        model.__table__.insert(), rows_of(some))

    @contextlib.contextmanager
    def active(self):
        """Make it Placement's database."""
        reset = db_api.placement_context_manager.patch_factory(
            self.manager._factory)
        try:
            yield
        finally:
            reset()

    def call(self, function, *args, **kwargs):
        """Return what a function of a context and arguments returns."""
        with self.active():
            return function(context(), *args, **kwargs)


class Dialect(SQLite):
    """Placement's functions on the store that is compared."""

    def __init__(self):
        self.url = stores.new_url("placement")
        self.database = database.open_database(self.url)
        transaction = self.database.begin()
        transaction.set_schema(_DDL)
        transaction.commit()
        self.manager = self._connect(self.url)
        self._switch()

    def _switch(self):
        # As with ``db_api=none``, but on the store that the others use.
        engines._databases[self.manager._factory] = (None, None)

    def fill(self, rows):
        """Replace all rows of tables."""
        current = session.Session(self.database)
        found = [current.all(kvs_rows.table(model)) for model in rows]
        for model, before in zip(rows, found):
            current.delete(before)
            for row in rows_of(rows[model]):
                current.insert(kvs_rows.table(model), row)
        current.commit()

    def records(self):
        """Return what is stored: table -> {key: values}."""
        names = list(self.database.schema.tables)
        found = self.database.begin().load(
            [access.FullScan(name) for name in names])
        return {name: {record.key: record.values for record in records}
                for name, records in zip(names, found) if records}


class Native(Dialect):
    """The native functions, on a database of their own or another's.

    :param other: Dialect whose database it is.
    """

    def __init__(self, other=None):
        if other is None:
            super().__init__()
        else:
            self.url = other.url
            self.database = other.database
            self.manager = self._connect(self.url)

    def _switch(self):
        """Do not: they are on."""


def plain(value, depth=0):
    """Return something that can be compared, types included.

    Lists without an order, as all of these are, are sorted.
    """
    assert depth < 9, value
    if isinstance(value, sa.Row):
        value = value._asdict()
    if isinstance(value, dict) or hasattr(value, "items"):
        return {repr(key): plain(item, depth + 1)
                for key, item in value.items()}
    if isinstance(value, type({}.values())):
        value = list(value)
    if isinstance(value, (list, tuple, set, frozenset)) and not hasattr(
            value, "_fields"):
        kind = set if isinstance(value, (set, frozenset)) else type(value)
        items = [plain(item, depth + 1) for item in value]
        return kind.__name__, (items if kind is tuple
                               else sorted(items, key=repr))
    if hasattr(value, "__slots__") and not isinstance(value, (
            str, int, float, tuple, datetime.datetime)):
        return type(value).__name__, {
            name: plain(getattr(value, name), depth + 1)
            for name in value.__slots__ if name != "_context"}
    if hasattr(value, "__dict__") and type(value).__module__.startswith(
            "placement"):
        return type(value).__name__, {
            name: plain(item, depth + 1)
            for name, item in vars(value).items() if name != "_context"}
    return type(value).__name__, value


def outcome(side, function, *args, **kwargs):
    """Return what a call returns or raises, to be compared."""
    try:
        return plain(side.call(function, *args, **kwargs))
    except Exception as error:  # Whatever it is, all must raise it.
        return type(error), str(error)
