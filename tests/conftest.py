# SPDX-License-Identifier: Apache-2.0
import os


def pytest_report_header():
    """Return the seed with which a run can be repeated."""
    return "PYTHONHASHSEED=%s" % os.environ.get("PYTHONHASHSEED", "random")
