# SPDX-License-Identifier: Apache-2.0
"""Histories of clients that know only SQLAlchemy, while etcd fails."""

import pytest

from tests.fault.blackbox import checker
from tests.fault.blackbox import etcd_nemeses
from tests.fault.blackbox import test_blackbox
from tests.fault import members


@pytest.fixture(scope="module")
def cluster():
    with members.ProxiedMembers(options=[
            "--quota-backend-bytes",
            str(etcd_nemeses.QUOTA_BYTES)]) as cluster:
        yield cluster


@pytest.mark.short
@pytest.mark.parametrize("level", test_blackbox.LEVELS)
def test_nothing_is_lost(cluster, database_name, scale, show, level):
    choices = scale(etcd_nemeses.ALL, etcd_nemeses.SHORT)
    result = test_blackbox.load(
        cluster, database_name, level, scale.seconds(120, 5), choices, show,
        "etcd")
    admitted = (test_blackbox.ADMITTED if level != "SERIALIZABLE"
                else frozenset())
    assert not set(result.anomalies) - admitted, result.examples
    assert result.lost == 0
    # Clients met each other.
    assert result.counts[checker.COMMITTED] > 100
    assert result.counts[checker.REFUSED]
