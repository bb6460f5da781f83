# SPDX-License-Identifier: Apache-2.0
"""Gives ids to the rows that the statements of a workspace insert."""

from nova_kvs.dialect import template as templates
from nova_kvs import exceptions


class Ids:
    """The ids that a workspace gives, of what a process has in blocks.

    :param space: nova_kvs.dialect.workspace.Workspace.
    :ivar given: those that a statement gave to rows; who starts a statement
        empties it.
    """

    def __init__(self, space):
        self._space = space
        self.given = []
        #: Pairs of a table's name and an id that the transaction gave.
        self._all_given = set()
        self._reserved_for = None
        self._reserved = (None, iter(()))

    def reserve(self, table, sets):
        """Take ids for all rows that a statement is about to insert.

        :param sets: the statement's parameter sets; it may run in parts,
            each with the same list.
        """
        if self._reserved_for is sets:
            return
        first = self._take(table, len(sets))
        self._reserved_for = sets
        self._reserved = (table, iter(range(first, first + len(sets))))

    def repeat(self, table, numbers):
        """Let a statement that is run again give its rows the same ids."""
        self._reserved = (table, iter(numbers))

    def next(self, table):
        """Return the id of a new row; SQLite calls this.

        :param table: its name in the text of the table.
        """
        # Of a SQLite function: what it raises would be lost.
        try:
            # The text of a table that was renamed has its first name.
            table = self._space.renamed.get(table, table)
            name, numbers = self._reserved
            number = next(numbers, None) if name == table else None
            if number is None:
                number = self._take(table, 1)
            self.given.append(number)
            self._all_given.add((table, number))
        except exceptions.KVSError as error:
            self._space.function_error = error
            raise
        return number

    def explain(self, error):
        """Raise a conflict if a duplicate key is an id that was given.

        A row brought along an id of the block that this process had already:
        run again, the transaction gets another one.

        :param error: exceptions.DuplicateKeyError of the commit.
        :raises nova_kvs.exceptions.ConflictError: if it is.
        """
        info = self._space.info(error.table)
        if info is not None and error.columns == (info.generated,) and (
                (error.table, *error.values) in self._all_given):
            self._space.database.counters.forget(error.table)
            raise exceptions.ConflictError(table=error.table) from error

    def end(self):
        """Forget what the transaction gave."""
        self._all_given = set()

    def _take(self, table, count):
        """Return the first of some new ids that no row here has.

        The store hears of ids that rows brought along at the commit only.
        """
        space = self._space
        first = space.database.next_ids(table, count)
        info = space.info(table)
        if space.state(table).written and info is not None and info.generated:
            key = templates.quote(info.generated)
            highest, = space.sqlite.execute(
                "SELECT (SELECT max(%s) FROM %s) WHERE EXISTS (SELECT 1 "
                "FROM %s WHERE %s BETWEEN ? AND ?)" % (
                    key, *[templates.quote(table)] * 2, key),
                (first, first + count - 1)).fetchone() or (None,)
            if highest is not None:
                space.database.counters.skip(table, highest)
                first = space.database.next_ids(table, count)
        return first
