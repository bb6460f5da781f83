# SPDX-License-Identifier: Apache-2.0
"""oslo.db's errors for the dialect, read off ``error.orig``."""

import functools

from oslo_db import exception
from oslo_db.sqlalchemy import exc_filters
from sqlalchemy import exc

from nova_kvs.compatibility import private
from nova_kvs.dialect import placement
from nova_kvs import exceptions
from nova_kvs import translation


def oslo_error(cause, original):
    """Return oslo.db's error for an internal one, or None.

    :param cause: nova_kvs.exceptions.KVSError, or None.
    :param original: what ``inner_exception`` of the result is.
    """
    if cause is None:
        return None
    if isinstance(cause, exceptions.DuplicateKeyError) and (
            cause.table in placement.FILLED_AT_START):
        return exception.DBDeadlock(original)
    return translation.oslo_error(cause, original)


def _raise_oslo_error(error, match, engine_name, is_disconnect):
    found = oslo_error(
        getattr(getattr(error, "orig", error), "kvs_error", None), error)
    if found is not None:
        raise found


@functools.cache
def register():
    """Register the filters with oslo.db, once.

    Ours come first; for what SQLite itself raises, SQLite's follow.
    """
    exc_filters.filters("kvs", exc.DBAPIError, r".*")(_raise_oslo_error)
    for kind in (exc.OperationalError, exc.IntegrityError,
                 exc.InternalError, exc.NotSupportedError):
        exc_filters.filters("kvs", kind, r".*")(_raise_oslo_error)
    registered = getattr(exc_filters, private.FILTERS, None)
    if isinstance(registered, dict):
        for kind, found in registered["sqlite"].items():
            registered["kvs"][kind].extend(found)
