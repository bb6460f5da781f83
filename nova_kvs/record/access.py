# SPDX-License-Identifier: Apache-2.0
"""Access paths: how rows can be asked for, cheapest first.

Every one of them is answered with a superset of the rows it names.
"""

import typing


class ByPartition(typing.NamedTuple):
    """All rows of a table in the partitions of these column values.

    ``table_only`` as for ByIndex.
    """

    table: str
    values: tuple
    table_only: bool = False


class ByKey(typing.NamedTuple):
    """Rows by primary key: ``keys`` is a tuple of tuples."""

    table: str
    keys: tuple


class ByIndex(typing.NamedTuple):
    """Rows whose ``columns`` equal one of ``tuples``.

    ``columns`` is a prefix of one of ``Table.indexes``' column tuples.
    ``table_only`` says that nothing else of the rows' partitions will be
    asked for: then they are not read whole. ``only_columns`` are the only
    columns that the answer must have, or pairs of a column and the only value
    of it that matters: where a covering index includes them the answer may be
    Values instead of Records.
    """

    table: str
    columns: tuple
    tuples: tuple
    table_only: bool = False
    only_columns: frozenset = frozenset()


class ByRange(typing.NamedTuple):
    """Rows of one index in its order, from ``low`` to ``high``.

    ``prefix`` holds equal values for the index's first columns; ``low``
    and ``high`` are tuples that bound the next ones, inclusive, or None.
    ``table_only`` as for ByIndex.
    """

    table: str
    index: str
    prefix: tuple = ()
    low: tuple | None = None
    high: tuple | None = None
    limit: int | None = None
    reverse: bool = False
    table_only: bool = False


class ByEntries(typing.NamedTuple):
    """The next rows whose entries in an index pass a condition.

    At least ``limit`` of them, if so many are left; None: all. ``cursor`` is
    of nova_kvs.record.paths.by_entries.Cursor and serves one transaction.
    ``table_only`` as for ByIndex.
    """

    table: str
    cursor: typing.Any
    limit: int | None = None
    table_only: bool = False


class ByIdRange(typing.NamedTuple):
    """The first rows of a table with automatic ids, in the order of these.

    ``low`` and ``high`` are ids that bound the rows, inclusive, or None. At
    least ``limit`` rows, if there are so many; None: all.
    """

    table: str
    low: int | None
    high: int | None
    limit: int | None
    reverse: bool = False


class SomeRows(typing.NamedTuple):
    """Any rows of a table, at least ``limit`` if there are so many."""

    table: str
    limit: int


class FullScan(typing.NamedTuple):
    """All rows of a table. Counted, and logged at debug."""

    table: str


class DeletedRows(typing.NamedTuple):
    """All rows of a table that are marked as deleted.

    Their column ``deleted`` is neither 0 nor NULL, or ``deleted_at`` is not
    NULL.
    """

    table: str


class PartitionsOf(typing.NamedTuple):
    """The partitions that may have rows of a table, not its rows.

    ``deleted_only``: those of rows as of DeletedRows. The answer is a list of
    nova_kvs.keyspace.Partition, always in the same order.
    """

    table: str
    deleted_only: bool = False


class InPartitions(typing.NamedTuple):
    """All rows of a table in some partitions.

    ``partitions`` are of nova_kvs.keyspace.Partition, ``table_only`` is as for
    ByIndex.
    """

    table: str
    partitions: tuple
    table_only: bool = False


class Page(typing.NamedTuple):
    """Some rows of a table of one partition, in the order of an index.

    The answer is a pair: a list of Records, and ``after`` of the next page,
    which is None behind the last one.
    """

    table: str
    index: str
    limit: int
    after: bytes = b""


class Values(typing.NamedTuple):
    """Some columns of a stored row: enough to tell, not to write it."""

    table: str
    key: tuple
    #: column name -> value. Read only.
    values: dict


class Record(typing.NamedTuple):
    """A stored row: what a transaction read of it."""

    table: str
    key: tuple
    partition: object
    version: int
    #: column name -> value, without the columns that are NULL. Read only.
    values: dict


class CachedRecord(Record):
    """A record that the process keeps, and several transactions share.

    :ivar made: what the layer above made of its values the first time, and
        only reads; None at first.
    """

    made = None
