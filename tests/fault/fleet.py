# SPDX-License-Identifier: Apache-2.0
"""Processes that put load on a cluster until they are told to stop."""

import contextlib
import multiprocessing
import traceback

#: How long processes may take to start, or to end what they are at.
PATIENCE_S = 90

context = multiprocessing.get_context("forkserver")
# Imported once, not by every process.
context.set_forkserver_preload(
    ["tests.fault.ledger", "tests.fault.blackbox.client",
     "nova_kvs.dialect.base"])


def _run(pipe, ready, stop, work, number, args):
    try:
        result = work(number, ready, stop, *args), None
    except BaseException:
        # Nobody sees what a process prints: its parent raises it.
        ready.abort()
        result = None, traceback.format_exc()
    pipe.send(result)
    pipe.close()


class Fleet:
    """Several processes that run one function. A context manager.

    :param work: called with the process's number, a barrier to wait at
        before the load begins, an event that says when to stop, and
        ``args``; what it returns comes back from ``stop``.
    :param count: number of processes.
    """

    def __init__(self, work, count, *args):
        self._stop = context.Event()
        self._ready = context.Barrier(count + 1)
        self._pipes = []
        self._processes = []
        for number in range(count):
            receiving, sending = context.Pipe(duplex=False)
            self._pipes.append(receiving)
            self._processes.append(context.Process(
                target=_run, daemon=True, args=(
                    sending, self._ready, self._stop, work, number, args)))

    def __enter__(self):
        for process in self._processes:
            process.start()
        with contextlib.suppress(Exception):
            # A process that failed breaks the barrier, and says why at the
            # end.
            self._ready.wait(PATIENCE_S)
        return self

    def __exit__(self, *exc_info):
        self._stop.set()
        for process in self._processes:
            process.kill()
            process.join()

    def stop(self):
        """End the load.

        :returns: list of what the processes' function returned.
        :raises AssertionError: with the traceback of one that failed.
        """
        self._stop.set()
        results = []
        for pipe in self._pipes:
            assert pipe.poll(PATIENCE_S), "a process does not stop"
            result, failure = pipe.recv()
            assert failure is None, failure
            results.append(result)
        return results
