# SPDX-License-Identifier: Apache-2.0
"""Puts the rows that benchmarks generate into SQLite."""

from nova.db.api import models as api_models
from nova.db.main import models as main_models
import sqlalchemy as sa


def filled(cloud):
    """Return an engine of a cell with all rows of a cloud, in odd pages.

    SQLite takes them with its constraints, those of the API database too.

    :param cloud: benchmarks.cloud.Cloud.
    """
    engines = {}
    for base in (main_models.BASE, api_models.BASE):
        engine = engines[base.metadata] = sa.create_engine("sqlite://")
        base.metadata.create_all(engine)
    for model, rows in cloud.all_rows(step=7):
        with engines[model.__table__.metadata].begin() as connection:
            if rows:
                connection.execute(model.__table__.insert(), rows)
    return engines[main_models.BASE.metadata]
