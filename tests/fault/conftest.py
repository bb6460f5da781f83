# SPDX-License-Identifier: Apache-2.0
"""Servers of the fault suite, and the summary that closes its run."""

import os
import uuid

import pytest

from nova_kvs.store import registry
from tests.fault import proxy
from tests import fixtures

#: The claims that were shown: name -> the numbers of them, added up.
_shown = {}
#: The tests that failed.
_failed = []


class Scale:
    """How much of everything: ``-m short`` is what CI runs.

    :ivar short: whether this is the short form.
    """

    def __init__(self, short):
        self.short = short

    def __call__(self, full, short):
        """Return a number for the whole suite, or for the short form."""
        return short if self.short else full

    def seconds(self, full, short):
        """Return how long to load; KVS_TEST_FAULT_SECONDS wins."""
        return float(os.environ.get("KVS_TEST_FAULT_SECONDS")
                     or self(full, short))


@pytest.fixture(scope="session")
def scale(request):
    return Scale(request.config.option.markexpr == "short")


@pytest.fixture
def show():
    """Note what a test has shown, for the summary.

    Called with the claim and its numbers. The numbers of a claim that
    several tests show are added up.
    """
    def note(claim, **numbers):
        sums = _shown.setdefault(claim, {})
        for name, number in numbers.items():
            sums[name] = sums.get(name, 0) + number
    return note


@pytest.fixture(scope="session")
def cluster():
    """A cluster of three masters that every test of the session uses."""
    with fixtures.RedisClusterFixture(masters=3, replicas=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def all_proxied():
    with proxy.ProxiedCluster() as cluster:
        yield cluster


@pytest.fixture
def proxied(all_proxied):
    """A cluster behind proxies, whose faults end with the test."""
    yield all_proxied
    vars(all_proxied.faults).update(vars(proxy.Faults()))


@pytest.fixture
def store(cluster):
    return registry.get_store(cluster.url("fault"))


@pytest.fixture
def database_name():
    """The name of a database that nothing else uses."""
    return "fault-" + uuid.uuid4().hex[:12]


def pytest_runtest_logreport(report):
    if report.failed:
        _failed.append(report.nodeid)


def pytest_terminal_summary(terminalreporter):
    if not _shown and not _failed:
        return
    terminalreporter.section("fault suite: what was shown")
    for claim, numbers in _shown.items():
        terminalreporter.line("%s: %s" % (claim, ", ".join(
            "%s %s" % (_text(number), name.replace("_", " "))
            for name, number in numbers.items())))
    for test in _failed:
        terminalreporter.line("NOT SHOWN: %s" % test)


def _text(number):
    return "%.1f" % number if isinstance(number, float) else str(number)
