# SPDX-License-Identifier: Apache-2.0
"""Command line: ``python -m tests.nova db``."""

import argparse
import contextlib
import importlib.metadata
import json
import os
import pathlib
import random
import re
import signal
import sys
import time

import sqlalchemy

from tests.nova import report
from tests.nova import runner
from tests.nova import servers
from tests.nova import sources
from tests.nova import suites
from tests.nova import table

PROGRESS_INTERVAL_S = 10
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
#: A new one for each run, unless the environment tells it, as tox does.
HASH_SEED = os.environ.get('PYTHONHASHSEED') or str(random.randrange(2 ** 32))


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog='python -m tests.nova',
        description="Run Nova's and Placement's own tests on nova-kvs.")
    parser.add_argument('suite', choices=suites.SUITES)
    parser.add_argument(
        '--selection', choices=suites.SELECTIONS,
        help='run a part of Nova\'s functional tests')
    parser.add_argument(
        '--backend',
        choices=('memory', 'redis', 'cluster', 'cluster-memory', 'etcd',
                 'sqlite'),
        default='memory',
        help='what holds the state: the embedded store, redis-server '
             'processes started here (with read_from=memory: '
             'cluster-memory), an etcd started here, or SQLite to compare '
             'with')
    parser.add_argument(
        '--native', choices=('on', 'off'), default='on',
        help='whether the native functions are used (default: on)')
    parser.add_argument(
        '--mixed-cells', action='store_true',
        help='keep every other cell of a test on SQLite')
    parser.add_argument(
        '--threading', action='store_true',
        help='run Nova on native threads instead of eventlet')
    parser.add_argument('--jobs', type=int, default=os.cpu_count())
    parser.add_argument(
        '--resume', action='store_true',
        help='go on with the run that was interrupted')
    parser.add_argument('--json', type=pathlib.Path, metavar='FILE',
                        help='write the results to a file')
    parser.add_argument(
        '--record', action='store_true',
        help='keep the results for the table in the documentation')
    parser.add_argument(
        '--state-dir', type=pathlib.Path,
        default=pathlib.Path(os.environ.get(
            'TOX_WORK_DIR', REPOSITORY / '.tox')) / 'conformance',
        help='where sources and journals are kept (default: %(default)s)')
    parser.add_argument(
        '--quiet', action='store_true', help='print no tracebacks')
    parser.add_argument(
        'filters', nargs='*', metavar='FILTER',
        help='regular expressions; run only tests whose id matches one')
    return parser.parse_intermixed_args(arguments)


class Run:
    """One run of one suite on one backend."""

    def __init__(self, options, backend):
        self.options = options
        self.suite = (suites.SELECTIONS[options.selection]
                      if options.selection
                      else suites.SUITES[options.suite])
        self.backend = backend
        options.state_dir.mkdir(parents=True, exist_ok=True)
        self.tree = sources.source_tree(self.suite.project,
                                        options.state_dir)
        self.name = '-'.join((
            self.suite.project, options.selection or options.suite,
            sources.installed_version(self.suite.project),
            'sqlalchemy', importlib.metadata.version('sqlalchemy'),
            backend, 'native', options.native,
            'threading' if options.threading else 'eventlet')
            + (('mixed-cells',) if options.mixed_cells else ()))
        self._log = open(options.state_dir / f'{self.name}.log', 'w')
        self._stack = contextlib.ExitStack()
        self._stack.enter_context(self._log)
        self._url = self._stack.enter_context(servers.running(backend))
        if self.suite.project in suites.KEEP_FOREIGN_KEYS and (
                backend != 'sqlite'):
            self._url = sqlalchemy.make_url(self._url).update_query_dict(
                {'foreign_keys': 'true'}).render_as_string(
                    hide_password=False)

    def close(self):
        """Stop the servers, if any were started."""
        self._stack.close()

    def _worker(self):
        return runner.Worker(
            ['--project', self.suite.project,
             '--url', self._url,
             '--native', self.options.native,
             *(['--mixed-cells'] if self.options.mixed_cells else [])],
            [self.tree, REPOSITORY], not self.options.threading, HASH_SEED,
            self._log,
            # Where they look for their files.
            self.tree if self.suite.project in suites.SERVICES else None)

    def listing(self):
        """List the tests of the suite by module."""
        worker = self._worker()
        try:
            return {answer['module']: answer['ids'] for answer in
                    worker.ask({'list': self.suite.modules(self.tree)})}
        finally:
            worker.close()

    def outcomes(self, wanted):
        """Run the tests that ``wanted`` accepts and return the outcomes."""
        total = 0
        started = last = time.monotonic()

        def progress(outcomes):
            nonlocal last
            if time.monotonic() - last > PROGRESS_INTERVAL_S:
                last = time.monotonic()
                failed = sum(one['status'] == 'failed'
                             for one in outcomes.values())
                # A test that is listed once may have several scenarios.
                print(f'{len(outcomes)} of {total} or more done, '
                      f'{failed} not passed, {last - started:.0f} s',
                      flush=True)

        journal = runner.Journal(
            self.options.state_dir / f'{self.name}.jsonl',
            self.options.resume, progress)
        batches = runner.make_batches(
            self.listing(), suites.batch_key,
            lambda one: (self.suite.has(one) and wanted(one)
                         and not journal.has(one)))
        total = len(journal.outcomes) + sum(
            len(batch.ids) for batch in batches)
        try:
            made = runner.run(batches, self._worker, self.options.jobs,
                              journal)
        finally:
            journal.close()
        if made:
            print('database engines made:', ', '.join(
                f'{count} {scheme}' for scheme, count in made.items()))
        return [one for one in journal.outcomes.values()
                if wanted(one['id'])]


def _run(options, backend, wanted):
    one = Run(options, backend)
    try:
        return one.name, one.outcomes(wanted)
    finally:
        one.close()


def main(arguments=None):
    """Run a suite.

    :returns: the exit status: 0 if nothing failed that is not excluded and
        nothing passed that is.
    """
    options = _parse(arguments)
    filters = [re.compile(one) for one in options.filters]

    def wanted(test_id):
        return not filters or any(one.search(test_id) for one in filters)

    # As for Ctrl-C: so that servers are stopped too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    excluded = report.exclusions(
        options.native == 'on' and options.backend != 'sqlite')
    started = time.monotonic()
    print(f'PYTHONHASHSEED={HASH_SEED}')
    try:
        name, outcomes = _run(options, options.backend, wanted)
    except KeyboardInterrupt:
        print('interrupted; --resume goes on from here')
        return 130
    verdict = report.judge(outcomes, excluded, options.backend)
    if options.backend != 'sqlite':
        same = {one['id'] for one in verdict.excluded
                if report.find(excluded, one['id']).fails_on_sqlite}
        if same:
            print(f'{len(same)} excluded tests must fail on SQLite too:')
            _, reference = _run(options, 'sqlite', same.__contains__)
            verdict.fixed += [one for one in reference
                              if one['status'] != 'failed']
    if not options.quiet:
        for outcome in verdict.failed:
            print('', '=' * 70, outcome['id'], outcome['detail'], sep='\n')
    print(report.summary(verdict, excluded))
    files = [options.json] if options.json else []
    if options.record:
        table.RESULTS.mkdir(exist_ok=True)
        files.append(table.RESULTS / f'{name}.json')
    for file in files:
        file.write_text(json.dumps(
            report.figures(options, name, verdict,
                           time.monotonic() - started), indent=2) + '\n')
    return 0 if outcomes and verdict.ok else 1


if __name__ == '__main__':
    sys.exit(main())
