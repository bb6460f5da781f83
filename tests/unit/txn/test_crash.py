# SPDX-License-Identifier: Apache-2.0
import pytest

from tests.fault import scenarios


@pytest.mark.parametrize("failpoint, size, operation", scenarios.MATRIX)
def test_all_or_nothing(store, pauses, failpoint, size, operation):
    scenarios.run(store, failpoint, size, operation)
    assert pauses == []
