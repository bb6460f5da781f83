# SPDX-License-Identifier: Apache-2.0
"""Takes the text of a CREATE TABLE apart, and makes a changed one of it.

SQLite keeps the text of a table, and cannot change much of it. So an ALTER
is a change of the text here; what it does not touch stays as it was written.
"""

from nova_kvs.dialect import sqltext

# Words that begin a clause of a column, outside of parentheses.
_CLAUSES = frozenset((
    "CONSTRAINT", "PRIMARY", "NOT", "NULL", "UNIQUE", "CHECK", "DEFAULT",
    "COLLATE", "REFERENCES", "GENERATED", "AS", "AUTO_INCREMENT", "COMMENT"))
_CONSTRAINTS = frozenset(("PRIMARY", "UNIQUE", "FOREIGN", "CHECK"))
# What else MySQL has in a type, and SQLite has no use for.
_TYPE_WORDS = frozenset(("UNSIGNED", "SIGNED", "ZEROFILL", "BINARY"))


def significant(tokens):
    """Return tokens without white space and comments."""
    return [token for token in tokens if token.kind != "space"]


def text_of(tokens):
    """Return the text of tokens, with no white space around it."""
    return "".join(token.text for token in tokens).strip()


def split(tokens):
    """Return the token lists between the commas outside of parentheses."""
    parts = [[]]
    depth = 0
    for token in tokens:
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "," and not depth:
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if significant(part)]


def group(tokens):
    """Return the tokens of the first parentheses, without these.

    :returns: (tokens inside, tokens behind); both empty if there are none.
    """
    depth = 0
    first = None
    for at, token in enumerate(tokens):
        if token.text == "(":
            depth += 1
            if first is None:
                first = at + 1
        elif token.text == ")" and depth:
            depth -= 1
            if not depth:
                return tokens[first:at], tokens[at + 1:]
    return [], []


def names_in(tokens):
    """Return the names that a list of columns in parentheses has.

    The length of a prefix, the order and the collation are left out.
    """
    found = []
    for part in split(group(tokens)[0]):
        name = significant(part)[0].name
        if name is not None:
            found.append(name)
    return found


class Clause:
    """A clause of a column, or a constraint of a table.

    :ivar kind: its first keyword, ``NOT`` for NOT NULL.
    :ivar name: of the constraint, or None.
    """

    def __init__(self, tokens):
        self.name = None
        words = significant(tokens)
        if words[0].keyword == "CONSTRAINT":
            rest = tokens[tokens.index(words[0]) + 1:]
            if words[1].keyword in _CONSTRAINTS and (
                    words[2:3] and words[2].text in ("(", "KEY")):
                # MySQL lets the name be left out.
                tokens = rest
            else:
                self.name = words[1].name
                tokens = rest[rest.index(words[1]) + 1:]
            words = significant(tokens)
        self.tokens = tokens
        self.words = [token.keyword for token in words]
        self.kind = self.words[0]

    @property
    def text(self):
        """The clause as SQL."""
        body = text_of(self.tokens)
        if self.name is None:
            return body
        return "CONSTRAINT %s %s" % (quote(self.name), body)

    @property
    def columns(self):
        """The names of the columns that a table's constraint is about."""
        if self.kind == "CHECK":
            return [token.name for token in self.tokens if token.name]
        return names_in(self.tokens)

    @property
    def reference(self):
        """(table, columns, is deferred) of a foreign key."""
        words = significant(self.tokens)
        at = self.words.index("REFERENCES")
        behind = words[at + 2:at + 3]
        return (words[at + 1].name,
                names_in(words[at + 2:])
                if behind and behind[0].text == "(" else [],
                "DEFERRED" in self.words)


class Column:
    """The definition of a column.

    :ivar name: :ivar type: as written.
    :ivar clauses: of Clause, in order.
    """

    def __init__(self, tokens):
        first = next(at for at, token in enumerate(tokens)
                     if token.kind != "space")
        self.name = tokens[first].name
        self._written_name = tokens[first].text
        pieces = _pieces(tokens[first + 1:])
        self.type = _type_of(pieces[0])
        self.clauses = [Clause(piece) for piece in pieces[1:]]

    @property
    def text(self):
        """The definition as SQL."""
        return " ".join(filter(None, (
            self._written_name, self.type,
            *(clause.text for clause in self.clauses))))

    def without(self, *kinds):
        """Return the clauses that are of none of some kinds."""
        return [clause for clause in self.clauses if clause.kind not in kinds]

    def has(self, *kinds):
        """Tell whether there is a clause of one of some kinds."""
        return any(clause.kind in kinds for clause in self.clauses)

    def set(self, clause_text, *kinds):
        """Put a clause in the place of those of some kinds.

        :param clause_text: SQL, or None for nothing in their place.
        """
        self.clauses = self.without(*kinds)
        if clause_text is not None:
            self.clauses.insert(0, Clause(sqltext.tokens(clause_text)))


