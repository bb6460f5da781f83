# SPDX-License-Identifier: Apache-2.0
"""Runs nova-kvs as an operator does."""

import json
import sys

from tests.cloud import processes

_TIMEOUT_S = 600


def command(*arguments):
    """Return the command line of nova-kvs with arguments."""
    return [sys.executable, "-m", "nova_kvs.cmd.main", *arguments]


def run(*arguments, status=0):
    """Run nova-kvs; return its output.

    :param status: the exit status it must have.
    """
    return processes.run(command(*arguments), _TIMEOUT_S, status=status)


def copy(name, source, target, *arguments):
    """Run ``import`` or ``export``; return the document that it prints."""
    return json.loads(run(
        name, "--from", source, "--to", target, "--json", *arguments))
