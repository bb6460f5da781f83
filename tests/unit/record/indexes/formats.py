# SPDX-License-Identifier: Apache-2.0
"""What tests of indexes that a format brought ask of a database."""

from nova_kvs.inspection import fsck
from nova_kvs.record import format as stored_format
from nova_kvs.record.indexes import global_index
from tests.unit.record import databases


def make(monkeypatch, ddl, version, built=None):
    """Return a database of an earlier format."""
    with monkeypatch.context() as earlier:
        earlier.setattr(stored_format, "NEW", stored_format.State(
            version, built or version))
        return databases.make(ddl)


def listed(database, name, value=None, table="instances"):
    """Return the fields of the rows that an index's entries name, in order.

    :param value: of its first column; None: of an ordered index.
    """
    index, = [index for index in database.schema.tables[table].global_indexes
              if index.name == name]
    found = database.begin()._database.coordinator.read(
        index.reads(database.name, [() if value is None else (value,)]))
    return sorted(global_index.field_of(member)
                  for members in found for member in members)


def fields(database, *keys, table="instances"):
    """Return the fields of rows, in order."""
    found = database.schema.tables[table]
    return sorted(map(found.field, keys))


def is_clean(database):
    """Return whether fsck finds nothing once all is tidied, and the rest."""
    databases.tidy(database)
    report = fsck.Fsck(databases.another(database), 10000).run()
    return report.is_clean and not report.found, report.details
