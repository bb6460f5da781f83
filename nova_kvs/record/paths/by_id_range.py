# SPDX-License-Identifier: Apache-2.0
"""Reads rows in the order of their automatic ids: the path of ByIdRange.

No index has that order. But ids are given out one after another, and the
counter says up to which: so the rows are asked for by the ids that there can
be, in larger and larger chunks, until there are enough of them. Where most
ids in a row have no row, all of the table is read instead.
"""

import math

from nova_kvs.record.indexes import global_index
from nova_kvs.record import partition_rules
from nova_kvs.record.paths import by_key
from nova_kvs.record.paths import partition_reads
from nova_kvs.record.paths import scans

#: Ids begin at 1. Of those that rows bring along, a few below are looked at.
LOWEST = -8
#: Ids of the first chunk beyond the limit, and of the largest one.
SLACK = 16
LARGEST = 1000
#: Ids that are tried without finding enough rows, before a scan.
MOST = 4000


def by_id_range(tx, table, wanted):
    """Return the first rows in a range of ids, in order: a path.

    :param wanted: nova_kvs.record.access.ByIdRange.
    """
    low, high = wanted.low, wanted.high
    found = None
    if tx.serializable or min(low or 0, high or 0) < LOWEST or (
            low is None and wanted.limit is None) or (
            table.kind != partition_rules.TABLE and table.id_index is None):
        # What is compared at the commit is what was read, not the counter.
        # And ids below the lowest that is looked at may be asked for.
        found = yield from scans.scan(tx, table)
    else:
        found = yield from _up_to_counter(
            tx, table, LOWEST if low is None else max(low, LOWEST),
            math.inf if high is None else high,
            math.inf if wanted.limit is None
            else wanted.limit + tx.written_rows(table), wanted.reverse)
        if found is None:
            found = yield from scans.scan(tx, table)
    found = {record.key: record for record in found
             if _is_between(record.key[0], wanted.low, wanted.high)}
    return [found[key] for key in sorted(found, reverse=wanted.reverse)]


def _is_between(number, low, high):
    return (low is None or number >= low) and (
        high is None or number <= high)


def _up_to_counter(tx, table, low, high, limit, reverse):
    """Return at least the first rows, or None if too few ids have one.

    Between two reads a row may take the place of another one, with an id that
    was looked for before, or one beyond the counter. So what took several
    reads is read once more, all at once: of one partition that is a snapshot.
    """
    top = tx.highest_id(table)
    found, ids, reads = yield from _counted(
        tx, table, low, min(high, top), limit, reverse)
    again = reads > 1 and table.kind == partition_rules.TABLE
    while found is not None:
        if again:
            found = yield from _with_ids(tx, table, ids)
        if top >= high or not reverse and len(found) >= limit:
            break
        now = tx.highest_id(table)
        if now == top:
            break
        if now - top > MOST:
            return None
        ids = range(ids.start, min(now, high) + 1)
        top = now
        again = True
    return found


def _counted(tx, table, low, high, limit, reverse):
    """Look for rows in larger and larger chunks of ids.

    :returns: a tuple: at least the first rows, or None if too few ids have
        one; the range of the ids that were tried; how many reads that took.
    """
    found = []
    size = min(limit + SLACK, LARGEST)
    start = stop = high + 1 if reverse else low
    reads = 0
    while low <= high:
        if stop - start >= MOST:
            return None, None, reads
        if reverse:
            ids = range(max(low, high - size + 1), high + 1)
            start, high = ids.start, ids.start - 1
        else:
            ids = range(low, min(high, low + size - 1) + 1)
            stop = low = ids.stop
        found += yield from _with_ids(tx, table, ids)
        reads += 1
        if len(found) >= limit:
            break
        size = min(2 * size, LARGEST)
    return found, range(start, stop), reads


def _with_ids(tx, table, ids):
    """Return the rows that have one of some ids."""
    if table.kind == partition_rules.TABLE:
        return (yield from by_key.locate(
            tx, table, [(number,) for number in ids]))
    reads = table.id_index.reads(
        tx.database_name, [(number,) for number in ids])
    results = yield reads
    partitions = global_index.partitions_named(reads, results)
    yield from partition_reads.read_whole(tx, partitions, table)
    return [row for row in partition_reads.rows_in(tx, table, partitions)
            if row.key[0] in ids]
