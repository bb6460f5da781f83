# SPDX-License-Identifier: Apache-2.0
"""Asks programs whether they accept arguments, without running them.

A process of its own: what the programs do before they look at their
arguments stays in it.
"""

import argparse
import contextlib
import io
import json
import runpy
import subprocess
import sys

_TIMEOUT_S = 120


def rejected(commands):
    """Return what is wrong with command lines.

    :param commands: of each ``[module, argument...]``.
    :returns: of each the error message, empty if it is accepted.
    """
    done = subprocess.run(
        [sys.executable, "-m", __name__], input=json.dumps(commands),
        capture_output=True, text=True, timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class _Accepted(BaseException):
    """The arguments were parsed."""


def _stopping(parse):
    def stop(*args, **kwargs):
        parse(*args, **kwargs)
        raise _Accepted
    return stop


def _error(module, arguments):
    sys.argv[1:] = arguments
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            runpy.run_module(module, run_name="__main__", alter_sys=True)
    except _Accepted:
        return ""
    except SystemExit:
        return messages.getvalue() or "it ended"
    return "it looked at no arguments"


def main():
    commands = json.load(sys.stdin)
    parser = argparse.ArgumentParser
    parser.parse_args = _stopping(parser.parse_args)
    parser.parse_intermixed_args = _stopping(parser.parse_intermixed_args)
    json.dump([_error(*command[:1], command[1:]) for command in commands],
              sys.stdout)


if __name__ == "__main__":
    main()
