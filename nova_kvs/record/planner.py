# SPDX-License-Identifier: Apache-2.0
"""Chooses access paths: by which columns the rows of a table are read.

The only place where a path is chosen. The dialect asks it with the columns
that a statement restricts, the native functions with their equalities, and
the record layer for the index that answers an access. The choice depends on
the table and on what is known, never on a set's order or a hash seed.

A path is better the fewer rows it is expected to read:

* a partition, a primary key, a unique key whose values are known;
* one of these whose values come from rows that were read (a join);
* a declared index, longest prefix first, then one of which no column is left,
  then in order of declaration;
* an index by nothing but a column that most live rows agree on;
* a scan.

An index of the rows with some values is not among these, for it finds nothing
else: ``partial_path`` tells whether a condition asks for these only.
"""

import enum
import itertools
import typing

from nova_kvs.record import access
from nova_kvs.record.indexes import entry_columns

#: Most live rows share one value of this column.
BROAD_COLUMN = "deleted"
#: No live row has a value there, nor is one compared with it.
DELETION_COLUMN = "deleted_at"

# Kinds of paths, by the access that they make.
PARTITION = "partition"
KEY = "key"
INDEX = "index"
SCAN = "scan"


class Rank(enum.IntEnum):
    """Expected cost of a path; lower is better.

    LINKED: some values are read from rows of other tables. A join to a
    row's key or partition beats an index whose selectivity is not known.
    """

    PARTITION = 0
    KEY = 1
    UNIQUE = 2
    LINKED_PARTITION = 3
    LINKED_KEY = 4
    LINKED_UNIQUE = 5
    INDEX = 6
    LINKED_INDEX = 7
    BROAD = 8
    LINKED_BROAD = 9
    SCAN = 10


_LINKED = {Rank.PARTITION: Rank.LINKED_PARTITION,
           Rank.KEY: Rank.LINKED_KEY,
           Rank.UNIQUE: Rank.LINKED_UNIQUE,
           Rank.INDEX: Rank.LINKED_INDEX,
           Rank.BROAD: Rank.LINKED_BROAD}


class Path(typing.NamedTuple):
    """A way to read the rows whose columns have known values.

    :ivar rank: if the values of all columns are known.
    :ivar columns: the columns whose values are asked for.
    :ivar index: the index that begins with the columns.
    :ivar unique: the UniqueKey that finds the rows, if no
        index does.
    """

    rank: Rank
    kind: str
    columns: tuple = ()
    index: typing.Any = None
    unique: typing.Any = None

    @property
    def is_partial(self):
        """True for an index of the rows that have some values.

        Live rows do not count: most conditions ask for these.
        """
        return self.index is not None and _is_partial(self.index)

    @property
    def linked_rank(self):
        """The rank if some of the values are read from other tables."""
        return _LINKED[self.rank]

    def holds(self, columns, values):
        """Tell whether the path finds every row that has these values.

        An index over some rows only, or without the rows that have NULL
        in a column, may not have them.

        :param columns: names, at least those of the path.
        :param values: the value of each of them, as stored.
        """
        index = self.index or self.unique
        return index is None or index.holds(dict(zip(columns, values)))

    def access(self, table, tuples, table_only=False,
               only_columns=frozenset()):
        """Return the access that reads the rows with some values.

        :param table: its name.
        :param tuples: values of ``columns``, as stored.
        :param table_only: as of ByPartition and ByIndex.
        :param only_columns: as of ByIndex.
        """
        if self.kind == PARTITION:
            return access.ByPartition(
                table, tuple([value for value, in tuples]), table_only)
        if self.kind == KEY:
            return access.ByKey(table, tuple(tuples))
        if self.kind == INDEX:
            return access.ByIndex(
                table, self.columns, tuple(tuples), table_only, only_columns)
        return access.FullScan(table)

    def explain(self):
        """Return a text of the path, the same for the same table."""
        if self.kind == SCAN:
            return "full scan"
        text = "%s (%s)" % (self.kind, ", ".join(self.columns))
        if self.rank == Rank.UNIQUE:
            text = "unique " + text
        elif self.rank == Rank.BROAD:
            text = "broad " + text
        return text


