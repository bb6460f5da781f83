# SPDX-License-Identifier: Apache-2.0
"""Regular expressions of list filters, which any user may write.

The syntax is that of Python's ``re``, as Nova's API checks it and as oslo.db
gives it to SQLite. ``re`` itself cannot be stopped, and an expression that
tries all ways to split a server's name would occupy an API worker for hours;
MariaDB limits such searches as well.
"""

import functools
import logging

import regex

LOG = logging.getLogger(__name__)

#: CPU time, as ``regex`` counts it. A name takes some microseconds.
TIMEOUT_S = 0.5

error = regex.error


class Expression:
    """A compiled regular expression."""

    def __init__(self, pattern):
        """Compile it.

        :raises error: if it is none.
        """
        self._compiled = regex.compile(pattern)
        #: Whether it once took too long: it would for other values, too.
        self._is_endless = False

    def matches(self, text):
        """Return whether it is found in a text.

        Without end it is found nowhere, which is logged.
        """
        if self._is_endless:
            return False
        try:
            return self._compiled.search(
                text, timeout=TIMEOUT_S) is not None
        except TimeoutError:
            self._is_endless = True
            LOG.warning("The regular expression %r of a filter takes more "
                        "than %.1f s for one value: it matches nothing",
                        self._compiled.pattern, TIMEOUT_S)
            return False


@functools.lru_cache(maxsize=512)
def compiled(pattern):
    """Return the Expression of a pattern.

    :raises error: if it is none.
    """
    return Expression(pattern)
