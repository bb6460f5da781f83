# SPDX-License-Identifier: Apache-2.0
import os

import hypothesis

# How fast values are made, and used, is up to whatever else the machine does.
hypothesis.settings.register_profile(
    "nova_kvs", deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("nova_kvs")


def pytest_report_header():
    """Return the seed with which a run can be repeated."""
    return "PYTHONHASHSEED=%s" % os.environ.get("PYTHONHASHSEED", "random")
