# SPDX-License-Identifier: Apache-2.0
"""Regular expressions of list filters, which any user may write.

They are those of Python's ``re``, with which Nova's API checks them and which
oslo.db gives to SQLite. Nothing in a process can end a search of ``re``, and
an expression that tries all ways to split a server's name would occupy an API
worker for hours; MariaDB limits such searches as well. So a search runs here
if the steps it takes are known to be few. Any other runs in a process beside
this one, which gives it up after some CPU time.
"""

import functools
import importlib
import json
import logging
import math
import os
import re
import subprocess  # nosec B404
import sys
import threading

LOG = logging.getLogger(__name__)

#: CPU time of one search, in seconds. A name takes some microseconds.
TIMEOUT_S = 0.5
#: Most steps of a search in this process. They take some milliseconds.
STEPS = 5_000_000
#: Longest text that is searched in this process, in characters.
LENGTH = 1 << 16

#: The script that searches beside this process.
SCRIPT = os.path.join(os.path.dirname(__file__), "regexp_process.py")

error = re.error


class Expression:
    """A compiled regular expression."""

    def __init__(self, pattern):
        """Compile it.

        :raises error: if it is none.
        """
        self._compiled = re.compile(pattern)
        self._longest = _longest(self._compiled)
        #: What each text that it is found in contains; perhaps nothing.
        self.part = _part(self._compiled)
        #: It once took too long: it would for other values, too.
        self._is_endless = False

    def matches(self, text):
        """Return whether the expression is found in a text.

        A search that is given up has found nothing, which is logged once.
        """
        if len(text) <= self._longest:
            return self._compiled.search(text) is not None
        if self._is_endless:
            return False
        try:
            found = _searcher.search(self._compiled.pattern, text)
        except OSError as problem:
            LOG.warning("The regular expression %r of a filter matches "
                        "nothing: no process to search with can be "
                        "started: %s", self._compiled.pattern, problem)
            return False
        if found is None:
            self._is_endless = True
            LOG.warning("The regular expression %r of a filter takes more "
                        "than %.1f s for one value: it matches nothing",
                        self._compiled.pattern, TIMEOUT_S)
        return bool(found)


@functools.lru_cache(maxsize=512)
def compiled(pattern):
    """Return the Expression of a pattern.

    :raises error: if it is none.
    """
    return Expression(pattern)


# The steps of a search ------------------------------------------------------

def _longest(expression):
    """Return the length of the longest text to be searched in this process.

    :returns: -1 if there is none.
    """
    try:
        # This module is private to ``re``. Without it, or if what it says is
        # not understood, only plain texts are searched here.
        tree = importlib.import_module("re._parser").parse(
            expression.pattern, expression.flags)
        shorter, longer = -1, LENGTH + 1
        while longer - shorter > 1:
            length = (shorter + longer) // 2
            if _is_cheap(tree, length):
                shorter = length
            else:
                longer = length
        return shorter
    except (ImportError, AttributeError, TypeError, ValueError,
            RecursionError):
        is_plain = re.fullmatch(r"[\w\s-]*", expression.pattern)
        return LENGTH if is_plain else -1


def _part(expression):
    """Return the longest text that an expression asks for as it is."""
    if expression.flags & re.IGNORECASE:
        return ""
    try:
        tree = importlib.import_module("re._parser").parse(
            expression.pattern, expression.flags)
        parts = [""]
        for operation, argument in tree:
            if str(operation) == "LITERAL":
                parts[-1] += chr(argument)
            else:
                parts.append("")
        return max(parts, key=len)
    except (ImportError, AttributeError, TypeError, ValueError,
            RecursionError):
        return ""


def _is_cheap(tree, length):
    """Return whether a search in a text of ``length`` takes few steps.

    It begins at each position, and there it takes each path at worst.
    """
    try:
        paths, free, steps = _sequence(tree, length)
    except OverflowError:
        return False
    # The positions to begin at divide the text as a repetition does.
    return paths * _divisions(length, free + 1) * steps <= STEPS


def _divisions(length, parts):
    """Return in how many ways ``parts`` repetitions share a text."""
    return math.comb(length + parts, parts)


def _sequence(items, length):
    """Return upper bounds for parsed items that follow each other.

    :returns: ``(paths, free, steps)``: the number of ways to match them at
        one position, but for repetitions of one character without a limit;
        the number of these; and the steps of one way.
    :raises OverflowError: if the bounds are too high.
    """
    paths = steps = 1
    free = 0
    for operation, argument in items:
        more = _item(str(operation), argument, length)
        paths *= more[0]
        free += more[1]
        steps += more[2]
        if max(paths, free, steps) > STEPS:
            raise OverflowError
    return paths, free, steps


