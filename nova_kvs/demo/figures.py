# SPDX-License-Identifier: Apache-2.0
"""The cost of the demo's servers: records and round trips."""

import typing

import sqlalchemy


class Figures(typing.NamedTuple):
    """The cost of something."""

    #: Records that it added, over all tables of all databases.
    records: int
    #: Round trips of this process to the store meanwhile.
    round_trips: int


class Meter:
    """Measures from ``start`` to ``stop``, without its own round trips.

    :param databases: URLs.
    """

    def __init__(self, databases):
        self._databases = []
        if all(_is_kvs(url) for url in databases):
            from nova_kvs import record
            self._databases = [record.open_database(url)
                               for url in databases]
        self._started = None

    def start(self):
        """Begin to measure."""
        records = self._records()
        self._started = Figures(records, self._round_trips())

    def stop(self):
        """Return the Figures since the start, None for SQL databases."""
        if not self._databases:
            return None
        round_trips = self._round_trips() - self._started.round_trips
        return Figures(self._records() - self._started.records, round_trips)

    def _round_trips(self):
        # Databases may share a store.
        stores = {id(one.store): one.store for one in self._databases}
        return sum(one.stats.round_trips for one in stores.values())

    def _records(self):
        from nova_kvs.record import access
        records = 0
        for one in self._databases:
            transaction = one.begin()
            try:
                records += sum(map(len, transaction.load(
                    [access.FullScan(name) for name in one.schema.tables])))
            finally:
                transaction.rollback()
        return records


def _is_kvs(url):
    return sqlalchemy.make_url(url).get_backend_name() == "kvs"
