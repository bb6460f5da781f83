# SPDX-License-Identifier: Apache-2.0
"""Access paths: a module for each way to find rows.

``nova_kvs.record.planner`` chooses one, ``nova_kvs.record.access`` says what
can be asked for, and here it is answered: by which reads, in how many batches.

Every path is a generator: it yields a list of reads (of
``nova_kvs.txn.reading``), is sent the list of their results, and returns
records. The transaction runs the paths of one ``load`` side by side, so that
the reads of all of them share batches. Results of reads of partitions are
already in the transaction's read sets when a path goes on.
"""
