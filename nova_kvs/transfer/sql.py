# SPDX-License-Identifier: Apache-2.0
"""The SQL side of a copy: tables as they are, pages of rows, writes."""

import contextlib
import re

import sqlalchemy
from sqlalchemy import exc

from nova_kvs import exceptions
from nova_kvs.inspection import revision
from nova_kvs.transfer import conversion
from nova_kvs.transfer import refusals

#: Rows read or written at once.
PAGE = 500
#: Bytes of text read at once, as far as the page before tells. A server's
#: user data or topology can have hundreds of kilobytes.
PAGE_BYTES = 4 << 20
#: Rows of the first page, of which nothing is known.
FIRST_PAGE = 20
#: Marks, in the target, a copy that is not finished. A view, for Nova's
#: archive wants to know every table; older nova-kvs made a table.
STATE_VIEW = "nova_kvs_transfer"
#: An SQL database or its driver refuses a value with one of these.
_REFUSED = (exc.DataError, exc.IntegrityError, ValueError, OverflowError)
_NAMED_COLUMN = re.compile(
    r"column (?:`[^`]*`\.)*[`'\"]([^`'\"]+)[`'\"]", re.ASCII)


@contextlib.contextmanager
def translated():
    """Turn SQLAlchemy's errors into ours: one line, without values."""
    try:
        yield
    except exc.DBAPIError as error:
        raise exceptions.KVSError(
            "the SQL database reports: %s" % _text(error.orig)) from error
    except ImportError as error:
        raise exceptions.ConfigurationError(
            "the driver of the SQL database is not installed: %s: install "
            "it beside nova-kvs, PyMySQL for mysql+pymysql or psycopg for "
            "postgresql+psycopg" % _text(error)) from error
    except exc.SQLAlchemyError as error:
        raise exceptions.KVSError(
            "the SQL database cannot be used: %s" % _text(error)) from error


def _text(error):
    # psycopg appends the row that it complains about.
    return " ".join(str(error).split("DETAIL:")[0].split())


