# SPDX-License-Identifier: Apache-2.0
"""Which KVS databases the engines of a transaction factory of oslo.db have.

Nothing here knows Nova or Placement.
"""

import os
import weakref

from nova_kvs.record import database

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
    by_thread = getattr(context, "_enginefacade_context", None)
    if by_thread is None:
        return False
    current = getattr(by_thread, "current", None)
    return current is not None and current.factory is factory


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