FULL_SCAN = Path(Rank.SCAN, SCAN)


def must_be_deleted(ranges, unequal):
    """Tell whether a row must have the time of a deletion.

    :param ranges: pairs of column and whether it is a lower bound.
    :param unequal: columns that are not NULL.
    """
    return DELETION_COLUMN in unequal or any(
        [column == DELETION_COLUMN for column, _is_low in ranges])


def tells_partition(table):
    """Tell whether a row's partition can be found from its primary key."""
    return (table.partition_column is None
            or table.partition_column in table.key
            or any(index.columns[:len(table.key)] == table.key
                   for index in table.indexes))


def paths(table):
    """Return every Path of a table but the scan, best first.

    :param table: nova_kvs.record.schema.Table.
    :returns: tuple; the order is total.
    """
    found = []
    column = table.partition_column
    if column is not None:
        found.append(Path(Rank.PARTITION, PARTITION, (column,)))
    # A key that does not tell its partition may cost a scan.
    found.append(Path(
        Rank.KEY if tells_partition(table) else Rank.BROAD, KEY, table.key))
    taken = {path.columns for path in found}
    uniques = {unique.columns for unique in table.uniques}
    indexed = set()
    for index in table.indexes:
        for length in range(len(index.columns), 0, -1):
            columns = index.columns[:length]
            indexed.add(columns)
            if columns not in taken:
                found.append(Path(
                    Rank.PARTITION if index.is_partitioned
                    else _rank(columns, uniques), INDEX, columns, index))
    for unique in table.uniques:
        if not (unique.inside or unique.columns in indexed
                or unique.columns in taken):
            found.append(Path(
                Rank.UNIQUE, INDEX, unique.columns, None, unique))
    # The sort is stable: what is equal stays in order of declaration.
    found.sort(key=lambda path: (
        path.rank, path.kind != KEY, -len(path.columns),
        path.index is not None and path.index.columns != path.columns))
    return tuple(found)


def partition_index(table, columns):
    """Return the index within partitions that begins with columns, or None.
    """
    return next((index for index in table.indexes if index.is_partitioned
                 and index.columns[:len(columns)] == columns), None)


def _rank(columns, uniques):
    if columns in uniques:
        return Rank.UNIQUE
    return Rank.BROAD if columns == (BROAD_COLUMN,) else Rank.INDEX


def choose(table, known, link=None):
    """Return the best Path for rows with known values, and its rank.

    :param table: nova_kvs.record.schema.Table.
    :param known: names of the columns whose values are known.
    :param link: function of the columns that a path needs and are not
        known; true if their values can be read from other tables.
    :returns: (Rank, Path, what ``link`` returned or None).
    """
    rank, best, origin = Rank.SCAN, FULL_SCAN, None
    for path in table.paths:
        if path.is_partial:
            continue
        missing = tuple([column for column in path.columns
                         if column not in known])
        if not missing:
            if path.rank < rank:
                rank, best, origin = path.rank, path, None
        elif link is not None and path.linked_rank < rank:
            found = link(missing)
            if found:
                rank, best, origin = path.linked_rank, path, found
    return rank, best, origin


def known_path(table, names):
    """Return the best Path for rows with known values, which is kept.

    :param names: tuple of columns.
    """
    path = table.known_paths.get(names)
    if path is None:
        path = table.known_paths[names] = choose(table, names)[1]
    return path


def _is_partial(index):
    return bool(index.without) or (
        index.only is not None and index.only[0] != BROAD_COLUMN)


def partial_path(table, values):
    """Return a Path by an index of the rows that have some values, or None.

    :param values: column -> list or tuple of the values, as stored, of the
        rows that are looked for.
    """
    for path in table.partial_paths:
        column = path.columns[0]
        found = values.get(column)
        if found and all([path.index.holds({column: value})
                          for value in found]):
            return path
    return None


def index_path(table, columns, tuples):
    """Return the best Path by an index or unique key, or None.

    :param columns: names of the columns whose values are known.
    :param tuples: values of these columns, as stored: the path finds the
        rows of each.
    """
    for path in table.paths:
        if path.kind == INDEX and set(path.columns).issubset(columns) and all(
                [path.holds(columns, values) for values in tuples]):
            return path
    return None


