# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share."""

import signal

import pytest

from tests.cloud import processes


@pytest.fixture(autouse=True, scope="session")
def stop_on_sigterm():
    """Have fixtures end their processes also when pytest is terminated.

    Without it SIGTERM (of ``timeout``, of a CI system) leaves them behind.
    """
    def handle(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, handle)
    yield
    signal.signal(signal.SIGTERM, previous)


@pytest.fixture
def group(request):
    """Processes of one test, whose logs are printed if it fails.

    The test's module says with TOTAL_TIMEOUT_S how long it may take.
    """
    timeout_s = request.module.TOTAL_TIMEOUT_S

    def expired(number, frame):
        raise processes.ProcessError("not done within %d s" % timeout_s)

    previous = signal.signal(signal.SIGALRM, expired)
    signal.alarm(timeout_s)
    failures = request.session.testsfailed
    try:
        with processes.Group() as found:
            yield found
            signal.alarm(0)
            if request.session.testsfailed > failures:
                print(found.tails())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
