# SPDX-License-Identifier: Apache-2.0
"""Two databases on which the same call of Nova's must do the same.

One is plain SQLite with Nova's own functions, the other a store with the
native ones. Both give out the same ids and see the same time.
"""

import collections
import contextlib
import copy
import datetime
import itertools
import sqlite3
from unittest import mock
import uuid

import hypothesis
from nova import conf
from nova import context as nova_context
from nova.db.api import api as api_db_api
from nova.db.api import models as api_models
from nova.db.main import api as main_db_api
from nova.db.main import models as main_models
from oslo_db.sqlalchemy import enginefacade
from oslo_utils import timeutils
from oslo_utils import uuidutils
import sqlalchemy as sa

from nova_kvs import conf as kvs_conf
from nova_kvs.db import dispatch
from nova_kvs.db import native
from nova_kvs.db import rows
from nova_kvs.db import session
from nova_kvs.record import access
from nova_kvs.record import database
from tests.differential import stores

CONF = conf.CONF
#: Ids between those of one call and those of the next.
STEP = 100


def context(project="p1", user="u1", is_admin=True, read_deleted="no"):
    """Return a request context."""
    return nova_context.RequestContext(
        user, project, is_admin=is_admin, read_deleted=read_deleted,
        request_id="req-1")


def create_all(base, engine):
    """Make a model base's tables, and shadows of what is soft-deleted."""
    base.metadata.create_all(engine)
    shadows = sa.MetaData()
    for name, table in base.metadata.tables.items():
        if "deleted" in table.columns:
            sa.Table("shadow_" + name, shadows, *[
                sa.Column(column.name, column.type,
                          primary_key=column.primary_key)
                for column in table.columns])
    shadows.create_all(engine)