class Ordered(typing.NamedTuple):
    """A way to read rows in the order of an index, or a range of it.

    :ivar index: nova_kvs.record.schema.Index.
    :ivar prefix: its first columns, whose values are known.
    :ivar columns: those that follow, in whose order the rows come.
    :ivar reverse: the order is descending.
    """

    rank: Rank
    index: typing.Any
    prefix: tuple
    columns: tuple
    reverse: bool = False

    @property
    def position(self):
        """The columns whose values tell where a row is in the order."""
        return self.index.columns[len(self.prefix):]

    def holds(self, values):
        """Tell whether every row with these first values is in the index.

        Without any: every row that has a value to be compared or sorted.

        :param values: of ``prefix``, as stored.
        """
        return not values or self.index.holds(dict(zip(self.prefix, values)))

    def access(self, table, values, low=None, high=None, limit=None,
               table_only=False):
        """Return the access that reads rows in this order.

        :param table: its name.
        :param values: of ``prefix``, as stored.
        :param low: values of the first of ``columns``, inclusive, or None.
        :param high: likewise.
        :param table_only: as of ByIndex.
        """
        return access.ByRange(table, self.index.name, values, low, high,
                              limit, self.reverse, table_only)

    def explain(self):
        """Return a text of the path, the same for the same table."""
        return "%s %s by (%s)" % (
            "reverse order of" if self.reverse else "order of",
            self.index.name, ", ".join((*self.prefix, *self.columns)))


def in_order(table, known, order):
    """Return the best Ordered path that delivers rows in an order, or None.

    :param table: nova_kvs.record.schema.Table.
    :param known: columns that have one known value each.
    :param order: pairs of column and whether it descends. The path has the
        order of the first of them at least.
    """
    order = [(column, descends) for column, descends in order
             if column not in known]
    if not order:
        return None
    found = []
    for index, prefix, rest in _after_prefix(table, known):
        columns = ()
        for (column, descends), mine in zip(order, rest):
            if column != mine or descends != order[0][1] or (
                    not index.has_exact_order(mine)):
                break
            columns += (column,)
        if columns:
            found.append(Ordered(
                _rank_of_prefix(index, prefix), index, prefix, columns,
                order[0][1]))
    if not found and order[0][0] == table.auto_id and (
            table.auto_id in table.columns):
        found.append(ById(Rank.BROAD, table.key, order[0][1]))
    return min(found, key=lambda path: (
        path.rank, -len(path.prefix), -len(path.columns)), default=None)


class ById(typing.NamedTuple):
    """A way to read rows in the order of their automatic ids.

    As Ordered, without an index.
    """

    rank: Rank
    columns: tuple
    reverse: bool
    prefix: tuple = ()

    @property
    def position(self):
        """The columns whose values tell where a row is in the order."""
        return self.columns

    def holds(self, values):
        """Tell whether every row with these first values is found."""
        return True

    def access(self, table, values, low=None, high=None, limit=None,
               table_only=False):
        """Return the access that reads rows in this order.

        :param low: as of Ordered. :param high: likewise.
        """
        low, high = (None if end is None else end[0] for end in (low, high))
        if not all([end is None or type(end) is int
                    for end in (low, high)]):
            return access.FullScan(table)
        return access.ByIdRange(table, low, high, limit, self.reverse)

    def explain(self):
        """Return a text of the path, the same for the same table."""
        return "%s ids (%s)" % (
            "reverse order of" if self.reverse else "order of",
            ", ".join(self.columns))


class Any(typing.NamedTuple):
    """A way to read some rows, if no order is wanted.

    :ivar index: one whose first columns, ``prefix``, are known; or None.
    """

    rank: Rank
    index: typing.Any = None
    prefix: tuple = ()
    columns: tuple = ()
    reverse: bool = False

    def holds(self, values):
        """Tell whether every row with these first values is found."""
        return self.index is None or self.index.holds(
            dict(zip(self.prefix, values)))

    def access(self, table, values, low=None, high=None, limit=None,
               table_only=False):
        """Return the access that reads so many rows."""
        if self.index is None:
            return access.SomeRows(table, limit)
        return access.ByRange(table, self.index.name, values, limit=limit,
                              table_only=table_only)

    def explain(self):
        """Return a text of the path, the same for the same table."""
        if self.index is None:
            return "any rows"
        return "any of %s by (%s)" % (
            self.index.name, ", ".join(self.prefix))


