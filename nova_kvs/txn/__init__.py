# SPDX-License-Identifier: Apache-2.0
"""Transactions over cells of partitions; knows keys, not tables."""

from nova_kvs.txn.coordinator import Coordinator
from nova_kvs.txn.mutation import DELETE
from nova_kvs.txn.mutation import LOCK
from nova_kvs.txn.mutation import Mutation
from nova_kvs.txn.queue import Queue
from nova_kvs.txn.reading import Cell
from nova_kvs.txn.reading import FieldsRead
from nova_kvs.txn.reading import IndexRead
from nova_kvs.txn.reading import MembersRead
from nova_kvs.txn.reading import PartitionRead
from nova_kvs.txn.reading import Snapshot

__all__ = ["Cell", "Coordinator", "DELETE", "FieldsRead", "MembersRead",
           "IndexRead", "LOCK", "Mutation", "PartitionRead",
           "Queue", "Snapshot"]
