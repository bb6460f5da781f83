# SPDX-License-Identifier: Apache-2.0
"""Completes what SQLite tells of a table.

Migrations drop keys by the names that they find, so a key without a name has
the one that MySQL gives it, until an ALTER TABLE writes it into the text.
"""

from sqlalchemy.engine import reflection

from nova_kvs.dialect import tabletext
from nova_kvs import rules


def _named(text, indexes):
    """Return a table's TableText with all names, or None without a text.

    :param indexes: names of its indexes.
    """
    if text is None:
        return None
    table = tabletext.TableText(text)
    table.give_names(indexes)
    return table


class Reflection:
    """Finds what a table has; mixed into SQLite's own reflection."""

    def _kvs_table(self, connection, table_name, schema, kw):
        indexes = self.get_indexes(connection, table_name, schema, **kw)
        return _named(
            self._get_table_sql(connection, table_name, schema=schema),
            [index["name"] for index in indexes])

    @reflection.cache
    def get_indexes(self, connection, table_name, schema=None, **kw):
        # Those that rules add are ours, not the service's.
        return [index for index in super().get_indexes(
            connection, table_name, schema=schema, **kw)
            if not index["name"].startswith(rules.PREFIX)]

    @reflection.cache
    def get_columns(self, connection, table_name, schema=None, **kw):
        found = super().get_columns(
            connection, table_name, schema=schema, **kw)
        for column in found:
            if column["primary_key"]:
                # As in every database but SQLite.
                column["nullable"] = False
        return found

    @reflection.cache
    def get_foreign_keys(self, connection, table_name, schema=None, **kw):
        found = super().get_foreign_keys(
            connection, table_name, schema=schema, **kw)
        table = found and self._kvs_table(connection, table_name, schema, kw)
        if not table:
            return found
        actions = {}
        for row in self._get_table_pragma(
                connection, "foreign_key_list", table_name, schema=schema):
            number, _position, target, column, _parent, update, delete = (
                row[:7])
            entry = actions.setdefault(number, ([], target, update, delete))
            entry[0].append(column.lower())
        # SQLite numbers them from the last one.
        stated = [actions[number] for number in sorted(actions, reverse=True)]
        names = [clause.name for _columns, clause
                 in table.all_constraints("FOREIGN")]
        for key in found:
            signature = [column.lower() for column
                         in key["constrained_columns"]]
            for at, (columns, target, update, delete) in enumerate(stated):
                if columns == signature and (
                        target.lower() == key["referred_table"].lower()):
                    if key["name"] is None:
                        key["name"] = names[at]
                    for option, action in (("onupdate", update),
                                           ("ondelete", delete)):
                        if action != "NO ACTION":
                            key["options"][option] = action
                    del stated[at], names[at]
                    break
        return found

    @reflection.cache
    def get_unique_constraints(self, connection, table_name, schema=None,
                               **kw):
        found = super().get_unique_constraints(
            connection, table_name, schema=schema, **kw)
        if all(key["name"] for key in found):
            return found
        table = self._kvs_table(connection, table_name, schema, kw)
        keys = table.all_constraints("UNIQUE")
        for key in found:
            wanted = [column.lower() for column in key["column_names"]]
            for at, (columns, clause) in enumerate(keys):
                if [column.lower() for column in columns] == wanted:
                    key["name"] = key["name"] or clause.name
                    del keys[at]
                    break
        return [key for key in found if key["name"]]

    @reflection.cache
    def get_check_constraints(self, connection, table_name, schema=None,
                              **kw):
        found = super().get_check_constraints(
            connection, table_name, schema=schema, **kw)
        if all(key["name"] for key in found):
            return found
        table = self._kvs_table(connection, table_name, schema, kw)
        clauses = [clause for _columns, clause
                   in table.all_constraints("CHECK")]
        for key in found:
            for clause in clauses:
                if key["name"] is None and key["sqltext"] in clause.text:
                    key["name"] = clause.name
                    clauses.remove(clause)
                    break
        return found