def in_any_order(table, known):
    """Return the best path that reads some rows, in no order.

    Without an index it reads the first ids, as SQL databases do: who reads
    the same rows again, until none is left to be changed, relies on that.

    :param table: nova_kvs.record.schema.Table.
    :param known: columns that have one known value each.
    """
    found = [Any(_rank_of_prefix(index, prefix), index, prefix)
             for index, prefix, _rest in _after_prefix(table, known)
             if prefix]
    if not found and table.auto_id in table.columns:
        return ById(Rank.BROAD, table.key, False)
    return min(found, key=lambda path: (path.rank, -len(path.prefix)),
               default=Any(Rank.SCAN))


def in_range(table, known, ranges):
    """Return the best Ordered path through a range of an index, or None.

    :param table: nova_kvs.record.schema.Table.
    :param known: columns that have one known value each.
    :param ranges: columns that have a lower or an upper bound.
    """
    found = [Ordered(_rank_of_prefix(index, prefix), index, prefix, rest[:1])
             for index, prefix, rest in _after_prefix(table, known)
             if rest and rest[0] in ranges]
    if not found and table.auto_id in ranges:
        found.append(ById(Rank.BROAD, table.key, False))
    return min(found, key=lambda path: (path.rank, -len(path.prefix)),
               default=None)


class ByEntries(typing.NamedTuple):
    """A way to read the rows whose entries in an index pass a condition.

    :ivar index: one that has all rows.
    :ivar columns: that its entries tell and the condition names.
    :ivar order: pairs of column and whether it descends: of a wanted order
        as much as entries tell.
    """

    index: typing.Any
    columns: frozenset
    order: tuple

    @property
    def is_useful(self):
        """False if the entries tell no row from the others."""
        return bool(self.order or self.columns.difference(
            self.index.columns[:1]))

    def explain(self):
        """Return a text of the path, the same for the same table."""
        text = "scan of index %s, condition on entries" % self.index.name
        if self.columns:
            text += " (%s)" % ", ".join(sorted(self.columns))
        if self.order:
            text += ", sorted by (%s)" % ", ".join(
                [column for column, _ in self.order])
        return text


def by_entries(table, columns, order):
    """Return the best useful ByEntries path, or None.

    It reads all entries: any index that finds rows by their values is better.

    :param table: nova_kvs.record.schema.Table.
    :param columns: whose values decide whether a row is wanted.
    :param order: pairs of column and whether it descends.
    """
    found = []
    for index in table.indexes:
        if index.is_global and index.is_ordered and index.is_complete:
            offered = entry_columns.offered(table, index)
            told = tuple(itertools.takewhile(
                lambda pair: pair[0] in offered, order))
            found.append(ByEntries(
                index, offered.intersection(columns), told))
    # Of equals the one whose entries are shortest.
    return max([path for path in found if path.is_useful], key=lambda path: (
        len(path.columns), len(path.order), -len(path.index.columns)),
        default=None)


def coarse_index(table, column):
    """Return the ordered index that has a column roughly first, or None.

    It lacks the rows that have NULL there.
    """
    return next((index for index in table.indexes
                 if index.is_global and index.is_ordered
                 and index.only is None and index.columns[0] == column
                 and column in index.coarse), None)


def _after_prefix(table, known):
    """Yield each index with its first columns that are known, and the rest.

    One across partitions that is not ordered is stored by its first
    column's values.
    """
    for index in table.indexes:
        if _is_partial(index):
            continue
        length = 0
        while length < len(index.columns) and index.columns[length] in known:
            length += 1
        if length or index.is_ordered and index.only is None:
            yield index, index.columns[:length], index.columns[length:]


def _rank_of_prefix(index, prefix):
    if index.is_partitioned:
        return Rank.PARTITION
    return Rank.BROAD if prefix in ((), (BROAD_COLUMN,)) else Rank.INDEX
