# SPDX-License-Identifier: Apache-2.0
"""SQLAlchemy's compliance suite for dialects."""

from unittest import mock

from sqlalchemy import testing
from sqlalchemy.testing import config
from sqlalchemy.testing import exclusions
from sqlalchemy.testing import suite
from sqlalchemy.testing.suite import *  # noqa: F401,F403


class ComponentReflectionTest(suite.ComponentReflectionTest):
    """The suite's, for the one schema that there is."""

    @testing.combinations(True, False, argnames="views")
    def test_metadata(self, connection, views):
        # The last argument is what the suite's decorators add.
        super().test_metadata(connection, False, views, ())

    def test_get_foreign_keys(self, connection):
        """Foreign keys have names, also where the table gives none.

        Unlike the rest of what the suite asks for by one requirement.
        """
        with mock.patch.object(
                type(config.requirements), "implicitly_named_constraints",
                exclusions.open()):
            super().test_get_foreign_keys(connection, False, ())


class ComponentReflectionTestExtra(suite.ComponentReflectionTestExtra):
    """The suite's, for the one schema that there is."""

    @testing.fixture(params=[False])
    def use_schema_fixture(self, request):
        return None
