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

import enum
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
    #: True: from the highest member down, within each range.
    reverse: bool = False


class Having(typing.NamedTuple):
    """What is asked of one of the values that a member begins with.

    The values are of ``keyspace.encode_tuple``, one behind the other.

    :ivar place: how many values are in front of it.
    :ivar values: encoded values, one of which it is; None: ``part`` counts.
    :ivar part: what its text contains, in small letters of ASCII, whatever
        the case. Text that the encoding may have cut passes.
    """

    place: int
    values: tuple | None
    part: bytes = b""


class ReadMembers(typing.NamedTuple):
    """Read members of an ordered set: a list, in order.

    ``having``: Havings, the lowest place first. A driver may leave out members
    without these. There is no limit then.
    """

    key: bytes
    low: bytes
    high: bytes
    limit: int | None = None
    reverse: bool = False
    having: tuple = ()


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


class ReadMoment(typing.NamedTuple):
    """Read which moment of the store it is: an int, for Commit's ``since``.

    What is read later is of this moment or a later one. Only a store that
    VALIDATES is asked for it.
    """

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


# Committing -----------------------------------------------------------------
#
# A transaction's *outcome* is decided once: by its Commit or by
# AbortIfUndecided, whichever comes first, and then stays what it is for as
# long as that operation says. Where the store is not ATOMIC, or the
# transaction is serializable, the partitions other than the one with the
# outcome, the primary partition, get *intents* by Prewrite before, and by
# Resolve afterwards what the outcome says.

#: Kinds of changes. Bytes, since they are a part of stored intents.
PUT = b"p"
#: An insert that the partition's floor, a version, must be below.
INSERT_ABOVE_FLOOR = b"P"
REMOVE = b"d"
#: A removal that raises the partition's floor to the version removed.
REMOVE_RAISING_FLOOR = b"D"
#: Nothing is written: only the version must be as expected.
VALIDATE = b"l"


class Verdict(enum.Enum):
    """The kinds of replies to Commit, Prewrite, Resolve and AbortIfUndecided.

    Numbers of changes count from 0, over all parts of a commit in order.
    """

    #: Everything was applied, now or when this was sent before.
    COMMITTED = "committed"
    #: Prewrite: the intents are there.
    STAGED = "staged"
    #: AbortIfUndecided came first; nothing is applied, nor ever will be.
    ABORTED = "aborted"
    #: Refused for good: the fields of some changes do not have the expected
    #: versions; ``detail`` is the list of the changes' numbers. With
    #: ``expected`` 0 this is how a unique key turns out to be taken.
    DIFFERS = "differs"
    #: Refused for good: a floor is above a version to insert; ``detail`` is
    #: a pair: the part's number and its floor (int).
    BELOW_FLOOR = "below floor"
    #: Refused for good: ``valid_until_ms`` is over; ``detail`` is what the
    #: server's clock shows.
    TOO_LATE = "too late"
    #: Refused for good: a part's ``known`` is wrong; ``detail`` is what
    #: ``ReadPartition`` of that part says instead, or None.
    UNKNOWN = "unknown"
    #: Refused for good: something of ``unchanged`` may have changed.
    CHANGED = "changed"
    #: Not decided: intents of other transactions are in the way; ``detail``
    #: is a list of pairs: a change's number and the intent as stored. What
    #: was sent may be sent again.
    BLOCKED = "blocked"


class Answer(typing.NamedTuple):
    """A reply to Commit, Prewrite or AbortIfUndecided."""

    verdict: Verdict
    detail: object = None


class Change(typing.NamedTuple):
    """A commit's change of one field of a partition."""

    #: PUT, INSERT_ABOVE_FLOOR, REMOVE, REMOVE_RAISING_FLOOR or VALIDATE.
    kind: bytes
    field: bytes
    #: Version that the field must have: the number in the first 8 bytes of
    #: its value, big-endian. 0: it must be absent.
    expected: int
    #: Its new value, which begins with the new version; b"" if it is
    #: removed or only validated.
    value: bytes


class Part(typing.NamedTuple):
    """A commit's share in one partition."""

    key: bytes
    #: Key of the partition's index, an ordered set.
    index_key: bytes
    changes: tuple
    #: Members to add to the index and to remove from it.
    add: tuple = ()
    remove: tuple = ()
    #: None, or the only fields that the partition may have at the commit,
    #: the floor among them, and no intent; ``known_values`` are theirs.
    known_fields: list | None = None
    known_values: list | None = None


