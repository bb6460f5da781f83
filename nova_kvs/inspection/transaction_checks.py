# SPDX-License-Identifier: Apache-2.0
"""Checks of what transactions leave behind, of ids and of strange keys."""

from nova_kvs.inspection import checks
from nova_kvs import keyspace
from nova_kvs.store import operations
from nova_kvs.txn import mutation
from nova_kvs.txn import recovery


class Intent(checks.Check):
    """An intent must not be older than a transaction may live.

    :raises ValueError: if the intent cannot be read.
    """

    def __init__(self, partition, field, data, prefix_of_keys):
        self._partition = partition
        self._field = field
        self._data = data
        if not checks.is_intent(data):
            raise ValueError("not an intent")
        self.head = mutation.Intent.parse(data)
        if not self.head.primary.startswith(prefix_of_keys):
            raise ValueError("not an intent")

    def reads(self, context):
        key = self._partition.key
        return [
            checks.RawRead(operations.GetField(
                key, keyspace.intent_field(self._field))),
            checks.RawRead(operations.ReadClock(key))]

    def verdict(self, context, results):
        data, now_ms = results
        if data != self._data or (
                now_ms - self.head.start_ms < context.lifetime_ms):
            return None
        return checks.Fault("intent-abandoned", self.head.txn_id)

    def describe(self):
        return {"partition": checks.text(self._partition.key),
                "field": checks.text(self._field),
                "transaction": self.head.txn_id.hex()}

    def repair(self, context, fault):
        """Apply it or roll it back, as its transaction's outcome says."""
        return not context.database.coordinator.recovery.clear(
            [(self._partition, self._field, self._data)])


class Outcome(checks.Check):
    """An outcome without an end of life must be waiting to be settled.

    :ivar txn_id: id of the transaction.
    """

    def __init__(self, key, txn_id):
        self._key = key
        self.txn_id = txn_id

    def reads(self, context):
        return [checks.RawRead(operations.LivesForEver(self._key))]

    def verdict(self, context, results):
        return checks.Fault("outcome-abandoned") if results[0] else None

    def describe(self):
        return {"key": checks.text(self._key)}

    def promise(self, fault):
        return self.txn_id

    def repair(self, context, fault):
        """Let it go, slowly.

        Called only when a walk over the whole database met no intent of the
        transaction.
        """
        context.store.batch([
            operations.SetLife(self._key, recovery.ABORT_LIFE_MS)])
        return True


class Counter(checks.Check):
    """A table's counter must not be below an id in use."""

    IS_CERTAIN = True

    def __init__(self, context, table, highest):
        self._key = keyspace.counter_key(context.name, table)
        self._table = table
        self._highest = highest

    def reads(self, context):
        return [checks.RawRead(operations.Get(self._key))]

    def verdict(self, context, results):
        try:
            # An empty one is no number either, nor can it be incremented.
            behind = self._highest - (
                0 if results[0] is None else int(results[0]))
        except ValueError:
            return checks.Fault("counter-undecodable")
        return checks.Fault("counter-behind", behind) if behind > 0 else None

    def describe(self):
        return {"table": self._table, "highest": str(self._highest)}

    def repair(self, context, fault):
        """Raise it by the difference: right, whoever else raises it."""
        if fault.state is None:
            # Nobody can tell how far it was.
            return False
        context.store.batch([
            operations.Increment(self._key, fault.state)])
        return True


class UnknownKey(checks.Check):
    """A key of the database's namespace that nova-kvs does not write.

    Never removed: nobody here knows what it is.
    """

    IS_CERTAIN = True

    def __init__(self, key):
        self._key = key

    def reads(self, context):
        return [checks.RawRead(operations.Exists(self._key))]

    def verdict(self, context, results):
        return checks.Fault("key-unknown") if results[0] else None

    def describe(self):
        return {"key": checks.text(self._key)}
