# SPDX-License-Identifier: Apache-2.0
"""From the text of a SELECT to a statement that can be explained.

The dialect plans what SQLAlchemy compiles. Text it never plans: it only tells
which tables are named. So what an operator types is made into what a service
would have built: tables and subqueries that are joined, conditions, an order
and a limit.
"""

import sqlalchemy
from sqlalchemy import exc

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
#: Words that end a table's name and may follow it: no alias.
_NO_ALIAS = frozenset((
    "CROSS", "GROUP", "HAVING", "INNER", "JOIN", "LEFT", "LIMIT", "ON",
    "ORDER", "WHERE"))


def statement(sql, engine):
    """Return SQLAlchemy's statement for a text.

    :param sql: SELECT ... FROM table [JOIN table ON ...] [WHERE ...]
        [ORDER BY ...] [LIMIT ...].
    :param engine: of this dialect, whose database has the tables.
    :raises nova_kvs.exceptions.ConfigurationError: naming what is not
        understood.
    """
    try:
        found = _Parser(sql, engine).statement()
        # Some of it is found out only now.
        found.compile(engine)
    except exc.SQLAlchemyError as error:
        raise exceptions.ConfigurationError(
            "the statement makes no sense: %s" % error.args[0]) from error
    return found


def _refuse(text):
    return exceptions.ConfigurationError(
        "explain reads SELECT, FROM tables and subqueries that are joined, "
        "WHERE, ORDER BY and LIMIT: it does not understand what begins here",
        near=text[:40] or "the end")


