# SPDX-License-Identifier: Apache-2.0
"""Writes the page of the documentation that shows the recorded runs.

``python -m tests.nova ... --record`` keeps the results of a run in
``tests/nova/results``; ``python -m tests.nova.table`` writes the page.
"""

import collections
import json
import pathlib
import textwrap
import tomllib

from tests.nova import report
from tests.nova import sources

RESULTS = pathlib.Path(__file__).with_name('results')
PAGE = (pathlib.Path(__file__).resolve().parents[2]
        / 'doc/source/contributor/conformance.rst')

HEAD = """\
.. SPDX-License-Identifier: Apache-2.0
.. Written by "python -m tests.nova.table": do not edit.

===========
Conformance
===========

The tests of Nova, Placement and other services, unmodified, run on nova-kvs.
They come from the source distribution of the release that is installed:

.. code-block:: bash

    tox -e nova-db                    # Nova's database tests
    tox -e nova31-db                  # the same of Nova 31 (also 32, 33)
    tox -e nova-functional            # all functional tests: hours
    tox -e nova-functional -- --selection ci
    tox -e placement                  # Placement's unit and functional tests
    tox -e placement-etcd             # the same on etcd
    tox -e glance-db                  # Glance's database tests
    tox -e keystone-db                # the same of Keystone, Cinder
    tox -e neutron-db                 # a sample of Neutron's: hours

Behind ``--``: ``--backend memory|redis|cluster|cluster-memory|etcd|sqlite`` is
what holds the state (servers are started for the run; ``cluster-memory`` is
with ``read_from = memory``), ``--native on|off`` whether the native functions
are used, ``--mixed-cells`` keeps every other cell of a
test on SQLite, ``--threading`` runs Nova on native threads, ``--resume`` goes
on with an interrupted run, and words are regular expressions for the tests to
run. Those of Glance and Keystone run with foreign keys enforced; those of
Cinder and Neutron write rows without parents. What is changed around the
tests, and why, is in ``tests/nova/adapt.py``.

A run fails when a test fails that is not excluded, when an excluded test
passes, and when a test that is excluded because it fails on SQLite too does
not fail there.

Recorded runs
=============

*Failed* does not count excluded tests; *skipped* are those that the tests
skip by themselves (without MySQL and PostgreSQL servers). *Mixed* is a run in
which every other cell of a test is on SQLite, in the same process: servers are
in both kinds, are listed over both, and move between them. Words behind a
suite are those by which its tests were chosen.

"""

COLUMNS = ('Suite', 'Release', 'SQLAlchemy', 'Store', 'Native', 'Threads',
           'Passed', 'Failed', 'Excluded', 'Skipped', 'Date')


def _cells(run):
    package = sources.DISTRIBUTIONS.get(run['suite'], 'nova')
    suite = ', '.join([run['suite'], *run.get('filters', ())])
    return (
        suite, f'{package} {run["versions"][package]}',
        run['versions']['SQLAlchemy'],
        run['backend'] + (', mixed' if run.get('mixed_cells') else ''),
        '' if run['backend'] == 'sqlite' else run['native'],
        run['threads'], run['passed'],
        len(run['failed']) + len(run['fixed']), len(run['excluded']),
        run['skipped'], run['date'])


def _rows(cells):
    for number, cell in enumerate(cells):
        yield f'   {"*" if number == 0 else " "} - {cell}'.rstrip()


def page(runs, exclusions) -> str:
    """Return the text of the page.

    :param runs: results of runs, as :func:`tests.nova.report.figures`.
    :param exclusions: entries of ``excluded.toml``.
    """
    lines = ['.. list-table::', '   :header-rows: 1', '']
    lines += _rows(COLUMNS)
    for run in sorted(runs, key=lambda run: run['name']):
        lines += _rows(_cells(run))
    lines += ['', 'Excluded tests', '==============', '']
    counts = collections.Counter()
    for entry in exclusions:
        counts[entry['fails_on_sqlite']] += len(entry['tests'])
        versions = ' and '.join(
            f'{name} {specifier}' for name, specifier
            in entry.get('with', {}).items())
        reason = ' '.join(entry['reason'].split())
        if versions:
            reason += f' (With {versions}.)'
        if 'native' in entry:
            word = 'without' if entry['native'] == 'off' else 'with'
            reason += f' (Only {word} the native functions.)'
        lines += textwrap.wrap(reason, 79) + ['', '::', '']
        lines += [f'    {test}' for test in entry['tests']] + ['']
    lines += [
        f'In all {counts[True]} fail on SQLite too, {counts[False]} do not.']
    return HEAD + '\n'.join(lines) + '\n'


def main():
    """Write the page."""
    runs = [json.loads(path.read_text('utf-8'))
            for path in sorted(RESULTS.glob('*.json'))]
    with open(report.EXCLUDED, 'rb') as file:
        exclusions = tomllib.load(file).get('excluded', [])
    PAGE.write_text(page(runs, exclusions), 'utf-8')


if __name__ == '__main__':
    main()
