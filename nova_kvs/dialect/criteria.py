# SPDX-License-Identifier: Apache-2.0
"""The restrictions that one clause of a statement implies for sources.

Each method of :class:`Criteria` takes a clause that must be true, the scope
that it stands in and the sources that it may restrict. It returns no more
than what is true of every row that passes the clause.
"""

from sqlalchemy.sql import elements
from sqlalchemy.sql import functions
from sqlalchemy.sql import operators
from sqlalchemy.sql import selectable

from nova_kvs.dialect import columns
from nova_kvs.dialect import paging
from nova_kvs.dialect import sources


class Criteria:
    """The meaning of the clauses of one statement."""

    def __init__(self, found):
        """Take the statement's columns.Columns."""
        self._columns = found

    def equalities(self, scope, clause, among):
        """Yield (source, column, values) that a clause says."""
        if isinstance(clause, elements.BooleanClauseList):
            # OR: a column that every alternative restricts has one of all
            # their values.
            alternatives = self.said_by_each(scope, clause, among)
            common = set(alternatives[0]).intersection(*alternatives[1:])
            for source, column in sorted(
                    common, key=lambda item: (item[0].order, item[1])):
                yield source, column, tuple(
                    value for found in alternatives
                    for value in found[source, column])
            return
        if isinstance(clause, elements.AsBoolean):
            # A column alone, or behind NOT: "= 1" or "= 0" as rendered.
            source, column = self._columns.stored(
                scope, columns.plain(clause.element), among)
            if source is not None:
                yield source, column, (sources.Value(
                    None, constant=int(clause.operator is operators.is_true)),)
            return
        if not isinstance(clause, elements.BinaryExpression):
            return
        left, right = columns.plain(clause.left), columns.plain(clause.right)
        if clause.operator is operators.eq:
            for one, other in ((left, right), (right, left)):
                source, column = self._columns.stored(scope, one, among)
                value = self._columns.value(other)
                if source is not None and value is not None:
                    yield source, column, (value,)
        elif clause.operator is operators.in_op:
            value = self._columns.value(right, True)
            if value is None:
                return
            if isinstance(left, elements.Tuple):
                for position, element in enumerate(left.clauses):
                    source, column = self._columns.stored(
                        scope, columns.plain(element), among)
                    if source is not None:
                        yield source, column, (
                            value._replace(
                                position=position,
                                width=len(left.clauses)),)
            else:
                source, column = self._columns.stored(scope, left, among)
                if source is not None:
                    yield source, column, (value,)

    def said_by_each(self, scope, clause, among):
        """Return for each alternative of an OR (source, column) -> values."""
        alternatives = []
        for alternative in clause.clauses:
            found = {}
            for part in conjuncts(alternative):
                for source, column, values in self.equalities(
                        scope, part, among):
                    found.setdefault((source, column), values)
            alternatives.append(found)
        return alternatives

    def bounds(self, scope, clause, among):
        """Return the bounds that a clause sets to columns.

        :returns: (source, column, whether it is a lower bound) -> Values:
            none of the column's values is beyond all of them.
        """
        if isinstance(clause, elements.BooleanClauseList):
            # OR: each alternative must bound the column.
            alternatives = []
            for alternative in clause.clauses:
                found = {}
                for part in conjuncts(alternative):
                    for place, values in self.bounds(
                            scope, part, among).items():
                        if not values[0].is_pattern:
                            found.setdefault(place, values)
                alternatives.append(found)
            return {place: tuple([value for found in alternatives
                                  for value in found[place]])
                    for place in alternatives[0]
                    if all(place in found for found in alternatives)}
        if not isinstance(clause, elements.BinaryExpression):
            return {}
        left, right = columns.plain(clause.left), columns.plain(clause.right)
        if clause.operator is operators.between_op and isinstance(
                right, elements.ExpressionClauseList):
            sides = [(left, columns.plain(bound), (is_low,)) for bound, is_low
                     in zip(right.clauses, (True, False))]
        elif clause.operator in _SIDES:
            sides = [(left, right, _SIDES[clause.operator]),
                     (right, left, tuple([
                         not is_low for is_low in reversed(
                             _SIDES[clause.operator])]))]
        else:
            sides = []
        found = {(source, column, is_low): values
                 for source, column, values in self.patterns(
                     scope, clause, among)
                 for is_low in (True, False)}
        for one, other, bounds in sides:
            one, bounds = _unless_null(one, bounds)
            source, column = self._columns.stored(scope, one, among)
            value = self._columns.value(other)
            if source is not None and value is not None:
                found.update(((source, column, is_low), (value,))
                             for is_low in bounds)
        return found

    def patterns(self, scope, clause, among):
        """Yield (source, column, values): it is one or like one of them."""
        if isinstance(clause, elements.BooleanClauseList):
            # OR: each alternative must say one of the column.
            alternatives = []
            for alternative in clause.clauses:
                found = {}
                for part in conjuncts(alternative):
                    for source, column, values in (
                            *self.patterns(scope, part, among),
                            *self.equalities(scope, part, among)):
                        found.setdefault((source, column), values)
                alternatives.append(found)
            for place in alternatives[0]:
                values = sum([found.get(place, (None,))
                              for found in alternatives], ())
                if None not in values and any(
                        [value.is_pattern for value in values]):
                    yield *place, values
        elif isinstance(clause, elements.BinaryExpression):
            left, right = map(columns.plain, (clause.left, clause.right))
            is_list = clause.operator is operators.in_op
            if not _is_like(clause):
                # What is equal in lower case is like it, in any case.
                left = _lowered(left) if is_list or (
                    clause.operator is operators.eq) else None
            source, column = self._columns.stored(scope, left, among)
            value = self._columns.value(right, is_list)
            if source is not None and value is not None and (
                    self._columns.affinity(source, column) == "TEXT"):
                yield source, column, (value._replace(is_pattern=True),)

    def differences(self, scope, clause, among):
        """Yield (source, column, value) of what a clause says is unequal."""
        if not isinstance(clause, elements.BinaryExpression):
            return
        left, right = columns.plain(clause.left), columns.plain(clause.right)
        if clause.operator is operators.is_not and isinstance(
                right, elements.Null):
            source, column = self._columns.stored(scope, left, among)
            if source is not None:
                yield source, column, sources.Value(None)
        elif clause.operator is operators.ne:
            for one, other in ((left, right), (right, left)):
                source, column = self._columns.stored(scope, one, among)
                value = self._columns.value(other)
                if source is not None and value is not None:
                    yield source, column, value

    def links(self, scope, clause, among):
        """Yield (source, column, origin) that a clause says."""
        if isinstance(clause, selectable.Exists):
            yield from self._links_of_exists(scope, clause, among)
        if not isinstance(clause, elements.BinaryExpression):
            return
        left, right = columns.plain(clause.left), columns.plain(clause.right)
        if clause.operator is operators.eq:
            pairs = ((left, self._columns.origin(scope, right, True)),
                     (right, self._columns.origin(scope, left, True)))
        elif clause.operator is operators.in_op:
            pairs = ((left, self._columns.origin_of_query(right)),)
        else:
            return
        for element, origin in pairs:
            source, column = self._columns.stored(scope, element, among)
            if source is None or not origin:
                continue
            if all(other is not source and self._columns.are_comparable(
                    source, column, other, name)
                    for other, name in sources.bases(origin)):
                yield source, column, origin

    def _links_of_exists(self, scope, clause, among):
        """Yield the links that the criteria of an EXISTS say.

        Of a row of ``among`` some row of the subquery must be equal.
        """
        inner = self._columns.only_scope(clause.element)
        if inner is None or clause.operator is not operators.exists or not (
                paging.is_of_rows(inner.select)):
            return
        own = set(inner.sources.values())
        for criterion in inner.criteria:
            for part in conjuncts(criterion):
                if not isinstance(part, elements.BinaryExpression) or (
                        part.operator is not operators.eq):
                    continue
                left, right = map(columns.plain, (part.left, part.right))
                for one, other in ((left, right), (right, left)):
                    source, column = self._columns.stored(scope, one, among)
                    mate, name = self._columns.stored(inner, other, own)
                    if source is not None and mate is not None and (
                            self._columns.are_comparable(
                                source, column, mate, name)):
                        yield source, column, ((mate, name),)