class _Parser:
    """Reads tokens from left to right."""

    def __init__(self, sql, engine):
        tokens = [token for token in sqltext.tokens(sql.rstrip("; \n"))
                  if token.kind != "space"]
        self._tokens = []
        for token in tokens:
            # Operators come a character at a time.
            last = self._tokens[-1].text if self._tokens else ""
            if token.kind == "other" and (
                    last + token.text in _COMPARISONS and last in "<>!"):
                self._tokens[-1] = token._replace(text=last + token.text)
            else:
                self._tokens.append(token)
        self._engine = engine
        self._metadata = sqlalchemy.MetaData()
        self._at = 0
        #: For each SELECT that is being read, the innermost last: alias ->
        #: Table or subquery.
        self._scopes = []

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

    def statement(self):
        """Return the statement."""
        found = self._select()
        if self._peek():
            raise _refuse(self._peek())
        return found

    def _select(self):
        self._expect("SELECT")
        begin = self._at
        depth = 0
        while depth or not self._takes("FROM"):
            text = self._next().text
            depth += (text == "(") - (text == ")")
        self._scopes.append({})
        source = self._source()
        while (found := self._join(source)) is not None:
            source = found
        found = sqlalchemy.select(*self._selected(begin)).select_from(source)
        if self._takes("WHERE"):
            found = found.where(self._any_of())
        if self._takes("ORDER", "BY"):
            found = found.order_by(self._ordering())
            while self._takes(","):
                found = found.order_by(self._ordering())
        if self._takes("LIMIT"):
            found = found.limit(self._value())
            if self._takes("OFFSET"):
                found = found.offset(self._value())
        self._scopes.pop()
        return found

    def _selected(self, begin):
        """Return the columns that a SELECT names: all, if not only names.

        :param begin: index of the token behind SELECT.
        """
        end, self._at = self._at, begin
        try:
            found = [self._column()]
            while self._takes(","):
                found.append(self._column())
            self._expect("FROM")
        except exceptions.ConfigurationError:
            found = list(self._scopes[-1].values())
        self._at = end
        return found

    def _source(self):
        """Return a table or a subquery behind FROM or JOIN."""
        if self._takes("("):
            found, name = self._select().subquery(), None
            self._expect(")")
        else:
            name = self._name()
            self._metadata.reflect(
                self._engine, only=lambda one, _: one == name)
            if name not in self._metadata.tables:
                raise exceptions.ConfigurationError(
                    "the database has no such table", table=name)
            found = self._metadata.tables[name]
        if self._takes("AS") or self._peek() and (
                self._peek().upper() not in _NO_ALIAS
                and self._tokens[self._at].name is not None):
            name = self._name()
            found = found.alias(name)
        if name in self._scopes[-1]:
            raise exceptions.ConfigurationError(
                "two tables of the statement need names of their own: write "
                "the name behind each", table=name)
        self._scopes[-1][name] = found
        return found

    def _join(self, left):
        """Return what is joined to a source by what follows, or None."""
        if self._takes(",") or self._takes("CROSS", "JOIN"):
            return left.join(self._source(), sqlalchemy.true())
        is_outer = self._takes("LEFT", "OUTER") or self._takes("LEFT")
        if not is_outer:
            self._takes("INNER")
        if not self._takes("JOIN"):
            return None
        right = self._source()
        self._expect("ON")
        return left.join(right, self._any_of(), isouter=is_outer)

    def _column(self):
        name = self._name()
        if self._takes("."):
            place, name = name, self._name()
            for scope in reversed(self._scopes):
                if place in scope:
                    places = [scope[place]]
                    break
            else:
                raise exceptions.ConfigurationError(
                    "no such table is named behind FROM", table=place)
        else:
            places = [one for scope in reversed(self._scopes)
                      for one in scope.values()]
        for one in places:
            if name in one.c:
                return one.c[name]
        raise exceptions.ConfigurationError(
            "the table has no such column", column=name)

    def _ordering(self):
        column = self._column()
        if self._takes("DESC"):
            return column.desc()
        self._takes("ASC")
        return column

    # Conditions -------------------------------------------------------------

    def _any_of(self):
        found = [self._all_of()]
        while self._takes("OR"):
            found.append(self._all_of())
        return sqlalchemy.or_(*found) if len(found) > 1 else found[0]

    def _all_of(self):
        found = [self._condition()]
        while self._takes("AND"):
            found.append(self._condition())
        return sqlalchemy.and_(*found) if len(found) > 1 else found[0]

    def _condition(self):
        if self._takes("NOT"):
            return sqlalchemy.not_(self._condition())
        if self._takes("EXISTS"):
            return self._subquery().exists()
        if self._takes("("):
            found = self._any_of()
            self._expect(")")
            return found
        column = self._column()
        if self._takes("IS", "NOT", "NULL"):
            return column.is_not(None)
        if self._takes("IS", "NULL"):
            return column.is_(None)
        if self._takes("NOT"):
            return sqlalchemy.not_(self._among(column))
        comparison = _COMPARISONS.get(self._peek())
        if comparison is None:
            return self._among(column)
        self._at += 1
        return comparison(column, self._column_or_value())

    def _among(self, column):
        """Return the condition of IN, BETWEEN or LIKE."""
        if self._takes("BETWEEN"):
            low = self._value()
            self._expect("AND")
            return column.between(low, self._value())
        if self._takes("LIKE"):
            return column.like(self._value())
        self._expect("IN")
        if self._tokens[self._at + 1:] and (
                self._tokens[self._at + 1].keyword == "SELECT"):
            found = self._subquery()
            if len(found.selected_columns) != 1:
                raise exceptions.ConfigurationError(
                    "the statement makes no sense: a subquery behind IN "
                    "selects one column", column=column.name)
            return column.in_(found)
        self._expect("(")
        values = [self._value()]
        while self._takes(","):
            values.append(self._value())
        self._expect(")")
        return column.in_(values)

    def _subquery(self):
        self._expect("(")
        found = self._select()
        self._expect(")")
        return found

    def _column_or_value(self):
        token = self._tokens[self._at] if self._peek() else None
        if token and token.name is not None and (
                token.keyword not in _CONSTANTS):
            return self._column()
        return self._value()

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
