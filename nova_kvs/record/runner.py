# SPDX-License-Identifier: Apache-2.0
"""Runs functions in transactions, and again where that is needed.

Retries after conflicts, speculation, bounded staleness and the reuse of ids
are known here, and to nobody who runs a function.
"""

import enum

from nova_kvs import exceptions
from nova_kvs.txn import retry


class Mode(enum.Enum):
    """The ways to run a function in a transaction."""

    #: It only reads: what it reads may lag, where ``read_from`` allows it.
    READ = enum.auto()
    #: It reads masters, and then writes.
    WRITE = enum.auto()
    #: As WRITE, but first on what the process remembers of a partition, if
    #: that spares a round trip: the commit proves it.
    SPECULATE = enum.auto()
    #: As SPECULATE, but first on what may lag. For functions whose result
    #: depends on no row but those that they change, whose versions the
    #: commit compares.
    MAY_LAG = enum.auto()


def run(database, function, mode, attempts=retry.ATTEMPTS):
    """Run a function in a transaction, which is committed afterwards.

    :param database: nova_kvs.record.database.Database.
    :param function: is given a RecordTransaction, each time a new one. It may
        commit it itself.
    :param mode: Mode.
    :param attempts: greatest number of calls after a conflict.
    :returns: what the function returns.
    :raises nova_kvs.exceptions.KVSError: as RecordTransaction.commit; a
        ConflictError if the last call still met one.
    """
    if mode is Mode.READ:
        return function(database.begin(may_lag=True))
    if mode is Mode.MAY_LAG and database.may_lag:
        found = _try_lagging(database, function)
        if found is not None:
            return found[0]
    return retry.run(
        _Attempts(database, function, mode is not Mode.WRITE), attempts)


class InParts:
    """Runs functions on lists, on as many items at once as the store takes.

    :param most: at most so many.
    """

    def __init__(self, most):
        self._most = most

    def run(self, function, items):
        """Run a function on all items, in order; yield what it returns.

        :param function: is given a list of items, in another transaction each
            time. Another process sees some parts done, and others not.
        :raises nova_kvs.exceptions.TooLargeError: if one item is too much.
        """
        done = 0
        while done < len(items):
            some = items[done:done + self._most]
            try:
                result = function(some)
            except exceptions.TooLargeError:
                if len(some) == 1:
                    raise
                self._most = len(some) // 2
            else:
                done += len(some)
                yield result


def _finish(function, tx):
    """Run a function in a transaction, and commit that if it did not."""
    result = function(tx)
    if not tx.was_sent:
        tx.commit()
    return result


def _try_lagging(database, function):
    """Run a function that writes on what may lag.

    :returns: a tuple with its result; None if masters may tell otherwise:
        then nothing was applied.
    """
    tx = database.begin(may_lag=True)
    try:
        result = _finish(function, tx)
    except exceptions.ConflictError:
        return None
    except exceptions.StoreUnavailableError:
        raise
    except Exception:  # Whatever it raises may be due to what lags.
        if tx.was_sent:
            raise
        return None
    return (result,) if tx.was_sent else None


class _Attempts:
    """Runs a writing function, each time that it is called.

    If speculation goes wrong, or whatever else comes of it without proof
    (the function raises, or finds nothing to write), the function is run
    once more at once, as each time from then on, with what the store has.
    """

    def __init__(self, database, function, speculates):
        self._database = database
        self._function = function
        self._speculates = speculates

    def __call__(self):
        tx = self._database.begin(speculates=self._speculates)
        if self._speculates:
            self._speculates = False
            try:
                return _finish(self._function, tx)
            except exceptions.StoreUnavailableError:
                raise
            # Whatever a function raises may be due to what is out of date.
            except Exception as error:
                if not (isinstance(error, exceptions.SpeculationFailedError)
                        or tx.is_speculative):
                    raise
            tx = self._database.begin(after=tx)
        return _finish(self._function, tx)
