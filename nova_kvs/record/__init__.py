# SPDX-License-Identifier: Apache-2.0
"""Tables on keys: schema, partitions, indexes, unique keys, ids.

What the layers above need is here and in ``nova_kvs.record.access``.
"""

from nova_kvs.record.database import Database
from nova_kvs.record.database import open_database
from nova_kvs.record.schema import Schema
from nova_kvs.record.schema import Table
from nova_kvs.record.transaction import RecordTransaction

__all__ = ["Database", "RecordTransaction", "Schema", "Table",
           "open_database"]