def ddl(base):
    """Return the SQLite statements that make a model base's tables."""
    engine = sa.create_engine("sqlite://")
    create_all(base, engine)
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(sa.text(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL"))]


_MAIN_DDL = ddl(main_models.BASE)
_API_DDL = ddl(api_models.BASE)


class _Engine:
    """What the dispatch looks at of an engine of a KVS database."""

    def __init__(self, url):
        self.url = sa.make_url(url)


def kvs_factory(url):
    """Return an enginefacade factory whose engine has a KVS URL."""
    engine = _Engine(url)
    return enginefacade._TestTransactionFactory(
        engine, maker=None, apply_global=False)


class _Manager:
    """A context manager of enginefacade, of a KVS database."""

    def __init__(self, url):
        self._factory = kvs_factory(url)


class KVSCloud:
    """A cell's and an API database in the store that is compared."""

    def __init__(self):
        dispatch.load()
        self.main_url = stores.new_url("main")
        self.api_url = stores.new_url("api")
        self.main = self._make(self.main_url, _MAIN_DDL)
        self.api = self._make(self.api_url, _API_DDL)
        self.manager = _Manager(self.main_url)
        self.api_factory = kvs_factory(self.api_url)

    @staticmethod
    def _make(url, statements):
        made = database.open_database(url)
        transaction = made.begin()
        transaction.set_schema(statements)
        transaction.commit()
        return made

    def set_next_id(self, base, number):
        """Make every table's next id this number."""
        made = self.main if base is main_models.BASE else self.api
        # As if this process had reserved the ids.
        made.counters.raise_to(
            dict.fromkeys(made.schema.tables, number + STEP - 1))
        for name in made.schema.tables:
            made.counters._ids[name] = [number, number + STEP]

    def call(self, target, context, *args, **kwargs):
        """Call a native function."""
        context.db_connection = self.manager
        with _factories(self.manager._factory, self.api_factory):
            return native.REGISTRY[target](context, *args, **kwargs)

    def insert(self, model, values):
        """Store a row of the cell's database."""
        s = session.Session(self.main)
        s.insert(rows.table(model), values)
        s.commit()

    def rows(self, base):
        """Return all stored rows: table -> sorted list of dicts."""
        made = self.main if base is main_models.BASE else self.api
        names = list(made.schema.tables)
        found = made.begin().load([access.FullScan(name) for name in names])
        return {name: _sorted(record.values for record in records)
                for name, records in zip(names, found) if records}


class ServerCell(KVSCloud):
    """A cell's database on real servers, and no API database.

    :param url: of the database.
    """

    def __init__(self, url):
        dispatch.load()
        self.main = self.api = self._make(url, _MAIN_DDL)
        self.manager = _Manager(url)
        self.api_factory = kvs_factory(url)


class SQLiteCloud:
    """A cell's and an API database in SQLite, with Nova's functions."""

    def __init__(self):
        self.engines = {}
        self.next_ids = collections.defaultdict(lambda: itertools.count(1))
        self.manager = self._make(main_models.BASE)
        self.api_factory = self._make(api_models.BASE)._factory

    def _make(self, base):
        manager = enginefacade.transaction_context()
        manager.configure(connection="sqlite://")
        engine = manager.writer.get_engine()
        create_all(base, engine)
        self.engines[base] = engine
        return manager

    def set_next_id(self, base, number):
        """Make every table's next id this number."""
        self.next_ids = collections.defaultdict(
            lambda: itertools.count(number))

    def _give_id(self, mapper, connection, target):
        if "id" in mapper.columns and target.id is None:
            target.id = next(self.next_ids[mapper.local_table.name])

    @contextlib.contextmanager
    def _ids(self):
        mappers = [mapper for base in (main_models.BASE, api_models.BASE)
                   for mapper in base.registry.mappers]
        for mapper in mappers:
            sa.event.listen(mapper, "before_insert", self._give_id)
        try:
            yield
        finally:
            for mapper in mappers:
                sa.event.remove(mapper, "before_insert", self._give_id)

    def call(self, target, context, *args, **kwargs):
        """Call Nova's own function."""
        context.db_connection = self.manager
        with _factories(self.manager._factory, self.api_factory), (
                self._ids()):
            return native.original(target)(context, *args, **kwargs)

    def insert(self, model, values):
        """Store a row of the cell's database."""
        with self._ids(), self.manager.writer.using(context()) as orm:
            orm.add(model(**values))

    def rows(self, base):
        """Return all stored rows: table -> sorted list of dicts."""
        result = {}
        with self.engines[base].connect() as connection:
            raw = connection.connection.dbapi_connection
            raw.row_factory = sqlite3.Row
            for name in sa.inspect(connection).get_table_names():
                found = raw.execute("SELECT * FROM %s" % name).fetchall()
                if found:
                    result[name] = _sorted(
                        {key: row[key] for key in row.keys()
                         if row[key] is not None} for row in found)
            raw.row_factory = None
        return result


def _sorted(rows):
    return sorted((dict(row) for row in rows),
                  key=lambda row: sorted(
                      (name, str(value)) for name, value in row.items()))


class DialectCloud(SQLiteCloud):
    """The same store with Nova's functions on the SQLAlchemy dialect."""

    def __init__(self):
        kvs_conf.CONF.set_override("db_api", "none", "nova_kvs")
        self.cloud = KVSCloud()
        self.next_ids = collections.defaultdict(lambda: itertools.count(1))
        self.manager = self._connect(self.cloud.main_url)
        self.api_factory = self._connect(self.cloud.api_url)._factory

    @staticmethod
    def _connect(url):
        manager = enginefacade.transaction_context()
        manager.configure(connection=url)
        return manager

    def set_next_id(self, base, number):
        """Make every table's next id this number."""
        super().set_next_id(base, number)
        self.cloud.set_next_id(base, number)

    def rows(self, base):
        """Return all stored rows: table -> sorted list of dicts."""
        return self.cloud.rows(base)


def cases_of(machine):
    """Return the test cases of a state machine, one for each reference.

    :param machine: RuleBasedStateMachine whose attribute ``reference`` is
        the cloud that it compares the native functions with.
    :returns: the one with Nova's functions on SQLite, and the one with them
        on the dialect, which is slower and gets fewer examples.
    """
    cases = []
    for reference, examples in ((SQLiteCloud, 25), (DialectCloud, 8)):
        case = type(machine.__name__ + reference.__name__, (machine,),
                    {"reference": reference}).TestCase
        case.settings = hypothesis.settings(
            max_examples=examples, stateful_step_count=20, deadline=None)
        cases.append(case)
    return cases


@contextlib.contextmanager
def _factories(main, api):
    """Let Nova's default databases be those of a cloud."""
    managers = (main_db_api.context_manager, api_db_api.context_manager)
    before = [manager._root_factory for manager in managers]
    for manager, factory in zip(managers, (main, api)):
        manager._root_factory = factory
    try:
        yield
    finally:
        for manager, factory in zip(managers, before):
            manager._root_factory = factory


@contextlib.contextmanager
def _uuids(first):
    """Let generated UUIDs be the same on both."""
    numbers = itertools.count(first * 1000)
    with mock.patch.object(
            uuidutils, "generate_uuid",
            lambda dashed=True: str(uuid.UUID(int=next(numbers)))):
        yield


def _copy(context):
    return nova_context.RequestContext.from_dict(context.to_dict())


class Outcome:
    """What a call returned or raised."""

    def __init__(self, call, *args, **kwargs):
        self.result = None
        self.error = None
        try:
            self.result = call(*args, **kwargs)
        except Exception as error:  # Whatever it is, both must raise it.
            self.error = error


class Pair:
    """Both clouds; each call goes to both and is compared.

    :param reference: class of the cloud that runs Nova's own functions.
    """

    def __init__(self, reference=SQLiteCloud):
        CONF([], project="nova", default_config_files=[])
        self.reference = reference()
        self.kvs = KVSCloud()
        self._next_id = 1
        # Decides how lists are filtered by name, on both.
        CONF.set_override("connection", self.kvs.main_url, "database")
        timeutils.set_time_override(
            datetime.datetime(2026, 3, 1, 12, 0, 0, 250))

    def close(self):
        """Let the time run again."""
        timeutils.clear_time_override()
        CONF.clear_override("connection", "database")

    def call(self, target, context, *args, **kwargs):
        """Call a function on both and compare what comes back.

        :param target: a key of ``native.REGISTRY``; a plain name is in
            nova.db.main.api.
        :returns: what Nova's own returned, None if it raised.
        """
        if ":" not in target:
            target = "%s:%s" % (native.MAIN, target)
        return self._compare(target, lambda cloud: Outcome(
            cloud.call, target, _copy(context),
            *copy.deepcopy(args), **copy.deepcopy(kwargs)))

    def insert(self, model, **values):
        """Store a row that no function with a native version makes."""
        self._compare(model.__tablename__, lambda cloud: Outcome(
            cloud.insert, model, values))

    def _compare(self, what, run):
        timeutils.advance_time_seconds(1)
        outcomes = []
        for cloud in (self.reference, self.kvs):
            for base in (main_models.BASE, api_models.BASE):
                cloud.set_next_id(base, self._next_id)
            with _uuids(self._next_id):
                outcomes.append(run(cloud))
        self._next_id += STEP
        compare_outcomes(what, *outcomes)
        return outcomes[0].result

    def compare_rows(self, ignored=()):
        """Compare all rows that are left.

        :param ignored: "table.column" that may differ.
        """
        for base in (main_models.BASE, api_models.BASE):
            expected = self.reference.rows(base)
            actual = self.kvs.rows(base)
            for name in sorted(expected.keys() | actual.keys()):
                ours = _without(actual.get(name, []), name, ignored)
                novas = _without(expected.get(name, []), name, ignored)
                assert ours == novas, (
                    name, [row for row in ours if row not in novas],
                    [row for row in novas if row not in ours])


def _without(rows, table, ignored):
    columns = {item.split(".")[1] for item in ignored
               if item.split(".")[0] == table}
    return _sorted({name: value for name, value in row.items()
                    if name not in columns} for row in rows)


def compare_outcomes(target, expected, actual):
    """Raise AssertionError if two outcomes are not the same."""
    if expected.error is not None or actual.error is not None:
        if type(actual.error) is not type(expected.error):
            raise AssertionError("%s: %r, not %r" % (
                target, actual.error, expected.error)) from actual.error
        _compare_errors(target, expected.error, actual.error)
    else:
        compare(target, expected.result, actual.result)


def _compare_errors(where, expected, actual):
    for name in ("kwargs", "columns", "key", "table", "key_table"):
        assert getattr(actual, name, None) == getattr(
            expected, name, None), (where, name, actual, expected)
    if hasattr(expected, "kwargs"):
        assert str(actual) == str(expected), where


#: Functions whose result has an order.
ORDERED = frozenset(
    native.MAIN + ":" + name for name in (
        "actions_get", "action_events_get", "compute_node_get_all",
        "compute_node_get_all_by_pagination", "instance_get_all_by_filters",
        "instance_get_all_by_filters_sort",
        "instance_get_active_by_window_joined",
        "migration_get_all_by_filters", "virtual_interface_get_by_instance",
    )) | {
        "nova.objects.cell_mapping:CellMappingList._get_all_from_db",
        "nova.objects.flavor:_flavor_get_all_from_db",
        "nova.objects.keypair:_get_from_db"}


# The ORM is not asked for the ids of these: Nova inserts them with a plain
# statement.
_METADATA = rows.table(api_models.AggregateMetadata)


def _by_id(items):
    """Return rows sorted by id, UUIDs sorted; anything else as it is."""
    if items and all(isinstance(item, str) for item in items):
        return sorted(items)
    name = "id"
    if items and isinstance(items[0], api_models.AggregateMetadata):
        name = "key"
    elif items and getattr(items[0], "_table", None) is _METADATA:
        name = "key"
    try:
        return sorted(items, key=lambda item: item[name])
    except (AttributeError, KeyError, TypeError):
        return items


#: Relationships back to what a row hangs off: the ORM fills them in.
_BACK = {"instance", "instances", "flavor", "parent_group", "host_mapping",
         "instance_mapping", "usage"}


def compare(where, expected, actual):
    """Compare results, types included; related rows as far as loaded.

    A list that no ORDER BY sorts is compared as a set, by id.
    """
    if isinstance(expected, (main_models.BASE, api_models.BASE)):
        _compare_rows(where, expected, actual)
    elif isinstance(expected, sa.Row):
        for name, value in expected._mapping.items():
            compare("%s.%s" % (where, name), value, getattr(actual, name))
    elif isinstance(expected, dict):
        assert isinstance(actual, dict), where
        assert set(expected) == set(actual), (
            where, set(expected) ^ set(actual))
        for name, value in expected.items():
            compare("%s[%r]" % (where, name), value, actual[name])
    elif isinstance(expected, (list, tuple)):
        assert isinstance(actual, (list, tuple)), (where, actual)
        assert len(actual) == len(expected), (where, actual, expected)
        if where not in ORDERED:
            expected = _by_id(expected)
            actual = _by_id(actual)
        for number, (one, other) in enumerate(zip(expected, actual)):
            compare("%s[%d]" % (where, number), one, other)
    else:
        assert type(actual) is type(expected), (where, actual, expected)
        assert actual == expected, (where, actual, expected)


def _compare_rows(where, expected, actual):
    state = sa.inspect(expected)
    assert actual is not None, where
    for name, value in state.dict.items():
        if name.startswith("_sa_") or name in _BACK or (
                name == "id"
                and isinstance(expected, api_models.AggregateMetadata)):
            continue
        compare("%s.%s" % (where, name), value, getattr(actual, name))
