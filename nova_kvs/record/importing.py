# SPDX-License-Identifier: Apache-2.0
"""The mark of an import that is not complete.

It is a record in a partition of its own beside the schema, of which code that
does not know of it takes no notice. An import writes it before its first row
and removes it behind the last.
"""

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record import partition_rules
from nova_kvs.txn import reading

TABLE = "transfer"
SOURCE_FIELD = keyspace.record_field(TABLE, ("source",))


def partition(database):
    """Return the partition that tells how far an import is.

    :param database: the database's name.
    """
    return keyspace.partition(database, partition_rules.META, "transfer")


def source(coordinator, database):
    """Return where an import that is not complete comes from, or None.

    :param coordinator: nova_kvs.txn.coordinator.Coordinator.
    :param database: the database's name.
    :returns: the URL of the source without its password.
    :raises nova_kvs.exceptions.KVSError: if the store does not answer.
    """
    snapshot, = coordinator.read(
        [reading.FieldsRead(partition(database), (SOURCE_FIELD,))])
    cell = snapshot.cell(SOURCE_FIELD)
    if cell is None:
        return None
    return codec.decode(cell.payload, SOURCE_FIELD).get("name")


def check_complete(coordinator, database):
    """Do nothing if no import into a database is going on.

    :raises nova_kvs.exceptions.IncompleteImportError: if one is, or was
        stopped.
    """
    found = source(coordinator, database)
    if found is not None:
        raise exceptions.IncompleteImportError(
            database=database, source=found)
