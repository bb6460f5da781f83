# SPDX-License-Identifier: Apache-2.0
"""From the text of a simple SELECT to a statement that can be explained.

The dialect plans what SQLAlchemy compiles. Text it never plans: it only tells
which tables are named. So what an operator types is made into what a service
would have built: one table, conditions that are joined by AND, an order and a
limit.
"""

import sqlalchemy

from nova_kvs.dialect import sqltext
from nova_kvs import exceptions

_COMPARISONS = {
    "=": lambda column, value: column == value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
    "!=": lambda column, value: column != value,
    "<>": lambda column, value: column != value,
}
_CONSTANTS = {"NULL": None, "TRUE": True, "FALSE": False}


def statement(sql, engine):
    """Return SQLAlchemy's statement for a text.

    :param sql: SELECT ... FROM table [WHERE ... AND ...] [ORDER BY ...]
        [LIMIT ...]; what is selected does not matter.
    :param engine: of this dialect, whose database has the table.
    :raises nova_kvs.exceptions.ConfigurationError: naming what is not
        understood.
    """
    return _Parser(sql, engine).select()


def _refuse(text):
    return exceptions.ConfigurationError(
        "explain reads SELECT * FROM one table WHERE conditions joined by "
        "AND, ORDER BY and LIMIT: it does not understand what begins here",
        near=text[:40] or "the end")


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, sql, engine):
        tokens = [token for token in sqltext.tokens(sql.rstrip("; \n"))
                  if token.kind != "space"]
        self._tokens = []
        for token in tokens:
            # Operators and numbers come a character at a time.
            last = self._tokens[-1].text if self._tokens else ""
            if token.kind == "other" and (
                    last + token.text in _COMPARISONS and last in "<>!"
                    or token.text.isdigit() and last.isdigit()):
                self._tokens[-1] = token._replace(text=last + token.text)
            else:
                self._tokens.append(token)
        self._engine = engine
        self._at = 0
        self._table = None

    # Tokens -----------------------------------------------------------------

    def _peek(self):
        return (self._tokens[self._at].text
                if self._at < len(self._tokens) else "")

    def _next(self):
        if self._at >= len(self._tokens):
            raise _refuse("")
        self._at += 1
        return self._tokens[self._at - 1]

    def _takes(self, *words):
        """Tell whether these words come next, and pass over them."""
        found = [token.text.upper() for token
                 in self._tokens[self._at:self._at + len(words)]]
        if found != list(words):
            return False
        self._at += len(words)
        return True

    def _expect(self, *words):
        if not self._takes(*words):
            raise _refuse(self._peek())

    def _name(self):
        name = self._next().name
        if name is None:
            self._at -= 1
            raise _refuse(self._peek())
        return name

    # Clauses ----------------------------------------------------------------

    def select(self):
        """Return the statement."""
        self._expect("SELECT")
        depth = 0
        while depth or not self._takes("FROM"):
            text = self._next().text
            depth += (text == "(") - (text == ")")
        name = self._name()
        metadata = sqlalchemy.MetaData()
        metadata.reflect(self._engine, only=lambda found, _: found == name)
        if name not in metadata.tables:
            raise exceptions.ConfigurationError(
                "the database has no such table", table=name)
        self._table = metadata.tables[name]
        found = sqlalchemy.select(self._table)
        if self._takes("WHERE"):
            found = found.where(self._condition())
            while self._takes("AND"):
                found = found.where(self._condition())
        if self._takes("ORDER", "BY"):
            found = found.order_by(self._ordering())
            while self._takes(","):
                found = found.order_by(self._ordering())
        if self._takes("LIMIT"):
            found = found.limit(self._value())
            if self._takes("OFFSET"):
                found = found.offset(self._value())
        if self._peek():
            raise _refuse(self._peek())
        return found

    def _column(self):
        name = self._name()
        if self._takes("."):
            name = self._name()
        if name not in self._table.columns:
            raise exceptions.ConfigurationError(
                "the table has no such column", column=name)
        return self._table.columns[name]

    def _ordering(self):
        column = self._column()
        if self._takes("DESC"):
            return column.desc()
        self._takes("ASC")
        return column

    def _condition(self):
        column = self._column()
        if self._takes("IS", "NOT", "NULL"):
            return column.is_not(None)
        if self._takes("IS", "NULL"):
            return column.is_(None)
        if self._takes("IN", "("):
            values = [self._value()]
            while self._takes(","):
                values.append(self._value())
            self._expect(")")
            return column.in_(values)
        if self._takes("BETWEEN"):
            low = self._value()
            self._expect("AND")
            return column.between(low, self._value())
        if self._takes("LIKE"):
            return column.like(self._value())
        comparison = _COMPARISONS.get(self._peek())
        if comparison is None:
            raise _refuse(self._peek())
        self._at += 1
        return comparison(column, self._value())

    def _value(self):
        token = self._next()
        if token.kind == "text":
            return token.text[1:-1].replace("''", "'")
        if token.keyword in _CONSTANTS:
            return _CONSTANTS[token.keyword]
        sign = 1
        if token.text == "-":
            sign, token = -1, self._next()
        if not token.text.isdigit():
            self._at -= 1
            raise _refuse(self._peek())
        return sign * int(token.text)
