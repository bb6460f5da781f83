# SPDX-License-Identifier: Apache-2.0
"""Runs batches of tests in worker processes and keeps a journal.

Each outcome is appended to the journal as it comes, so an interrupted run
can be taken up again. A worker that dies or hangs costs the test that it was
running, which is recorded as failed, and nothing else.
"""

import collections
import json
import os
import pathlib
import queue
import subprocess
import sys
import tempfile
import threading
import time

# Nova's own limit for a test is 160 s (OS_TEST_TIMEOUT in its tox.ini),
# more where a test scales it; this one only ends what ignores that.
SILENCE_LIMIT_S = 900

TEST_ENVIRONMENT = {
    'LANGUAGE': 'en_US',
    'LC_ALL': 'en_US.utf-8',
    'OS_STDOUT_CAPTURE': '1',
    'OS_STDERR_CAPTURE': '1',
    'OS_TEST_TIMEOUT': '160',
    'PYTHONDONTWRITEBYTECODE': '1',
}


class Batch:
    """Tests that run together, in order, in one process."""

    def __init__(self, module, ids):
        self.module = module
        self.ids = ids


class WorkerDied(Exception):
    """The worker process ended, or was ended because it hung."""


class Worker:
    """One worker process.

    :param arguments: command line of ``tests.nova.worker``.
    :param path: directories for the import path, first wins.
    :param eventlet: whether Nova runs on eventlet or on native threads.
    :param hash_seed: PYTHONHASHSEED.
    :param log: file that takes what tests print.
    :param directory: the working directory, if not one of its own.
    """

    def __init__(self, arguments, path, eventlet, hash_seed, log,
                 directory=None):
        environment = dict(os.environ)
        environment.update(TEST_ENVIRONMENT)
        environment['PYTHONPATH'] = os.pathsep.join(map(str, path))
        environment['PYTHONHASHSEED'] = hash_seed
        environment['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = str(not eventlet)
        #: On what the worker's engines were made: scheme -> number.
        self.engines = {}
        reading, writing = os.pipe()
        # Some tests write files into their working directory.
        self._directory = tempfile.TemporaryDirectory()
        self._process = subprocess.Popen(
            [sys.executable, '-m', 'tests.nova.worker',
             '--answers', str(writing), *arguments],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            cwd=directory or self._directory.name, env=environment, text=True,
            pass_fds=(writing,), start_new_session=True)
        os.close(writing)
        self._log = log
        self._answers = open(reading, encoding='utf-8')
        self._deadline = time.monotonic() + SILENCE_LIMIT_S
        self._ended = threading.Event()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        while not self._ended.wait(5):
            if time.monotonic() > self._deadline:
                self._process.kill()
                return

    def ask(self, request):
        """Send a request and yield the answers until it is done.

        :raises WorkerDied: if the process ends before that.
        """
        self._deadline = time.monotonic() + SILENCE_LIMIT_S
        try:
            self._process.stdin.write(json.dumps(request) + '\n')
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise WorkerDied from error
        for line in self._answers:
            self._deadline = time.monotonic() + SILENCE_LIMIT_S
            answer = json.loads(line)
            if 'done' in answer:
                self.engines = answer['engines']
                return
            yield answer
        raise WorkerDied(f'see the end of {self._log.name}')

    def close(self):
        """End the process; closing twice does nothing."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._directory.cleanup()


class Journal:
    """The outcomes of a run, on disk and in memory.

    :param path: file of JSON lines.
    :param resume: whether to keep the outcomes that it holds.
    :param progress: called with the outcomes so far after each one.
    """

    def __init__(self, path: pathlib.Path, resume: bool, progress):
        self.outcomes = {}
        self._with_scenarios = set()
        self._progress = progress
        self._lock = threading.Lock()
        if resume and path.exists():
            for line in path.read_text('utf-8').splitlines():
                try:
                    outcome = json.loads(line)
                except ValueError:
                    # The run was cut off within this line.
                    continue
                self._remember(outcome)
        self._file = open(path, 'w', encoding='utf-8')
        for outcome in self.outcomes.values():
            self._write(outcome)

    def has(self, test_id):
        """Tell whether there is an outcome for a test.

        A test with scenarios is listed once and runs once for each of
        them, with the scenario's name in parentheses behind its id.
        """
        return test_id in self.outcomes or test_id in self._with_scenarios

    def _remember(self, outcome):
        self.outcomes[outcome['id']] = outcome
        self._with_scenarios.add(outcome['id'].partition('(')[0])

    def _write(self, outcome):
        print(json.dumps(outcome), file=self._file, flush=True)

    def record(self, module, outcome):
        """Keep one outcome; a test that failed once stays failed.

        :param module: where the test was loaded from.
        :param outcome: as the worker sent it.
        """
        outcome['module'] = module
        with self._lock:
            known = self.outcomes.get(outcome['id'])
            if known is None or known['status'] != 'failed':
                self._remember(outcome)
                self._write(outcome)
            self._progress(self.outcomes)

    def close(self):
        """Close the file."""
        self._file.close()


def make_batches(listing, key, wanted):
    """Sort tests into batches, the largest first.

    :param listing: test ids by module.
    :param key: function of module and id that names the batch.
    :param wanted: function of an id; tests it refuses are left out.
    """
    batches = collections.defaultdict(list)
    for module, ids in listing.items():
        for test_id in ids:
            if wanted(test_id):
                batches[module, key(module, test_id)].append(test_id)
    return sorted((Batch(module, ids) for (module, _), ids
                   in batches.items()),
                  key=lambda batch: -len(batch.ids))


def _failed(test_id, detail):
    return {'id': test_id, 'status': 'failed', 'seconds': 0,
            'detail': detail}


def _run_batch(batch, make_worker, worker, journal, stop):
    """Run one batch, starting the worker anew when it dies.

    :returns: the worker to go on with.
    """
    left = list(batch.ids)
    while left and not stop.is_set():
        if worker is None:
            worker = make_worker()
        running = None
        try:
            for answer in worker.ask({'run': batch.module, 'ids': left}):
                if 'start' in answer:
                    running = answer['start']
                    continue
                journal.record(batch.module, answer)
                running = None
        except WorkerDied:
            worker.close()
            worker = None
            if stop.is_set():
                break
            left = [one for one in left if not journal.has(one)]
            for lost in ([running] if running else left[:1]):
                journal.record(batch.module,
                               _failed(lost, 'the worker process died'))
            left = [one for one in left if not journal.has(one)]
        else:
            for test_id in left:
                if journal.has(test_id):
                    continue
                journal.record(batch.module,
                               _failed(test_id, 'no outcome was reported'))
            left = []
    return worker


def run(batches, make_worker, jobs, journal):
    """Run all batches.

    :param batches: what to run.
    :param make_worker: function without arguments that starts a worker.
    :param jobs: how many workers at once.
    :param journal: takes the outcomes.
    :returns: on what engines were made: scheme -> number.
    """
    todo = queue.SimpleQueue()
    for batch in batches:
        todo.put(batch)
    stop = threading.Event()
    alive = set()

    def start():
        worker = make_worker()
        alive.add(worker)
        return worker

    def work():
        worker = None
        while not stop.is_set():
            try:
                batch = todo.get_nowait()
            except queue.Empty:
                break
            worker = _run_batch(batch, start, worker, journal, stop)

    threads = [threading.Thread(target=work, daemon=True)
               for _ in range(jobs)]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        for worker in alive:
            worker.close()
    return sum((collections.Counter(worker.engines) for worker in alive),
               collections.Counter())
