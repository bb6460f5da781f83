# SPDX-License-Identifier: Apache-2.0
"""Internal errors as the oslo.db errors that Nova handles."""

import sqlite3

from oslo_db import exception as db_exc

from nova_kvs import exceptions
from nova_kvs import translation

#: The errors that ``translate`` takes.
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
    if isinstance(error, OverflowError):
        return db_exc.DBError(error)
    if isinstance(error, exceptions.DuplicateKeyError):
        return translation.oslo_error(
            error, sqlite3.IntegrityError(translation.text(error)))
    return translation.oslo_error(error, error)
