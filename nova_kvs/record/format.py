# SPDX-License-Identifier: Apache-2.0
"""Version of the stored format, and the records that carry it.

The partition of kind ``m`` holds two records: a small one with the versions
of the format and of the schema, which processes look at now and then, and
the schema's DDL.
"""

import enum

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import partition_rules
from nova_kvs.txn import mutation


class FormatVersion(enum.IntEnum):
    """Stored formats, oldest first."""

    FIRST = 1
    """Everything that design.rst describes."""


CURRENT = FormatVersion.FIRST

VERSION_FIELD = keyspace.record_field("schema", ("version",))
DDL_FIELD = keyspace.record_field("schema", ("ddl",))


def partition(database):
    """Return the partition that holds the format and the schema."""
    return keyspace.partition(database, partition_rules.META, "schema")


def mutations(database, version, ddl):
    """Return the mutations that store a schema in the current format.

    :param version: of the schema that it replaces; 0 for the first.
    """
    where = partition(database)
    return [
        mutation.Mutation(
            where, VERSION_FIELD, version,
            codec.encode({"format": int(CURRENT)}), version=1),
        mutation.Mutation(
            where, DDL_FIELD, version,
            codec.encode({"ddl": list(ddl)}), version=1)]


def schema_version(snapshot, database):
    """Return the version of the stored schema; 0 without one.

    :param snapshot: of the partition, with at least ``VERSION_FIELD``.
    :raises nova_kvs.exceptions.FormatVersionError: if a newer nova-kvs
        wrote it.
    :raises nova_kvs.exceptions.CorruptRecordError: if it does not decode.
    """
    cell = snapshot.cell(VERSION_FIELD)
    if cell is None:
        return 0
    stored = codec.decode(cell.payload, VERSION_FIELD).get("format")
    if type(stored) is not int:
        raise exceptions.CorruptRecordError(field=VERSION_FIELD)
    if stored > CURRENT:
        raise exceptions.FormatVersionError(
            database=database, stored=stored, supported=int(CURRENT))
    return cell.version


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
