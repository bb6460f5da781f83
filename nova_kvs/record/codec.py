# SPDX-License-Identifier: Apache-2.0
"""A record's payload: a msgpack map from column to value, without Nones.

Invariant: ``decode(encode(values)) == values``, and any bytes that this
module did not write raise ``CorruptRecordError``.
"""

import msgpack

from nova_kvs import exceptions

# Lone surrogates, which no SQL database takes, are no text to store; but
# where they are, they can be read, as in keyspace.
_UNICODE_ERRORS = "surrogatepass"


def encode(values):
    """Return the payload of a record.

    :param values: dict of int, float, str and bytes, without Nones.
    :raises UnicodeEncodeError: if text is not: no statement of the dialect
        could read the row, nor could an export write it.
    """
    return msgpack.packb(values)


def decode(payload, where):
    """Return the values of a record.

    :param payload: what ``encode`` returned.
    :param where: the record's field, for the error.
    :raises nova_kvs.exceptions.CorruptRecordError: if it is anything else:
        truncated, followed by more, or not a map.
    """
    try:
        values = msgpack.unpackb(
            payload, raw=False, unicode_errors=_UNICODE_ERRORS)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise exceptions.CorruptRecordError(field=where) from error
    if type(values) is not dict:
        raise exceptions.CorruptRecordError(field=where)
    return values


def encode_list(values):
    """Return a list of values (of any msgpack type) as bytes."""
    return msgpack.packb(
        values, use_bin_type=True, unicode_errors=_UNICODE_ERRORS)


def decode_list(payload, where, length):
    """Return the list that ``encode_list`` wrote.

    :param length: how many items it must have.
    :raises nova_kvs.exceptions.CorruptRecordError: if it does not decode.
    """
    try:
        values = msgpack.unpackb(
            payload, raw=False, unicode_errors=_UNICODE_ERRORS)
    except (ValueError, msgpack.exceptions.UnpackException) as error:
        raise exceptions.CorruptRecordError(field=where) from error
    if type(values) is not list or len(values) != length:
        raise exceptions.CorruptRecordError(field=where)
    return values
