# SPDX-License-Identifier: Apache-2.0
"""Make odd values for some minutes, and stop at the first finding::

    tox -e fuzz-values -- MINUTES [TEST...]
"""

import argparse
import itertools
import os
import pathlib
import sys
import time

import pytest

from tests.unit import fuzz


def main():
    """Run the tests again and again, with other values each time."""
    parser = argparse.ArgumentParser(prog="python -m tests.unit.fuzz")
    parser.add_argument("minutes", nargs="?", type=float, default=10)
    parser.add_argument("tests", nargs="*", help="names of tests, or parts")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    os.environ["KVS_TEST_FUZZ_EXAMPLES"] = "2000"
    options = ["-q", "-x", "-p", "no:cacheprovider",
               str(pathlib.Path(fuzz.__file__).parent)]
    if arguments.tests:
        options += ["-k", " or ".join(arguments.tests)]
    for turn in itertools.count(1):
        status = pytest.main(options)
        if status or time.monotonic() > end:
            print("%d rounds of 2000 values each" % turn)
            return status


if __name__ == "__main__":
    sys.exit(main())
