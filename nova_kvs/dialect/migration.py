# SPDX-License-Identifier: Apache-2.0
"""Alembic on the dialect: what SQLite's implementation does, in one commit.

Importing the module registers it.
"""

from alembic.ddl import base
from alembic.ddl import sqlite
from sqlalchemy.ext import compiler


class KVSImpl(sqlite.SQLiteImpl):
    """Alembic's operations for the dialect ``kvs``."""

    __dialect__ = "kvs"
    # All of an upgrade is one transaction: it happens or it does not.
    transactional_ddl = True


compiler.compiles(base.RenameTable, "kvs")(sqlite.visit_rename_table)
compiler.compiles(base.ColumnName, "kvs")(sqlite.visit_column_name)
