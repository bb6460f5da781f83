# SPDX-License-Identifier: Apache-2.0
"""Some of the cases of tests.compatibility, for the rest takes minutes.

SQLAlchemy's names are in tests/unit/dialect/test_other_sqlalchemy.py.
"""

import pytest

from nova_kvs.compatibility import private
from tests.compatibility import cases
from tests.compatibility import test_calls as whole

CASES = [case for case in cases.names() if case == cases.ALL_FUNCTIONS or (
    case.endswith("=_gone") and not private.all_names()[
        case.partition("=")[0]].owner.startswith("sqlalchemy."))]
CASES += [case for case in cases.names() if ":" in case][::8]


@pytest.fixture(scope="module")
def results():
    return whole.run(CASES)


@pytest.mark.parametrize("case", ["", *CASES])
def test_a_name_is_missing(results, case):
    whole.check(results[case])
