# SPDX-License-Identifier: Apache-2.0
"""SQLite's compiler, which also notes the structure of what it renders.

Planning needs each SELECT's final FROM list and criteria, after the ORM has
expanded joins and after correlation. The compiler is the one place where
they exist, for every nested SELECT too, so they are noted there; what they
mean is :mod:`nova_kvs.dialect.analysis`' job.
"""

from sqlalchemy.dialects.sqlite import base
from sqlalchemy.sql import selectable

from nova_kvs.compatibility import private


class Scope:
    """One SELECT, or the table and criteria of an UPDATE or DELETE."""

    __slots__ = ("parent", "froms", "criteria", "select", "sources",
                 "derived")

    def __init__(self, parent):
        self.parent = parent
        #: FROM elements, as rendered.
        self.froms = ()
        #: Criteria that all must be true.
        self.criteria = ()
        #: The Select that was rendered, or None.
        self.select = None
        #: FROM element -> sources.Source, filled by analysis.
        self.sources = {}
        #: FROM elements that are subqueries, filled by analysis.
        self.derived = set()


class KVSCompiler(base.SQLiteCompiler):
    """Renders SQLite's SQL and keeps the notes that planning needs."""

    def __init__(self, *args, **kwargs):
        #: Every Scope, inner ones first.
        self.kvs_scopes = []
        #: Select element (as given and as expanded) -> its Scopes, several
        #: if it is rendered in several places; the values are None.
        self.kvs_selects = {}
        #: Subquery of a FROM list -> its text, None if it has several.
        self.kvs_texts = {}
        #: Column of such a subquery -> its text.
        self.kvs_columns = {}
        #: Names of tables that were rendered, once for each time.
        self.kvs_tables = []
        #: Fragments of raw SQL.
        self.kvs_fragments = []
        #: The Insert, Update or Delete as expanded, or None.
        self.kvs_dml = None
        #: Plans by schema, filled by the dialect.
        self.kvs_plan = None
        #: True if the statement locks the rows that it reads.
        self.kvs_locks = False
        #: The exception because of which the statement cannot be planned.
        self.kvs_failure = None
        self._kvs_scope = None
        super().__init__(*args, **kwargs)

    @property
    def kvs_is_planned(self):
        """False for text, of which only the names of tables are known."""
        return bool(self.kvs_scopes) or self.kvs_dml is not None

    def kvs_converts(self, kind):
        """Tell whether SQL makes another value of a type's parameters."""
        return getattr(kind.dialect_impl(self.dialect),
                       private.HAS_BIND_EXPRESSION)

    def visit_select(self, select_stmt, *args, **kwargs):
        scope = Scope(self._kvs_scope)
        self.kvs_selects.setdefault(select_stmt, {})[scope] = None
        self._kvs_scope = scope
        try:
            return super().visit_select(select_stmt, *args, **kwargs)
        finally:
            self._kvs_scope = scope.parent
            self.kvs_scopes.append(scope)
            if scope.select is None and self.kvs_failure is None:
                self.kvs_failure = AttributeError(
                    private.COMPOSE_SELECT_BODY)

    def for_update_clause(self, select, **kwargs):
        self.kvs_locks = True
        return super().for_update_clause(select, **kwargs)

    def _compose_select_body(self, text, select, compile_state,
                             inner_columns, froms, *args, **kwargs):
        scope = self._kvs_scope
        try:
            scope.select = select
            scope.froms = tuple(froms)
            scope.criteria = tuple(getattr(select, private.WHERE_CRITERIA))
            self.kvs_selects.setdefault(select, {})[scope] = None
        # Of whatever this release of SQLAlchemy is another.
        except Exception as error:
            self.kvs_failure = error
        return super()._compose_select_body(
            text, select, compile_state, inner_columns, froms, *args,
            **kwargs)

    def _visit_dml(self, visit, statement, kwargs):
        if self.stack:
            # Inside a CTE, which SQLite refuses.
            return visit(statement, **kwargs)
        self._kvs_scope = scope = Scope(None)
        try:
            return visit(statement, **kwargs)
        finally:
            self._kvs_scope = None
            self.kvs_scopes.append(scope)
            try:
                self._note_dml(scope)
            except Exception as error:
                self.kvs_failure = error

    def _note_dml(self, scope):
        state = self.dml_compile_state
        if state is not None:
            self.kvs_dml = dml = state.statement
            scope.froms = (dml.table, *getattr(
                state, private.EXTRA_FROMS, ()))
            scope.criteria = tuple(getattr(dml, private.WHERE_CRITERIA))

    def visit_update(self, update_stmt, **kwargs):
        return self._visit_dml(super().visit_update, update_stmt, kwargs)

    def visit_delete(self, delete_stmt, **kwargs):
        return self._visit_dml(super().visit_delete, delete_stmt, kwargs)

    def visit_insert(self, insert_stmt, *args, **kwargs):
        text = super().visit_insert(insert_stmt, *args, **kwargs)
        if self.dml_compile_state is not None and not self.stack:
            self.kvs_dml = self.dml_compile_state.statement
        return text

    def visit_table(self, table, asfrom=False, **kwargs):
        if asfrom or kwargs.get("within_tstring"):
            self.kvs_tables.append(table.name)
        return super().visit_table(table, asfrom=asfrom, **kwargs)

    def visit_subquery(self, subquery, **kwargs):
        text = super().visit_subquery(subquery, **kwargs)
        if kwargs.get("asfrom") and self.kvs_texts.setdefault(
                subquery, text) != text:
            self.kvs_texts[subquery] = None
        return text

    def visit_textclause(self, textclause, *args, **kwargs):
        self.kvs_fragments.append(textclause.text)
        return super().visit_textclause(textclause, *args, **kwargs)

    def visit_column(self, column, *args, **kwargs):
        if column.is_literal:
            self.kvs_fragments.append(str(column.name))
        text = super().visit_column(column, *args, **kwargs)
        if isinstance(column.table, selectable.Subquery):
            self.kvs_columns[column] = text
        return text

    def visit_tstring_text(self, element, **kwargs):
        # SQLAlchemy 2.1: the text between the expressions of a t-string.
        self.kvs_fragments.append(element.text)
        return super().visit_tstring_text(element, **kwargs)
