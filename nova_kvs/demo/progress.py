# SPDX-License-Identifier: Apache-2.0
"""The demo's output while it works, and the table at its end."""

import sys
import time

#: Where the output is a file: seconds between reports of the same kind.
SPARSE_S = 5
_ERASE_LINE = "\r\x1b[K"


class Progress:
    """One line that is rewritten on a terminal, else a few lines."""

    def __init__(self, stream=None):
        self._stream = stream or sys.stdout
        self._is_terminal = self._stream.isatty()
        self._started = time.monotonic()
        self._last = (None, 0)
        # Whether the terminal's last line is to be written over.
        self._is_open = False

    def _elapsed_s(self):
        return time.monotonic() - self._started

    def step(self, text):
        """Say what is done next."""
        self._show(text)

    def count(self, text):
        """Say how far it is; where lines add up, only now and then."""
        kind, when = self._last
        if (self._is_terminal or kind != "count"
                or self._elapsed_s() - when >= SPARSE_S):
            self._show(text)
            self._last = ("count", self._elapsed_s())

    def _show(self, text):
        line = "[%3d s] %s" % (self._elapsed_s(), text)
        if self._is_terminal:
            self._stream.write(_ERASE_LINE + line)
            self._is_open = True
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def line(self, text=""):
        """Write a line that stays."""
        if self._is_open:
            self._stream.write(_ERASE_LINE)
            self._is_open = False
        self._stream.write(text + "\n")
        self._stream.flush()


def table(header, rows):
    """Return the lines of a plain text table.

    :param header: sequence of str.
    :param rows: sequence of sequences of str, as long as the header.
    """
    rows = [tuple(header)] + [tuple(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width)
                      for cell, width in zip(row, widths)).rstrip()
            for row in rows]
