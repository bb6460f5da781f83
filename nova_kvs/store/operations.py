# SPDX-License-Identifier: Apache-2.0
"""The operations of a store: one class for each.

An operation is a NamedTuple, names the key that it concerns, and is sent with
:meth:`nova_kvs.store.base.Store.batch`, whose list of replies has one Python
value for each; the docstrings say which. How a store does it is the driver's
business. Every operation may run more than once, see ``batch``.

Keys, members, fields and values are bytes. A *partition* is a set of fields
with values. Members of an *ordered set* are ordered by their bytes; each has
a number, its score. Bounds of members begin with ``[`` (included) or ``(``
(not included); ``-`` is below and ``+`` above all of them.
"""

import typing

# Reading --------------------------------------------------------------------


class ReadPartition(typing.NamedTuple):
    """Read every field of a partition: field, value, field, value ...

    One list, flat, of one moment. As long as nobody writes the partition
    the reply stays the same.
    """

    key: bytes
    #: Only the floor, fields that begin with one of these, and intents on
    #: such fields.
    prefixes: tuple = ()


class ReadFields(typing.NamedTuple):
    """Read some fields and the intents on them.

    The reply is a list: the floor, the fields' values, then the intents'; None
    for what is not there.
    """

    key: bytes
    fields: tuple


class ReadIndex(typing.NamedTuple):
    """Read members of a partition's index, and the fields that they name.

    A member ends with a field and the field's length (2 bytes big-endian).
    The reply is a pair: the members, and what ``ReadPartition`` says of the
    fields that they name. Both are of one moment.
    """

    key: bytes
    index_key: bytes
    #: Pairs of a lowest and a highest member.
    ranges: tuple
    #: Greatest number of members over all ranges, or None.
    limit: int | None = None
    #: Whether the order within each range is turned.
    reverse: bool = False


class ReadMembers(typing.NamedTuple):
    """Read members of an ordered set: a list, in order."""

    key: bytes
    low: bytes
    high: bytes
    limit: int | None = None
    reverse: bool = False


class ReadScores(typing.NamedTuple):
    """Read a whole ordered set: a dict of member -> score (float)."""

    key: bytes


class ReadAll(typing.NamedTuple):
    """Read every field of a key that is no partition: a dict."""

    key: bytes


class ListFields(typing.NamedTuple):
    """Read the names of a partition's fields: a list."""

    key: bytes


class CountFields(typing.NamedTuple):
    """Count a partition's fields: an int."""

    key: bytes


class GetField(typing.NamedTuple):
    """Read the value of one field, or None."""

    key: bytes
    field: bytes


class HasField(typing.NamedTuple):
    """Tell whether a field is there: a bool."""

    key: bytes
    field: bytes


class GetScore(typing.NamedTuple):
    """Read the score (float) of a member, or None."""

    key: bytes
    member: bytes


class Get(typing.NamedTuple):
    """Read the value of a key that is no set and no partition, or None."""

    key: bytes


class Exists(typing.NamedTuple):
    """Tell whether there is anything under a key: a bool."""

    key: bytes


class LivesForEver(typing.NamedTuple):
    """Tell whether a key is there and has no end of life: a bool."""

    key: bytes


class ReadClock(typing.NamedTuple):
    """Read the clock of the server that has a key: ms since the epoch."""

    key: bytes


class PageFields(typing.NamedTuple):
    """Read some fields of a key, and where to go on.

    The reply is a pair: the next cursor, None after the last page, and a
    list of (field, value). A field that is there all the time comes at
    least once.
    """

    key: bytes
    #: None to begin.
    cursor: bytes | None = None
    #: About how many.
    count: int = 1000


class PageMembers(typing.NamedTuple):
    """Read some members of a set, and where to go on: as ``PageFields``.

    The list has (member, score as bytes).
    """

    key: bytes
    cursor: bytes | None = None
    count: int = 1000


# Writing --------------------------------------------------------------------

class Add(typing.NamedTuple):
    """Add a member to an ordered set. The reply says nothing."""

    key: bytes
    member: bytes
    #: None: its score is 0. Else its score is the time (ms since the epoch)
    #: at which this is over, by the clock of the server that has the key,
    #: and one that the member has already stays.
    due_in_ms: int | None = None


class Raise(typing.NamedTuple):
    """Have a member's score be at least this. The reply says nothing."""

    key: bytes
    member: bytes
    score: int


class PutField(typing.NamedTuple):
    """Write a field of a key that is no partition. The reply says nothing."""

    key: bytes
    field: bytes
    value: bytes


class Remove(typing.NamedTuple):
    """Remove a member of an ordered set, if it is there.

    The reply says nothing.
    """

    key: bytes
    member: bytes


class RemoveField(typing.NamedTuple):
    """Remove a field of a key that is no partition, if it is there.

    The reply says nothing.
    """

    key: bytes
    field: bytes


class Increment(typing.NamedTuple):
    """Add to a counter, which begins at 0: the new value (int)."""

    key: bytes
    by: int


class Delete(typing.NamedTuple):
    """Remove all that is under a key: whether there was anything."""

    key: bytes


class SetLife(typing.NamedTuple):
    """Let a key go after some time. The reply says nothing."""

    key: bytes
    life_ms: int


class LeaseTasks(typing.NamedTuple):
    """Take members of an ordered set whose score is a time that is over.

    The reply is the list of them. They become due again when the lease ends,
    unless somebody removes them.
    """

    key: bytes
    limit: int
    lease_ms: int


# Removing what nobody needs, if it is as it was seen ------------------------

class DropFloor(typing.NamedTuple):
    """Remove a partition that holds this floor and nothing else: a bool."""

    key: bytes
    #: Its 8 bytes.
    floor: bytes


class DropIncluded(typing.NamedTuple):
    """Remove what a covering index has of a row that left it: a bool.

    Nothing is done if the row's minimum version is above ``version``: then
    somebody was about to write the row.
    """

    #: Of the minimum versions.
    key: bytes
    #: Of the included columns.
    included_key: bytes
    member: bytes
    version: int


class DiscardField(typing.NamedTuple):
    """Remove a field if it is still what was seen: a bool.

    Nothing is done while a transaction has an intent on it.
    """

    key: bytes
    field: bytes
    seen: bytes


class CorrectIndex(typing.NamedTuple):
    """Add or remove an entry of a partition's index: a bool.

    Nothing is done if the record that it names is not what was seen any more,
    or a transaction has an intent on it.
    """

    key: bytes
    index_key: bytes
    field: bytes
    #: 0: the record was not there.
    version: int
    entry: bytes
    #: Whether the entry is to be there.
    wanted: bool
