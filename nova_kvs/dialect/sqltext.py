# SPDX-License-Identifier: Apache-2.0
"""Reads raw SQL text, and parses no more of it than is needed.

Text is never planned: it only tells which tables a statement names, what
kind of statement it is, and how a table's key is declared.
"""

import functools
import itertools
import re
import typing

from nova_kvs.record import schema

# As SQLite's: all behind ASCII is a letter, spaces and digits included.
_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\n\v\f\r]+|--[^\n]*|/\*.*?(?:\*/|$))
    |(?P<text>'(?:[^']|'')*')
    |(?P<quoted>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |(?P<word>[A-Za-z_\x80-\U0010ffff][A-Za-z0-9_$\x80-\U0010ffff]*)
    |(?P<number>[0-9][A-Za-z0-9_.\x80-\U0010ffff]*)
    |(?P<other>.)
    """, re.X | re.S)

_READS = frozenset(("SELECT", "VALUES", "EXPLAIN"))
_WRITES = frozenset(("INSERT", "UPDATE", "DELETE", "REPLACE"))
_VERBS = _WRITES | {"SELECT", "VALUES"}
_READ_FROM = frozenset(("FROM", "JOIN"))
#: Keywords behind which a comma is not followed by a table.
_NO_TABLES = frozenset((
    "SELECT", "WHERE", "ON", "USING", "GROUP", "ORDER", "HAVING", "LIMIT",
    "SET", "RETURNING", "WINDOW", "VALUES"))
_SCHEMA = frozenset(("CREATE", "ALTER", "DROP", "REINDEX"))

_GENERATED_ID = re.compile(
    r"(?P<type>\w+) NOT NULL ON CONFLICT REPLACE "
    r"DEFAULT \(kvs_next_id\('(?:[^']|'')*'\)\) "
    r"CHECK \(typeof\(\"(?:[^\"]|\"\")*\"\) = 'integer'\)")


def _unquoted(text):
    quote = text[-1]
    return text[1:-1].replace(quote * 2, quote)


class Token(typing.NamedTuple):
    """One token of SQL text."""

    kind: str
    #: As written.
    text: str

    @property
    def name(self):
        """The identifier that the token is, without quotes, or None."""
        if self.kind == "word":
            return self.text
        if self.kind == "quoted":
            return _unquoted(self.text)
        return None

    @property
    def keyword(self):
        """The token as an upper-case keyword, or None."""
        if self.kind == "word" and self.text.isascii():
            return self.text.upper()
        return None


def tokens(sql):
    """Return all tokens of SQL text, white space and comments included."""
    return [Token(match.lastgroup, match.group())
            for match in _TOKEN.finditer(sql)]


def without_comments(sql):
    """Return SQL text without its comments."""
    return "".join(
        " " if token.kind == "space" and token.text[0] in "-/"
        else token.text for token in tokens(sql)).strip()


class Statement(typing.NamedTuple):
    """A statement of which only the text is known."""

    #: ``read``, ``write``, ``schema`` or the first keyword.
    kind: str
    #: Lower-case identifiers that occur in it, and texts: SQLite takes one
    #: for an identifier where only that makes sense.
    names: frozenset
    #: Its tokens, without white space and a semicolon at its end.
    tokens: tuple


@functools.lru_cache(maxsize=1024)
def parse(sql):
    """Return the Statement that SQL text is."""
    found = tuple(token for token in tokens(sql) if token.kind != "space")
    while found and found[-1].text == ";":
        found = found[:-1]
    keywords = [token.keyword for token in found if token.keyword]
    kind = keywords[0] if keywords else ""
    if kind == "WITH":
        verb = _verb_at(found)
        kind = "SELECT" if verb is None else found[verb].keyword
    if kind in _READS:
        kind = "read"
    elif kind in _WRITES:
        kind = "write"
    elif kind in _SCHEMA:
        kind = "schema"
    return Statement(
        kind,
        frozenset(
            name.lower() for name in (
                _unquoted(token.text) if token.kind == "text" else token.name
                for token in found) if name),
        found)


def _verb_at(found):
    """Return the index of the first verb outside of parentheses, or None.

    SQLite has no INSERT, UPDATE or DELETE in a common table expression.
    """
    depth = 0
    for at, token in enumerate(found):
        depth += (token.text == "(") - (token.text == ")")
        if not depth and token.keyword in _VERBS:
            return at
    return None


def table_of(statement):
    """Return the name of the table that a CREATE or ALTER TABLE names.

    :param statement: a Statement of kind ``schema``.
    :returns: the name, or None if it is about something else.
    """
    return _object_of(statement, "TABLE")


def target_of(statement):
    """Return the name of the table that a statement writes to, or None.

    :param statement: a Statement; one of another kind than ``write`` has
        none.
    """
    verb = _verb_at(statement.tokens)
    if statement.kind != "write" or verb is None:
        return None
    rest = iter(statement.tokens[verb + 1:])
    for token in rest:
        if token.keyword == "OR":
            # How a conflict is resolved.
            next(rest, None)
        elif token.keyword not in ("FROM", "INTO"):
            if next(rest, token).text == ".":
                token = next(rest, token)
            return token.name
    return None


def named_behind_from(statement):
    """Return the lower-case names that stand where tables are read.

    Behind FROM and JOIN, and in a list that begins there. Names of columns
    are not among them, those of common table expressions are.
    """
    found = set()
    # For each open parenthesis: whether a table follows a comma in it.
    lists = [False]
    wanted = False
    following = (*statement.tokens[1:], None)
    for token, behind in zip(statement.tokens, following):
        if token.text == "(":
            lists.append(wanted)
        elif token.text == ")":
            wanted = False
            if len(lists) > 1:
                lists.pop()
        elif token.text == ",":
            wanted = lists[-1]
        elif token.keyword in _READ_FROM:
            lists[-1] = wanted = True
        elif token.keyword in _NO_TABLES:
            lists[-1] = wanted = False
        elif wanted and token.name and (
                behind is None or behind.text not in (".", "(")):
            found.add(token.name.lower())
            wanted = False
    return found


class Updated(typing.NamedTuple):
    """Rows that an UPDATE is about, as its text tells them."""

    #: The rest of a SELECT of these rows, behind FROM; None: the text does
    #: not simply tell them.
    source: str | None
    #: Of its parameters, if they have no names: how many are before those of
    #: the SELECT, and how many these are.
    skipped: int
    count: int


@functools.lru_cache(maxsize=1024)
def updated_by(sql):
    """Return the Updated of an UPDATE; None for any other statement."""
    statement = parse(sql)
    verb = _verb_at(statement.tokens)
    if verb is None or statement.tokens[verb].keyword != "UPDATE":
        return None
    others = Updated(None, 0, 0)
    table, condition = [], []
    into = None
    counts = [0, 0]
    depth = 0
    for token in tokens(sql.rstrip().rstrip(";")):
        depth += (token.text == "(") - (token.text == ")")
        word = None if depth else token.keyword
        if into is None and not table:
            if token.kind == "space":
                continue
            if word != "UPDATE":
                return others
            into = table
            continue
        if into is table and word == "OR":
            # How a conflict is resolved.
            return others
        if word == "SET" and into is table:
            into = None
        elif word == "WHERE":
            into = condition
        elif word == "FROM":
            return others
        elif word in ("RETURNING", "ORDER", "LIMIT"):
            break
        if token.text == "?":
            counts[into is condition] += 1
        if into is not None:
            into.append(token.text)
    return Updated("".join(table + condition), *counts)


class Locked(typing.NamedTuple):
    """A SELECT that locks its rows, as its text tells them."""

    #: The SELECT without the clause that locks, which SQLite does not know.
    sql: str
    #: The only table, and the rest of a SELECT of its rows, behind the
    #: columns; None: the text does not simply tell them.
    table: str | None
    source: str | None
    #: How many parameters without a name stand before that.
    skipped: int


#: What locks rows at the end of a SELECT, each of them followed by more.
_LOCKS = (["FOR", "UPDATE"], ["FOR", "NO", "KEY", "UPDATE"], ["FOR", "SHARE"],
          ["FOR", "KEY", "SHARE"], ["LOCK", "IN", "SHARE", "MODE"])
#: Words of a SELECT whose rows another list of columns might change.
_SEVERAL = frozenset((
    "DISTINCT", "GROUP", "HAVING", "JOIN", "LIMIT", "UNION", "EXCEPT",
    "INTERSECT", "WITH", "VALUES"))


@functools.lru_cache(maxsize=1024)
def locked_by(sql):
    """Return the Locked of a SELECT ... FOR UPDATE; None for all others."""
    if parse(sql).kind != "read":
        return None
    found = tokens(sql.rstrip().rstrip(";"))
    # Those outside of parentheses.
    outer = []
    depth = 0
    for at, token in enumerate(found):
        depth += (token.text == "(") - (token.text == ")")
        if not depth and token.kind != "space":
            outer.append((at, token))
    words = [token.keyword for _at, token in outer]
    end = next((place for place in range(len(words)) if any(
        [words[place:place + len(lock)] == lock for lock in _LOCKS])), None)
    if end is None:
        return None
    at = outer[end][0]
    text = "".join([token.text for token in found[:at]])
    start = words.index("FROM") if "FROM" in words[:end] else end
    behind = [token for _at, token in outer[start + 1:end]]
    if not behind or not _SEVERAL.isdisjoint(words[:end]) or any(
            [token.text in (",", ".") for token in itertools.takewhile(
                lambda token: token.keyword not in ("WHERE", "ORDER"),
                behind)]):
        return Locked(text, None, None, 0)
    first = outer[start][0]
    return Locked(
        text, behind[0].name,
        "".join([token.text for token in found[first:at]]),
        sum([token.text == "?" for token in found[:first]]))


def view_of(statement):
    """Return the name of the view that a CREATE VIEW makes, or None."""
    return _object_of(statement, "VIEW")


def _object_of(statement, kind):
    words = [token for token in statement.tokens
             if token.keyword not in ("TEMP", "TEMPORARY", "IF", "NOT",
                                      "EXISTS")]
    if len(words) < 3 or words[1].keyword != kind:
        return None
    if len(words) > 4 and words[3].text == ".":
        return words[4].name
    return words[2].name


def _definitions(found):
    """Split the token list of a CREATE TABLE at its top-level commas.

    :returns: list of (first, end) index pairs, one for each column or
        table constraint, and the index behind the closing parenthesis.
    """
    parts = []
    depth = 0
    start = None
    for index, token in enumerate(found):
        if token.text == "(":
            depth += 1
            if depth == 1:
                start = index + 1
        elif token.text == ")":
            depth -= 1
            if depth == 0:
                parts.append((start, index))
                return parts, index + 1
        elif token.text == "," and depth == 1:
            parts.append((start, index))
            start = index + 1
    return [], len(found)


def is_unique_index_of_columns(statement):
    """Tell whether a CREATE UNIQUE INDEX is one on columns of all rows.

    :returns: True for any other statement, too.
    """
    words = [token.keyword for token in statement.tokens]
    if words[:3] != ["CREATE", "UNIQUE", "INDEX"]:
        return True
    parts, behind = _definitions(statement.tokens)
    if "WHERE" in words[behind:]:
        return False
    for first, end in parts:
        rest = words[first + 1:end]
        if rest[:1] == ["COLLATE"]:
            rest = rest[2:]
        if statement.tokens[first].name is None or (
                rest not in ([], ["ASC"], ["DESC"])):
            return False
    return True


def _key_columns(found, parts):
    """Return the lower-case names of the columns that are the key."""
    for first, end in parts:
        part = [token for token in found[first:end] if token.kind != "space"]
        if not part:
            continue
        words = [token.keyword for token in part]
        if words[0] == "CONSTRAINT":
            part, words = part[2:], words[2:]
        if words[:2] == ["PRIMARY", "KEY"]:
            close = next((index for index, token in enumerate(part)
                          if token.text == ")"), 0)
            return [token.name.lower() for token in part[3:close]
                    if token.name
                    and token.keyword not in ("ASC", "DESC", "COLLATE")]
        depth = 0
        for index, token in enumerate(part):
            depth += (token.text == "(") - (token.text == ")")
            if (depth == 0 and words[index:index + 2] == ["PRIMARY", "KEY"]):
                return [part[0].name.lower()] if part[0].name else []
    return []


def with_generated_id(sql):
    """Return a CREATE TABLE whose integer key gets its ids from the store.

    SQLite would number rows from the greatest key that it holds, and a
    workspace does not hold them all. Anything else is returned as it is.
    """
    found = tokens(sql)
    if any(token.name == "kvs_next_id" for token in found):
        return sql
    parts, behind = _definitions(found)
    if any(token.keyword == "WITHOUT" for token in found[behind:]):
        return sql
    key = _key_columns(found, parts)
    name = table_of(parse(sql))
    if name is None or len(key) != 1:
        return sql
    for first, end in parts:
        index = [at for at in range(first, end) if found[at].kind != "space"]
        if len(index) < 2 or (found[index[0]].name or "").lower() != key[0]:
            continue
        words = [found[at].keyword for at in index]
        if words[0] == "CONSTRAINT" or words[1] not in schema.ID_TYPES:
            continue
        if "DEFAULT" in words:
            return sql
        for at in range(len(words)):
            # The key's own NOT NULL clause replaces these.
            if (words[at] == "AUTOINCREMENT"
                    or words[at:at + 2] == ["NOT", "NULL"]
                    or words[at - 1:at + 1] == ["NOT", "NULL"]):
                # With the space in front.
                for gone in range(index[at - 1] + 1, index[at] + 1):
                    found[gone] = Token("space", "")
        # INTEGER would make it SQLite's row number, and let it be nothing
        # but an integer.
        found[index[1]] = Token("word", (
            "%s NOT NULL ON CONFLICT REPLACE "
            "DEFAULT (kvs_next_id('%s')) "
            "CHECK (typeof(\"%s\") = 'integer')" % (
                "INT" if words[1] == "INTEGER" else words[1],
                name.replace("'", "''"),
                found[index[0]].name.replace('"', '""'))))
        return "".join(token.text for token in found)
    return sql


def without_generated_id(sql):
    """Return a CREATE TABLE as it was before :func:`with_generated_id`."""
    return _GENERATED_ID.sub(
        lambda match: "%s NOT NULL" % (
            "INTEGER" if match["type"] == "INT" else match["type"]), sql)
