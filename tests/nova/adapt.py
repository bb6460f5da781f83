# SPDX-License-Identifier: Apache-2.0
"""All that is changed around Nova's and Placement's tests to run them here.

No test is touched. Their fixtures use SQLite in four ways that another
database cannot follow by the URL alone:

1. ``sqlite://`` is a new, empty database in each engine that is made of it.
   Nova's configuration gets a URL of ours instead, so that it shows the
   scheme that an operator's would, and each engine that oslo.db makes of
   exactly that URL, or of ``sqlite://``, gets a database with a new name.
2. Nova's ``Database`` and ``CellDatabases`` migrate once a process, keep the
   database as SQL text (``iterdump`` of the DBAPI connection) and run that
   text on each new connection (``executescript``). Our connections get these
   two methods here: the first also remembers the stored keys, the second
   copies those under the new database's name instead of running the text.
   Text that did not come from our ``iterdump`` is run.
3. With native threads Nova's fixtures use temporary SQLite files. The
   function that makes one gives a URL of ours.
4. oslo.db's provisioning (Placement's ``Database`` and the migration tests of
   both) knows what to do by the name of the dialect. ``kvs`` is added to it
   and takes the place of ``sqlite`` as its default; dropping all objects
   drops the database, as with SQLite.

With mixed cells, every other cell database of a test stays on SQLite, so that
servers of both kinds of cells are listed and moved together.

What SQLite loses with its engine is dropped here by ``forget``, which the
worker calls when a batch of tests is done.
"""

import collections
import importlib
import itertools
import os
import sqlite3

from oslo_db.sqlalchemy import engines
from oslo_db.sqlalchemy import provision
from oslo_db.sqlalchemy import test_fixtures
from oslo_db.sqlalchemy import utils
import sqlalchemy

from nova_kvs import conf
from nova_kvs.dialect import dbapi
from nova_kvs import keyspace
from nova_kvs.record import database as databases
from nova_kvs.store.etcd import driver
from nova_kvs.store import operations
from nova_kvs.store.redis import memory
from nova_kvs.store.redis import raw
from nova_kvs.store import registry
from tests.nova import etcd_copies

_numbers = itertools.count()
#: Names of the databases made since the last ``forget``.
_used = set()
#: What the engines of this process were made on: scheme -> number.
engines_made = collections.Counter()
#: SQL text of a database -> the keys it had: name, kind and content.
_templates = {}


class _Target:
    """Where the databases of this process are.

    :param template: URL with the database name ``template``.
    """

    def __init__(self, template):
        self.template = template
        #: True while a cell database is made that stays on SQLite.
        self.keeps_sqlite = False

    def new_url(self):
        """Return the URL of a database that nobody uses.

        Names are of one length: see :func:`_restore`.
        """
        name = 't%09d%06d' % (os.getpid(), next(_numbers))
        url = sqlalchemy.make_url(self.template).set(database=name)
        _used.add(name)
        return url.render_as_string(hide_password=False)


def install(project, template, native, mixed_cells):
    """Adapt the fixtures; before any test module is imported.

    :param project: ``nova``, ``placement`` or another service.
    :param template: URL whose database name is ``template``.
    :param native: whether to use the native functions.
    :param mixed_cells: whether every other cell stays on SQLite.
    """
    target = _Target(template)
    if not native:
        # Fixtures clear what is set on a configuration, and not all tests
        # use Nova's: so the option itself changes.
        option, = (one for one in conf.OPTS if one.name == 'db_api')
        option.default = 'none'
    _adapt_engines(target)
    _adapt_connections()
    _adapt_provisioning(target)
    if project == 'nova':
        _adapt_nova(target)
        if mixed_cells:
            _mix_cells(target)
    elif project == 'neutron':
        # Its fixtures ask for SQLite by this name.
        backends = provision.Backend.backends_by_database_type
        backends['sqlite'] = backends['kvs']


def wrong_native(native):
    """Tell what is wrong with the native functions, if anything.

    :param native: whether they should be in front of Nova's.
    :returns: a sentence, or ''.
    """
    if not any(scheme.startswith('kvs') for scheme in engines_made):
        # They come with the first engine.
        return ''
    from nova_kvs.db import native as native_functions

    from nova_kvs.db.placement import native as placement_functions

    count = sum(getattr(function, 'nova_original', None) is not None
                for registry in (native_functions.REGISTRY,
                                 placement_functions.REGISTRY)
                for function in registry.values())
    if bool(count) == native:
        return ''
    return f'{count} native functions are in front'


def _adapt_engines(target):
    create_engine = engines.create_engine

    def create(sql_connection, *args, **kwargs):
        if str(sql_connection) in ('sqlite://', target.template):
            sql_connection = ('sqlite://' if target.keeps_sqlite
                              else target.new_url())
        engines_made[utils.make_url(sql_connection).drivername] += 1
        return create_engine(sql_connection, *args, **kwargs)

    engines.create_engine = create


def _nova_fixtures():
    # As an attribute of its package the name is Nova's top package.
    return importlib.import_module('nova.tests.fixtures.nova')


def _adapt_nova(target):
    from nova.tests.fixtures import conf as conf_fixtures

    nova_fixtures = _nova_fixtures()
    set_up = conf_fixtures.ConfFixture.setUp

    def set_up_on_kvs(self):
        set_up(self)
        for group in ('api_database', 'database'):
            self.conf.set_default('connection', target.template, group=group)

    conf_fixtures.ConfFixture.setUp = set_up_on_kvs
    # Since Nova 34.
    if hasattr(nova_fixtures, '_use_file_backed_sqlite_with_wal'):
        nova_fixtures._use_file_backed_sqlite_with_wal = (
            lambda name: (target.new_url(), None))


