# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share."""

import signal

import pytest


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