def _item(operation, argument, length):
    if operation in ("LITERAL", "NOT_LITERAL", "ANY", "AT", "FAILURE"):
        return 1, 0, 1
    if operation == "IN":
        return 1, 0, len(argument)
    if operation == "GROUPREF":
        return 1, 0, length + 1
    if operation == "BRANCH":
        found = [_sequence(items, length) for items in argument[1]]
        return (sum(paths for paths, _, _ in found),
                max(free for _, free, _ in found),
                len(found) + max(steps for _, _, steps in found))
    if operation == "SUBPATTERN":
        return _sequence(argument[3], length)
    if operation in ("ASSERT", "ASSERT_NOT"):
        paths, steps = _closed(argument[1], length)
        return paths, 0, steps
    if operation in ("MAX_REPEAT", "MIN_REPEAT"):
        return _repeat(*argument, length)
    # Conditions, atomic groups, and what is not known yet.
    raise OverflowError


def _closed(items, length):
    """Return ``(paths, steps)`` of items, all repetitions included."""
    paths, free, steps = _sequence(items, length)
    return paths * _divisions(length, free), steps


def _repeat(least, most, items, length):
    paths, steps = _closed(items, length)
    is_free = most > length
    # What matches the empty text is not tried beyond ``least``.
    most = min(int(most), max(least, length + 1))
    if least < most and len(items) == 1 and str(items[0][0]) in (
            "LITERAL", "NOT_LITERAL", "ANY", "IN"):
        # All characters are counted at once, for all of the paths.
        if is_free:
            return 1, 1, steps + 1
        return most - least + 1, 0, steps + 1
    if paths == 1:
        return most - least + 1, 0, most * steps + 1
    total = 0
    for times in range(most + 1):
        if times >= least:
            total += paths ** times
        if total > STEPS or times * paths > STEPS:
            raise OverflowError
    return total, 0, most * steps + 1


# The process beside this one ------------------------------------------------

def _interpreter():
    """Return the path of a Python of this version.

    Within a web server ``sys.executable`` may be the server's.
    """
    name = "python%d.%d" % sys.version_info[:2]
    if os.path.basename(sys.executable or "").startswith("python"):
        return sys.executable
    paths = [os.path.join(prefix, "bin", name)
             for prefix in (sys.prefix, sys.base_prefix)]
    return next(filter(os.path.exists, paths), name)


class _Searcher:
    """Owns the process. Threads use it one after the other."""

    def __init__(self):
        self._lock = threading.Lock()
        self._process = None
        self._pipes = ()

    def search(self, pattern, text):
        """Return whether a pattern is found in a text; None if given up.

        :raises OSError: if the process cannot be started.
        """
        request = json.dumps([pattern, text, TIMEOUT_S]).encode() + b"\n"
        with self._lock:
            # The process may have been ended from outside.
            for _turn in range(2):
                if self._process is None:
                    self._start()
                try:
                    answer = self._ask(request)
                except BrokenPipeError:
                    answer = b""
                if answer:
                    break
                self._stop()
        return json.loads(answer or "null")

    def _start(self):
        # Not the pipes of Popen: eventlet would give us to others, in the
        # middle of a function that SQLite has called.
        there, request = os.pipe()
        answer, back = os.pipe()
        try:
            self._process = subprocess.Popen(  # nosec B603
                [_interpreter(), "-I", "-S", SCRIPT],
                stdin=there, stdout=back, stderr=subprocess.DEVNULL,
                # Ctrl-C at the terminal is for its parent.
                start_new_session=True)
        except OSError:
            os.close(request)
            os.close(answer)
            raise
        finally:
            os.close(there)
            os.close(back)
        self._pipes = (request, answer)

    def _ask(self, request):
        while request:
            request = request[os.write(self._pipes[0], request):]
        return os.read(self._pipes[1], 10)

    def _stop(self):
        self._close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _close(self):
        for pipe in self._pipes:
            os.close(pipe)
        self._pipes = ()

    def forget(self):
        """Leave the process to the parent, behind a fork."""
        self._lock = threading.Lock()
        self._close()
        if self._process is not None:
            # It is nothing that this process could wait for.
            self._process.returncode = 0
            self._process = None


_searcher = _Searcher()
os.register_at_fork(after_in_child=_searcher.forget)
