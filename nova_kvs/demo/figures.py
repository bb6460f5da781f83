# SPDX-License-Identifier: Apache-2.0
"""What the demo's servers cost: stored records and round trips."""

import typing

import sqlalchemy


class Figures(typing.NamedTuple):
    """Counters of a cloud's databases at one moment."""

    #: Records that are stored, over all tables.
    records: int
    #: Round trips that this process made to the store since it started.
    round_trips: int

    def __sub__(self, earlier):
        return Figures(self.records - earlier.records,
                       self.round_trips - earlier.round_trips)


def is_kvs(url):
    """Return whether a URL names one of our databases."""
    return sqlalchemy.make_url(url).get_backend_name() == "kvs"


def read(databases):
    """Return the Figures of a cloud's databases, None for those in SQL."""
    if not all(map(is_kvs, databases)):
        return None
    from nova_kvs import record
    from nova_kvs.record import access
    opened = [record.open_database(url) for url in databases]
    # Databases may share a store, and counting makes round trips itself.
    stores = {id(one.store): one.store for one in opened}.values()
    round_trips = sum(store.stats.round_trips for store in stores)
    records = 0
    for one in opened:
        transaction = one.begin()
        try:
            records += sum(map(len, transaction.load(
                [access.FullScan(name) for name in one.schema.tables])))
        finally:
            transaction.rollback()
    return Figures(records, round_trips)
