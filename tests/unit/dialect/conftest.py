# SPDX-License-Identifier: Apache-2.0
"""An engine with a few tables, for all tests of the dialect."""

import pytest
import sqlalchemy as sa

from tests import base
from tests.unit.dialect import tables


@pytest.fixture
def engine():
    """Return an engine of an empty database with the tables."""
    made = sa.create_engine(base.memory_url())
    tables.metadata.create_all(made)
    yield made
    made.dispose()


@pytest.fixture
def connection(engine):
    """Return a connection of the engine."""
    with engine.connect() as made:
        yield made
