# SPDX-License-Identifier: Apache-2.0
"""The layout of a database in etcd's one ordered key space.

All that is under one key of the store is a range of etcd's keys::

    <key> 0x00 a                     changes whenever a field does: the head
    <key> 0x00 d <due time> <member>  "": the order in which tasks are due
    <key> 0x00 h <field>             its value
    <key> 0x00 v                     the value of a counter or an outcome
    <key> 0x00 y <turned member>      "": the same members, in reverse order
    <key> 0x00 z <member>            its score as text; "" stands for 0

Keys of the store begin with ``kvs:{<database>:``, so a role with permissions
on that prefix is enough. A 0x00 in a key is written as 0x00 0xff.

etcd gives a range in one order. The other one it makes by sorting the whole
range, whatever the limit. So members of a global index, which are read page
by page from the end, are stored once more under keys that sort the other way
round. A head makes it cheap to tell that a partition is as it was: etcd keeps
the revision of its last change.
"""

from nova_kvs import keyspace

_HEAD, _DUE, _FIELD, _VALUE, _TURNED, _MEMBER = (
    b"a", b"d", b"h", b"v", b"y", b"z")
#: A due time is written with as many digits.
_DUE_DIGITS = 16
_TURN = bytes(range(255, -1, -1))
_END = b"\0\x01"


def _base(key):
    if b"\0" in key:
        key = key.replace(b"\0", b"\0\xff")
    return key + b"\0"


def head(key):
    """Return the key that is written with each change of a field."""
    return _base(key) + _HEAD


def value(key):
    """Return the key of a counter's or an outcome's value."""
    return _base(key) + _VALUE


def field(key, name):
    """Return the key of a field."""
    return b"%bh%b" % (_base(key), name)


def member(key, name):
    """Return the key of a member of an ordered set."""
    return b"%bz%b" % (_base(key), name)


def has_turned(key):
    """Return whether an ordered set is stored in reverse order, too."""
    return keyspace.is_global_index(key)


def turned(key, name):
    """Return the second key of a member, which sorts the other way round."""
    return b"%by%b" % (_base(key), _turn(name))


def _turn(name):
    # Behind a longer name that begins with it: so an end of its own.
    return (name.replace(b"\0", b"\0\xff") + _END).translate(_TURN)


def due(key, due_ms, name):
    """Return the key under which a task stands at its due time."""
    return b"%bd%016d%b" % (_base(key), due_ms, name)


def due_until(key, now_ms):
    """Return the range of the tasks that are due."""
    start = _base(key) + _DUE
    return start, b"%b%016d" % (start, now_ms + 1)


def everything(key):
    """Return the range of all that is under a key."""
    start = _base(key)
    return start, start + b"\xff"


def contents(key):
    """Return the range of all that is under a key but the head."""
    start = _base(key)
    return start + b"b", start + b"\xff"


def fields(key, prefix=b""):
    """Return the range of the fields that begin with a prefix."""
    start = _base(key) + _FIELD + prefix
    return start, after_prefix(start)


def head_and_fields(key):
    """Return the range of the head and the fields of a partition.

    There is nothing in between: only sets of tasks have due times.
    """
    return head(key), fields(key)[1]


def fields_from(key, first):
    """Return the range of the fields behind one; None: of all."""
    start = _base(key) + _FIELD
    end = after_prefix(start)
    return (start if first is None else start + first + b"\0"), end


def members(key, low, high, reverse=False):
    """Return the range of the members between two bounds.

    :param low: as nova_kvs.store.operations writes bounds.
    :param reverse: of their second keys, of a set that has them.
    """
    start = _base(key) + (_TURNED if reverse else _MEMBER)
    if reverse:
        low, high = high, low
    return _bound(start, low, reverse), _bound(start, high, reverse, True)


def _bound(start, bound, reverse, is_end=False):
    """Return the first key that is within a range, or behind it."""
    kind = bound[:1]
    if kind == b"-" or kind == b"+":
        return after_prefix(start) if is_end else start
    name = _turn(bound[1:]) if reverse else bound[1:]
    if (kind == b"(") != is_end:  # behind the member itself
        return start + name + b"\0"
    return start + name


def name_of(key, found):
    """Return the field or member in a key of etcd's."""
    return found[len(_base(key)) + 1:]


def turned_name(key, found):
    """Return the member in a second key of etcd's."""
    name = name_of(key, found).translate(_TURN)
    return name[:-2].replace(b"\0\xff", b"\0")


def task(key, found):
    """Return the member and the due time in a key of etcd's."""
    rest = name_of(key, found)
    return rest[_DUE_DIGITS:], int(rest[:_DUE_DIGITS])


def store_key(found):
    """Return the key of the store that one of etcd's belongs to."""
    at = found.find(b"\0")
    while found[at + 1:at + 2] == b"\xff":
        at = found.find(b"\0", at + 2)
    return found[:at].replace(b"\0\xff", b"\0")


def after(key):
    """Return the first of etcd's keys behind all that is under a key."""
    return everything(key)[1]


def after_prefix(prefix):
    """Return the first key behind all that begin with a prefix."""
    prefix = prefix.rstrip(b"\xff")
    if not prefix:
        return b"\0"  # etcd: no end
    return prefix[:-1] + bytes((prefix[-1] + 1,))
