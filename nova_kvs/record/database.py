# SPDX-License-Identifier: Apache-2.0
"""A database: its store, schema, ids and turns at housekeeping."""

import contextlib
import contextvars
import dataclasses
import functools
import logging
import math
import os
import time

from nova_kvs import exceptions
from nova_kvs import metrics
from nova_kvs.record import counters
from nova_kvs.record import format as stored_format
from nova_kvs.record import housekeeping
from nova_kvs.record import importing
from nova_kvs.record import remembered
from nova_kvs.record import runner
from nova_kvs.record import schema as record_schema
from nova_kvs.record import transaction
from nova_kvs.store import base
from nova_kvs.store import freeing
from nova_kvs.store import registry
from nova_kvs.txn import coordinator
from nova_kvs.txn import reading

LOG = logging.getLogger(__name__)

#: Seconds for which a process may miss another one's change of the schema.
SCHEMA_CHECK_S = 3
#: No commit is made by a schema that was looked at longer ago.
SCHEMA_AGE_S = 60
#: Seconds between the turns at housekeeping of a process that uses a
#: database, the same when nothing was due the last time, and the tasks that it
#: takes from each bucket of the queue.
HOUSEKEEPING_S = 2
HOUSEKEEPING_IDLE_S = 10
HOUSEKEEPING_ITEMS = 4

_databases = {}
_masters_only = contextvars.ContextVar("nova_kvs_masters_only", default=False)
_serializable = contextvars.ContextVar(
    "nova_kvs_serializable", default=False)


@contextlib.contextmanager
def reading_masters():
    """Let transactions that begin in this block read masters only."""
    token = _masters_only.set(True)
    try:
        yield
    finally:
        _masters_only.reset(token)


@contextlib.contextmanager
def serializable():
    """Let the dialect's transactions that begin in this block be so."""
    token = _serializable.set(True)
    try:
        yield
    finally:
        _serializable.reset(token)


def asks_serializable():
    """Return whether this is run in a block of ``serializable``."""
    return _serializable.get()


def may_lag():
    """Return whether what is read now may come from replicas."""
    return not _masters_only.get() and any(
        database.may_lag for database in list(_databases.values()))


def open_database(url, **options):
    """Return the database that a URL names, the same one each time.

    :param url: str or SQLAlchemy URL.
    :param options: values of [nova_kvs] options that win over the URL's and
        the configuration file's.
    :raises nova_kvs.exceptions.ConfigurationError: if the URL is wrong.
    :raises nova_kvs.exceptions.FormatVersionError: if a newer nova-kvs
        wrote the database.
    :raises nova_kvs.exceptions.StoreUnavailableError: if the store does not
        answer.
    """
    shortcut = None
    if type(url) is str:
        shortcut = (os.getpid(), url, tuple(sorted(options.items())))
        if shortcut in _databases:
            return _databases[shortcut]
    parsed = registry.parse_url(url)
    settings = parsed.settings(**options)
    key = (os.getpid(), registry.get_store(parsed, options=options),
           parsed.database, settings.key())
    database = _databases.get(key)
    if database is None:
        database = Database(key[1], parsed.database, settings)
        database.refresh_schema()
        database = _databases.setdefault(key, database)
        metrics.watch(database, settings)
    if shortcut is not None:
        _databases[shortcut] = database
    return database


@dataclasses.dataclass
class Stats:
    """Counters of a process's work with a database's records."""

    full_scans: int = 0


