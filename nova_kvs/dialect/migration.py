# SPDX-License-Identifier: Apache-2.0
"""Alembic's operations on the dialect: ALTER TABLE, all in one commit.

Importing the module registers it.
"""

from alembic.ddl import base
from alembic.ddl import impl
from alembic.ddl import sqlite
from sqlalchemy.ext import compiler
from sqlalchemy import schema


class KVSImpl(sqlite.SQLiteImpl):
    """Alembic's operations for the dialect ``kvs``.

    Defaults and types are written as for SQLite, but a table is changed in
    place: the dialect makes it again where SQLite cannot change it.
    """

    __dialect__ = "kvs"
    # All of an upgrade is one transaction: it happens or it does not.
    transactional_ddl = True

    def requires_recreate_in_batch(self, batch_op):
        return False

    def alter_column(self, *args, comment=False, autoincrement=None,
                     existing_autoincrement=None, **options):
        # Comments are not kept; ids come from the store for any key that
        # is a number.
        super().alter_column(*args, **options)

    def add_constraint(self, const, **options):
        impl.DefaultImpl.add_constraint(self, const, **options)

    def drop_constraint(self, const, **options):
        if const.name is None and isinstance(
                const, schema.PrimaryKeyConstraint):
            # A table has one, so it needs no name.
            self.execute("ALTER TABLE %s DROP PRIMARY KEY" % (
                self.dialect.identifier_preparer.format_table(const.table)))
            return
        impl.DefaultImpl.drop_constraint(self, const, **options)


compiler.compiles(base.RenameTable, "kvs")(sqlite.visit_rename_table)
compiler.compiles(base.ColumnName, "kvs")(sqlite.visit_column_name)
