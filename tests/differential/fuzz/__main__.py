# SPDX-License-Identifier: Apache-2.0
"""Send odd requests for some minutes, and print what differs::

    tox -e fuzz -- MINUTES
"""

import re
import sys
import time
import warnings

import hypothesis
from hypothesis import strategies as st

from tests.differential.fuzz import pair
from tests.differential.fuzz import requests


def main(minutes):
    """Return the number of kinds of requests that were answered otherwise."""
    end = time.monotonic() + 60 * float(minutes)
    clouds = pair.Pair()
    kinds = {}

    def tell(request):
        text = clouds.difference(request)
        if text is None:
            return
        # Of those of one kind the first is enough.
        kind = (request.method, re.sub(
            r"/[^/]*[^a-z_/-][^/]*", "/*", request.path.partition("?")[0]),
            re.sub(r"[^a-zA-Z ]", "", text.partition("\n")[2])[:80])
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] == 1:
            print(text[:3000], flush=True)

    @hypothesis.settings(
        max_examples=500, deadline=None, database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck))
    @hypothesis.given(st.lists(st.one_of(
        requests.reads, requests.reads, requests.writes), min_size=1,
        max_size=8))
    def run(several):
        for request in several:
            if time.monotonic() < end:
                tell(request)
        if not clouds.requests % 20:
            clouds.both(lambda cloud: cloud.tidy())

    try:
        for request in requests.population():
            tell(request)
            if clouds.status >= 300:
                print(clouds.status, request)
        while time.monotonic() < end:
            run()
            print("%d requests, %d kinds of differences" % (
                clouds.requests, len(kinds)), flush=True)
    finally:
        clouds.stop()
    return len(kinds)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(min(main(*sys.argv[1:] or ["10"]), 1))
