# SPDX-License-Identifier: Apache-2.0
"""Numbers of values that are made."""

import os

import hypothesis


def some(examples, **more):
    """Return settings for a number of values, always the same ones.

    ``python -m tests.unit.fuzz`` makes more, and others each time.
    """
    by_hand = os.environ.get("KVS_TEST_FUZZ_EXAMPLES")
    return hypothesis.settings(
        max_examples=int(by_hand or examples), deadline=None, database=None,
        derandomize=not by_hand,
        suppress_health_check=list(hypothesis.HealthCheck), **more)