class Commit(typing.NamedTuple):
    """Apply all changes of a transaction, or none: an Answer.

    Never STAGED. Everything happens at one moment: the checks, the changes
    of every part, the side writes, and that the outcome is decided.

    It may be sent more than once, and a copy may arrive late. The first
    that decides wins: as long as the outcome lasts, each further one gets
    the same verdict (perhaps without its detail) and changes nothing.

    A store that is ATOMIC takes any number of parts, and side writes. Any
    other gets one part, the primary partition, and no side writes.

    The order in which reasons to refuse are looked for: the outcome that
    there is, TOO_LATE, UNKNOWN, DIFFERS, BELOW_FLOOR, BLOCKED. Of several
    one is enough, but DIFFERS names every change that differs: a caller
    tells a unique key that is taken from a record that has changed.
    """

    #: Where the outcome is kept; it belongs to the first part.
    outcome_key: bytes
    parts: tuple
    #: Of Add, Raise and PutField. They are done if the commit is.
    side_writes: tuple = ()
    #: Life of the outcome if this commits; None: until ``SetLife``.
    committed_life_ms: int | None = None
    #: And if it is refused for good.
    refused_life_ms: int = 0
    #: Time (ms since the epoch, by the clock of the server that has the
    #: outcome's key) after which nothing may be applied any more; None: there
    #: is none. It is before the outcome's end. It keeps a copy that comes
    #: after that end from being applied again; a store that can forbid this
    #: by other means (a lease, say) may do so instead.
    valid_until_ms: int | None = None
    #: Reading operations whose replies must be what they were at ``since``,
    #: or the commit is refused. Of members, only new ones count; it may be
    #: refused without need, for a change of something near. Only a store that
    #: VALIDATES is asked for it.
    unchanged: tuple = ()
    #: A reply to ReadMoment.
    since: int = 0

    @property
    def key(self):
        """The key that says where it belongs."""
        return self.outcome_key


class Staging(typing.NamedTuple):
    """A Prewrite's intent on one field."""

    field: bytes
    #: As of Change.
    expected: int
    #: See nova_kvs.txn.mutation.Intent; the store puts its clock in front.
    intent: bytes


class Prewrite(typing.NamedTuple):
    """Stage intents in one partition, all or none: an Answer.

    STAGED, also if they are staged or applied already; or ABORTED, DIFFERS,
    BELOW_FLOOR or BLOCKED. Nothing of this is an outcome. A store that is
    ATOMIC is asked for it by serializable transactions only.
    """

    key: bytes
    index_key: bytes
    #: Where this partition remembers what ``Resolve`` did.
    outcome_key: bytes
    txn_id: bytes
    stagings: tuple
    #: Members of the index to add; whoever rolls back removes them.
    add: tuple = ()


class Resolve(typing.NamedTuple):
    """Apply or remove a decided transaction's intents in a partition: Answer.

    COMMITTED: all that the transaction staged there has been applied, now or
    when its intents were resolved before; this lasts for ``life_ms``. Else
    ABORTED: nothing of it has been applied. Either because the transaction is
    aborted, or because a failover has lost its intents.

    A Prewrite that comes within ``life_ms`` afterwards stages nothing.
    """

    key: bytes
    index_key: bytes
    outcome_key: bytes
    txn_id: bytes
    #: The outcome: True applies the intents, False removes them.
    committed: bool
    life_ms: int
    #: All that the transaction has staged there; None: that is looked for.
    fields: tuple | None = None


class AbortIfUndecided(typing.NamedTuple):
    """Abort a transaction unless its outcome is decided: an Answer.

    It is the outcome that holds: COMMITTED, ABORTED or what Commit was
    refused for. The detail of UNKNOWN is None.
    """

    #: Of the outcome.
    key: bytes
    #: Life of the outcome "aborted".
    life_ms: int


class ReadOutcome(typing.NamedTuple):
    """Read the outcome of a transaction: an Answer, or None.

    As of AbortIfUndecided.
    """

    key: bytes


class Fence(typing.NamedTuple):
    """Write something that says nothing where a key belongs.

    When replicas have it they have all that was written there before. The
    reply says nothing. Only a store that has REPLICAS is asked for it.
    """

    key: bytes


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
    #: True: to add the entry; False: to remove it.
    wanted: bool
