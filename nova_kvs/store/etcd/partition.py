# SPDX-License-Identifier: Apache-2.0
"""What a commit expects and changes in one partition, in etcd's words."""

import struct

from nova_kvs import keyspace
from nova_kvs.store.etcd import layout
from nova_kvs.store.etcd import messages
from nova_kvs.store.etcd import writes
from nova_kvs.store import operations
from nova_kvs.store.operations import Answer
from nova_kvs.store.operations import Verdict

_FLOOR = keyspace.FLOOR_FIELD
_VERSION = struct.Struct(">Q")
_NO_FLOOR = bytes(8)
#: A partition of which more fields change is read whole when a commit was
#: refused, to see why.
_MOST_FIELDS = 12
#: Life of the head of an empty partition.
_EMPTY_LIFE_MS = 60000

_put = messages.put_op
_delete = messages.delete_op


class Part:
    """A part of a commit as etcd's conditions, writes and reads.

    :ivar floor: the partition's floor as last seen; None: there is none.
    :ivar revision: of the head that proves ``known``; None: not by that.
    """

    def __init__(self, part, heads):
        self.part = part
        self.key = part.key
        self.revision = None
        self.floor = None
        #: Revision of the head that proves what was checked, or None.
        self.checked = None
        content = heads.content(part.key)
        #: Dict of what it held when it was last looked at, and whether that
        #: is all.
        self.content = None
        self.is_whole = (part.known_fields is not None
                         or len(part.changes) > _MOST_FIELDS)
        #: Dict of all that the partition is taken to hold, or None.
        self.known = None
        if part.known_fields is not None:
            self.revision = heads.revision(
                part.key, part.known_fields, part.known_values)
            content = self.known = dict(
                zip(part.known_fields, part.known_values))
        if content is not None:
            self.floor = content.get(_FLOOR)
        self.inserts = [
            change for change in part.changes
            if change.kind == operations.INSERT_ABOVE_FLOOR]
        self.puts = {
            change.field: change.value for change in part.changes
            if change.kind in (
                operations.PUT, operations.INSERT_ABOVE_FLOOR)}
        self.removed = [
            change.field for change in part.changes
            if change.kind in (
                operations.REMOVE, operations.REMOVE_RAISING_FLOOR)]
        self.raised = max(
            [change.expected for change in part.changes
             if change.kind == operations.REMOVE_RAISING_FLOOR], default=None)

    def conditions(self):
        """Return the conditions that must hold."""
        key, part = self.key, self.part
        if self.checked is not None:
            return [messages.is_of_revision(layout.head(key), self.checked)]
        found = []
        if self.revision is not None:
            found.append(messages.is_of_revision(
                layout.head(key), self.revision))
        elif self.known is not None:
            found += [messages.value_is(
                layout.field(key, field), messages.EQUAL, value)
                for field, value in self.known.items()]
            found += writes.no_other_fields(key, self.known)
        if self.known is None or judge([self], [self.known]) is not None:
            # What is known, if it is so, says the rest.
            for change in part.changes:
                found += writes.has_version(
                    layout.field(key, change.field), change.expected)
            if self.inserts:
                found.append(self._floor_condition())
        return found

    def _floor_condition(self):
        place = layout.field(self.key, _FLOOR)
        if self.floor is None:
            return messages.is_absent(place)
        return messages.value_is(place, messages.LESS, min(
            change.value[:8] for change in self.inserts))

    def operations(self, txn_id, leases):
        """Return pairs of an etcd key, and the operation that writes it."""
        key, part = self.key, self.part
        found = {}
        for field, value in self.puts.items():
            place = layout.field(key, field)
            found[place] = _put(place, value)
        for field in self.removed:
            place = layout.field(key, field)
            found[place] = _delete(place)
        if self.raised is not None:
            place = layout.field(key, _FLOOR)
            put = _put(place, _VERSION.pack(self.raised))
            # The greater one stays.
            found[place] = messages.nested_op(messages.txn_request(
                [messages.is_absent(place)], [put],
                [messages.nested_op(messages.txn_request(
                    [messages.value_is(place, messages.LESS,
                                       _VERSION.pack(self.raised))],
                    [put]))]))
        place = layout.head(key)
        if self.puts or self.raised is not None:
            found[place] = _put(place, txn_id, wants_previous=True)
        elif self.removed:
            lease = leases.lease_for(_EMPTY_LIFE_MS)
            if self.checked is not None and self.is_whole:
                is_empty = self.content.keys() <= set(self.removed)
                found[place] = _put(place, txn_id, lease if is_empty else 0)
            else:
                found[place] = writes.removal_of_head(
                    key, self.removed, txn_id, lease)
        for member in part.add:
            found.update(writes.blind(operations.Add(
                part.index_key, member)).writes)
        for member in part.remove:
            found.update(writes.blind(operations.Remove(
                part.index_key, member)).writes)
        return found

    def ranges(self):
        """Return the ranges that show why it was refused."""
        if self.known is not None:
            return [layout.fields(self.key), (layout.head(self.key), b"")]
        if self.is_whole:
            return [layout.fields(self.key)]
        fields = [change.field for change in self.part.changes]
        if self.inserts:
            fields.append(_FLOOR)
        return [(layout.field(self.key, field), b"") for field in fields]

    def look(self, found, heads):
        """Return what the partition holds, by the ranges' answers."""
        if self.known is not None:
            found, head = found
            found = (found,)
        start = len(layout.field(self.key, b""))
        content = {item.key[start:]: item.value
                   for each in found for item in each.items}
        self.content = content
        self.floor = content.get(_FLOOR)
        if self.known is not None:
            heads.learn(
                self.key, head.items[0].mod_revision if head.items else 0,
                flat(content))
        return content


def judge(parts, contents):
    """Return the Answer that refuses a commit, or None.

    :param contents: dict of field -> value of each part, or None.
    """
    differing = []
    number = 0
    below = None
    for index, (part, content) in enumerate(zip(parts, contents)):
        if content is None:  # not looked at
            number += len(part.part.changes)
            continue
        floor = content.get(_FLOOR, _NO_FLOOR)
        for change in part.part.changes:
            value = content.get(change.field)
            if (0 if value is None else int.from_bytes(
                    value[:8], "big")) != change.expected or (
                        value is not None and not change.expected):
                differing.append(number)
            elif (change.kind == operations.INSERT_ABOVE_FLOOR
                    and change.value[:8] <= floor and below is None):
                below = index, int.from_bytes(floor, "big")
            number += 1
    if differing:
        return Answer(Verdict.DIFFERS, differing)
    if below:
        return Answer(Verdict.BELOW_FLOOR, below)
    return None


def flat(content):
    """Return a dict's keys and values by turns."""
    return [item for pair in content.items() for item in pair]
