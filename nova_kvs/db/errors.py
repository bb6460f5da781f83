# SPDX-License-Identifier: Apache-2.0
"""Internal errors as the oslo.db errors that Nova handles."""

from oslo_db import exception as db_exc

from nova_kvs import exceptions


class Fallback(Exception):
    """Raised by a native function for a call that Nova's own must do."""


def translate(error):
    """Return the oslo.db exception for an internal error.

    :param error: a KVSError.
    :returns: an exception to raise from it.
    """
    if isinstance(error, exceptions.ConflictError):
        return db_exc.DBDeadlock(error)
    if isinstance(error, exceptions.DuplicateKeyError):
        return db_exc.DBDuplicateEntry(
            inner_exception=error, columns=list(error.columns),
            value=",".join(str(value) for value in error.values))
    if isinstance(error, exceptions.ForeignKeyError):
        return db_exc.DBReferenceError(
            error.table, error.constraint, error.key, error.key_table,
            inner_exception=error)
    if isinstance(error, (exceptions.StoreUnavailableError,
                          exceptions.UndeterminedError)):
        return db_exc.DBConnectionError(error)
    if isinstance(error, exceptions.UnsupportedStatementError):
        return db_exc.DBNotSupportedError(error)
    return db_exc.DBError(error)
