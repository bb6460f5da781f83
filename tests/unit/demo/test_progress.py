# SPDX-License-Identifier: Apache-2.0
import io

import pytest

from nova_kvs.demo import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """The time that progress sees: set ``now``."""
    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


def test_terminal_has_one_line(clock):
    stream = Terminal()
    shown = progress.Progress(stream)
    shown.step("one")
    shown.count("1 of 2")
    clock.now = 61
    shown.count("2 of 2")
    assert stream.getvalue().count("\n") == 0
    assert stream.getvalue().endswith("\r\x1b[K[ 61 s] 2 of 2")
    shown.line("done")
    shown.line("really")
    assert stream.getvalue().endswith("2 of 2\r\x1b[Kdone\nreally\n")


def test_file_has_few_lines(clock):
    stream = io.StringIO()
    shown = progress.Progress(stream)
    shown.step("start")
    for second in range(11):
        clock.now = second
        shown.count("%d of 10" % second)
    shown.line("done")
    assert stream.getvalue().splitlines() == [
        "[  0 s] start", "[  0 s] 0 of 10", "[  5 s] 5 of 10",
        "[ 10 s] 10 of 10", "done"]


def test_table():
    assert progress.table(("A", "BB"), [("xxx", "y"), ("z", "")]) == [
        "A    BB", "xxx  y", "z"]
