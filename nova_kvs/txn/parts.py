# SPDX-License-Identifier: Apache-2.0
"""Mutations as parts of the store's operations, and its answers as errors."""

from nova_kvs import exceptions
from nova_kvs.store import operations
from nova_kvs.store.operations import Verdict
from nova_kvs.txn import mutation

_pack_version = mutation.VERSION.pack


def commit_part(partition, mutations, versions, speculation=None):
    """Return what a commit does in one partition.

    :param mutations: those of this partition.
    :param versions: dict that gets (partition, field) -> new version.
    :param speculation: nova_kvs.txn.reading.Speculation of the partition
        that must be right, or None.
    """
    changes = []
    adds = []
    removes = []
    for change in mutations:
        kind, version, payload = change.operation()
        field = change.field
        versions[partition, field] = version
        changes.append(operations.Change(
            kind, field, change.expected, _pack_version(version) + payload))
        if change.index_add or change.index_remove:
            add, remove = change.index_changes()
            adds += add
            removes += remove
    if speculation is None:
        return operations.Part(
            partition.key, partition.index_key, changes, adds, removes)
    return operations.Part(
        partition.key, partition.index_key, changes, adds, removes,
        speculation.fields, speculation.values)


def prewrite(partition, mutations, txn_id, primary, versions):
    """Return the operation that stages one partition's mutations.

    :param primary: the primary partition.
    :param versions: dict that gets (partition, field) -> new version.
    """
    stagings = []
    adds = []
    for change in mutations:
        kind, version, payload = change.operation()
        expected = change.expected
        versions[partition, change.field] = version
        add, remove = change.index_changes()
        adds += add
        stagings.append(operations.Staging(
            change.field, expected, mutation.pack_intent(
                txn_id, kind, version or expected, primary.key, add, remove,
                payload)))
    return operations.Prewrite(
        partition.key, partition.index_key, partition.outcome_key(txn_id),
        txn_id, stagings, adds)


def blocking_intents(mutations, answer):
    """Return what was in the way, as Recovery takes it.

    :param mutations: of all parts, in order.
    """
    return [(mutations[number].partition, mutations[number].field, data)
            for number, data in answer.detail]


def failure(partitions, mutations, answer, speculation=None):
    """Return the error that tells why a commit or prewrite was refused.

    :param partitions: those of the parts, in order.
    :param mutations: of all parts, in order.
    :param answer: nova_kvs.store.operations.Answer.
    :param speculation: what the commit was given.
    """
    verdict, detail = answer
    if verdict is Verdict.UNKNOWN:
        if detail is None or speculation is None:
            return exceptions.SpeculationFailedError()
        return exceptions.SpeculationFailedError(speculation.read, detail)
    if verdict is Verdict.BELOW_FLOOR:
        number, floor = detail
        return exceptions.FloorError(
            floor=floor, partition=partitions[number])
    if verdict is Verdict.DIFFERS:
        refused = [mutations[number] for number in detail]
        for change in refused:
            if change.expected or change.duplicate is None:
                return exceptions.ConflictError(
                    partition=change.partition.key, field=change.field)
        # Only when no other record has changed, or the caller would blame
        # a unique key for what a second try may find different.
        return refused[0].duplicate()
    if verdict is Verdict.CHANGED:
        return exceptions.SerializationError()
    if verdict is Verdict.TOO_LATE:
        return exceptions.HeldUpError(partition=partitions[0].key)
    return exceptions.ConflictError(
        "another transaction was in the way for too long",
        partition=partitions[0].key)
