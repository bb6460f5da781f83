# SPDX-License-Identifier: Apache-2.0
"""The few messages of etcd's API that are used, as bytes and back.

etcd speaks Protocol Buffers. A request is made by joining fields; of a reply
only the fields that somebody reads are taken apart. To build and parse by
hand is what keeps a call cheap: this runs for each key that is read.

:source: etcd's rpc.proto and kv.proto, of version 3.4
"""

import typing

EQUAL, GREATER, LESS = range(3)

_COMPARE_CREATE, _COMPARE_MOD, _COMPARE_VALUE = 1, 2, 3


class KeyValue(typing.NamedTuple):
    """A key as it was at a revision."""

    key: bytes
    value: bytes
    mod_revision: int
    #: Id of the lease that it lives as long as; 0: it lives for ever.
    lease: int = 0


class Found(typing.NamedTuple):
    """The answer to a range: its keys, in their order."""

    items: list
    #: There are more than the limit.
    more: bool
    #: Of all keys in the range, whatever the limit.
    count: int


class TxnReply(typing.NamedTuple):
    """The answer to a transaction."""

    succeeded: bool
    #: Found for a range, number of removed keys for a removal, TxnReply for
    #: a nested transaction, KeyValue or None for a put.
    replies: list
    #: The store's revision at that moment.
    revision: int
    #: The same transaction may have been run before.
    is_repeated: bool = False


# Encoding -------------------------------------------------------------------

def varint(number):
    """Return a number, not negative, as Protocol Buffers writes it."""
    if number < 0x80:
        return bytes((number,))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag, data):
    """Return a field of bytes, or nothing if there are none.

    :param tag: number of the field.
    """
    if not data:
        return b""
    return b"%b%b%b" % (varint(tag << 3 | 2), varint(len(data)), data)


def number_field(tag, number):
    """Return a field of a number, or nothing if it is 0."""
    if not number:
        return b""
    return varint(tag << 3) + varint(number)


def range_request(key, end=b"", limit=0, revision=0, *, descending=False,
                  serializable=False, keys_only=False, count_only=False):
    """Return the request for a key, or for those from it to before ``end``.

    :param descending: in reverse order. The server then reads and sorts the
        whole range: only for short ones.
    """
    request = b"\x0a%b%b" % (varint(len(key)), key)
    if end:
        request += b"\x12%b%b" % (varint(len(end)), end)
    if limit:
        request += b"\x18" + varint(limit)
    if revision:
        request += b"\x20" + varint(revision)
    if descending:
        request += b"\x28\x02"
    if serializable:
        request += b"\x38\x01"
    if keys_only:
        request += b"\x40\x01"
    if count_only:
        request += b"\x48\x01"
    return request


def range_op(request):
    """Return a range as an operation of a transaction."""
    return b"\x0a%b%b" % (varint(len(request)), request)


def put_op(key, value, lease=0, *, wants_previous=False):
    """Return the operation that writes a key.

    :param wants_previous: whether the reply is what there was before.
    """
    request = b"\x0a%b%b" % (varint(len(key)), key)
    if value:
        request += b"\x12%b%b" % (varint(len(value)), value)
    if lease:
        request += b"\x18" + varint(lease)
    if wants_previous:
        request += b"\x20\x01"
    return b"\x12%b%b" % (varint(len(request)), request)


def delete_op(key, end=b""):
    """Return the operation that removes a key, or a range of keys."""
    request = field(1, key) + field(2, end)
    return b"\x1a%b%b" % (varint(len(request)), request)


def nested_op(request):
    """Return a transaction as an operation of another one."""
    return b"\x22%b%b" % (varint(len(request)), request)


def _compare(result, target, key, value, end):
    request = b"\x10%b\x1a%b%b%b" % (
        varint(target), varint(len(key)), key, value)
    if result:
        request = b"\x08%b%b" % (varint(result), request)
    if end:
        request += field(64, end)
    return request


def value_is(key, result, value):
    """Return the condition that a key's value is equal, greater or less.

    It does not hold for a key that is not there.
    """
    # An empty value, too, must be written: it says what is compared.
    return _compare(result, _COMPARE_VALUE, key,
                    b"\x3a%b%b" % (varint(len(value)), value), b"")


def is_absent(key, end=b""):
    """Return the condition that there is no such key, or none in a range."""
    return _compare(EQUAL, _COMPARE_CREATE, key, b"\x28\x00", end)


def is_of_revision(key, revision):
    """Return the condition that a key was last written at a revision.

    :param revision: 0: that it is not there.
    """
    return _compare(EQUAL, _COMPARE_MOD, key, b"\x30" + varint(revision), b"")


def is_not_newer(key, revision, end=b""):
    """Return the condition that a key, or all of a range, is not newer.

    :param revision: after which none of them may have been written.
    """
    return _compare(LESS, _COMPARE_MOD, key, b"\x30" + varint(revision + 1),
                    end)


def txn_request(conditions, operations, otherwise=()):
    """Return the request for a transaction.

    :param conditions: all must hold for ``operations`` to be run; if one
        does not, ``otherwise`` is.
    """
    parts = []
    for tag, group in ((b"\x0a", conditions), (b"\x12", operations),
                       (b"\x1a", otherwise)):
        for item in group:
            parts.append(tag)
            parts.append(varint(len(item)))
            parts.append(item)
    return b"".join(parts)


