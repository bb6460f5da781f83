# SPDX-License-Identifier: Apache-2.0
"""What a run of foreign tests does with outcomes, deaths and interruptions.
"""

from tests.nova import runner
from tests.nova import sources
from tests.nova import suites


class FakeWorker:
    """Answers as told; None in the script is the process's death."""

    def __init__(self, scripts):
        self.scripts = scripts
        self.engines = {'kvs+memory': 2}
        self.requests = []

    def ask(self, request):
        self.requests.append(request)
        for answer in self.scripts.pop(0):
            if answer is None:
                raise runner.WorkerDied
            yield answer

    def close(self):
        pass


def outcome(test_id, status='passed'):
    return {'id': test_id, 'status': status, 'seconds': 0, 'detail': ''}


def run(tmp_path, ids, *scripts, resume=False):
    workers = [FakeWorker(list(script)) for script in scripts]
    started = iter(workers)
    path = tmp_path / 'journal'
    journal = runner.Journal(path, resume, lambda outcomes: None)
    made = runner.run([runner.Batch('m', ids)], lambda: next(started), 1,
                      journal)
    journal.close()
    statuses = {one['id']: one['status']
                for one in journal.outcomes.values()}
    return statuses, workers, made


def test_outcomes(tmp_path):
    statuses, _, made = run(
        tmp_path, ['a', 'b'],
        [[{'start': 'a'}, outcome('a'), {'start': 'b'},
          outcome('b', 'failed')]])
    assert statuses == {'a': 'passed', 'b': 'failed'}
    assert made == {'kvs+memory': 2}


def test_no_outcome_is_a_failure(tmp_path):
    statuses, _, _ = run(tmp_path, ['a', 'b'], [[outcome('a')]])
    assert statuses == {'a': 'passed', 'b': 'failed'}


def test_scenarios_report_under_their_own_ids(tmp_path):
    statuses, _, _ = run(
        tmp_path, ['a'], [[outcome('a(one)'), outcome('a(two)')]])
    assert statuses == {'a(one)': 'passed', 'a(two)': 'passed'}


def test_death_costs_one_test(tmp_path):
    statuses, workers, _ = run(
        tmp_path, ['a', 'b', 'c'],
        [[outcome('a'), {'start': 'b'}, None]], [[outcome('c')]])
    assert statuses == {'a': 'passed', 'b': 'failed', 'c': 'passed'}
    assert workers[1].requests == [{'run': 'm', 'ids': ['c']}]


def test_death_at_the_start_costs_one_test(tmp_path):
    statuses, _, _ = run(tmp_path, ['a', 'b'], [[None]], [[outcome('b')]])
    assert statuses == {'a': 'failed', 'b': 'passed'}


def test_failed_stays_failed(tmp_path):
    statuses, _, _ = run(
        tmp_path, ['a'], [[outcome('a', 'failed'), outcome('a')]])
    assert statuses == {'a': 'failed'}


def test_journal_is_resumed_after_a_cut(tmp_path):
    run(tmp_path, ['a', 'b(x)'], [[outcome('a'), outcome('b(x)')]])
    with open(tmp_path / 'journal', 'a') as file:
        file.write('{"id": "c", "stat')
    journal = runner.Journal(tmp_path / 'journal', True, None)
    journal.close()
    assert journal.has('a') and journal.has('b') and not journal.has('c')
    # What was kept is there for the next time too.
    again = runner.Journal(tmp_path / 'journal', True, None)
    again.close()
    assert again.outcomes == journal.outcomes


def test_journal_starts_anew(tmp_path):
    run(tmp_path, ['a'], [[outcome('a')]])
    journal = runner.Journal(tmp_path / 'journal', False, None)
    journal.close()
    assert not journal.outcomes


def test_batches_are_classes_and_largest_first():
    batches = runner.make_batches(
        {'m': ['m.A.one', 'm.B.one', 'm.B.two(x.y)', 'm.B.three']},
        suites.batch_key, lambda one: one != 'm.B.three')
    assert [batch.ids for batch in batches] == [
        ['m.B.one', 'm.B.two(x.y)'], ['m.A.one']]


def test_gabbi_files_stay_together():
    module = 'placement.tests.functional.test_api'
    keys = {suites.batch_key(module, f'{module}.{name}') for name in (
        'aggregate_get_v1.10_of', 'aggregate_put')}
    assert keys == {f'{module}:aggregate'}


def test_a_checkout_is_its_own_source(monkeypatch, tmp_path):
    monkeypatch.setenv('NOVA_SRC', str(tmp_path))
    assert sources.source_tree('nova', tmp_path / 'x') == tmp_path
