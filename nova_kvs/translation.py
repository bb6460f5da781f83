# SPDX-License-Identifier: Apache-2.0
"""The one table of errors: internal, PEP 249, oslo.db.

The dialect raises the second kind, of which oslo.db's filters make the third;
native functions raise the third at once. The PEP 249 classes are subclasses
of those of ``sqlite3``, which raises most errors of the dialect itself.
"""

import sqlite3
import typing

from oslo_db import exception as db_exception

from nova_kvs import exceptions


class _KVSMixin:
    """An error that nova-kvs raised.

    :ivar kvs_error: the nova_kvs.exceptions.KVSError behind it.
    """

    kvs_error = None
    #: True if the connection, and the store behind it, is of no use.
    is_disconnect = False


class ConflictOperationalError(_KVSMixin, sqlite3.OperationalError):
    """Nothing was applied: rerun the transaction."""


class ConnectionOperationalError(_KVSMixin, sqlite3.OperationalError):
    """The store does not answer."""

    is_disconnect = True


class KVSOperationalError(_KVSMixin, sqlite3.OperationalError):
    """The store, or what was configured, is wrong."""


class DuplicateIntegrityError(_KVSMixin, sqlite3.IntegrityError):
    """A unique key is taken."""


class ForeignKeyIntegrityError(_KVSMixin, sqlite3.IntegrityError):
    """A foreign key is violated."""


class KVSInternalError(_KVSMixin, sqlite3.InternalError):
    """The stored data is not as it should be."""


class KVSNotSupportedError(_KVSMixin, sqlite3.NotSupportedError):
    """The statement cannot be run."""


def _duplicate(error, original):
    """Return oslo.db's error for a DuplicateKeyError."""
    return db_exception.DBDuplicateEntry(
        columns=list(error.columns), inner_exception=original,
        value=",".join(str(value) for value in error.values))


def _reference(error, original):
    """Return oslo.db's error for a ForeignKeyError."""
    return db_exception.DBReferenceError(
        error.table, error.constraint, error.key, error.key_table,
        inner_exception=original)


def _made_of(kind):
    """Return the function that makes oslo.db's error of a class."""
    return lambda error, original: kind(original)


class Row(typing.NamedTuple):
    """The errors that one internal error becomes."""

    #: PEP 249 class, made of the text.
    dbapi: type
    #: Function of the internal error and of what is to be the
    #: ``inner_exception``, which returns oslo.db's error.
    oslo: typing.Callable


#: An error without a row of its own has that of its nearest base.
TABLE = {
    exceptions.KVSError: Row(
        KVSOperationalError, _made_of(db_exception.DBError)),
    exceptions.ConflictError: Row(
        ConflictOperationalError, _made_of(db_exception.DBDeadlock)),
    exceptions.UndeterminedError: Row(
        ConnectionOperationalError,
        _made_of(db_exception.DBConnectionError)),
    exceptions.StoreUnavailableError: Row(
        ConnectionOperationalError,
        _made_of(db_exception.DBConnectionError)),
    exceptions.DuplicateKeyError: Row(DuplicateIntegrityError, _duplicate),
    exceptions.ForeignKeyError: Row(ForeignKeyIntegrityError, _reference),
    exceptions.UnsupportedStatementError: Row(
        KVSNotSupportedError, _made_of(db_exception.DBNotSupportedError)),
    exceptions.FormatVersionError: Row(
        KVSInternalError, _made_of(db_exception.DBError)),
    exceptions.IncompleteImportError: Row(
        KVSInternalError, _made_of(db_exception.DBError)),
    exceptions.CorruptRecordError: Row(
        KVSInternalError, _made_of(db_exception.DBError)),
}


def row(error):
    """Return the Row of an internal error.

    :param error: nova_kvs.exceptions.KVSError.
    """
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def text(error):
    """Return the text of an internal error, as a database says it.

    :param error: nova_kvs.exceptions.KVSError.
    """
    if isinstance(error, exceptions.DuplicateKeyError):
        # In SQLite's words: some callers look for them.
        return "UNIQUE constraint failed: " + ", ".join(
            "%s.%s" % (error.table, column) for column in error.columns)
    if isinstance(error, exceptions.ForeignKeyError):
        # In SQLite's words, and the rest as MySQL tells it.
        return ("FOREIGN KEY constraint failed (%s, CONSTRAINT %s FOREIGN "
                "KEY (%s) REFERENCES %s)" % (
                    error.table, error.constraint, error.key,
                    error.key_table))
    return str(error)


def dbapi_error(error):
    """Return the PEP 249 error for an internal one.

    :param error: nova_kvs.exceptions.KVSError.
    """
    translated = row(error).dbapi(text(error))
    translated.kvs_error = error
    return translated


def oslo_error(error, original):
    """Return oslo.db's error for an internal one.

    :param error: nova_kvs.exceptions.KVSError.
    :param original: ``inner_exception`` of the result.
    """
    return row(error).oslo(error, original)