def _pieces(tokens):
    """Return what is before the first clause of a column, and its clauses."""
    pieces = [[]]
    depth = 0
    before = None
    words = significant(tokens)
    number = -1
    kind = None
    for token in tokens:
        if token.kind != "space":
            number += 1
            word = token.keyword
            behind = words[number + 1].keyword if (
                number + 1 < len(words)) else None
            if not depth and word in _CLAUSES and not (
                    # Words within a clause.
                    (before == "NOT" and word == "NULL")
                    or (word == "NOT" and behind == "DEFERRABLE")
                    or before in ("SET", "CONSTRAINT", "COLLATE")
                    or (before == "DEFAULT" and kind == "DEFAULT")
                    or (before == "ALWAYS" and word == "AS")
                    or (kind == "CONSTRAINT" and pieces[-1])):
                pieces.append([])
                kind = word
            elif kind == "CONSTRAINT" and not depth and (
                    before != "CONSTRAINT" and word in _CLAUSES):
                # The constraint that was given a name.
                kind = word
            depth += (token.text == "(") - (token.text == ")")
            before = word
        pieces[-1].append(token)
    return pieces


def _type_of(tokens):
    """Return a type as written, without what only MySQL knows."""
    words = [token.keyword for token in significant(tokens)]
    for at, word in enumerate(words):
        if word == "CHARSET" or words[at:at + 2] == ["CHARACTER", "SET"]:
            end = tokens.index(significant(tokens)[at])
            tokens = tokens[:end]
            break
    return text_of([token for token in tokens
                    if token.keyword not in _TYPE_WORDS])


def quote(name):
    """Return a name as an SQL identifier, plain if it can be."""
    if name.isidentifier() and name.isascii() and (
            name.upper() not in _CLAUSES | _CONSTRAINTS):
        return name
    return '"%s"' % name.replace('"', '""')


class TableText:
    """The text of a CREATE TABLE.

    :ivar name: of the table.
    :ivar columns: of Column. :ivar constraints: of Clause.
    """

    def __init__(self, sql):
        tokens = sqltext.tokens(sqltext.without_comments(sql))
        self.name = sqltext.table_of(sqltext.parse(sql))
        at = next(at for at, token in enumerate(tokens) if token.text == "(")
        inside, behind = group(tokens)
        self._head = text_of(tokens[:at])
        self._tail = text_of(behind)
        self.columns = []
        self.constraints = []
        for part in split(inside):
            first = significant(part)[0]
            if first.keyword == "CONSTRAINT" or (
                    first.keyword in _CONSTRAINTS):
                self.constraints.append(Clause(part))
            else:
                self.columns.append(Column(part))

    @property
    def text(self):
        """The CREATE TABLE statement."""
        return "%s (\n\t%s\n)%s" % (
            self._head,
            ",\n\t".join(part.text for part in (
                *self.columns, *self.constraints)),
            self._tail and " " + self._tail)

    def column(self, name):
        """Return the column of a name.

        :raises KeyError: if there is none.
        """
        for column in self.columns:
            if column.name.lower() == name.lower():
                return column
        raise KeyError(name)

    def all_constraints(self, *kinds):
        """Return the constraints of some kinds as (columns, Clause) pairs.

        Those of columns come first, as SQLite and MySQL number them.

        :param kinds: of PRIMARY, UNIQUE, CHECK and FOREIGN; the last stands
            for REFERENCES too.
        """
        found = []
        for column in self.columns:
            for clause in column.clauses:
                kind = ("FOREIGN" if clause.kind == "REFERENCES"
                        else clause.kind)
                if kind in kinds:
                    found.append(([column.name], clause))
        found.extend((clause.columns, clause) for clause in self.constraints
                     if clause.kind in kinds)
        return found

    def give_names(self, index_names=()):
        """Give each constraint that has no name the one that MySQL gives.

        A UNIQUE on the columns of the primary key gets none: MariaDB and
        PostgreSQL do not keep it, and models do not have it.

        :param index_names: names of the table's indexes.
        """
        taken = {clause.name.lower() for _columns, clause in
                 self.all_constraints("UNIQUE", "CHECK", "FOREIGN")
                 if clause.name}
        taken.update(name.lower() for name in index_names)
        for kind, pattern in (("FOREIGN", "%s_ibfk_%d"),
                              ("CHECK", "%s_chk_%d")):
            number = 0
            for _columns, clause in self.all_constraints(kind):
                while clause.name is None:
                    number += 1
                    name = pattern % (self.name, number)
                    if name.lower() not in taken:
                        clause.name = name
        primary = [columns for columns, _clause
                   in self.all_constraints("PRIMARY")]
        for columns, clause in self.all_constraints("UNIQUE"):
            if clause.name is None and columns and columns not in primary:
                name, number = columns[0], 1
                while name.lower() in taken:
                    number += 1
                    name = "%s_%d" % (columns[0], number)
                taken.add(name.lower())
                clause.name = name

    def drop_constraint(self, name):
        """Take the constraint of a name away.

        :returns: False if there is none.
        """
        for owner in (*self.columns, self):
            clauses = owner.constraints if owner is self else owner.clauses
            for clause in clauses:
                if clause.name and clause.name.lower() == name.lower():
                    clauses.remove(clause)
                    return True
        return False

    def drop_column(self, name):
        """Take a column away, with all constraints that name it."""
        self.columns.remove(self.column(name))
        lower = name.lower()
        self.constraints = [
            clause for clause in self.constraints
            if lower not in [column.lower() for column in clause.columns]]
