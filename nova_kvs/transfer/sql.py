# SPDX-License-Identifier: Apache-2.0
"""The SQL side of a copy: tables as they are, pages of rows, writes."""

import contextlib

import sqlalchemy
from sqlalchemy import exc

from nova_kvs import exceptions

#: Rows read or written at once.
PAGE = 500
#: Bytes of text read at once, as far as the page before tells. A server's
#: user data or topology can have hundreds of kilobytes.
PAGE_BYTES = 4 << 20
#: Rows of the first page, of which nothing is known.
FIRST_PAGE = 20
#: Marks, in the target, a copy that is not finished.
STATE_TABLE = "nova_kvs_transfer"


@contextlib.contextmanager
def translated():
    """Turn SQLAlchemy's errors into ours: one line, without values."""
    try:
        yield
    except exc.DBAPIError as error:
        raise exceptions.KVSError(
            "the SQL database reports: %s" % _text(error.orig)) from error
    except (exc.SQLAlchemyError, ImportError) as error:
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
        #: The URL without its password.
        self.name = parsed.render_as_string(hide_password=True)
        self._is_mysql = backend in ("mysql", "mariadb")
        self._is_postgresql = backend == "postgresql"
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
            if name != STATE_TABLE}

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
            if self._is_mysql:
                connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")
                connection.exec_driver_sql(
                    "SET SESSION sql_mode = "
                    "CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')")
            elif self._is_postgresql:
                connection.exec_driver_sql(
                    "SET LOCAL session_replication_role = replica")
            yield connection

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
            return connection.execute(
                sqlalchemy.select(table.c.version_num)).scalar()

    def pages(self, name, after=None):
        """Yield lists of rows (dicts), in the order of the primary key.

        :param after: the key (tuple) behind which to begin.
        """
        table = self.tables[name]
        columns = [table.c[column] for column in self.key(name)]
        query = sqlalchemy.select(table).order_by(*columns)
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

    def insert(self, connection, name, rows):
        """Insert rows (dicts of all columns)."""
        table = self.tables[name]
        for first in range(0, len(rows), PAGE):
            connection.execute(table.insert(), rows[first:first + PAGE])

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
        if STATE_TABLE not in self._metadata.tables:
            return None
        with self.reading() as connection:
            return connection.execute(sqlalchemy.select(
                self._state_table().c.source)).scalar()

    def set_mark(self, source):
        """Mark the database as the target of a copy from ``source``."""
        with translated():
            table = self._state_table()
            table.create(self._engine, checkfirst=True)
        with self.writing() as connection:
            connection.execute(table.delete())
            connection.execute(table.insert(), {"source": source})

    def remove_mark(self):
        """Take the mark away."""
        with translated():
            self._state_table().drop(self._engine, checkfirst=True)

    def _state_table(self):
        table = self._metadata.tables.get(STATE_TABLE)
        if table is None:
            table = sqlalchemy.Table(
                STATE_TABLE, self._metadata,
                sqlalchemy.Column("source", sqlalchemy.String(255)))
        return table


def _size(row):
    return sum(len(value) for value in row.values()
               if isinstance(value, (str, bytes)))


def _behind(columns, key):
    """Return the condition that rows come behind a key in its order."""
    choices = []
    for at, column in enumerate(columns):
        choices.append(sqlalchemy.and_(
            *[earlier == value for earlier, value
              in zip(columns[:at], key[:at])],
            column > key[at]))
    return sqlalchemy.or_(*choices)
