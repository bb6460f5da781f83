# SPDX-License-Identifier: Apache-2.0
"""Follows hints to the records that they name.

A process remembers which records hints named when it last looked, and reads
these along with the hints. The hints decide all the same: when they name
another record, what came along is dropped and all of them are read, so that
the records of a partition are of one moment.
"""

from nova_kvs import keyspace
from nova_kvs.record import index as indexing
from nova_kvs.txn import reading

#: Slices of hints that a process remembers, and how many members of one.
SLICES = 50000
LARGEST_SLICE = 16


def reads_of(tx, table, index, tuples):
    """Return the reads of all hints that begin with one of some tuples."""
    reads = []
    for values in tuples:
        prefix = keyspace.encode_tuple(values)
        for key in indexing.slot_keys(tx.database, table, index, values[0]):
            reads.append(reading.HintRead(
                key, b"[" + prefix, b"(" + prefix + indexing.AFTER))
    return reads


def partitions_of(reads, results):
    """Return the partitions that hints name, a dict with them as keys."""
    found = {}
    for read, members in zip(reads, results):
        if type(read) is reading.HintRead:
            for member in members:
                found[indexing.partition_of(member)] = None
    return found


def records(tx, table, reads):
    """Return the records that hints name, reading nothing else.

    :param reads: of ``reads_of``.
    """
    remembered = tx.hinted
    guessed = {}
    for read in reads:
        for partition, field in remembered.get(read, ((), ()))[1]:
            guessed.setdefault(partition, {})[field] = None
    guesses = [reading.SideRead(read)
               for read in _absent(tx, table, guessed)]
    results = yield reads + guesses
    named = {}
    for read, members in zip(reads, results):
        for partition, field in _decoded(remembered, read, members):
            named.setdefault(partition, {})[field] = None
    came = {guess.read.partition: (guess.read.fields, snapshot)
            for guess, snapshot in zip(guesses, results[len(reads):])}
    left = []
    for read in _absent(tx, table, named):
        fields, snapshot = came.get(read.partition, ((), None))
        if set(fields).issuperset(read.fields):
            tx.absorb(read.partition, snapshot)
        else:
            left.append(read)
    if left:
        yield left
    views = tx.views
    rows = [views[partition].record(table, field)
            for partition, names in named.items() for field in names]
    return [row for row in rows if row is not None]


def _decoded(remembered, read, members):
    """Return (partition, field) for each member of a slice of hints."""
    known = remembered.get(read)
    if known is not None and known[0] == members:
        return known[1]
    where = [(indexing.partition_of(member), indexing.field_of(member))
             for member in members]
    if len(where) <= LARGEST_SLICE:
        remembered[read] = members, where
    elif known is not None:
        remembered.pop(read, None)
    return where


def _absent(tx, table, wanted):
    """Return reads of the fields that no view has yet.

    :param wanted: partition -> fields.
    """
    reads = []
    for partition, fields in wanted.items():
        view = tx.views.get(partition)
        if view is None:
            reads.append(reading.FieldsRead(partition, tuple(fields)))
        elif not view.has_all(table):
            missing = tuple([field for field in fields
                             if field not in view.stored])
            if missing:
                reads.append(reading.FieldsRead(partition, missing))
    return reads
