# SPDX-License-Identifier: Apache-2.0
"""Which outcomes make a run fail, and the page that shows them."""

import json
import tomllib

import pytest

from tests.nova import report
from tests.nova import table


def outcome(test_id, status):
    return {'id': test_id, 'module': 'm', 'status': status}


EXCLUDED = [
    report.Exclusion('m.both', 'broken', True),
    report.Exclusion('m.own*', 'about SQLite', False),
    report.Exclusion('m.race', 'a race', False, may_pass=True),
]


@pytest.mark.parametrize('test_id, status, backend, where', [
    ('m.a', 'passed', 'memory', 'passed'),
    ('m.a', 'skipped', 'memory', 'skipped'),
    ('m.a', 'failed', 'memory', 'failed'),
    ('m.both', 'failed', 'memory', 'excluded'),
    ('m.both', 'failed', 'sqlite', 'excluded'),
    ('m.both', 'passed', 'memory', 'fixed'),
    ('m.own.a', 'failed', 'memory', 'excluded'),
    ('m.own.a', 'passed', 'memory', 'fixed'),
    ('m.own.a', 'passed', 'sqlite', 'passed'),
    ('m.own.a', 'failed', 'sqlite', 'failed'),
    ('m.both2', 'failed', 'memory', 'failed'),
    ('m.race', 'failed', 'memory', 'excluded'),
    ('m.race', 'passed', 'memory', 'passed'),
])
def test_judge(test_id, status, backend, where):
    verdict = report.judge([outcome(test_id, status)], EXCLUDED, backend)
    assert [one['id'] for one in getattr(verdict, where)] == [test_id]
    assert verdict.ok == (where not in ('failed', 'fixed'))


def test_summary_closes_with_the_plain_line():
    verdict = report.judge(
        [outcome('m.a', 'passed'), outcome('m.b', 'failed'),
         outcome('m.both', 'failed'), outcome('m.own', 'passed')],
        EXCLUDED, 'memory')
    text = report.summary(verdict, EXCLUDED)
    assert text.splitlines()[-1] == '1 passed, 2 failed'
    assert 'm.both: broken' in text


def test_exclusions_apply_to_versions(tmp_path):
    path = tmp_path / 'excluded.toml'
    path.write_text("""
        [[excluded]]
        reason = "now"
        fails_on_sqlite = true
        with = { SQLAlchemy = ">=2.0", pytest = ">=1" }
        tests = ["a"]
        [[excluded]]
        reason = "never"
        fails_on_sqlite = true
        with = { SQLAlchemy = "<1" }
        tests = ["b"]
        [[excluded]]
        reason = "not installed"
        fails_on_sqlite = true
        with = { no-such-distribution = ">=1" }
        tests = ["c"]
        [[excluded]]
        reason = "mocks"
        fails_on_sqlite = false
        native = "on"
        tests = ["d"]
        [[excluded]]
        reason = "the ORM"
        fails_on_sqlite = true
        native = "off"
        tests = ["e"]
    """)
    assert [one.test for one in report.exclusions(False, path)] == ['a', 'e']
    assert [one.test for one in report.exclusions(True, path)] == ['a', 'd']


def test_list_of_exclusions_is_well_formed():
    with open(report.EXCLUDED, 'rb') as file:
        entries = tomllib.load(file)['excluded']
    tests = [test for entry in entries for test in entry['tests']]
    assert len(set(tests)) == len(tests)
    for entry in entries:
        assert set(entry) <= {
            'reason', 'fails_on_sqlite', 'native', 'may_pass', 'with',
            'tests'}
        assert entry['reason'].strip() and entry['tests']


def test_page_is_that_of_the_recorded_runs():
    runs = [json.loads(path.read_text())
            for path in table.RESULTS.glob('*.json')]
    with open(report.EXCLUDED, 'rb') as file:
        entries = tomllib.load(file)['excluded']
    assert table.PAGE.read_text() == table.page(runs, entries)
