# SPDX-License-Identifier: Apache-2.0
"""The process that searches what may take long; see nova_kvs.regexp.

It is run as a script and imports nothing but the standard library. A line of
standard input, ``[pattern, text, CPU seconds]`` in JSON, is answered with
``true``, ``false``, or ``null`` if the search was given up. ``re`` minds
signals while it searches, but in a main thread only: hence a process.
"""

import json
import os
import re
import signal
import sys


def _give_up(_signal, _frame):
    raise TimeoutError


def _search(pattern, text, timeout_s):
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, timeout_s)
        found = re.search(pattern, text)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except (TimeoutError, MemoryError, RecursionError):
        return None
    return found is not None


def main():
    """Answer until standard input ends."""
    # What the parent has open, such as the port it listens on, is its own.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    signal.signal(signal.SIGVTALRM, _give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGVTALRM])
    for line in sys.stdin.buffer:
        os.write(1, json.dumps(_search(*json.loads(line))).encode())


if __name__ == "__main__":
    main()
