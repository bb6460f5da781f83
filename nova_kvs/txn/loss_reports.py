# SPDX-License-Identifier: Apache-2.0
"""Keeps in the database what processes tell of lost commits.

For ``nova-kvs check`` and fsck: records of a partition beside the schema, of
which earlier versions take no notice.
"""

import logging
import os
import time

import msgpack

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.txn import mutation

#: Reports that are kept in a database, and how long all are kept after the
#: last.
REPORTS = 50
REPORTS_LIFE_MS = 30 * 24 * 3600 * 1000

LOG = logging.getLogger(__name__)


def _partition(database):
    """Return the partition of reports: beside the schema."""
    return keyspace.partition(database, "m", "lost")


def store_report(store, database, report):
    """Keep a report in the database, for ``nova-kvs check`` and fsck."""
    key = _partition(database).key
    field = keyspace.record_field("lost", (time.time(), os.urandom(4)))
    value = mutation.VERSION.pack(1) + msgpack.packb(report)
    try:
        *_, fields = store.batch([
            operations.PutField(key, field, value),
            operations.SetLife(key, REPORTS_LIFE_MS),
            operations.ListFields(key)])
        forget(store, database, sorted(fields)[:-REPORTS])
    except exceptions.KVSError as exc:
        LOG.warning("The report on lost commits could not be stored: %s", exc)


def reports(store, database):
    """Return what processes have told of lost commits, oldest first.

    :param store: nova_kvs.store.base.Store.
    :param database: the database's name.
    :returns: dict of field -> dict with ``at`` (seconds since the epoch),
        ``lost``, ``unknown`` and ``applied_again`` (numbers of commits),
        ``process`` and ``keys`` (some of them).
    :raises nova_kvs.exceptions.KVSError: as ``Store.batch``.
    """
    stored, = store.batch([operations.ReadAll(_partition(database).key)])
    return {field: msgpack.unpackb(value[mutation.VERSION.size:])
            for field, value in sorted(stored.items())}


def time_of(report):
    """Return when a report was made, as text: UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(report["at"]))


def forget(store, database, fields):
    """Remove reports."""
    if fields:
        key = _partition(database).key
        store.batch([operations.RemoveField(key, field) for field in fields])