class Database:
    """One database, as one process knows it. Safe for threads.

    :param store: nova_kvs.store.base.Store.
    :param name: the database's name.
    :param settings: nova_kvs.store.url.Settings.
    :param failpoint: as for nova_kvs.txn.coordinator.Coordinator.
    """

    #: nova_kvs.observing.Observer; None where nothing is timed.
    observer = None

    def __init__(self, store, name, settings, failpoint=None):
        self.name = name
        self.store = store
        # There is nothing to wait for if what was acknowledged is never lost.
        self._replicas = (
            0 if base.Characteristics.DURABLE in store.CHARACTERISTICS
            else settings.commit_replicas)
        #: A transaction that only reads may get something else than what the
        #: masters have at that moment.
        self.may_lag = settings.read_from in ("nearest", "memory")
        #: Masters can be asked at all for what is read.
        self.reads_masters = settings.read_from != "replica"
        self._replica_timeout_ms = int(
            settings.commit_replicas_timeout * 1000)
        #: One step of the store commits several partitions.
        self.is_atomic = base.Characteristics.ATOMIC in store.CHARACTERISTICS
        lifetime_ms = int(settings.transaction_lifetime * 1000)
        # What is sent last may be repeated for failover_timeout.
        side_write_life_ms = int(1000 * max(
            settings.index_grace - settings.failover_timeout,
            settings.transaction_lifetime))
        self.coordinator = coordinator.Coordinator(
            store, name, lifetime_ms=lifetime_ms,
            commit_replicas=self._replicas,
            replica_timeout_ms=self._replica_timeout_ms,
            side_write_life_ms=side_write_life_ms, atomic=self.is_atomic,
            failpoint=failpoint, reapplies=settings.reapply_lost_commits)
        #: For how long a commit may be applied when its time is over.
        self.held_up_ms = store.held_up_ms(
            self.coordinator.recovery.lives.outcome_ms)
        self.stats = Stats()
        self.schema = record_schema.Schema(0, (), {}, stored_format.NEW)
        self.remembered = remembered.Remembered()
        self.grace_ms = int(settings.index_grace * 1000)
        #: For how long a partition that held a record when it was read is
        #: taken to be listed: it takes two graces to tidy it away.
        self.listed_s = max(0, min(
            settings.index_grace / 2, 2 * settings.index_grace
            - settings.transaction_lifetime - self.held_up_ms / 1000))
        #: The dialect enforces foreign keys, unless told otherwise.
        self.checks_foreign_keys = settings.foreign_keys
        self.counters = counters.Counters(
            store, name, settings.id_block_size or counters.FIRST_BLOCK,
            self._replicas, self._replica_timeout_ms)
        self._meta = stored_format.partition(name)
        self._check = reading.FieldsRead(
            self._meta, (stored_format.VERSION_FIELD,))
        self._check_at = 0.0
        #: time.monotonic() when the stored schema was looked at.
        self.checked_at = -math.inf
        #: It was seen that no import is going on.
        self._is_complete = False
        self._housekeeping_at = time.monotonic() + HOUSEKEEPING_S
        self._housekeeper = housekeeping.Housekeeper(self)

    def begin(self, speculates=False, may_lag=False, serializable=False,
              after=None):
        """Return a new transaction; costs nothing in the store.

        :param speculates: as of RecordTransaction.
        :param may_lag: whether what it reads may lag, where ``read_from``
            allows it.
        :param serializable: as of RecordTransaction.
        :param after: RecordTransaction whose speculation was wrong: the new
            one takes over its ids, and what its commit has learned.
        """
        return transaction.RecordTransaction(
            self, speculates, may_lag and self.may_lag
            and not _masters_only.get(), serializable, after)

    def run(self, function, mode=runner.Mode.WRITE):
        """Run a function in a transaction, as ``nova_kvs.record.runner``."""
        return runner.run(self, function, mode)

    # Schema -----------------------------------------------------------------

    def refresh_schema(self):
        """Read the stored schema now, if it is another one than known.

        :returns: the schema.
        :raises nova_kvs.exceptions.FormatVersionError: if a newer nova-kvs
            wrote the database.
        """
        snapshot, server_ms = self.coordinator.read([
            reading.PartitionRead(self._meta),
            reading.ClockRead(self._meta)])
        self.coordinator.learn_clock(server_ms)
        self._see_checked()
        version, state = stored_format.schema_version(snapshot, self.name)
        if version != self.schema.version:
            self.adopt_schema(self.make_schema(
                stored_format.schema_ddl(snapshot), state), version)
        return self.schema

    def check_import(self):
        """Refuse a database that holds a half import; looks once.

        :raises nova_kvs.exceptions.IncompleteImportError: if an import into
            it is not complete.
        """
        if not self._is_complete:
            importing.check_complete(self.coordinator, self.name)
            self._is_complete = True

    def schema_read(self):
        """Return the read that tells the schema's version, if it is due."""
        now = time.monotonic()
        if now < self._check_at:
            return None
        self._check_at = now + SCHEMA_CHECK_S
        return self._check

    def see_schema(self, snapshot):
        """Take note of what ``schema_read`` gave."""
        self._see_checked()
        version, _ = stored_format.schema_version(snapshot, self.name)
        if version != self.schema.version:
            self.refresh_schema()

    def _see_checked(self):
        """Note that what is stored now was looked at."""
        self.checked_at = time.monotonic()
        self._check_at = self.checked_at + SCHEMA_CHECK_S

    def check_writer(self, schema):
        """Refuse to commit what was made by a schema that may be outdated.

        Whoever builds an index waits for ``SCHEMA_AGE_S`` and a commit's
        life: by then every row that is written has its entries.

        :param schema: the one that a transaction began with.
        :raises nova_kvs.exceptions.ConflictError: if there is another one
            now: run the transaction again.
        """
        if time.monotonic() - self.checked_at > SCHEMA_AGE_S:
            self.refresh_schema()
        if schema.version != self.schema.version:
            raise exceptions.ConflictError()

    @staticmethod
    def make_schema(ddl, state):
        """Return the Schema of DDL statements.

        :param state: nova_kvs.record.format.State of the database.
        """
        return _schema_of(tuple(ddl), state)

    def adopt_schema(self, schema, version):
        """Use a schema that is stored with a version."""
        self.schema = record_schema.Schema(
            version, schema.ddl, schema.tables, schema.state)
        # It may be another database by the same name.
        self.remembered.lasting.clear()

    # Ids --------------------------------------------------------------------

    def next_ids(self, table_name, count=1):
        """Return the first of consecutive new ids of a table.

        :raises nova_kvs.exceptions.StoreUnavailableError: as
            nova_kvs.record.counters.Counters.next.
        """
        first = self.counters.next(table_name, count)
        if table_name in self.schema.children:
            self.remembered.add_new_ids(
                table_name, range(first, first + count))
        return first

    # Housekeeping -----------------------------------------------------------

    def housekeep(self):
        """Do the housekeeping that is due.

        :returns: number of items done.
        """
        with freeing.freeing_memory():
            return self.coordinator.queue.run_all()

    def keep_house(self, now):
        """Do a little housekeeping now and then, with a read or a commit.

        And that of one other database of this process on the same servers:
        one that nobody uses would keep what its last commits have queued.
        Nobody waits for tasks: those that have come are done the next time.
        """
        if now < self._housekeeping_at or not self.reads_masters:
            return
        self._keep_house(now)
        others = [one for one in list(_databases.values())
                  if one.store is self.store and now >= one._housekeeping_at]
        if others:
            min(others, key=lambda one: one._housekeeping_at)._keep_house(now)

    def _keep_house(self, now):
        def wake():
            self._housekeeping_at = now

        queue = self.coordinator.queue
        self._housekeeping_at = now + HOUSEKEEPING_IDLE_S
        try:
            with freeing.freeing_memory():
                if not queue.has_leased:
                    # They come with the next replies of their servers.
                    queue.post_lease(HOUSEKEEPING_ITEMS, wake)
                if queue.run_leased():
                    self._housekeeping_at = now + HOUSEKEEPING_S
            self.coordinator.tell_losses()
        except exceptions.KVSError as error:
            # What it was done along with is done; this work comes back.
            LOG.warning("Housekeeping of database %s will be tried again: "
                        "%s", self.name, error)


@functools.lru_cache(maxsize=8)
def _schema_of(ddl, state):
    return record_schema.Schema.from_ddl(ddl, state=state)
