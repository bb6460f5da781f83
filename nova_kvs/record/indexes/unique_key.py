# SPDX-License-Identifier: Apache-2.0
"""Unique keys: fields of a partition that name the record which holds them.

The field is in the record's own partition if that is known from the key's
values, else in a partition of kind ``u`` that the first value names. So a
unique key also finds its row.
"""

from nova_kvs import exceptions
from nova_kvs import keyspace
from nova_kvs.record import codec
from nova_kvs.record.indexes import base
from nova_kvs.record import partition_rules


class UniqueKey(base.Index):
    """A unique key. Rows with a NULL in it have none.

    :ivar inside: it is kept in the record's own partition.
    """

    def __init__(self, table, name, columns, inside):
        super().__init__(table, name, columns, inside)
        self.inside = inside

    def holds(self, values):
        return self.values(values) is not None

    def values(self, row):
        """Return a row's values of the key, or None if it has none."""
        found = tuple([row.get(column) for column in self.columns])
        return None if None in found else found

    def partition(self, database, value):
        """Return the partition of keys that begin with a value.

        :param database: its name.
        """
        name = "%s.%s." % (self.table, self.name)
        text = base.text_of(value)
        return keyspace.partition(
            database, partition_rules.UNIQUE,
            name.encode() + text if type(text) is bytes else name + text)

    def place(self, database, values, partition):
        """Return the partition and the field where a key is.

        :param partition: the record's.
        """
        return (partition if self.inside
                else self.partition(database, values[0]),
                keyspace.unique_field(self.table, self.name, values))

    def payload(self, partition, field):
        """Return what is stored there: where the record is."""
        return codec.encode_list(
            [field] if self.inside else [field, partition.key])


def entries(database, table, row, partition, field):
    """Return the unique keys of a row: (partition, field) -> payload.

    :param database: its name.
    :param table: nova_kvs.record.schema.Table.
    """
    return {unique.place(database, values, partition):
            unique.payload(partition, field)
            for unique in table.uniques
            if (values := unique.values(row)) is not None}


def holder_of(unique_field, payload, inside=None):
    """Return the partition and the field of a unique key's record.

    :param inside: the partition that holds both; None: they are apart.
    :raises nova_kvs.exceptions.CorruptRecordError: if it names none.
    """
    field, *other = codec.decode_list(
        payload, unique_field, 1 if inside else 2)
    if type(field) is not bytes or field[:1] != keyspace.RECORD:
        raise exceptions.CorruptRecordError(field=unique_field)
    if inside:
        return inside, field
    if type(other[0]) is not bytes:
        raise exceptions.CorruptRecordError(field=unique_field)
    return keyspace.Partition(other[0]), field
