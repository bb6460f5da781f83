# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests on etcd."""

import pytest

from tests import etcd_servers


@pytest.fixture(scope="module")
def servers():
    """One member, which the tests of a module share."""
    with etcd_servers.EtcdFixture() as running:
        yield running
