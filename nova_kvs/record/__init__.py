# SPDX-License-Identifier: Apache-2.0
"""Tables on keys: schema, partitions, indexes, unique keys, ids.

What the layers above need is here and in ``nova_kvs.record.access``. What a
commit sends for a row is put together in ``changes``; each kind of index (in
``indexes``) makes its own entries. ``planner`` chooses how rows are read, and
``paths`` reads them. ``remembered`` has what a process remembers of them.
"""

from nova_kvs.record.database import Database
from nova_kvs.record.database import open_database
from nova_kvs.record.schema import Schema
from nova_kvs.record.schema import Table
from nova_kvs.record.transaction import RecordTransaction

__all__ = ["Database", "RecordTransaction", "Schema", "Table",
           "open_database"]