def _mix_cells(target):
    nova_fixtures = _nova_fixtures()
    add = nova_fixtures.CellDatabases.add_cell_database

    def add_mixed(self, connection_str, default=False):
        target.keeps_sqlite = len(self._ctxt_mgrs) % 2 == 1
        try:
            add(self, connection_str, default=default)
        finally:
            target.keeps_sqlite = False

    nova_fixtures.CellDatabases.add_cell_database = add_mixed


def _adapt_provisioning(target):
    @provision.BackendImpl.impl.dispatch_for('kvs')
    class KVSBackendImpl(provision.BackendImpl):

        def create_opportunistic_driver_url(self):
            return target.template

        def create_named_database(self, engine, ident, conditional=False):
            """Do nothing: a database is there when it is used."""

        def drop_named_database(self, engine, ident, conditional=False):
            """Do nothing: ``forget`` will."""

        def drop_all_objects(self, engine):
            with engine.connect() as connection:
                owner = connection.connection.dbapi_connection
                _drop(owner.workspace.database)

        def provisioned_database_url(self, base_url, ident):
            return utils.make_url(target.new_url())

    provision.Backend.backends_by_database_type['kvs'] = provision.Backend(
        'kvs', utils.make_url(target.template))
    test_fixtures.BaseDbFixture.DRIVER = 'kvs'
    init = test_fixtures.AdHocDbFixture.__init__

    def init_on_kvs(self, url=None):
        init(self, target.template if url in (None, 'sqlite://') else url)

    test_fixtures.AdHocDbFixture.__init__ = init_on_kvs


def _adapt_connections():
    def iterdump(self):
        text = _dump(self)
        _templates[text] = _snapshot(self.workspace.database)
        return iter([text])

    def executescript(self, script):
        keys = _templates.get(script)
        if keys is None:
            # Of an SQLite database; the next time it need not be run.
            self.cursor().executescript(script)
            self.commit()
            _templates[script] = _snapshot(self.workspace.database)
        else:
            _restore(keys, self.workspace.database)

    dbapi.Connection.iterdump = iterdump
    dbapi.Connection.executescript = executescript


def _dump(connection):
    """Return a database as SQL text, as sqlite3's ``iterdump`` does."""
    plain = sqlite3.connect(':memory:')
    try:
        for ddl in connection.workspace.database.schema.ddl:
            plain.execute(ddl)
        for name, in plain.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
                " AND name NOT LIKE 'sqlite_%'").fetchall():
            rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
            if rows:
                marks = ', '.join('?' * len(rows[0]))
                plain.executemany(
                    f'INSERT INTO "{name}" VALUES ({marks})', rows)
        connection.rollback()
        return ''.join(plain.iterdump())
    finally:
        plain.close()


def _keys(database):
    return sorted(set(database.store.scan(
        keyspace.database_pattern(database.name))))


def _command(key, *args):
    return raw.Command(key, (args[0], key, *args[1:]))


_READS = {
    b'hash': (b'HGETALL',),
    b'zset': (b'ZRANGE', 0, -1, b'WITHSCORES'),
    b'string': (b'GET',),
}


def _snapshot(database):
    """Return what a database has stored.

    :returns: the database's name, and the commands that write its keys; of
        etcd, its own keys and values.
    """
    store = database.store
    if isinstance(store, driver.EtcdStore):
        return database.name, etcd_copies.read(
            store, keyspace.database_pattern(database.name)[:-1])
    keys = _keys(database)
    kinds = store.batch([_command(key, b'TYPE') for key in keys])
    values = store.batch([
        _command(key, *_READS[kind]) for key, kind in zip(keys, kinds)])
    commands = []
    for key, kind, value in zip(keys, kinds, values):
        if kind == b'hash':
            commands.append(_command(key, b'HSET', *value))
        elif kind == b'zset':
            pairs = itertools.chain.from_iterable(
                zip(value[1::2], value[::2]))
            commands.append(_command(key, b'ZADD', *pairs))
        else:
            commands.append(_command(key, b'SET', value))
    return database.name, commands


def _restore(snapshot, database):
    """Write what another database had stored into this one.

    Keys and some values hold the database's name. All names are of one
    length, so lengths that are stored in front of something stay right.
    """
    name, commands = snapshot
    old = b'{%s:' % name.encode()
    new = b'{%s:' % database.name.encode()
    _drop(database)
    if isinstance(database.store, driver.EtcdStore):
        etcd_copies.write(database.store, [
            (key.replace(old, new), value.replace(old, new))
            for key, value in commands])
        database.refresh_schema()
        return
    database.store.batch([
        raw.Command(command.key.replace(old, new), tuple(
            arg.replace(old, new) if isinstance(arg, bytes) else arg
            for arg in command.args))
        for command in commands])
    database.refresh_schema()


def _drop(database):
    keys = _keys(database)
    if keys:
        database.store.batch([operations.Delete(key) for key in keys])
    # Connections hold on to the object, so what it knows goes, not itself.
    database.__init__(database.store, database.name, database.store.settings)
    database.refresh_schema()


def forget():
    """Drop every database that was made since the last call."""
    for key, database in list(databases._databases.items()):
        if database.name not in _used:
            continue
        del databases._databases[key]
        keys = _keys(database)
        if keys:
            database.store.batch([operations.Delete(key) for key in keys])
    for key in [key for key, store in registry._stores.items()
                if getattr(store.url, 'database', None) in _used
                and isinstance(store, memory.MemoryStore)]:
        del registry._stores[key]
    for name in _used:
        memory._servers.pop(name, None)
    _used.clear()
