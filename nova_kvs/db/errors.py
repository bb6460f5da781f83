# SPDX-License-Identifier: Apache-2.0
"""Internal errors as the oslo.db errors that Nova handles."""

import sqlite3

from oslo_db import exception as db_exc

from nova_kvs import exceptions

#: What ``translate`` is for.
INTERNAL = (exceptions.KVSError, OverflowError, UnicodeEncodeError)


class Fallback(Exception):
    """Raised by a native function for a call that Nova's own must do."""


def translate(error):
    """Return the oslo.db exception for an internal error.

    :param error: a KVSError, or what a value that cannot be stored raises:
        OverflowError of an integer beyond 64 bits, UnicodeEncodeError of
        text that is not Unicode.
    :returns: an exception to raise from it.
    """
    if isinstance(error, UnicodeEncodeError):
        return db_exc.DBInvalidUnicodeParameter()
    if isinstance(error, exceptions.ConflictError):
        return db_exc.DBDeadlock(error)
    if isinstance(error, exceptions.DuplicateKeyError):
        # In SQLite's words, as on the dialect: some look for them.
        text = "UNIQUE constraint failed: " + ", ".join(
            "%s.%s" % (error.table, column) for column in error.columns)
        return db_exc.DBDuplicateEntry(
            inner_exception=sqlite3.IntegrityError(text),
            columns=list(error.columns),
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
