# SPDX-License-Identifier: Apache-2.0
"""Version of the stored format, and the records that carry it.

The partition of kind ``m`` holds two records: a small one with the versions
of the format and of the schema, which processes look at now and then, and
the schema's DDL.
"""

import enum
import typing

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import partition_rules
from nova_kvs.txn import mutation


class FormatVersion(enum.IntEnum):
    """Stored formats, oldest first."""

    FIRST = 1
    """All that design.rst describes but for ordered indexes.

    Still read and written: services may be of several releases.
    """

    ORDERED = 2
    """Ordered indexes, and others that format 1 lacks. An earlier writer
    would leave rows without entries in them, and nobody find these rows.
    """

    PARTS = 3
    """Directories of the partitions with deleted and with archived rows. An
    earlier writer would leave such partitions unlisted, and no archive or
    purge find them.
    """

    HISTORY = 4
    """Indexes within a server's partition: of its history, and of the rows
    beside it. An earlier writer would leave rows without entries there, and
    nobody find them where the history is long.
    """

    LISTS = 5
    """An index of what lists of servers filter and sort by, and those of rare
    states. An earlier writer would leave rows without entries in them, and
    nobody find these rows.
    """

    TAGS = 6
    """Indexes of servers by tag, by what is done to them and by state. An
    earlier writer would leave rows without entries in them, and nobody find
    these rows.
    """


CURRENT = FormatVersion.TAGS


class State(typing.NamedTuple):
    """The indexes that a database has.

    :ivar version: of the format: writers write the indexes up to it.
    :ivar built: every row is in the indexes of formats up to it: only these
        are read.
    """

    version: int
    built: int

    def payload(self):
        """Return what is stored."""
        stored = {"format": int(self.version)}
        if self.built != self.version:
            stored["built"] = int(self.built)
        return codec.encode(stored)


#: Of a new database.
NEW = State(CURRENT, CURRENT)

VERSION_FIELD = keyspace.record_field("schema", ("version",))
DDL_FIELD = keyspace.record_field("schema", ("ddl",))


def partition(database):
    """Return the partition that holds the format and the schema."""
    return keyspace.partition(database, partition_rules.META, "schema")


def mutations(database, version, ddl, state):
    """Return the mutations that store a schema, or another state.

    :param version: of the schema that it replaces; 0 for the first.
    :param state: State of the database.
    """
    where = partition(database)
    return [
        mutation.Mutation(
            where, VERSION_FIELD, version, state.payload(), version=1),
        mutation.Mutation(
            where, DDL_FIELD, version,
            codec.encode({"ddl": list(ddl)}), version=1)]


def schema_version(snapshot, database):
    """Return the version of the stored schema, and the database's State.

    :param snapshot: of the partition, with at least ``VERSION_FIELD``.
    :returns: version and State; 0 and ``NEW`` if there is no schema.
    :raises nova_kvs.exceptions.FormatVersionError: if a newer nova-kvs
        wrote it.
    :raises nova_kvs.exceptions.CorruptRecordError: if it does not decode.
    """
    cell = snapshot.cell(VERSION_FIELD)
    if cell is None:
        return 0, NEW
    values = codec.decode(cell.payload, VERSION_FIELD)
    stored = values.get("format")
    built = values.get("built", stored)
    if type(stored) is not int or type(built) is not int:
        raise exceptions.CorruptRecordError(field=VERSION_FIELD)
    if stored > CURRENT:
        raise exceptions.FormatVersionError(
            database=database, stored=stored, supported=int(CURRENT))
    return cell.version, State(stored, built)


def schema_ddl(snapshot):
    """Return the statements of the stored schema, as a tuple.

    :raises nova_kvs.exceptions.CorruptRecordError: if they do not decode.
    """
    cell = snapshot.cell(DDL_FIELD)
    if cell is None:
        return ()
    ddl = codec.decode(cell.payload, DDL_FIELD).get("ddl")
    if type(ddl) is not list or not all(type(text) is str for text in ddl):
        raise exceptions.CorruptRecordError(field=DDL_FIELD)
    return tuple(ddl)
