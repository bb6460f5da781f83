# SPDX-License-Identifier: Apache-2.0
"""Finds the KVS databases of a transaction factory of oslo.db.

Nothing here knows Nova or Placement.
"""

import functools
import logging
import os
import weakref

from oslo_db.sqlalchemy import enginefacade

from nova_kvs.compatibility import private
from nova_kvs.record import database

LOG = logging.getLogger(__name__)

# Transaction factory of oslo.db -> (writer Database, reader Database).
_databases = weakref.WeakKeyDictionary()
os.register_at_fork(after_in_child=_databases.clear)


def _open(engine):
    url = engine.url
    if url.get_backend_name() != "kvs" or url.query.get("db_api") == "none":
        return None
    return database.open_database(url.render_as_string(hide_password=False))


def is_in_transaction(factory, context):
    """Tell whether a transaction of a factory is open on a context."""
    by_thread = getattr(context, private.ENGINEFACADE_CONTEXT, None)
    if by_thread is None:
        return False
    current = getattr(by_thread, "current", None)
    return current is not None and current.factory is factory


@functools.cache
def can_tell():
    """Tell whether this oslo.db shows what the functions above look at.

    It is tried, with a database of its own: to miss a transaction that is
    open would be worse than to be slow.
    """
    try:
        if _sees_transactions():
            return True
        reason = "it does not show the transactions that are open"
    except Exception as error:
        reason = "%s: %s" % (type(error).__name__, error)
    LOG.warning("Every function runs on the dialect, for this oslo.db is "
                "another than nova-kvs knows: %s", reason)
    return False


def _sees_transactions():
    manager = enginefacade.transaction_context()
    # Not "sqlite://", in the place of which tests put other databases.
    manager.configure(connection="sqlite:///:memory:")
    context = enginefacade.transaction_context_provider(
        type("Context", (), {}))()
    factory = getattr(manager, private.FACTORY)
    with manager.reader.using(context):
        inside = is_in_transaction(factory, context)
    return inside and not is_in_transaction(factory, context) and (
        factory.get_writer_engine() is factory.get_reader_engine())


def databases(factory):
    """Return the Databases of a factory, for writers and for readers.

    :returns: a pair, with None for an engine that is not for us: of another
        database, or of a URL with ``db_api=none``.
    """
    pair = _databases.get(factory)
    if pair is None:
        pair = _databases[factory] = (_open(factory.get_writer_engine()),
                                      _open(factory.get_reader_engine()))
    return pair