#: Operator -> sides on which the left operand is bounded: True is below.
_SIDES = {operators.eq: (True, False),
          operators.gt: (True,), operators.ge: (True,),
          operators.lt: (False,), operators.le: (False,)}


def _is_like(clause):
    """Tell whether a comparison is LIKE, in whatever way it is written."""
    operator = clause.operator
    if isinstance(operator, operators.custom_op):
        return operator.opstring.upper() == "LIKE"
    return operator is operators.like_op and (
        clause.modifiers.get("escape") is None)


def _lowered(element):
    """Return the column that SQL's ``lower`` is given, or None."""
    if not isinstance(element, functions.FunctionElement) or (
            element.name.lower() != "lower"):
        return None
    arguments = list(element.clauses)
    return columns.plain(arguments[0]) if len(arguments) == 1 else None


def _unless_null(element, bounds):
    """Return the column that a CASE is unless that is NULL.

    oslo.db's markers compare ``CASE WHEN a IS NOT NULL THEN a ELSE x END``.

    :param bounds: sides on which the element is bounded.
    :returns: column and the sides on which that is bounded, rows included
        in which it is NULL: NULL is before every bound from above.
    """
    if not isinstance(element, elements.Case) or (
            element.value is not None or len(element.whens) != 1):
        return element, bounds
    condition, result = element.whens[0]
    column = columns.plain(result)
    condition = columns.plain(condition)
    if not isinstance(condition, elements.BinaryExpression) or (
            condition.operator is not operators.is_not
            or not columns.plain(condition.left).compare(column)
            or not isinstance(condition.right, elements.Null)):
        return element, bounds
    return column, bounds if element.else_ is None else tuple(
        [is_low for is_low in bounds if not is_low])


def conjuncts(clause):
    """Yield the criteria that a clause joins by AND."""
    clause = columns.plain(clause)
    if (isinstance(clause, elements.BooleanClauseList)
            and clause.operator is operators.and_):
        for part in clause.clauses:
            yield from conjuncts(part)
    elif (isinstance(clause, elements.BooleanClauseList)
            and clause.operator is not operators.or_):
        return
    else:
        yield clause
