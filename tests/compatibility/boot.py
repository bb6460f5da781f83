# SPDX-License-Identifier: Apache-2.0
"""Boots the demo's cloud in each case: ``python -m tests.compatibility.boot``.

Prints a line for each: whether all services started and three servers are
ACTIVE, and what nova-kvs warned of. Exits with the number of failures.
"""

import argparse
import concurrent.futures
import pathlib
import re
import subprocess
import sys

from tests.compatibility import cases

_CHILD = """
import sys
from tests.compatibility import cases
case = sys.argv.pop(1)
if case:
    cases.apply(case)
from nova_kvs.cmd import main
main.main(sys.argv[1:])
"""
SERVERS = 3
_WARNINGS = re.compile(r"WARNING nova_kvs\.\S+ (?:\[[^]]*\] )?(.*)")


def boot(case):
    """Boot a cloud; return (why it failed or None, warnings)."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _CHILD, case, "demo",
         "--servers", str(SERVERS), "--computes", "1"],
        capture_output=True, text=True, timeout=600)
    out = done.stdout + done.stderr
    log = re.search(r"^Log: (\S+)", out, re.M)
    warnings = []
    if log:
        path = pathlib.Path(log.group(1))
        warnings = _WARNINGS.findall(path.read_text())
        path.unlink()
    if done.returncode or "%d of %d servers ACTIVE" % (
            SERVERS, SERVERS) not in out:
        return out.strip().splitlines()[-1:] or ["no output"], warnings
    if len(warnings) != len(set(warnings)):
        return ["a warning came twice"], warnings
    return None, warnings


def main():
    """Boot in each case."""
    parser = argparse.ArgumentParser(prog="python -m tests.compatibility.boot")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("cases", nargs="*", help="by default all")
    arguments = parser.parse_args()
    chosen = arguments.cases or ["", *cases.names()]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for case, (problem, warnings) in zip(
                chosen, pool.map(boot, chosen)):
            failed += problem is not None
            said = "; ".join(text[:100] for text in warnings)
            print("%s %s: %s" % (
                "FAILED" if problem else "ok", case or "nothing",
                problem[0] if problem else said or "no warning"),
                flush=True)
    print("%d clouds booted, %d failed" % (len(chosen) - failed, failed))
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
