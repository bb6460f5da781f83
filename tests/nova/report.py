# SPDX-License-Identifier: Apache-2.0
"""Judges outcomes against the list of excluded tests and sums them up.

``excluded.toml`` lists every test that may fail, with its reason. Excluded
tests are run all the same: one that passes must leave the list.
"""

import collections
import dataclasses
import datetime
import importlib.metadata
import pathlib
import tomllib

from packaging import specifiers

from tests.nova import sources

EXCLUDED = pathlib.Path(__file__).with_name('excluded.toml')


@dataclasses.dataclass(frozen=True)
class Exclusion:
    """Tests that may fail.

    :param test: an id, or with * at its end, what ids start with.
    :param reason: why they may fail.
    :param fails_on_sqlite: whether they fail on SQLite too; if not, they
        are about SQLite itself.
    :param may_pass: whether a race in the test decides.
    """

    test: str
    reason: str
    fails_on_sqlite: bool
    may_pass: bool = False

    def covers(self, test_id: str) -> bool:
        """Tell whether a test is one of them."""
        if self.test.endswith('*'):
            return test_id.startswith(self.test[:-1])
        return test_id == self.test


def _applies(requirements):
    for name, specifier in requirements.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return False
        if not specifiers.SpecifierSet(specifier).contains(
                version, prereleases=True):
            return False
    return True


def exclusions(native: bool,
               path: pathlib.Path = EXCLUDED) -> list[Exclusion]:
    """Read the exclusions that apply to the releases installed here.

    :param native: whether the run uses the native functions.
    :param path: the list.
    """
    mode = 'on' if native else 'off'
    with open(path, 'rb') as file:
        entries = tomllib.load(file).get('excluded', [])
    return [
        Exclusion(test, entry['reason'].strip(),
                  entry['fails_on_sqlite'], entry.get('may_pass', False))
        for entry in entries
        if _applies(entry.get('with', {})) and (
            entry.get('native', mode) == mode)
        for test in entry['tests']
    ]


@dataclasses.dataclass
class Verdict:
    """What a run came to, as lists of outcomes.

    :param excluded: failed, and may.
    :param fixed: may fail, and passed.
    """

    passed: list
    skipped: list
    excluded: list
    failed: list
    fixed: list

    @property
    def ok(self) -> bool:
        """Whether nothing failed unexpectedly and the list is right."""
        return not self.failed and not self.fixed


def find(excluded, test_id, backend='memory'):
    """Return the exclusion that covers a test, or None.

    :param excluded: list of :class:`Exclusion`.
    :param test_id: the test's id.
    :param backend: what it ran on; on ``sqlite`` only those exclusions
        count that fail there too.
    """
    for one in excluded:
        if one.covers(test_id) and (
                one.fails_on_sqlite or backend != 'sqlite'):
            return one
    return None


def judge(outcomes, excluded, backend) -> Verdict:
    """Sort outcomes by what they mean.

    :param outcomes: outcomes of one run.
    :param excluded: list of :class:`Exclusion`.
    :param backend: what they ran on.
    """
    verdict = Verdict([], [], [], [], [])
    for outcome in sorted(outcomes, key=lambda one: one['id']):
        exclusion = find(excluded, outcome['id'], backend)
        if outcome['status'] == 'skipped':
            verdict.skipped.append(outcome)
        elif outcome['status'] == 'passed':
            (verdict.fixed if exclusion and not exclusion.may_pass
             else verdict.passed).append(outcome)
        else:
            (verdict.excluded if exclusion else verdict.failed).append(
                outcome)
    return verdict


def _by_module(verdict):
    table = collections.defaultdict(collections.Counter)
    for field in dataclasses.fields(verdict):
        for outcome in getattr(verdict, field.name):
            table[outcome['module']][field.name] += 1
    return dict(sorted(table.items()))


def summary(verdict, excluded) -> str:
    """Write the summary that a run closes with."""
    columns = [field.name for field in dataclasses.fields(verdict)]
    lines = ['', '{:<64}'.format('module')
             + ''.join(f'{column:>9}' for column in columns)]
    for module, counts in _by_module(verdict).items():
        lines.append(f'{module:<64}' + ''.join(
            f'{counts[column] or "":>9}' for column in columns))
    for title, outcomes in (
            ('FAILED', verdict.failed),
            ('EXCLUDED but passed (remove from excluded.toml)',
             verdict.fixed)):
        if outcomes:
            lines += ['', title + ':']
            lines += ['  ' + outcome['id'] for outcome in outcomes]
    if verdict.excluded:
        lines += ['', 'Excluded, may only get fewer:']
        for outcome in verdict.excluded:
            reason = find(excluded, outcome['id']).reason
            lines.append(f'  {outcome["id"]}: {reason}')
    wrong = len(verdict.failed) + len(verdict.fixed)
    lines += ['', f'excluded: {len(verdict.excluded)}, '
                  f'skipped by the tests themselves: {len(verdict.skipped)}',
              f'{len(verdict.passed)} passed, {wrong} failed']
    return '\n'.join(lines)


def figures(options, name, verdict, seconds) -> dict:
    """Put a run's results into a form for files.

    :param options: the run's command line.
    :param name: the run's name.
    :param verdict: its :class:`Verdict`.
    :param seconds: how long it took.
    """
    versions = {}
    for package in (*sources.DISTRIBUTIONS.values(), 'SQLAlchemy', 'oslo.db'):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            # No service needs all the others.
            continue
    return {
        'name': name,
        'suite': options.selection or options.suite,
        'backend': options.backend,
        'mixed_cells': options.mixed_cells,
        'filters': options.filters,
        'native': options.native,
        'threads': 'native' if options.threading else 'eventlet',
        'date': datetime.datetime.now(datetime.UTC).date().isoformat(),
        'seconds': round(seconds),
        'versions': versions,
        'passed': len(verdict.passed),
        'skipped': len(verdict.skipped),
        'excluded': [one['id'] for one in verdict.excluded],
        'failed': [one['id'] for one in verdict.failed],
        'fixed': [one['id'] for one in verdict.fixed],
    }
