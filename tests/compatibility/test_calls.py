# SPDX-License-Identifier: Apache-2.0
"""Calls answer the same whatever is missing, and the log says so once."""

import json
import subprocess
import sys

import pytest

from tests.compatibility import calls
from tests.compatibility import cases

CASES = cases.names()


def run(chosen):
    """Return case -> what tests.compatibility.calls says of it."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.compatibility.calls",
         "", *chosen], check=True, capture_output=True, text=True)
    return {found["case"]: found for found in map(
        json.loads, done.stdout.splitlines())}


def check(found):
    """Assert that all answers are right, and what the log says."""
    case = found["case"]
    assert found.get("error", "") == ""
    assert found["answers"] == calls.ANSWERS
    assert len(found["warnings"]) <= 1
    if not case:
        assert found["warnings"] == []
        assert found["native"] > 230
    elif case == cases.ALL_FUNCTIONS or case.endswith(("FACTORY=_gone",
                                                       "CONTEXT=_gone")):
        assert found["native"] == 0
        assert "dialect" in found["warnings"][0]
    elif ":" in case:
        name = case.rpartition(":")[2]
        assert "has no attribute '%s'" % name in found["warnings"][0]
        assert found["native"] > 0


@pytest.fixture(scope="module")
def results():
    return run(CASES)


@pytest.mark.parametrize("case", ["", *CASES])
def test_a_name_is_missing_or_another(results, case):
    check(results[case])
