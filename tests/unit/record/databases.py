# SPDX-License-Identifier: Apache-2.0
"""Databases that the tests of the record layer share."""

import contextlib
import copy

from nova_kvs.record import access
from nova_kvs.record import database as record_database
from nova_kvs.store import registry
from tests import base

DDL = (
    "CREATE TABLE instances (id INTEGER NOT NULL, uuid VARCHAR(36), "
    "project_id VARCHAR(255), host VARCHAR(255), deleted INTEGER, "
    "created_at DATETIME, display_name VARCHAR(255), PRIMARY KEY (id), "
    "CONSTRAINT uniq_instances0uuid UNIQUE (uuid))",
    "CREATE INDEX instances_host_idx ON instances (host)",
    "CREATE TABLE instance_metadata (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), key VARCHAR(255), value VARCHAR(255))",
    "CREATE TABLE block_device_mapping (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), volume_id VARCHAR(36), "
    "uuid VARCHAR(36), UNIQUE (uuid))",
    "CREATE TABLE virtual_interfaces (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), address VARCHAR(255), uuid VARCHAR(36), "
    "deleted INTEGER, UNIQUE (address, deleted))",
    "CREATE TABLE instance_actions (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), action VARCHAR(255))",
    "CREATE TABLE instance_actions_events (id INTEGER NOT NULL PRIMARY KEY, "
    "action_id INTEGER, event VARCHAR(255))",
    "CREATE TABLE shadow_instance_actions (id INTEGER NOT NULL PRIMARY KEY, "
    "instance_uuid VARCHAR(36), action VARCHAR(255))",
    "CREATE TABLE shadow_instance_actions_events (id INTEGER NOT NULL "
    "PRIMARY KEY, action_id INTEGER, event VARCHAR(255))",
    "CREATE TABLE tags (resource_id VARCHAR(36) NOT NULL, "
    "tag VARCHAR(80) NOT NULL, PRIMARY KEY (resource_id, tag))",
    "CREATE TABLE services (id INTEGER NOT NULL PRIMARY KEY, "
    "host VARCHAR(255), topic VARCHAR(255), report_count INTEGER, "
    "UNIQUE (host, topic))",
    "CREATE INDEX services_topic_idx ON services (topic, report_count)",
    "CREATE TABLE notes (author VARCHAR(255), text TEXT)",
)


def make(ddl=DDL, url=None, failpoint=None):
    """Return a database with a schema, as a process that just started has
    it. Its housekeeping is due at once.
    """
    database = open_again(url or base.memory_url(), failpoint)
    if ddl and not database.schema.version:
        tx = database.begin()
        tx.set_schema(ddl)
        tx.commit()
    return database


def open_again(url, failpoint=None, spread=False):
    """Return another process's view of a database.

    :param spread: as if its keys were on several servers.
    """
    parsed = registry.parse_url(url)
    store = registry.get_store(parsed)
    if spread:
        store = copy.copy(store)
        store.CHARACTERISTICS = frozenset()
    database = record_database.Database(
        store, parsed.database, parsed.settings(), failpoint)
    database.refresh_schema()
    database.grace_ms = 0
    return database


def another(database, spread=False):
    """Return another process's view of a database, as ``open_again``."""
    return open_again("kvs+memory:///" + database.name, spread=spread)


def insert(database, table, *rows):
    """Insert rows in one transaction."""
    tx = database.begin()
    records = [tx.insert(table, row) for row in rows]
    tx.commit()
    return records


def load(database, *accesses):
    """Return what accesses give, as lists of values in the keys' order."""
    return [[record.values for record in sorted(
        records, key=lambda record: record.key)]
        for records in database.begin().load(accesses)]


def one(tx, table, key):
    """Return the record with a primary key."""
    record, = tx.load([access.ByKey(table, (key,))])[0]
    return record


def update(database, table, key, **values):
    """Change some columns of one row."""
    tx = database.begin()
    record = one(tx, table, key)
    tx.update(record, {**record.values, **values})
    tx.commit()


def delete(database, table, *keys):
    """Delete rows in one transaction."""
    tx = database.begin()
    for key in keys:
        tx.delete(one(tx, table, key))
    tx.commit()


def tidy(database):
    """Do all housekeeping, also what housekeeping queues."""
    while database.housekeep():
        pass


@contextlib.contextmanager
def trips(database):
    """Give a list whose only item is, afterwards, the round trips made."""
    counted = [database.store.stats.round_trips]
    yield counted
    counted[0] = database.store.stats.round_trips - counted[0]


def wipe(database):
    """Remove every key of a database."""
    database.store.batch([
        base.command(b"DEL", key) for key in list(database.store.scan(
            b"*{%s:*" % database.name.encode()))])


def wipe_key(database, key):
    """Remove a key."""
    database.store.batch([base.command(b"DEL", key)])


def keys(database):
    """Return the keys of a database without its name.

    Without outcomes of transactions, id counters and the housekeeping
    queue: what they hold is not of the rows that are stored now. Nor with
    covers, which may get lost, and with the partial directories of whole
    tables, which keep what they have listed.
    """
    name = database.name.encode()
    found = set()
    for key in database.store.scan(b"*{" + name + b":*"):
        head, rest = key.split(b":", 1)[1].split(b"}", 1)
        part = head[len(name) + 2:]
        if rest.startswith(b"t") or part.startswith(
                (b"id:", b"gc:", b"h:.t.")) or (
                rest == b"c"):
            continue
        found.add((part, rest))
    return found
