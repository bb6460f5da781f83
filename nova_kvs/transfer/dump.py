# SPDX-License-Identifier: Apache-2.0
"""The file of a backup.

A gzip stream of msgpack values, each behind its length in four bytes. Of each
database it has a head (a dict), any number of pages (lists of a table's name
and rows) and an end (a dict with the numbers of rows, and a checksum of all
that is before it since the head).
"""

import gzip
import hashlib
import struct
import typing
import zlib

import msgpack

from nova_kvs import exceptions
from nova_kvs.record import codec

FORMAT = 1
#: Rows of one page, and bytes of their payloads above which it ends.
PAGE = 500
PAGE_BYTES = 1 << 20
#: Speed before size: less makes it hardly smaller.
_LEVEL = 1
_LENGTH = struct.Struct(">I")
#: No page is longer; a damaged length would take all memory.
_LONGEST = 1 << 30
_DAMAGED = "the file is no backup, or it is cut off or damaged"


class Sums:
    """A checksum of rows in any order, and their number, for each table."""

    def __init__(self):
        self.counts = {}
        self._sums = {}

    def add(self, table, *parts):
        """Count a row in that is made of some bytes."""
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            digest.update(_LENGTH.pack(len(part)) + part)
        self.counts[table] = self.counts.get(table, 0) + 1
        self._sums[table] = (
            self._sums.get(table, 0) + int.from_bytes(digest.digest(), "big")
        ) % (1 << 128)

    def add_row(self, table, values):
        """Count a row in by its values."""
        self.add(table, codec.encode_list(sorted(values.items())))

    def as_dict(self):
        """Return table's name -> [number of rows, checksum]."""
        return {name: [count, "%032x" % self._sums[name]]
                for name, count in sorted(self.counts.items())}


class Writer:
    """Writes a backup.

    :param stream: binary file to write to; it is not closed.
    """

    def __init__(self, stream):
        self._file = gzip.GzipFile(
            fileobj=stream, mode="wb", compresslevel=_LEVEL, mtime=0)

    def close(self):
        """Write what is left."""
        self._file.close()

    def head(self, values):
        """Begin a database."""
        self._digest = hashlib.sha256()
        self._write({"nova_kvs_backup": FORMAT, **values})

    def page(self, table, rows):
        """Write rows of a table."""
        self._write([table, rows])

    def end(self, values):
        """End a database."""
        self._write({**values, "sha256": self._digest.hexdigest()})

    def _write(self, value):
        data = msgpack.packb(value, unicode_errors="surrogatepass")
        data = _LENGTH.pack(len(data)) + data
        self._digest.update(data)
        self._file.write(data)


class Page(typing.NamedTuple):
    """Rows of a table.

    :ivar number: of the page in its database, from 1 on.
    """

    number: int
    table: str
    rows: list


class Reader:
    """Reads a backup from its beginning on.

    :param stream: binary file.
    :raises nova_kvs.exceptions.KVSError: in each method, if the file is no
        backup or is damaged.
    """

    def __init__(self, stream):
        self._file = gzip.GzipFile(fileobj=stream, mode="rb")
        #: Of the database whose pages were read last.
        self.end = None
        self._is_begun = False

    def head(self):
        """Return the head of the next database, None behind the last.

        To be called behind all pages of the one before.
        """
        self._digest = hashlib.sha256()
        found = self._read(may_end=self._is_begun)
        self._is_begun = True
        if found is None:
            return None
        if type(found) is not dict or "nova_kvs_backup" not in found:
            raise exceptions.KVSError(_DAMAGED)
        if found["nova_kvs_backup"] != FORMAT:
            raise exceptions.KVSError(
                "a newer nova-kvs wrote the backup",
                format=found["nova_kvs_backup"], known=FORMAT)
        return found

    def pages(self):
        """Yield the Pages of a database, then check its end."""
        number = 0
        while True:
            digest = self._digest.hexdigest()
            found = self._read()
            if type(found) is dict:
                if found.get("sha256") != digest:
                    raise exceptions.KVSError(_DAMAGED)
                self.end = found
                return
            number += 1
            table, rows = found
            yield Page(number, table, rows)

    def _read(self, may_end=False):
        try:
            head = self._file.read(_LENGTH.size)
            if not head and may_end:
                return None
            length, = _LENGTH.unpack(head)
            if length > _LONGEST:
                raise ValueError
            data = self._file.read(length)
            if len(data) != length:
                raise EOFError
            self._digest.update(head + data)
            return msgpack.unpackb(
                data, raw=False, unicode_errors="surrogatepass")
        except (EOFError, ValueError, struct.error, zlib.error,
                gzip.BadGzipFile, msgpack.UnpackException) as error:
            raise exceptions.KVSError(_DAMAGED) from error
