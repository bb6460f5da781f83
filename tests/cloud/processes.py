# SPDX-License-Identifier: Apache-2.0
"""Processes that tests start, watch and always stop again."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

from tests import fixtures

#: Seconds that a process may take to end by itself.
STOP_TIMEOUT_S = 15
#: Lines of a log that are worth showing.
TAIL_LINES = 60


class ProcessError(AssertionError):
    """A process did not do what it was started for."""


class Process:
    """One process with a log file, in a process group of its own.

    :param name: for messages and the name of the log file.
    :param command: list of program and arguments.
    :param directory: where the log file goes.
    :param env: variables in addition to this process's own.
    """

    def __init__(self, name, command, directory, env=None):
        self.name = name
        self.log_path = os.path.join(directory, name + ".log")
        self._command = command
        self._env = {**os.environ, **(env or {})}
        self._popen = None

    def start(self):
        """Start the process.

        :raises ProcessError: if the program is not installed.
        """
        program = shutil.which(self._command[0])
        if program is None:
            raise ProcessError(
                "%s is not installed: these tests need it"
                % self._command[0])
        with open(self.log_path, "ab") as log:
            self._popen = subprocess.Popen(
                [program, *self._command[1:]], env=self._env,
                stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True)
        return self

    @property
    def pid(self):
        return self._popen.pid

    def is_running(self):
        return self._popen is not None and self._popen.poll() is None

    def check(self):
        """Fail if the process has ended.

        :raises ProcessError: with the end of its log.
        """
        if not self.is_running():
            raise ProcessError("%s ended with status %s\n%s" % (
                self.name, self._popen and self._popen.returncode,
                self.tail()))

    def terminate(self):
        """Ask the process to end, without waiting for it."""
        if self.is_running():
            self._popen.terminate()

    def interrupt(self):
        """Do as Ctrl-C, without waiting for the end."""
        if self.is_running():
            self._popen.send_signal(signal.SIGINT)

    def wait(self, timeout_s):
        """Wait for the end.

        :raises ProcessError: if it does not come in time.
        """
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ProcessError("%s has not ended within %d s\n%s" % (
                self.name, timeout_s, self.tail())) from None

    def stop(self, timeout_s=STOP_TIMEOUT_S):
        """End the process and its children, by force if need be."""
        if self._popen is None:
            return
        self.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(timeout_s)
        self.kill()

    def kill(self):
        """End the process and its children at once, as a crash does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait()

    def cpu_s(self):
        """Return CPU seconds used by the process group so far."""
        return cpu_s(self.pid)

    def tail(self, lines=TAIL_LINES):
        """Return the end of the log."""
        try:
            with open(self.log_path, errors="replace") as stream:
                return "--- %s\n%s" % (
                    self.log_path, "".join(stream.readlines()[-lines:]))
        except FileNotFoundError:
            return "--- %s: no log" % self.log_path


def cpu_s(process_group):
    """Return CPU seconds used by a process group so far."""
    ticks = 0
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            # One that has just ended has no file any more.
            with contextlib.suppress(OSError):
                with open("/proc/%s/stat" % entry) as stream:
                    fields = stream.read().rpartition(")")[2].split()
                if int(fields[2]) == process_group:
                    # Its own time and that of children that ended.
                    ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


class Group(contextlib.ExitStack):
    """Processes that are killed together, the last started first.

    What is to end in good order is stopped before.
    """

    def __init__(self):
        super().__init__()
        self.processes = []

    def start(self, process):
        """Start a process that is killed at the latest with the group."""
        process.start()
        self.callback(process.kill)
        self.processes.append(process)
        return process

    def check(self):
        """Fail if one of the processes has ended."""
        for process in self.processes:
            process.check()

    def tails(self):
        """Return the ends of all logs."""
        return "\n".join(process.tail() for process in self.processes)


def run(command, timeout_s, env=None, status=0):
    """Run a command to its end.

    :param status: the exit status it must have.
    :returns: its standard output.
    :raises ProcessError: with its output, if the status differs.
    """
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, timeout=timeout_s,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, errors="replace")
    if done.returncode != status:
        raise ProcessError("%s: exit status %d\n%s\n%s" % (
            " ".join(command), done.returncode, done.stdout, done.stderr))
    return done.stdout


def wait_for(condition, what, timeout_s, processes=(), pause_s=0.1):
    """Wait until a condition holds.

    :param condition: called until it returns something true, which is
        returned; an OSError counts as not yet.
    :param processes: that must go on running meanwhile.
    :raises ProcessError: when the time is over or a process ended.
    """
    deadline = time.monotonic() + timeout_s
    problem = None
    while True:
        try:
            result = condition()
            if result:
                return result
        except OSError as error:
            problem = error
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            raise ProcessError("not within %d s: %s (%s)" % (
                timeout_s, what, problem))
        time.sleep(pause_s)


free_ports = fixtures.free_ports