def watch_request(key, end, revision, number):
    """Return the request to be told of changes of a range.

    :param revision: of the first change to be told.
    :param number: that the news will bear; not 0.
    """
    request = (field(1, key) + field(2, end) + number_field(3, revision)
               + number_field(7, number))
    return field(1, request)


def unwatch_request(number):
    """Return the request to be told no more."""
    return field(2, number_field(1, number))


# Parsing --------------------------------------------------------------------

def fields(data):
    """Yield the fields of a message: number, and an int or bytes."""
    at = 0
    size = len(data)
    while at < size:
        tag, at = _read_varint(data, at)
        kind = tag & 7
        if kind == 0:
            value, at = _read_varint(data, at)
        elif kind == 2:
            length, at = _read_varint(data, at)
            value = data[at:at + length]
            at += length
        else:
            raise ValueError("a field of etcd's reply is of unknown kind")
        yield tag >> 3, value


def _read_varint(data, at):
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    result = byte & 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at
        shift += 7


def _parse_key(data, at, end):
    """Return KeyValue of the message from ``at`` to before ``end``."""
    # Fields come in the order of their numbers, and a key has the first four
    # always: key 1, create_revision 2, mod_revision 3, version 4, value 5.
    length = data[at + 1]
    at += 2
    if length > 0x7F:
        length, at = _read_varint(data, at - 1)
    key = data[at:at + length]
    at += length + 1
    while data[at] > 0x7F:
        at += 1
    at += 2
    revision = data[at]
    at += 1
    if revision > 0x7F:
        revision, at = _read_varint(data, at - 1)
    at += 1
    while data[at] > 0x7F:
        at += 1
    at += 1
    value = b""
    if at < end and data[at] == 0x2A:
        length = data[at + 1]
        at += 2
        if length > 0x7F:
            length, at = _read_varint(data, at - 1)
        value = data[at:at + length]
        at += length
    if at < end:
        return KeyValue(key, value, revision, _read_varint(data, at + 1)[0])
    return KeyValue(key, value, revision)


def parse_range(data, at=0, end=None):
    """Return Found of a RangeResponse.

    :param at: where it begins in ``data``, and ``end`` where it ends.
    """
    items = []
    more = False
    count = 0
    if end is None:
        end = len(data)
    while at < end:
        tag = data[at]
        value = data[at + 1]
        at += 2
        if value > 0x7F:
            value, at = _read_varint(data, at - 1)
        if tag == 0x12:
            items.append(_parse_key(data, at, at + value))
            at += value
        elif tag == 0x0A:
            at += value
        elif tag == 0x18:
            more = bool(value)
        elif tag == 0x20:
            count = value
    return Found(items, more, count)


def revision_of(data):
    """Return the revision in the header of a reply: its first field."""
    if data[:1] != b"\x0a":
        return 0
    size, at = _read_varint(data, 1)
    return _header_revision(data, at, at + size)


def _header_revision(data, at, end):
    # Numbers all: cluster_id 1, member_id 2, revision 3, raft_term 4.
    while at < end:
        if data[at] == 0x18:
            return _read_varint(data, at + 1)[0]
        at += 1
        while data[at] > 0x7F:
            at += 1
        at += 1
    return 0


class News(typing.NamedTuple):
    """The message of a watch."""

    #: Of the watch.
    number: int
    #: No change before this one is left untold.
    revision: int
    is_change: bool
    is_cancelled: bool


def parse_news(data):
    """Return News of a WatchResponse."""
    number = revision = 0
    is_change = is_cancelled = False
    for tag, value in fields(data):
        if tag == 1:
            revision = dict(fields(value)).get(3, 0)
        elif tag == 2:
            number = value
        elif tag == 4:
            is_cancelled = bool(value)
        elif tag == 11:
            is_change = True
    return News(number, revision, is_change, is_cancelled)


def _parse_put(data, at, end):
    for tag, value in fields(data[at:end]):
        if tag == 2:
            return _parse_key(value, 0, len(value))
    return None


def _parse_delete(data, at, end):
    for tag, value in fields(data[at:end]):
        if tag == 2:
            return value
    return 0


def parse_txn(data, at=0, end=None):
    """Return TxnReply of a TxnResponse.

    :param at: where it begins in ``data``, and ``end`` where it ends.
    """
    succeeded = False
    revision = 0
    replies = []
    if end is None:
        end = len(data)
    while at < end:
        tag = data[at]
        value, at = _read_varint(data, at + 1)
        if tag == 0x1A:
            # A reply is one field; its number says of which kind it is.
            behind = at + value
            kind = data[at] >> 3
            _, at = _read_varint(data, at + 1)
            replies.append(_REPLIES[kind](data, at, behind))
            at = behind
        elif tag == 0x10:
            succeeded = bool(value)
        elif tag == 0x0A:
            revision = _header_revision(data, at, at + value)
            at += value
    return TxnReply(succeeded, replies, revision)


_REPLIES = {1: parse_range, 2: _parse_put, 3: _parse_delete, 4: parse_txn}