class Database:
    """An SQL database.

    :param url: SQLAlchemy URL of MySQL, PostgreSQL or SQLite.
    :raises nova_kvs.exceptions.ConfigurationError: if the URL is wrong.
    :raises nova_kvs.exceptions.KVSError: if it cannot be read.
    """

    def __init__(self, url):
        try:
            parsed = sqlalchemy.make_url(url)
            backend = parsed.get_backend_name()
        except (exc.SQLAlchemyError, ValueError):
            # The message quotes the URL.
            raise exceptions.ConfigurationError(
                "the SQL database's URL is not valid: write "
                "mysql+pymysql://user:password@host/name") from None
        if backend not in ("mysql", "mariadb", "postgresql", "sqlite"):
            raise exceptions.ConfigurationError(
                "the SQL side must be MySQL, PostgreSQL or SQLite",
                scheme=parsed.drivername)
        #: Rows that were not taken.
        self.refused = refusals.Refusals()
        #: The URL without its password.
        self.name = parsed.render_as_string(hide_password=True)
        self._is_mysql = backend in ("mysql", "mariadb")
        self._is_postgresql = backend == "postgresql"
        self._is_sqlite = backend == "sqlite"
        with translated():
            self._engine = sqlalchemy.create_engine(
                # Connecting with TLS costs more than reading a small table;
                # between two uses the server may have closed it.
                parsed, pool_pre_ping=True, hide_parameters=True)
            self._metadata = sqlalchemy.MetaData()
            self._metadata.reflect(self._engine)
        #: name -> sqlalchemy.Table, without our own mark.
        self.tables = {
            name: table for name, table in self._metadata.tables.items()
            if name != STATE_VIEW}

    @contextlib.contextmanager
    def reading(self):
        """Give a connection for reads."""
        with translated(), self._engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self):
        """Give a connection whose transaction is committed at the end.

        Rows come in no order of their references, and an id may be 0.

        :raises nova_kvs.exceptions.KVSError: also if the user may not switch
            foreign keys off.
        """
        with translated(), self._engine.begin() as connection:
            self._prepare(connection)
            yield connection

    def _prepare(self, connection):
        """Let a transaction write rows in any order."""
        if self._is_mysql:
            connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
            connection.exec_driver_sql(
                "SET SESSION sql_mode = "
                "CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")
        elif self._is_postgresql:
            connection.exec_driver_sql(
                "SET LOCAL session_replication_role = replica")

    @contextlib.contextmanager
    def rehearsing(self, names):
        """Give a connection on which tables are empty, temporary copies.

        So the target itself tells what it would refuse, unique keys
        included. Nothing is left of what is written.

        :param names: of the tables.
        :raises nova_kvs.exceptions.KVSError: as ``writing`` does, or if the
            user may not make temporary tables.
        """
        with translated(), self._engine.connect() as connection:
            # They go with the connection.
            connection.detach()
            self._prepare(connection)
            for name in names:
                for text in self._temporary(connection, name):
                    connection.exec_driver_sql(text)
            connection.commit()
            yield connection

    def _temporary(self, connection, name):
        """Return the statements that make a temporary table of a name."""
        if self._is_mysql:
            # MySQL has no table made like another one of the same name.
            return ["CREATE TEMPORARY TABLE nova_kvs_trial LIKE %s" % name,
                    "ALTER TABLE nova_kvs_trial RENAME TO %s" % name]
        if self._is_postgresql:
            return ["CREATE TEMPORARY TABLE %s (LIKE %s INCLUDING ALL)" % (
                name, name)]
        return [re.sub(
            r"^CREATE( UNIQUE)? (TABLE|INDEX) ",
            lambda match: "CREATE TEMP TABLE " if match[2] == "TABLE" else
            "CREATE%s INDEX temp." % (match[1] or ""), text)
            for text in connection.exec_driver_sql(
                "SELECT sql FROM main.sqlite_master WHERE sql IS NOT NULL "
                "AND tbl_name = ? ORDER BY type DESC", (name,)).scalars()]

    def count(self, connection, name):
        """Return the number of rows of a table."""
        return connection.execute(
            sqlalchemy.select(sqlalchemy.func.count()).select_from(
                self.tables[name])).scalar()

    def is_empty(self, connection, name):
        """Tell whether a table has no row."""
        return connection.execute(
            sqlalchemy.select(sqlalchemy.literal(1)).select_from(
                self.tables[name]).limit(1)).first() is None

    def key(self, name):
        """Return the names of a table's primary key columns."""
        return tuple(
            column.name for column in self.tables[name].primary_key.columns)

    def revision(self):
        """Return alembic's revision, None without one."""
        table = self.tables.get("alembic_version")
        if table is None:
            return None
        with self.reading() as connection:
            return revision.text_of(connection.execute(
                sqlalchemy.select(table.c.version_num)).scalars())

    def pages(self, name, after=None, until=None, count=None):
        """Yield lists of rows (dicts), in the order of the primary key.

        :param after: the key (tuple) behind which to begin.
        :param until: the key behind which nothing is wanted.
        :param count: number of rows of the first list, if it is known that
            they are not too large.
        """
        table = self.tables[name]
        columns = [table.c[column] for column in self.key(name)]
        query = sqlalchemy.select(*map(self._plain, table.c)).order_by(
            *columns)
        if until is not None:
            query = query.where(sqlalchemy.not_(_behind(columns, until)))
        if count is None:
            count = min(PAGE, FIRST_PAGE)
        with self.reading() as connection:
            while True:
                page = query.limit(count)
                if after is not None:
                    page = page.where(_behind(columns, after))
                rows = [dict(row) for row
                        in connection.execute(page).mappings()]
                # No snapshot is held open for hours.
                connection.rollback()
                if not rows:
                    return
                yield rows
                size = 1 + sum(_size(row) for row in rows)
                count = max(1, min(PAGE, PAGE_BYTES * len(rows) // size))
                after = tuple(rows[-1][column.name] for column in columns)

    def _plain(self, column):
        """Return what to select so that no value of a column fails."""
        if not (self._is_sqlite
                and isinstance(column.type, conversion.MOMENTS)):
            return column
        return sqlalchemy.type_coerce(
            column, sqlalchemy.String).label(column.name)

    def find(self, connection, name, keys):
        """Yield the rows (dicts) that have one of some primary keys."""
        table = self.tables[name]
        columns = [table.c[column] for column in self.key(name)]
        for first in range(0, len(keys), PAGE):
            chunk = keys[first:first + PAGE]
            if len(columns) == 1:
                condition = columns[0].in_([key for key, in chunk])
            else:
                condition = sqlalchemy.tuple_(*columns).in_(chunk)
            for row in connection.execute(
                    sqlalchemy.select(table).where(condition)).mappings():
                yield dict(row)

    def takes(self, name, row):
        """Tell whether a row can be looked up and sent at all.

        One that cannot is added to ``refused``.

        :param row: dict of all columns.
        """
        if self._is_postgresql:
            for column, value in row.items():
                if isinstance(value, str) and "\0" in value:
                    self.refused.add(
                        name, [row[key] for key in self.key(name)], column,
                        "PostgreSQL has no text with a NUL character")
                    return False
        return True

    def insert(self, connection, name, rows):
        """Insert rows (dicts of all columns); add to ``refused`` those that
        the database does not take.
        """
        for first in range(0, len(rows), PAGE):
            self._insert(connection, name, rows[first:first + PAGE])

    def _insert(self, connection, name, rows):
        table = self.tables[name]
        try:
            with connection.begin_nested():
                connection.execute(table.insert(), rows)
        except _REFUSED as error:
            if len(rows) > 1:
                # By halves, for most of them are taken.
                middle = len(rows) // 2
                self._insert(connection, name, rows[:middle])
                self._insert(connection, name, rows[middle:])
                return
            row, = rows
            reason = _text(getattr(error, "orig", error))
            self.refused.add(
                name, [row[column] for column in self.key(name)],
                _column_at_fault(table, row, reason), reason)

    def clear(self, names):
        """Remove all rows of tables."""
        with self.writing() as connection:
            for name in names:
                connection.execute(self.tables[name].delete())

    def finish(self):
        """Let sequences go on behind the ids that were written."""
        if not self._is_postgresql:
            return
        with self.writing() as connection:
            for name, table in self.tables.items():
                column = table.autoincrement_column
                if column is None:
                    continue
                sequence = connection.execute(sqlalchemy.select(
                    sqlalchemy.func.pg_get_serial_sequence(
                        name, column.name))).scalar()
                highest = connection.execute(sqlalchemy.select(
                    sqlalchemy.func.max(column))).scalar()
                if sequence and highest:
                    connection.execute(sqlalchemy.select(
                        sqlalchemy.func.setval(sequence, highest)))

    # The mark of a copy that is not finished --------------------------------

    def mark(self):
        """Return what ``set_mark`` has written, None without a mark."""
        with self.reading() as connection:
            if STATE_VIEW in sqlalchemy.inspect(connection).get_view_names():
                # In hexadecimal, which no dialect has to quote.
                return bytes.fromhex(connection.exec_driver_sql(
                    "SELECT source FROM %s" % STATE_VIEW).scalar()).decode()
            if STATE_VIEW in self._metadata.tables:
                return connection.exec_driver_sql(
                    "SELECT source FROM %s" % STATE_VIEW).scalar()
        return None

    def set_mark(self, source):
        """Mark the database as the target of a copy from ``source``."""
        self.remove_mark()
        with self.writing() as connection:
            connection.exec_driver_sql("CREATE VIEW %s AS SELECT '%s' AS "
                                       "source" % (STATE_VIEW,
                                                   source.encode().hex()))

    def remove_mark(self):
        """Take the mark away."""
        with self.writing() as connection:
            if STATE_VIEW in sqlalchemy.inspect(connection).get_view_names():
                connection.exec_driver_sql("DROP VIEW %s" % STATE_VIEW)
            elif STATE_VIEW in self._metadata.tables:
                connection.exec_driver_sql(
                    "DROP TABLE IF EXISTS %s" % STATE_VIEW)


def _column_at_fault(table, row, reason):
    """Return the name of the column that an error is about, or None.

    :param reason: its text. PostgreSQL and drivers do not always name it.
    """
    named = _NAMED_COLUMN.search(reason)
    if named and named[1] in table.columns:
        return named[1]
    for column in table.columns:
        value = row[column.name]
        if isinstance(value, str):
            length = getattr(column.type, "length", None)
            if length and len(value) > length:
                return column.name
        elif isinstance(value, int) and not _fits(value, column.type):
            return column.name
        elif value is None and not column.nullable:
            return column.name
    return None


def _fits(value, kind):
    """Tell whether an integer is in the range of a column's type."""
    size = (63 if isinstance(kind, sqlalchemy.BigInteger) else
            15 if isinstance(kind, sqlalchemy.SmallInteger) else 31)
    return (not isinstance(kind, sqlalchemy.Integer)
            or -1 << size <= value < 1 << size)


def _size(row):
    return sum(len(value) for value in row.values()
               if isinstance(value, (str, bytes)))


def _behind(columns, key):
    """Return the condition that rows come behind a key in its order."""
    # Bound, since SQLAlchemy takes a plain True for a keyword, which has no
    # order.
    key = [sqlalchemy.literal(value, column.type)
           for column, value in zip(columns, key)]
    choices = []
    for at, column in enumerate(columns):
        choices.append(sqlalchemy.and_(
            *[earlier == value for earlier, value
              in zip(columns[:at], key[:at])],
            column > key[at]))
    return sqlalchemy.or_(*choices)
