# SPDX-License-Identifier: Apache-2.0
"""Loads and runs tests for the runner, in a process of its own.

Requests come as JSON lines on standard input, answers go as JSON lines to
the file descriptor given; standard output and error are the tests' own::

    {"list": [module, ...]}       ->  {"module": m, "ids": [...]} for each
    {"run": module, "ids": [...]} ->  {"start": id}, {"id": id, "status": s,
                                       "seconds": n, "detail": text}, ...
    both end with                     {"done": true, "engines": {...}}

``engines`` tells on what the engines of this process were made so far.
"""

import argparse
import importlib
import json
import sys
import time
import unittest
from unittest import mock

import testtools
from testtools.testresult import real
from testtools.testsuite import filter_by_ids
from testtools.testsuite import iterate_tests

from tests.nova import suites

# A failed functional test attaches its whole log.
DETAIL_LIMIT = 20_000
#: What is imported before all else, where it is not the unit tests' package.
FIRST = {'nova': 'nova.tests.functional',
         'placement': 'placement.tests.functional'}


class Reporter(testtools.TestResult):
    """A test result that writes each outcome down as it comes."""

    def __init__(self, send):
        super().__init__()
        self._send = send
        self._started = 0.0

    def startTest(self, test):
        super().startTest(test)
        self._started = time.monotonic()
        self._send({'start': test.id()})

    def _outcome(self, test, status, err=None, details=None, reason=None):
        detail = reason or ''
        if err is not None:
            detail = self._exc_info_to_unicode(err, test)
        elif details is not None and status != 'passed':
            detail = real._details_to_str(details, special='traceback')
        if len(detail) > DETAIL_LIMIT:
            detail = '[...]\n' + detail[-DETAIL_LIMIT:]
        self._send({
            'id': test.id(),
            'status': status,
            'seconds': round(time.monotonic() - self._started, 3),
            'detail': detail,
        })

    def addSuccess(self, test, details=None):
        self._outcome(test, 'passed')

    def addExpectedFailure(self, test, err=None, details=None):
        self._outcome(test, 'passed')

    def addError(self, test, err=None, details=None):
        self._outcome(test, 'failed', err, details)

    addFailure = addError

    def addUnexpectedSuccess(self, test, details=None):
        self._outcome(test, 'failed', reason='unexpected success')

    def addSkip(self, test, reason=None, details=None):
        self._outcome(test, 'skipped', details=details, reason=reason)


def _load(module):
    """Load one module's tests; one that cannot load is a failing test."""
    return unittest.TestLoader().loadTestsFromName(module)


def _list(modules, send):
    for module in modules:
        ids = [test.id() for test in iterate_tests(_load(module))]
        send({'module': module, 'ids': ids})


def _run(module, ids, send):
    filter_by_ids(_load(module), set(ids)).run(Reporter(send))


def _stand_in_for_ldap():
    """Let Keystone's tests import LDAP's libraries, which need C headers.

    None of those that are run here uses them.
    """
    for name in ('ldap', 'ldap.controls', 'ldap.dn', 'ldap.filter',
                 'ldap.modlist', 'ldappool'):
        sys.modules.setdefault(name, mock.MagicMock(__path__=[]))


def main():
    """Answer requests until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--answers', type=int, required=True)
    parser.add_argument('--project', required=True)
    parser.add_argument('--url', required=True)
    parser.add_argument('--native', required=True)
    parser.add_argument('--mixed-cells', action='store_true')
    arguments = parser.parse_args()
    answers = open(arguments.answers, 'w', encoding='utf-8', buffering=1)

    def send(answer):
        print(json.dumps(answer), file=answers)

    if arguments.project == 'keystone':
        _stand_in_for_ldap()
    # Test packages patch the standard library for eventlet when they are
    # imported, which must come before anything else of the service.
    importlib.import_module(FIRST.get(
        arguments.project, f'{arguments.project}.tests.unit'))
    engines = {}
    on_kvs = arguments.url.startswith('kvs')
    if on_kvs:
        from tests.nova import adapt
        adapt.install(arguments.project, arguments.url,
                      arguments.native == 'on', arguments.mixed_cells)
        engines = adapt.engines_made
    for line in sys.stdin:
        request = json.loads(line)
        if 'list' in request:
            _list(request['list'], send)
        else:
            _run(request['run'], request['ids'], send)
            # Engines of these live as long as the process.
            if on_kvs and arguments.project not in suites.SERVICES:
                adapt.forget()
            if on_kvs and arguments.project == 'nova':
                wrong = adapt.wrong_native(arguments.native == 'on')
                if wrong:
                    send({'id': f'--native {arguments.native}',
                          'status': 'failed', 'seconds': 0,
                          'detail': wrong})
        send({'done': True, 'engines': engines})


if __name__ == '__main__':
    main()
