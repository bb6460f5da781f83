# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C without a traceback, whatever the process is doing.

An exception raised by a signal handler ends up wherever the main thread
happens to be: in an import, a lock, a handler for all exceptions. So no
exception is raised here. While there is nothing to stop, the process ends
on the spot; later an event is set, which every wait of the demo looks at.
"""

import os
import signal
import threading

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Context manager that takes over SIGINT and SIGTERM.

    :param cleanup: called before the process ends on the spot; must not
        write to the standard streams.
    """

    def __init__(self, cleanup):
        self._cleanup = cleanup
        self._event = threading.Event()
        self._previous = {}
        #: Set once there is something to stop: then the first signal only
        #: asks, and the second one ends the process.
        self.is_orderly = False
        #: The exit status that the signal asks for, None before it.
        self.status = None

    def __enter__(self):
        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc_info):
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number, frame):
        again = self._event.is_set()
        self.status = 128 + number
        self._event.set()
        if again or not self.is_orderly:
            self._cleanup()
            # Not through sys.stdout, which may be in the middle of a write.
            os.write(2, b"\n")
            os._exit(self.status)

    def is_set(self):
        """Return whether somebody wants the demo to stop."""
        return self._event.is_set()

    def wait(self, timeout_s):
        """Wait for a signal, at most so long; return whether it came."""
        return self._event.wait(timeout_s)
