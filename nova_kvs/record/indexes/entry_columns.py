# SPDX-License-Identifier: Apache-2.0
"""Columns of rows, as the entries of a global index have them.

Encoded values are equal as the values are, and sort as they do, so most of
what a list asks needs none decoded. Text that is too long for an entry is
cut: what is asked of it passes here, and the row decides.
"""

import re
import typing
from urllib import parse

from nova_kvs import keyspace
from nova_kvs.record.indexes import global_index
from nova_kvs.store import operations

NULL = keyspace.encode_tuple((None,))
_TEXT = keyspace.encode_tuple(("",))[:1]
_END = keyspace.encode_tuple(("",))[1:]
_NUMBER_BYTES = len(keyspace.encode_tuple((0,))) - 1
#: One encoded value: text and bytes end with 0 and 1, and have 0 as 0, 255.
_VALUE = (rb"(?:\x01|\x02.{%d}|[\x03\x04][^\0]*(?:\0\xff[^\0]*)*\0\x01)"
          % _NUMBER_BYTES)
#: Longest encoded value that is surely not cut, and in its exact place among
#: those that are.
_EXACT_BYTES = keyspace.LONGEST_WHOLE_BYTES


def encode(value):
    """Return a value as entries have it."""
    return keyspace.encode_tuple((value,))


def is_cut(encoded):
    """Tell whether a value was too long to be kept."""
    return encoded is None or len(encoded) > _EXACT_BYTES and len(
        _unescaped(encoded)) > keyspace.MAX_COMPONENT_BYTES


def is_exact(encoded):
    """Tell whether cut values sort on the right side of this one."""
    return encoded is not None and len(encoded) <= _EXACT_BYTES


def _unescaped(encoded):
    return encoded[len(_TEXT):-len(_END)].replace(b"\0\xff", b"\0")


class Columns:
    """Takes some columns out of an index's entries.

    Beside the index's own an entry tells its row's key, if that is one
    column, and the value that names its partition.

    :param home: key of the partition of rows without such a value.
    :param names: of ``offered``.
    :ivar at: column -> its place in what ``of`` returns.
    """

    def __init__(self, table, index, home, names):
        own = [name for name in index.columns if name in names]
        last = index.columns.index(own[-1]) + 1 if own else 0
        self._match = re.compile(b"".join(
            [b"(%s)" % _VALUE if name in own else _VALUE
             for name in index.columns[:last]]), re.DOTALL).match
        others = [name for name in names if name not in own]
        self._others = [
            self._value_of_key if (name,) == table.key
            else self._value_of_partition for name in others]
        self._prefix_bytes = len(table.prefix)
        self._home = home
        self.at = {name: place for place, name in enumerate(own + others)}

    def of(self, stored):
        """Return the encoded values of a stored entry, None if unknown.

        :raises AttributeError: if it is not an entry of this index.
        """
        found = self._match(stored).groups()
        if self._others:
            found += tuple([make(stored) for make in self._others])
        return found

    def _value_of_key(self, stored):
        return global_index.field_of(stored)[self._prefix_bytes:]

    def _value_of_partition(self, stored):
        key = global_index.partition_of(stored).key
        if key == self._home:
            return NULL
        value = key[key.rindex(b":") + 1:-1]
        if value.startswith(b"~"):
            return None
        if b"%" in value:
            value = parse.unquote_to_bytes(value)
        return encode(value.decode("utf-8", "surrogatepass"))


def offered(table, index):
    """Return the names of the columns that an index's entries tell."""
    found = set(index.columns)
    if len(table.key) == 1:
        found.update(table.key)
    if table.names_partitions and (
            table.native[table.partition_column] is str):
        found.add(table.partition_column)
    return frozenset(found.difference(index.coarse))


# Conditions -----------------------------------------------------------------

class Condition(typing.NamedTuple):
    """A condition that is true of all rows that may pass.

    :ivar test: function of an encoded value.
    :ivar values: those that pass, if there are no others; or None.
    :ivar part: text that a value that passes contains, if it is text, in small
        letters of ASCII, whatever the case; empty: it need not, or NULL
        passes.
    """

    test: typing.Callable
    values: frozenset | None = None
    part: str = ""

    def having(self, place):
        """Return what a store is asked of an entry's value, or None.

        :param place: of the value.
        """
        if not self.values and not self.part:
            return None
        return operations.Having(
            place, tuple(sorted(self.values)) if self.values else None,
            self.part.encode("ascii"))


def among(values):
    """Return the condition that a column equals one of some values.

    :param values: as stored; None stands for NULL.
    """
    encoded = frozenset(map(encode, values))
    return Condition(encoded.__contains__, encoded)


def unequal(values):
    """Return the condition that a column is none of some values, nor NULL.
    """
    refused = frozenset(map(encode, (*values, None)))
    return Condition(lambda encoded: encoded not in refused)


def within(low, high):
    """Return the condition that a column is between two values, inclusive.

    NULL is before every value.

    :param low: as stored, or None: no bound. :param high: likewise.
    """
    low, high = (None if bound is None else encode(bound)
                 for bound in (low, high))
    # What was cut may be on either side of a bound that was.
    if low is None or not is_exact(low):
        low = NULL
    if high is not None and not is_exact(high):
        high = None
    return Condition(lambda encoded: low <= encoded and (
        high is None or encoded <= high))


def text(test, passes_null=False, part=""):
    """Return the condition that a test of a value is true.

    :param test: function of text. What is no text may pass.
    :param passes_null: whether NULL may pass.
    :param part: text that all that passes contains, whatever the case of its
        ASCII letters.
    """
    def may_pass(encoded):
        if encoded[:1] != _TEXT:
            return encoded != NULL or passes_null
        return is_cut(encoded) or test(
            _unescaped(encoded).decode("utf-8", "surrogatepass"))

    # A store knows the case of no other letters.
    parts = [] if passes_null else re.findall("[ -~]+", part)
    return Condition(
        may_pass, part=max(parts, key=len, default="").lower())


def part_of_like(pattern):
    """Return the longest text that all that a pattern of LIKE finds contains.

    SQLite compares nothing behind a NUL.
    """
    return max(re.split("[%_]", pattern.split("\0")[0]), key=len)
